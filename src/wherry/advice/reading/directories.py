# SPDX-License-Identifier: Apache-2.0
"""Which paths of a stage's root certainly are directories."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from wherry.advice.reading.destinations import (
    WILD,
    goes_into,
    is_known,
    knows_directory,
    target_of,
)
from wherry.advice.reading.paths import is_below, is_within, normal
from wherry.advice.reading.remembered import of_stage
from wherry.frontends.dockerfile.instructions import Copy, Run, Workdir

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Command
    from wherry.advice.views import Line, StageView

_MOVERS: Final = frozenset(("rm", "rmdir", "mv", "ln", "unlink", "find"))
_DEEPEST: Final = 20
# Distributions have these, and the images of Go those below /go.
_FAMILIES: Final = frozenset(("alpine", "debian", "ubuntu", "fedora", "golang"))
_OF_BASES: Final = frozenset(
    ("/bin", "/sbin", "/usr", "/usr/bin", "/usr/sbin", "/usr/local", "/usr/local/bin", "/usr/share",
     "/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/var", "/mnt")  # noqa: S108
)  # fmt: skip
_OF_GO: Final = frozenset(("/go", "/go/bin", "/go/src"))


@of_stage
def is_directory(stage: StageView, path: str, depth: int = 0) -> bool:
    """Whether a path of the root that a stage ends with certainly is a directory."""
    if path == "/":
        return True
    if depth > _DEEPEST or any(_may_replace(line, path) for line in stage.all_lines):
        return False
    family = stage.facts.family
    if (family in _FAMILIES and path in _OF_BASES) or (family == "golang" and path in _OF_GO):
        return True
    return any(_makes_directory(line, path, depth) for line in stage.all_lines)


def _may_replace(line: Line, path: str) -> bool:
    """Whether a RUN may take a directory away."""
    if not isinstance(line.instruction, Run):
        return False
    for command in line.commands:
        if command.program not in _MOVERS:
            continue
        for word in command.words[1:]:
            value = word.value.rstrip("/")
            if not word.fixed and not (value.endswith("/*") and value.startswith("/var/")):
                return True
            place = line.state.path(value) if value else "/"
            if not value.startswith("-") and is_within(path, place):
                return True
    return False


def _makes_directory(line: Line, path: str, depth: int) -> bool:
    match line.instruction:
        case Workdir(path=written):
            if not is_known(line, written) or not knows_directory(line):
                return False
            place = line.state.path(line.expand(written))
            return is_within(place, path)
        case Run():
            return any(_is_mkdir_of(command, path) for command in line.commands)
        case Copy() as typed:
            return _copies_directory(line, typed, path, depth)
        case _:
            return False


def _is_mkdir_of(command: Command, path: str) -> bool:
    if command.program != "mkdir" or command.either or command.depth:
        return False
    places = [word.value for word in command.words[1:] if word.fixed and word.value[:1] == "/"]
    places = [posixpath.normpath(place) for place in places]
    return any(is_within(place, path) for place in places)


def _copies_directory(line: Line, typed: Copy, path: str, depth: int) -> bool:
    target = target_of(line)
    if target is None or typed.parents:
        return False
    if is_below(target, path) or (target == path and goes_into(line)):
        return True
    if target != path or typed.heredocs or not is_known(line, typed.sources[0]):
        return False
    source = line.expand(typed.sources[0])
    if WILD.search(source) or typed.add:
        return False
    if typed.from_:
        stage = line.subject.source_stage(line)
        place = normal(source)
        return stage is not None and is_directory(stage, place, depth + 1)
    context = line.subject.context
    return context is not None and context.is_directory(source.lstrip("/") or ".")
