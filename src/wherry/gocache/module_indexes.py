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
from contextlib import AbstractContextManager, suppress
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


def indexes_of(used: Mapping[Vouched, Pool], private: str) -> Material:
    """What a place may have of the indexes that steps used; `private` are patterns.

    An index that another build has made anew since, of other files, is left out.
    """
    contents: dict[str, bytes] = {}
    rows: dict[str, Row] = {}
    for one, pool in sorted(used.items(), key=lambda item: item[0]):
        if is_private(one.line.split(" ")[0], private):
            continue
        with suppress(OSError), pool.lines.alone():
            found = pool.cache.row(one.id)
            if found is None or pool.lines.find(one.id) != one.line:
                continue
            with pool.cache.open_output(found) as file:
                content = one.line.encode() + b"\n" + file.read(_LARGEST)
            if _fault(content) == "" and len(content) <= _LARGEST:
                digest = hashlib.sha256(content).hexdigest()
                contents[digest] = content
                rows[one.id] = Row(one.id, digest, len(content), found.extra)

    def read(row: Row) -> BinaryIO:
        return io.BytesIO(contents[row.content])

    return Material(tuple(rows.values()), read, lambda row: row.content in contents)


class Lines(Protocol):
    """Where the lines are kept that vouch for the indexes of a build cache."""

    def alone(self) -> AbstractContextManager[None]:
        """Whoever changes a line and its index does it alone. Raises `OSError`."""

    def find(self, identity: str) -> str:
        """The line of an index, empty for none."""

    def keep(self, identity: str, line: str) -> None:
        """Note it, before the index appears. Raises `OSError`."""


class Pool(NamedTuple):
    """A build cache of steps, and the lines of its indexes."""

    cache: BuildCache
    lines: Lines


class IndexesIntoCache:
    """Puts indexes of packs into a build cache of steps, those that it does not have.

    `place` is for `wherry.gocache.pack.unpack`. Raises `BadPack` for what is no index.
    """

    def __init__(self, pool: Pool, rows: Iterable[Row]) -> None:
        self._pool = pool
        self._targets: dict[str, list[Row]] = {}
        for row in rows:
            if not _ID.fullmatch(row.key):
                raise BadPack("a pack names an index that is none of Go's", why=repr(row.key)[:80])
            if row.size <= _LARGEST and pool.cache.row(row.key) is None:
                self._targets.setdefault(row.content, []).append(row)

    @property
    def contents(self) -> frozenset[str]:
        """The digests of all contents that are wanted."""
        return frozenset(self._targets)

    def prepare(self) -> None:
        """Make what a new cache lacks; raises `MachineError`, for a full disk too."""
        self._pool.cache.prepare()
        self._pool.cache.check_room(sum(rows[0].size for rows in self._targets.values()))

    def place(self, content: Content, chunks: Iterator[bytes]) -> None:
        """Take one content; called by several threads. Raises `MachineError`, `OSError`."""
        whole = b"".join(chunks)
        if fault := _fault(whole):
            raise BadPack("a pack holds what is no index of a module", why=fault)
        line, _, data = whole.partition(b"\n")
        digest = hashlib.sha256(data).hexdigest()
        cache, lines = self._pool
        cache.place(Content(digest, len(data)), iter((data,)))
        for row in self._targets[content.digest]:
            with lines.alone():
                # Another build may have come first.
                if cache.row(row.key) is None:
                    lines.keep(row.key, line.decode("utf-8", "replace"))
                    cache.enter([Row(row.key, digest, len(data), row.extra)])


def _fault(content: bytes) -> str:
    """Why a content is no index with its line; empty where it is one."""
    line, _, data = content.partition(b"\n")
    if not _LINE.fullmatch(line):
        return "no line of go.sum comes first"
    return "" if data.startswith(INDEX) else "no index of Go's comes after the line"
