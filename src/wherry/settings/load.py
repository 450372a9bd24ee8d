# SPDX-License-Identifier: Apache-2.0
"""Finds `wherry.toml` at a module's root; most modules have none, and pay for one system call."""

from __future__ import annotations

import os

from wherry.settings.files import read_text
from wherry.settings.model import FILE_NAME, Settings


def load_settings(directory: str) -> Settings:
    """The settings in `directory`, or the empty ones where it has no `wherry.toml`.

    Raises `UsageError`, or `SeveralErrors` for more than one, each with its line.
    """
    path = os.path.join(directory, FILE_NAME)
    text = read_text(path, FILE_NAME)
    if text is None:
        return Settings()
    # tomllib and the parsers are for modules that have the file.
    from wherry.settings.reading import parse_settings  # noqa: PLC0415 - see above

    return parse_settings(text, path)
