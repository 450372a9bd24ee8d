# SPDX-License-Identifier: Apache-2.0
"""A directory as a cache place: an OCI image layout with one pack set (`image_layout`).

Publishing holds a lock, so that it is exact: read, merge, write, and remove the blobs that are no
longer named. index.json is replaced last and in one step: whoever is killed leaves a directory that
reads as before or after. Where the file system has no locks, exporters agree as those of a registry
do (`agreeing`). Reading takes no lock and works on a read-only mount; a blob that an export removes
meanwhile is `Damaged` to the reader, one that is open stays readable.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from wherry.errors import MachineError, WherryError
from wherry.gocache.agreeing import Pace, Seen, publish_without_lock
from wherry.gocache.image_layout import (
    LAYOUT,
    check_reading,
    check_writing,
    explained,
    has_blob,
    index_json,
    look,
    named_manifest,
    named_pack_set,
    open_blob,
    open_root,
    read_file,
)
from wherry.gocache.manifest import Made, make_pack_set
from wherry.gocache.places import BytesBlob, Damaged, Found, Merge, Published
from wherry.gocache.staging import (
    Staging,
    exclusive,
    make_root,
    open_for_writing,
    sweep_blobs,
    sweep_stagings,
    sync,
)
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken
from wherry.registry.model import BlobSource

_MOST_LOOKS = 5


class DirectoryPlace:
    """A `CachePlace` at an absolute path. `put` makes the directory."""

    def __init__(
        self,
        name: str,
        path: str,
        cancel: CancelToken,
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> None:
        self._name = name
        self._path = path
        self._cancel = cancel
        self._pace = pace
        self._staging: Staging | None = None
        self._starting = threading.Lock()

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return self._name

    def current(self) -> Found | None:
        """What the directory holds; None where there is none, or an empty one."""
        with self._reading() as root:
            if root is None:
                return None
            check_reading(root, self._name)
            return self._look(root)

    def open(self, blob: Descriptor) -> BinaryIO:
        """The blob's bytes; `Damaged` where it is gone."""
        with self._reading() as root:
            if root is None:
                raise MachineError(f"cannot read the cache {self._name}",
                                   why="there is no such directory any more",
                                   hint="build again")  # fmt: skip
            return open_blob(root, blob, self._name)

    def has(self, blob: Descriptor) -> bool:
        """Whether the directory has the blob, or it was put before."""
        staging = self._staging
        with self._reading() as root:
            return bool(staging and staging.has(blob)) or (
                root is not None and has_blob(root, blob)
            )

    def put(self, source: BlobSource) -> int:
        """Have the blob wait to be named."""
        with self._writing() as root:
            staging = self._staging_in(root)
            blob = source.descriptor
            if staging.has(blob) or staging.hold(blob):
                return 0
            staging.take(source, self._cancel)
            return blob.size

    def publish(self, merge: Merge) -> Published:
        """Let the directory hold what `merge` makes; blobs that nobody names are removed.

        Whatever comes of it, what was put before is no longer kept for another `publish`.
        """
        try:
            with self._writing() as root:
                check_writing(root, self._name)
                with exclusive(root, self._name, self._cancel) as is_locked:
                    return self._publish(root, merge, is_locked=is_locked)
        finally:
            self.close()

    def _publish(self, root: int, merge: Merge, *, is_locked: bool) -> Published:
        check_writing(root, self._name)
        sweep_stagings(root)
        layout = _Layout(self._name, root, self._staging_in(root), self._cancel)
        try:
            if not is_locked:
                return publish_without_lock(layout, merge, self._cancel, self._pace)
            return _publish(layout, merge)
        finally:
            # What is left over now goes with the next export.
            with suppress(WherryError, OSError):
                layout.sweep(is_locked=is_locked)

    def close(self) -> None:
        """Remove what was put and not published."""
        with self._starting:
            staging, self._staging = self._staging, None
        if staging is not None:
            staging.close()

    def _look(self, root: int) -> Found | None:
        for _ in range(_MOST_LOOKS):
            before = named_manifest(root, self._name)
            with suppress(Damaged):
                return look(root, self._name).found
            # Replaced by an export while it was read?
            if named_manifest(root, self._name) == before:
                break
        return look(root, self._name).found

    # --- descriptors ----------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[int | None]:
        with explained(self._name, "read"):
            root = open_root(self._path, self._name)
            try:
                yield root
            finally:
                if root is not None:
                    os.close(root)

    @contextmanager
    def _writing(self) -> Iterator[int]:
        with explained(self._name, "write"):
            root = open_root(self._path, self._name)
            if root is None:
                make_root(self._path)
                root = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield root
            finally:
                os.close(root)

    def _staging_in(self, root: int) -> Staging:
        with self._starting:
            if self._staging is None:
                check_writing(root, self._name)
                self._staging = Staging(root)
            return self._staging


class _Layout:
    """The layout as one exporter changes it (`agreeing.MovingName`)."""

    def __init__(self, name: str, root: int, staging: Staging, cancel: CancelToken) -> None:
        self.name = name
        self._root = root
        self._staging = staging
        self._cancel = cancel

    def look(self) -> Seen:
        before = self.digest()
        try:
            return look(self._root, self.name)
        except Damaged:
            return Seen(before)

    def digest(self) -> Digest | None:
        try:
            entry = named_manifest(self._root, self.name)
        except Damaged:
            return None
        return entry.digest if entry else None

    def prepare(self, made: Made) -> None:
        """Bring all blobs into the layout, where nothing names them yet."""
        raw = made.pack_set.raw
        small = (*made.blobs, BytesBlob(raw.descriptor, raw.data))
        for source in small:
            if not self._staging.has(source.descriptor):
                self._staging.take(source, self._cancel)
        blobs = open_for_writing(self._root, "blobs", "sha256")
        try:
            for blob in (*made.pack_set.blobs, *(source.descriptor for source in small)):
                if self._staging.has(blob):
                    self._staging.move(blob, blobs)
                elif not has_blob(self._root, blob):
                    raise MachineError(f"the cache {self.name} was not written",
                                       why=f"the blob {blob.digest} is not there any more",
                                       hint="the next export puts it in")  # fmt: skip
            sync(blobs)
        finally:
            os.close(blobs)

    def move(self, made: Made) -> None:
        if read_file(self._root, "oci-layout", len(LAYOUT)) is None:
            self._staging.replace("oci-layout", LAYOUT)
        self._staging.replace("index.json", index_json(made.pack_set.raw.descriptor))

    def sweep(self, *, is_locked: bool) -> None:
        """Remove the blobs that index.json does not lead to; `Damaged` where that is unclear."""
        pack_set = named_pack_set(self._root, self.name)
        named: tuple[Descriptor, ...] = ()
        if pack_set is not None:
            named = (pack_set.raw.descriptor, pack_set.index, *pack_set.blobs)
        hexes = frozenset(blob.digest.hex for blob in named)
        sweep_blobs(self._root, hexes, is_locked=is_locked)


def _publish(layout: _Layout, merge: Merge) -> Published:
    """Read, merge, write; called with the lock held."""
    seen = layout.look()
    document = merge(seen.found)
    if document is None:
        return Published(1, seen.found)
    made = make_pack_set(document)
    layout.prepare(made)
    if seen.digest != made.pack_set.raw.descriptor.digest:
        layout.move(made)
    return Published(1, made.pack_set.found(document.index))
