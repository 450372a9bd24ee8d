# SPDX-License-Identifier: Apache-2.0
"""What a build of a Dockerfile depends on, looked at before and after it, for its record.

Anything that is not the same afterwards, or whose state proves nothing, leaves the build without a
record: the next one then looks everything up step by step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wherry.api.request import DOCKERFILES, BuildRequest, is_remote
from wherry.api.settled import (
    Settled,
    WatchedBase,
    WatchedContext,
    digests_of,
    may_have_record,
    settings_files,
    write_settled,
)
from wherry.engines.local.files import fixed_part
from wherry.graph.ops import Copy, ExecOp, FileOp, GitOp, HttpOp, LocalOp

if TYPE_CHECKING:
    from wherry.api.contexts import Context
    from wherry.api.recorded import Output
    from wherry.api.resolving import Resolver
    from wherry.engines.local.results import Held
    from wherry.graph.build import BuildGraph, Vertex
    from wherry.store.store import Store


class Watch:
    """Watches one build; made before anything of it is read."""

    def __init__(self, request: BuildRequest) -> None:
        self._request = request
        self._possible = may_have_record(request) and not _asks_elsewhere(request)
        self._files = digests_of(self._paths()) if self._possible else {}
        self._contexts: list[tuple[WatchedContext, Held]] = []
        self._bases: tuple[WatchedBase, ...] = ()

    def look(self, graph: BuildGraph, resolver: Resolver, context: Context) -> None:
        """Note the state of all that the graph selects of contexts, before a step runs."""
        if not self._possible:
            return
        if any(isinstance(vertex.op, HttpOp | GitOp) for vertex in graph.vertices):
            self._possible = False
            return
        self._bases = resolver.watched()
        for op, prefixes in _selected(graph):
            held = context.held if op.name == "context" else resolver.held[op.name]
            state = held.signature(prefixes)
            if state is None:
                self._possible = False
                return
            watched = WatchedContext(op.place, op.ignore, prefixes, state)
            self._contexts.append((watched, held))

    def record(self, store: Store, output: Output) -> None:
        """Record the build, if nothing that it depends on changed meanwhile."""
        if not self._possible or digests_of(self._files) != self._files:
            return
        if any(held.signature(item.prefixes) != item.state for item, held in self._contexts):
            return
        contexts = tuple(item for item, _ in self._contexts)
        write_settled(self._request, store, Settled(self._files, contexts, self._bases, output))

    def _paths(self) -> tuple[str, ...]:
        request = self._request
        place = os.path.normpath(os.path.join(request.cwd, request.source))
        names = (request.file,) if request.file else DOCKERFILES
        base = request.cwd if request.file else place
        files = [os.path.join(base, name) for name in names]
        named = (item for _, item in request.build_contexts if "://" not in item)
        directories = [place]
        directories += [os.path.normpath(os.path.join(request.cwd, item)) for item in named]
        return (
            *files,
            *(f"{path}.dockerignore" for path in files),
            *(os.path.join(directory, ".dockerignore") for directory in directories),
            *settings_files(request, place),
        )


def _asks_elsewhere(request: BuildRequest) -> bool:
    """Whether something of the build comes from a place that cannot be looked at quickly."""
    places = (request.source, request.file)
    named = (item for _, item in request.build_contexts if not item.startswith("docker-image://"))
    return any(is_remote(item, request.cwd) for item in (*places, *named))


def _selected(graph: BuildGraph) -> list[tuple[LocalOp, tuple[str, ...]]]:
    """The contexts that steps copy from, each with the paths that selections stay below."""
    prefixes: dict[int, dict[str, None]] = {}
    for vertex in graph.vertices:
        for source, action in _selections(vertex):
            prefixes.setdefault(source, {})[fixed_part(action)] = None
    found = []
    for number, below in prefixes.items():
        op = graph.vertices[number].op
        if isinstance(op, LocalOp):
            found.append((op, tuple(sorted(below))))
    return found


def _selections(vertex: Vertex) -> Iterator[tuple[int, Copy]]:
    """What a step selects of which vertex: by COPY and ADD, or by a mount of RUN."""
    op = vertex.op
    if isinstance(op, FileOp):
        for action in op.actions:
            if isinstance(action, Copy):
                yield vertex.inputs[action.source - 1 if op.alone else action.source], action
    elif isinstance(op, ExecOp):
        for mount in op.mounts:
            if mount.input >= 0:
                selector = mount.selector or "/"
                yield vertex.inputs[mount.input], Copy(mount.input, selector, "/", literal=True)
