# SPDX-License-Identifier: Apache-2.0
"""The terminal behind a stream, asked anew for each picture since users resize it."""

from __future__ import annotations

import os
from typing import TextIO


def terminal_size(stream: TextIO) -> tuple[int, int]:
    """Columns and lines of the terminal behind `stream`; 80 by 24 where none tells."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, lines = 0, 0
    return columns or 80, lines or 24
