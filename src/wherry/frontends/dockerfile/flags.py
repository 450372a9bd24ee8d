# SPDX-License-Identifier: Apache-2.0
"""Flags of instructions (`COPY --from=...`): which there are, and reading them.

A switch is `--link` or `--link=true|false`; a text is `--name=value`, given at most once; texts
may be given often. Flags of ARG, STOPSIGNAL and `HEALTHCHECK NONE` are ignored, as BuildKit does.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.refusals import BadValue, choices
from wherry.frontends.dockerfile.source import Problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.frontends.dockerfile.nodes import Flag, Node
    from wherry.frontends.dockerfile.source import Problem, Range


class Kind(Enum):
    """What a flag takes."""

    SWITCH = "switch"
    TEXT = "text"
    TEXTS = "texts"


_COPIED: dict[str, Kind] = {"chown": Kind.TEXT, "chmod": Kind.TEXT, "link": Kind.SWITCH}

FLAGS: Mapping[str, Mapping[str, Kind]] = {
    "FROM": {"platform": Kind.TEXT},
    "RUN": {
        "mount": Kind.TEXTS,
        "network": Kind.TEXT,
        "security": Kind.TEXT,
        "device": Kind.TEXTS,
    },
    "COPY": {"from": Kind.TEXT, **_COPIED, "parents": Kind.SWITCH, "exclude": Kind.TEXTS},
    "ADD": {
        **_COPIED,
        "checksum": Kind.TEXT,
        "keep-git-dir": Kind.SWITCH,
        "unpack": Kind.SWITCH,
        "exclude": Kind.TEXTS,
    },
    "HEALTHCHECK": {
        "interval": Kind.TEXT,
        "timeout": Kind.TEXT,
        "start-period": Kind.TEXT,
        "start-interval": Kind.TEXT,
        "retries": Kind.TEXT,
    },
}
_NONE: Mapping[str, Kind] = {}
_SWITCHES = {"": True, "true": True, "false": False}


class Given:
    """The flags that an instruction was given, by name without dashes."""

    __slots__ = ("_places", "_values")

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self._places: dict[str, list[Range]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def add(self, name: str, value: str, place: Range) -> None:
        """Take note of one flag."""
        self._values.setdefault(name, []).append(value)
        self._places.setdefault(name, []).append(place)

    def text(self, name: str) -> str:
        """The value of a flag that may be given once, or the empty string."""
        return self._values[name][0] if name in self._values else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of a flag that may be given often."""
        return tuple(self._values.get(name, ()))

    def switch(self, name: str) -> bool | None:
        """What a switch says, or None where it is not given."""
        return _SWITCHES[self._values[name][0]] if name in self._values else None

    def place(self, name: str, index: int = 0) -> Range:
        """Where a flag that was given stands."""
        return self._places[name][index]


_NOTHING = Given()


def read_flags(node: Node) -> Given:
    """The flags of `node`, as far as its keyword takes them; `Problems` has all wrong ones."""
    if not node.flags:
        return _NOTHING
    given = Given()
    problems: list[Problem] = []
    for flag in node.flags:
        # Nothing after a lone `--` is a flag.
        if flag.text == "--":
            break
        try:
            _read(node.keyword, flag, given)
        except BadValue as wrong:
            problems.append(wrong.at(flag.range))
    if problems:
        raise Problems(tuple(problems))
    return given


def _read(keyword: str, flag: Flag, given: Given) -> None:
    allowed = FLAGS.get(keyword, _NONE)
    dashed, equals, value = flag.text.partition("=")
    name = dashed[2:]
    if name not in allowed:
        raise _unknown(keyword, dashed, allowed)
    kind = allowed[name]
    if name in given and kind is not Kind.TEXTS:
        raise BadValue(f"{keyword} has {dashed} twice", "remove one of them")
    if kind is Kind.SWITCH:
        value = _read_switch(dashed, equals, value)
    elif not equals:
        raise BadValue(f"{dashed} has no value", f"write {dashed}=VALUE, without a blank")
    given.add(name, value, flag.range)


def _read_switch(dashed: str, equals: str, value: str) -> str:
    lowered = value.lower()
    if lowered not in _SWITCHES or (equals and not value):
        raise BadValue(
            f"{dashed} is true or false, not {value!r}", f"write {dashed} or {dashed}=false"
        )
    return lowered


def _unknown(keyword: str, dashed: str, allowed: Mapping[str, Kind]) -> BadValue:
    if not allowed:
        return BadValue(
            f"{keyword} takes no flags, but has {dashed}",
            f"remove it, or write -- before it if it is not meant as a flag: {keyword} -- ...",
        )
    dashes = tuple(f"--{name}" for name in allowed)
    return BadValue(
        f"{keyword} has no flag {dashed}", choices(dashed, dashes, f"the flags of {keyword} are")
    )
