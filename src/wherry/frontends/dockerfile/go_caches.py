# SPDX-License-Identifier: Apache-2.0
"""Which RUNs of a graph may use the Go caches of earlier builds, as far as the graph can tell.

What a RUN leaves in GOCACHE and GOMODCACHE need not be in its result where nobody looks: it is kept
beside it, and the next build finds it. Nobody looks (1) where the root is neither the image's nor
one that it begins with, (2) where no COPY and no mount reads a path at, above or below such a
directory, (3) where the step itself mounts nothing there. Besides, a command's text may tell that
it would notice the caches, or fill them with what is not for others; for all else texts count for
nothing. What only the files of the root can tell is found out when the step runs
(`wherry.sandbox.go_caches`).

A root whose steps have no network shows them just the modules that its own steps fetched, as a
build without such caches would: its modules stay in it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from wherry.frontends.dockerfile.swept import meets, swept
from wherry.graph.build import BuildGraph, Vertex
from wherry.graph.ops import (
    Copy,
    ExecMount,
    ExecOp,
    FileOp,
    GoCachePlace,
    MakeDirectory,
    MergeOp,
)

_BUILD = "build"
_MODULES = "modules"
_WILDCARD = re.compile(r"[*?\[\\]")
_ROOT_USERS = re.compile(r"(root|0)?(:(root|0))?")
_NAME = re.compile(r"[a-z_][a-z0-9_.-]*")
# What other builds must not take for theirs: another program's work, what a file says that Go's key
# does not know, directories of other modes; or the compiler is to leave files of its own; or a step
# wants just the modules that its own stage has fetched. Looked for in the environment, too.
_SETTINGS = {
    _BUILD: (
        ("toolexec", re.compile("toolexec")),
        ("pgoprofile", re.compile("pgoprofile")),
        ("GOSSAFUNC", re.compile("GOSSAFUNC")),
    ),
    _MODULES: (
        ("modcacherw", re.compile("modcacherw")),
        ("GOPROXY=off", re.compile(r"""GOPROXY=[\\"']*off""")),
    ),
}
# The directories themselves, which are there before Go has made them.
_WORDS = {
    _BUILD: (".cache", "go-build", "GOCACHE"),
    _MODULES: ("pkg/mod", "GOMODCACHE", "GOPATH/pkg", "GOPATH}/pkg"),
}
_IMAGE = "the image is made of this stage"


@dataclass
class _Root:
    """What is done with the files of one vertex, and in the roots that it is part of."""

    is_exported: bool = False
    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    swept: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)  # a kind, and why not


def with_go_caches(graph: BuildGraph) -> BuildGraph:
    """The graph, with the Go caches that each RUN may use."""
    if not any(isinstance(vertex.op, ExecOp) for vertex in graph.vertices):
        return graph
    roots = _roots(graph)
    vertices = tuple(
        vertex._replace(op=_allowed(vertex.op, root)) if isinstance(vertex.op, ExecOp) else vertex
        for vertex, root in zip(graph.vertices, roots, strict=True)
    )
    return graph._replace(vertices=vertices)


def without_go_caches(graph: BuildGraph, why: str) -> BuildGraph:
    """The graph with steps that use none; `why` is what the user reads.

    A step that is refused all of them keeps its own reason. Keys see none.
    """
    vertices = tuple(
        vertex._replace(op=replace(vertex.op, go_caches=(), no_go_caches=why))
        if isinstance(vertex.op, ExecOp) and (vertex.op.go_caches or not vertex.op.no_go_caches)
        else vertex
        for vertex in graph.vertices
    )
    return graph._replace(vertices=vertices)


def _roots(graph: BuildGraph) -> list[_Root]:
    """What is known of each vertex's root; that of a later one counts for what it stands on."""
    vertices = graph.vertices
    roots = [_Root() for _ in vertices]
    for image in graph.images:
        for layer in image.layers:
            if layer.vertex is not None:
                roots[layer.vertex].is_exported = True
    for number, vertex in reversed(tuple(enumerate(vertices))):
        for source, path in _reads(vertex):
            roots[source].reads.add(path)
        if isinstance(vertex.op, ExecOp):
            roots[number].refused.update(_refused(vertex.op))
            roots[number].swept.update(_swept(vertex.op))
        below = _below(vertex)
        if below is not None:
            roots[below].is_exported |= roots[number].is_exported
            roots[below].reads |= roots[number].reads
            # With --link the layer is made by another vertex.
            made = vertices[vertex.inputs[1]] if isinstance(vertex.op, MergeOp) else vertex
            roots[below].writes |= {*roots[number].writes, *_writes(made)}
            roots[below].swept |= roots[number].swept
            roots[below].refused.update(roots[number].refused)
    # What one step of a root refuses, all do.
    for number, vertex in enumerate(vertices):
        below = _below(vertex)
        if below is not None:
            roots[number].refused.update(roots[below].refused)
    return roots


def _below(vertex: Vertex) -> int | None:
    """The vertex whose root this one changes."""
    op = vertex.op
    if isinstance(op, ExecOp | MergeOp) or (isinstance(op, FileOp) and not op.alone):
        return vertex.inputs[0]
    return None


def _reads(vertex: Vertex) -> Iterator[tuple[int, str]]:
    """The paths that a vertex reads of others' roots."""
    op = vertex.op
    if isinstance(op, FileOp):
        for action in op.actions:
            if isinstance(action, Copy):
                yield vertex.inputs[action.source - op.alone], _fixed(action.path)
    elif isinstance(op, ExecOp):
        for mount in op.mounts:
            if mount.input >= 0:
                yield vertex.inputs[mount.input], _fixed(mount.selector)


def _writes(vertex: Vertex) -> Iterator[str]:
    """The paths that COPY, ADD and WORKDIR make in a root: they do not see what lies outside."""
    if isinstance(vertex.op, FileOp):
        for action in vertex.op.actions:
            place = action.path if isinstance(action, MakeDirectory) else action.destination
            yield posixpath.normpath("/" + place.lstrip("/"))


def _fixed(path: str) -> str:
    """The part of a path that has no wildcards: what a pattern finds lies below it."""
    parts = []
    for part in path.split("/"):
        if _WILDCARD.search(part):
            break
        parts.append(part)
    return posixpath.normpath("/" + "/".join(parts).lstrip("/"))


def _refused(op: ExecOp) -> Iterator[tuple[str, str]]:
    """The kinds of caches that no step of this root may have, because of this one."""
    if op.network == "none":
        yield _MODULES, "a step of this stage has no network"
    texts = (*op.args, *(text for pair in op.heredocs for text in pair))
    settings = (*texts, *op.env)
    for kind, patterns in _SETTINGS.items():
        for word, pattern in patterns:
            if any(pattern.search(text) for text in settings):
                yield kind, f"a step of this stage says {word}"
    # The assembler then looks for headers where Go's key does not.
    if all(any(word in text for text in settings) for word in ("asmflags", "-I")):
        yield _BUILD, "a step of this stage says asmflags"
    for kind, words in _WORDS.items():
        for word in words:
            if any(word in text for text in texts):
                yield kind, f"a step of this stage says {word}"
    for place in _places(op):
        for parent in _parents(place.path):
            if any(parent in text for text in texts):
                yield place.kind, f"a step of this stage says {parent}"


def _swept(op: ExecOp) -> Iterator[str]:
    """The paths that the step's own commands copy, pack or search with all that is in them."""
    env = dict(item.partition("=")[::2] for item in op.env)
    home = _home(op.user, env)[0]
    if home:
        env["HOME"] = home
    path = env.get("GOPATH", "").split(":")[0] or (f"{home}/go" if home else "")
    if path:
        env["GOPATH"] = path
    for text in (" ".join(op.args), *(text for pair in op.heredocs for text in pair)):
        yield from swept(text, op.cwd, env)


def _parents(path: str) -> Iterator[str]:
    """A cache's directory, and those above it that an image need not have."""
    parts = path.strip("/").split("/")
    for number in range(min(2, len(parts)), len(parts) + 1):
        yield "/" + "/".join(parts[:number])


def _allowed(op: ExecOp, root: _Root) -> ExecOp:
    if root.is_exported:
        return replace(op, no_go_caches=_IMAGE)
    found, reasons = [], []
    for place in _places(op):
        why = _why_not(place, op, root)
        if why:
            reasons.append(why)
        else:
            found.append(place)
    return replace(op, go_caches=tuple(found), no_go_caches=", ".join(dict.fromkeys(reasons)))


def _why_not(place: GoCachePlace, op: ExecOp, root: _Root) -> str:
    if place.kind in root.refused:
        return root.refused[place.kind]
    for path in sorted(root.reads):
        if _touch(path, place.path):
            return f"{path} of this stage is copied or mounted elsewhere"
    for path in sorted(root.swept):
        if meets(path, place.path):
            return f"a step of this stage reads all of {path}"
    for path in sorted(root.writes):
        if path == place.path or path.startswith(f"{place.path}/"):
            return f"a COPY or WORKDIR of this stage goes to {path}"
    for target in _targets(op.mounts):
        if _touch(target, place.path):
            return f"the step mounts {target}"
    return ""


def _targets(mounts: Iterable[ExecMount]) -> Iterator[str]:
    for mount in mounts:
        if mount.target:
            yield posixpath.normpath("/" + mount.target.lstrip("/"))


def _touch(one: str, other: str) -> bool:
    """Whether two paths are the same, or one lies below the other."""
    first, second = sorted((one.rstrip("/"), other.rstrip("/")), key=len)
    return first == second or second.startswith(f"{first}/")


def _places(op: ExecOp) -> Iterator[GoCachePlace]:
    """Where Go keeps its caches in the step, by `go help environment`.

    None for what depends on more than variables and the usual home directory.
    """
    env = dict(item.partition("=")[::2] for item in op.env)
    home, assumed = _home(op.user, env)
    found = []
    build = env.get("GOCACHE", "")
    if not build and _is_place(env.get("XDG_CACHE_HOME", "")):
        build = f"{env['XDG_CACHE_HOME']}/go-build"
    if _is_place(build):
        found.append(GoCachePlace(_BUILD, posixpath.normpath(build)))
    elif not build and home and not env.get("XDG_CACHE_HOME"):
        found.append(GoCachePlace(_BUILD, posixpath.normpath(f"{home}/.cache/go-build"), assumed))
    modules, paths = env.get("GOMODCACHE", ""), env.get("GOPATH", "").split(":")[0]
    if not modules and _is_place(paths):
        modules = f"{paths}/pkg/mod"
    if _is_place(modules):
        found.append(GoCachePlace(_MODULES, posixpath.normpath(modules)))
    elif not modules and not env.get("GOPATH") and home:
        found.append(GoCachePlace(_MODULES, posixpath.normpath(f"{home}/go/pkg/mod"), assumed))
    if "GOCACHEPROG" in env:
        found = [place for place in found if place.kind != _BUILD]
    if len(found) == 2 and _touch(found[0].path, found[1].path):
        return
    yield from found


def _home(user: str, env: dict[str, str]) -> tuple[str, str]:
    """The home directory; and once more where that is the usual one, which has to be checked."""
    home = env.get("HOME", "")
    if home:
        return (home if _is_place(home) else ""), ""
    name = user.partition(":")[0]
    if _ROOT_USERS.fullmatch(user):
        home = "/root"
    elif _NAME.fullmatch(name):
        home = f"/home/{name}"
    return home, home


def _is_place(path: str) -> bool:
    return path.startswith("/") and posixpath.normpath(path).strip("/") != "" and "\0" not in path
