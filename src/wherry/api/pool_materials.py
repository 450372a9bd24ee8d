# SPDX-License-Identifier: Apache-2.0
"""What the Go steps of a build used of their caches, as cache places are given it.

Of a Dockerfile the paths that compiled packages may hold are those of its containers, the same on
every machine: they keep nothing back. Private modules do.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from wherry.gocache.build_cache import BuildCache
from wherry.gocache.exporting import Material
from wherry.gocache.module_indexes import Pool, Vouched, indexes_of
from wherry.gocache.module_listing import Listings
from wherry.gocache.module_sums import parse_sums
from wherry.gocache.module_zips import choose_zips
from wherry.gocache.modules import ModuleCache
from wherry.gocache.private_entries import PrivateEntries
from wherry.gocache.spec import CacheSpec
from wherry.gocache.table import Row
from wherry.process.cancel import CancelToken


class Used(NamedTuple):
    """What steps used, by the directories of the caches: actions, and lines of go.sum.

    An action is its id; that of an index is followed by a space and the line that vouches for it.
    """

    builds: Mapping[str, frozenset[str]]
    modules: Mapping[str, frozenset[str]]
    pools: Mapping[str, Pool]


class PoolMaterials:
    """Makes materials of what was used; `private` are the patterns of private modules.

    `listings` keeps facts of modules.
    """

    def __init__(self, used: Used, private: str, listings: str, cancel: CancelToken) -> None:
        self._used = used
        self._private = private
        self._listings = Listings(listings)
        self._cancel = cancel
        self._made: dict[tuple[str, str], Material] = {}

    def of(self, spec: CacheSpec) -> dict[str, Material]:
        """What a place may have, by kind. Raises `OSError`, `Cancelled`."""
        private = "" if spec.private else self._private
        kinds = {}
        if self._used.builds:
            kinds["build"] = self._build
            if spec.modules != "off":
                kinds["indexes"] = self._indexes
        # Which of several module caches a zip is from, nothing would tell.
        if len(self._used.modules) == 1 and spec.modules != "off":
            kinds["zips"] = self._zips
        for kind, make in kinds.items():
            if (kind, private) not in self._made:
                self._made[kind, private] = make(private)
        return {kind: self._made[kind, private] for kind in kinds}

    def _build(self, private: str) -> Material:
        sums = parse_sums(["\n".join(lines) for lines in self._used.modules.values()])
        used = {
            directory: frozenset(key for key in keys if " " not in key)
            for directory, keys in self._used.builds.items()
        }
        return _Builds(used, PrivateEntries(private, sums), self._cancel).material()

    def _indexes(self, private: str) -> Material:
        used = {
            Vouched(*key.split(" ", 1)): self._used.pools[directory]
            for directory, keys in self._used.builds.items()
            for key in keys
            if " " in key
        }
        return indexes_of(used, private)

    def _zips(self, private: str) -> Material:
        ((directory, lines),) = self._used.modules.items()
        cache = ModuleCache(directory, parse_sums(["\n".join(lines)]), private, self._listings)
        choice = choose_zips(cache, self._cancel)
        return Material(choice.rows, choice.open, choice.at_hand)


class _Builds:
    """The entries of several build caches, by their directories, that steps have used."""

    def __init__(
        self, used: Mapping[str, frozenset[str]], private: PrivateEntries, cancel: CancelToken
    ) -> None:
        self._caches = [BuildCache(directory) for directory in used]
        rows: dict[str, Row] = {}
        for cache, keys in zip(self._caches, used.values(), strict=True):
            for key in keys:
                cancel.check()
                row = cache.row(key)
                # An index says nothing of whose module it is: it goes with its line alone.
                if row is None or cache.is_bound(row):
                    continue
                if not private.hold(cache, row):
                    rows[row.key] = row
        self._rows = tuple(rows[key] for key in sorted(rows))

    def material(self) -> Material:
        return Material(self._rows, self._open, self._holds)

    def _open(self, row: Row) -> BinaryIO:
        for cache in self._caches:
            with suppress(OSError):
                return cache.open_output(row)
        raise FileNotFoundError(row.key)

    def _holds(self, row: Row) -> bool:
        return any(cache.holds(row) for cache in self._caches)
