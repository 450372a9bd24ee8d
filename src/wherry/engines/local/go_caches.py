# SPDX-License-Identifier: Apache-2.0
"""The Go caches of Go steps: RUNs whose root holds a `go` that the step's PATH or GOROOT finds.

Each cache is a directory of the store, as a cache mount is, and held while a step uses it; the
namespace worker shows it to the step below its root and puts into it what the step adds
(`wherry.sandbox.go_caches`). A step whose predecessor left something there is always shown it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.engines.local.results import Built, Change, Outside, Slab
from wherry.engines.local.running import Running
from wherry.engines.local.storage import Storage
from wherry.errors import BuildError
from wherry.graph.ops import ExecOp, GoCachePlace
from wherry.oci.digest import parse_digest
from wherry.sandbox.spec import DEFAULT_PATH
from wherry.sandbox.step_spec import StepGoCache
from wherry.solver.model import Step

if TYPE_CHECKING:
    from wherry.sandbox.step_spec import Executed

# An overlay's directories are named on one page; roots of so many layers do without.
_MOST_LOWERS: Final = 100
_ROOT: Final = ("", "0", "root", "0:0", "root:root")


class Offered(NamedTuple):
    """The caches that a step may use; `outside` are the same, as its change will name them."""

    caches: tuple[StepGoCache, ...] = ()
    outside: tuple[Outside, ...] = ()
    refused: str = ""

    def used(self, executed: Executed, storage: Storage) -> tuple[Outside, ...]:
        """Those that the step has used."""
        wanted = frozenset(executed.outside)
        used = tuple(cache for cache in self.outside if cache.path in wanted)
        told = {"modules": executed.seen, "build": executed.used}
        return tuple(
            cache._replace(seen=str(storage.blobs.put("\n".join(told[cache.kind]).encode())))
            for cache in used
        )

    def remark(self, executed: Executed) -> str:
        """What the step's last line says of them; empty for a step that has nothing of Go's."""
        refused = ", ".join(filter(None, (self.refused, executed.refused)))
        if executed.outside:
            return "with Go caches" + (f", but not all: {refused}" if refused else "")
        return f"no Go caches: {refused}" if refused else ""


class Given(NamedTuple):
    """A step: its op, its root with the snapshots of it, and what the steps of a build share.

    `sums` gives the texts of go.sum files in its working directory.
    """

    op: ExecOp
    root: tuple[Slab, ...]
    lowers: tuple[str, ...]
    running: Running
    sums: Callable[[], tuple[str, ...]]


def offer(given: Given, step: Step, stack: ExitStack) -> Offered:
    """The caches of a step, held until `stack` ends.

    Raises `BuildError` where a cache that an earlier step left is gone, `MachineError`.
    """
    op, root, lowers, running, _ = given
    left = {(cache.kind, cache.path): cache for cache in Built((), None, below=root).outside}
    if not left and not ((op.go_caches or op.no_go_caches) and has_go(lowers, op.env)):
        return Offered()
    if not left and running.namespace().place.kind != "overlay":
        return Offered(refused="overlayfs is refused here")
    if not left and len(lowers) > _MOST_LOWERS:
        return Offered(refused="the root has too many layers")
    slabs = [slab for slab in root if not (isinstance(slab, Change) and slab.empty)]
    places = {(place.kind, place.path): place for place in op.go_caches}
    holding = _Holding(given, step, stack)
    caches, outside = [], []
    for key in sorted(places.keys() | left.keys()):
        strangers = tuple(
            lower for lower, slab in zip(lowers, slabs, strict=True) if not _has_left(slab, key)
        )
        cache, kept = holding.cache(key, places.get(key), left.get(key))
        caches.append(cache._replace(strangers=strangers))
        outside.append(kept)
    return Offered(tuple(caches), tuple(outside), op.no_go_caches)


def has_go(lowers: tuple[str, ...], env: Iterable[str]) -> bool:
    """Whether a root has a program `go` where the step would find it."""
    values = dict(item.partition("=")[::2] for item in env)
    places = [
        path for path in (values.get("PATH") or DEFAULT_PATH).split(":") if path.startswith("/")
    ]
    if values.get("GOROOT", "").startswith("/"):
        places.append(f"{values['GOROOT']}/bin")
    return any(_is_there(lowers, f"{path}/go") for path in places)


def _is_there(lowers: tuple[str, ...], path: str) -> bool:
    for lower in reversed(lowers):
        try:
            # Overlay's mark of something removed is a device.
            return not stat.S_ISCHR(os.lstat(f"{lower}/fs{path}").st_mode)
        except OSError:
            continue
    return False


def _has_left(slab: Slab, key: tuple[str, str]) -> bool:
    if not isinstance(slab, Change):
        return False
    return any((cache.kind, cache.path) == key for cache in slab.outside)


class _Holding(NamedTuple):
    """Takes hold of the caches' directories for one step."""

    given: Given
    step: Step
    stack: ExitStack

    def cache(
        self, key: tuple[str, str], place: GoCachePlace | None, left: Outside | None
    ) -> tuple[StepGoCache, Outside]:
        """One cache: asked for by the step's own `place`, or `left` by an earlier step, or both."""
        kind, path = key
        user = "" if kind == "modules" else self._user()
        owner = user if left is None else left.owner
        # What belongs to the ids of one mapping is of no use to another.
        running = self.given.running
        where = running.namespace().place._replace(kind="").name
        name = f"go-cache {kind} {path} {owner}".rstrip() + f"\0\0{where}"
        mounts = running.storage.mounts
        held = self.stack.enter_context(mounts.hold(name, "shared", self.step.cancel.check))
        lower = os.path.dirname(held.path)
        found = Outside(kind, path, owner, os.path.basename(lower))
        if left is not None and left.pool != found.pool and left.is_needed:
            raise BuildError(
                "the Go modules that an earlier RUN fetched are no longer in the store",
                why=f"the cache of {path} was removed meanwhile",
                hint="build again: that RUN then runs again",
            )
        if place is not None and running.go_source is not None:
            running.go_source.fill(found, f"{lower}/fs{path}", self.given.sums)
        return StepGoCache(
            kind,
            path,
            lower,
            home="" if place is None else place.home,
            left=left is not None,
            shown=place is not None and owner == user,
            seen=self._seen(left),
        ), found

    def _seen(self, left: Outside | None) -> tuple[str, ...]:
        """The modules that earlier steps of the root could see."""
        if left is None or not left.seen or not left.is_needed:
            return ()
        data = self.given.running.storage.blobs.read(parse_digest(left.seen))
        return tuple(data.decode().splitlines())

    def _user(self) -> str:
        user = self.given.op.user
        return "" if user in _ROOT else user
