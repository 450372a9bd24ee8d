# SPDX-License-Identifier: Apache-2.0
"""Which build checks a Dockerfile switches off (Dockerfile reference, "check").

`# check=skip=NAME,NAME;error=true` is a parser directive for the whole file; the same words in a
comment right above an instruction hold for that one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from wherry.frontends.dockerfile.numbers import parse_truth
from wherry.frontends.dockerfile.refusals import SPACES, BadValue, choices

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMMENT = re.compile(r"check[\t\n\f\r ]*=[\t\n\f\r ]*(.+)", re.IGNORECASE)
_OPTIONS = ("skip", "error", "experimental")


class Checks(NamedTuple):
    """`skipped` holds names of checks, or `all`; `error` makes every warning an error.

    `experimental` holds names of checks, or `all`, that are only made where they are named.
    """

    skipped: frozenset[str] = frozenset()
    error: bool = False
    experimental: frozenset[str] = frozenset()

    def allows(self, check: str) -> bool:
        """Whether a check is to be told of."""
        return "all" not in self.skipped and check not in self.skipped


def read_checks(value: str) -> Checks:
    """What a check directive says; raises `BadValue`. Only its first word counts."""
    skipped, experimental = frozenset[str](), frozenset[str]()
    error = False
    for part in value.partition(" ")[0].split(";", 2):
        key, equals, text = part.partition("=")
        key, text = key.strip(SPACES), text.strip(SPACES)
        if not equals or key not in _OPTIONS:
            raise BadValue(
                f"check={value}: there is no option {part!r}",
                choices(key, (f"{name}=" for name in _OPTIONS), "the options are"),
            )
        if key == "skip":
            skipped = _names(text)
        elif key == "experimental":
            experimental = _names(text)
        else:
            error = _read_error(value, text)
    return Checks(skipped, error, experimental)


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip(SPACES) for name in text.split(","))


def _read_error(value: str, text: str) -> bool:
    try:
        return parse_truth(text)
    except BadValue as wrong:
        raise BadValue(f"check={value}: error: {wrong.message}", "write error=true") from None


def with_comments(checks: Checks, comments: Iterable[str]) -> Checks:
    """`checks`, and what the comments above an instruction switch off; bad ones say nothing."""
    for comment in comments:
        found = _COMMENT.match(comment)
        if not found:
            continue
        try:
            return checks._replace(skipped=checks.skipped | read_checks(found[1]).skipped)
        except BadValue:
            return checks
    return checks
