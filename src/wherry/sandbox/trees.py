# SPDX-License-Identifier: Apache-2.0
"""Root trees made of snapshots, mounted in the worker's own mount namespace.

Kind `overlay`: the snapshots' `fs` are the lower directories of an overlayfs mount, and what is
written lands in the `fs` of the staged one. Kind `whole`: each `fs` is a tree of its own, copied
from its parent's, for file systems and kernels that refuse overlay. Redirects and metadata-only
copies are off, so that `fs` says by itself what a slab changes. No mount is ever synced to the
disk when it goes (`volatile`): half-written snapshots are found otherwise.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from wherry.fstree.removal import remove_tree
from wherry.sandbox import syscalls
from wherry.sandbox.own_mounts import bind_tree
from wherry.sandbox.request import RunError
from wherry.sandbox.settling import settle_overlay, settle_whole
from wherry.sandbox.step_spec import Change
from wherry.sandbox.tree_copy import Copied, copy_tree, next_change

_OPTIONS: Final = "redirect_dir=nofollow,metacopy=off,index=off,xino=off"
# mount(2) takes one page of options, whatever the machine's page size.
_LONGEST: Final = 4095
_SEALING_TRIES: Final = 20
_SEALING_SECONDS: Final = 0.1
_SPECIAL: Final = str.maketrans({"\\": "\\\\", ",": "\\,", ":": "\\:"})


class Overlay:
    """overlayfs as this kernel grants it; `user` says that attributes are the user's own."""

    def __init__(self, *, user: bool, volatile: bool = True) -> None:
        self.mark = "user.overlay." if user else "trusted.overlay."
        self._writable = ",volatile" if volatile else ""
        self._always = f"{_OPTIONS},userxattr" if user else _OPTIONS

    def mount(self, target: str, lowers: tuple[str, ...], upper: str = "") -> None:
        """Mount the `fs` of `lowers`, lowest first, below that of `upper` unless it is empty.

        Read-only without `upper`. Raises `OSError`.
        """
        # One page holds 120 names only if they are short.
        base = os.path.dirname(lowers[-1])
        names = (os.path.relpath(path, base).translate(_SPECIAL) for path in reversed(lowers))
        data = f"{self._always},lowerdir={':'.join(f'{name}/fs' for name in names)}"
        with syscalls.inside(base):
            if not upper:
                self._mount(target, data, syscalls.MS_RDONLY)
                return
            descriptor = os.open(upper, os.O_PATH | os.O_DIRECTORY)
            try:
                here = f"/proc/self/fd/{descriptor}"
                data += f",upperdir={here}/fs,workdir={here}/work{self._writable}"
                self._mount(target, data, 0)
            finally:
                os.close(descriptor)

    def _mount(self, target: str, data: str, flags: int) -> None:
        if len(os.fsencode(data)) > _LONGEST:
            raise OSError(errno.E2BIG, "too many layers for one overlay mount")
        syscalls.mount("overlay", target, "overlay", flags | syscalls.MS_NODEV, data)


def probe_overlay(scratch: str, *, user: bool) -> Overlay | None:
    """overlayfs on the file system of the directory `scratch`, tried; None where it is refused."""
    for volatile in (True, False):
        overlay = Overlay(user=user, volatile=volatile)
        with suppress(OSError):
            _try_overlay(overlay, os.path.join(scratch, "probe"))
            return overlay
    return None


def _try_overlay(overlay: Overlay, place: str) -> None:
    lower, upper, target = (os.path.join(place, name) for name in ("lower", "upper", "root"))
    try:
        for path in (f"{lower}/fs/directory", f"{upper}/fs", f"{upper}/work", target):
            os.makedirs(path)
        for name in ("changed", "removed"):
            with open(f"{lower}/fs/{name}", "xb"):
                pass
        overlay.mount(target, (lower,), upper)
        try:
            os.chmod(f"{target}/changed", 0o600)
            os.unlink(f"{target}/removed")
            os.rmdir(f"{target}/directory")
            os.mkdir(f"{target}/directory")
        finally:
            syscalls.unmount(target)
        if os.getxattr(f"{upper}/fs/directory", f"{overlay.mark}opaque") != b"y":
            raise OSError(errno.EOPNOTSUPP, "no opaque directories")
    finally:
        remove_tree(place)


class Trees:
    """The worker's roots; safe for threads, each of which has a mount namespace of its own.

    `memory` is a directory on a tmpfs, `scratch` one on the store's file system. `overlay` is None
    where trees are copied. All methods raise `OSError`.
    """

    def __init__(self, overlay: Overlay | None, memory: str, scratch: str) -> None:
        self.overlay = overlay
        self._memory = memory
        self._scratch = scratch
        self._numbers = itertools.count()
        self._copies: dict[str, Copied] = {}
        self._empty = os.path.join(memory, "empty")
        os.makedirs(os.path.join(self._empty, "fs"), 0o755)

    @property
    def opaque(self) -> str:
        """The attribute of directories that hide what lower ones hold; empty without overlay."""
        return "" if self.overlay is None else f"{self.overlay.mark}opaque"

    @contextmanager
    def root(self, lowers: tuple[str, ...], staged: str) -> Iterator[str]:
        """A writable root on `lowers`; what is written becomes `staged`/fs."""
        top = os.path.join(staged, "fs")
        if self.overlay is None and lowers:
            os.mkdir(top, 0o700)
            directories = copy_tree(os.path.join(lowers[-1], "fs"), top)
            self._copies[staged] = Copied(next_change(self._scratch), directories)
        else:
            _make_top(top, lowers)
        with self._mount_point() as point:
            if self.overlay is None or not lowers:
                bind_tree(top, point, syscalls.MS_NODEV)
                yield point
                return
            work = os.path.join(staged, "work")
            os.mkdir(work, 0o700)
            try:
                self.overlay.mount(point, lowers, staged)
                yield point
                _seal(point)
                syscalls.unmount(point)
            finally:
                # Mounted still after an error; its directories can be removed all the same.
                remove_tree(work)

    @contextmanager
    def tree(self, lowers: tuple[str, ...], *, writable: bool) -> Iterator[str]:
        """The root made of `lowers` (none: an empty tree); what is written there is lost."""
        if writable:
            with self._scratch_directory() as staged, self.root(lowers, staged) as point:
                yield point
            return
        with self._mount_point() as point:
            if self.overlay is not None and len(lowers) > 1:
                self.overlay.mount(point, lowers)
            else:
                top = os.path.join(lowers[-1] if lowers else self._empty, "fs")
                bind_tree(top, point, syscalls.MS_NODEV | syscalls.MS_RDONLY)
            yield point

    def measure(
        self, lowers: tuple[str, ...], staged: str, closed: Callable[[str], bool] | None = None
    ) -> Change:
        """Make `staged` exactly what was changed; asked once, after its root was left.

        What was copied up or touched and is as it was before leaves the change. Of new directories
        that are `closed`, by their paths, nothing of what lower ones may hold later is to be seen.
        """
        top = os.path.join(staged, "fs")
        if self.overlay is not None:
            with self.tree(lowers, writable=False) as below:
                return settle_overlay(top, below, f"{self.overlay.mark}opaque", closed)
        below = os.path.join(lowers[-1] if lowers else self._empty, "fs")
        copied = self._copies.pop(staged, Copied(-1, {}))
        return settle_whole(top, below, copied, os.path.join(staged, "changes"))

    def forget(self, staged: str) -> None:
        """The change in `staged` will not be measured."""
        self._copies.pop(staged, None)

    @contextmanager
    def _mount_point(self) -> Iterator[str]:
        point = os.path.join(self._memory, f"root-{next(self._numbers)}")
        os.mkdir(point, 0o755)
        try:
            yield point
        finally:
            # Where nothing is mounted (any more) the kernel says so.
            with suppress(OSError):
                syscalls.unmount(point)
            os.rmdir(point)

    @contextmanager
    def _scratch_directory(self) -> Iterator[str]:
        staged = os.path.join(self._scratch, f"lost-{next(self._numbers)}")
        os.mkdir(staged, 0o700)
        try:
            yield staged
        finally:
            self.forget(staged)
            remove_tree(staged)


def _seal(point: str) -> None:
    """End all writing to the overlay at `point`, whoever still has descriptors of its files.

    A step may have sent some to another one (unix(7), SCM_RIGHTS), which then could change what
    keys and layers were made of. Raises `RunError` where one stays open for writing.
    """
    for _ in range(_SEALING_TRIES):
        try:
            syscalls.mount("none", point, flags=syscalls.MS_REMOUNT | syscalls.MS_RDONLY)
        except OSError as error:
            if error.errno != errno.EBUSY:
                # Refused altogether: then no step here is better or worse than without it.
                return
        else:
            return
        # The kernel lets go of loop devices and of sockets' queues a little later.
        time.sleep(_SEALING_SECONDS)
    raise RunError(
        "what the step wrote is not final",
        why="a process that is no part of the step has its files open for writing",
    )


def _make_top(top: str, lowers: tuple[str, ...]) -> None:
    """The directory of a change; as in containerd its owner is the parent's, its mode is not."""
    os.mkdir(top, 0o755)
    if lowers:
        parent = os.stat(os.path.join(lowers[-1], "fs"))
        os.chown(top, parent.st_uid, parent.st_gid)
        os.utime(top, ns=(parent.st_mtime_ns, parent.st_mtime_ns))
