# SPDX-License-Identifier: Apache-2.0
"""Packing cache mounts once the result is delivered.

A mount is held as a step would hold it, so that no step that wants to be alone with it writes
meanwhile. Steps that share it may: what changes while it is read is read again, and stays here
where that goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from wherry.api.mount_arrival import megabytes, shown
from wherry.api.naming import cores
from wherry.api.transfer import transfer
from wherry.api.workers import Workers
from wherry.engines.local.mount_files import MountTree, mount_tree, stored_name
from wherry.errors import BuildError, MachineError, UsageError
from wherry.gocache.mount_records import MOST_ENTRIES, MOUNT_TYPE, MountRecord, Top
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor

if TYPE_CHECKING:
    from wherry.api.registries import RegistryAround
    from wherry.engines.local.storage import Sharing
    from wherry.sandbox.namespace import Namespace
    from wherry.store.store import Store

_TRIES: Final = 3
# Whoever has it alone may be a build that takes an hour.
_PATIENCE_SECONDS: Final = 30.0


class MetMount(NamedTuple):
    """A cache mount of the build: `name` and `key` tell it from others, `sharing` is its steps'."""

    id: str
    name: str
    key: str
    sharing: str


class Packed(NamedTuple):
    """A mount as it is: its tree's digest, and its archive where one was written."""

    tree: Digest
    record: MountRecord | None = None
    path: str = ""


class _Absent(Exception):
    """There is no directory that a step could join."""


class MountDeparture:
    """Packs mounts of a store; starts a namespace worker when it is first needed.

    `shared` gives one that somebody else ends, after all that is asked here.
    """

    shared: Callable[[], Namespace] | None = None

    def __init__(self, store: Store, around: RegistryAround) -> None:
        self._store = store
        self._around = around
        self._namespace: Namespace | None = None
        self._said: list[str] = []

    def is_here(self, met: MetMount) -> bool:
        """Whether the store has a directory of the mount, of whatever mapping."""
        beginning = _stored(f"{met.name}\0-")
        return any(name.startswith(beginning) for name in self._store.mounts.names())

    def packed(self, met: MetMount, known: Digest | None) -> Packed | None:
        """The mount as it is now, with an archive unless its tree is `known`.

        None where there is no such mount here. Raises `MachineError` where it is in use or goes on
        changing, `UsageError` for what no archive holds, `BuildError`, `Cancelled`.
        """
        for left in reversed(range(_TRIES)):
            try:
                with self._held(met) as path:
                    return self._packed(met, path, known)
            except _Absent:
                if not self.is_here(met):
                    return None
                raise MachineError("another build is using it") from None
            except (BuildError, MachineError, OSError) as error:
                # Something that shares it took a file away, or wrote to one.
                if not left:
                    raise MachineError("it cannot be packed", why=_reason(error)) from error
        return None

    def close(self) -> None:
        """End the worker."""
        namespace, self._namespace = self._namespace, None
        if namespace is not None:
            namespace.close()

    def _worker(self) -> Namespace:
        if self.shared is not None:
            return self.shared()
        if self._namespace is None:
            workers = Workers(self._store, self._around.env, self._said.append)
            self._namespace = workers.start()
        return self._namespace

    @contextmanager
    def _held(self, met: MetMount) -> Iterator[str]:
        name = stored_name(met.name, self._worker().place)
        end = time.monotonic() + _PATIENCE_SECONDS

        def check() -> None:
            self._around.cancel.check()
            if time.monotonic() > end:
                raise _Absent

        def prepare(_path: str) -> None:
            raise _Absent

        sharing = cast("Sharing", met.sharing)
        with self._store.mounts.hold(name, sharing, check, prepare) as held:
            yield held.path

    def _packed(self, met: MetMount, path: str, known: Digest | None) -> Packed:
        with mount_tree(self._worker(), path) as found:
            if known is not None and found.digest == known:
                return Packed(known)
            entries = len(found.tree.entries)
            if entries > MOST_ENTRIES:
                raise UsageError("it holds too much", why=f"{entries} files and directories")
            with transfer(self._around.sink, f"pack the cache mount {shown(met.id)}") as moving:
                packed = self._written(found)
                if packed.record is not None:
                    moving.remark = f"{megabytes(packed.record.blob.size)} of {entries} entries"
            return packed

    def _written(self, found: MountTree) -> Packed:
        path = os.path.join(self._store.scratch(), "mount")
        try:
            with open(path, "xb") as file:
                written = found.write(file, cores(), self._around.cancel)
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
        # Of what was written: contents are read for it no more.
        digest = found.digest
        record = MountRecord(
            Descriptor(MOUNT_TYPE, written.digest, written.size),
            written.diff_id,
            digest,
            found.tar_size,
            len(found.tree.entries),
            Top(*found.top),
            int(time.time()),
        )
        return Packed(digest, record, path)


def _stored(name: str) -> str:
    """As `store.mounts` writes ids."""
    return name.encode("utf-8", "backslashreplace").decode()


def _reason(error: BuildError | MachineError | OSError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{error.what}: {error.why.splitlines()[0]}" if error.why else error.what
