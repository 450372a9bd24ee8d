# SPDX-License-Identifier: Apache-2.0
"""Unified diffs, as `git apply` and `patch -p1` take them; bytes stay what they are."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

_NO_NEWLINE = "\\ No newline at end of file\n"


def render_diff(path: str, before: bytes | None, after: bytes) -> bytes:
    """What changes in a file; `before` is None where there is none yet."""
    old = "/dev/null" if before is None else f"a/{path}"
    parts = difflib.unified_diff(_lines(before or b""), _lines(after), old, f"b/{path}", n=3)
    text = "".join(line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}" for line in parts)
    return text.encode("utf-8", "surrogateescape")


def _lines(data: bytes) -> list[str]:
    return list(_split(data.decode("utf-8", "surrogateescape")))


def _split(text: str) -> Iterator[str]:
    # Only newlines end lines here: other ends that Python knows are letters of a line.
    *whole, last = text.split("\n")
    yield from (f"{line}\n" for line in whole)
    if last:
        yield last
