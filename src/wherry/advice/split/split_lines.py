# SPDX-License-Identifier: Apache-2.0
"""Which lines of a single-stage Dockerfile go to the stage that becomes the image."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Edit, Position, Range
from wherry.advice.reading.whole_lines import block
from wherry.frontends.dockerfile.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    Volume,
    Workdir,
)

if TYPE_CHECKING:
    from wherry.advice.views import Line, StageView

# Variables that steer the build alone.
_OF_BUILD: Final = frozenset(
    ("PATH", "DEBIAN_FRONTEND", "GO111MODULE", "GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOSUMDB",
     "GONOSUMCHECK", "GONOPROXY", "GOINSECURE", "GOFLAGS", "GOOS", "GOARCH", "GOARM", "GOARM64",
     "GOAMD64", "GO386", "GOMIPS", "GOPATH", "GOBIN", "GOCACHE", "GOMODCACHE", "GOROOT",
     "GOTOOLCHAIN", "GOEXPERIMENT", "GOWORK", "GOVCS", "CGO_ENABLED", "CGO_CFLAGS", "CGO_LDFLAGS",
     "CC", "CXX", "PKG_CONFIG_PATH")
)  # fmt: skip
_NAMES: Final = re.compile(r"\$\{?(\w+)")
_FIRST: Final = (Label, Maintainer)
_THEN: Final = (Expose, Volume, StopSignal, Healthcheck, Cmd, Entrypoint)


class Moving(NamedTuple):
    """What the second stage begins with and ends with, and the lines that leave the first."""

    first: tuple[str, ...]
    then: tuple[str, ...]
    removed: frozenset[int]


def moved_lines(stage: StageView, last: int, commands: dict[int, str]) -> Moving | None:
    """What of the lines before `last` is the image's; None where a variable cannot go with it.

    `commands` has the new words of commands by line.
    """
    first: list[str] = []
    then: list[str] = []
    removed: set[int] = set()
    kept: set[str] = set()
    moved: set[str] = set()
    for at, line in enumerate(stage.lines[:last]):
        typed = line.instruction
        if isinstance(typed, _FIRST):
            first.append(_text(line))
        elif isinstance(typed, _THEN):
            then.append(_text(line, commands.get(at)))
        elif isinstance(typed, Env):
            names = {pair.name for pair in typed.variables}
            for_image = names - _OF_BUILD
            kept |= names - for_image
            moved |= for_image
            if not for_image:
                continue
            if for_image == names and not _is_used(stage, line, last, names):
                first.append(_text(line))
            else:
                first.append(_only(line, typed, for_image))
                continue
        else:
            continue
        removed.add(at)
    arguments = _arguments(stage, last, (*first, *then), moved)
    if arguments is None or (arguments.names & kept):
        return None
    return Moving((*arguments.texts, *first), tuple(then), frozenset(removed))


class _Arguments(NamedTuple):
    texts: tuple[str, ...]
    names: set[str]


def _arguments(
    stage: StageView, last: int, texts: Iterable[str], known: set[str]
) -> _Arguments | None:
    """The ARGs that moved lines and those after `last` need again, and all names they use."""
    names = {name for text in texts for name in _NAMES.findall(text)}
    for line in stage.lines[last + 1 :]:
        if not isinstance(line.instruction, (Cmd, Entrypoint, Healthcheck, Run)):
            names |= set(_NAMES.findall(line.node.original))
    found: list[str] = []
    for line in stage.lines[:last]:
        if isinstance(line.instruction, Arg):
            for name, default in line.instruction.arguments:
                if name in names - known:
                    found.append(f"ARG {name}" if default is None else f"ARG {name}={default}")
    # The base of the new stage has a PATH of its own.
    return _Arguments(tuple(dict.fromkeys(found)), names - {"PATH"})


def _is_used(stage: StageView, line: Line, last: int, names: set[str]) -> bool:
    """Whether another line up to the last RUN names one of these variables."""
    return any(
        names & set(_NAMES.findall(_whole(other)))
        for other in stage.lines[: last + 1]
        if other is not line and not isinstance(other.instruction, (*_FIRST, *_THEN))
    )


def _whole(line: Line) -> str:
    return line.subject.text.slice(line.node.range)


def _only(line: Line, typed: Env, names: set[str]) -> str:
    if typed.old_form or len(names) == len(typed.variables):
        return _whole(line).replace("\r\n", "\n")
    pairs = (f"{pair.name}={pair.value}" for pair in typed.variables if pair.name in names)
    return f"ENV {' '.join(pairs)}"


def _text(line: Line, words: str | None = None) -> str:
    """An instruction as written with the comments above it; with other words if they are given."""
    text = line.subject.text
    first, _ = line.node.range.lines
    begin = block(text, line.node.range).start
    comments = text.slice(Range(begin, Position(first, 0)))
    written = _whole(line) if words is None else f"{line.node.original.split()[0]} {words}"
    return (comments + written).replace("\r\n", "\n")


def removal_edits(stage: StageView, removed: Iterable[int]) -> list[Edit]:
    """Edits that take instructions out with their comments, and no blank lines in twos."""
    gone: set[int] = set()
    for at in removed:
        line = stage.lines[at]
        whole = block(line.subject.text, line.node.range)
        gone |= set(range(whole.start.line, whole.end.line))
    lines = stage.subject.text.lines
    edits: list[Edit] = []
    for first in sorted(number for number in gone if number - 1 not in gone):
        last = first
        while last + 1 in gone:
            last += 1
        blank_before = first < 2 or not lines[first - 2].strip()
        if blank_before and last < len(lines) and not lines[last].strip():
            last += 1
        edits.append(Edit(Range(Position(first, 0), Position(last + 1, 0)), ""))
    return edits


def needs_directory(stage: StageView, last: int, *, relative: bool) -> bool:
    """Whether the second stage has to begin in the directory that the first ends with.

    `relative` says that the image's command names something by a relative path.
    """
    for line in stage.lines[last + 1 :]:
        typed = line.instruction
        if isinstance(typed, Workdir):
            return not line.expand(typed.path).startswith("/")
        if isinstance(typed, Copy) and not line.expand(typed.destination).startswith("/"):
            return True
    return relative


def tail_problem(stage: StageView, last: int) -> bool:
    """Whether something in the stage or behind its last RUN does not suit a base without shell."""
    if any(isinstance(line.instruction, Onbuild) for line in stage.lines):
        return True
    for line in stage.lines[last + 1 :]:
        typed = line.instruction
        if isinstance(typed, Shell):
            return True
        if isinstance(typed, Copy) and not re.fullmatch(r"[0-9:]*", typed.owner):
            return True
    return False
