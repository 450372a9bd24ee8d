# SPDX-License-Identifier: Apache-2.0
"""Where a path of a stage's root comes from, followed through COPY and the stages.

The answer is as good as the Dockerfile lets it be: a RUN may make any file, so that a path that
nothing is known to make is *maybe* there, and only where no RUN, no unknown base and no unknown
copy could have made it is it *absent*.
"""

from __future__ import annotations

import posixpath
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.destinations import is_into
from wherry.advice.reading.go_commands import GoCommand, go_commands
from wherry.advice.reading.paths import normal
from wherry.advice.reading.remembered import of_stage
from wherry.frontends.dockerfile.instructions import Copy, Run

if TYPE_CHECKING:
    from wherry.advice.views import Line, StageView

_DEEPEST: Final = 40
# Asking what a source is follows it twice: that must not double at every stage.
_DEEPEST_FILE: Final = 3
_DATA: Final = ("/etc/", "/usr/share/", "/home/nonroot", "/tmp", "/var", "/root")  # noqa: S108
_WILD: Final = frozenset("*?[")


class Kind(Enum):
    """What is known of a path."""

    BUILT = "built by go"
    CONTEXT = "from the build context"
    MAYBE = "maybe there"
    ABSENT = "not there"


class Found(NamedTuple):
    """Where a path comes from.

    `line` is the instruction that brought it last, None for a base's file; `command` the go command
    that built it; `path` its path in the build context or in the stage that has it at first.
    """

    kind: Kind
    line: Line | None = None
    command: GoCommand | None = None
    path: str = ""


MAYBE: Final = Found(Kind.MAYBE)
ABSENT: Final = Found(Kind.ABSENT)


def find(stage: StageView, path: str) -> Found:
    """Where an absolute path of the root that a stage ends with comes from."""
    return _find(stage, normal(path), 0)


@of_stage
def _find(stage: StageView, path: str, depth: int) -> Found:
    if depth > _DEEPEST:
        return MAYBE
    unsure = False
    for line in reversed(stage.all_lines):
        typed = line.instruction
        if isinstance(typed, Copy):
            found = _copied(line, typed, path, depth)
            if found is not None and found.kind is not Kind.ABSENT:
                return found._replace(line=line) if found.kind is not Kind.MAYBE else MAYBE
            unsure = unsure or _is_unclear(typed)
        elif isinstance(typed, Run):
            found = _made(line, path)
            if found is not None:
                return found
            unsure = unsure or not _only_go(line)
    if unsure or not _base_lacks(stage, path):
        return MAYBE
    return ABSENT


def _base_lacks(stage: StageView, path: str) -> bool:
    facts = stage.facts
    if stage.is_scratch:
        return True
    if facts.family == "distroless" and facts.libc == "none":
        # Its whole content is data: nothing there is a program of somebody's.
        return not path.startswith(_DATA)
    if facts.known and facts.family != "golang":
        # A distribution has programs in these directories only.
        return not path.startswith(("/bin/", "/sbin/", "/usr/", "/lib", "/etc/", "/opt/", "/var/"))
    return False


def _copied(line: Line, typed: Copy, path: str, depth: int) -> Found | None:
    """What a COPY brings to `path`; None where it does not reach it."""
    destination = line.expand(typed.destination)
    if "$" in destination:
        return MAYBE
    target = line.state.path(destination)
    into = is_into(destination, typed.sources)
    if typed.heredocs:
        names = {posixpath.join(target, item.name) if into else target for item in typed.heredocs}
        return Found(Kind.CONTEXT, line, None, "") if path in names else None
    for written in typed.sources:
        source = line.expand(written)
        single = _is_single(line, typed, source, depth)
        if single:
            inner = _file_path(source, target, into, path)
        else:
            inner = _source_path(line, source, target, into, path)
        if inner is None:
            continue
        found = _in_source(line, typed, inner, depth)
        if found.kind is not Kind.ABSENT:
            return found
    return None


def _is_single(line: Line, typed: Copy, source: str, depth: int) -> bool:
    """Whether a source certainly is a file, whatever its name looks like."""
    if any(mark in source for mark in _WILD) or _is_unclear(typed) or depth > _DEEPEST_FILE:
        return False
    context = line.subject.context
    relative = posixpath.normpath(source.lstrip("/") or ".")
    if typed.from_:
        stage = line.subject.source_stage(line)
        if stage is None:
            return False
        found = _find(stage, normal(relative), depth + 1)
        if found.kind is Kind.BUILT:
            return found.command is not None and found.command.output == found.path
        if found.kind is not Kind.CONTEXT:
            return False
        relative = found.path
    return context is not None and context.has(relative) and not context.is_directory(relative)


def _file_path(source: str, target: str, into: bool, path: str) -> str | None:
    """As `_source_path`, for a file: it lies at the destination, or in it by its own name."""
    if path == target:
        return None if into else source
    # Without a slash at its end the destination may be a directory of the base nevertheless.
    inside = posixpath.join(target, posixpath.basename(source.rstrip("/")))
    return source if path == inside else None


def _source_path(line: Line, source: str, target: str, into: bool, path: str) -> str | None:
    """The path that `path` has in what is copied; None where this source does not make it."""
    name = posixpath.basename(source.rstrip("/"))
    is_directory = source.rstrip("/") in ("", ".") or source.endswith("/") or _is_dir(line, source)
    # A directory's content is copied, a file under its name or as the destination.
    if path == target and not into:
        return source
    inside = path.removeprefix(target.rstrip("/") + "/")
    if inside == path:
        return None
    if any(mark in source for mark in _WILD):
        return posixpath.join(posixpath.dirname(source), inside)
    if into and not is_directory and inside.split("/")[0] == name:
        return source
    return posixpath.join(source or ".", inside)


def _is_dir(line: Line, source: str) -> bool:
    context = line.subject.context
    typed = line.instruction
    if context is None or not isinstance(typed, Copy) or typed.from_:
        return False
    return context.is_directory(source.lstrip("/") or ".")


def _in_source(line: Line, typed: Copy, inner: str, depth: int) -> Found:
    if typed.from_:
        stage = line.subject.source_stage(line)
        if stage is None:
            return MAYBE
        path = normal(inner)
        return _find(stage, path, depth + 1)
    if typed.add and "://" in inner:
        return MAYBE
    context = line.subject.context
    relative = posixpath.normpath(inner.lstrip("/") or ".")
    if context is None or any(mark in inner for mark in _WILD):
        return MAYBE
    if context.has(relative) and not context.hides(relative):
        return Found(Kind.CONTEXT, line, None, relative)
    if typed.add:
        # An archive may hold it.
        return MAYBE
    return ABSENT


def _is_unclear(typed: Copy) -> bool:
    return typed.add and any("://" in source or ".t" in source for source in typed.sources)


def _made(line: Line, path: str) -> Found | None:
    """What a RUN's go commands build at `path`; None where they do not."""
    for command in go_commands(line):
        if not command.builds:
            continue
        output = command.output
        if output == path:
            return Found(Kind.BUILT, line, command, path)
        if output is not None and output.endswith("/") and path.startswith(output):
            return Found(Kind.BUILT, line, command, path)
        if output is None and command.verb == "build" and command.directory:
            # Named after its package: no name of a source.
            name = posixpath.basename(path)
            if posixpath.dirname(path) == command.directory and "." not in name:
                return Found(Kind.BUILT, line, command, path)
        if command.verb == "install" and posixpath.dirname(path) in _bins(command):
            return Found(Kind.BUILT, line, command, path)
        if output == "":
            return MAYBE
    return None


def _bins(command: GoCommand) -> tuple[str, ...]:
    named = command.environment.get("GOBIN")
    if named:
        return (named.rstrip("/"),)
    gopath = command.environment.get("GOPATH", "")
    return (f"{gopath.split(':')[0].rstrip('/')}/bin",) if gopath else ("/go/bin", "/root/go/bin")


_HARMLESS: Final = frozenset(
    ("go", "cd", "set", "export", "echo", "true", "rm", "adduser", "addgroup", "useradd",
     "groupadd", "chown", "chmod", ":")
)  # fmt: skip


def _only_go(line: Line) -> bool:
    """Whether a RUN makes no files but those of its go commands."""
    commands = line.commands
    if not commands:
        return False
    for command in commands:
        if command.words and command.program not in _HARMLESS:
            return False
        if any(item.operator.startswith(">") for item in command.redirects):
            return False
        if command.program == "go":
            words = command.arguments
            if words[:1] and words[0] in ("run", "generate", "tool", "test"):
                return False
    return True
