# SPDX-License-Identifier: Apache-2.0
"""The caches of one Dockerfile build: what it begins from, and what it gives once it is delivered.

Steps, and the cache mounts that the user names, travel to the same places as what Go builds need.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from wherry.api.cache_patience import ASKING
from wherry.api.cache_traffic import CacheTraffic
from wherry.api.cached_steps import CachedSteps
from wherry.api.go_step_facts import cache_user, private_modules
from wherry.api.recorded import Output
from wherry.api.request import BuildRequest
from wherry.api.travelling_pools import TravellingPools
from wherry.gocache.exporting import Offer
from wherry.gocache.pack_set import PackSet
from wherry.gocache.spec import CacheSpec
from wherry.gocache.step_records import has_all, is_result
from wherry.oci.digest import parse_digest
from wherry.store.store import Store

if TYPE_CHECKING:
    from wherry.api.cached_mounts import CachedMounts
    from wherry.api.exported_steps import StepExport
    from wherry.api.pool_materials import PoolMaterials
    from wherry.engines.local.engine import LocalEngine, Solved
    from wherry.engines.local.files import FileSteps
    from wherry.engines.local.running import Running
    from wherry.engines.local.storage import LayerSettings
    from wherry.graph.build import BuildGraph

_NAMESPACE = "BUILDKIT_CACHE_MOUNT_NS"


class TravellingSteps:
    """The caches of one build; `mounts` are the cache mounts that travel, as the user names them.

    What was begun ends with `close`.
    """

    def __init__(
        self, traffic: CacheTraffic, mounts: tuple[str, ...], request: BuildRequest, store: Store
    ) -> None:
        self.closing = ExitStack()
        self._traffic = traffic
        self._request = request
        self._store = store
        self._cached: CachedSteps | None = None
        self._export: StepExport | None = None
        self._mounts: CachedMounts | None = None
        self._pools = TravellingPools(traffic, store)
        self._used: PoolMaterials | None = None
        self._user = ""
        if mounts:
            from wherry.api.cached_mounts import CachedMounts  # noqa: PLC0415 - few name any

            self._mounts = CachedMounts(mounts, traffic, store)

    def lacks(self, output: Output) -> bool:
        """Whether a place to write to lacks the steps of an image, or cache mounts."""
        manifest = parse_digest(output.manifest)
        held = [self._traffic.current(spec) or PackSet() for spec in self._traffic.targets]
        if not all(is_result(current.steps, manifest) for current in held):
            return True
        mounts = self._mounts
        return mounts is not None and any(mounts.lacks(current.mounts) for current in held)

    # --- the build ------------------------------------------------------------------------------

    def met(self, graph: BuildGraph) -> None:
        """Hear of the graph before anything of it runs."""
        if self._mounts is not None:
            arguments = dict(self._request.build_args)
            namespace = arguments.get(_NAMESPACE)
            if namespace is None and _NAMESPACE in arguments:
                namespace = self._request.env.get(_NAMESPACE)
            self._mounts.meet(graph, namespace or "")

    def cached(self, settings: LayerSettings) -> CachedSteps:
        """The steps that places hold, for layers that are written so."""
        if self._cached is None:
            self._cached = CachedSteps(self._traffic, self._store, settings)
        return self._cached

    @property
    def answered(self) -> bool:
        """Whether earlier builds gave the image: no step ran."""
        return self._cached is not None and self._cached.hollow

    def attend(self, running: Running) -> None:
        """Let cache mounts that are new here, and Go caches, be filled."""
        running.go_source = self._pools
        if self._mounts is not None:
            self._mounts.attend(running)

    def built(
        self, engine: LocalEngine, graph: BuildGraph, solved: Solved, shared: FileSteps
    ) -> None:
        """Hear what was built, of what, and by what."""
        if self._cached is None or not self._traffic.targets:
            return
        from wherry.api.exported_steps import Given, StepExport  # noqa: PLC0415 - not to read only

        # What is below a step that its definition found was not looked up yet.
        engine.look_up(graph)
        layers = frozenset(layer.digest for layer in solved.image.manifest.layers)
        used = self._cached.used
        given = Given(used, solved.image.digest, layers)
        if not self.answered:
            self._user = cache_user(self._request, graph)
            self._used = self._pools.used(used.results.values(), private_modules(graph))
        around = self._traffic.registries.around
        self._export = StepExport(given, shared, self._cached, self._store, around)

    # --- after it -------------------------------------------------------------------------------

    def export(self) -> None:
        """Give the places what the build used, and tell in one line what travelling was worth.

        Raises only what a place with `ignore-error=false` says.
        """
        for spec in self._traffic.targets:
            with self._traffic.passing_over(spec, "written"):
                self._traffic.check(spec)
                self._export_one(spec)
        taken = self._cached.taken if self._cached is not None else 0
        self._traffic.tell(lambda _key: False, f"{taken} steps from elsewhere" if taken else "")

    def _export_one(self, spec: CacheSpec) -> None:
        with self._traffic.within(spec, ASKING):
            current = self._traffic.current(spec) or PackSet()
        offer = Offer("", {}, spec.max_size)
        materials = self._used.of(spec) if self._used is not None else {}
        if materials:
            offer = offer._replace(user=self._user, materials=materials)
        if self._export is not None:
            steps = self._export.offer(spec, current, self._traffic.registries)
            if not has_all(current.steps, steps.change):
                offer = offer._replace(steps=steps.change, blobs=steps.blobs)
        if self._mounts is not None:
            mounts = self._mounts.offered(spec)
            offer = offer._replace(mounts=mounts.change, blobs=(*offer.blobs, *mounts.blobs))
        if offer.steps is not None or offer.materials or offer.mounts.used or offer.mounts.written:
            self._traffic.export(spec, offer, self._store.scratch())

    def close(self) -> None:
        """End what was begun."""
        self._traffic.give_up()
        # Before the worker of the build, which it may use.
        if self._mounts is not None:
            self._mounts.close()
        self.closing.close()
