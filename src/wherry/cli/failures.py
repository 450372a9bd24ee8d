# SPDX-License-Identifier: Apache-2.0
"""The images of a build that could not be made, told at its end, each reason once.

Programs of one module share packages: a compile error in one of those fails every image, and Go
says it for each. What Go says of a package stands here once, in one block, whole, with its places
at the left margin, below the names of the images that it is the end of.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from wherry.api.request import ImageFailure
from wherry.cli.errors import render_error
from wherry.cli.progress.output import printable
from wherry.errors import SeveralErrors, WherryError

# Where Go begins to speak of another package.
_PACKAGE: Final = re.compile(r"^(?=# \S)", re.MULTILINE)
_MOST_NAMES: Final = 5


class Reason(NamedTuple):
    """Why there are no images of these names."""

    names: tuple[str, ...]
    error: WherryError


def reasons_of(failures: Sequence[ImageFailure]) -> tuple[Reason, ...]:
    """Each reason once, with the names of all images that it is the end of."""
    groups: dict[tuple[type[WherryError], str, str], list[Reason]] = {}
    for failure in failures:
        for error in _each(failure.error):
            key = (type(error), error.what, error.hint)
            groups.setdefault(key, []).append(Reason((failure.name,), error))
    return tuple(
        Reason(
            tuple(dict.fromkeys(name for item in members for name in item.names)),
            _merged([item.error for item in members]),
        )
        for members in groups.values()
    )


def render_failures(failures: Sequence[ImageFailure], color: bool) -> str:
    """The text for stderr, without a last newline."""
    return "\n\n".join(
        f"{printable(_listed(reason.names))}: not built\n{render_error(reason.error, color)}"
        for reason in reasons_of(failures)
    )


def _each(error: WherryError) -> Iterator[WherryError]:
    if not isinstance(error, SeveralErrors):
        yield error
        return
    for item in error.errors:
        yield from _each(item)


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
