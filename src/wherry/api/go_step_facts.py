# SPDX-License-Identifier: Apache-2.0
"""What a Dockerfile says that matters to the places of its steps' Go caches.

Which modules are private, and whose the caches are: a place keeps what the last build of each of
its users used, so that two projects must not have one name, and one project not two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from wherry.api.request import BuildRequest, is_remote
from wherry.graph.build import BuildGraph
from wherry.graph.keys import encode
from wherry.graph.ops import ExecOp
from wherry.oci.canonical import canonical_json
from wherry.oci.digest import sha256
from wherry.oci.reference import parse_reference

_PRIVATE: Final = ("GOPRIVATE", "GONOPROXY", "GONOSUMDB")
# As a command sets them, for itself or by `go env -w`; quotes may be around all of it.
_SAID: Final = re.compile(rf"\b(?:{'|'.join(_PRIVATE)})=(\"[^\"]*\"|'[^']*'|[^\s;&|\"']*)")
_ALL: Final = "*"
# What other packages are compiled for; other values of a build may be new each time.
_COMPILED_FOR: Final = ("GOOS", "GOARCH", "GOARM", "GOAMD64", "GOEXPERIMENT", "CGO_ENABLED")
_LONGEST_USER: Final = 200


def private_modules(graph: BuildGraph) -> str:
    """The patterns of modules that the steps of a Dockerfile call private, joined by commas.

    Of variables, and of commands that set them; `*` where only the shell knows what they set.
    """
    found: set[str] = set()
    for op in _steps(graph):
        for item in op.env:
            name, _, value = item.partition("=")
            if name in _PRIVATE:
                found.add(value)
        if any(mount.env in _PRIVATE for mount in op.mounts):
            found.add(_ALL)
        for text in (*op.args, *(content for _, content in op.heredocs)):
            for match in _SAID.finditer(text):
                value = match[1].strip("\"'")
                found.add(_ALL if "$" in value or "`" in value else value)
    return ",".join(sorted(filter(None, found)))


def cache_user(request: BuildRequest, graph: BuildGraph) -> str:
    """Who uses the Go caches of a build: this project's Dockerfile, wherever and when it is built.

    The same for all builds of a Dockerfile until its Go steps say something else.
    """
    words = (os.path.basename(request.file), request.target, request.platform)
    shown = " ".join(filter(None, ("dockerfile", *words)))
    steps = tuple(
        (
            op.args,
            op.heredocs,
            op.cwd,
            tuple(item for item in op.env if item.partition("=")[0] in _COMPILED_FOR),
        )
        for op in _steps(graph)
        if op.go_caches
    )
    digest = sha256(canonical_json(encode((_project(request), _file(request), steps))))
    return f"{shown[:_LONGEST_USER]} {digest.short}"


def _steps(graph: BuildGraph) -> Iterator[ExecOp]:
    return (vertex.op for vertex in graph.vertices if isinstance(vertex.op, ExecOp))


def _project(request: BuildRequest) -> list[str]:
    """What tells a project from others: the names of its images; else that of the context."""
    if request.tags:
        return sorted({parse_reference(tag).repository for tag in request.tags})
    if request.source == "-" or request.foreign:
        return []
    if is_remote(request.source, request.cwd):
        # Of git a branch is no other project, and another directory is.
        place, _, fragment = request.source.partition("#")
        return [os.path.basename(place.rstrip("/")), fragment.partition(":")[2]]
    return [os.path.basename(_place(request))]


def _place(request: BuildRequest) -> str:
    return os.path.normpath(os.path.join(request.cwd, request.source))


def _file(request: BuildRequest) -> str:
    """The Dockerfile as the context has it; its name alone, where it lies elsewhere."""
    path = os.path.normpath(os.path.join(request.cwd, request.file))
    place = _place(request)
    below = request.file and path.startswith(f"{place}/")
    return os.path.relpath(path, place) if below else os.path.basename(request.file)
