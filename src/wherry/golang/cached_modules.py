# SPDX-License-Identifier: Apache-2.0
"""Packages of the module cache in a travelling record, and the proof that go.sum names them.

Another machine fetches a module anew and compares it with go.sum, which is among the record's
files. So what this machine built from must be just what go.sum names: each module has its line
there, and the files of a package are those of the downloaded zip, whose hash Go checked. Where the
zip is gone, the module's directory is hashed as Go does it (Go Modules Reference, "go.sum files":
the hash `h1:`). A module that somebody edited in the cache does not travel.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Collection, Mapping

from wherry.golang.go_sum import hash_files
from wherry.golang.listing import is_go_name
from wherry.golang.settings_file import read_regular

_UPPER = re.compile(r"!([a-z])")
_NO_FILES = ("", ".", "..")


class UnprovenError(Exception):
    """Why a module of the cache cannot be told to be the one that go.sum names."""


def package_digest(directory: str, names: str, read: Callable[[str], bytes | None]) -> str:
    """One text for a package directory: every file's name and content.

    `read` gives a file's bytes, None where there is no regular file. Empty where a file cannot be
    read, where there are other files that Go would compile, and where `names` are none.
    """
    wanted = names.split("\0") if names else []
    if wanted != sorted(set(wanted)) or any(name in _NO_FILES or "/" in name for name in wanted):
        return ""
    try:
        listed = [name for name in os.listdir(directory) if is_compiled(name)]
    except OSError:
        return ""
    if any(not os.path.isdir(os.path.join(directory, name)) for name in {*listed} - {*wanted}):
        return ""
    hasher = hashlib.sha256()
    for name in wanted:
        data = read(os.path.join(directory, name))
        if data is None:
            return ""
        hasher.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode(errors="replace"))
    return hasher.hexdigest()[:32]


def is_compiled(name: str) -> bool:
    """Whether Go takes a file of this name in a module of the cache for a build."""
    return is_go_name(name) and not name.endswith("_test.go")


class Proof:
    """Proves modules of the cache at `cache`, each once; `sums` are those of go.sum."""

    def __init__(self, cache: str, sums: Mapping[tuple[str, str], Collection[str]]) -> None:
        self._cache = cache
        self._sums = sums
        self._zips: dict[str, _Listed | None] = {}

    def check(self, directory: str, names: str, content: Mapping[str, bytes]) -> None:
        """Raise `UnprovenError` where files of a package, in `content`, are not the module's.

        `directory` is the package's, relative to the cache; `names` are all that the build read.
        """
        root, below = _split(directory)
        path, version = _module_of(root)
        hashes = self._sums.get((path, version))
        if not hashes:
            raise UnprovenError(f"go.sum has no line for {path} {version}")
        if root not in self._zips:
            self._zips[root] = self._listed(root, path, version, hashes)
        listed = self._zips[root]
        if listed is None:
            return
        expected = listed.get(below, {})
        wanted = set(names.split("\0")) if names else set()
        missing = {name for name in expected if is_compiled(name)} - wanted
        if missing or any(_check_of(data) != expected.get(name) for name, data in content.items()):
            raise UnprovenError(f"{path} {version} was edited in the module cache")

    def whole(self, root: str, *, is_checked: bool) -> str:
        """The hash of a module as a whole; raises `UnprovenError` where its files have another.

        `is_checked`: what is there was compared with go.sum, and may be a part of the module.
        """
        path, version = _module_of(root)
        hashes = self._sums.get((path, version), ())
        if is_checked and len(hashes) == 1:
            return next(iter(hashes))
        found = directory_hash(os.path.join(self._cache, root), root)
        if found not in hashes:
            raise UnprovenError(f"{path} {version} in the module cache is not what go.sum names")
        return found

    def _listed(
        self, root: str, path: str, version: str, hashes: Collection[str]
    ) -> _Listed | None:
        """The files of a module's zip, by directory; None where the directory itself is proven."""
        escaped, _, escaped_version = root.rpartition("@")
        place = os.path.join(self._cache, "cache", "download", escaped, "@v", escaped_version)
        try:
            with open(f"{place}.ziphash", encoding="ascii", errors="replace") as file:
                told = file.read().strip()
            if told in hashes:
                return _read_zip(f"{place}.zip", f"{path}@{version}/")
        except OSError:
            if directory_hash(os.path.join(self._cache, root), root) in hashes:
                return None
        raise UnprovenError(f"{path} {version} in the module cache is not what go.sum names")


# Size and CRC-32 of a zip's files, by directory and name.
_Listed = dict[str, dict[str, tuple[int, int]]]


def _read_zip(path: str, prefix: str) -> _Listed:
    import zipfile  # noqa: PLC0415 - only where a record is exported

    found: _Listed = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                directory, _, name = item.filename.removeprefix(prefix).rpartition("/")
                found.setdefault(directory, {})[name] = (item.file_size, item.CRC)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise OSError(str(error)) from error
    return found


def _check_of(data: bytes) -> tuple[int, int]:
    return len(data), zlib.crc32(data)


def directory_hash(place: str, root: str) -> str:
    """The hash `h1:` of the module extracted at `place`, which go.sum has of its zip.

    `root` is its directory relative to the cache. Empty where something cannot be read, or has no
    hash.
    """
    name = "@".join(_module_of(root))
    digests: list[tuple[str, str]] = []
    for at, _, names in os.walk(place):
        for one in names:
            path = os.path.join(at, one)
            data = read_regular(path)
            if data is None:
                return ""
            inside = f"{name}/{os.path.relpath(path, place)}"
            digests.append((inside, hashlib.sha256(data).hexdigest()))
    try:
        return hash_files(digests)
    except ValueError:
        return ""


def module_root_of(directory: str) -> str:
    """The directory of the module that a package's directory in the cache belongs to.

    Both are relative to the cache. Raises `UnprovenError` for what is no such name.
    """
    if os.path.isabs(directory) or os.path.normpath(directory) != directory:
        raise UnprovenError(directory)
    return _split(directory)[0]


def _split(directory: str) -> tuple[str, str]:
    """`a/b@v1.0.0` and `c/d` of `a/b@v1.0.0/c/d`."""
    parts = directory.split("/")
    if ".." in parts or "\0" in directory:
        raise UnprovenError(directory)
    for number, part in enumerate(parts):
        if "@" in part:
            return "/".join(parts[: number + 1]), "/".join(parts[number + 1 :])
    raise UnprovenError(f"{directory} belongs to no version of a module")


def _module_of(root: str) -> tuple[str, str]:
    """Path and version of a module's directory in the cache, upper case restored."""
    path, _, version = root.rpartition("@")
    return _UPPER.sub(_upper, path), _UPPER.sub(_upper, version)


def _upper(match: re.Match[str]) -> str:
    return match[1].upper()
