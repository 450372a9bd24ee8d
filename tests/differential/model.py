# SPDX-License-Identifier: Apache-2.0
"""A case: a Dockerfile, the files around it and the options of one build, all as data.

Texts may name the servers of the world as `%REGISTRY%`, `%HTTP%`, `%HTTPS%` and `%GIT%`; these
stand for `127.0.0.1:PORT`, and the answers of both builders are written with them again. `%CASE%`
is another word in each run of each case, for what BuildKit would remember of another.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import zstandard

EPOCH = 1_500_000_000  # the modification time of every member of an archive


class File(NamedTuple):
    """A regular file; `xattrs` are pairs of name and value."""

    content: str | bytes = ""
    mode: int = 0o644
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Dir(NamedTuple):
    """A directory; the ones above a file need no `Dir` of their own, they are 0755."""

    mode: int = 0o755
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Link(NamedTuple):
    """A symbolic link."""

    target: str


class Hard(NamedTuple):
    """One more name of the file `target`, a path from the root of the context."""

    target: str


class Fifo(NamedTuple):
    """A named pipe."""

    mode: int = 0o644


class Tar(NamedTuple):
    """A tar archive of `members` (see `tar_bytes`), kept as `pack` says, cut at `cut` bytes."""

    members: tuple[tuple[str, object], ...]
    pack: str = ""  # "", gz, bz2, xz, zst
    cut: int | None = None
    mode: int = 0o644


Node = str | bytes | File | Dir | Link | Hard | Fifo | Tar
Files = Mapping[str, Node]


class Member(NamedTuple):
    """A member of an archive with all that a tar header can say; `kind` as in `tarfile`."""

    kind: bytes = tarfile.REGTYPE
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    uname: str = ""


def directory(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Member:
    return Member(tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid)


def regular(content: str | bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Member:
    data = content.encode() if isinstance(content, str) else content
    return Member(tarfile.REGTYPE, data, mode, uid, gid)


def symlink(target: str, uid: int = 0, gid: int = 0) -> Member:
    return Member(tarfile.SYMTYPE, mode=0o777, uid=uid, gid=gid, target=target)


def hard_link(target: str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Member:
    """Mode and owner are to be the target's: applying a link sets them."""
    return Member(tarfile.LNKTYPE, mode=mode, uid=uid, gid=gid, target=target)


def tar_bytes(members: tuple[tuple[str, Member], ...]) -> bytes:
    """The archive, in PAX format."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, member in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname = member.kind, member.mode, member.target
            info.uid, info.gid, info.uname = member.uid, member.gid, member.uname
            info.devmajor, info.devminor = member.device
            info.mtime, info.size = EPOCH, len(member.content)
            info.pax_headers = {
                f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
                for key, value in member.xattrs
            }
            archive.addfile(info, io.BytesIO(member.content))
    return made.getvalue()


def packed(data: bytes, pack: str) -> bytes:
    """The bytes compressed as `pack` names it, the same at every call."""
    if pack == "gz":
        return gzip.compress(data, 6, mtime=0)
    if pack == "bz2":
        return bz2.compress(data)
    if pack == "xz":
        return lzma.compress(data)
    if pack == "zst":
        return zstandard.ZstdCompressor().compress(data)
    return data


_NONE: Mapping[str, Any] = MappingProxyType({})


class Meant(NamedTuple):
    """A difference that is meant: why, and a pattern that every line of it has to match."""

    why: str
    lines: str = "^refusal: BuildKit builds an image, wherry refuses"


class Around(NamedTuple):
    """What one build gives its RUN steps; `ssh` names agents, each with the world's key.

    `ca` is wherry's alone: `--ca` with the certificate of %HTTPS%. BuildKit gets the same file as
    the secret `ca`, which wherry does not have.
    """

    secrets: Mapping[str, str | bytes] = _NONE
    secret_env: Mapping[str, str] = _NONE
    ssh: tuple[str, ...] = ()
    network: str = ""
    allow: tuple[str, ...] = ()
    hosts: Mapping[str, str] = _NONE
    shm: int = 0  # bytes
    ulimits: tuple[str, ...] = ()  # NAME=SOFT:HARD
    ca: bool = False
    no_cache: str | None = None  # "" for everything, else a stage


class Case(NamedTuple):
    """One build; `refused` says that BuildKit builds no image of it."""

    name: str
    dockerfile: str | bytes
    files: Files = _NONE
    refused: bool = False
    args: Mapping[str, str] = _NONE
    labels: Mapping[str, str] = _NONE
    target: str = ""
    platform: str = ""
    # name: files of a directory, or a text as `docker-image://...` or `oci-layout://BASE`
    contexts: Mapping[str, Files | str] = _NONE
    file: str = "Dockerfile"  # where in the context it lies
    topic: str = ""
    sample: bool = False  # compared with a live BuildKit at each `make test`
    meant: Meant | None = None  # in what wherry's answer differs, where it shall
    as_user: Meant | None = None  # the same for wherry as an ordinary user, where that is another
    around: Around = Around()

    @property
    def runs(self) -> bool:
        """Whether some line is a RUN, or the base's trigger may be one."""
        text = put_names(self.dockerfile, {})
        return re.search(rb"(?mi)^\s*(onbuild\s+)?run\b|/onbuild-run", text) is not None

    @property
    def key(self) -> str:
        """A digest of all that the answer depends on but the bases."""
        facts = self._replace(topic="", sample=False, meant=None, as_user=None, refused=False)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    @property
    def time(self) -> int:
        """The modification time of its files, in seconds, another for each case.

        BuildKit knows files of earlier contexts again by path, size and this time.
        """
        return EPOCH + int(self.key, 16) % 100_000_000


class Build(NamedTuple):
    """One build of a sequence: what it changes of what the one before had, and what runs again.

    `ran` has the beginnings of the steps that BuildKit runs and does not take from its cache.
    """

    ran: tuple[str, ...]
    dockerfile: str = ""
    files: Files = _NONE  # written anew
    gone: tuple[str, ...] = ()
    args: Mapping[str, str] = _NONE  # all of this build's
    target: str = ""
    around: Around = Around()
    later: bool = False  # all files have another modification time


class Sequence(NamedTuple):
    """Builds one after another in one place.

    `meant` says why wherry runs other steps than BuildKit, and names them: lines as the table's.
    """

    name: str
    builds: tuple[Build, ...]
    topic: str = ""
    sample: bool = False
    meant: Meant | None = None
    as_user: Meant | None = None
    same_images: bool = True  # the images are compared too: no step gives anything of its own

    @property
    def runs(self) -> bool:
        return True


def write_files(
    root: Path,
    files: Files,
    names: Mapping[str, str],
    time: int,
    owner: tuple[int, int] | None = None,
) -> None:
    """Lay the files down below `root`; `names` are put in for `%NAME%` in texts."""
    root.mkdir(parents=True, exist_ok=True)
    modes: list[tuple[Path, int]] = []
    for name, node in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(node, str | bytes):
            node = File(node)
        _write(root, path, node, names, owner)
        if not isinstance(node, Link | Hard):
            modes.append((path, node.mode))
    if owner is not None:
        for path in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            os.chown(path, *owner, follow_symlinks=False)
    for path, mode in reversed(modes):  # after their children: a directory may be closed
        path.chmod(mode)
    for path in [root, *root.rglob("*")]:
        os.utime(path, (time, time), follow_symlinks=False)


def _write(
    root: Path, path: Path, node: object, names: Mapping[str, str], owner: tuple[int, int] | None
) -> None:
    match node:
        case Dir():
            path.mkdir(exist_ok=True)
        case Link():
            path.symlink_to(node.target)
        case Hard():
            path.hardlink_to(root / node.target)
        case Fifo():
            os.mkfifo(path)
        case Tar():
            data = packed(tar_bytes(node.members), node.pack)  # type: ignore[arg-type]
            path.write_bytes(data[: node.cut])
        case File():
            path.write_bytes(put_names(node.content, names))
    if owner is not None:  # before modes and attributes, which a new owner takes away
        os.chown(path, *owner, follow_symlinks=False)
    for key, value in getattr(node, "xattrs", ()):
        os.setxattr(path, key, value)


def put_names(text: str | bytes, names: Mapping[str, str]) -> bytes:
    """The text with the world's names in it."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    for name, value in names.items():
        data = data.replace(f"%{name}%".encode(), value.encode())
    return data
