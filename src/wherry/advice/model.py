# SPDX-License-Identifier: Apache-2.0
"""Rules, findings and fixes as values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.frontends.dockerfile.source import Position, Range

if TYPE_CHECKING:
    from wherry.advice.subject import Subject

__all__ = ["Edit", "Finding", "Fix", "Need", "Position", "Range", "Rule", "Severity"]


class Severity(StrEnum):
    """How bad a finding is.

    `error`: the build or the image fails. `warning`: slow, fat or unsafe. `info`: could be better.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


_RANKS: Final = {Severity.INFO: 0, Severity.WARNING: 1, Severity.ERROR: 2}


def rank(severity: Severity) -> int:
    """Higher is worse."""
    return _RANKS[severity]


class Need(StrEnum):
    """What a rule has to know besides the Dockerfile; without it, the rule is left out.

    `context`: the directory that is built from. `module`: the go.mod in it. `closure`: what the
    packages import, which Go has to be asked for.
    """

    CONTEXT = "context"
    MODULE = "module"
    CLOSURE = "closure"


class Edit(NamedTuple):
    """Replace the characters of `range` by `text`; an empty range inserts.

    `path` is empty for the Dockerfile itself, else a file's path in the build context, which is
    made where it is not there.
    """

    range: Range
    text: str
    path: str = ""


class Fix(NamedTuple):
    """Edits that belong together, what they do in a few words, and whether nothing else changes.

    A fix that is not `safe` may change what the image does, or needs to be looked at.
    """

    title: str
    edits: tuple[Edit, ...]
    safe: bool = True


class Finding(NamedTuple):
    """One thing that a rule found: where, what, what to do about it, and perhaps how.

    `range` is in the Dockerfile. `message` is one line; `hint` says what to write instead.
    `related` are other places of the same Dockerfile with a word each.
    """

    rule: Rule
    range: Range
    message: str
    hint: str = ""
    fix: Fix | None = None
    related: tuple[tuple[Range, str], ...] = ()


class Rule(NamedTuple):
    """A rule: `id` (`GO001`) never changes, `name` (`copy-before-download`) is for people.

    `summary` is one line for lists. `look` yields the findings in one Dockerfile; `needs` says what
    it has to know for that. `experimental` ones are only asked by name, as the file's `check`
    directive or the user may.
    """

    id: str
    name: str
    severity: Severity
    summary: str
    look: Callable[[Subject, Rule], Iterator[Finding]]
    needs: frozenset[Need] = frozenset()
    mends: bool = False
    experimental: bool = False

    def find(
        self, place: Range, message: str, hint: str = "", fix: Fix | None = None,
        related: tuple[tuple[Range, str], ...] = (),
    ) -> Finding:  # fmt: skip
        """A finding of this rule."""
        return Finding(self, place, message, hint, fix, related)
