# SPDX-License-Identifier: Apache-2.0
"""The Go caches of Go steps: RUNs whose root holds a `go` that the step's PATH or GOROOT finds.

Each cache is a directory of the store, as a cache mount is, and held while a step uses it; the
namespace worker shows it to the step below its root and puts into it what the step adds
(`wherry.sandbox.go_caches`). Each user has caches of its own; a step whose predecessors saw modules
is always shown them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.engines.local.results import Built, Change, Outside, Slab
from wherry.engines.local.running import Running
from wherry.engines.local.snapshot_files import LostChange
from wherry.engines.local.storage import Storage
from wherry.gocache.step_records import is_place
from wherry.graph.ops import ExecOp, GoCachePlace
from wherry.oci.digest import parse_digest
from wherry.sandbox.spec import DEFAULT_PATH
from wherry.sandbox.step_spec import StepGoCache
from wherry.solver.model import Step

if TYPE_CHECKING:
    from wherry.sandbox.step_spec import Executed

# An overlay's directories are named on one page; roots of so many layers do without.
_MOST_LOWERS: Final = 100
_MOST_LINKS: Final = 40
_FETCHES: Final = re.compile(
    r"\s*(?:[A-Za-z_]\w*=[^\s$`(]*\s+)*go\s+mod\s+(?:download|verify)(?:\s[^&|$`()<>]*)?"
)
_ROOT: Final = ("", "0", "root", "0:0", "root:root")

_Key = tuple[str, str]
"""Kind and path of a cache."""


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

    def remark(self, executed: Executed, *, names_go: bool) -> str:
        """What the step's last line says of them; empty for a step that has nothing of Go's.

        Nothing tells that Go has read modules: then it counts whether the command names it.
        """
        refused = ", ".join(filter(None, (self.refused, executed.refused)))
        if executed.outside:
            if not (executed.used or names_go):
                return ""
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

    @property
    def user(self) -> str:
        """Whose caches are the step's; empty for root."""
        return "" if self.op.user in _ROOT else self.op.user


def offer(given: Given, step: Step, stack: ExitStack) -> Offered:
    """The caches of a step, held until `stack` ends.

    Raises `LostChange` where a cache that an earlier step left is gone or cannot be shown here,
    `MachineError`.
    """
    op, root, lowers, running, _ = given
    left = _left(root)
    if left and running.namespace().place.kind != "overlay":
        if any(cache.is_needed for cache in left.values()):
            raise LostChange(
                "the Go modules that an earlier RUN fetched cannot be shown to a step here",
                why="they are kept beside its root, and overlayfs is refused",
                hint="build again with --go-cache=off",
            )
        # What only saves time is done without.
        left = {}
    if not left and not ((op.go_caches or op.no_go_caches) and has_go(lowers, op.env)):
        return Offered()
    if not left and not op.go_caches:
        return Offered(refused=op.no_go_caches)
    if not left and running.namespace().place.kind != "overlay":
        return Offered(refused="overlayfs is refused here")
    if not left and len(lowers) > _MOST_LOWERS:
        return Offered(refused="the root has too many layers")
    places, left, refused = _shown(given, left)
    slabs = [slab for slab in root if not (isinstance(slab, Change) and slab.empty)]
    changes = tuple(
        lower for lower, slab in zip(lowers, slabs, strict=True) if isinstance(slab, Change)
    )
    holding = _Holding(given, step, stack)
    caches, outside = [], []
    for key in sorted(places.keys() | left.keys()):
        strangers = tuple(
            lower for lower, slab in zip(lowers, slabs, strict=True) if not _has_left(slab, key)
        )
        taken, kept = holding.take(key, places.get(key), left.get(key))
        caches.append(taken._replace(strangers=strangers, snapshots=lowers, changes=changes))
        outside.append(kept)
    return Offered(tuple(caches), tuple(outside), refused)


def _shown(
    given: Given, left: dict[_Key, Outside]
) -> tuple[dict[_Key, GoCachePlace], dict[_Key, Outside], str]:
    """What a step asks for and what of earlier ones it has to be shown; why it has not all."""
    op = given.op
    asked = {(place.kind, place.path): place for place in op.go_caches}
    # What nobody needs is not shown in place of the user's own, nor where no module was ever seen.
    left = {
        key: cache
        for key, cache in left.items()
        if cache.is_needed or (cache.owner == given.user if key in asked else key[0] == "build")
    }
    # What a step saw is told of one module cache: that which the root has already.
    held = [path for kind, path in left if kind == "modules"]
    others = [key for key in asked if held and key[0] == "modules" and key not in left]
    places = {key: place for key, place in asked.items() if key not in others}
    elsewhere = f"the modules of this root are in {held[0]}" if others else ""
    return places, left, ", ".join(filter(None, (op.no_go_caches, elsewhere)))


def fill_ahead(given: Given, step: Step) -> None:
    """Begin to fill the caches that a step will use, before its root can be looked into."""
    running = given.running
    if running.namespace().place.kind != "overlay":
        return

    def fill(quiet: Step) -> None:
        with ExitStack() as stack:
            holding = _Holding(given, quiet, stack)
            # Modules first: what fetches them waits for nothing else.
            for place in sorted(given.op.go_caches, key=lambda place: place.kind != "modules"):
                holding.prepare(place)

    running.begin(fill, step)


def _left(root: tuple[Slab, ...]) -> dict[_Key, Outside]:
    """What steps of the root left beside it, by kind and path.

    A record from elsewhere may have said it: what is no place of a cache is nothing to anybody.
    """
    outside = Built((), None, below=root).outside
    return {
        (cache.kind, cache.path): cache for cache in outside if is_place(cache.kind, cache.path)
    }


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
    """Whether a root has something at a path; links on the way lead on inside of it."""
    todo, done, links = path.split("/")[::-1], [""], 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done[:-1] or [""]
        if part in ("", ".", ".."):
            continue
        done.append(part)
        found = _found(lowers, done)
        if found is None:
            return False
        if todo and os.path.islink(found):
            links += 1
            if links > _MOST_LINKS:
                return False
            target = os.readlink(found)
            done = [""] if target.startswith("/") else done[:-1]
            todo.extend(target.split("/")[::-1])
    return True


def _found(lowers: tuple[str, ...], parts: list[str]) -> str | None:
    """The topmost file at a path of a root whose directories are real ones."""
    for lower in reversed(lowers):
        here = f"{lower}/fs"
        try:
            for part in parts[1:-1]:
                here = f"{here}/{part}"
                mode = os.lstat(here).st_mode
                if not stat.S_ISDIR(mode):
                    # It hides what all below have here.
                    return None
            here = f"{here}/{parts[-1]}"
            # Overlay's mark of something removed is a device.
            return None if stat.S_ISCHR(os.lstat(here).st_mode) else here
        except OSError:
            continue
    return None


def _has_left(slab: Slab, key: _Key) -> bool:
    if not isinstance(slab, Change):
        return False
    return any((cache.kind, cache.path) == key for cache in slab.outside)


def _fetches_alone(args: Sequence[str]) -> bool:
    """Whether a command only fetches modules."""
    script = " ".join(args[2:] if args[1:2] == ("-c",) else args)
    commands = [text for text in re.split("&&|[;\n]", script) if text.strip()]
    return bool(commands) and all(map(_FETCHES.fullmatch, commands))


class _Holding(NamedTuple):
    """Takes hold of the caches' directories for one step."""

    given: Given
    step: Step
    stack: ExitStack

    def prepare(self, place: GoCachePlace) -> None:
        """Have a cache filled that the step will use."""
        found, lower = self._directory(place.kind, place.path, self.given.user)
        self._fill_from_places(found, lower)

    def take(
        self, key: _Key, place: GoCachePlace | None, left: Outside | None
    ) -> tuple[StepGoCache, Outside]:
        """One cache for the step: asked for by its own `place`, `left` by an earlier one, or both.

        Raises `LostChange` where what was left is gone.
        """
        kind, path = key
        user = self.given.user
        owner = user if left is None else left.owner
        found, lower = self._directory(kind, path, owner)
        if left is not None and left.pool != found.pool and left.is_needed:
            raise LostChange(
                "the Go modules that an earlier RUN fetched are no longer in the store",
                why=f"the cache of {path} was removed meanwhile",
                hint="build again: that RUN then runs again",
            )
        # What comes later is of no use to a step that compiles nothing.
        is_of_use = kind == "modules" or not _fetches_alone(self.given.op.args)
        if place is not None and is_of_use:
            self._fill_from_places(found, lower)
        return StepGoCache(
            kind,
            path,
            lower,
            home="" if place is None else place.home,
            left=left is not None,
            shown=place is not None and owner == user,
            seen=self._seen(left),
        ), found

    def _directory(self, kind: str, path: str, owner: str) -> tuple[Outside, str]:
        """A cache as results name it, and the directory in the store that has it."""
        running = self.given.running
        # What belongs to the ids of one mapping is of no use to another.
        where = running.namespace().place._replace(kind="").name
        name = f"go-cache {kind} {path}\0{owner}\0{where}"
        held = self.stack.enter_context(
            running.storage.mounts.hold(name, "shared", self.step.cancel.check)
        )
        lower = os.path.dirname(held.path)
        return Outside(kind, path, owner, os.path.basename(lower)), lower

    def _fill_from_places(self, cache: Outside, lower: str) -> None:
        running = self.given.running
        if running.go_source is not None:
            running.go_source.fill(cache, f"{lower}/fs{cache.path}", self.given.sums)

    def _seen(self, left: Outside | None) -> tuple[str, ...]:
        """The modules that earlier steps of the root could see."""
        if left is None or not left.seen or not left.is_needed:
            return ()
        data = self.given.running.storage.blobs.read(parse_digest(left.seen))
        return tuple(data.decode().splitlines())
