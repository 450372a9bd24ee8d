# SPDX-License-Identifier: Apache-2.0
"""Images to repositories (OCI distribution specification 1.1, "Push").

The tags are asked first: where all point to the image, nothing else is sent. Otherwise blobs go in
parallel, then child manifests, the root and last of all the tags, so that no tag of ours ever names
something that is not whole. Between repositories of one registry blobs are mounted. One target's
failure leaves the others alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, NamedTuple, Protocol

from wherry.errors import NetworkError, SeveralErrors, WherryError
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor
from wherry.oci.media import is_foreign
from wherry.process.cancel import Cancelled, CancelToken
from wherry.registry.model import BlobSource, Progress, RawManifest, Sent, no_progress
from wherry.registry.together import Halt, run_together, streams


class PushRepository(Protocol):
    """What pushing needs of a repository."""

    @property
    def registry(self) -> str:
        """The registry's name; blobs are mounted between repositories of one registry."""

    @property
    def full_name(self) -> str:
        """Registry and repository."""

    def for_pushing(self) -> PushRepository:
        """The same repository without mirrors, whose answers may be old."""

    def resolve(self, wanted: str) -> Descriptor | None:
        """What a tag or digest points to, None where it is not there."""

    def push_blob(self, source: BlobSource, progress: Progress) -> Sent:
        """Make the registry have a blob."""

    def push_manifest(self, data: bytes, media_type: str, wanted: str) -> Digest:
        """Put a manifest under a tag or its digest; gives the digest that it has there."""


class Content(NamedTuple):
    """What is pushed: `children` are manifests in the order they have to be put, before `root`.

    `blobs` are configs and layers; foreign layers among them are left out. Their `repositories`
    are full names (`registry/name`); a registry is told those of its own only.
    """

    root: RawManifest
    children: tuple[RawManifest, ...]
    blobs: tuple[BlobSource, ...]


class Target(NamedTuple):
    """A repository and the tags to set there; without tags the image is there by digest only."""

    repository: PushRepository
    tags: tuple[str, ...]


class Pushed(NamedTuple):
    """What it took to have the image at a target; the first three count blobs.

    `unchanged`: everything was there, tags too, and nothing was sent. `bytes` were uploaded.
    """

    target: Target
    uploaded: int
    mounted: int
    existed: int
    unchanged: bool
    bytes: int


class PartlyPushed(SeveralErrors):
    """Some of several targets failed; `pushed` tells of those that have the image."""

    def __init__(self, errors: tuple[WherryError, ...], pushed: tuple[Pushed, ...]) -> None:
        super().__init__(errors)
        self.pushed = pushed


def push(
    content: Content,
    targets: Sequence[Target],
    cancel: CancelToken,
    *,
    workers: int = 4,
    progress: Progress = no_progress,
) -> tuple[Pushed, ...]:
    """Bring `content` to every target, with at most `workers` transfers at a time over all.

    Targets of one repository are taken together, their tags each once: one result for each
    repository, in the order given. `progress` is called by one thread at a time. The error of an
    only target is raised as it is; of several, all are finished first and then `PartlyPushed`
    tells of those that failed. Raises `Cancelled`, after which no more tag is set.
    """
    halt = Halt(cancel)
    deliveries = [_Delivery(target, content, halt) for target in _merged(targets)]
    run_together([delivery.look for delivery in deliveries], workers, halt)
    works: list[Callable[[], None]] = [
        delivery.finish for delivery in deliveries if delivery.is_ready
    ]
    works += _transfers(content, deliveries, halt.told(progress))
    run_together(works, _streams(content, deliveries, workers), halt)
    errors = tuple(delivery.error for delivery in deliveries if delivery.error is not None)
    if errors and len(deliveries) == 1:
        raise errors[0]
    pushed = tuple(delivery.pushed() for delivery in deliveries if delivery.error is None)
    if errors:
        raise PartlyPushed(errors, pushed)
    return pushed


class _Delivery:
    """One target under way. `missing` are blobs that nothing is known of yet."""

    def __init__(self, target: Target, content: Content, halt: Halt) -> None:
        self.target = target
        self.repository = target.repository.for_pushing()
        self.error: WherryError | None = None
        self._content = content
        self._halt = halt
        self._lock = threading.Lock()
        self._tags: tuple[str, ...] = target.tags
        self._unchanged = False
        self._is_there = False
        self._missing = len(_blobs(content))
        self._sent: dict[Sent, int] = dict.fromkeys(Sent, 0)
        self._bytes = 0

    @property
    def needs_blobs(self) -> bool:
        """Whether blobs have to be brought before anything else."""
        return self.error is None and not self._is_there and self._missing > 0

    @property
    def is_ready(self) -> bool:
        """Whether manifests or tags are all that has to be put."""
        return self.error is None and not self._unchanged and not self.needs_blobs

    def look(self) -> None:
        """Find out what the target has: one request for each tag, and one where a tag differs."""
        with self._failing():
            repository, digest = self.repository, self._content.root.descriptor.digest
            found = {tag: repository.resolve(tag) for tag in self.target.tags}
            self._tags = tuple(
                tag for tag, item in found.items() if item is None or item.digest != digest
            )
            # A tag that points to it, or else its digest, says that it is there as a whole.
            self._is_there = (
                len(self._tags) < len(found) or repository.resolve(str(digest)) is not None
            )
            self._unchanged = self._is_there and not self._tags

    def bring(self, source: BlobSource, having: tuple[str, ...], progress: Progress) -> bool:
        """Have one blob there, and everything else after the last one; whether it is there.

        `having` are repositories that got it just now.
        """
        if self.error is not None:
            return False
        with self._failing():
            mountable = _Mountable(source, self.repository.registry, having)
            sent = self.repository.push_blob(mountable, self._stopping(progress))
            with self._lock:
                self._sent[sent] += 1
                self._bytes += source.descriptor.size if sent is Sent.UPLOADED else 0
                self._missing -= 1
                is_last = self._missing == 0
            if is_last and self.error is None:
                self.finish()
            return True
        return False

    def finish(self) -> None:
        """Put the manifests that are missing, then the tags."""
        with self._failing():
            if not self._is_there:
                for child in self._content.children:
                    self._put(child, str(child.descriptor.digest))
                if not self._tags:
                    self._put(self._content.root, str(self._content.root.descriptor.digest))
            for tag in self._tags:
                self._put(self._content.root, tag)

    def pushed(self) -> Pushed:
        """The result, once all is done."""
        existed = self._missing if self._is_there else self._sent[Sent.EXISTED]
        uploaded, mounted = self._sent[Sent.UPLOADED], self._sent[Sent.MOUNTED]
        return Pushed(self.target, uploaded, mounted, existed, self._unchanged, self._bytes)

    def _put(self, raw: RawManifest, wanted: str) -> None:
        self._halt.check()
        digest = self.repository.push_manifest(raw.data, raw.descriptor.media_type, wanted)
        if digest != raw.descriptor.digest:
            raise NetworkError(
                f"{self.repository.full_name} changed the image that it was given",
                why=f"{raw.descriptor.digest} went there, {digest} is what it has",
                hint="push to a registry that keeps manifests as they are",
            )

    def _stopping(self, progress: Progress) -> Progress:
        """Ends a transfer to a target that has failed meanwhile."""

        def tell(count: int) -> None:
            if self.error is not None:
                raise Cancelled
            progress(count)

        return tell

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """The target's first failure is kept; it ends this target's works and no others."""
        try:
            self._halt.check()
            yield
        except WherryError as error:
            with self._lock:
                self.error = self.error or error
        except Cancelled:
            self._halt.check()
            if self.error is None:
                raise


class _Mountable:
    """A blob on its way to one registry, with the repositories there that are known to have it.

    Names of other registries' repositories are left out: they are nobody else's business.
    """

    def __init__(self, source: BlobSource, registry: str, having: tuple[str, ...]) -> None:
        self._source = source
        names = dict.fromkeys((*having, *source.repositories))
        self.repositories = tuple(name for name in names if name.startswith(f"{registry}/"))

    @property
    def descriptor(self) -> Descriptor:
        return self._source.descriptor

    def open(self, offset: int) -> BinaryIO:
        return self._source.open(offset)


def _merged(targets: Sequence[Target]) -> list[Target]:
    """One target for each repository, each tag once."""
    repositories: dict[str, PushRepository] = {}
    tags: dict[str, dict[str, None]] = {}
    for target in targets:
        name = target.repository.full_name
        repositories.setdefault(name, target.repository)
        tags.setdefault(name, {}).update(dict.fromkeys(target.tags))
    return [Target(repository, tuple(tags[name])) for name, repository in repositories.items()]


def _blobs(content: Content) -> tuple[BlobSource, ...]:
    """Each blob once, the largest first, without foreign layers."""
    once: dict[Digest, BlobSource] = {}
    for source in content.blobs:
        if not is_foreign(source.descriptor.media_type):
            once.setdefault(source.descriptor.digest, source)
    return tuple(sorted(once.values(), key=lambda source: -source.descriptor.size))


def _transfers(
    content: Content, deliveries: Sequence[_Delivery], progress: Progress
) -> Iterator[Callable[[], None]]:
    """One work for each blob and registry; within it the repositories come one after another."""
    registries: dict[str, list[_Delivery]] = {}
    for delivery in deliveries:
        if delivery.needs_blobs:
            registries.setdefault(delivery.repository.registry, []).append(delivery)
    for source in _blobs(content):
        for together in registries.values():
            yield partial(_bring_to_all, source, together, progress)


def _streams(content: Content, deliveries: Sequence[_Delivery], most: int) -> int:
    needing = [delivery for delivery in deliveries if delivery.needs_blobs]
    if len(needing) < len(deliveries):
        return most
    registries = {delivery.repository.registry for delivery in needing}
    return streams([blob.descriptor.size for blob in _blobs(content)] * len(registries), most)


def _bring_to_all(source: BlobSource, deliveries: Sequence[_Delivery], progress: Progress) -> None:
    """Upload a blob to the first repository of a registry that takes it, mount it to the others."""
    having: tuple[str, ...] = ()
    for delivery in deliveries:
        if delivery.bring(source, having, progress):
            having += (delivery.repository.full_name,)
