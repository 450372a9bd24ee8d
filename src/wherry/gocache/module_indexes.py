# SPDX-License-Identifier: Apache-2.0
"""Go's indexes of modules in packs, each with the line of go.sum that vouches for the module.

Go finds an index by its own version and the module's directory, not by what is in there
(`wherry.golang.build_entries`), so that an index alone may be of other files. A row's key is the id
of the action, its content that line, a newline and the index.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO, Final, NamedTuple, Protocol

from wherry.gocache.build_cache import BuildCache
from wherry.gocache.exporting import Material
from wherry.gocache.module_names import is_private
from wherry.gocache.table import BadPack, Content, Row
from wherry.golang.build_entries import INDEX

_ID: Final = re.compile(r"[0-9a-f]{64}")
_LINE: Final = re.compile(rb"[^ \n]+ [^ \n]+ h1:[A-Za-z0-9+/]{43}=")
# Those of the largest modules have a few hundred kilobytes.
_LARGEST: Final = 16 << 20


class Vouched(NamedTuple):
    """The id of an index's action, and the line of go.sum of what it was made of."""

    id: str
    line: str


def indexes_of(used: Mapping[Vouched, BuildCache], private: str) -> Material:
    """What a place may have of the indexes that steps used of caches; `private` are patterns."""
    contents: dict[str, bytes] = {}
    rows = []
    for one, cache in sorted(used.items(), key=lambda item: item[0]):
        found = cache.row(one.id)
        if found is None or found.size > _LARGEST or is_private(one.line.split(" ")[0], private):
            continue
        with suppress(OSError), cache.open_output(found) as file:
            data = file.read()
            if data.startswith(INDEX):
                content = one.line.encode() + b"\n" + data
                digest = hashlib.sha256(content).hexdigest()
                contents[digest] = content
                rows.append(Row(one.id, digest, len(content), found.extra))

    def read(row: Row) -> BinaryIO:
        return io.BytesIO(contents[row.content])

    return Material(tuple(rows), read, lambda row: row.content in contents)


class Lines(Protocol):
    """Where the lines are kept that vouch for the indexes of a build cache."""

    def has(self, identity: str) -> bool:
        """Whether there is a line for an index."""

    def keep(self, identity: str, line: str) -> None:
        """Note it, before the index appears. Raises `OSError`."""


class IndexesIntoCache:
    """Puts indexes of packs into a build cache whose lines somebody minds.

    `place` is for `wherry.gocache.pack.unpack`. Raises `BadPack` for what is no index.
    """

    def __init__(self, cache: BuildCache, lines: Lines, rows: Iterable[Row]) -> None:
        self._cache = cache
        self._lines = lines
        self._targets: dict[str, list[Row]] = {}
        for row in rows:
            if not _ID.fullmatch(row.key) or row.size > _LARGEST:
                raise BadPack("a pack names an index that is none of Go's", why=repr(row.key)[:80])
            if not lines.has(row.key) and cache.row(row.key) is None:
                self._targets.setdefault(row.content, []).append(row)

    @property
    def contents(self) -> frozenset[str]:
        """The digests of all contents that are wanted."""
        return frozenset(self._targets)

    def place(self, content: Content, chunks: Iterator[bytes]) -> None:
        """Take one content; called by several threads. Raises `MachineError`, `OSError`."""
        line, mark, data = b"".join(chunks).partition(b"\n")
        if not mark or not _LINE.fullmatch(line) or not data.startswith(INDEX):
            raise BadPack("a pack holds what is no index of a module", why=content.digest[:12])
        digest = hashlib.sha256(data).hexdigest()
        for row in self._targets[content.digest]:
            self._lines.keep(row.key, line.decode("utf-8", "replace"))
            self._cache.place(Content(digest, len(data)), iter((data,)))
            self._cache.enter([Row(row.key, digest, len(data), row.extra)])
