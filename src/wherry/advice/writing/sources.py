# SPDX-License-Identifier: Apache-2.0
"""Which files of a project its Go programs are made of, followed through imports without Go.

A *unit* is a directory at the top of a module with all below it: new packages in it are seen
without a change. Which units belong to the programs their imports say, those of tests too.
"""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.go_source import read_go_file
from wherry.golang.modfile import module_path

if TYPE_CHECKING:
    from wherry.advice.reading.go_module import GoModule

_EMBED: Final = re.compile(r"^//go:embed[ \t]+(.+)$", re.MULTILINE)
_GENERATE: Final = re.compile(r"^//go:generate[ \t]", re.MULTILINE)
_LIBRARIES: Final = re.compile(
    r"^[ \t/*]*#cgo\b([^:\n]*?)\b(?:LDFLAGS|pkg-config)[ \t]*:[ \t]*(.+)$", re.MULTILINE
)
_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|(\S+)')
# What Go compiles or includes beside its own files (go/build, "knownExt").
_COMPILED: Final = frozenset(
    (".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx", ".inc", ".s", ".S", ".sx", ".syso",
     ".swig", ".swigcxx", ".f", ".F", ".for", ".f90")
)  # fmt: skip
_PASSED_BY: Final = frozenset(("vendor", "node_modules", "testdata"))
_MOST_FILES: Final = 50_000
_MOST_BYTES: Final = 2_000_000
# Libraries that the C library itself brings.
_OF_LIBC: Final = frozenset(("-lc", "-lm", "-ldl", "-lpthread", "-lrt", "-lutil", "-lresolv"))


class Unit(NamedTuple):
    """`path` is relative to the context (`cmd`; `.` for the files right in a module's top).

    `suffixes` are the kinds of files that a compiler reads beside Go's; `testdata` says that tests
    have such directories; `embedded` are the patterns of `go:embed`, relative to the context.
    """

    path: str
    alone: bool
    suffixes: tuple[str, ...]
    testdata: bool
    embedded: tuple[str, ...]


class Sources:
    """The Go sources of a module and of the local modules beside it."""

    def __init__(self, module: GoModule) -> None:
        self._module = module
        self._top = module.context_directory
        self.tests = False
        self.generates: list[str] = []
        self.missing: list[str] = []
        self.libraries: dict[str, None] = {}
        self.unreadable: list[str] = []

    @cached_property
    def modules(self) -> Mapping[str, str]:
        """Local modules: the directory of each, relative to the context, by import path."""
        found = {}
        for place in (self._module.root, *self._module.local_directories):
            path = module_path(os.path.join(self._top, place, "go.mod"))
            if path:
                found[path] = place
        return found

    def units(self, mains: tuple[str, ...]) -> tuple[Unit, ...]:
        """The units that programs in these directories need, with their tests, sorted."""
        waiting = [self._unit_of(posixpath.normpath(path)) for path in mains]
        done: dict[tuple[str, bool], Unit] = {}
        while waiting:
            key = waiting.pop()
            if key not in done:
                unit, imports = self._read(*key)
                done[key] = unit
                waiting.extend(filter(None, map(self._unit_imported, sorted(imports))))
        # What lies in another unit's directory is in it already.
        whole = [path for path, alone in done if not alone]
        return tuple(
            unit for (path, alone), unit in sorted(done.items())
            if not any(path.startswith(f"{other}/") for other in whole)
            and not (alone and path in whole)
        )  # fmt: skip

    def _unit_imported(self, path: str) -> tuple[str, bool] | None:
        best = max((name for name in self.modules if path == name or path.startswith(f"{name}/")),
                   key=len, default=None)  # fmt: skip
        if best is None:
            return None
        return self._unit_of(posixpath.normpath(posixpath.join(self.modules[best],
                                                               path[len(best) + 1 :])))  # fmt: skip

    def _unit_of(self, directory: str) -> tuple[str, bool]:
        """The unit of a package's directory: (path, whether only that directory's own files)."""
        home = max((place for place in self.modules.values()
                    if place == "." or f"{directory}/".startswith(f"{place}/")),
                   key=len, default=".")  # fmt: skip
        inside = posixpath.relpath(directory, home)
        if inside == ".":
            return home, True
        return posixpath.normpath(posixpath.join(home, inside.split("/")[0])), False

    def _read(self, path: str, alone: bool) -> tuple[Unit, set[str]]:
        imports: set[str] = set()
        suffixes: set[str] = set()
        embedded: dict[str, None] = {}
        testdata = False
        for here, names in self._walk(path, alone):
            testdata = testdata or os.path.isdir(os.path.join(self._top, here, "testdata"))
            for name in names:
                if name.endswith(".go"):
                    imports |= self._read_file(here, name, embedded)
                elif posixpath.splitext(name)[1] in _COMPILED:
                    suffixes.add(posixpath.splitext(name)[1])
        return Unit(path, alone, tuple(sorted(suffixes)), testdata, tuple(embedded)), imports

    def _walk(self, path: str, alone: bool) -> Iterator[tuple[str, list[str]]]:
        seen = 0
        places = set(self.modules.values())

        def note(error: OSError) -> None:
            self.unreadable.append(os.path.relpath(str(error.filename), self._top))

        for here, below, names in os.walk(os.path.join(self._top, path), onerror=note):
            inside = os.path.relpath(here, self._top)
            below[:] = sorted(
                name for name in below
                if not alone and name not in _PASSED_BY and name[0] not in "._"
                and posixpath.normpath(posixpath.join(inside, name)) not in places
                and not os.path.isfile(os.path.join(here, name, "go.mod"))
            )  # fmt: skip
            yield inside, sorted(names)
            seen += len(names)
            if seen > _MOST_FILES:
                return

    def _read_file(self, here: str, name: str, embedded: dict[str, None]) -> set[str]:
        place = os.path.join(self._top, here, name)
        try:
            with open(place, encoding="utf-8", errors="replace") as file:
                text = file.read(_MOST_BYTES)
        except OSError:
            self.unreadable.append(posixpath.normpath(posixpath.join(here, name)))
            return set()
        self.tests = self.tests or name.endswith("_test.go")
        for line in _EMBED.findall(text):
            for word in _WORD.findall(line):
                pattern = "".join(word).removeprefix("all:")
                found_at = posixpath.normpath(posixpath.join(here, pattern))
                embedded[found_at] = None
                if not glob.glob(os.path.join(glob.escape(self._top), found_at)):
                    self.missing.append(found_at)
        if _GENERATE.search(text):
            self.generates.append(posixpath.normpath(posixpath.join(here, name)))
        file_read = read_go_file(place, head=True)
        found = {path for _, path in file_read.imports} if file_read else set()
        if "C" in found and file_read is not None and file_read.is_built()[1]:
            for condition, flags in _LIBRARIES.findall(text):
                if not condition.strip() or re.search(r"(?<!!)\blinux\b", condition):
                    self.libraries.update(dict.fromkeys(filter(_is_library, flags.split())))
        return found


def _is_library(word: str) -> bool:
    """Whether a word of the linker's or pkg-config's names a library that may be missing."""
    return word not in _OF_LIBC and (word.startswith("-l") or word[0] not in "-$")
