# SPDX-License-Identifier: Apache-2.0
"""Where a base's loader looks for a library: glibc's and musl's orders, over a tree of names.

Sources: ld.so(8) for glibc; for musl ldso/dynlink.c (load_library, fixup_rpath): it knows one
search path of its own, follows run paths up the chain of who needed whom, and is the C library
itself, whatever a program calls that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Final, NamedTuple

from wherry.engines.local.loader_files import (
    CACHE,
    cached_libraries,
    configured_directories,
    found_file,
    musl_directories,
)
from wherry.fstree.files import Files
from wherry.fstree.tree import File
from wherry.golang.linkage import Linkage

Read = Callable[[Sequence[File]], tuple[bytes, ...]]
"""Contents of files of the base, all at once: each layer is then read once."""

# Debian's names of the directories for each architecture; arm has one for each float ABI.
_TRIPLES: Final = {
    "386": ("i386-linux-gnu",),
    "amd64": ("x86_64-linux-gnu",),
    "arm": ("arm-linux-gnueabihf", "arm-linux-gnueabi"),
    "arm64": ("aarch64-linux-gnu",),
    "loong64": ("loongarch64-linux-gnu",),
    "mips": ("mips-linux-gnu",),
    "mipsle": ("mipsel-linux-gnu",),
    "mips64": ("mips64-linux-gnuabi64",),
    "mips64le": ("mips64el-linux-gnuabi64",),
    "ppc64": ("powerpc64-linux-gnu",),
    "ppc64le": ("powerpc64le-linux-gnu",),
    "riscv64": ("riscv64-linux-gnu",),
    "s390x": ("s390x-linux-gnu",),
}
_BIG_ENDIAN: Final = ("mips", "mips64", "ppc64", "s390x")
_MUSL_PREFIX: Final = "ld-musl-"
_MUSL_DEFAULT: Final = ("/lib", "/usr/local/lib", "/usr/lib")
_MUSL_OWN: Final = ("c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet.")
_MOST_DIRECTORIES: Final = 256
_SMALL: Final = 16 << 20
# Some hundreds are usual; the links of a hostile base make each of them long.
_MOST_LOOKUPS: Final = 20_000


class TooMuch(Exception):
    """A search that no honest base needs: it was given up."""


class Libc(Enum):
    """Whose loader it is."""

    GLIBC = "glibc"
    MUSL = "musl"
    OTHER = "another C library"


class Requester(NamedTuple):
    """Who needs a library: its place in the base and its linkage, and who needed it in turn."""

    path: str
    linkage: Linkage
    needed_by: Requester | None = None


def libc_of(interpreter: str) -> Libc:
    """Which C library a loader's name belongs to."""
    name = interpreter.rpartition("/")[2]
    if name.startswith(_MUSL_PREFIX):
        return Libc.MUSL
    is_glibc = name.startswith(("ld-linux", "ld64.so", "ld.so", "ld-2."))
    return Libc.GLIBC if is_glibc else Libc.OTHER


class Search:
    """The search of one loader in one base; `interpreter` is its path as the program names it."""

    def __init__(
        self, interpreter: str, architecture: str, view: Files, read: Read, environment: str
    ) -> None:
        self._view = view
        self._read = read
        self._left = _MOST_LOOKUPS
        self._musl = libc_of(interpreter) is Libc.MUSL
        self._triples = _TRIPLES.get(architecture, ())
        # LD_LIBRARY_PATH; the loaders also take semicolons.
        self._environment = tuple(environment.replace(";", ":").split(":"))
        self._cache: dict[str, tuple[str, ...]] = {}
        if self._musl:
            self._defaults = self._musl_path(interpreter)
        else:
            data = self._small(CACHE)
            self._cache = cached_libraries(data, architecture not in _BIG_ENDIAN)
            self._defaults = self._glibc_defaults(interpreter)

    def is_loader_itself(self, name: str) -> bool:
        """Whether the loader answers for this library: musl's does for all parts of libc."""
        return self._musl and name.startswith("lib") and name[3:].startswith(_MUSL_OWN)

    def candidates(self, name: str, requester: Requester) -> tuple[File, ...]:
        """The files that the loader tries, in its order; it takes the first that fits.

        Raises `TooMuch`, at the latest after some thousand names.
        """
        found: dict[str, File] = {}
        for path in self._paths(name, requester):
            self._left -= 1
            if self._left < 0:
                raise TooMuch
            file = found_file(self._view, path)
            if file is not None:
                found.setdefault(file.path, file)
        return tuple(found.values())

    def overlooked(self, name: str) -> str:
        """Where a library lies that the loader would find after ldconfig; empty for nowhere."""
        if self._musl:
            return ""
        directories = configured_directories(self._view, self._small_file)
        for directory in (*directories, "/usr/local/lib"):
            file = found_file(self._view, f"{directory}/{name}")
            if file is not None:
                return f"/{file.path}"
        return ""

    def _paths(self, name: str, requester: Requester) -> Iterator[str]:
        if "/" in name:
            yield name
            return
        for directory in self._before(requester):
            yield f"{directory}/{name}"
        yield from self._cache.get(name, ())
        for directory in self._defaults:
            yield f"{directory}/{name}"

    def _before(self, requester: Requester) -> Iterator[str]:
        """What comes before the loader's own places."""
        if self._musl:
            yield from filter(None, self._environment)
            for who in _chain(requester):
                yield from self._expanded(who.linkage.rpath + who.linkage.runpath, who)
            return
        if not requester.linkage.runpath:
            for who in _chain(requester):
                if not who.linkage.runpath:
                    yield from self._expanded(who.linkage.rpath, who)
        yield from filter(None, self._environment)
        yield from self._expanded(requester.linkage.runpath, requester)

    def _expanded(self, directories: tuple[str, ...], who: Requester) -> Iterator[str]:
        origin = "/" + who.path.rpartition("/")[0]
        for text in directories[:_MOST_DIRECTORIES]:
            directory = text.replace("${", "$").replace("}", "") if "${" in text else text
            directory = directory.replace("$ORIGIN", origin)
            libraries = ("lib64", *(f"lib/{triple}" for triple in self._triples), "lib")
            for library in libraries if "$LIB" in directory else ("",):
                path = directory.replace("$LIB", library)
                # $PLATFORM is the processor's; a relative directory is the working directory's.
                if path.startswith("/") and "$" not in path:
                    yield path

    def _glibc_defaults(self, interpreter: str) -> tuple[str, ...]:
        loader = found_file(self._view, interpreter)
        # Where distributions keep no lib directory at all, the loader lies beside its libraries.
        own = () if loader is None else ("/" + loader.path.rpartition("/")[0],)
        lists = ((f"/lib/{triple}", f"/usr/lib/{triple}") for triple in self._triples)
        known = (directory for pair in lists for directory in pair)
        return (*known, "/lib64", "/usr/lib64", "/lib", "/usr/lib", *own)

    def _musl_path(self, interpreter: str) -> tuple[str, ...]:
        architecture = interpreter.rpartition(_MUSL_PREFIX)[2].partition(".so")[0]
        prefix = interpreter.rpartition("/")[0].rpartition("/")[0]
        text = self._small(f"{prefix}/etc/ld-musl-{architecture}.path")
        return musl_directories(text) or _MUSL_DEFAULT

    def _small(self, path: str) -> bytes:
        file = found_file(self._view, path)
        return b"" if file is None else self._small_file(file)

    def _small_file(self, file: File) -> bytes:
        return b"" if file.content.size > _SMALL else self._read((file,))[0]


def _chain(requester: Requester | None) -> Iterator[Requester]:
    while requester is not None:
        yield requester
        requester = requester.needed_by
