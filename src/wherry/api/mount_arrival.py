# SPDX-License-Identifier: Apache-2.0
"""Cache mounts that come from a place, each when the first step that runs has it.

Only what a step is about to begin with is fetched, and only where this machine has no such mount.
A place and its archives are strangers': what is broken or made to harm costs a line, and the mount
begins empty.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from wherry.api.cache_patience import filling
from wherry.api.transfer import transfer
from wherry.errors import MachineError, NetworkError, WherryError
from wherry.gocache.places import Damaged
from wherry.gocache.table import BadPack
from wherry.registry.download import WrongBytes
from wherry.sandbox.mount_archives import MountArchive

if TYPE_CHECKING:
    from wherry.api.cache_traffic import CacheTraffic, Place
    from wherry.engines.local.mount_files import NewMount
    from wherry.gocache.mount_records import MountRecord
    from wherry.sandbox.namespace import Namespace
    from wherry.solver.model import Step
    from wherry.store.store import Store

_PIECE: Final = 1 << 18


def shown(name: str) -> str:
    """A mount's name for people, on one line."""
    return name if name.isprintable() else ascii(name)


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.1f} MB"


def one_line(error: WherryError) -> str:
    """What failed and the first line of why."""
    return f"{error.what}: {error.why.splitlines()[0]}" if error.why else error.what


class MountArrival:
    """The mounts that come to one build; safe for threads."""

    def __init__(self, traffic: CacheTraffic, store: Store) -> None:
        self.missed: set[tuple[str, str]] = set()
        """Mounts that a place has and that could not be had now: its address, the mount's key."""
        self._traffic = traffic
        self._store = store
        self._lock = threading.Lock()
        self._fetching: dict[str, threading.Lock] = {}
        self._directory = ""

    def fill(self, key: str, new: NewMount, namespace: Namespace, step: Step) -> bool:
        """Fill a new mount from the first place that has it and can give it.

        False where none does: then the directory is empty. Raises `Cancelled`, and what a place
        with `ignore-error=false` says.
        """
        return any(self._filled(place, key, new, namespace, step) for place in self._traffic.places)

    def _filled(
        self, place: Place, key: str, new: NewMount, namespace: Namespace, step: Step
    ) -> bool:
        record = _record(place, key)
        if record is None:
            return False
        name = shown(new.mount.id)
        try:
            blob, record = self._fetched(place, key, record, name, step)
        except (WherryError, OSError) as error:
            self._pass_over(place, key, name, error)
            return False
        archive = MountArchive(record.layer, record.tar, record.entries, *record.top)
        try:
            with open(blob, "rb") as file:
                skipped = namespace.fill_mount(new.path, archive, file, step.cancel)
        except WherryError as error:
            _empty(namespace, new.path)
            self._pass_over(place, key, name, error)
            return False
        if skipped:
            self._traffic.warn(f"the cache mount {name} lacks {'; '.join(skipped)}")
        return True

    def _fetched(
        self, place: Place, key: str, record: MountRecord, name: str, step: Step
    ) -> tuple[str, MountRecord]:
        """The file with the blob, and the record that it is of."""
        try:
            return self._file(place, record, name, step), record
        except NetworkError:
            # An export may have replaced it meanwhile.
            with self._traffic.within(place.spec, filling(0)):
                after = place.holding.load()
            again = after.mounts.get(key) if after is not None else None
            if again is None or again.blob == record.blob:
                raise
            return self._file(place, again, name, step), again

    def _file(self, place: Place, record: MountRecord, name: str, step: Step) -> str:
        self._check_room(record)
        with self._lock:
            if not self._directory:
                self._directory = self._store.scratch()
            path = os.path.join(self._directory, record.blob.digest.hex)
            lock = self._fetching.setdefault(path, threading.Lock())
        with lock:
            # Two steps may begin with one mount each of the same name.
            if not os.path.exists(path):
                try:
                    self._download(place, record, name, path, step)
                except BaseException:
                    with suppress(OSError):
                        os.unlink(path)
                    raise
        return path

    def _download(
        self, place: Place, record: MountRecord, name: str, path: str, step: Step
    ) -> None:
        sink = self._traffic.registries.around.sink
        what = f"cache mount {name} from {place.spec.place}"
        with (
            self._traffic.within(place.spec, filling(record.tar)),
            transfer(sink, what, record.blob.size) as moving,
            place.holding.open_blob(record.blob) as stream,
            open(path, "xb") as file,
        ):
            # The last bytes come only if all are right.
            while piece := stream.read(_PIECE):
                step.cancel.check()
                file.write(piece)
                moving(len(piece))
            moving.remark = f"{megabytes(record.blob.size)} downloaded, {record.entries} entries"

    def _check_room(self, record: MountRecord) -> None:
        facts = os.statvfs(self._store.path)
        wanted = record.tar + record.blob.size
        if wanted > facts.f_bavail * facts.f_frsize:
            raise MachineError("there is no room for it", why=f"it takes {megabytes(wanted)}")

    def _pass_over(self, place: Place, key: str, name: str, error: WherryError | OSError) -> None:
        if isinstance(error, NetworkError) and not isinstance(
            error, BadPack | Damaged | WrongBytes
        ):
            # The place may well have more than this build will leave.
            with self._lock:
                self.missed.add((place.spec.address, key))
        if isinstance(error, OSError):
            error = MachineError("it cannot be kept here", why=error.strerror or str(error))
        if not place.spec.ignore_error:
            raise error
        self._traffic.warn(
            f"the cache mount {name} does not begin with what {place.spec.place} holds: "
            f"{one_line(error)}"
        )


def _record(place: Place, key: str) -> MountRecord | None:
    return place.current.mounts.get(key) if place.current is not None else None


def _empty(namespace: Namespace, path: str) -> None:
    """Let the directory be new once more."""
    namespace.remove((path,))
    os.mkdir(path, 0o700)
