# SPDX-License-Identifier: Apache-2.0
"""The Go module in a build context as rules see it: its files, its packages, what they need.

Everything is found out when it is asked for, once. What only Go knows (the import closure) is asked
of the Go that is installed, offline: nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Final

from wherry.advice.reading.go_answers import Answers
from wherry.advice.reading.go_lists import GoLists, first_line
from wherry.advice.reading.go_needs import Needs, needs_of
from wherry.advice.reading.go_source import GoFile, read_go_file
from wherry.golang.modfile import local_directories, module_path
from wherry.golang.packages import Package
from wherry.golang.requirements import Requirements, read_requirements

__all__ = ["GoModule", "Needs"]

# No directory of Go's with more is somebody's program; a mistaken context may be a whole disk.
_MOST_DIRECTORIES: Final = 20_000
# Packages of the module's own in one program; a larger one is a part of something larger still.
_MOST_PARTS: Final = 100
_PASSED_BY: Final = frozenset(("vendor", "testdata", "node_modules"))


class GoModule:
    """A module, or a workspace without a module at its top.

    `directory` is absolute, `root` the same relative to the context (`.` for its top); `path` is
    the module's, empty for a workspace. Paths of packages are relative to `directory`.
    `unanswered` is why a closure that was asked for is not known, in one line; empty where all are.
    """

    def __init__(
        self,
        context_directory: str,
        root: str,
        env: Mapping[str, str],
        answers: Answers | None = None,
    ) -> None:
        self.context_directory = os.path.abspath(context_directory)
        self.root = root
        self.env = env
        self.directory = os.path.normpath(os.path.join(self.context_directory, root))
        self.unanswered = ""
        self._answers = answers

    @staticmethod
    def found(
        context_directory: str, env: Mapping[str, str], answers: Answers | None = None
    ) -> GoModule | None:
        """The module at the context's top, else the only one right below it; else None.

        `env` is the whole environment that Go is asked in; `answers` keeps what Go says.
        """
        if _begins(context_directory):
            return GoModule(context_directory, ".", env, answers)
        try:
            with os.scandir(context_directory) as entries:
                names = [entry.name for entry in entries if entry.is_dir() and _begins(entry.path)]
        except OSError:
            return None
        return GoModule(context_directory, names[0], env, answers) if len(names) == 1 else None

    def inside(self, name: str) -> str:
        """A path below the module as one of the context."""
        return os.path.normpath(os.path.join(self.root, name))

    @cached_property
    def path(self) -> str:
        """What its go.mod calls it."""
        return module_path(self._file("go.mod"))

    @cached_property
    def _requirements(self) -> Requirements:
        name = "go.mod" if self._has("go.mod") else "go.work"
        return read_requirements(self._file(name))

    @property
    def go(self) -> str:
        """The `go` line, `1.26.1`; empty without one. A Go that is older refuses the module."""
        return self._requirements.go

    @property
    def toolchain(self) -> str:
        """The `toolchain` line, `go1.26.3`: a wish that GOTOOLCHAIN=local passes by."""
        return self._requirements.toolchain

    @property
    def wanted(self) -> str:
        """The newest Go that these lines name, without `go` in front."""
        return self._requirements.newest

    @property
    def modules(self) -> tuple[tuple[str, str], ...]:
        """What it requires: (path, version)."""
        return self._requirements.modules

    @cached_property
    def has_sum(self) -> bool:
        """Whether there is a go.sum."""
        return self._has("go.sum")

    @cached_property
    def vendored(self) -> bool:
        """Whether its dependencies lie in vendor/."""
        return os.path.isfile(self._file("vendor/modules.txt"))

    @cached_property
    def work(self) -> str:
        """The go.work that counts for it, a path in the context; empty where none does."""
        here = "" if self.root == "." else self.root
        while True:
            path = os.path.join(here, "go.work")
            if os.path.isfile(os.path.join(self.context_directory, path)):
                return path
            if not here:
                return ""
            here = os.path.dirname(here)

    @cached_property
    def local_directories(self) -> tuple[str, ...]:
        """The directories that `replace` and `use` name, relative to the context, sorted.

        Without the module's own; those that begin with `..` lie outside.
        """
        named = set(local_directories(self._file("go.mod")))
        if self.work:
            named.update(local_directories(os.path.join(self.context_directory, self.work)))
        found = {os.path.relpath(path, self.context_directory) for path in named}
        return tuple(sorted(found - {self.root}))

    def mains(self) -> tuple[str, ...]:
        """The directories of its programs, relative to it (`.`, `cmd/api`), sorted."""
        return self._mains

    @cached_property
    def _mains(self) -> tuple[str, ...]:
        return tuple(sorted(self._main_directories()))

    def problem(self, pattern: str, tags: str = "") -> str:
        """Why the closure of a pattern is not known in full, in one line; empty where it is."""
        listed = self._listed(pattern, cgo=False, tags=tags)
        if isinstance(listed, str):
            return listed
        errors = (first_line(text) for package in listed for text in package.errors)
        found = next(errors, "") or ("" if listed else f"{pattern} names no packages")
        self.unanswered = self.unanswered or found
        return found

    def packages(self, pattern: str, *, cgo: bool = False, tags: str = "") -> tuple[Package, ...]:
        """All packages that a pattern needs on Linux; none where Go cannot say.

        `pattern` is relative to `directory`, as `./cmd/api`.
        """
        listed = self._listed(pattern, cgo=cgo, tags=tags)
        return () if isinstance(listed, str) else listed

    def other_packages(self, pattern: str) -> tuple[Package, ...]:
        """Those of them that are not Go's own, whether cgo is on or off.

        Go is asked again with cgo on only where one of them has a file that cgo decides about.
        """
        found = [item for item in self.packages(pattern) if not item.standard]
        if any(_heeds_cgo(item) for item in found if _is_local(item)):
            found = [item for item in self.packages(pattern, cgo=True) if not item.standard]
        return tuple(found)

    def imports(self, pattern: str, *, cgo: bool = False, tags: str = "") -> frozenset[str]:
        """The import paths of these packages."""
        found = self.packages(pattern, cgo=cgo, tags=tags)
        return frozenset(package.import_path for package in found)

    def uses_cgo(self, pattern: str, *, on: bool, tags: str = "") -> tuple[str, ...]:
        """The packages with cgo files: what makes the program need a libc where cgo is on.

        Where it is off (not `on`), net and the like have Go code instead, and do not count.
        """
        return tuple(
            package.import_path
            for package in self.packages(pattern, cgo=True, tags=tags)
            if package.cgo_files and package.import_path != "runtime/cgo"
            and (on or not package.standard)
        )  # fmt: skip

    def needs(self, pattern: str, *, tags: str = "") -> Needs:
        """What a program needs at run time; nothing where its closure is not known in full.

        Nothing, too, for one of many packages: hardly all of what they can do is done.
        """
        if self.problem(pattern, tags):
            return Needs()
        packages = self.packages(pattern, tags=tags)
        parts = [package for package in packages if _is_own(package)]
        if len(parts) > _MOST_PARTS:
            return Needs()
        own = (file for package in parts for file in _sources(package))
        closure = frozenset(package.import_path for package in packages)
        return needs_of(own, closure, frozenset(tags.replace(",", " ").split()))

    def _has(self, name: str) -> bool:
        return os.path.isfile(self._file(name))

    def _file(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _main_directories(self) -> Iterator[str]:
        # A workspace without a module at its top has its programs in the modules below.
        is_module = self._has("go.mod")
        walk = islice(os.walk(self.directory), _MOST_DIRECTORIES)
        for here, below, names in walk:
            below[:] = sorted(
                name for name in below
                if name[0] not in "_." and name not in _PASSED_BY
                and not (is_module and os.path.isfile(os.path.join(here, name, "go.mod")))
            )  # fmt: skip
            if any(_is_main(os.path.join(here, name)) for name in names if _may_be_main(name)):
                yield os.path.relpath(here, self.directory)

    @cached_property
    def _lists(self) -> GoLists:
        def programs() -> tuple[str, ...]:
            return tuple("." if main == "." else f"./{main}" for main in self.mains())

        return GoLists(self.directory, self.env, programs, self._answers)

    def _listed(self, pattern: str, *, cgo: bool, tags: str) -> tuple[Package, ...] | str:
        listed = self._lists.listed(pattern, cgo=cgo, tags=tags, vendored=self.vendored)
        if isinstance(listed, str):
            self.unanswered = self.unanswered or listed
        return listed


def _begins(directory: str) -> bool:
    return any(os.path.isfile(os.path.join(directory, name)) for name in ("go.mod", "go.work"))


def _may_be_main(name: str) -> bool:
    return name.endswith(".go") and not name.endswith("_test.go") and name[0] not in "_."


def _is_main(path: str) -> bool:
    file = read_go_file(path, head=True)
    return file is not None and file.package == "main" and file.is_built()[1]


def _is_local(package: Package) -> bool:
    """Whether it is no package of the module cache."""
    module = package.module
    return module is None or module.main or bool(module.replace_dir) or not module.dir


def _heeds_cgo(package: Package) -> bool:
    """Whether it has files that are left out without cgo, or because of it."""
    if package.cgo_files:
        return True
    for name in package.ignored_go_files:
        try:
            with open(os.path.join(package.dir, name), "rb") as file:
                text = file.read()
        except OSError:
            return True
        if b'"C"' in text or b"cgo" in text:
            return True
    return False


def _is_own(package: Package) -> bool:
    return package.module is not None and package.module.main


def _sources(package: Package) -> Iterator[GoFile]:
    for name in package.go_files:
        file = read_go_file(os.path.join(package.dir, name))
        if file is not None:
            yield file
