# SPDX-License-Identifier: Apache-2.0
"""Cache places: where a pack set lies, and how several exporters change it without losing each
other's packs.

A place is a tag of a registry's repository or a directory (an OCI image layout). What it holds is
one OCI artifact, a *pack set*: its config is the index, its layers are the blobs that the index
names. This module has the values and the protocol; `registry_place` and `directory_place` keep it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple, Protocol

from wherry.errors import NetworkError
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor
from wherry.registry.model import BlobSource

INDEX_LIMIT: Final = 16 << 20
"""The most bytes that an index may have."""


class Damaged(NetworkError):
    """A pack set of ours, or a blob of one, that cannot be used: an export may replace it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a place holds now: the manifest's digest, the index with checked digest, and the
    index's signature (`signing`), empty where it has none."""

    digest: Digest
    index: bytes
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """What a place is to hold: an index, every blob that it names, and its signature.

    The blobs have been put before. Each counts once; their order is kept.
    """

    index: bytes
    blobs: tuple[Descriptor, ...]
    signature: str = ""


class Published(NamedTuple):
    """How often it was tried, and what the place holds now."""

    tries: int
    found: Found | None


Merge = Callable[[Found | None], Document | None]
"""Makes of what a place holds what it is to hold; None where nothing is missing.

May be called again with what others have written meanwhile.
"""


class CachePlace(Protocol):
    """A cache place. Thread-safe but for `publish`. Every method raises `WherryError`, `Cancelled`.

    A thing that is there and no pack set of ours is a `UsageError`, never replaced; a pack set that
    is broken is `Damaged`, and `publish` replaces it.
    """

    @property
    def name(self) -> str:
        """The place as the user wrote it."""

    def current(self) -> Found | None:
        """What it holds, None where there is nothing yet."""

    def open(self, blob: Descriptor) -> BinaryIO:
        """The blob's bytes, closed by the caller; the last ones come only if all are right."""

    def has(self, blob: Descriptor) -> bool:
        """Whether the blob is there just now: another exporter may remove what nobody names."""

    def put(self, source: BlobSource) -> int:
        """Have the blob there, to be named by `publish`: the number of bytes sent for it.

        That is 0 where it was there already or has been mounted.
        """

    def publish(self, merge: Merge) -> Published:
        """Let the place hold what `merge` makes of what it holds."""

    def close(self) -> None:
        """Drop what was put and not published. The place may go on being used."""


class BytesBlob(NamedTuple):
    """A small blob in memory, as a source to put."""

    descriptor: Descriptor
    data: bytes
    repositories: tuple[str, ...] = ()

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` on."""
        return io.BytesIO(self.data[offset:])


class FileBlob(NamedTuple):
    """A blob in a file, as a source to put."""

    descriptor: Descriptor
    path: str
    repositories: tuple[str, ...] = ()

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` on."""
        file = open(self.path, "rb")  # noqa: SIM115 - closed by who asked
        file.seek(offset)
        return file
