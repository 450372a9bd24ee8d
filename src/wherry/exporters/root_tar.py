# SPDX-License-Identifier: Apache-2.0
"""The file system of an image as one tar, as buildx's `type=tar` has it: owners, times and all.

The layers are first read for their entries, which gives the tree they make together; then their
files are copied, layer by layer, so that nothing is unpacked anywhere. Directories stand first,
each before what it holds, then links and other small things, then the files of each layer. One
image gives one tar.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, Final

from wherry.errors import MachineError, UsageError
from wherry.exporters.archive_writer import Write
from wherry.exporters.blobs import ExportedImage, VerifyingReader
from wherry.exporters.local import platform_directory
from wherry.fstree.decompress import VerifiedDiff, decompressed
from wherry.fstree.layer_index import LayerIndex, layer_explained, read_index
from wherry.fstree.limits import Limits
from wherry.fstree.tar import BLOCK, entry_header
from wherry.fstree.tree import Directory, Entry, File, HardLink, InLayer, Inline
from wherry.fstree.view import View
from wherry.oci.digest import Digest
from wherry.oci.image import Image, Layer
from wherry.oci.media import foreign_missing
from wherry.process.cancel import CancelToken

_PIECE: Final = 1 << 18


def write_root_tar(
    exported: ExportedImage, write: Write, cancel: CancelToken, mtime: int = 0
) -> None:
    """Write the tar; an image for several platforms gets a directory for each.

    `mtime` is for directories that no layer speaks of. Raises `MachineError` where a blob is
    damaged, `UsageError` for layers that cannot be applied, foreign ones that are not here or such
    that are not what the image says, `Cancelled`, and what `write` raises.
    """
    for image in exported.images:
        below = ""
        if exported.is_split:
            below = f"{platform_directory(image)}/"
            write(entry_header(Directory(below.rstrip("/")), {}, mtime))
        _RootTar(exported, image, write, cancel).write_all(below, mtime)
    write(bytes(2 * BLOCK))


class _RootTar:
    """One platform's files on their way into a tar."""

    def __init__(
        self, exported: ExportedImage, image: Image, write: Write, cancel: CancelToken
    ) -> None:
        self._exported = exported
        self._image = image
        self._write = write
        self._cancel = cancel
        # Files that were written, under their names in the tar: what hard links lead to.
        self._files: dict[str, File] = {}

    def write_all(self, below: str, mtime: int) -> None:
        entries = [replace(entry, path=below + entry.path) for entry in _walk(self._merged(), "")]
        directories = [entry for entry in entries if isinstance(entry, Directory)]
        others: list[Entry] = [entry for entry in entries if not isinstance(entry, Directory)]
        small = [item for item in others if not _in_layer(item)]
        large = [item for item in others if _in_layer(item)]
        for entry in (*directories, *small):
            self._cancel.check()
            self._put(entry, mtime)
        self._copy(large, mtime)

    def _merged(self) -> View:
        view = View.empty()
        for layer in self._image.layers:
            blob = layer.descriptor
            if self._exported.lacks(blob):
                raise foreign_missing(blob.digest.short, blob.urls)
            with self._exported.blobs.open(blob.digest) as file:
                reader = VerifyingReader(file, blob)
                try:
                    view = view.with_layer(self._index(io.BufferedReader(reader, _PIECE), layer))
                except UsageError:
                    # The image is at fault only if the store has its very bytes.
                    reader.finish()
                    raise
                reader.finish()
        return view

    def _index(self, stream: BinaryIO, layer: Layer) -> LayerIndex:
        blob = layer.descriptor
        with layer_explained(blob):
            tar = VerifiedDiff(decompressed(stream, blob.media_type), layer.diff_id, self._cancel)
        # What was built or taken for a base before is no attack of any size.
        index = read_index(io.BufferedReader(tar, _PIECE), blob, Limits.up_to(1 << 50))
        with layer_explained(blob):
            tar.finish()
        return index

    def _put(self, entry: Entry, mtime: int) -> None:
        """Write an entry, with its content if that is held in memory."""
        self._write(entry_header(entry, self._files, mtime))
        if isinstance(entry, File):
            self._files[entry.path] = entry
            if isinstance(entry.content, Inline):
                self._write(entry.content.data + bytes(-entry.content.size % BLOCK))

    def _copy(self, entries: list[Entry], mtime: int) -> None:
        """Write the files whose contents lie in layers, each layer read once."""
        wanted: dict[Digest, dict[InLayer, list[File]]] = {}
        for entry in entries:
            if isinstance(entry, File) and isinstance(entry.content, InLayer):
                names = wanted.setdefault(entry.content.blob, {})
                names.setdefault(entry.content, []).append(entry)
        for layer in self._image.manifest.layers:
            contents = wanted.pop(layer.digest, {})
            if not contents:
                continue
            with self._exported.blobs.open(layer.digest) as file:
                tar = _Contents(decompressed(file, layer.media_type), layer.digest, self._cancel)
                for content in sorted(contents, key=lambda item: item.offset):
                    first, *more = contents[content]
                    self._put(first, mtime)
                    tar.copy(content, self._write)
                    for file_entry in more:
                        self._put(HardLink(file_entry.path, first.path), mtime)


class _Contents:
    """A layer's tar, from which contents are copied in the order in which they lie there."""

    def __init__(self, tar: BinaryIO, blob: Digest, cancel: CancelToken) -> None:
        self._tar = tar
        self._blob = blob
        self._cancel = cancel
        self._position = 0

    def copy(self, content: InLayer, write: Write) -> None:
        """Write the content and its padding; raises `MachineError` if it is another by now."""
        for _ in self._pieces(content.offset - self._position):
            pass
        hasher = hashlib.new(content.digest.algorithm)
        for piece in self._pieces(content.size):
            hasher.update(piece)
            write(piece)
        if hasher.hexdigest() != content.digest.hex:
            raise self._changed()
        write(bytes(-content.size % BLOCK))

    def _pieces(self, size: int) -> Iterator[bytes]:
        if size < 0:
            raise self._changed()
        while size:
            self._cancel.check()
            piece = self._tar.read(min(size, _PIECE))
            if not piece:
                raise self._changed()
            size -= len(piece)
            self._position += len(piece)
            yield piece

    def _changed(self) -> MachineError:
        return MachineError(
            f"the blob {self._blob} in the store changed while it was read",
            hint="build again with --no-cache, or with another store",
        )


def _walk(view: View, path: str) -> Iterator[Entry]:
    """All entries but the root, sorted by components."""
    todo = [path]
    while todo:
        here = todo.pop()
        entry = view.entry(here)
        if entry is not None and here:
            yield entry
        todo += [f"{here}/{name}" if here else name for name in reversed(view.names(here))]


def _in_layer(entry: Entry) -> bool:
    return isinstance(entry, File) and isinstance(entry.content, InLayer)
