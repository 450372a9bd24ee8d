# SPDX-License-Identifier: Apache-2.0
"""The registries of one process and their repositories, for pulling and pushing.

This is the front of the room (distribution specification 1.1); the modules behind it know one
server each. Reading asks a registry's mirrors first. Whoever pushes must see the registry itself,
so `Repository.for_pushing` leaves them out.
"""

from __future__ import annotations

import threading
from typing import BinaryIO

from wherry.errors import NetworkError, UsageError
from wherry.events import Sink, discard
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken
from wherry.registry.download import fetch_blob, open_blob
from wherry.registry.endpoint import Endpoint, is_host, parse_wanted
from wherry.registry.kinds import content_type
from wherry.registry.manifests import get_manifest, head_manifest, put_manifest
from wherry.registry.mirrors import MirrorLog, Sources, mirror_endpoint
from wherry.registry.model import (
    BlobSource,
    BlobStore,
    Progress,
    RawManifest,
    RegistryOptions,
    Sent,
    no_progress,
)
from wherry.registry.referrers import link, list_referrers, subject_of
from wherry.registry.schemes import Authorizing, Schemes
from wherry.registry.tags import list_tags, not_found
from wherry.registry.upload import blob_exists, push_blob


class Registry:
    """All registries, by the user's settings. Thread-safe; what it learns of hosts it keeps."""

    def __init__(
        self,
        authorizer: Authorizing,
        options: RegistryOptions,
        cancel: CancelToken,
        sink: Sink = discard,
    ) -> None:
        self._schemes = Schemes(authorizer, options.insecure)
        self._mirrors = dict(options.mirrors)
        self._cancel = cancel
        self._log = MirrorLog(sink)
        self._linking = threading.Lock()

    def repository(self, registry: str, name: str) -> Repository:
        """A repository; `registry` and `name` are as in a `Reference`.

        Nothing is asked yet. Raises `UsageError` for malformed names and mirrors.
        """
        if not is_host(registry):
            raise UsageError(f"not a registry: {registry!r}")
        mirrors = tuple(
            mirror_endpoint(text, name, self._schemes) for text in self._mirrors.get(registry, ())
        )
        itself = Endpoint(registry, name, self._schemes)
        return Repository(Sources(mirrors, itself, self._log), self._cancel, self._linking)


class Repository:
    """One repository. Thread-safe. Every method raises `NetworkError` and `Cancelled`.

    Tags and digests are given as texts; what is neither is a `UsageError`.
    """

    def __init__(self, sources: Sources, cancel: CancelToken, linking: threading.Lock) -> None:
        self._sources = sources
        self._cancel = cancel
        self._linking = linking

    @property
    def registry(self) -> str:
        """The registry's name, as in references."""
        return self._sources.itself.name

    @property
    def name(self) -> str:
        """The repository's name within its registry."""
        return self._sources.itself.repository

    @property
    def full_name(self) -> str:
        """Both, such as `localhost:5000/team/app`."""
        return self._sources.itself.full_name

    def without_mirrors(self) -> Repository:
        """The same repository without its mirrors, which may lag behind it."""
        return Repository(self._sources.without_mirrors(), self._cancel, self._linking)

    def for_pushing(self) -> Repository:
        """The same repository without its mirrors, which may lag behind it.

        All its requests ask for the right to push, so that one token serves for all of them.
        """
        return Repository(self._sources.for_pushing(), self._cancel, self._linking)

    # --- manifests ------------------------------------------------------------------------------

    def resolve(self, wanted: str) -> Descriptor | None:
        """What a tag or digest points to, None where it is not there; by HEAD where that will do.

        For a tag this is what the first server that has it says; nothing is verified.
        """
        asked = parse_wanted(wanted)
        return self._sources.first(lambda endpoint: head_manifest(endpoint, asked))

    def manifest(self, wanted: str) -> RawManifest:
        """The manifest, index or artifact that a tag or digest points to, with checked digest."""
        asked = parse_wanted(wanted)
        found = self._sources.first(lambda endpoint: get_manifest(endpoint, asked))
        if found is None:
            raise not_found(self._sources.itself, asked)
        return found

    def push_manifest(self, data: bytes, media_type: str, wanted: str) -> Digest:
        """Put these bytes under a tag or under their digest, which is returned.

        Where the manifest has a subject and the registry does not keep track of it, it is entered
        into the subject's list of referrers.
        """
        asked = parse_wanted(wanted)
        name = f"{self.full_name}{asked.suffix}"
        raw = RawManifest(Descriptor(content_type(media_type), sha256(data), len(data)), data)
        subject = subject_of(raw, name)
        server = self._server_for_pushing()
        put = put_manifest(server, data, media_type, asked)
        if subject is not None and not put.linked:
            with self._linking:
                link(server, raw, subject)
        return put.digest

    def tags(self, limit: int = 1000) -> tuple[str, ...]:
        """The registry's first page of tags, at most `limit`."""
        tags = list_tags(self._sources.itself, limit)
        if tags is None:
            raise NetworkError(f"{self.registry} has no repository {self.name}",
                               hint="check the name")  # fmt: skip
        return tags

    def referrers(self, digest: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """The manifests whose subject is `digest`, of one artifact type or of all (empty)."""
        return list_referrers(self._sources.itself, digest, artifact_type)

    # --- blobs ----------------------------------------------------------------------------------

    def blob_exists(self, digest: Digest) -> bool:
        """Whether the registry itself has the blob in this repository."""
        return blob_exists(self._sources.itself, digest)

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """The blob's bytes from `offset` on, over breaks of connections; closed by the caller.

        Read from 0 the last bytes come only if size and digest of the whole are right.
        """
        return open_blob(self._sources, descriptor, self._cancel, offset)

    def fetch_blob(
        self, descriptor: Descriptor, store: BlobStore, progress: Progress = no_progress
    ) -> None:
        """Put the blob into the store, verified; also raises what the store's disk raises."""
        fetch_blob(self._sources, descriptor, store, self._cancel, progress)

    def push_blob(self, source: BlobSource, progress: Progress = no_progress) -> Sent:
        """Have the blob in the registry: it is there, or mounted, or uploaded.

        Also raises what the source raises, and `MachineError` where its bytes are not the blob's.
        """
        return push_blob(self._server_for_pushing(), source, self._cancel, progress)

    def _server_for_pushing(self) -> Endpoint:
        return self._sources.for_pushing().itself
