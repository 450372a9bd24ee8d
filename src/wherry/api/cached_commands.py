# SPDX-License-Identifier: Apache-2.0
"""`wherry cache run`: any Go command between what comes from caches and what goes to them.

Nothing is known of such a command but which entries of Go's build cache it used, by their times;
results of tests are among them. Modules travel whole, as zips that Go itself compares with go.sum.
What names directories of this machine, private modules, or comes of C code stays here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from typing import NamedTuple

from wherry.api.cache_traffic import CacheTraffic, may_travel
from wherry.errors import WherryError
from wherry.gocache.build_cache import BuildCache
from wherry.gocache.exporting import Material, Offer
from wherry.gocache.marks import Epoch, epoch, used
from wherry.gocache.module_listing import Listings
from wherry.gocache.module_sums import Sums, read_sums, sum_files
from wherry.gocache.module_zips import choose_zips
from wherry.gocache.modules import Choice, ModuleCache, private_patterns
from wherry.gocache.private_entries import PrivateEntries
from wherry.gocache.spec import CacheSpec
from wherry.gocache.table import Row
from wherry.golang.facts import query_go
from wherry.golang.flags import split_goflags
from wherry.golang.modfile import module_path
from wherry.golang.toolchain import GoFacts, find_go
from wherry.oci.digest import sha256

# In what the C part of a package leaves in its archive.
_CGO = b"_cgo_"


class CommandRequest(NamedTuple):
    """A command to be run in `cwd` with `env`; only its name in the caches is made of its words.

    `scratch` is an empty directory for packs, `listings` one for facts of modules.
    """

    words: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    scratch: str
    listings: str


@contextmanager
def cached_command(request: CommandRequest, traffic: CacheTraffic) -> Iterator[None]:
    """Fill Go's caches, let the block run the command, and export what it used.

    `traffic` has been loaded. Nothing is exported where the block raises. Raises `MachineError`
    where there is no Go, `Cancelled`, and what a place with `ignore-error=false` says.
    """
    around = traffic.registries.around
    command = find_go(request.env)
    env = {**request.env, **dict(command.env), "PWD": request.cwd}
    facts = query_go(command, request.cwd, env, around.cancel)
    run = _Run(request, traffic, facts)
    with ExitStack() as stack:
        if run.is_usable:
            traffic.restore_builds(facts.gocache)
            stack.callback(run.settle)
            run.restore_zips()
        since = stack.enter_context(epoch(facts.gocache, around.cancel.check))
        yield
        run.settle()
        run.export(since)


class _Run:
    """One command with the caches that Go named for it."""

    def __init__(self, request: CommandRequest, traffic: CacheTraffic, facts: GoFacts) -> None:
        self._request = request
        self._traffic = traffic
        self._facts = facts
        self._choices: dict[bool, Choice] = {}

    @cached_property
    def is_usable(self) -> bool:
        """Whether what Go keeps may travel; the user is told once where it may not."""
        return may_travel(self._facts, self._request.words, self._traffic.warn)

    def restore_zips(self) -> None:
        """Put the zips of modules that the user's module cache lacks into it."""
        self._traffic.restore_zips(self._facts.gomodcache, self._sums())

    def settle(self) -> None:
        """Take away the zips that Go did not ask for."""
        for zips in self._traffic.zips:
            zips.settle()
        self._traffic.zips.clear()

    def export(self, since: Epoch) -> None:
        """Give the places what the command used, and tell what travelling was worth."""
        rows: tuple[Row, ...] = ()
        if self._traffic.targets and self.is_usable:
            rows = self._used(since)
        for spec in self._traffic.targets:
            with self._traffic.passing_over(spec, "written"):
                self._traffic.export(spec, self._offer(spec, rows), self._request.scratch)
        keys = {row.key for row in rows}
        self._traffic.tell(keys.__contains__)

    def _offer(self, spec: CacheSpec, rows: Sequence[Row]) -> Offer:
        cache = BuildCache(self._facts.gocache)
        needles = self._needles(spec)
        private = PrivateEntries(self._private(spec), self._sums())
        kept = [
            row
            for row in rows
            if not cache.holds_any(row, needles) and not private.hold(cache, row)
        ]
        materials = {"build": Material(kept, cache.open_output, cache.holds)}
        if spec.modules != "off":
            with suppress(WherryError):
                materials["zips"] = self._zips_of(spec)
        return Offer(self._user(), materials, spec.max_size)

    def _zips_of(self, spec: CacheSpec) -> Material:
        choice = self._choices.get(spec.private)
        if choice is None:
            cache = ModuleCache(
                self._facts.gomodcache,
                self._sums(),
                self._private(spec),
                Listings(self._request.listings),
            )
            cancel = self._traffic.registries.around.cancel
            choice = self._choices[spec.private] = choose_zips(cache, cancel)
        return Material(choice.rows, choice.open, choice.at_hand)

    def _used(self, since: Epoch) -> tuple[Row, ...]:
        cache = BuildCache(self._facts.gocache)
        found = map(cache.row, used(self._facts.gocache, since))
        rows = [row for row in found if row is not None and not cache.is_bound(row)]
        return tuple(sorted(rows))

    def _needles(self, spec: CacheSpec) -> tuple[bytes, ...]:
        """Texts that keep an entry here, whatever is private."""
        facts = self._facts
        texts: set[str] = set()
        if not spec.paths:
            roots = {os.path.dirname(path) for path in (facts.gomod, facts.gowork) if path}
            texts |= {path for path in (*roots, facts.gomodcache, facts.gocache) if len(path) > 1}
            home = self._request.env.get("HOME", "").rstrip("/")
            texts |= {f"{home}/"} if home else set()
        return (_CGO, *map(os.fsencode, sorted(texts)))

    def _private(self, spec: CacheSpec) -> str:
        """The patterns of modules that a place must not have."""
        return "" if spec.private else private_patterns(self._facts)

    def _sums(self) -> Sums:
        flags = split_goflags(self._facts.goflags)
        return read_sums(sum_files(self._facts, flags, self._request.cwd))

    def _user(self) -> str:
        name = module_path(self._facts.gomod) if self._facts.gomod else ""
        words = sha256("\0".join(self._request.words).encode("utf-8", "surrogateescape"))
        return f"run {name or 'no module'} {words.short}"
