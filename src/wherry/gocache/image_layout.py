# SPDX-License-Identifier: Apache-2.0
"""Reading a cache directory: an OCI image layout (OCI image specification 1.1, image-layout.md).

    oci-layout, index.json     the layout; index.json names one manifest, with `REF`
    blobs/sha256/HEX           manifest, index and the blobs that the manifest names
    .wherry-lock               held by flock(2) while index.json is being replaced; marks our own
    .wherry-staging-RANDOM/    blobs that one exporter has put and not named yet (`staging`)

The directory may have come from anywhere: below it no symbolic link is followed, names of blobs are
checked digests, and what is no regular file is not opened. The user may reach it by a link.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

from wherry.errors import MachineError, NetworkError, UsageError
from wherry.gocache.agreeing import Seen
from wherry.gocache.manifest import ARTIFACT_TYPE, PackSet, damaged, read_pack_set
from wherry.gocache.places import Damaged
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import sha256
from wherry.oci.image import INDEX, MANIFEST, Descriptor
from wherry.oci.media import is_manifest
from wherry.registry.documents import parse_index
from wherry.registry.model import MANIFEST_LIMIT, RawManifest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LOCK: Final = ".wherry-lock"
STAGING: Final = ".wherry-staging-"
REF: Final = "gocache"
REF_NAME: Final = "org.opencontainers.image.ref.name"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_LONGEST_LAYOUT: Final = 1000
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe or device in place of a blob is opened without waiting, and then refused.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# A link, a device without a driver, a directory and its like.
_NO_BLOB: Final = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EINVAL, errno.EISDIR)
_BUFFER: Final = 1 << 20
# What may lie in a directory that is to become a cache.
_EMPTY: Final = frozenset(("lost+found",))


@contextmanager
def explained(name: str, verb: str) -> Iterator[None]:
    """Turn an `OSError` inside the block into a `MachineError`; `verb` is `read` or `write`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "make room on that disk, or name another directory"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = f"name a directory that you may {verb}"
        else:
            hint = "name another directory"
        raise MachineError(f"cannot {verb} the cache {name}", why=error.strerror or str(error),
                           hint=hint) from error  # fmt: skip


def open_root(path: str, name: str) -> int | None:
    """A descriptor of the directory, None where there is none; `UsageError` where it is a file."""
    try:
        return os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise UsageError(f"the cache {name} is no directory", why="something else has that name",
                         hint="name a directory of its own") from None  # fmt: skip


def open_below(root: int, *names: str) -> int | None:
    """A descriptor of a directory below `root`, None where there is none; no link is followed."""
    found = os.dup(root)
    for name in names:
        try:
            inner = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=found)
        except FileNotFoundError:
            return None
        finally:
            os.close(found)
        found = inner
    return found


def open_file(directory: int, name: str) -> io.FileIO | None:
    """A regular file, None where there is none; `OSError` for a link and for anything else."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=directory)
    except FileNotFoundError:
        return None
    file = io.FileIO(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EINVAL, f"{name} is no regular file")
    return file


def read_file(directory: int, name: str, limit: int) -> bytes | None:
    """The bytes of a file, None where there is none; one more than `limit` if it is longer."""
    file = open_file(directory, name)
    if file is None:
        return None
    with io.BufferedReader(file) as reader:
        return reader.read(limit + 1)


def has_blob(root: int, blob: Descriptor) -> bool:
    """Whether there is a file of that name and size; its bytes are not read."""
    found = _open_blob(root, blob)
    if found is None:
        return False
    with found:
        return os.fstat(found.fileno()).st_size == blob.size


def open_blob(root: int, blob: Descriptor, name: str) -> BinaryIO:
    """The blob's bytes, verified: the last ones come only if all are right; else `Damaged`."""
    file = _open_blob(root, blob)
    if file is None:
        raise damaged(name, f"it lacks the blob {blob.digest}, or another export has removed it")
    try:
        return io.BufferedReader(_VerifiedFile(file, blob, name), _BUFFER)
    except BaseException:
        file.close()
        raise


def _open_blob(root: int, blob: Descriptor) -> io.FileIO | None:
    if blob.digest.algorithm != "sha256":
        return None
    directory = open_below(root, "blobs", "sha256")
    if directory is None:
        return None
    try:
        return open_file(directory, blob.digest.hex)
    except OSError as error:
        if error.errno in _NO_BLOB:
            return None
        raise
    finally:
        os.close(directory)


class _VerifiedFile(io.RawIOBase):
    """A blob's file; used by one thread."""

    def __init__(self, file: io.FileIO, blob: Descriptor, name: str) -> None:
        super().__init__()
        self._file = file
        self._blob = blob
        self._name = name
        self._hash = hashlib.sha256()
        self._position = 0
        size = os.fstat(file.fileno()).st_size
        if size != blob.size:
            raise self._wrong(f"has {size} bytes; there should be {blob.size}")
        self._check_end()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """The next bytes: their number, 0 at the end."""
        view = memoryview(buffer).cast("B")[: self._blob.size - self._position]
        if not view:
            return 0
        with explained(self._name, "read"):
            count = self._file.readinto(view) or 0
        if not count:
            raise self._wrong(f"ends after {self._position} bytes; there should be "
                              f"{self._blob.size}")  # fmt: skip
        self._hash.update(view[:count])
        self._position += count
        self._check_end()
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _check_end(self) -> None:
        if self._position == self._blob.size and self._hash.hexdigest() != self._blob.digest.hex:
            raise self._wrong("does not have that digest")

    def _wrong(self, what: str) -> Damaged:
        return damaged(self._name, f"the blob {self._blob.digest} {what}")


# --- what the directory holds -----------------------------------------------------------------


def look(root: int, name: str) -> Seen:
    """What index.json names; raises `UsageError` where that is no cache, `Damaged`."""
    pack_set = named_pack_set(root, name)
    if pack_set is None:
        return Seen()
    with open_blob(root, pack_set.index, name) as stream:
        found = pack_set.found(stream.read())
    return Seen(found.digest, found)


def named_pack_set(root: int, name: str) -> PackSet | None:
    """The pack set that index.json names, None where there is none; raises as `look`."""
    entry = named_manifest(root, name)
    if entry is None:
        return None
    if not 0 < entry.size <= MANIFEST_LIMIT:
        raise damaged(name, f"its manifest has {entry.size} bytes, more than {MANIFEST_LIMIT}")
    with open_blob(root, entry, name) as stream:
        data = stream.read()
    try:
        return read_pack_set(RawManifest(entry, data), name)
    except Damaged:
        raise
    except NetworkError as error:
        raise damaged(name, error.why) from error


def named_manifest(root: int, name: str) -> Descriptor | None:
    """The entry of index.json that is a cache's, or that may be one."""
    entries = _entries(root, name)
    if not entries:
        return None
    ours = [entry for entry in entries if entry.artifact_type == ARTIFACT_TYPE]
    ours.sort(key=lambda entry: dict(entry.annotations).get(REF_NAME) != REF)
    # Tools that copy artifacts may leave out what kind the manifest is of.
    maybe = [entry for entry in entries if is_manifest(entry.media_type)]
    return (*ours, *maybe, *entries)[0]


def _entries(root: int, name: str) -> tuple[Descriptor, ...]:
    data = read_file(root, "index.json", MANIFEST_LIMIT)
    if data is None:
        return ()
    if len(data) > MANIFEST_LIMIT:
        raise damaged(name, f"its index.json has more than {MANIFEST_LIMIT} bytes")
    raw = RawManifest(Descriptor(INDEX, sha256(data), len(data)), data)
    try:
        return parse_index(raw, f"{name}/index.json")
    except NetworkError as error:
        raise damaged(name, f"its index.json cannot be used: {error.why}") from error


def check_reading(root: int, name: str) -> None:
    """Raise `UsageError` where the directory holds something, and no layout."""
    if holds_others(os.listdir(root)):
        _refuse(name, "it holds other files and no cache")


def holds_others(names: Collection[str]) -> bool:
    """Whether a directory with these names holds something that is no layout."""
    return "index.json" not in names and LOCK not in names and bool(_visible(set(names)))


def check_writing(root: int, name: str) -> None:
    """Raise `UsageError` where writing a cache here could cost somebody else's files.

    An empty directory will do (hidden files do not count), and a layout with nothing but a cache.
    """
    check_reading(root, name)
    _check_version(root, name)
    try:
        entries = _entries(root, name)
        if len(entries) == 1 and entries[0].artifact_type != ARTIFACT_TYPE:
            named_pack_set(root, name)
            return
    except Damaged as error:
        if not _is_there(root, LOCK):
            _refuse(name, f"it is not known to be a cache: {error.why}", error)
        return
    if any(entry.artifact_type != ARTIFACT_TYPE for entry in entries):
        _refuse(name, "it holds other images, too")


def _check_version(root: int, name: str) -> None:
    data = read_file(root, "oci-layout", _LONGEST_LAYOUT)
    if data is None:
        return
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    version = value.get("imageLayoutVersion") if isinstance(value, dict) else None
    if version != "1.0.0":
        _refuse(name, "its oci-layout is of another version than 1.0.0")


def _visible(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith(".")} - _EMPTY


def _is_there(root: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _refuse(name: str, why: str, cause: BaseException | None = None) -> NoReturn:
    raise UsageError(f"the directory {name} is not for a cache", why=why,
                     hint="name a new directory, or an empty one") from cause  # fmt: skip


def index_json(manifest: Descriptor) -> bytes:
    """The bytes of an index.json that names one pack set."""
    named = Descriptor(
        MANIFEST,
        manifest.digest,
        manifest.size,
        ((REF_NAME, REF),),
        artifact_type=ARTIFACT_TYPE,
    )
    entries: list[Json] = [named.as_json()]
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
