# SPDX-License-Identifier: Apache-2.0
"""Making images where no record answers: the composition root of a Go build.

Plans the images, asks the toolchain, lowers all programs to one graph, runs it on the local engine
and writes the build record. Everything heavy is imported here, off the no-change path.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from wherry.api.delivery import nameless_push
from wherry.api.image_outputs import Made, made_output
from wherry.api.lanes import Lanes
from wherry.api.making_images import ImageMaker
from wherry.api.planning import Plan, SettingsFiles, make_plan
from wherry.api.prepare import Toolchains, known_mains
from wherry.api.recorded import (
    NO_INPUTS,
    BuildRecord,
    Output,
    StampRecord,
    directory_of,
    encode_records,
    kept_records,
    request_key,
)
from wherry.api.registries import Registries
from wherry.api.request import BuildRequest, ImageFailure, ImagesFailed
from wherry.api.unchanged import Verdict, moved_on
from wherry.engines.local.listening import PrunedModules
from wherry.errors import WherryError
from wherry.events import Level, Message
from wherry.golang.closure import touched_since
from wherry.golang.package_trees import latest_change, package_tree, tree_signature
from wherry.golang.record import Inputs, merged
from wherry.oci.digest import parse_digest
from wherry.process.clock import RACY_NS, file_clock_ns, next_file_clock_ns
from wherry.store.store import Store

if TYPE_CHECKING:
    from wherry.api.caching import TravellingCaches

__all__ = ["Recorded", "make_record"]


class Recorded(NamedTuple):
    """The record of a build, and the images of it that failed, which are in no record."""

    record: BuildRecord
    failures: tuple[ImageFailure, ...] = ()


class _Tried(NamedTuple):
    """One try: the result, and what was read for it before Go began."""

    recorded: Recorded
    settings_files: SettingsFiles
    read_before: tuple[str, ...]


def make_record(
    request: BuildRequest,
    verdict: Verdict,
    store: Store,
    registries: Registries,
    caches: TravellingCaches | None = None,
) -> Recorded:
    """Build, and give the record of it; it is stored where all inputs are clear.

    Settings and version-control facts are read before Go begins. If they changed by the end, the
    images are made again once; if they change again, they are used and not remembered. Raises
    where no image could be built, `ImagesFailed` where several failed for different reasons.
    """
    changed = ""
    around = registries.around
    lanes = Lanes(around.sink)
    with ExitStack() as stack:
        stack.enter_context(lanes.failing())
        for is_again in (False, True):
            began = next_file_clock_ns() if is_again else file_clock_ns()
            tried = _tried(request, verdict, store, registries, caches)
            changed = touched_since(tried.read_before, began) or tried.settings_files.removed()
            changed = changed or moved_on(tried.recorded.record, request, around.cancel)
            if not changed:
                break
            around.sink(Message(Level.INFO, f"{changed} changed while the build ran"))
            # These have read the settings, which may be what changed.
            registries = stack.enter_context(Registries(around, directory_of(request)[0]))
    recorded = tried.recorded
    lanes.end(recorded.record.outputs, recorded.failures)
    if recorded.record.inputs is NO_INPUTS or changed:
        return recorded._replace(record=recorded.record._replace(inputs=NO_INPUTS))
    request.trace("record-unwritten")
    _write(request, verdict, store, recorded.record)
    request.trace("record-written")
    return recorded


class Preparation:
    """The images of a build as they were planned, and what makes them; the user is told of notes.

    Raises what planning raises, and `UsageError` where there is nothing to push to.
    """

    def __init__(
        self,
        request: BuildRequest,
        verdict: Verdict,
        store: Store,
        registries: Registries,
        caches: TravellingCaches | None = None,
    ) -> None:
        around = registries.around
        on_facts = None if caches is None else caches.asked
        toolchains = Toolchains(request, around.sink, around.cancel, on_facts)
        self._known = known_mains(verdict, request.env)
        self._planned = partial(make_plan, request, toolchains, cancel=around.cancel)
        self.plan = self._planned(known=self._known)
        _refuse_nameless_push(request, self.plan, registries)
        for note in self.plan.notes:
            around.sink(Message(Level.INFO, note))
        self.maker = ImageMaker(request, store, registries, toolchains, self.plan, caches)

    @property
    def failures(self) -> tuple[ImageFailure, ...]:
        """Images that could not be planned, and those that could not be made so far."""
        return (*self.plan.failures, *self.maker.failures)

    def raise_failures(self) -> NoReturn:
        """Raise why there is no image at all: `ImagesFailed` where several were to be."""
        if self._known:
            # A main package known from a record may be none any more: then say that.
            self._planned(known={})
        if len(self.failures) == 1:
            raise self.failures[0].error
        raise ImagesFailed(self.failures)


def _tried(
    request: BuildRequest,
    verdict: Verdict,
    store: Store,
    registries: Registries,
    caches: TravellingCaches | None,
) -> _Tried:
    """One try; where pruned modules may be why something failed, another one without them."""
    try:
        tried = _try(request, verdict, store, registries, caches)
    except WherryError as error:
        if caches is None or not (caches.is_doubtful or isinstance(error, PrunedModules)):
            raise
        why = error.why.partition("\n")[0] or error.headline
    else:
        if caches is None or not (caches.is_doubtful and tried.recorded.failures):
            return tried
        why = tried.recorded.failures[0].error.headline
    caches.without_modules(why)
    # These have read the settings.
    return _try(request, verdict, store, registries, caches)


def _try(
    request: BuildRequest,
    verdict: Verdict,
    store: Store,
    registries: Registries,
    caches: TravellingCaches | None,
) -> _Tried:
    prepared = Preparation(request, verdict, store, registries, caches)
    if caches is not None:
        caches.built_for(prepared.plan.wishes)
    made = prepared.maker.make()
    failures = prepared.failures
    if not made:
        prepared.raise_failures()
    recorded = Recorded(_record(prepared.plan, made, failures), failures)
    return _Tried(recorded, prepared.plan.files, prepared.maker.read_before)


def _refuse_nameless_push(request: BuildRequest, plan: Plan, registries: Registries) -> None:
    """Say before the build, not after it, that there is nothing to push to."""
    if not request.push or request.tags or registries.settings.default:
        return
    if any(not wish.asked.tags for wish in plan.wishes):
        raise nameless_push()


def _record(
    plan: Plan,
    made: tuple[Made, ...],
    failures: tuple[ImageFailure, ...],
) -> BuildRecord:
    outputs = tuple(made_output(item) for item in made)
    inputs: Inputs | None = None
    if not failures and not plan.open_ended:
        several = [inputs for item in made for inputs in item.inputs]
        inputs = merged([item for item in several if item]) if all(several) else None
        inputs = _with_trees(inputs, plan) if inputs else None
    if inputs is not None:
        inputs = inputs._replace(environment={**inputs.environment, **plan.environment})
    stamps = tuple(StampRecord(root, stamp.words) for root, stamp in plan.stamps.items())
    return BuildRecord(
        inputs or NO_INPUTS, outputs, stamps, plan.templates, plan.mains, plan.plural
    )


def _with_trees(inputs: Inputs, plan: Plan) -> Inputs | None:
    """The inputs with what patterns depend on; None where that changed meanwhile."""
    trees: dict[str, str] = {}
    for root, before in plan.trees.items():
        trees[root] = tree_signature(before, inputs.go_names)
        now = package_tree(root)
        if latest_change(now, inputs.go_names) > file_clock_ns() - RACY_NS:
            # Another edit could leave the same time.
            return None
        if tree_signature(now, inputs.go_names) != trees[root]:
            return None
    return inputs._replace(trees=trees)


def _write(request: BuildRequest, verdict: Verdict, store: Store, record: BuildRecord) -> None:
    """Store the record with those before it; it keeps the blobs of all that are still whole."""
    kept = kept_records(record, verdict.records)
    outputs: list[Output] = [output for item in kept for output in item.outputs]
    digests = {
        parse_digest(digest) for output in outputs for digest, _ in (*output.blobs, *output.lazy)
    }
    store.records.put(
        "gobuild",
        request_key(request),
        encode_records(kept),
        tuple(digest for digest in sorted(digests) if store.blobs.known(digest)),
    )
