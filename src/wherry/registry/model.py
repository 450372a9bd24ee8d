# SPDX-License-Identifier: Apache-2.0
"""The values and protocols that the parts of the registry client share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import BinaryIO, NamedTuple, Protocol

from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor

# Distribution specification 1.1, "Pushing manifests": registries take at least 4 MiB.
MANIFEST_LIMIT = 4 << 20


class Scope(NamedTuple):
    """What a request is for, as registries grant it: a repository and the actions on it.

    `origin` is the `scheme://host[:port]` that credentials may go to; `registry` the name they are
    kept under. `actions` are `pull`, `push`, `delete`; `mounted_from` is a second repository of
    the same registry that has to be readable.
    """

    origin: str
    registry: str
    repository: str
    actions: tuple[str, ...]
    mounted_from: str = ""


class RegistryOptions(NamedTuple):
    """The user's settings about registries.

    `mirrors` maps a registry's name (`docker.io`) to `host[:port][/path]` texts asked before it,
    in order; `insecure` are `host[:port]` names that plain HTTP is allowed for.
    """

    mirrors: tuple[tuple[str, tuple[str, ...]], ...] = ()
    insecure: tuple[str, ...] = ()


class RawManifest(NamedTuple):
    """A manifest, index or artifact by its exact bytes, which have `descriptor`'s digest."""

    descriptor: Descriptor
    data: bytes


class Sent(StrEnum):
    """How a blob came to be in a repository."""

    EXISTED = "existed"
    MOUNTED = "mounted"
    UPLOADED = "uploaded"


class BlobSource(Protocol):
    """Where the bytes of a blob to push come from."""

    @property
    def descriptor(self) -> Descriptor:
        """Digest and size."""

    @property
    def repositories(self) -> tuple[str, ...]:
        """Repositories of the target's registry that are known to have it: tried for a mount."""

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` on; closed by the caller. Called again when an upload resumes."""


class BlobSink(Protocol):
    """A blob being staged."""

    def write(self, data: bytes | bytearray | memoryview, /) -> object:
        """Take the next bytes."""

    def commit(self, digest: Digest, size: int) -> None:
        """Make the blob visible; the caller has verified digest and size."""


class BlobStore(Protocol):
    """Where pulled blobs go."""

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is there, with that size."""

    def writer(self) -> AbstractContextManager[BlobSink]:
        """Stage a blob; leaving without commit drops it."""


Progress = Callable[[int], None]
"""Told the number of bytes that were transferred since the last call; any thread."""


def no_progress(_count: int) -> None:
    """For callers that do not want to know."""
