# SPDX-License-Identifier: Apache-2.0
"""The text of a file of settings, which mostly is not there and then costs one system call."""

from __future__ import annotations

import codecs
from typing import Final

from wherry.errors import UsageError

LOCK_NAME: Final = "wherry.lock"


def read_text(path: str, shown: str) -> str | None:
    """The text of the file at `path`, None where there is none.

    `shown` is what errors call it. Raises `UsageError` for one that cannot be read or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(
            f"cannot read {shown}",
            why=f"{path}: {error.strerror}",
            hint="make it a file that you may read, or remove it",
        ) from error
    return _decode(data, shown)


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
