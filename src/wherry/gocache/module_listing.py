# SPDX-License-Identifier: Apache-2.0
"""A listing: all files of a module with their sha256, which together give its hash in go.sum.

A pruned module cannot be compared with go.sum, as the hash is one of all files. Its listing can:
where the listing's hash is the one in go.sum, a file whose sha256 the listing names is the author's
own, and a name that it has not got is no file of the module's. Listings travel with the files.

Bytes: `wherry module listing 1\n`, the names sorted by their bytes, each with `\n` behind it, an
empty line, then the sha256 of each as 32 bytes.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from wherry.gocache.module_names import ModuleVersion
from wherry.gocache.table import BadPack
from wherry.golang.go_sum import hash_files

if TYPE_CHECKING:
    from wherry.process.cancel import CancelToken

_HEAD = b"wherry module listing 1\n"
LISTING_LIMIT = 16 << 20
_MOST_FILES = 500_000
_PIECE = 256


class Listing(NamedTuple):
    """The files of a module by their names, relative to its root, with their sha256 as hex."""

    files: dict[str, str]

    def sum(self, module: ModuleVersion) -> str:
        """The module's hash as go.sum has it."""
        return hash_files((f"{module}/{name}", digest) for name, digest in self.files.items())

    def directories(self) -> dict[str, list[str]]:
        """The names of the files directly in each directory; the root is the empty text."""
        found: dict[str, list[str]] = {}
        for path in self.files:
            directory, _, name = path.rpartition("/")
            found.setdefault(directory, []).append(name)
        return found


def encode_listing(listing: Listing) -> bytes:
    """The bytes of a listing."""
    pairs = sorted((os.fsencode(name), digest) for name, digest in listing.files.items())
    names = b"".join(name + b"\n" for name, _ in pairs)
    return b"".join((_HEAD, names, b"\n", *(bytes.fromhex(digest) for _, digest in pairs)))


def read_listing(data: bytes) -> Listing:
    """A listing from its bytes; raises `BadPack` for everything that is not one."""
    head, names, digests = data[: len(_HEAD)], data[len(_HEAD) :], b""
    if names.startswith(b"\n"):
        names, digests = b"", names[1:]
    else:
        names, mark, digests = names.partition(b"\n\n")
        if not mark:
            head = b""
    if head != _HEAD or len(data) > LISTING_LIMIT:
        raise BadPack("the listing of a module is malformed")
    try:
        words = names.decode("utf-8").split("\n") if names else []
    except UnicodeDecodeError as error:
        raise BadPack("the listing of a module is malformed", why=str(error)) from error
    if len(digests) != 32 * len(words) or len(words) > _MOST_FILES or len(set(words)) != len(words):
        raise BadPack("the listing of a module is malformed")
    text = digests.hex()
    return Listing({name: text[64 * at : 64 * at + 64] for at, name in enumerate(words)})


def list_directory(root: str, pool: ThreadPoolExecutor, cancel: CancelToken) -> Listing | None:
    """The listing of the module unpacked in `root`, read whole; None where that cannot be.

    A link or another thing that Go does not unpack makes it None, too.
    """
    names: list[str] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(os.path.join(root, below)) as entries:
                for entry in entries:
                    path = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif entry.is_file(follow_symlinks=False) and "\n" not in path:
                        names.append(path)
                    else:
                        return None
        except OSError:
            return None
    names.sort()
    pieces = [names[at : at + _PIECE] for at in range(0, len(names), _PIECE)]
    found: dict[str, str] = {}
    for digests in pool.map(lambda piece: _digests(root, piece, cancel), pieces):
        if digests is None:
            return None
        found.update(digests)
    return Listing(found)


class Listings:
    """Listings that were made before, in a directory, named by the module's hash.

    Those of `trees`, module caches that wherry made, count as well, used or not. Each is compared
    with the hash again when it is read.
    """

    def __init__(self, directory: str, trees: tuple[str, ...] = ()) -> None:
        self._directory = directory
        self._trees = trees

    def get(self, module: ModuleVersion, h1: str) -> Listing | None:
        """The listing of a module with this hash, if it is there."""
        paths = [
            self._path(module, h1),
            *(os.path.join(tree, module.listing) for tree in self._trees),
        ]
        return next(filter(None, (load_listing(path, module, h1) for path in paths)), None)

    def put(self, module: ModuleVersion, h1: str, listing: Listing) -> None:
        """Keep a listing; where that cannot be, it is made again another time."""
        path = self._path(module, h1)
        staged = f"{path}.{secrets.token_hex(4)}.new"
        with suppress(OSError):
            os.makedirs(self._directory, exist_ok=True)
            try:
                with open(staged, "xb") as file:
                    file.write(encode_listing(listing))
                os.replace(staged, path)
            except OSError:
                with suppress(OSError):
                    os.unlink(staged)

    def _path(self, module: ModuleVersion, h1: str) -> str:
        name = hashlib.sha256(f"{module}\n{h1}".encode()).hexdigest()
        return os.path.join(self._directory, name[:40])


def load_listing(path: str, module: ModuleVersion, h1: str) -> Listing | None:
    """The listing in a file, if it is that of a module with this hash."""
    try:
        with open(path, "rb") as file:
            listing = read_listing(file.read(LISTING_LIMIT + 1))
    except (OSError, BadPack):
        return None
    return listing if listing.sum(module) == h1 else None


def file_sha256(path: str) -> str:
    """The sha256 of a file as hex; raises `OSError`, also for what is no plain file."""
    with open(path, "rb", buffering=0, opener=_no_link) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _digests(root: str, names: list[str], cancel: CancelToken) -> dict[str, str] | None:
    cancel.check()
    try:
        return {name: file_sha256(os.path.join(root, name)) for name in names}
    except OSError:
        return None
