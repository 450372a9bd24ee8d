# SPDX-License-Identifier: Apache-2.0
"""Traffic with cache places: connected once, asked once, told of in one line at the end.

Nothing here fails a build or command, unless a place says `ignore-error=false`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

from wherry.api.asked_caches import AskedCaches
from wherry.api.cache_patience import ASKING, CachePatience, fetching, sending
from wherry.api.cache_places import cache_key, open_place
from wherry.api.naming import cores
from wherry.api.registries import Registries
from wherry.api.transfer import transfer
from wherry.errors import MachineError, NetworkError, WherryError
from wherry.events import Level, Message
from wherry.gocache.build_cache import BuildCache
from wherry.gocache.exporting import Exported, Exporter, Offer
from wherry.gocache.importing import Holding, Restored
from wherry.gocache.module_indexes import IndexesIntoCache, Pool
from wherry.gocache.module_sums import Sums
from wherry.gocache.module_trees import TreesIntoCache
from wherry.gocache.module_zips import ZipsIntoCache
from wherry.gocache.pack_set import Pack, PackSet
from wherry.gocache.spec import CacheSpec
from wherry.gocache.table import Row
from wherry.golang.flags import flag_name, split_goflags
from wherry.golang.toolchain import GoFacts
from wherry.process.cancel import Cancelled

# What compiling takes where nobody measured it: bytes of archives for a millisecond of a core.
_BYTES_PER_MS = 5000
# A cache is worth less patience than an image.
_RETRIES = 2
# Of modules that are refused: one reason serves for the others.
_TOLD = 3


class Place(NamedTuple):
    """A cache place with what it holds; `current` is None where that is nothing of use.

    `registries` are to be asked for what the place names: they wait no longer than it does.
    """

    spec: CacheSpec
    holding: Holding
    patience: CachePatience
    registries: Registries
    current: PackSet | None = None

    def packs(self, kind: str) -> tuple[Pack, ...]:
        """The packs of a kind."""
        packs = self.current.packs if self.current is not None else ()
        return tuple(pack for pack in packs if pack.kind == kind)


class CacheTraffic:
    """The places of one build or command. Thread-safe but for `load` and `export`.

    `key_path` names the file of `--cache-key`, empty for none. Raises `UsageError` for a bad one.
    `noun` is what the user calls such a place: that of a Dockerfile's steps holds more than Go's.
    """

    def __init__(
        self,
        sources: Sequence[CacheSpec],
        targets: Sequence[CacheSpec],
        key_path: str,
        registries: Registries,
        noun: str = "Go cache",
    ) -> None:
        self.sources = tuple(sources)
        self.targets = tuple(targets)
        self.registries = registries
        self.noun = noun
        self.restored: list[Restored] = []
        self.zips: list[ZipsIntoCache] = []
        self._around = registries.around
        self._key = cache_key(key_path)
        self._places: dict[str, Place] = {}
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._uploaded = 0
        if self._key is not None and self._key.warning:
            self.warn(self._key.warning)

    def load(self) -> None:
        """Ask all places to begin from what they hold."""
        with self._timed():
            for spec in self.sources:
                self._load_one(spec)

    @property
    def places(self) -> tuple[Place, ...]:
        """The places to begin from that hold something, in their order."""
        known = (self._places.get(spec.address) for spec in self.sources)
        return tuple(place for place in known if place is not None and place.current is not None)

    def restore_builds(self, path: str) -> None:
        """Put the build entries of all places into the GOCACHE at `path`. Raises `Cancelled`."""
        cache = BuildCache(path)
        for place in self.places:
            seconds = fetching(place.packs("build"))
            with self._timed(), self.passing_over(place.spec, seconds=seconds):
                self._restore(place, cache)

    def restore_zips(self, path: str, sums: Sums, scratch: str = "") -> None:
        """Put the zips that all places have of the modules in `sums` into the GOMODCACHE at `path`.

        What was begun stands in `zips`. With `scratch`, a directory of the same file system, the
        modules' trees and hashes go with them. Raises `Cancelled`.
        """
        for place in self.places:
            packs = place.packs("zips")
            with self.passing_over(place.spec, seconds=fetching(packs)):
                if packs:
                    self._restore_zips(place, path, sums, scratch)

    def restore_indexes(self, pool: Pool) -> None:
        """Put Go's indexes of modules into a build cache of steps, and what vouches for them.

        Raises `Cancelled`.
        """
        for place in self.places:
            packs = place.packs("indexes")
            if not packs:
                continue
            with self._timed(), self.passing_over(place.spec, seconds=fetching(packs)):
                tables = place.holding.tables(packs)
                rows = (row for table in tables.values() for row in table.rows)
                indexes = IndexesIntoCache(pool, rows)
                if indexes.contents:
                    indexes.prepare()
                    place.holding.unpack(tables, indexes.contents, indexes.place)

    def _restore_zips(self, place: Place, path: str, sums: Sums, scratch: str) -> None:
        tables = place.holding.tables(place.packs("zips"))
        rows = [row for table in tables.values() for row in table.rows]
        zips = (
            TreesIntoCache(path, rows, sums, scratch)
            if scratch
            else ZipsIntoCache(path, rows, sums)
        )
        wanted = zips.contents
        if not wanted:
            return
        self.zips.append(zips)
        size = sum({row.content: row.size for row in rows if row.content in wanted}.values())
        with transfer(self._around.sink, f"modules from {place.spec.place}", size) as moving:
            place.holding.unpack(tables, wanted, zips.place)
            moving.remark = megabytes(size)
        for module, why in sorted(zips.refused.items())[:_TOLD]:
            self.warn(f"{module} of the {self.noun} {place.spec.place} is not used: {why}")

    def _restore(self, place: Place, cache: BuildCache) -> None:
        if not place.packs("build"):
            return
        before = place.holding.downloaded
        with transfer(self._around.sink, f"Go cache from {place.spec.place}") as moving:
            restored = self._restored(place, cache, moving)
            came = place.holding.downloaded - before
            moving.remark = (
                f"{megabytes(restored.content)} in {len(restored.rows)} entries, "
                f"{megabytes(came)} downloaded"
            )
        with self._lock:
            self.restored.append(restored)

    def _restored(self, place: Place, cache: BuildCache, came: Callable[[int], None]) -> Restored:
        holding = place.holding
        before = holding.current or PackSet()
        try:
            return holding.restore(before, cache, came)
        except NetworkError:
            # An export may have replaced the packs meanwhile.
            after = holding.load()
            if after is None or after.packs == before.packs:
                raise
            return holding.restore(after, cache, came)

    def export(self, spec: CacheSpec, offer: Offer, scratch: str) -> Exported | None:
        """Give one place what there is; None where it could not be written."""
        content = sum(row.size for one in offer.materials.values() for row in one.rows)
        content += sum(blob.descriptor.size for blob in offer.blobs)
        with self._timed(), self.passing_over(spec, "written", sending(content)):
            holding = self.holding(spec)
            if self._key is not None and not self._key.can_sign:
                # Raises why.
                self._key.sign(b"")
            before = holding.downloaded
            with transfer(self._around.sink, f"{self.noun} to {spec.place}") as moving:
                cancel = self._place(spec).patience.token
                exporter = Exporter(holding, offer, scratch, cancel, self._key)
                done = exporter.run()
                moving.remark = f"{megabytes(done.uploaded)} uploaded, {megabytes(done.size)} there"
                self._uploaded += done.uploaded
                if holding.downloaded > before:
                    moving.remark += f", {megabytes(holding.downloaded - before)} downloaded"
            return done
        return None

    def tell(self, used: Callable[[str], bool], more: str = "") -> None:
        """Say in one line what travelling was worth; `used` tells of an entry's id.

        `more` are further words.
        """
        if not self._places:
            return
        came = {row.key: row for restored in self.restored for row in restored.rows}
        cost = sum(_cost(row) for key, row in came.items() if used(key))
        downloaded = sum(place.holding.downloaded for place in self._places.values())
        text = (
            f"{self.noun}s: {megabytes(downloaded)} downloaded, "
            f"{megabytes(self._uploaded)} uploaded"
        )
        text += f", {more}" if more else ""
        text += f", {self._seconds:.1f} s spent"
        # Go compiles on all cores.
        won = cost / 1000 / cores()
        if won >= 1:
            text += f", about {won:.0f} s won"
        self._around.sink(Message(Level.INFO, text))

    def current(self, spec: CacheSpec) -> PackSet | None:
        """What a place holds, asked for once; None where that is nothing of use."""
        if self.holding(spec).current is None:
            self._load_one(spec)
        return self.holding(spec).current

    def give_up(self) -> None:
        """Ask no place for anything any more: what is under way ends."""
        with self._lock:
            places = tuple(self._places.values())
        for place in places:
            place.patience.leave()

    def holding(self, spec: CacheSpec) -> Holding:
        """The holding of a place: one for reading and writing."""
        return self._place(spec).holding

    @contextmanager
    def passing_over(
        self, spec: CacheSpec, what: str = "used", seconds: float | None = None
    ) -> Iterator[None]:
        """Tell of failures inside the block in one line each, where the place allows that.

        One is that it takes longer than `seconds`: then the place is given up for good.
        """
        try:
            with self._limit(spec, seconds):
                yield
        except Cancelled:
            raise
        except WherryError as error:
            self._pass_over(spec, error, what)
        except OSError as error:
            why = f"{error.filename or ''} {error.strerror or error}".strip()
            failure = MachineError("this machine does not take what belongs to it", why=why)
            self._pass_over(spec, failure, what)

    def within(self, spec: CacheSpec, seconds: float | None) -> AbstractContextManager[None]:
        """Let a place keep the block waiting for no longer; raises `TooSlow` then."""
        return self._place(spec).patience.within(seconds)

    def check(self, spec: CacheSpec) -> None:
        """Raise `TooSlow` where a place was given up before."""
        self._place(spec).patience.check()

    def warn(self, text: str) -> None:
        """Tell the user."""
        self._around.sink(Message(Level.WARNING, text))

    def _limit(self, spec: CacheSpec, seconds: float | None) -> AbstractContextManager[None]:
        try:
            return self.within(spec, seconds)
        except WherryError:
            # A name that is none, say: whoever asks for the place will hear of it.
            return nullcontext()

    def _place(self, spec: CacheSpec) -> Place:
        with self._lock:
            known = self._places.get(spec.address)
            if known is None:
                patience = CachePatience(self._around.cancel)
                registries = self.registries.beside(patience.token, _RETRIES)
                holding = Holding(open_place(spec, registries), self._key, patience.token)
                known = Place(spec, holding, patience, registries)
                self._places[spec.address] = known
            return known

    def _pass_over(self, spec: CacheSpec, error: WherryError, what: str) -> None:
        if not spec.ignore_error:
            raise error
        self.warn(f"the {self.noun} {spec.place} is not {what}: {reason_of(error, spec, what)}")

    def _load_one(self, spec: CacheSpec) -> None:
        with self.passing_over(spec, seconds=ASKING):
            current = self.holding(spec).load()
            self._places[spec.address] = self._places[spec.address]._replace(current=current)
            for fault in current.faults if current is not None else ():
                self.warn(f"not all of the cache {spec.place} is used: {fault}")

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._seconds += time.monotonic() - began


def open_traffic(
    asked: AskedCaches, registries: Registries, noun: str = "Go cache"
) -> CacheTraffic:
    """The places that were asked for, asked for what they hold.

    The user is told of those that are not trusted; `noun` is as in `CacheTraffic`. Raises
    `UsageError` for a bad key.
    """
    for note in asked.notes:
        registries.around.sink(Message(Level.INFO, note))
    traffic = CacheTraffic(asked.sources, asked.targets, asked.key, registries, noun)
    traffic.load()
    return traffic


def reason_of(error: WherryError, spec: CacheSpec, what: str = "used") -> str:
    """Why a place is not used or written, in a line that names it and says so already."""
    why = error.why.splitlines()[0] if error.why else ""
    cache = f"the cache {spec.place}"
    said = {
        "used": (f"{cache} is not trusted", f"cannot read {cache}"),
        "written": (f"{cache} is not trusted", f"{cache} was not written", f"cannot write {cache}"),
    }
    if why and error.what in said.get(what, ()):
        return why
    short = error.what
    for name in (cache, f"the directory {spec.place}", spec.place):
        if short == f"cannot read {name}" or short.startswith(f"{name} is "):
            short = short.replace(name, "it", 1)
    return f"{short}: {why}" if why else short


def may_travel(facts: GoFacts, words: Iterable[str], warn: Callable[[str], None]) -> bool:
    """Whether GOCACHE's entries may come from and go to other machines; `words` hold flags of Go.

    A program around the compilers is no part of Go's key: what it makes would pass for Go's own.
    """
    if facts.all.get("GOCACHEPROG"):
        warn("GOCACHEPROG is set: what Go keeps by that program does not travel")
        return False
    flags = (*split_goflags(facts.goflags), *words)
    if any(word.startswith("-") and flag_name(word) == "toolexec" for word in flags):
        warn("-toolexec is set: Go does not tell apart what it makes, and nothing travels")
        return False
    return facts.gocache not in ("", "off")


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.1f} MB"


def _cost(row: Row) -> int:
    return row.cost or row.size // _BYTES_PER_MS
