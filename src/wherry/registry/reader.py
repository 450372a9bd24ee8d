# SPDX-License-Identifier: Apache-2.0
"""The JSON documents of one repository, verified, from the store where it has them.

Manifests and configs are read before anything is stored: whoever asks decides with `keep` what is
sound as a whole. A document of the store that is damaged is fetched again and replaced.
"""

from __future__ import annotations

import threading
from typing import BinaryIO, Protocol

from wherry.errors import MachineError, NetworkError
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Descriptor
from wherry.oci.media import is_index, is_manifest
from wherry.process.cancel import CancelToken
from wherry.registry.documents import (
    MOST_MANIFESTS,
    check_bytes,
    media_type_of,
    refuse,
)
from wherry.registry.model import MANIFEST_LIMIT, BlobStore, RawManifest


class ManifestSource(Protocol):
    """What pulling the JSON of an image needs of a repository."""

    @property
    def full_name(self) -> str:
        """Registry and repository, for messages."""

    def manifest(self, wanted: str) -> RawManifest:
        """The manifest or index of a tag or digest, verified."""

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """The blob's bytes; the end is reached only if they are right."""


class DocumentStore(BlobStore, Protocol):
    """A blob store whose blobs can be read again."""

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading, not verified; closed by the caller."""


class DocumentReader:
    """Manifests and configs of one repository, verified, from the store where it has them.

    Nothing is stored before `keep`. Safe for several threads.
    """

    def __init__(
        self, repository: ManifestSource, store: DocumentStore, cancel: CancelToken
    ) -> None:
        self._repository = repository
        self._store = store
        self._cancel = cancel
        self._lock = threading.Lock()
        self._count = 0
        self._stored: set[Digest] = set()

    def name(self, wanted: Digest | str) -> str:
        """`repository@digest` or `repository:tag`, for messages."""
        mark = "@" if ":" in str(wanted) else ":"
        return f"{self._repository.full_name}{mark}{wanted}"

    def root(self, wanted: str) -> RawManifest:
        """The manifest or index of a tag or digest."""
        digest = parse_digest(wanted) if ":" in wanted else None
        data = None if digest is None else self._from_store(digest, MANIFEST_LIMIT)
        if digest is not None and data is not None:
            media_type = media_type_of(data, self.name(digest))
            return self._known(RawManifest(Descriptor(media_type, digest, len(data)), data))
        raw = self._ask(wanted)
        if digest is not None and raw.descriptor.digest != digest:
            refuse(self.name(digest), f"the registry sent {raw.descriptor.digest} instead")
        check_bytes(raw.data, raw.descriptor, self.name(raw.descriptor.digest))
        return self._known(raw)

    def manifest(self, entry: Descriptor) -> RawManifest:
        """The manifest or index that an index lists as `entry`, whose size was checked.

        It counts as what the index calls it; parsing finds out where it says otherwise.
        """
        name = self.name(entry.digest)
        data = self._from_store(entry.digest, entry.size)
        if data is None:
            data = self._ask(str(entry.digest)).data
        check_bytes(data, entry, name)
        return self._known(RawManifest(entry, data))

    def config(self, descriptor: Descriptor) -> bytes:
        """The bytes of a config, whose size was checked."""
        data = self._from_store(descriptor.digest, descriptor.size)
        if data is None:
            with self._repository.open_blob(descriptor) as stream:
                data = self._read(stream, descriptor.size)
        check_bytes(data, descriptor, self.name(descriptor.digest))
        return data

    def keep(self, digest: Digest, data: bytes) -> None:
        """Put a verified document into the store, unless it came from there."""
        if digest not in self._stored:
            with self._store.writer() as sink:
                sink.write(data)
                sink.commit(digest, len(data))

    def _ask(self, wanted: str) -> RawManifest:
        self._cancel.check()
        with self._lock:
            self._count += 1
            if self._count > MOST_MANIFESTS:
                refuse(self._repository.full_name, f"it has more than {MOST_MANIFESTS} manifests")
        return self._repository.manifest(wanted)

    def _known(self, raw: RawManifest) -> RawManifest:
        media_type = raw.descriptor.media_type
        if not (is_manifest(media_type) or is_index(media_type)):
            refuse(self.name(raw.descriptor.digest),
                   f"it is of a type that wherry does not know: {media_type}")  # fmt: skip
        return raw

    def _from_store(self, digest: Digest, most: int) -> bytes | None:
        """A document that the store has undamaged; a damaged one is fetched and stored again."""
        if not self._store.has(digest):
            return None
        try:
            with self._store.open(digest) as file:
                data = self._read(file, most)
            check_bytes(data, Descriptor("", digest, len(data)), str(digest))
        except (MachineError, NetworkError):
            return None
        with self._lock:
            self._stored.add(digest)
        return data

    def _read(self, stream: BinaryIO, size: int) -> bytes:
        """All bytes, but no more than one beyond `size`: enough to see that there are too many."""
        data = bytearray()
        while len(data) <= size and (piece := stream.read(min(1 << 16, size + 1 - len(data)))):
            self._cancel.check()
            data += piece
        return bytes(data)
