# SPDX-License-Identifier: Apache-2.0
"""Finds `wherry.toml` at a module's root; most modules have none, and pay for one system call."""

from __future__ import annotations

import os

from wherry.errors import UsageError
from wherry.settings.model import FILE_NAME, Settings


def load_settings(directory: str) -> Settings:
    """The settings in `directory`, or the empty ones where it has no `wherry.toml`.

    Raises `UsageError`, or `SeveralErrors` for more than one, each with its line.
    """
    path = os.path.join(directory, FILE_NAME)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise UsageError(
            f"cannot read {FILE_NAME}",
            why=f"{path}: {error.strerror}",
            hint="make it a file that you may read, or remove it",
        ) from error
    # tomllib and the parsers are for modules that have the file.
    from wherry.settings.reading import parse_settings  # noqa: PLC0415 - see above

    return parse_settings(_decode(data), path)


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            "not UTF-8",
            why=f"byte {data[error.start]:#04x} is no letter there",
            hint="save the file as UTF-8",
            where=f"{FILE_NAME}:{line}",
        ) from error
