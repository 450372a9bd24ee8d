# SPDX-License-Identifier: Apache-2.0
"""The text of a file of settings, which mostly is not there and then costs one system call."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from typing import Final

from wherry.errors import UsageError

FILE_NAME: Final = "wherry.toml"
LOCK_NAME: Final = "wherry.lock"
_MOST_BYTES: Final = 2 << 20


def read_text(path: str, shown: str) -> str | None:
    """The text of the file at `path`, None where there is none.

    `shown` is what errors call it. Raises `UsageError` for one that cannot be read or is not UTF-8.
    """
    try:
        data = _read(path, shown)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(
            f"cannot read {shown}",
            why=f"{path}: {error.strerror}",
            hint="make it a file that you may read, or remove it",
        ) from error
    return _decode(data, shown)


def _read(path: str, shown: str) -> bytes:
    """The bytes of a file; a pipe or a device may never end, and opening must not wait for one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise UsageError(f"{shown} is no file", why=f"{path} is a pipe, socket or device",
                             hint="make it a file, or remove it")  # fmt: skip
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{shown} is too large", why=f"{_MOST_BYTES >> 20} MiB of it are read",
                         hint="make it smaller, or remove it")  # fmt: skip
    return data


def _decode(data: bytes, shown: str) -> str:
    # Some editors put a mark before the text, which is no part of it.
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            "not UTF-8",
            why=f"byte {data[error.start]:#04x} is no letter there",
            hint="save the file as UTF-8",
            where=f"{shown}:{line}",
        ) from error
