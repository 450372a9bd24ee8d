# SPDX-License-Identifier: Apache-2.0
"""A tag of a registry's repository as a cache place (OCI distribution specification 1.1).

What the tag points to is asked of the registry itself, since a mirror may lag behind; blobs, whose
digests are checked, may come from mirrors. Importing asks for the right to read only: whoever may
not push can still use a cache. How several exporters share a tag is told in `agreeing`.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple, Protocol

from wherry.errors import NetworkError, UsageError
from wherry.gocache.agreeing import Pace, Seen, publish_without_lock
from wherry.gocache.manifest import Made, damaged, read_pack_set
from wherry.gocache.places import Damaged, Found, Merge, Published
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken
from wherry.registry.download import WrongBytes
from wherry.registry.model import BlobSource, Progress, RawManifest, Sent, no_progress

_MOST_LOOKS = 3


class CacheRepository(Protocol):
    """What a place needs of a `registry.client.Repository`, described there."""

    @property
    def registry(self) -> str:
        """The registry's name."""

    def for_pushing(self) -> CacheRepository:
        """The same with the right to push."""

    def resolve(self, wanted: str) -> Descriptor | None:
        """What a tag points to."""

    def manifest(self, wanted: str) -> RawManifest:
        """The manifest of a tag or digest."""

    def push_manifest(self, data: bytes, media_type: str, wanted: str) -> Digest:
        """Put a manifest."""

    def blob_exists(self, digest: Digest) -> bool:
        """Whether the registry itself has it."""

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """The bytes of a blob."""

    def push_blob(self, source: BlobSource, progress: Progress = no_progress) -> Sent:
        """Have a blob there."""


class Repositories(NamedTuple):
    """One repository, asked in two ways: `itself` without mirrors, `reading` with them."""

    itself: CacheRepository
    reading: CacheRepository


class RegistryPlace:
    """A `CachePlace`; `wanted` is a tag, or for importing only a digest."""

    def __init__(
        self,
        name: str,
        repositories: Repositories,
        wanted: str,
        cancel: CancelToken,
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> None:
        self._name = name
        self._itself, self._reading = repositories
        self._wanted = wanted
        self._cancel = cancel
        self._pace = pace

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return self._name

    def current(self) -> Found | None:
        """What the tag points to; None where there is no such tag or repository."""
        raw = _manifest(self._itself, self._wanted)
        if raw is None:
            return None
        return _found(self._reading, self._itself, raw, self._name)

    def open(self, blob: Descriptor) -> BinaryIO:
        """The blob's bytes, from the registry or a mirror."""
        return self._reading.open_blob(blob)

    def has(self, blob: Descriptor) -> bool:
        """Whether the registry has the blob in this repository."""
        return self._itself.blob_exists(blob.digest)

    def put(self, source: BlobSource) -> int:
        """Have the blob in the repository, mounted where another one is known to have it."""
        sent = self._itself.for_pushing().push_blob(_Mountable(source, self._itself.registry))
        return source.descriptor.size if sent is Sent.UPLOADED else 0

    def publish(self, merge: Merge) -> Published:
        """Let the tag point to what `merge` makes; `NetworkError` where others are faster."""
        if ":" in self._wanted:
            raise UsageError(f"cannot write the cache {self._name}",
                             why="a digest names one content for ever",
                             hint="name a tag")  # fmt: skip
        tag = _Tag(self._name, self._itself.for_pushing(), self._wanted)
        return publish_without_lock(tag, merge, self._cancel, self._pace)

    def close(self) -> None:
        """Nothing to drop: registries remove blobs that nobody names by themselves."""


class _Tag:
    """The tag, as `agreeing` moves it."""

    def __init__(self, name: str, repository: CacheRepository, tag: str) -> None:
        self.name = name
        self._repository = repository
        self._tag = tag

    def look(self) -> Seen:
        raw = _manifest(self._repository, self._tag)
        if raw is None:
            return Seen()
        digest = raw.descriptor.digest
        try:
            return Seen(digest, _found(self._repository, self._repository, raw, self.name))
        except Damaged:
            return Seen(digest)

    def digest(self) -> Digest | None:
        described = self._repository.resolve(self._tag)
        return described.digest if described else None

    def prepare(self, made: Made) -> None:
        for blob in made.blobs:
            self._repository.push_blob(blob)

    def move(self, made: Made) -> None:
        raw = made.pack_set.raw
        self._repository.push_manifest(raw.data, raw.descriptor.media_type, self._tag)


class _Mountable:
    """A blob on its way to one registry; other registries' repositories are not told there."""

    def __init__(self, source: BlobSource, registry: str) -> None:
        self._source = source
        self.repositories = tuple(
            name for name in source.repositories if name.startswith(f"{registry}/")
        )

    @property
    def descriptor(self) -> Descriptor:
        return self._source.descriptor

    def open(self, offset: int) -> BinaryIO:
        return self._source.open(offset)


def _manifest(repository: CacheRepository, wanted: str) -> RawManifest | None:
    """The manifest that the tag points to.

    Asked for in two steps, since only the first one tells a missing tag from other failures.
    """
    described = repository.resolve(wanted)
    for left in reversed(range(_MOST_LOOKS)):
        if described is None:
            return None
        try:
            return repository.manifest(str(described.digest))
        except NetworkError:
            # Moved meanwhile, and the registry has removed what it pointed to before?
            before, described = described, repository.resolve(wanted)
            if not left or (described and described.digest == before.digest):
                raise
    return None


def _found(reading: CacheRepository, itself: CacheRepository, raw: RawManifest, name: str) -> Found:
    """The pack set of a manifest; `Damaged` where its index is gone or wrong."""
    pack_set = read_pack_set(raw, name)
    try:
        with reading.open_blob(pack_set.index) as stream:
            return pack_set.found(stream.read())
    except WrongBytes as error:
        raise damaged(name, error.why) from error
    except NetworkError as error:
        if itself.blob_exists(pack_set.index.digest):
            raise
        raise damaged(name, "its index is not there") from error
