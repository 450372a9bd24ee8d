# SPDX-License-Identifier: Apache-2.0
"""The images of a build that could not be made, told at its end, each reason once.

Programs of one module share packages: a compile error in one of those fails every image, and Go
says it for each. What Go says of a package stands here once, in one block, whole, with its places
at the left margin, below the names of the images that it is the end of.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Final

from wherry.cli.errors import render_error
from wherry.errors import WherryError

# Where Go begins to speak of another package.
_PACKAGE: Final = re.compile(r"^(?=# \S)", re.MULTILINE)
_MOST_NAMES: Final = 5


def render_failures(failures: Sequence[tuple[str, WherryError]], color: bool) -> str:
    """The text for stderr of images (name, error), without a last newline."""
    groups: dict[tuple[type[WherryError], str, str], list[tuple[str, WherryError]]] = {}
    for name, error in failures:
        groups.setdefault((type(error), error.what, error.hint), []).append((name, error))
    texts = []
    for members in groups.values():
        names = list(dict.fromkeys(name for name, _ in members))
        merged = _merged([error for _, error in members])
        texts.append(f"{_listed(names)}: not built\n{render_error(merged, color)}")
    return "\n\n".join(texts)


def _merged(errors: Sequence[WherryError]) -> WherryError:
    """One error with the reasons of all: each once, in the order in which they were given."""
    first = errors[0]
    if all(error.why == first.why for error in errors):
        return first
    blocks = (block.strip("\n") for error in errors for block in _PACKAGE.split(error.why))
    merged = copy.copy(first)
    merged.why = "\n".join(dict.fromkeys(block for block in blocks if block))
    return merged


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: _MOST_NAMES - 1])} and {len(names) - _MOST_NAMES + 1} more"
