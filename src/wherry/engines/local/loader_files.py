# SPDX-License-Identifier: Apache-2.0
"""The files that tell a base's loader where libraries are: ld.so.cache, ld.so.conf, musl's path.

glibc's loader reads the cache alone; ld.so.conf is what ldconfig makes it from, and serves here to
tell a library that is in the base, but not in the cache. All are a stranger's: read with bounds.
Sources: ldconfig(8), glibc's sysdeps/generic/dl-cache.h (the format), musl's ldso/dynlink.c.
"""

from __future__ import annotations

import fnmatch
import struct
from collections.abc import Callable
from typing import Final

from wherry.errors import UsageError
from wherry.fstree.files import Files
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import File

CACHE: Final = "etc/ld.so.cache"
CONF: Final = "etc/ld.so.conf"

_MAGIC: Final = b"glibc-ld.so.cache1.1"
_HEADER: Final = 48
_ENTRY: Final = 24
_MOST_ENTRIES: Final = 100_000
_MOST_FILES: Final = 64
_MOST_DIRECTORIES: Final = 256
_LONGEST: Final = 4096


def found_file(view: Files, path: str) -> File | None:
    """The file that `path` leads to; None for nothing, and for links that lead nowhere."""
    try:
        entry = view.entry(resolve(view, path))
    except UsageError:
        return None
    return entry if isinstance(entry, File) else None


def cached_libraries(data: bytes, little_endian: bool) -> dict[str, tuple[str, ...]]:
    """Paths by library name, as an ld.so.cache lists them; what is damaged in it is left out."""
    start = data.find(_MAGIC)
    if start < 0 or len(data) < start + _HEADER:
        return {}
    order = "<" if little_endian else ">"
    (count,) = struct.unpack_from(f"{order}I", data, start + len(_MAGIC))
    count = min(count, _MOST_ENTRIES, (len(data) - start - _HEADER) // _ENTRY)
    found: dict[str, list[str]] = {}
    for number in range(count):
        place = start + _HEADER + number * _ENTRY
        key, value = struct.unpack_from(f"{order}4xII", data, place)
        name, path = _text(data, start + key), _text(data, start + value)
        if name and path:
            found.setdefault(name, []).append(path)
    return {name: tuple(paths) for name, paths in found.items()}


def configured_directories(
    view: Files, read_one: Callable[[File], bytes], start: str = CONF
) -> tuple[str, ...]:
    """The directories that ld.so.conf names, with the files that it includes."""
    todo, seen, found = [start], set[str](), dict[str, None]()
    while todo and len(seen) < _MOST_FILES and len(found) < _MOST_DIRECTORIES:
        path = todo.pop(0)
        file = found_file(view, path)
        if path in seen or file is None:
            continue
        seen.add(path)
        for line in read_one(file).decode("utf-8", "surrogateescape").splitlines():
            word, _, rest = line.partition("#")[0].strip().partition(" ")
            if word == "include":
                todo += _included(view, path, rest.strip())
            elif word.startswith("/") and len(found) < _MOST_DIRECTORIES:
                found[word] = None
    return tuple(found)


def musl_directories(text: bytes) -> tuple[str, ...]:
    """The directories of musl's path file, which newlines or colons part."""
    words = text.decode("utf-8", "surrogateescape").replace(":", "\n").split("\n")
    return tuple(word.strip() for word in words if word.strip())[:_MOST_DIRECTORIES]


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start, start + _LONGEST)
    return data[start:end].decode("utf-8", "surrogateescape") if end >= 0 else ""


def _included(view: Files, path: str, pattern: str) -> list[str]:
    """Files that an `include` names; its last component may be a pattern, as it always is."""
    if not pattern.startswith("/"):
        pattern = f"{path.rpartition('/')[0]}/{pattern}"
    directory, _, last = pattern.rpartition("/")
    try:
        real = resolve(view, directory)
    except UsageError:
        return []
    names = view.names(real)
    return [f"{real}/{name}" for name in names if fnmatch.fnmatchcase(name, last)][:_MOST_FILES]
