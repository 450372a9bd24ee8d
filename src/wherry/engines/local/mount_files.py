# SPDX-License-Identifier: Apache-2.0
"""Cache mounts as archives that travel: their names, and the tree of what lies in one.

Whoever reads a mount holds it as a step would. With `sharing=shared` steps may write to it all the
same: what is read twice and differs is an error, and whoever reads begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from wherry.graph.ops import ExecMount
from wherry.oci.canonical import canonical_json
from wherry.oci.digest import Digest, sha256

if TYPE_CHECKING:
    from wherry.fstree.layer import LayerSink, WrittenLayer
    from wherry.fstree.tree import Entry, Tree
    from wherry.process.cancel import CancelToken
    from wherry.sandbox.exchange import Place
    from wherry.sandbox.namespace import Namespace

_BLOCK = 512


def mount_name(mount: ExecMount) -> str:
    """What tells a cache mount from others wherever it is, but for what it begins with."""
    if mount.mode is None:
        return mount.id
    # As in BuildKit, a cache of another owner or mode is another cache.
    return f"{mount.id}\0{mount.mode:o} {mount.uid}:{mount.gid}"


def stored_name(name: str, place: Place) -> str:
    """What tells it from others in a store."""
    # What belongs to the ids of one mapping is of no use to another.
    return f"{name}\0{place._replace(kind='').name}"


class NewMount(NamedTuple):
    """A cache mount that begins: what tells it from others, and its empty directory."""

    mount: ExecMount
    name: str
    path: str


class MountTree(NamedTuple):
    """What lies in a mount: files, directories and links, and the directory's mode and owner."""

    tree: Tree
    top: tuple[int, int, int]

    @property
    def digest(self) -> Digest:
        """Of names, contents, modes and owners; reads what was not read yet. Raises `OSError`."""
        from wherry.fstree.tree import Tree  # noqa: PLC0415 - only where mounts are exported

        timeless = Tree(tuple(replace(entry, mtime=None) for entry in self.tree.entries))
        return sha256(canonical_json([str(timeless.digest), list(self.top)]))

    @property
    def tar_size(self) -> int:
        """The size of its archive in bytes, uncompressed."""
        from wherry.fstree.tar import content_places  # noqa: PLC0415 - as above

        size = 0
        for entry, _, offset in content_places(self.tree, 0):
            content = _size(entry)
            size = offset + content + -content % _BLOCK
        return size + 2 * _BLOCK

    def write(self, sink: LayerSink, workers: int, cancel: CancelToken) -> WrittenLayer:
        """Write the archive with zstd; raises `BuildError` where a content changed, `OSError`."""
        from wherry.fstree.compression import (  # noqa: PLC0415 - as above
            CompressionKind,
            compression,
        )
        from wherry.fstree.layer import Writing, write_layer  # noqa: PLC0415 - as above

        writing = Writing(compression(CompressionKind.ZSTD), workers)
        return write_layer(self.tree, sink, 0, writing, cancel)


@contextmanager
def mount_tree(namespace: Namespace, path: str) -> Iterator[MountTree]:
    """The tree of the mount whose directory is `path`; its contents can be read in the block.

    Devices, pipes and sockets are not in it. Raises `MachineError` where something goes meanwhile,
    `UsageError` for a name that no layer holds.
    """
    from wherry.engines.local.snapshot_files import read_directory  # noqa: PLC0415 - as above
    from wherry.fstree.tree import Special, make_tree  # noqa: PLC0415 - as above

    place = path.removesuffix("/fs")
    with read_directory(namespace, place) as index:
        entries = [entry for entry in index.entries if not isinstance(entry, Special)]
        yield MountTree(make_tree(entries), namespace.status(path))


def _size(entry: Entry) -> int:
    from wherry.fstree.tree import File  # noqa: PLC0415 - as above

    return entry.content.size if isinstance(entry, File) else 0
