# SPDX-License-Identifier: Apache-2.0
"""Which paths of the build context a COPY, an ADD or a mount puts where in a stage."""

from __future__ import annotations

import fnmatch
import os
import posixpath
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.destinations import VARIABLE, is_into
from wherry.advice.views import expanded
from wherry.frontends.dockerfile.instructions import Copy, Mount, Run
from wherry.frontends.dockerfile.mounts import parse_mount
from wherry.frontends.dockerfile.source import Problems

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.views import Line, State


_WILD: Final = frozenset("*?[")
# What wildcards of a COPY are asked about where the build context is not known.
_LIKELY: Final = ("go.mod", "go.sum", "go.work", "go.work.sum")


class Placed(NamedTuple):
    """A path of the build context (empty for all of it), and where it stands in the stage.

    Of a `directory` the content is put at `target`.
    """

    source: str
    target: str
    directory: bool

    def source_of(self, path: str) -> str | None:
        """The path in the build context that is put at `path`; None where this one puts nothing."""
        if path == self.target and not self.directory:
            return self.source
        inside = within(path, self.target)
        if not self.directory or inside is None:
            return None
        return posixpath.join(self.source, inside)


def within(path: str, directory: str) -> str | None:
    """`path` relative to `directory`, empty for itself; None where it is not in there."""
    if path == directory or not directory:
        return "" if path == directory else path
    inside = path.removeprefix(f"{directory.rstrip('/')}/")
    return None if inside == path else inside


def brings(placed: tuple[Placed, ...], path: str, context: Context | None) -> bool:
    """Whether any of them puts a file at `path`."""
    for item in placed:
        source = item.source_of(path)
        if source is None:
            continue
        if not item.directory or context is None:
            return True
        if context.has(source) and not context.hides(source):
            return True
    return False


def placed_by(line: Line, state: State | None = None) -> tuple[Placed, ...] | None:
    """What an instruction puts where, as far as it comes from the build context.

    None where that cannot be told. A file may stand at two places, where a destination may be a
    directory or its name. `state` is what is true there, by default the line's own.
    """
    typed, state = line.instruction, state or line.state
    if isinstance(typed, Run):
        return _mounted(line)
    if not isinstance(typed, Copy) or typed.from_:
        return ()
    if typed.heredocs or typed.parents or typed.excludes:
        return None
    escape, variables = line.subject.parsed.escape, state.variables
    names = VARIABLE.findall(" ".join((*typed.sources, typed.destination)))
    if any(name not in variables for name in names):
        return None
    destination = expanded(typed.destination, variables, escape)
    sources = [expanded(source, variables, escape) for source in typed.sources]
    if "$" in destination or any("$" in source or "://" in source for source in sources):
        return None
    target = state.path(destination)
    into = is_into(destination, sources)
    found: list[Placed] = []
    for written in sources:
        for source in _named(line.subject.context, written):
            found.extend(_placed(line.subject.context, written, source, target, into))
    return tuple(found)


def _named(context: Context | None, written: str) -> list[str]:
    source = posixpath.normpath("/" + written).lstrip("/")
    if not any(mark in source for mark in _WILD):
        return [source]
    directory, name = posixpath.split(source)
    if any(mark in directory for mark in _WILD):
        return []
    names: tuple[str, ...] = _LIKELY
    if context is not None:
        try:
            names = tuple(sorted(os.listdir(os.path.join(context.directory, directory))))
        except OSError:
            return []
    paths = [posixpath.join(directory, item) for item in fnmatch.filter(names, name)]
    return [path for path in paths if context is None or not context.hides(path)]


def _placed(
    context: Context | None, written: str, source: str, target: str, into: bool
) -> list[Placed]:
    if context is None:
        directory = source == "" or written.endswith("/")
    else:
        directory = source == "" or context.is_directory(source)
    if directory:
        return [Placed(source, target, True)]
    inside = Placed(source, posixpath.join(target, posixpath.basename(source)), False)
    return [inside] if into else [inside, Placed(source, target, False)]


def mounts_of(line: Line) -> tuple[Mount, ...] | None:
    """The mounts of a RUN with variables worked in; None where they cannot be told."""
    typed = line.instruction
    if not isinstance(typed, Run):
        return ()
    if not typed.mount_texts:
        return typed.mounts
    try:
        return tuple(parse_mount(text, line.expand) for text in typed.mount_texts)
    except Problems:
        return None


def _mounted(line: Line) -> tuple[Placed, ...] | None:
    mounts = mounts_of(line)
    if mounts is None:
        return None
    found: list[Placed] = []
    for mount in mounts:
        if mount.type != "bind" or mount.from_:
            continue
        source = posixpath.normpath("/" + mount.source).lstrip("/")
        target = line.state.path(mount.target)
        context = line.subject.context
        directory = source == "" if context is None else context.is_directory(source or ".")
        found.append(Placed(source, target, directory))
    return tuple(found)
