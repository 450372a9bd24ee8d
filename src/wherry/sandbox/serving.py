# SPDX-License-Identifier: Apache-2.0
"""What the namespace worker does for each request, in the request's own thread."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from wherry.errors import MachineError, UsageError
from wherry.fstree.limits import Limits
from wherry.fstree.removal import remove_tree
from wherry.oci.digest import parse_digest
from wherry.oci.image import Layer, parse_descriptor
from wherry.process.cancel import CancelToken
from wherry.sandbox.exchange import Message
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.rootpath import resolve
from wherry.sandbox.scanning import open_directory, scan_snapshot
from wherry.sandbox.step_spec import StepSpec, Surroundings
from wherry.sandbox.tree_copy import copy_tree
from wherry.sandbox.trees import Trees

Fields = dict[str, Any]
_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Serving:
    """Answers requests; safe for threads."""

    def __init__(self, surroundings: Surroundings, trees: Trees) -> None:
        self._surroundings = surroundings
        self._trees = trees
        self._kinds: dict[str, Callable[[Fields, tuple[int, ...], CancelToken], Fields | Message]]
        self._kinds = {
            "unpack": self._unpack,
            "execute": self._execute,
            "scan": self._scan,
            "copy_out": self._copy_out,
            "make_directory": self._make_directory,
            "fill_mount": self._fill_mount,
            "status": self._status,
            "remove": self._remove,
        }

    def serve(
        self, kind: str, fields: Fields, descriptors: tuple[int, ...], cancel: CancelToken
    ) -> Fields | Message:
        """The answer's fields, or a message where descriptors go along; raises what failed."""
        return self._kinds[kind](fields, descriptors, cancel)

    def _unpack(self, fields: Fields, descriptors: tuple[int, ...], cancel: CancelToken) -> Fields:
        # Late: these take their time to load.
        from wherry.fstree.layer_index import PassingIndex, encode_index  # noqa: PLC0415
        from wherry.fstree.unpack import Extras, Ownership, unpack_blob  # noqa: PLC0415

        lowers, staged = tuple(fields["lowers"]), fields["staged"]
        layer = Layer(parse_descriptor(fields["layer"]), parse_digest(fields["diff_id"]))
        is_one = self._surroundings.mapping is Mapping.ONE
        owner = Ownership.IGNORE if is_one else Ownership.KEEP
        limits = fields["limits"]
        passing = PassingIndex(layer.descriptor, Limits(*limits)) if limits else None
        with (
            open(descriptors[0], "rb", closefd=False) as blob,
            self._trees.root(lowers, staged) as root,
        ):
            extras = Extras(nodes=True, passing=passing)
            skipped = unpack_blob(blob, layer, root, owner, cancel=cancel, extras=extras)
        index = passing.index() if passing is not None else None
        if index is not None:
            with open(descriptors[1], "wb", closefd=False) as file:
                file.write(encode_index(index))
        change = self._trees.measure(lowers, staged)
        return {"size": change.size, "skipped": [f"/{item.path}: {item.why}" for item in skipped]}

    def _execute(self, fields: Fields, descriptors: tuple[int, ...], cancel: CancelToken) -> Fields:
        from wherry.sandbox.step import run_step  # noqa: PLC0415 - only builds with RUN need it

        stdin, stdout, stderr = descriptors
        spec = StepSpec.parse(fields["step"])
        lowers, staged = tuple(fields["lowers"]), fields["staged"]
        try:
            done = run_step(
                self._surroundings, lowers, staged, spec, (stdin, stdout, stderr), cancel
            )
        finally:
            self._trees.forget(staged)
        return done._asdict()

    def _scan(self, fields: Fields, descriptors: tuple[int, ...], _cancel: CancelToken) -> Fields:
        overlay = self._trees.overlay
        opaque = "" if overlay is None else f"{overlay.mark}opaque"
        rows = scan_snapshot(fields["snapshot"], opaque)
        # Whoever asked may have heard enough.
        with suppress(BrokenPipeError), open(descriptors[0], "wb", closefd=False) as file:
            file.writelines(row.as_line() for row in rows)
        return {}

    def open(self, fields: Fields) -> Message:
        """Open a regular file of a snapshot, in any thread.

        Raises `UsageError` for anything else, `OSError`.
        """
        *parents, name = fields["path"].split("/")
        here = os.open(os.path.join(fields["snapshot"], "fs"), os.O_PATH | os.O_DIRECTORY)
        try:
            for part in parents:
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
                inner = os.open(part, flags, dir_fd=here)
                os.close(here)
                here = inner
            descriptor = os.open(name, _PLAIN, dir_fd=here)
        finally:
            os.close(here)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UsageError(f"/{fields['path']} is no regular file")
        return Message(0, "done", {}, (descriptor,))

    def _copy_out(self, fields: Fields, _files: tuple[int, ...], _cancel: CancelToken) -> Fields:
        target = fields["target"]
        with self._trees.tree(tuple(fields["lowers"]), writable=False) as root:
            real = resolve(root, fields["selector"])
            if not os.path.isdir(real):
                raise UsageError(
                    f"cannot begin a cache mount with {fields['selector']}",
                    why="the stage or image holds no such directory",
                )
            copy_tree(real, target)
        return self._make_directory(fields, _files, _cancel)

    def _make_directory(
        self, fields: Fields, _files: tuple[int, ...], _cancel: CancelToken
    ) -> Fields:
        os.makedirs(fields["target"], exist_ok=True)
        with open_directory(fields["target"]) as descriptor:
            _give(descriptor, fields["uid"], fields["gid"])
            os.chmod(descriptor, fields["mode"])
        return {}

    def _fill_mount(
        self, fields: Fields, descriptors: tuple[int, ...], cancel: CancelToken
    ) -> Fields:
        from wherry.fstree.unpack import Ownership  # noqa: PLC0415 - as for `_unpack`
        from wherry.sandbox.mount_archives import (  # noqa: PLC0415 - few builds have any
            MountArchive,
            unpack_mount,
        )

        is_one = self._surroundings.mapping is Mapping.ONE
        owner = Ownership.IGNORE if is_one else Ownership.KEEP
        with open(descriptors[0], "rb", closefd=False) as blob:
            archive = MountArchive.parse(fields)
            skipped = unpack_mount(blob, archive, fields["target"], owner, cancel)
        if is_one:
            fields = {**fields, "uid": 0, "gid": 0}
        self._make_directory(fields, descriptors, cancel)
        return {"skipped": skipped}

    def _status(self, fields: Fields, _files: tuple[int, ...], _cancel: CancelToken) -> Fields:
        from wherry.sandbox.mount_archives import status_of  # noqa: PLC0415 - as above

        mode, uid, gid = status_of(fields["path"])
        return {"mode": mode, "uid": uid, "gid": gid}

    def _remove(self, fields: Fields, _files: tuple[int, ...], _cancel: CancelToken) -> Fields:
        for path in fields["paths"]:
            remove_tree(path)
        return {}


def _give(directory: int, uid: int, gid: int) -> None:
    try:
        os.chown(directory, uid, gid)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        raise MachineError(
            f"cannot give a cache mount to {uid}:{gid}",
            why=f"{error.strerror}: only mapped ids can own files",
            hint="`wherry doctor` tells how to get subordinate id ranges",
        ) from error
