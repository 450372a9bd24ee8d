# SPDX-License-Identifier: Apache-2.0
"""The closure: every file and setting that one Go build depends on, gathered after `go list`.

Three kinds of packages: those of the toolchain stand for by its version; those in the module cache
by stat (Go itself keeps them unchanged); all others (main module, workspace, local replacements,
vendor) by content. What go would look for and does not find belongs to the closure too.

The build runs beside the gathering, so the closure also knows what to look at afterwards: a file
that changed since the build began makes it void.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wherry.golang import listing
from wherry.golang.command import GoTool
from wherry.golang.embedded import watched_directories
from wherry.golang.modfile import local_directories
from wherry.golang.packages import Package
from wherry.golang.record import Inputs, file_digest, look_up, sealed
from wherry.golang.signature import RACY_NS, directory_signature, signature, signature_of
from wherry.golang.toolchain import GoFacts

# Contents are read up to this sum; what is beyond is compared by signature.
READ_LIMIT = 64 << 20
# Variables that matter though `go env` does not list them.
_MORE_VARIABLES = ("HOME", "XDG_CONFIG_HOME", "SOURCE_DATE_EPOCH")


class World(NamedTuple):
    """What surrounds one build: the go command with its directory, and all flags in force.

    `user_env` is the environment that the user gave, before wherry set anything on top; `flags`
    are GOFLAGS and the flags that are passed.
    `extra_files` and `extra_absent` are the caller's own inputs (settings file, Dockerfile);
    `extra_tools` are compared by signature.
    """

    tool: GoTool
    facts: GoFacts
    user_env: Mapping[str, str]
    flags: tuple[str, ...]
    extra_files: tuple[str, ...] = ()
    extra_absent: tuple[str, ...] = ()
    extra_tools: tuple[str, ...] = ()


class Closure(NamedTuple):
    """The inputs, and what to watch until the build has ended.

    `watched` maps the paths that a user edits to their signatures when gathered; `newest` is the
    latest change time among them, in nanoseconds. `cached` holds (module's root, package directory,
    latest change time) of the module cache. `unclear` says why no record may be written.
    """

    inputs: Inputs
    watched: Mapping[str, str]
    newest: int
    cached: tuple[tuple[str, str, int], ...]
    unclear: str


def gather(packages: Iterable[Package], world: World, salt: str) -> Closure:
    """Gather the closure of `packages` (all dependencies of the mains, mains included)."""
    found = _Found(world)
    for package in packages:
        found.add_package(package)
    found.add_surroundings()
    # Signatures first, contents second: an edit between the two shows when compared again.
    watched, newest = _watch([*found.files, *found.directories, *found.embedded])
    files, large = _split(found.files)
    modules = {path: directory_signature(path) for path in sorted(found.modules)}
    inputs = Inputs(
        files=files,
        large=large,
        modules={path: [names, signatures] for path, (names, signatures, _) in modules.items()},
        tools={path: signature_of(path) for path in sorted(found.tools)},
        absent=sorted(found.absent),
        go_names={path: listing.go_names(path) for path in sorted(found.directories)},
        all_names={path: listing.all_names(path) for path in sorted(found.embedded)},
        lookups={"go": look_up("go", world.user_env.get("PATH", ""))},
        environment={
            name: sealed(name, world.user_env.get(name), salt)
            for name in sorted({*world.facts.all, *_MORE_VARIABLES})
        },
    )
    edited = tuple((found.modules[path], path, latest) for path, (_, _, latest) in modules.items())
    return Closure(inputs, watched, newest, edited, found.unclear)


def changed_since(closure: Closure, began_ns: int | None) -> str:
    """The path that changed while the build ran, or the empty string.

    `began_ns` is the file system's clock when the build began; None where that clock is another
    machine's, so that only the signatures taken before the build count.
    """
    for path, before in closure.watched.items():
        if signature_of(path) != before:
            return path
    if began_ns is not None and closure.newest >= began_ns:
        return next((path for path in closure.watched if _changed_at(path) >= began_ns), "")
    if began_ns is None:
        return ""
    for root, directory, latest in closure.cached:
        # A module that this build downloaded is new as a whole; an edited one only in part.
        if latest >= began_ns and _changed_at(root) < began_ns:
            return directory
    return ""


class _Found:
    """Paths by kind, collected package by package."""

    def __init__(self, world: World) -> None:
        self.files: set[str] = set()
        self.directories: set[str] = set()
        self.embedded: set[str] = set()
        # Package directories of the module cache and the root of the module they belong to.
        self.modules: dict[str, str] = {}
        self.tools: set[str] = set()
        self.absent: set[str] = set(world.extra_absent)
        self.unclear = ""
        self._world = world
        self._cache = world.facts.gomodcache.rstrip("/") + "/"
        self._roots: set[str] = set()

    def add_package(self, package: Package) -> None:
        if package.standard or not package.dir:
            return
        if package.cgo_files:
            # Headers of the system take part: only the compiler knows which.
            self.unclear = f"{package.import_path} uses cgo"
        embedded = [os.path.join(package.dir, name) for name in package.embed_files]
        root = package.module.dir if package.module else ""
        if package.dir.startswith(self._cache):
            for directory in (package.dir, *(os.path.dirname(path) for path in embedded)):
                self.modules[directory] = root or package.dir
            return
        if root and (package.dir + "/").startswith(root + "/"):
            self._roots.add(root)
        self.directories.add(package.dir)
        self.files.update(embedded)
        self.embedded |= watched_directories(package.dir, package.embed_patterns)

    def add_surroundings(self) -> None:
        world = self._world
        self._add_modules()
        self._add_parents()
        for directory in self.directories:
            for name in listing.go_names(directory).split("\0"):
                path = os.path.join(directory, name)
                if name and os.path.isfile(path):
                    self.files.add(path)
        for root in self._roots:
            if os.path.isdir(os.path.join(root, "vendor")):
                self._optional(os.path.join(root, "vendor", "modules.txt"))
        self._add_toolchain()
        self._add_flag_files()
        self.files.update(world.extra_files)
        self.tools.update(world.extra_tools)

    def _add_modules(self) -> None:
        """Roots of the main modules, the workspace, and of all directories that they name."""
        facts = self._world.facts
        pending = [os.path.dirname(path) for path in (facts.gomod, facts.gowork) if path]
        pending += list(self._roots)
        seen: set[str] = set()
        while pending:
            root = pending.pop()
            if root in seen or root == "/dev":
                continue
            seen.add(root)
            for name in ("go.mod", "go.work"):
                pending += local_directories(os.path.join(root, name))
        self._roots |= seen
        self.directories |= {root for root in seen if os.path.isdir(root)}
        self.absent |= {root for root in seen if not os.path.isdir(root)}

    def _add_parents(self) -> None:
        """Directories between packages and their module's root: a go.mod may appear in them."""
        for directory in (*self.directories, self._world.tool.directory):
            path = directory
            between: list[str] = []
            while path not in self._roots and path != os.path.dirname(path):
                between.append(path)
                path = os.path.dirname(path)
            if path in self._roots:
                self.directories.update(between)
        work = os.path.dirname(self._world.facts.gowork)
        path = self._world.tool.directory
        while path != work:
            self.absent.add(os.path.join(path, "go.work"))
            parent = os.path.dirname(path)
            if parent == path:
                break
            path = parent

    def _add_toolchain(self) -> None:
        go, facts = self._world.tool.go, self._world.facts
        self.tools |= {go.path, go.real_path, os.path.join(facts.goroot, "bin", "go")}
        self._optional(os.path.join(facts.goroot, "VERSION"))
        self._optional(os.path.join(facts.goroot, "go.env"))
        if facts.goenv and facts.goenv != "off":
            self._optional(facts.goenv)

    def _add_flag_files(self) -> None:
        for flag in self._world.flags:
            name, _, value = flag.lstrip("-").partition("=")
            path = os.path.join(self._world.tool.directory, value)
            if name in ("toolexec", "compiler", "gccgoflags", "pkgdir", "asmflags"):
                self.unclear = f"the flag -{name} brings in programs or files of its own"
            elif name == "pgo" and value not in ("auto", "off", ""):
                self._optional(path)
            elif name == "modfile":
                self._optional(path)
                self._optional(path.removesuffix(".mod") + ".sum")
            elif name == "overlay":
                self._optional(path)
                self._add_overlay(path)

    def _add_overlay(self, path: str) -> None:
        try:
            with open(path, encoding="utf-8") as file:
                replaced = json.load(file).get("Replace", {})
            targets = [target for target in replaced.values() if target]
        except (OSError, ValueError, AttributeError):
            self.unclear = "the overlay file cannot be read"
            return
        for target in targets:
            self._optional(os.path.join(self._world.tool.directory, target))

    def _optional(self, path: str) -> None:
        (self.files if os.path.exists(path) else self.absent).add(path)


def _split(paths: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Files read by content up to the limit; larger sums by signature where that proves a thing."""
    files: dict[str, str] = {}
    large: dict[str, str] = {}
    budget = READ_LIMIT
    now = time.time_ns()
    for path in sorted(paths):
        try:
            status = os.stat(path)
        except OSError:
            files[path] = ""
            continue
        budget -= status.st_size
        racy = now - max(status.st_mtime_ns, status.st_ctime_ns) < RACY_NS
        if budget >= 0 or racy:
            files[path] = file_digest(path)
        else:
            large[path] = signature(status)
    return files, large


def _watch(paths: Iterable[str]) -> tuple[dict[str, str], int]:
    watched = {path: signature_of(path) for path in sorted(set(paths))}
    return watched, max(map(_changed_at, watched), default=0)


def _changed_at(path: str) -> int:
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return 0
