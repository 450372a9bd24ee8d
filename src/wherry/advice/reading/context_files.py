# SPDX-License-Identifier: Apache-2.0
"""Which file of the build context stands at a path of a stage's root while an instruction runs.

Followed through COPY, bind mounts and the stages before; what a RUN may do to the file later is not
known, and passed over. None means "not known", never "not there".
"""

from __future__ import annotations

import fnmatch
import posixpath
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.destinations import is_into, is_known
from wherry.advice.reading.directories import is_directory
from wherry.advice.reading.paths import is_within, normal
from wherry.advice.reading.remembered import of_stage
from wherry.frontends.dockerfile.instructions import Copy, Run

if TYPE_CHECKING:
    from wherry.advice.views import Line, StageView

_DEEPEST: Final = 20
_WILD: Final = frozenset("*?[")


class ContextFile(NamedTuple):
    """A path of the build context, and the instruction that brings it."""

    path: str
    line: Line


def context_file(line: Line, path: str) -> ContextFile | None:
    """What of the context stands at the absolute `path` when `line` begins to run."""
    if isinstance(line.instruction, Run):
        mounted = _mounted(line, line.instruction, path)
        if mounted is not None:
            return ContextFile(mounted, line) if mounted else None
    lines = line.stage.all_lines
    at = next(at for at, other in enumerate(lines) if other is line)
    return _copied_before(lines[:at], normal(path), 0)


@of_stage
def _copied_into(stage: StageView, path: str, depth: int) -> ContextFile | None:
    return _copied_before(stage.all_lines, path, depth)


def _copied_before(lines: tuple[Line, ...], path: str, depth: int) -> ContextFile | None:
    if depth > _DEEPEST:
        return None
    for line in reversed(lines):
        typed = line.instruction
        if not isinstance(typed, Copy) or typed.heredocs or typed.parents or typed.excludes:
            continue
        if not is_known(line, typed.destination):
            continue
        destination = line.expand(typed.destination)
        target = line.state.path(destination)
        into = is_into(destination, typed.sources) or is_directory(line.stage, target)
        for written in typed.sources:
            source = line.expand(written)
            found = (
                _from_stage(line, source, target, into, path, depth)
                if typed.from_
                else _from_context(line, source, target, into, path)
            )
            if found is not None:
                return found
    return None


def _from_context(
    line: Line, source: str, target: str, into: bool, path: str
) -> ContextFile | None:
    context = line.subject.context
    if context is None or "://" in source or "$" in source:
        return None
    relative = posixpath.normpath(source.lstrip("/") or ".")
    if any(mark in source for mark in _WILD):
        # Files by their names; what a directory that matches would bring is not followed.
        name = posixpath.basename(path)
        if posixpath.dirname(path) != target:
            return None
        if not fnmatch.fnmatchcase(name, posixpath.basename(relative)):
            return None
        inner = posixpath.join(posixpath.dirname(relative), name)
        if context.is_directory(inner):
            return None
    elif context.is_directory(relative):
        if not is_within(path, target):
            return None
        inner = posixpath.join(relative, path[len(target.rstrip("/")) + 1 :])
    else:
        if path != (posixpath.join(target, posixpath.basename(relative)) if into else target):
            return None
        inner = relative
    inner = posixpath.normpath(inner)
    if context.has(inner) and (inner == "." or not context.hides(inner)):
        return ContextFile(inner, line)
    return None


def _from_stage(
    line: Line, source: str, target: str, into: bool, path: str, depth: int
) -> ContextFile | None:
    stage = line.subject.source_stage(line)
    if stage is None or not is_within(path, target) or any(mark in source for mark in "$*?["):
        return None
    inside = path[len(target.rstrip("/")) + 1 :]
    # A directory's content is copied, or a file; which it is, the stage's own lines tell.
    candidates = [posixpath.join("/", source, inside)]
    if into and inside == posixpath.basename(source.rstrip("/")):
        candidates.append(posixpath.join("/", source))
    for candidate in candidates:
        found = _copied_into(stage, normal(candidate), depth + 1)
        if found is not None:
            return found
    return None


def _mounted(line: Line, run: Run, path: str) -> str | None:
    """The path in the context that a bind mount of the RUN has there.

    Empty where a mount lies there that brings something else, None where no mount does.
    """
    for mount in reversed(run.mounts):
        target = line.state.path(line.expand(mount.target))
        if not mount.target or not is_within(path, target):
            continue
        context = line.subject.context
        if mount.type != "bind" or mount.from_ or context is None:
            return ""
        inside = path[len(target.rstrip("/")) + 1 :]
        inner = posixpath.normpath(
            posixpath.join(line.expand(mount.source).lstrip("/") or ".", inside)
        )
        shown = context.has(inner) and (inner == "." or not context.hides(inner))
        return inner if shown else ""
    return None
