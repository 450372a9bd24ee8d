# SPDX-License-Identifier: Apache-2.0
"""A tar archive as a file tree: what `ADD` unpacks, and a build context on standard input.

It may be compressed with gzip, bzip2, xz or zstd, which its first bytes tell. An archive is hostile
input: names stay below its root, and `Limits` bound what it may unpack to. Names of whiteouts have
no meaning here.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Final

from wherry.errors import UsageError
from wherry.fstree.archive_streams import first_bytes, uncompressed
from wherry.fstree.layer_changes import LayerIndex
from wherry.fstree.limits import Bounded, Counted, Limits, Readable
from wherry.fstree.members import BLOCK, Member, Members, is_header
from wherry.fstree.spool import Spool
from wherry.fstree.tar_entries import read_entries
from wherry.fstree.tree import Content, Entry, File
from wherry.fstree.view import View
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken

# A bzip2 file tells nothing before the end of its first block, of some 900 kB.
HEAD: Final = 1 << 20
_BUFFER: Final = 1 << 18


def is_archive(head: bytes) -> bool:
    """Whether data that begin with `head` are a tar, compressed or not, with at least one entry.

    `HEAD` bytes, or all there are, always tell. Of fewer compressed bytes nothing more may be known
    than their compression: they then count as an archive.
    """
    first = first_bytes(head, BLOCK)
    return first is None or is_header(first)


class ArchiveFiles:
    """The files of the archive in `stream`; implements `wherry.fstree.files.Files`.

    All of `stream` is read at once, and not closed. Contents are in memory or in a file in
    `directory`, which has to stay as long as they are needed. Raises `UsageError` for an archive
    that is damaged, leads out of itself or is larger than `limits` allow, `MachineError` for a full
    disk, `Cancelled`, and whatever `stream` raises.

    The archive's own root counts for nothing: whoever unpacks has a directory.
    """

    def __init__(
        self,
        stream: Readable,
        directory: str,
        limits: Limits | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        try:
            with Spool(directory) as spool:
                self._entries = _read(stream, spool, limits or Limits(), cancel)
        except UsageError as error:
            raise UsageError(
                "cannot unpack an archive",
                why=f"{error.what}\n{error.why}" if error.why else error.what,
                hint=error.hint,
            ) from error
        index = LayerIndex(tuple(entry for entry in self._entries if entry.path))
        self._view = View.empty().with_layer(index)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What the archive holds in its own order: for unpacking it onto other files.

        A path may come twice, the root's is empty, hard links are `HardLink`.
        """
        return self._entries

    def entry(self, path: str) -> Entry | None:
        """What lies at `path`.

        As with the other two, raises `UsageError` where the archive is no tree by itself.
        """
        return self._view.entry(path)

    def names(self, path: str) -> tuple[str, ...]:
        """The names in the directory `path`, sorted."""
        return self._view.names(path)

    def digest(self, file: File) -> Digest:
        """The digest of a file's content."""
        return self._view.digest(file)


def _read(
    stream: Readable, spool: Spool, limits: Limits, cancel: CancelToken | None
) -> tuple[Entry, ...]:
    counted = Counted(stream)
    bounded = Bounded(uncompressed(counted), limits, lambda: counted.count, cancel)
    tar = io.BufferedReader(bounded, _BUFFER)

    def store(member: Member, pieces: Iterable[bytes]) -> Content:
        return spool.add(pieces, member.size)

    entries = tuple(read_entries(Members(tar), limits, store))
    # To the end: the checksums of compressed data stand there, and who writes into a pipe is not to
    # find it closed.
    while tar.read(_BUFFER):
        pass
    return entries
