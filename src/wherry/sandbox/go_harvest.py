# SPDX-License-Identifier: Apache-2.0
"""Takes what a step has added to its Go caches out of its change and into the caches.

Of the build cache an action is taken whose output has the digest that it names and is a compiled
package that Go's key tells whole (`wherry.golang.build_archive`); of the module cache a module
whose files and zip have the hash that Go wrote beside them. Whatever was changed, removed or
replaced in a cache stays in the change; where something was removed or replaced, nothing of that
cache is taken: what is there is no longer Go's own doing alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.golang.build_archive import SettledSources, may_serve
from wherry.golang.build_entries import INDEX, NEVER_SECONDS, UNUSED_SECONDS, parse_action
from wherry.golang.go_sum import hash_files
from wherry.golang.module_zip import hash_zip
from wherry.process.cancel import CancelToken
from wherry.sandbox.go_modules import PARTS, Module, hash_of, modules_in, unescaped
from wherry.sandbox.scanning import is_whiteout, open_directory
from wherry.sandbox.step_spec import StepGoCache

_ENTRY: Final = re.compile(r"[0-9a-f]{64}-a")
# As Go unpacks modules, with the usual umask.
_DIRECTORY: Final = 0o555
_FILE: Final = 0o444
_PIECE: Final = 1 << 20


class _Spoilt(Exception):
    """Something of the cache was removed or replaced."""


class Harvested(NamedTuple):
    """What a step wrote: its `upper` directory, its root as it was, overlay's attribute.

    `loose`: there are files of modules in the root that are not those of go.sum, or may not be.
    """

    upper: str
    below: str
    opaque: str
    loose: bool = False


def harvest(
    cache: StepGoCache, step: Harvested, goroots: tuple[str, ...], cancel: CancelToken
) -> tuple[str, ...]:
    """Take what the step added to one cache; `goroots` are where the root has Go's own tree.

    Gives the ids of the actions that it made or used; none for modules. Raises `OSError`,
    `Cancelled`.
    """
    top = _reached(step.upper, cache.path)
    if top is None:
        return ()
    harvesting = _Harvest(cache, top, step, cancel)
    try:
        harvesting.check("", top)
    except _Spoilt:
        return ()
    if cache.kind == "modules":
        return harvesting.modules()
    places = ((os.fsencode(path), step.below + path) for path in goroots)
    return harvesting.build(SettledSources(places, modules=not step.loose))


def has_loose_modules(cache: StepGoCache, tops: Iterable[str]) -> bool:
    """Whether any of these trees has a module's directory in the place of a module cache.

    Asked once the cache has taken what it can: what is left may have been changed by anybody.
    """
    for top in tops:
        for directory, names, _ in os.walk(f"{top}{cache.path}"):
            if any("@" in name for name in names):
                return True
            if directory == f"{top}{cache.path}":
                names[:] = [name for name in names if name != "cache"]
    return False


def _reached(upper: str, path: str) -> str | None:
    """The directory in the upper one, if the step touched it, and no link leads there."""
    here = upper
    for part in path.strip("/").split("/"):
        here = f"{here}/{part}"
        try:
            if not stat.S_ISDIR(os.lstat(here).st_mode):
                return None
        except FileNotFoundError:
            return None
    return here


class _Harvest:
    """One cache of one step."""

    def __init__(self, cache: StepGoCache, top: str, step: Harvested, cancel: CancelToken) -> None:
        self._top = top
        self._below = step.below + cache.path
        self._opaque = step.opaque
        self._cancel = cancel
        self._kept = f"{cache.lower}/fs{cache.path}"
        self._seen = frozenset(cache.seen)
        self._used: list[str] = []

    def check(self, name: str, path: str) -> None:
        """Raise `_Spoilt` where something is removed or replaced at or below a directory.

        The kernel marks every new directory as one that hides others; where there is no other, the
        mark goes, for soon there will be one in the cache.
        """
        self._cancel.check()
        is_known = os.path.isdir(f"{self._below}/{name}")
        with open_directory(path) as directory:
            if _has(directory, self._opaque):
                if is_known:
                    raise _Spoilt
                # What is hidden from this step must not shine through for the next one.
                if not os.path.isdir(f"{self._kept}/{name}"):
                    os.removexattr(directory, self._opaque)
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    self.check(f"{name}/{entry.name}", entry.path)
                elif is_whiteout(entry.stat(follow_symlinks=False)):
                    raise _Spoilt

    # --- the build cache ------------------------------------------------------------------------

    def build(self, sources: SettledSources) -> tuple[str, ...]:
        """Take actions and their outputs; the ids of those that the step used or made."""
        for number in range(256):
            self._cancel.check()
            directory = f"{self._top}/{number:02x}"
            with suppress(FileNotFoundError, NotADirectoryError):
                for name in sorted(os.listdir(directory)):
                    if _ENTRY.fullmatch(name):
                        self._take_action(f"{number:02x}/{name}", name[:64], sources)
        self._drop_copies()
        return tuple(self._used)

    def _take_action(self, name: str, identity: str, sources: SettledSources) -> None:
        data = _small(f"{self._top}/{name}")
        action = parse_action(f"{identity}-a", data)
        if action is None or name[:2] != identity[:2]:
            return
        path, kept = f"{self._top}/{name}", f"{self._kept}/{name}"
        known = _small(kept)
        old = time.time() - UNUSED_SECONDS
        if known != data:
            place = f"{action.output[:2]}/{action.output}-d"
            if not self._take_output(place, action.output, action.size, sources):
                if _is_index(f"{self._top}/{place}"):
                    os.unlink(path)
                    os.unlink(f"{self._top}/{place}")
                return
            os.chmod(path, 0o644)
            os.utime(path, (old, old))
            os.rename(path, kept)
        elif _is_alike(path, kept):
            os.unlink(path)
            os.utime(kept, (old, old))
        self._used.append(identity)

    def _take_output(self, name: str, digest: str, size: int, sources: SettledSources) -> bool:
        """Whether the output is in the cache now."""
        path, kept = f"{self._top}/{name}", f"{self._kept}/{name}"
        if _is_file(kept, size):
            return True
        if not _is_file(path, size):
            return False
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return False
            file.seek(0)
            if not may_serve(file, sources):
                return False
        late = time.time() + NEVER_SECONDS
        os.chmod(path, 0o644)
        os.utime(path, (late, late))
        os.rename(path, kept)
        return True

    def _drop_copies(self) -> None:
        """Remove outputs that are in the cache, too."""
        for number in range(256):
            directory = f"{self._top}/{number:02x}"
            with suppress(FileNotFoundError, NotADirectoryError):
                for name in os.listdir(directory):
                    if name.endswith("-d") and _same(
                        f"{directory}/{name}", f"{self._kept}/{number:02x}/{name}", name[:64]
                    ):
                        os.unlink(f"{directory}/{name}")

    # --- the module cache -----------------------------------------------------------------------

    def modules(self) -> tuple[str, ...]:
        """Take modules that are whole and what Go says they are."""
        for module in tuple(modules_in(self._top)):
            self._cancel.check()
            self._take_module(module)
        return ()

    def _take_module(self, module: Module) -> None:
        own: list[str] = [module.tree]
        others: list[str] = []
        for part in PARTS:
            name = f"{module.download}.{part}"
            (own if os.path.lexists(f"{self._top}/{name}") else others).append(name)
        if not os.path.isdir(f"{self._top}/{module.tree}"):
            return
        # Zips may have come from another machine; Go then writes the rest.
        if not all(os.path.isfile(f"{self._kept}/{name}") for name in others):
            return
        # Another build must be able to tell whether it is the one that it means.
        h1 = hash_of(self._top, module)
        if module.line(h1) not in self._seen:
            return
        names = (module.tree, f"{module.download}.ziphash")
        if any(os.path.lexists(f"{self._kept}/{name}") for name in names):
            return
        if not self._is_right(module, h1):
            return
        for name in own:
            _make_parents(self._kept, name)
            if name != module.tree:
                os.chmod(f"{self._top}/{name}", 0o644)
            _give_to_root(f"{self._top}/{name}")
            os.rename(f"{self._top}/{name}", f"{self._kept}/{name}")

    def _is_right(self, module: Module, h1: str) -> bool:
        """Whether tree, zip and go.mod are those of the hash, and as Go leaves them."""
        prefix = f"{unescaped(module.path)}@{unescaped(module.version)}"
        if hash_zip(self._part(module, "zip"), prefix) != h1:
            return False
        # A module without a go.mod has one that Go made up.
        text = _small(f"{self._top}/{module.tree}/go.mod")
        mod = _small(self._part(module, "mod"))
        if mod != text and (text or not mod.startswith(b"module ")):
            return False
        if not _tells(_small(self._part(module, "info")), unescaped(module.version)):
            return False
        try:
            return hash_files(_files(f"{self._top}/{module.tree}", prefix)) == h1
        except ValueError:
            return False

    def _part(self, module: Module, part: str) -> str:
        """A file beside a module's tree: the step's own, or that of the cache."""
        name = f"{module.download}.{part}"
        own = f"{self._top}/{name}"
        return own if os.path.lexists(own) else f"{self._kept}/{name}"


def _files(top: str, prefix: str) -> Iterator[tuple[str, str]]:
    """The files of a module's tree with their digests.

    Raises `ValueError` for what Go does not leave there: links, and modes of another umask.
    """
    for directory, names, files in os.walk(top):
        if stat.S_IMODE(os.lstat(directory).st_mode) != _DIRECTORY:
            raise ValueError(directory)
        if any(os.path.islink(f"{directory}/{name}") for name in names):
            raise ValueError(directory)
        for name in files:
            path = f"{directory}/{name}"
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != _FILE:
                raise ValueError(path)
            with open(path, "rb", buffering=0) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield f"{prefix}/{os.path.relpath(path, top)}", digest


def _tells(info: bytes, version: str) -> bool:
    """Whether a module's `.info` file is about the version."""
    try:
        value = json.loads(info)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("Version") == version


def _make_parents(top: str, name: str) -> None:
    """Make the directories above a file of the cache, for every user to write to."""
    here = top
    for part in name.split("/")[:-1]:
        here = f"{here}/{part}"
        with suppress(FileExistsError):
            os.mkdir(here, 0o777)
            os.chmod(here, 0o777)  # noqa: S103 - as Go makes them, for whichever user a step has


def _give_to_root(path: str) -> None:
    """Make root the owner of a file, or of a tree; where there is but one id it is."""
    with suppress(OSError):
        os.chown(path, 0, 0, follow_symlinks=False)
        for directory, names, files in os.walk(path):
            for name in (*names, *files):
                os.chown(f"{directory}/{name}", 0, 0, follow_symlinks=False)


def _small(path: str) -> bytes:
    """The first bytes of a regular file; empty where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with open(descriptor, "rb", buffering=0) as file:
        return file.read(_PIECE) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def _is_file(path: str, size: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _is_index(path: str) -> bool:
    """Whether an output is Go's index of a directory: large, quickly made, and of no use later."""
    return _small(path).startswith(INDEX)


def _is_alike(path: str, kept: str) -> bool:
    """Whether two files have the same owner and mode; then one was copied up for its time alone."""
    own, other = os.lstat(path), os.lstat(kept)
    return (own.st_uid, own.st_gid, own.st_mode) == (other.st_uid, other.st_gid, other.st_mode)


def _same(path: str, kept: str, digest: str) -> bool:
    """Whether an output was copied up as it is, for its time alone."""
    try:
        if not _is_file(path, os.lstat(kept).st_size) or not _is_alike(path, kept):
            return False
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def _has(directory: int, attribute: str) -> bool:
    try:
        return os.getxattr(directory, attribute) == b"y"
    except OSError:
        return False
