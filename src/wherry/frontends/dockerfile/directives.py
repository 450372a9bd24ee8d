# SPDX-License-Identifier: Apache-2.0
"""Parser directives (Dockerfile reference, "Parser directives"): `syntax`, `escape`, `check`.

They stand before anything else. The first line that is none of the three ends them, and whatever
looks like one after it is a comment. BuildKit looks for `syntax` and `check` a second time, to
choose a front end and its checks: there a first line that begins with `#!` is passed over, and an
indented line is not seen. What it would not see is not told here either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.errors import UsageError
from wherry.frontends.dockerfile.gotext import quoted
from wherry.frontends.dockerfile.nodes import Directive
from wherry.frontends.dockerfile.refusals import SPACES, choices
from wherry.frontends.dockerfile.source import Position, Problem, Problems, Range
from wherry.oci.reference import DEFAULT_REGISTRY, parse_reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.frontends.dockerfile.nodes import Parsed

_NAMES: Final = ("syntax", "escape", "check")
_BLANK: Final = "\t\n\f\r "
_ESCAPES: Final = ("\\", "`")
_OURS: Final = ("docker/dockerfile", "docker/dockerfile-upstream")
_CHECK_OPTIONS: Final = ("skip", "error", "experimental")
_BOOLEANS: Final = frozenset(
    ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False")
)


class Head(NamedTuple):
    """The top of a file: its directives, on how many lines, and what is wrong with them."""

    directives: tuple[Directive, ...]
    escape: str
    lines: int
    problems: tuple[Problem, ...]


def read_head(lines: Sequence[str]) -> Head:
    """Read the directives; the first of a name counts, a second one is a problem."""
    found: dict[str, Directive] = {}
    problems: list[Problem] = []
    seen: list[Directive] = []
    for directive in _directives(lines, 1):
        seen.append(directive)
        if directive.name in found:
            message = f"the directive {directive.name} is given twice"
            problems.append(Problem(message, directive.range, "remove one of the two"))
        found.setdefault(directive.name, directive)
    escape = found["escape"].value if "escape" in found else "\\"
    if escape not in _ESCAPES:
        problems.append(_bad_escape(found["escape"]))
        escape = "\\"
    told = _told(lines, seen)
    problems.extend(_bad_checks(told))
    return Head(told, escape, len(seen), tuple(problems))


def require_syntax(parsed: Parsed) -> None:
    """Raise `Problems` where the file asks for another front end than this one."""
    refused = check_syntax(parsed)
    if refused is not None:
        raise Problems((refused,))


def check_syntax(parsed: Parsed) -> Problem | None:
    """What is wrong with the file's `syntax` directive; None where wherry reads that language.

    Every tag and digest of `docker/dockerfile` and `docker/dockerfile-upstream` on Docker Hub is
    taken, whatever the version. BuildKit would fetch the image and run it; wherry runs none.
    """
    for directive in parsed.directives:
        if directive.name == "syntax" and not _is_ours(directive.value.partition(" ")[0]):
            return Problem(
                f"another language than a Dockerfile's: syntax={directive.value}",
                directive.range,
                "wherry reads docker/dockerfile itself and runs no other front end: write"
                " syntax=docker/dockerfile:1 or leave the line out if the file is a Dockerfile",
            )
    return None


def _is_ours(image: str) -> bool:
    try:
        reference = parse_reference(image)
    except UsageError:
        return False
    return reference.registry == DEFAULT_REGISTRY and reference.repository in _OURS


def _directives(lines: Sequence[str], first: int) -> Iterator[Directive]:
    """The directives at the top of `lines`, of which the first is line `first` of the file."""
    for number, raw in enumerate(lines, first):
        line = raw.rstrip("\r")
        text = line.lstrip(SPACES)
        if text[:1] != "#":
            return
        before, _, after = text[1:].lstrip(SPACES).partition("=")
        name = before.rstrip(_BLANK).lower()
        # Of a value of spaces alone the last one counts.
        value = after.strip(_BLANK) or after[-1:]
        if name not in _NAMES or not before.isascii() or not value:
            return
        start = Position(number, len(line) - len(text))
        yield Directive(name, value, Range(start, Position(number, len(line))))


def _told(lines: Sequence[str], seen: Sequence[Directive]) -> tuple[Directive, ...]:
    """The directives that count: of each name the first, and where nothing indented is above."""
    told: dict[str, Directive] = {}
    indented = False
    for directive in seen:
        indented = indented or directive.range.start.column > 0
        if directive.name == "escape" or (not indented and directive.name not in told):
            told.setdefault(directive.name, directive)
    if lines and lines[0].startswith("#!"):
        for directive in _directives(lines[1:], 2):
            if directive.range.start.column or directive.name in told:
                break
            told[directive.name] = directive
        told.pop("escape", None)
    return tuple(told.values())


def _bad_escape(directive: Directive) -> Problem:
    message = f"not an escape character: {quoted(directive.value)}"
    return Problem(message, directive.range, "write escape=\\ or escape=`")


def _bad_checks(directives: Sequence[Directive]) -> Iterator[Problem]:
    """What is wrong with the options of a `check` directive (`skip=...;error=true`)."""
    for directive in directives:
        if directive.name == "check":
            # As BuildKit has it, the value ends with the first space.
            for option in directive.value.partition(" ")[0].split(";", 2):
                problem = _bad_check(option, directive.range)
                if problem is not None:
                    yield problem


def _bad_check(option: str, place: Range) -> Problem | None:
    name, equals, value = option.partition("=")
    if not equals or name.strip(SPACES) not in _CHECK_OPTIONS:
        hint = choices(name.strip(SPACES), _CHECK_OPTIONS, "options are")
        return Problem(f"no option of the check directive: {quoted(option)}", place, hint)
    if name.strip(SPACES) == "error" and value.strip(SPACES) not in _BOOLEANS:
        return Problem(f"neither true nor false: {quoted(option)}", place, "write error=true")
    return None
