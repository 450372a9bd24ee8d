# SPDX-License-Identifier: Apache-2.0
"""The regular expressions behind ignore rules with wildcards.

moby (github.com/moby/patternmatcher) defines what such a rule matches by writing a Go regular
expression for it, so that odd rules have the meaning of the odd expression: `\\d` is a digit,
`[?]` becomes `[[^/]]`. `rule_expression` writes that text, `read_expression` reads it (the small
part of Go's syntax that can come about), and `Expression` matches paths. Python's `re` does so
wherever it needs no more than a few steps for each character; other expressions are followed by
the set of places that each of their parts can reach, which is slower but never blows up.

Differences that are left: the letters of `\\pL` and its like are those of this Python's Unicode.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from wherry.fstree.expression_syntax import (
    WITHIN_LINE,
    Choices,
    Directories,
    Many,
    One,
    Part,
    Place,
    Repeat,
    read_choices,
)
from wherry.fstree.wildcard import INVALID, Ranges, class_source, negated

_SLASH: Final = ord("/")
_WITHIN_NAME: Final = negated(((_SLASH, _SLASH),))


def rule_expression(rule: str) -> str | None:
    """The expression of a normal rule, or None for a rule without wildcards inside.

    Those are plain texts, or texts with `**` as their first or last characters only.
    """
    text = rule.removeprefix("\ufeff")
    written = "^"
    # What the rule has been so far: moby spares expressions for the simplest kinds.
    kind = "plain"
    index = 0
    while index < len(text):
        found = _PIECE.match(text, index)
        assert found is not None  # noqa: S101 - the last choice of _PIECE takes any character
        piece = found[0]
        if piece.startswith("**"):
            ends = found.end() == len(text)
            if ends and kind == "plain":
                kind = "begins"
            else:
                written += ".*" if ends else "(.*/)?"
                kind = "expression"
            kind = "ends" if index == 0 else kind
        else:
            written += _PIECES.get(piece, piece if len(piece) > 1 else _escaped(piece))
            if piece[0] in "*?[]" or len(piece) > 1:
                kind = "expression"
        index = found.end()
    return f"{written}$" if kind == "expression" else None


_PIECE: Final = re.compile(r"\*\*/?|\\.|.", re.DOTALL)
_PIECES: Final = {"*": "[^/]*", "?": "[^/]"}


def _escaped(character: str) -> str:
    # moby means to escape `|`, `{` and `}` as well, but misses them: they keep their sense.
    return f"\\{character}" if character in ".+()$" else character


class Expression:
    """An expression that was read; `source` is one for Python's `re.fullmatch`, if it is safe.

    That holds for paths in one line of ASCII characters, with `re.DOTALL`.
    """

    def __init__(self, choices: Choices) -> None:
        self._choices = tuple(map(_without_doubles, choices))
        self.source = _safe_source(self._choices[0]) if len(choices) == 1 else None
        self._regex: re.Pattern[str] | None = None

    def matches(self, path: str) -> bool:
        """Whether the path is one of those meant."""
        if not path.isascii():
            path = _INVALID_BYTE.sub(chr(INVALID), path)
        if self.source is not None and "\n" not in path:
            if self._regex is None:
                self._regex = re.compile(self.source, re.DOTALL)
            return self._regex.fullmatch(path) is not None
        return any(_is_found(parts, path) for parts in self._choices)


def _without_doubles(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts without a `**` or `*` that follows its like, which adds nothing."""
    kept: list[Part] = []
    for part in parts:
        if not (kept and kept[-1] == part and isinstance(part, Directories | Many)):
            kept.append(part)
    return tuple(kept)


def _is_found(parts: tuple[Part, ...], path: str) -> bool:
    """Whether the parts match anywhere in the path."""
    places = list(range(len(path) + 1))
    for part in parts:
        places = _reached(part, path, places)
        if not places:
            return False
    return True


_INVALID_BYTE: Final = re.compile("[\udc80-\udcff]")


@lru_cache(maxsize=512)
def read_expression(text: str) -> Expression:
    """Read what `rule_expression` wrote; raises `BadExpression` where Go refuses it."""
    return Expression(read_choices(_INVALID_BYTE.sub(chr(INVALID), text)))


def _safe_source(parts: tuple[Part, ...]) -> str | None:
    """A Python expression that cannot blow up, or None.

    Between two slashes only the last `*` needs to try several places: what follows an earlier one
    is taken where it first fits, as the next star may cover the rest. The same goes for `**`
    between slashes, and for what stands between it and the next one. A `**` elsewhere, and sets
    that hold a slash, are not for `re`.
    """
    if not parts or parts[0] != Place("begin") or parts[-1] != Place("end"):
        return None
    inner = parts[1:-1]
    sources: list[str] = []
    # Where in `sources` the last star of this file or directory name is, and the last `**`.
    star = directories = -1
    for index, part in enumerate(inner):
        match part:
            case One(ranges) if ranges == ((_SLASH, _SLASH),):
                sources.append("/")
                star = -1
            case One(ranges) if not _holds(ranges, _SLASH):
                sources.append(_one_source(ranges))
            case Many(ranges) if ranges == _WITHIN_NAME:
                if star >= 0:
                    sources[star:] = [f"(?>[^/]*?{''.join(sources[star + 1 :])})"]
                star = len(sources)
                sources.append("[^/]*")
            case Many(ranges) if ranges == WITHIN_LINE and index == len(inner) - 1:
                sources.append(".*")
            case Directories() if not sources or sources[-1] == "/":
                if directories >= 0:
                    names = "".join(sources[directories + 1 :])
                    sources[directories:] = [f"(?>(?:.*?/)??{names})"]
                directories = len(sources)
                sources.append(ANY_DIRECTORIES)
            case _:
                return None
    return "".join(sources)


ANY_DIRECTORIES: Final = "(?:.*/)?"
"""How a source begins that matches at any depth."""


def _one_source(ranges: Ranges) -> str:
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return re.escape(chr(ranges[0][0]))
    return class_source(ranges)


def _reached(part: Part, path: str, places: list[int]) -> list[int]:
    """Where in `path` one can be after `part`; `places` and the answer ascend."""
    match part:
        case One(ranges):
            return [
                place + 1
                for place in places
                if place < len(path) and _holds(ranges, ord(path[place]))
            ]
        case Many(ranges):
            reached: list[int] = []
            for place in places:
                if reached and reached[-1] >= place:
                    continue
                reached.append(place)
                while reached[-1] < len(path) and _holds(ranges, ord(path[reached[-1]])):
                    reached.append(reached[-1] + 1)
            return reached
        case Directories():
            covered = _reached(Many(WITHIN_LINE), path, places)
            below = [place + 1 for place in covered if path[place : place + 1] == "/"]
            return sorted({*places, *below})
        case Place(name):
            return [place for place in places if _is_place(name, path, place)]
        case Repeat():
            return _reached_again(part, path, places)


def _reached_again(repeat: Repeat, path: str, places: list[int]) -> list[int]:
    for _ in range(repeat.least):
        places = _reached(repeat.part, path, places)
    reached = set(places)
    times = repeat.least
    while places and (repeat.most is None or times < repeat.most):
        # Only new places are worth going on from.
        places = [place for place in _reached(repeat.part, path, places) if place not in reached]
        reached.update(places)
        times += 1
    return sorted(reached)


def _is_place(name: str, path: str, place: int) -> bool:
    match name:
        case "begin":
            return place == 0
        case "end":
            return place == len(path)
        case _:
            before, after = path[max(0, place - 1) : place], path[place : place + 1]
            edge = bool(_WORD.fullmatch(before)) != bool(_WORD.fullmatch(after))
            return edge == (name == "word edge")


_WORD: Final = re.compile(r"[0-9A-Za-z_]")


def _holds(ranges: Ranges, character: int) -> bool:
    return any(low <= character <= high for low, high in ranges)
