# SPDX-License-Identifier: Apache-2.0
"""The travelling caches of one build of Go programs.

Before it: once Go has said where its caches are, modules that it lacks come into a tree of wherry's
own, and the build entries into its GOCACHE, in a thread of their own for which `go build` alone
waits. After it: what the action graphs say it used goes to the places, once all else is delivered.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherry.api.cache_patience import ASKING
from wherry.api.cache_traffic import CacheTraffic, may_travel
from wherry.api.cached_modules import ModuleRestore
from wherry.api.cached_records import (
    Sender,
    find_answer,
    has_result,
    known_records,
    written_record,
)
from wherry.api.recorded import NO_INPUTS, BuildRecord
from wherry.api.request import BuildRequest
from wherry.api.travelling_key import travelling_key
from wherry.engines.local.listening import PrunedModules
from wherry.events import Level, Message
from wherry.gocache.build_cache import BuildCache
from wherry.gocache.exporting import Material, Offer
from wherry.gocache.module_names import is_private
from wherry.gocache.modules import private_patterns
from wherry.gocache.spec import CacheSpec
from wherry.gocache.table import Row
from wherry.golang.action_graph import Compiled, read_action_graph
from wherry.golang.command import GoTool
from wherry.golang.flags import flag_value, split_goflags
from wherry.golang.packages import Package
from wherry.golang.toolchain import GoFacts
from wherry.oci.digest import sha256
from wherry.process.cancel import Cancelled, CancelToken
from wherry.store.store import Store

if TYPE_CHECKING:
    from wherry.api.planning import Wish

# Somebody waits for an error message.
_CLOSE_SECONDS = 5.0
_LONGEST_USER = 200


class TravellingCaches:
    """The caches of one build, as its Go steps and toolchains meet them."""

    def __init__(self, traffic: CacheTraffic, request: BuildRequest, store: Store) -> None:
        # Who uses the caches, once it is known what is built.
        self._user = ""
        self._traffic = traffic
        self._request = request
        self._store = store
        self._lock = threading.Lock()
        self._restoring: threading.Thread | None = None
        self._fault: BaseException | None = None
        self._facts: GoFacts | None = None
        self._travels = False
        self._modules = ModuleRestore(traffic, store)
        self._compiled: dict[str, Compiled] = {}
        self._packages: dict[str, Package] = {}
        # Those that on any platform are compiled of what Go's key does not know.
        self._reading_beside: set[str] = set()
        self._bare_paths = False

    # --- before the build -----------------------------------------------------------------------

    def answer(self) -> BuildRecord | None:
        """What a travelling record answers; Go is not asked for it."""
        record, reason = find_answer(self._traffic, self._request, self._store)
        if record is None and reason:
            self._say(f"no record of the Go caches answers: {reason}")
        return record

    def lacks(self, record: BuildRecord) -> bool:
        """Whether a place to write to has not got the result of a record yet."""
        return any(
            not has_result(self._traffic.current(spec), self._request, record)
            for spec in self._traffic.targets
        )

    def asked(
        self, tool: GoTool, facts: GoFacts, patterns: Sequence[str]
    ) -> tuple[GoTool, GoFacts]:
        """Go has said where its caches are: begin to fill them, and say how to go on asking it."""
        if self._facts is None:
            self._facts = facts
            self._travels = may_travel(facts, (), self._traffic.warn)
            if self._travels:
                thread = threading.Thread(target=self._restore, args=(facts.gocache,), daemon=True)
                self._restoring = thread
                thread.start()
        return self._modules.applied(tool, facts, patterns)

    def built_for(self, wishes: Sequence[Wish]) -> None:
        """Note what is built, for which platforms: who uses the caches. No path of a machine."""
        programs = sorted({main.import_path for wish in wishes for main in wish.mains})
        platforms = sorted({str(platform) for wish in wishes for platform in wish.asked.platforms})
        cgo = ["cgo"] if any(wish.asked.cgo for wish in wishes) else []
        user = " ".join((",".join(programs), *platforms, *cgo))
        if len(user) > _LONGEST_USER:
            user = f"{programs[0]} and others {sha256(user.encode()).short}"
        self._user = user

    def without_modules(self, why: str) -> None:
        """Go on without the pruned modules, which lack something."""
        self._say(f"the modules of the Go caches are not used: {self._modules.why or why}")
        self._modules.drop()

    def _restore(self, path: str) -> None:
        try:
            self._traffic.restore_builds(path)
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - a thread's border, raised by wait()
            self._fault = error

    # --- the listener of Go steps ---------------------------------------------------------------

    @property
    def is_pruned(self) -> bool:
        """Whether the module cache in force holds parts of modules only."""
        return self._modules.tree is not None

    @property
    def is_doubtful(self) -> bool:
        """Whether pruned modules are in force that no list of packages has proven good yet."""
        return self.is_pruned and not self._modules.proven

    def wait(self, cancel: CancelToken) -> None:
        """Return once the caches are filled; raises `Cancelled`."""
        thread = self._restoring
        while thread is not None and thread.is_alive():
            thread.join(0.02)
            cancel.check()
        if self._fault is not None:
            raise self._fault

    def listed(self, packages: Sequence[Package]) -> None:
        """Note the packages of a build; raises `PrunedModules` where some are not to be had."""
        why = self._modules.fault(packages)
        if why:
            raise PrunedModules("the modules of the Go caches do not hold all", why=why)
        with self._lock:
            self._packages |= {package.import_path: package for package in packages}
            self._reading_beside |= {
                package.import_path for package in packages if _reads_beside(package)
            }

    def built(self, graph: bytes, flags: Sequence[str]) -> None:
        """Note which entries a `go build` used."""
        goflags = split_goflags(self._facts.goflags) if self._facts is not None else ()
        trimmed = flag_value((*goflags, *flags), "trimpath") == "true"
        with self._lock:
            self._bare_paths |= not trimmed
            for one in read_action_graph(graph):
                known = self._compiled.get(one.prefix)
                if known is None or known.milliseconds < one.milliseconds:
                    self._compiled[one.prefix] = one

    # --- after the build ------------------------------------------------------------------------

    def export(self, record: BuildRecord, *, is_pushed: bool) -> None:
        """Give the places what this build used, and tell in one line what travelling was worth.

        Raises only what a place with `ignore-error=false` says.
        """
        if self._user:
            for spec in self._traffic.targets:
                with self._traffic.passing_over(spec, "written"):
                    self._traffic.check(spec)
                    self._export_one(spec, record, is_pushed=is_pushed)
        self._traffic.tell(lambda key: key[:30] in self._compiled)
        self._modules.close()

    def close(self) -> None:
        """End the use of what came from caches, and what is still under way."""
        self._traffic.give_up()
        if self._restoring is not None:
            self._restoring.join(_CLOSE_SECONDS)
        self._modules.close()

    def _export_one(self, spec: CacheSpec, record: BuildRecord, *, is_pushed: bool) -> None:
        facts = self._facts
        if facts is None or not self._travels:
            return
        rows = self._used(spec, facts)
        if not spec.paths and self._bare_paths:
            rows = self._without_paths(rows, facts)
        cache = BuildCache(facts.gocache)
        materials = {"build": Material(rows, cache.open_output, cache.holds)}
        if spec.modules != "off":
            with self._traffic.passing_over(spec, "given all modules"):
                materials |= self._modules.material(self._packages.values(), spec)
        offer = Offer(self._user, materials, spec.max_size)
        offer = self._with_record(offer, spec, record, is_pushed=is_pushed)
        self._traffic.export(spec, offer, self._store.scratch())

    def _with_record(
        self, offer: Offer, spec: CacheSpec, record: BuildRecord, *, is_pushed: bool
    ) -> Offer:
        if record.inputs is NO_INPUTS:
            return offer
        holding = self._traffic.holding(spec)
        key = travelling_key(self._request)
        with self._traffic.within(spec, ASKING):
            known = known_records(holding.current, holding, key)
        trees = tuple(filter(None, (self._modules.path,)))
        sender = Sender(
            self._request,
            spec,
            self._store,
            self._traffic.registries,
            trees,
            is_pushed or not spec.layers,
        )
        written = written_record(record, sender, known)
        if isinstance(written, str):
            self._say(f"the record of this build does not travel: {written}")
            return offer
        return offer._replace(records=written.records, blobs=written.blobs)

    def _used(self, spec: CacheSpec, facts: GoFacts) -> tuple[Row, ...]:
        """The build entries that may travel to a place."""
        cache = BuildCache(facts.gocache)
        private = "" if spec.private else private_patterns(facts)
        may = {prefix: one for prefix, one in self._compiled.items()
               if self._may_travel(one.package, private)}  # fmt: skip
        found: dict[str, Row] = {}
        for prefix, row in cache.rows(may):
            cost = may[prefix].milliseconds if row.key.startswith(prefix) else 0
            found[row.key] = row._replace(cost=cost)
        return tuple(found[key] for key in sorted(found))

    def _may_travel(self, name: str, private: str) -> bool:
        package = self._packages.get(name)
        if package is None or name in self._reading_beside:
            return False
        module = package.module
        return module is None or module.main or not is_private(module.path, private)

    def _without_paths(self, rows: Sequence[Row], facts: GoFacts) -> tuple[Row, ...]:
        cache = BuildCache(facts.gocache)
        roots = {package.module.dir for package in self._packages.values() if package.module}
        places = {path for path in (*roots, facts.gomodcache, facts.gocache) if len(path) > 1}
        needles = [os.fsencode(path) for path in places]
        kept = tuple(row for row in rows if not cache.holds_any(row, needles))
        if len(kept) < len(rows):
            self._say(
                f"{len(rows) - len(kept)} entries of the Go build cache name directories of this "
                "machine and stay here: with -trimpath they travel"
            )
        return kept

    def _say(self, text: str) -> None:
        self._traffic.registries.around.sink(Message(Level.INFO, text))


def _reads_beside(package: Package) -> bool:
    """Whether a package may be compiled of files that Go's key does not know.

    C code reads headers of the system and of other directories; assembly, too, in a module that is
    not what its version says.
    """
    module = package.module
    # With vendor/ a module has no directory of its own.
    is_loose = module is not None and bool(
        module.main or module.replace_dir or module.replace_path or not module.dir
    )
    return bool(package.cgo_files) or (is_loose and bool(package.s_files))
