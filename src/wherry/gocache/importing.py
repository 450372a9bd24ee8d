# SPDX-License-Identifier: Apache-2.0
"""What a build takes from one cache place: its pack set, tables, records, and build entries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NamedTuple, Protocol

from wherry.errors import NetworkError
from wherry.gocache.build_cache import BuildCache, NoRoom
from wherry.gocache.pack import Place, unpack
from wherry.gocache.pack_index import read_index
from wherry.gocache.pack_set import Pack, PackSet
from wherry.gocache.places import CachePlace, Damaged, Found
from wherry.gocache.table import BadPack, Content, Row, Table, read_table
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken
from wherry.registry.download import WrongBytes

_SMALL_LIMIT = 32 << 20
_AT_ONCE = 4


class Key(Protocol):
    """A key that indexes may be signed with."""

    def check(self, index: bytes, signature: str) -> str:
        """Why the signature is none of this key; empty where it is one."""


class Restored(NamedTuple):
    """What came into a build cache: `rows` were not there before, of `content` bytes in all."""

    rows: tuple[Row, ...] = ()
    content: int = 0


class Holding:
    """What a cache place holds. Thread-safe; each blob is read once and counted in `downloaded`.

    `key` is what the index has to be signed with, None where that does not matter.
    """

    def __init__(self, place: CachePlace, key: Key | None, cancel: CancelToken) -> None:
        self.place = place
        self.downloaded = 0
        self.broken: set[Digest] = set()
        """Packs that do not hold what they should: an export writes them anew."""
        self.current: PackSet | None = None
        """What was found when last looked."""
        self._key = key
        self._cancel = cancel
        self._tables: dict[Digest, Table] = {}
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def load(self) -> PackSet | None:
        """The pack set as it is now, None where there is none.

        Raises `BadPack` for one that is broken, of another release or not signed as it has to be,
        and what the place raises.
        """
        found = self.place.current()
        return None if found is None else self.trusted(found)

    def trusted(self, found: Found) -> PackSet:
        """The pack set of an index; raises `BadPack` as `load` does."""
        self._count(len(found.index))
        if self._key is not None:
            why = self._key.check(found.index, found.signature)
            if why:
                raise BadPack(f"the cache {self.place.name} is not trusted", why=why,
                              hint="export it once more with --cache-key")  # fmt: skip
        self.current = read_index(found.index)
        return self.current

    def tables(self, packs: Iterable[Pack]) -> dict[Digest, Table]:
        """The tables of packs, by the packs' digests, fetched side by side; raises `BadPack`."""
        wanted = tuple(packs)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="tables") as pool:
            found = list(pool.map(self.table, wanted))
        return {pack.digest: table for pack, table in zip(wanted, found, strict=True)}

    def small(self, blob: Descriptor) -> bytes:
        """The bytes of a blob that is read whole; raises `BadPack` for one that is too large."""
        if blob.size > _SMALL_LIMIT:
            raise BadPack("a blob of a cache is too large", why=f"{blob.size} bytes")
        with self.place.open(blob) as stream:
            data = stream.read()
        self._count(len(data))
        return data

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """The bytes of a blob, counted as downloaded; closed by the caller."""
        self._count(blob.size)
        return self.place.open(blob)

    def open_pack(self, pack: Pack) -> BinaryIO:
        """As `open_blob`, of a pack."""
        return self.open_blob(pack.blob)

    def restore(
        self,
        current: PackSet,
        cache: BuildCache,
        told: Callable[[int], None] = lambda _size: None,
    ) -> Restored:
        """Put the build entries of all packs into `cache`, those that it does not have.

        `told` hears how many more bytes of content are there. Raises `BadPack` for a pack that is
        broken (what came before stays, and is right), `MachineError` where the disk does not take
        it (then nothing stays), what the place raises, `Cancelled`.
        """
        packs = [pack for pack in current.packs if pack.kind == "build"]
        tables = self.tables(packs)
        cache.prepare()
        missing, outputs = cache.lacks(_rows(tables))
        sizes = {row.content: row.size for row in missing}
        cache.check_room(sum(sizes[content] for content in outputs))
        placed: set[str] = set()

        def came(content: Content) -> None:
            with self._lock:
                placed.add(content.digest)
            told(content.size)

        def here() -> tuple[Row, ...]:
            absent = outputs - placed
            rows = (row for row in missing if row.content not in absent)
            # Of an index nobody would know what it was made of.
            return tuple(row for row in rows if not cache.is_bound(row))

        try:
            try:
                self.unpack(tables, outputs, cache.placing(came))
            finally:
                # Also where a pack was broken: what is there whole may be used.
                cache.enter(here())
        except NoRoom:
            cache.forget(here(), placed)
            raise
        return Restored(missing, sum(sizes[content] for content in placed))

    def unpack(self, tables: Mapping[Digest, Table], wanted: frozenset[str], place: Place) -> None:
        """Give the contents in `wanted` (digests) of these packs to `place`, pack by pack.

        A pack that is broken is noted and does not stop the others; its error is raised at the end.
        """
        known = {} if self.current is None else {pack.digest: pack for pack in self.current.packs}
        failure: NetworkError | None = None
        for digest, table in tables.items():
            contents = {content.digest for frame in table.frames for content in frame.contents}
            if digest not in known or not contents & wanted:
                continue
            try:
                with self.open_pack(known[digest]) as stream:
                    unpack(table, stream, wanted, place, self._cancel)
            except NetworkError as error:
                if not self._is_broken(known[digest], error):
                    raise
                self.broken.add(digest)
                failure = failure or error
        if failure is not None:
            raise failure

    def _is_broken(self, pack: Pack, error: NetworkError) -> bool:
        """Whether a pack is at fault, and not the way to it."""
        if isinstance(error, BadPack | Damaged | WrongBytes):
            return True
        try:
            return not self.place.has(pack.blob)
        except NetworkError:
            return False

    def table(self, pack: Pack) -> Table:
        """The table of a pack, fetched once; raises `BadPack`, and what the place raises."""
        with self._lock:
            known = self._tables.get(pack.digest)
        if known is not None:
            return known
        try:
            data = self.small(pack.table)
            # One at a time: a stranger's may take much memory until it is known for what it is.
            with self._reading:
                table = _table_of(pack, data)
        except (BadPack, Damaged, WrongBytes):
            self.broken.add(pack.digest)
            raise
        with self._lock:
            self._tables[pack.digest] = table
        return table

    def _count(self, size: int) -> None:
        with self._lock:
            self.downloaded += size


def _table_of(pack: Pack, data: bytes) -> Table:
    table = read_table(data)
    size = sum(frame.size for frame in table.frames)
    # The index says how many rows all tables together may have.
    if (table.kind, size, len(table.rows)) != (pack.kind, pack.blob.size, pack.rows):
        raise BadPack("a pack and its table do not belong together")
    return table


def _rows(tables: Mapping[Digest, Table]) -> tuple[Row, ...]:
    """The rows of several tables, each key once, as the first has it."""
    found: dict[str, Row] = {}
    for table in tables.values():
        for row in table.rows:
            found.setdefault(row.key, row)
    return tuple(found.values())
