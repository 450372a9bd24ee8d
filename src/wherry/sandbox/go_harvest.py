# SPDX-License-Identifier: Apache-2.0
"""Takes what a step has added to its Go caches out of its change and into the caches.

Of the build cache an action is taken whose output has the digest that it names and is a compiled
package that Go's key tells whole (`wherry.golang.build_archive`); of the module cache a module
whose files and zip have the hash that Go wrote beside them. Whatever was changed, removed or
replaced in a cache stays in the change; where something was removed or replaced, or is neither a
directory nor a file of one name, nothing of that cache is taken: what is there is no longer Go's
own doing alone, and links lead out of the step.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from types import MappingProxyType
from typing import BinaryIO, Final, NamedTuple

from wherry.golang.build_archive import SettledSources, may_serve
from wherry.golang.build_entries import (
    INDEX,
    NEVER_SECONDS,
    UNUSED_SECONDS,
    parse_action,
    subkey,
)
from wherry.process.cancel import CancelToken
from wherry.sandbox.go_indexes import KeptLines
from wherry.sandbox.go_module_harvest import Faults, ModuleHarvest, Shadowing
from wherry.sandbox.go_modules import is_tree, read_start
from wherry.sandbox.go_shadows import Shadows, reached
from wherry.sandbox.scanning import is_opaque, open_directory
from wherry.sandbox.step_spec import StepGoCache

_ENTRY: Final = re.compile(r"[0-9a-f]{64}-a")


class _Spoilt(Exception):
    """Something of the cache was removed or replaced, or is none of Go's."""


class Harvested(NamedTuple):
    """What a step wrote: its `upper` directory, its root as it was, overlay's attribute.

    `modules` is the path of the module cache if all modules in the root are those of go.sum; empty
    where they may not be. `trimmed` is what `SettledSources` asks for, `indexes` what `index_ids`
    gives of the modules that the step may have seen.
    """

    upper: str
    below: str
    opaque: str
    modules: str = ""
    trimmed: Callable[[], frozenset[bytes]] = frozenset
    indexes: Mapping[str, str] = MappingProxyType({})


class Taken(NamedTuple):
    """The ids of the actions that a step made or used, and why something could not be taken.

    The id of an index of a module is followed by a space and the line of go.sum that vouches for
    it.
    """

    used: tuple[str, ...] = ()
    failure: str = ""


def harvest(
    cache: StepGoCache, step: Harvested, goroots: tuple[str, ...], cancel: CancelToken
) -> Taken:
    """Take what the step added to one cache; `goroots` are where the root has Go's own tree.

    What cannot be taken stays where it is. Raises `Cancelled`.
    """
    try:
        return _harvest(cache, step, goroots, cancel)
    except _Spoilt:
        return Taken()
    except OSError as error:
        return Taken(failure=error.strerror or str(error))


def _harvest(
    cache: StepGoCache, step: Harvested, goroots: tuple[str, ...], cancel: CancelToken
) -> Taken:
    top = _reached(step.upper, cache.path)
    if top is None or Shadows((step.upper,), cache.path, (step.opaque,)).hide_all:
        return Taken()
    harvesting = _Harvest(cache, top, step, cancel)
    harvesting.check("", top)
    if cache.kind == "modules":
        return Taken(failure=harvesting.modules())
    places = (step.below + path for path in goroots)
    return harvesting.build(SettledSources(places, modules=step.modules, trimmed=step.trimmed))


def has_loose_modules(cache: StepGoCache, tops: Iterable[str]) -> bool:
    """Whether any of these trees has, or removes, a module's directory in a module cache's place.

    Asked once the cache has taken what it can: what is left may have been changed by anybody, and
    what is gone may have been so before. A link may lead to modules, too. Raises `OSError`.
    """
    for top in tops:
        try:
            here = _reached(top, cache.path)
        except _Spoilt:
            return True
        for directory, names, files in os.walk(here) if here else ():
            if any("@" in name for name in names):
                return True
            # Outside of its own `cache` Go has directories alone.
            if files or any(os.path.islink(f"{directory}/{name}") for name in names):
                return True
            if directory == here:
                names[:] = [name for name in names if name != "cache"]
    return False


def _reached(upper: str, path: str) -> str | None:
    """The directory in the upper one, if the step touched it.

    Raises `_Spoilt` where something else is in its place or on the way.
    """
    found = reached(upper, path)
    if found is not None and not stat.S_ISDIR(found[1]):
        raise _Spoilt
    return found and found[0]


class _Harvest:
    """One cache of one step."""

    def __init__(self, cache: StepGoCache, top: str, step: Harvested, cancel: CancelToken) -> None:
        self._top = top
        self._below = step.below + cache.path
        self._opaque = step.opaque
        self._cancel = cancel
        self._cache = cache
        self._faults = Faults()
        self._kept = f"{cache.lower}/fs{cache.path}"
        tops = (f"{snapshot}/fs" for snapshot in cache.snapshots)
        self._below_it = Shadows(tops, cache.path, (step.opaque,))
        self._own = Shadows((step.upper,), cache.path, (step.opaque,))
        self._indexes = step.indexes
        self._lines = KeptLines(cache)
        self._used: list[str] = []

    def check(self, name: str, path: str) -> None:
        """Raise `_Spoilt` where something is removed or replaced at or below a directory.

        The kernel marks new directories as ones that hide others. Where there is no other the mark
        goes: soon there will be one in the cache. Only trees of modules get it, whoever made them:
        of what stays in the change nothing may come back when another build fills the cache.
        """
        self._cancel.check()
        is_known = os.path.isdir(f"{self._below}/{name}")
        with open_directory(path) as directory:
            is_marked = is_opaque(directory, self._opaque)
        if is_marked and is_known:
            raise _Spoilt
        with os.scandir(path) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    self.check(f"{name}/{entry.name}", entry.path)
                elif not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                    raise _Spoilt
        if self._cache.kind == "modules" and is_tree(name.strip("/")):
            if not is_known:
                os.setxattr(path, self._opaque, b"y")
        # What is hidden from this step must not shine through for the next one.
        elif is_marked and not os.path.isdir(f"{self._kept}/{name}"):
            os.removexattr(path, self._opaque)

    def modules(self) -> str:
        """Take modules; gives why one was left behind. Raises `Cancelled` and `OSError`."""
        shadows = Shadowing(self._below_it, self._own)
        return ModuleHarvest(self._cache, self._top, shadows, self._opaque, self._cancel).take()

    def build(self, sources: SettledSources) -> Taken:
        """Take actions and their outputs."""
        for number in range(256):
            self._cancel.check()
            directory = f"{self._top}/{number:02x}"
            with suppress(FileNotFoundError, NotADirectoryError):
                for name in sorted(os.listdir(directory)):
                    if _ENTRY.fullmatch(name):
                        with self._faults.passed_over():
                            self._take_action(f"{number:02x}/{name}", name[:64], sources)
        self._drop_copies()
        return Taken(tuple(self._used), self._faults.text)

    def _take_action(self, name: str, identity: str, sources: SettledSources) -> None:
        data = read_start(f"{self._top}/{name}")
        action = parse_action(f"{identity}-a", data)
        if action is None or name[:2] != identity[:2] or self._below_it.cover(name):
            return
        path, kept = f"{self._top}/{name}", f"{self._kept}/{name}"
        known = read_start(kept)
        old = time.time() - UNUSED_SECONDS
        if known != data:
            if self._printed(identity):
                return
            place = f"{action.output[:2]}/{action.output}-d"
            is_index = self._is_index(place)
            if is_index and identity not in self._indexes:
                os.unlink(path)
                with suppress(FileNotFoundError):
                    os.unlink(f"{self._top}/{place}")
                return
            if not self._take_output(place, action.output, action.size, sources):
                return
            os.chmod(path, 0o644)
            os.utime(path, (old, old))
            with self._lines.alone() if is_index else nullcontext():
                if is_index:
                    self._lines.keep(identity, self._indexes[identity])
                os.rename(path, kept)
        elif _is_alike(path, kept):
            os.unlink(path)
            os.utime(kept, (old, old))
        # An index goes elsewhere with its line alone.
        line = self._indexes.get(identity)
        self._used.append(f"{identity} {line}" if line else identity)

    def _printed(self, identity: str) -> bool:
        """Whether the compiler printed something: Go shows it again only where it has that, too."""
        key = subkey(identity, "stdout")
        action = parse_action(f"{key}-a", read_start(f"{self._top}/{key[:2]}/{key}-a"))
        return action is not None and action.size > 0

    def _is_index(self, name: str) -> bool:
        """Whether an output, the step's own or the cache's, is one of Go's indexes.

        Those of directories, whose names and times Go compares, are quickly made and of no use
        later.
        """
        tops = (self._top, self._kept)
        return any(read_start(f"{top}/{name}", len(INDEX)) == INDEX for top in tops)

    def _take_output(self, name: str, digest: str, size: int, sources: SettledSources) -> bool:
        """Whether the output is in the cache now."""
        path, kept = f"{self._top}/{name}", f"{self._kept}/{name}"
        if self._below_it.cover(name):
            return False
        if _is_file(kept, size):
            return True
        if not _is_file(path, size):
            return False
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return False
            file.seek(0)
            if not (_begins_as_index(file) or may_serve(file, sources)):
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
                    if name.endswith("-d") and self._is_copy(f"{number:02x}/{name}"):
                        os.unlink(f"{directory}/{name}")

    def _is_copy(self, name: str) -> bool:
        """Whether the cache shows the same output to the next step."""
        own, kept = f"{self._top}/{name}", f"{self._kept}/{name}"
        return _same(own, kept, name[3:67]) and not self._below_it.cover(name)


def _is_file(path: str, size: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _begins_as_index(file: BinaryIO) -> bool:
    begins = file.read(len(INDEX)) == INDEX
    file.seek(0)
    return begins


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
