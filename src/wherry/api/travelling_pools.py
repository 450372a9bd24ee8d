# SPDX-License-Identifier: Apache-2.0
"""The Go caches of RUN steps, from cache places and to them, in the packs of Go builds.

What a place holds comes into a cache of the store when a step of the build first uses that: all
build entries, and the modules that the step's go.sum names, compared with it and unpacked as Go
does (Go believes in what lies there). What goes to a place is what the Go steps of this Dockerfile
used, told by the steps that ran, now or in an earlier build of this store.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from wherry.api.cache_traffic import CacheTraffic
from wherry.api.pool_materials import PoolMaterials, Used
from wherry.engines.local.results import NOTHING_SEEN, Built, Outside
from wherry.errors import MachineError, WherryError
from wherry.gocache.build_cache import BuildCache
from wherry.gocache.module_indexes import Pool
from wherry.gocache.module_sums import parse_sums
from wherry.golang.build_entries import NEVER_SECONDS, UNUSED_SECONDS
from wherry.oci.digest import parse_digest
from wherry.sandbox.go_indexes import KeptLines
from wherry.sandbox.step_spec import StepGoCache
from wherry.store.store import Store


class TravellingPools:
    """The Go caches of one build's steps; implements the engine's `GoSource`. Thread-safe."""

    def __init__(self, traffic: CacheTraffic, store: Store) -> None:
        self._traffic = traffic
        self._store = store
        self._lock = threading.Lock()
        self._filling: dict[str, threading.Lock] = {}
        # What a filling failed with: who begins ahead does not tell it.
        self._filled: dict[str, WherryError | None] = {}

    def fill(self, cache: Outside, directory: str, sums: Callable[[], tuple[str, ...]]) -> None:
        """Put what places hold into a Go cache, once for each build.

        Raises `Cancelled`, and what failed at a place that says `ignore-error=false`, each time.
        """
        # A cache of another user is that user's to fill.
        if cache.owner or not self._traffic.places:
            return
        with self._lock:
            alone = self._filling.setdefault(cache.pool, threading.Lock())
        with alone:
            if cache.pool not in self._filled:
                # What fails in the step's root is no place's fault, and may be tried again.
                texts = sums() if cache.kind == "modules" and self._has_zips() else None
                self._filled[cache.pool] = self._fault(cache, directory, texts)
            fault = self._filled[cache.pool]
            if fault is not None:
                raise fault

    def _has_zips(self) -> bool:
        return any(place.packs("zips") for place in self._traffic.places)

    def _fault(
        self, cache: Outside, directory: str, sums: tuple[str, ...] | None
    ) -> WherryError | None:
        """Fill a cache, one of modules only with `sums`; what that failed with."""
        try:
            if cache.kind == "build":
                self._fill_builds(cache, directory)
            elif sums is not None:
                self._fill_modules(directory, sums)
        except WherryError as error:
            return error
        return None

    def _fill_builds(self, cache: Outside, directory: str) -> None:
        try:
            self._traffic.restore_builds(directory)
            self._traffic.restore_indexes(_pool(cache, directory))
        finally:
            # What came before a failure stays for later builds.
            _make_unused(directory)

    def _fill_modules(self, directory: str, sums: tuple[str, ...]) -> None:
        try:
            self._traffic.restore_zips(directory, parse_sums(sums), self._store.scratch())
        finally:
            _open_to_all(directory)

    def used(self, results: Iterable[Built], private: str) -> PoolMaterials | None:
        """What the Go steps among these results have used; None where that is not known of all.

        `private` are the patterns of modules that are private.
        """
        builds: dict[str, frozenset[str]] = {}
        modules: dict[str, frozenset[str]] = {}
        pools: dict[str, Pool] = {}
        for cache in {cache for built in results for cache in built.outside}:
            if not cache.pool and cache.seen == NOTHING_SEEN:
                # Another machine's, and yet known: nothing.
                continue
            lines = self._lines(cache)
            if lines is None:
                return None
            found = builds if cache.kind == "build" else modules
            place = self._directory(cache.path, cache.pool)
            found[place] = found.get(place, frozenset()).union(lines)
            if cache.kind == "build":
                pools[place] = _pool(cache, place)
        used = Used(builds, modules, pools)
        cancel = self._traffic.registries.around.cancel
        return PoolMaterials(used, private, self._store.scratch(), cancel)

    def _lines(self, cache: Outside) -> list[str] | None:
        """What a step used of a cache; None where its machine was another one."""
        if not cache.pool or not cache.seen:
            return None
        with suppress(MachineError):
            return self._store.blobs.read(parse_digest(cache.seen)).decode().splitlines()
        return None

    def _directory(self, path: str, pool: str) -> str:
        return f"{self._store.path}/mounts/{pool}/fs{path}"


def _pool(cache: Outside, directory: str) -> Pool:
    """The build cache in a directory of the store."""
    place = StepGoCache("build", cache.path, directory.removesuffix(f"/fs{cache.path}"))
    return Pool(BuildCache(directory), KeptLines(place))


def _make_unused(directory: str) -> None:
    """Give what came from elsewhere the times of what no step has used yet."""
    now = time.time()
    for number in range(256):
        with suppress(FileNotFoundError), os.scandir(f"{directory}/{number:02x}") as entries:
            for entry in entries:
                late = entry.name.endswith("-d")
                wanted = now + NEVER_SECONDS if late else now - UNUSED_SECONDS
                changed = entry.stat(follow_symlinks=False).st_mtime
                is_right = changed > now + UNUSED_SECONDS if late else changed <= wanted
                if not is_right and entry.name[-2:] in ("-a", "-d"):
                    os.utime(entry.path, (wanted, wanted), follow_symlinks=False)


def _open_to_all(directory: str) -> None:
    """Let every user read downloads' directories, as Go makes them."""
    for place, names, _ in os.walk(f"{directory}/cache"):
        for name in (".", *names):
            path = os.path.join(place, name)
            if stat.S_IMODE(os.lstat(path).st_mode) != 0o755:
                os.chmod(path, 0o755)  # noqa: S103 - as above
