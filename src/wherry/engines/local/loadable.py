# SPDX-License-Identifier: Apache-2.0
"""Whether a base can run a dynamically linked program: asked before an image is made of them.

What the base's loader would do at the program's start is done on names and ELF facts: the loader
itself, each library in the loader's order, theirs in turn, architectures, symbol versions. Nothing
runs. What a program opens later (dlopen, glibc's name services) is not seen. Where something cannot
be judged, the program is let pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from wherry.engines.local.library_search import (
    Libc,
    Read,
    Requester,
    Search,
    TooMuch,
    libc_of,
)
from wherry.engines.local.loader_files import found_file
from wherry.engines.local.roots import Roots
from wherry.engines.local.storage import Records
from wherry.errors import BuildError
from wherry.fstree.contents import open_content
from wherry.fstree.files import Files
from wherry.fstree.tree import File
from wherry.golang.linkage import Linkage, read_linkage
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import sha256
from wherry.oci.image import Layer

_KIND: Final = "loadable"
_VERSION: Final = 1
# Beyond these a base is no honest one, or one that is taken at its word.
_MOST_LIBRARIES: Final = 1000
_MOST_CANDIDATES: Final = 8
_LARGEST: Final = 256 << 20
_AT_ONCE: Final = 512 << 20
_MOST_BYTES: Final = 4 << 30
_LISTED: Final = 12
_PLACES: Final = ("lib", "lib64", "usr/lib", "usr/lib64")
# Alpine's package that lets programs for glibc run on musl, if not all of them.
_COMPATIBLE: Final = ("lib/libgcompat.so.0", "usr/lib/libgcompat.so.0")

_STATICALLY: Final = (
    'link statically: ldflags = ["-linkmode external", "-extldflags=-static"] in wherry.toml'
)
_SAME_PLATFORM: Final = "use a base for the same platform"
_GLIBC_BASE: Final = "name a base that has glibc, such as debian:12-slim (base or libc-base)"
_MUSL_BASE: Final = "name a base that has musl, such as alpine (base or libc-base)"

# glibc's version in Debian's releases.
_GLIBC_IMAGES: Final = (
    ([2, 31], "debian:11-slim"), ([2, 36], "debian:12-slim"), ([2, 41], "debian:13-slim"),
)  # fmt: skip


class Program(NamedTuple):
    """A program as the image will have it: its path there (`app/api`), and its linkage.

    `library_path` is what the image sets LD_LIBRARY_PATH to.
    """

    path: str
    linkage: Linkage
    library_path: str = ""


class Problem(NamedTuple):
    """Why the base cannot run the program, and what would change it: each remedy is enough."""

    what: str
    remedies: tuple[str, ...]


class _Library(NamedTuple):
    """A library that was found; without linkage it could not be read, and is let pass."""

    file: File
    linkage: Linkage | None


def check_loadable(
    program: Program, layers: tuple[Layer, ...], base: str, roots: Roots, records: Records
) -> None:
    """Raise `BuildError` where `layers`, the image's others, cannot run the program.

    `base` is what people call these layers. A program that asks for the same as one that was let
    pass on the same layers needs no reading of theirs. Raises what `Roots.view` raises.
    """
    if program.linkage.is_static:
        return
    preimage: list[Json] = [_VERSION, str(program), [str(layer.diff_id) for layer in layers]]
    key = sha256(canonical_json(preimage)).hex
    if records.get(_KIND, key) is not None:
        return
    found = problems(program, roots.view(layers), reading(roots))
    if found:
        raise refusal(program, base, found)
    records.put(_KIND, key, b"", ())


def reading(roots: Roots) -> Read:
    """Reads files of the roots' layers, each layer once."""

    def read(files: Sequence[File]) -> tuple[bytes, ...]:
        contents = []
        for entry in roots.extracted(files):
            assert isinstance(entry, File)  # noqa: S101 - contents are replaced, entries are not
            with open_content(entry.content) as stream:
                contents.append(stream.read())
        return tuple(contents)

    return read


def refusal(program: Program, base: str, found: Iterable[Problem]) -> BuildError:
    """The error that tells all problems, with each remedy once."""
    lines = list(dict.fromkeys(problem.what for problem in found))
    remedies = dict.fromkeys(remedy for problem in found for remedy in problem.remedies)
    more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    name = program.path.rpartition("/")[2]
    return BuildError(
        f"{name} is dynamically linked, and cannot run on {base}",
        why="\n".join([*lines[:_LISTED], *more]),
        hint="; or ".join(remedies),
    )


def problems(program: Program, view: Files, read: Read) -> tuple[Problem, ...]:
    """Why the loader of the tree `view` would not start the program; none where it would."""
    linkage = program.linkage
    if not linkage.interpreter:
        return ()
    loader = found_file(view, linkage.interpreter)
    if loader is None:
        return (_no_loader(linkage, view),)
    content = read((loader,))[0] if loader.content.size <= _LARGEST else b""
    facts = read_linkage(content)
    if facts is None or any(found_file(view, path) for path in _COMPATIBLE):
        return ()
    if facts.architecture != linkage.architecture:
        return (_wrong_architecture(f"loader {linkage.interpreter}", facts, linkage),)
    if not loader.mode & 0o111:
        what = f"its loader {linkage.interpreter} is not executable there"
        return (Problem(what, ("make it executable in the base",)),)
    libc = libc_of(linkage.interpreter)
    if libc is Libc.OTHER:
        return ()
    search = Search(linkage.interpreter, linkage.architecture, view, read, program.library_path)
    loading = _Loading(program, search, read, libc)
    loading.known[facts.name or linkage.interpreter.rpartition("/")[2]] = _Library(loader, facts)
    try:
        return loading.run()
    except TooMuch:
        return ()


class _Loading:
    """One program's start, as its loader would do it, breadth first."""

    def __init__(self, program: Program, search: Search, read: Read, libc: Libc) -> None:
        self._program = program
        self._search = search
        self._read = read
        self._libc = libc
        self.known: dict[str, _Library] = {}
        self._missing_names: set[str] = set()
        self._bytes = 0
        self._found: list[Problem] = []

    def run(self) -> tuple[Problem, ...]:
        program = Requester(self._program.path, self._program.linkage)
        level, everyone = [program], [program]
        while level and len(self.known) < _MOST_LIBRARIES:
            level = self._next(level)
            everyone += level
        for requester in everyone:
            self._check_versions(requester)
        return tuple(self._found)

    def _next(self, level: list[Requester]) -> list[Requester]:
        """Load what `level` needs; those among it that are new and could be read."""
        wanted: dict[str, Requester] = {}
        for requester in level:
            for name in requester.linkage.needed[:_MOST_LIBRARIES]:
                is_new = name not in self.known and name not in self._missing_names
                if is_new and not self._search.is_loader_itself(name):
                    wanted.setdefault(name, requester)
        tries = {
            name: self._search.candidates(name, requester)[:_MOST_CANDIDATES]
            for name, requester in wanted.items()
        }
        linkages = self._linkages(file for files in tries.values() for file in files)
        following = []
        for name, requester in wanted.items():
            library = self._choose(name, requester, tries[name], linkages)
            if library is None:
                self._missing_names.add(name)
                continue
            self.known[name] = library
            if library.linkage is not None:
                self.known.setdefault(library.linkage.name or name, library)
                following.append(Requester(library.file.path, library.linkage, requester))
        return following

    def _linkages(self, files: Iterable[File]) -> dict[str, Linkage | None]:
        """Linkages by path, of those files that are read at all; None for what is no library."""
        found: dict[str, Linkage | None] = {}
        group: list[File] = []
        for file in {file.path: file for file in files}.values():
            size = file.content.size
            if size > _LARGEST or self._bytes + size > _MOST_BYTES:
                continue
            self._bytes += size
            # Each by itself would read its layer anew, all at once could fill the memory.
            if sum(item.content.size for item in group) + size > _AT_ONCE:
                found |= self._read_group(group)
                group = []
            group.append(file)
        return found | self._read_group(group)

    def _read_group(self, group: list[File]) -> dict[str, Linkage | None]:
        contents = self._read(tuple(group))
        return {file.path: read_linkage(data) for file, data in zip(group, contents, strict=True)}

    def _choose(
        self,
        name: str,
        requester: Requester,
        files: tuple[File, ...],
        linkages: dict[str, Linkage | None],
    ) -> _Library | None:
        """The first that fits; otherwise the problem is noted."""
        others: list[Linkage] = []
        for file in files:
            if file.path not in linkages:
                return _Library(file, None)
            linkage = linkages[file.path]
            if linkage is not None and linkage.architecture == requester.linkage.architecture:
                return _Library(file, linkage)
            others += [linkage] if linkage is not None else []
        # Asked for by others too, it is told once.
        if others:
            self._found.append(_wrong_architecture(name, others[0], requester.linkage))
        else:
            self._found.append(self._missing(name, requester, damaged=bool(files)))
        return None

    def _missing(self, name: str, requester: Requester, *, damaged: bool) -> Problem:
        who = self._who(requester)
        if damaged:
            return Problem(f"{name} is there, and is no library", ("mend the base",))
        if self._libc is Libc.GLIBC and name.startswith("libc.musl-"):
            return Problem(f"{who} is linked with musl, the base has glibc", (_MUSL_BASE,))
        place = self._search.overlooked(name)
        if place:
            return Problem(
                f"{name} lies at {place}, where the loader does not look",
                ("run ldconfig in the base",),
            )
        remedies = ("use a base that has what is missing", _STATICALLY)
        return Problem(f"{name} is not there{self._for(requester)}", remedies)

    def _check_versions(self, requester: Requester) -> None:
        """glibc's loader checks them all at the start; musl's none."""
        if self._libc is Libc.MUSL:
            if any(version.startswith("GLIBC_")
                   for need in requester.linkage.needs for version in need.versions):  # fmt: skip
                what = f"{self._who(requester)} is linked with glibc, the base has musl"
                self._found.append(Problem(what, (_GLIBC_BASE,)))
            return
        for need in requester.linkage.needs:
            library = self.known.get(need.library)
            # A library without versions at all is only warned of.
            if library is None or library.linkage is None or not library.linkage.provides:
                continue
            there = set(library.linkage.provides)
            lacking = [version for version in need.versions if version not in there]
            if lacking:
                self._found.append(self._too_old(need.library, lacking, library, requester))

    def _too_old(
        self, name: str, lacking: list[str], library: _Library, requester: Requester
    ) -> Problem:
        wanted = max(lacking, key=_order)
        prefix = wanted.rpartition("_")[0]
        provides = library.linkage.provides if library.linkage is not None else ()
        last = max(
            (item for item in provides if item.rpartition("_")[0] == prefix and _order(item)),
            key=_order,
            default="",
        )
        reach = f"that of the base goes up to {last}" if last else "that of the base lacks it"
        what = f"{name} is too old: {self._who(requester)} needs {wanted}, {reach}"
        newer = "use a newer base"
        if prefix == "GLIBC":
            fitting = (image for least, image in _GLIBC_IMAGES if _order(wanted) <= least)
            newer = f"use a newer base, such as {next(fitting, 'a later Debian')}"
        return Problem(what, (newer, "build on a distribution as old as the base", _STATICALLY))

    def _who(self, requester: Requester) -> str:
        return requester.path.rpartition("/")[2]

    def _for(self, requester: Requester) -> str:
        return f" ({self._who(requester)} needs it)" if requester.needed_by is not None else ""


def _no_loader(linkage: Linkage, view: Files) -> Problem:
    wanted = libc_of(linkage.interpreter)
    others = sorted(_loaders(view))
    remedy = _MUSL_BASE if wanted is Libc.MUSL else _GLIBC_BASE
    remedies = (remedy, _STATICALLY)
    if not others:
        what = f"it has no C library at all: the program's loader {linkage.interpreter} is missing"
        return Problem(what, remedies)
    there = {libc_of(name) for name in others}
    if wanted in there:
        what = f"its loader is {others[0]}, the program's is {linkage.interpreter}"
        return Problem(f"{what}: another architecture?", (_SAME_PLATFORM,))
    mine = wanted.value if wanted is not Libc.OTHER else linkage.interpreter
    theirs = " and ".join(sorted(libc.value for libc in there))
    return Problem(f"the program is linked with {mine}, the base has {theirs}", remedies)


def _loaders(view: Files) -> set[str]:
    """Names of files that are loaders, in the usual directories."""
    found = set()
    for place in _PLACES:
        for name in view.names(place):
            if name.startswith("ld") and ".so" in name and libc_of(name) is not Libc.OTHER:
                found.add(f"/{place}/{name}")
    return found


def _wrong_architecture(what: str, found: Linkage, wanted: Linkage) -> Problem:
    return Problem(
        f"{what} of the base is for {found.architecture}, the program for {wanted.architecture}",
        (_SAME_PLATFORM,),
    )


def _order(version: str) -> list[int]:
    """Sorts `GLIBC_2.4` before `GLIBC_2.38`; empty for names such as GLIBC_PRIVATE."""
    return [int(number[:9]) for number in re.findall(r"[0-9]+", version.rpartition("_")[2])]
