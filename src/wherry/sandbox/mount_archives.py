# SPDX-License-Identifier: Apache-2.0
"""A cache mount's archive becomes its directory again, in the namespace worker.

The archive comes from a place that others may write to. It is unpacked as a layer is, each path
below the directory and never through a link, and may hold no more than was said of it: so many
bytes, so many entries. Devices, pipes and sockets are left out.
"""

from __future__ import annotations

import io
import os
import stat
import zlib
from typing import Any, BinaryIO, Final, NamedTuple, Self

from wherry.errors import UsageError
from wherry.fstree.decompress import VerifiedDiff, decompressed
from wherry.fstree.limits import Bounded, Limits, over
from wherry.fstree.read_ahead import ReadAhead
from wherry.fstree.unpack import Ownership, unpack_layer
from wherry.oci.digest import parse_digest
from wherry.oci.image import Layer, parse_descriptor
from wherry.process.cancel import CancelToken

_BUFFER: Final = 1 << 18
_TOLD: Final = 3


class MountArchive(NamedTuple):
    """An archive: its layer, its exact size and number of entries, the directory's own status.

    `tar` is its size in bytes when uncompressed.
    """

    layer: Layer
    tar: int
    entries: int
    mode: int
    uid: int
    gid: int

    def as_json(self) -> dict[str, Any]:
        """For a message to the worker."""
        layer, diff_id = self.layer.descriptor.as_json(), str(self.layer.diff_id)
        return {**self._asdict(), "layer": layer, "diff_id": diff_id}

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """What `as_json` wrote, whatever else is there."""
        layer = Layer(parse_descriptor(fields["layer"]), parse_digest(fields["diff_id"]))
        return cls(layer, *(int(fields[name]) for name in cls._fields[1:]))


class _Entries(CancelToken):
    """Asked between two entries: for one more than there may be it raises `UsageError`."""

    def __init__(self, most: int, cancel: CancelToken) -> None:
        super().__init__()
        self._left = most
        self._most = most
        self._real = cancel

    def check(self) -> None:
        """Count an entry; raises `Cancelled`, too."""
        self._real.check()
        self._left -= 1
        if self._left < 0:
            raise over(f"it has more than {self._most} entries")


def unpack_mount(
    blob: BinaryIO, archive: MountArchive, target: str, owner: Ownership, cancel: CancelToken
) -> tuple[str, ...]:
    """Unpack `blob` into the empty directory `target`, whose own status is for the caller to set.

    Returns what was left out: a few as `/PATH: why`, and the number of others. Raises `UsageError`
    for an archive that is damaged, made to harm or another than was said, `MachineError`,
    `Cancelled`: `target` holds a part then.
    """
    descriptor = archive.layer.descriptor
    limits = Limits(archive.entries, archive.tar)
    tar = decompressed(blob, descriptor.media_type)
    bounded = Bounded(VerifiedDiff(tar, archive.layer.diff_id), limits, lambda: descriptor.size)
    with ReadAhead(bounded, cancel) as ahead:
        stream = io.BufferedReader(ahead, _BUFFER)
        skipped = unpack_layer(
            stream, target, owner, name="the cache mount", cancel=_Entries(archive.entries, cancel)
        )
        # A tar's reader stops at the archive's own end, the diff ID is that of all.
        try:
            while stream.read(_BUFFER):
                pass
        except (zlib.error, EOFError) as error:
            raise UsageError("the archive is damaged behind its end", why=str(error)) from error
    told = tuple(f"/{item.path}: {item.why}" for item in skipped[:_TOLD])
    return (*told, f"{len(skipped) - _TOLD} more") if len(skipped) > _TOLD else told


def status_of(directory: str) -> tuple[int, int, int]:
    """Mode, user and group of a directory that is no link; raises `UsageError`, `OSError`."""
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise UsageError("the directory of a cache mount is none")
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
