# SPDX-License-Identifier: Apache-2.0
"""Build contexts from elsewhere as directories: unpacked tars, downloads, checked-out repositories.

`wherry build` reads such contexts without unpacking them, and as with BuildKit no `.dockerignore`
holds there. Tools that unpack first, as kaniko does, mean a directory, with all that holds for one;
for them is this module. What comes from elsewhere is hostile: nothing is written outside of the
directory that is given, and nothing there leads out unnoticed (`inside`).
"""

from __future__ import annotations

import os
import select
import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from wherry.errors import MachineError, UsageError
from wherry.fstree.archive_files import HEAD, ArchiveFiles, is_archive
from wherry.fstree.contents import open_content
from wherry.fstree.tree import Directory, File, Special, Symlink

if TYPE_CHECKING:
    from wherry.api.registries import RegistryAround
    from wherry.fstree.files import Files
    from wherry.fstree.tree import Entry
    from wherry.process.cancel import CancelToken
    from wherry.vcs.git_url import GitSource

_PERMISSIONS: Final = 0o7777
_OWNERS: Final = 0o700
# Milliseconds after which a wait looks whether the build was stopped.
_GLANCE: Final = 100


def unpack_tar(stream: BinaryIO, root: str, scratch: str, cancel: CancelToken) -> None:
    """Unpack the tar in `stream`, compressed or not, into the empty directory `root`.

    `scratch` is a directory for large files on their way. Files belong to the caller and keep mode
    and time; devices and pipes are left out, no step of a Dockerfile could copy them from a
    directory. Raises `UsageError` for what is no tar, damaged, hostile or too large, `MachineError`
    where the disk is full, `Cancelled`.
    """
    buffered = _Peeking(stream, cancel)
    if not is_archive(buffered.head()):
        raise UsageError("the build context is no tar",
                         why="its first bytes are none of a tar, compressed or not",
                         hint="pack it as: tar -C DIR -czf FILE .")  # fmt: skip
    files = ArchiveFiles(buffered, scratch, cancel=cancel)
    try:
        _write(files, root, cancel)
    except OSError as error:
        raise MachineError(
            "cannot unpack the build context",
            why=error.strerror or str(error),
            hint="make room there, or set TMPDIR to another place",
        ) from error


def unpack_url(url: str, root: str, scratch: str, around: RegistryAround) -> None:
    """Download `url`, and go on as `unpack_tar`; raises `NetworkError` besides."""
    from wherry.api.registries import Registries  # noqa: PLC0415 - HTTP is for few contexts
    from wherry.engines.local.http import HttpSource, Wanted  # noqa: PLC0415 - as above
    from wherry.fstree.limits import OPTION, Limits  # noqa: PLC0415 - as above

    with Registries(around, project=False) as registries:
        source = HttpSource(registries.options(), _NoMemo(), lambda _digest: False, Limits().bytes,
                            OPTION, around.cancel, around.sink)  # fmt: skip
        fetched = source.fetch(Wanted(url), scratch)
    if fetched.path is None:
        raise AssertionError("nothing is remembered: the bytes were sent")
    with open(fetched.path, "rb") as stream:
        unpack_tar(stream, root, scratch, around.cancel)
    os.unlink(fetched.path)


def check_out(
    source: GitSource, root: str, scratch: str, around: RegistryAround, authorization: str = ""
) -> str:
    """Check `source` out as `root`, which must not be there yet; gives the commit's id.

    `authorization` is the value of a header for the remote, over https and http. Raises as
    `wherry.vcs.fetch.fetch_tree` does.
    """
    from wherry.vcs.fetch import fetch_tree  # noqa: PLC0415 - git is for few contexts
    from wherry.vcs.git_command import GitAccess  # noqa: PLC0415 - as above

    access = GitAccess(around.env, around.cancel, authorization=authorization)
    checkout = fetch_tree(source, scratch, access)
    os.rename(checkout.root, root)
    return checkout.commit


def inside(root: str, path: str) -> str:
    """The file or directory `path` of the context in `root`, as an absolute path.

    Raises `UsageError` for one that leads out of it, by `..` or by links.
    """
    found = os.path.normpath(os.path.join(root, path.lstrip("/")))
    real, top = os.path.realpath(found), os.path.realpath(root)
    if real != top and not real.startswith(f"{top}/"):
        raise UsageError(f"{path} leads out of the build context",
                         hint="name a path in it")  # fmt: skip
    return found


def _write(files: Files, root: str, cancel: CancelToken) -> None:
    """Write a tree; each directory is made here, so that no link is ever written through."""
    directories: list[tuple[str, Directory]] = []
    inodes: dict[int, str] = {}
    for entry in _entries(files):
        cancel.check()
        place = os.path.join(root, entry.path)
        match entry:
            case Directory():
                os.mkdir(place, _OWNERS)
                directories.append((place, entry))
            case Symlink():
                os.symlink(entry.target, place)
                _date(place, entry.mtime)
            case File() if entry.inode and entry.inode in inodes:
                os.link(inodes[entry.inode], place, follow_symlinks=False)
            case File():
                _write_file(entry, place)
                inodes[entry.inode] = place
    # Last, and the innermost first: a directory may forbid to write into it.
    for place, directory in reversed(directories):
        os.chmod(place, directory.mode & _PERMISSIONS)
        _date(place, directory.mtime)


def _entries(files: Files) -> Iterator[Entry]:
    """All entries below the root but special ones, a directory before what is in it."""
    waiting = [""]
    while waiting:
        above = waiting.pop()
        for name in files.names(above):
            entry = files.entry(f"{above}/{name}" if above else name)
            if entry is None or isinstance(entry, Special):
                continue
            if isinstance(entry, Directory):
                waiting.append(entry.path)
            yield entry


def _write_file(file: File, place: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(place, flags, 0o600)
    with open(descriptor, "wb") as target, open_content(file.content) as content:
        shutil.copyfileobj(content, target)
        os.fchmod(target.fileno(), file.mode & _PERMISSIONS)
    _date(place, file.mtime)


def _date(place: str, mtime: int | None) -> None:
    if mtime is not None:
        os.utime(place, (mtime, mtime), follow_symlinks=False)


class _Peeking:
    """A stream whose beginning can be looked at first; a wait for it ends with `Cancelled`, too."""

    def __init__(self, stream: BinaryIO, cancel: CancelToken) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self._cancel = cancel
        self._first = b""
        self._waiting: select.poll | None = None
        # What has no descriptor is in memory, and not waited for.
        with suppress(AttributeError, OSError, ValueError):
            descriptor = stream.fileno()
            self._waiting = select.poll()
            self._waiting.register(descriptor, select.POLLIN)

    def head(self) -> bytes:
        """The first bytes, which `read` gives again."""
        while len(self._first) < HEAD and (data := self._more(HEAD - len(self._first))):
            self._first += data
        return self._first

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._more(size)

    def _more(self, size: int) -> bytes:
        self._cancel.check()
        while self._waiting is not None and not self._waiting.poll(_GLANCE):
            self._cancel.check()
        data: bytes = self._read(size)
        return data


class _NoMemo:
    """Nothing is remembered of a URL."""

    def load(self, _key: str) -> bytes | None:
        """Nothing."""
        return None

    def save(self, _key: str, _data: bytes) -> None:
        """Forget it."""
