# SPDX-License-Identifier: Apache-2.0
"""Running a FileOp: its actions on the value of a root, the layer of what they changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, assert_never

from wherry.engines.local.files import FileOperation, FileSteps, told
from wherry.engines.local.storage import store_change
from wherry.fstree.archive_files import HEAD, ArchiveFiles, is_archive
from wherry.fstree.contents import open_content
from wherry.fstree.copying import CopySpec, Target
from wherry.fstree.files import Files
from wherry.fstree.layer_index import index_of_tree
from wherry.fstree.missing import NotFound
from wherry.fstree.tree import Entry, File, InLayer, make_tree
from wherry.graph.keys import encode
from wherry.graph.ops import Copy, MakeDirectory, WriteFile
from wherry.oci.canonical import canonical_json
from wherry.oci.digest import sha256

if TYPE_CHECKING:
    from wherry.engines.local.results import Built, Result
    from wherry.process.cancel import CancelToken
    from wherry.solver.model import Step


def change(operation: FileOperation, below: Built, inputs: tuple[Result, ...], step: Step) -> Built:
    """Do what the operation says to the root `below`; the layer that comes of it.

    Raises `UsageError` for what cannot be copied so, `BuildError` for files that change meanwhile,
    `HiddenCache` where something is to go to what was left outside of the root.
    """
    shared = operation.shared
    target = Target(shared.files_of(below), shared.roots.read, has_root=bool(below.stack))
    for action in operation.op.actions:
        step.cancel.check()
        if not isinstance(action, Copy):
            _make(action, target)
            continue
        source = operation.source_of(action, inputs)
        try:
            _copy(action, target, operation.shared.files_of(source), operation.shared, step.cancel)
        except NotFound as error:
            raise told(error, source) from None
    whiteouts = target.whiteouts()
    tree = make_tree(shared.roots.extracted(target.changes()), whiteouts)
    result = store_change(
        shared.storage, tree, shared.times, shared.settings, step.cancel, _name_of(operation, step)
    )
    layer = result.layers[0]
    if not whiteouts:
        times = shared.times
        index = index_of_tree(tree, layer.descriptor, times.default, times.latest)
        shared.roots.remember(layer, index)
    step.remark(f"{len(tree.entries)} files, {tree.size / 1e6:.1f} MB")
    return result


def _name_of(operation: FileOperation, step: Step) -> str:
    """What tells a step from others, whatever it reads and changes."""
    return sha256(canonical_json([step.name, encode(operation.op)])).hex


def _copy(
    action: Copy, target: Target, files: Files, shared: FileSteps, cancel: CancelToken
) -> None:
    target.copy(files, _spec(action), lambda file, _tree: _opened(file, shared, cancel))


def _make(action: WriteFile | MakeDirectory, target: Target) -> None:
    match action:
        case WriteFile():
            target.write_file(
                action.name,
                action.data,
                action.destination,
                owner=action.owner,
                mode=action.mode,
            )
        case MakeDirectory():
            target.make_directory(action.path, action.mode, action.owner)
        case _:
            assert_never(action)


def _opened(file: File, shared: FileSteps, cancel: CancelToken) -> Iterable[Entry] | None:
    """The entries of a file that is an archive, None for one that is not."""
    content = file.content
    if isinstance(content, InLayer):
        (extracted,) = shared.roots.extracted((file,))
        assert isinstance(extracted, File)  # noqa: S101 - it was one
        content = extracted.content
    with open_content(content) as stream:
        if not is_archive(stream.read(HEAD)):
            return None
    with open_content(content) as stream:
        return ArchiveFiles(stream, shared.storage.scratch(), shared.limits, cancel).entries


def _spec(action: Copy) -> CopySpec:
    return CopySpec(
        path=action.path,
        destination=action.destination,
        owner=action.owner,
        mode=action.mode,
        parents=action.parents,
        excludes=action.excludes,
        unpack=action.unpack,
        literal=action.literal,
    )
