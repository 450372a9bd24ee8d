# SPDX-License-Identifier: Apache-2.0
"""Everything that one Go build reaches for, as paths by kind.

`go list` names most of it; the rest is what go looks for around the packages: module and workspace
files up to the root, vendor/, files that flags name, the toolchain and its settings. What is not
there counts as much as what is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from wherry.golang.command import GoTool
from wherry.golang.embedded import parent_directories, watched_directories
from wherry.golang.flagfiles import FlagFiles, flag_files
from wherry.golang.flags import flag_value, split_goflags
from wherry.golang.modfile import local_directories, module_path
from wherry.golang.packages import Package
from wherry.golang.toolchain import GoFacts

# How other version-control systems than git mark a work tree that Go would stamp.
_OTHER_VCS = (".hg", ".svn", ".bzr", ".fslckout", "_FOSSIL_")


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


class Reach:
    """Paths by kind, collected package by package.

    `files` are compared by content, `tools` by signature, `directories` by the names that Go looks
    at, `embedded` by every name. `modules` maps package directories of the module cache to the root
    of the module they belong to. `plain` must be no symbolic links, `absent` not there at all.
    `roots` are the directories of the local modules and the workspace. `unclear` says why the
    build cannot be recorded.
    """

    def __init__(self, world: World) -> None:
        self.files: set[str] = set()
        self.directories: set[str] = set()
        self.embedded: set[str] = set()
        # Package directories of the module cache and the root of the module they belong to.
        self.modules: dict[str, str] = {}
        # Names that packages of the module cache embed, by directory.
        self.embedded_modules: dict[str, set[str]] = {}
        self.tools: set[str] = set()
        self.absent: set[str] = set(world.extra_absent)
        self.plain: set[str] = set()
        self.roots: set[str] = set()
        self.unclear = ""
        self._world = world
        self._cache = world.facts.gomodcache.rstrip("/") + "/"
        self._imports: dict[str, str] = {}

    def add_package(self, package: Package) -> None:
        """Take what `go list` says of a package."""
        if package.cgo_files:
            # The system's compiler and headers take part: only the compiler knows which.
            self.unclear = f"{package.import_path} uses cgo"
        if package.standard or not package.dir:
            return
        self._imports[package.import_path] = package.dir
        if not os.path.isdir(package.dir):
            # Of an overlay, or a path whose bytes Go's JSON cannot hold.
            self.unclear = f"{package.dir} is not to be found"
        embedded = [os.path.join(package.dir, name) for name in package.embed_files]
        root = package.module.dir if package.module else ""
        if package.dir.startswith(self._cache):
            self.modules[package.dir] = root or package.dir
            for path in embedded:
                directory, name = os.path.split(path)
                self.modules[directory] = root or package.dir
                self.embedded_modules.setdefault(directory, set()).add(name)
            return
        if root and (package.dir + "/").startswith(root + "/"):
            self.roots.add(root)
        self.directories.add(package.dir)
        self.files.update(embedded)
        self.embedded |= watched_directories(package.dir, package.embed_patterns)
        # Go embeds nothing from below a link or from another module.
        for directory in parent_directories(package.embed_files):
            path = os.path.join(package.dir, directory)
            self.plain.add(path)
            self.absent.add(os.path.join(path, "go.mod"))

    def add_surroundings(self) -> None:
        """Take what go looks for around the packages; call it once, after all packages."""
        world = self._world
        flags = flag_files(world.flags, world.tool.directory)
        self._add_modules(flags)
        self._add_rivals()
        self._add_parents()
        self._add_workspace()
        for root in self.roots:
            if os.path.isdir(os.path.join(root, "vendor")):
                self._optional(os.path.join(root, "vendor", "modules.txt"))
        self._add_toolchain()
        for path in flags.files:
            self._optional(path)
        self._add_version_control()
        self.unclear = flags.unclear or self.unclear
        self.files.update(world.extra_files)
        self.tools.update(world.extra_tools)

    def _add_modules(self, flags: FlagFiles) -> None:
        """Roots of the main modules, the workspace, and of all directories that they name."""
        facts = self._world.facts
        pending = [os.path.dirname(path) for path in (facts.gomod, facts.gowork) if path]
        if not all(os.path.isfile(path) for path in (facts.gomod, facts.gowork) if path):
            self.unclear = "go.mod or go.work went away"
        if flags.modfile and facts.gomod:
            pending += local_directories(flags.modfile, os.path.dirname(facts.gomod))
        if facts.gowork:
            # GOWORK may name any file.
            pending += local_directories(facts.gowork)
            self._optional(facts.gowork)
            self._optional(f"{facts.gowork}.sum")
        pending += list(self.roots)
        seen: set[str] = set()
        while pending:
            root = pending.pop()
            if root in seen or root == "/dev":
                continue
            seen.add(root)
            for name in ("go.mod", "go.work"):
                pending += local_directories(os.path.join(root, name))
        self.roots |= {root for root in seen if os.path.isdir(root)}
        self.directories |= self.roots
        self.absent |= seen - self.roots

    def _add_rivals(self) -> None:
        """Directories of local modules where an imported package of another module might lie too.

        Go files that come into one make the import ambiguous.
        """
        local = {module_path(os.path.join(root, "go.mod")): root for root in self.roots}
        for import_path, directory in self._imports.items():
            for path, root in local.items():
                if path and import_path.startswith(f"{path}/"):
                    rival = root + import_path[len(path) :]
                    if rival != directory:
                        self.directories.add(rival)

    def _add_parents(self) -> None:
        """Directories between packages and their module's root: a go.mod may appear in them."""
        for directory in (*self.directories, self._world.tool.directory):
            path = directory
            between: list[str] = []
            while path not in self.roots and path != os.path.dirname(path):
                between.append(path)
                path = os.path.dirname(path)
            if path in self.roots:
                self.directories.update(between)

    def _add_workspace(self) -> None:
        """Where Go looks for go.work before it finds one, unless GOWORK says where it is."""
        if self._is_workspace_named():
            return
        found = os.path.dirname(self._world.facts.gowork)
        path = self._world.tool.directory
        while path != found:
            file = os.path.join(path, "go.work")
            if os.path.lexists(file):
                # A directory of that name, or it came this moment.
                self.unclear = f"{file} is passed by"
            else:
                self.absent.add(file)
            parent = os.path.dirname(path)
            if parent == path:
                break
            path = parent

    def _is_workspace_named(self) -> bool:
        """Whether GOWORK is set, in the environment or in Go's file: then Go does not search."""
        if self._world.user_env.get("GOWORK"):
            return self._world.user_env["GOWORK"] != "auto"
        try:
            with open(self._settings(), encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            return False
        return any(line.startswith("GOWORK=") and line != "GOWORK=auto" for line in lines)

    def _settings(self) -> str:
        """The file of `go env -w`; empty where there is none."""
        goenv = self._world.facts.goenv
        return os.path.join(self._world.tool.directory, goenv) if goenv not in ("", "off") else ""

    def _add_toolchain(self) -> None:
        go, facts = self._world.tool.go, self._world.facts
        home = os.path.dirname(os.path.dirname(go.real_path))
        if not os.path.isfile(os.path.join(home, "VERSION")):
            # A version manager's shim, or a launcher such as snap: files that only it knows decide
            # which Go it starts.
            self.unclear = f"{go.path} is not Go itself but starts it"
        if not facts.version.startswith("go1.") or "-devel" in facts.version:
            # A Go that is being worked on changes without its VERSION.
            self.unclear = f"{facts.version} is a development version"
        self.tools |= {path for path in (go.path, go.real_path, go.found) if path}
        # The Go on PATH decides by its own go.env which toolchain it becomes.
        for root in {home, facts.goroot, self._world.user_env.get("GOROOT", "")} - {""}:
            self.tools.add(os.path.join(root, "bin", "go"))
            self._optional(os.path.join(root, "VERSION"))
            self._optional(os.path.join(root, "go.env"))
        if self._settings():
            self._optional(self._settings())

    def _add_version_control(self) -> None:
        """What is stamped into the binary is known only from git, and only where wherry asks it."""
        words = split_goflags(self._world.facts.goflags)
        asked = flag_value(self._world.flags[len(words) :], "buildvcs")
        stamped = flag_value(words, "buildvcs") if asked is None else asked
        if stamped == "false":
            return
        if asked is None:
            self.unclear = "GOFLAGS has version control stamped into the binary"
            return
        path = self._world.tool.directory
        while not os.path.lexists(os.path.join(path, ".git")):
            if any(os.path.lexists(os.path.join(path, name)) for name in _OTHER_VCS):
                self.unclear = "the binary is stamped by another version control than git"
            if path == os.path.dirname(path):
                return
            path = os.path.dirname(path)

    def _optional(self, path: str) -> None:
        (self.files if os.path.exists(path) else self.absent).add(path)
