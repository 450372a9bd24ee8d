# SPDX-License-Identifier: Apache-2.0
"""What a project says of itself: its programs, what they need, what a build of them reads.

Go is asked for the import closure where it is there, offline. What only Go knows and nobody could
be asked for is in `unseen`, a line each.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from wherry.advice.reading.go_module import GoModule
from wherry.advice.reading.go_needs import needs_of
from wherry.advice.reading.go_source import GoFile, go_files
from wherry.advice.writing.ports import ports_of
from wherry.advice.writing.programs import Program, choose, with_main_last
from wherry.advice.writing.sources import Sources, Unit
from wherry.errors import UsageError
from wherry.golang.mains import binary_name
from wherry.golang.modfile import local_directories, module_path
from wherry.golang.requirements import is_matched, read_requirements

if TYPE_CHECKING:
    from wherry.golang.packages import Package


class Found(NamedTuple):
    """All of it. Paths are relative to the directory; programs come with the main one last.

    `aside` are main packages that are taken for helpers. `early` are the files that choose the
    modules, by directory. `private` are the patterns of GOPRIVATE and the hosts of settings that
    modules match. `libraries` are C libraries that cgo asks for,
    `missing` patterns of `go:embed` that no file matches.
    """

    directory: str
    module: str
    programs: tuple[Program, ...]
    aside: tuple[str, ...]
    go: str
    early: tuple[tuple[str, tuple[str, ...]], ...]
    has_modules: bool
    vendored: bool
    tested: tuple[str, ...]
    units: tuple[Unit, ...]
    private: tuple[str, ...]
    generates: tuple[str, ...]
    libraries: tuple[str, ...]
    missing: tuple[str, ...]
    unseen: tuple[str, ...]


def read_project(module: GoModule, env: Mapping[str, str], hosts: tuple[str, ...] = ()) -> Found:
    """Read a module or workspace; `hosts` are those of private modules that settings name.

    Raises `UsageError` where it has no program, or needs files from outside of its directory.
    """
    return _Reader(module, env, hosts).read()


class _Reader:
    def __init__(self, module: GoModule, env: Mapping[str, str], hosts: tuple[str, ...]) -> None:
        self._module = module
        self._env = env
        self._hosts = hosts
        self._sources = Sources(module)
        self._problems: dict[str, None] = {}

    def read(self) -> Found:
        module, sources = self._module, self._sources
        outside = [path for path in module.local_directories if path.startswith("..")]
        if outside:
            raise _outside(outside[0])
        chosen, aside = choose(self._mains())
        if not chosen:
            raise UsageError("there is no program here", why="no directory has a package main",
                             hint="name a module that has one")  # fmt: skip
        units = sources.units(chosen)
        programs = [self._program(path) for path in chosen]
        return Found(
            module.directory, module.path, with_main_last(programs, module.path), aside,
            module.wanted, self._early(), bool(self._required()), module.vendored,
            self._tested(units) if sources.tests else (), units, self._private(),
            tuple(sources.generates), tuple(sources.libraries), tuple(sources.missing),
            self._unseen(),
        )  # fmt: skip

    def _mains(self) -> tuple[str, ...]:
        """The directories with a program, those of the workspace's other modules too."""
        module = self._module
        found = set(module.mains())
        if module.work:
            work = os.path.join(module.context_directory, module.work)
            for place in local_directories(work):
                inside = os.path.relpath(place, module.directory)
                if inside != "." and os.path.isfile(os.path.join(place, "go.mod")):
                    other = GoModule(module.context_directory, inside, self._env)
                    found.update(posixpath.normpath(posixpath.join(inside, path))
                                 for path in other.mains())  # fmt: skip
        return tuple(sorted(path for path in found if self._has_main(path)))

    def _has_main(self, path: str) -> bool:
        """Whether there is a `func main()`: a file of directives may call itself main, too."""
        files = go_files(os.path.join(self._module.directory, path))
        return any(
            file.package == "main" and file.has_main and file.is_built()[1] for file in files
        )

    def _program(self, path: str) -> Program:
        module = self._module
        pattern = path if path == "." else f"./{path}"
        name = binary_name(self._import_path(path)) or "app"
        packages, problem = self._closure(pattern)
        self._refuse_outside(packages)
        # With errors in it, the list still has the packages that Go came to.
        own = tuple(filter(None, map(_sources, packages))) or tuple(self._own(path))
        listening = ports_of(own)
        if problem:
            self._problems[problem] = None
            cgo = any(name == "C" for files in own for file in files for _, name in file.imports)
            known = module.uses_cgo(pattern, on=False) or ((pattern,) if cgo else ())
            return Program(pattern, name, listening, None, known)
        closure = frozenset(package.import_path for package in packages)
        needs = needs_of((file for files in own for file in files), closure)
        cgo_packages = module.uses_cgo(pattern, on=False)
        with_cgo = module.packages(pattern, cgo=True)
        cxx = any(item.cxx_files for item in with_cgo if item.import_path in cgo_packages)
        return Program(pattern, name, listening, needs, cgo_packages, cxx)

    def _refuse_outside(self, packages: tuple[Package, ...]) -> None:
        """A go.work above may bring packages that no build of this directory sees."""
        top = os.path.realpath(self._module.directory)
        for package in packages:
            if package.module is not None and package.module.main and package.dir:
                place = os.path.realpath(package.dir)
                if os.path.commonpath((place, top)) != top:
                    raise _outside(os.path.relpath(place, top))

    def _closure(self, pattern: str) -> tuple[tuple[Package, ...], str]:
        """All packages of a program, and why they are not known in full.

        A program that is nothing without cgo is looked at with it.
        """
        problem = self._module.problem(pattern)
        packages = self._module.packages(pattern)
        if problem:
            with_cgo = self._module.packages(pattern, cgo=True)
            if with_cgo and not any(package.errors for package in with_cgo):
                return with_cgo, ""
            return with_cgo or packages, problem
        return packages, problem

    def _own(self, path: str) -> Iterator[tuple[GoFile, ...]]:
        files = go_files(os.path.join(self._module.directory, path))
        yield tuple(file for file in files if file.is_built()[1])

    def _import_path(self, path: str) -> str:
        """What Go calls the package in a directory."""
        place, inside = posixpath.normpath(path), ""
        while True:
            found = module_path(os.path.join(self._module.directory, place, "go.mod"))
            if found or place in (".", ""):
                name = found or os.path.basename(self._module.directory)
                return posixpath.join(name, inside) if inside else name
            place, _, last = place.rpartition("/")
            inside = posixpath.join(last, inside) if inside else last
            place = place or "."

    def _early(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found: list[tuple[str, tuple[str, ...]]] = []
        for place in dict.fromkeys((".", *self._module.local_directories)):
            names = ("go.mod", "go.sum", "go.work", "go.work.sum")
            there = tuple(name for name in names if self._has(place, name))
            if there:
                found.append((place, there))
        return tuple(found)

    def _has(self, place: str, name: str) -> bool:
        return os.path.isfile(os.path.join(self._module.directory, place, name))

    @cached_property
    def _local(self) -> tuple[str, ...]:
        return tuple(self._sources.modules)

    def _required(self) -> tuple[str, ...]:
        """The modules that all local modules require from elsewhere."""
        found: dict[str, None] = {}
        for place, _ in self._early():
            path = os.path.join(self._module.directory, place, "go.mod")
            found.update(dict.fromkeys(name for name, _ in read_requirements(path).modules))
        return tuple(name for name in found if name not in self._local)

    def _tested(self, units: tuple[Unit, ...]) -> tuple[str, ...]:
        """What `go test` is told: all of each module that has units here."""
        homes = {
            max((home for home in self._sources.modules.values()
                 if home == "." or f"{unit.path}/".startswith(f"{home}/")), key=len, default=".")
            for unit in units
        }  # fmt: skip
        in_work = bool(self._module.work)
        if not in_work:
            homes &= {"."}
        return tuple("./..." if home == "." else f"./{home}/..." for home in sorted(homes))

    def _private(self) -> tuple[str, ...]:
        patterns = [part.strip() for part in self._env.get("GOPRIVATE", "").split(",")]
        patterns += self._hosts
        required = self._required()
        return tuple(dict.fromkeys(
            pattern for pattern in patterns
            if pattern and any(is_matched(pattern, name) for name in required)
        ))  # fmt: skip

    def _unseen(self) -> tuple[str, ...]:
        found = [f"cannot read {path}" for path in self._sources.unreadable]
        problem = next(iter(self._problems), "")
        if problem:
            found.append(f"Go cannot say what is imported: {problem}")
        if "disabled by GOPROXY=off" in problem:
            found.append("nothing was fetched for that: after go mod download more is seen")
        return tuple(found)


def _outside(path: str) -> UsageError:
    return UsageError(f"{path}, which go.mod or go.work names, lies outside",
                      why="a build sees nothing above its context",
                      hint="run wherry init in a directory that holds both")  # fmt: skip


def _sources(package: Package) -> tuple[GoFile, ...]:
    """The files of a package of the project itself; none of others."""
    if package.module is None or not package.module.main:
        return ()
    names = {*package.go_files, *package.cgo_files}
    return tuple(file for file in go_files(package.dir) if file.name in names)
