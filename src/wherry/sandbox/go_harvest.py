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

import errno
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import BinaryIO, Final, NamedTuple

from wherry.fstree.removal import remove_tree
from wherry.golang.build_archive import SettledSources, may_serve
from wherry.golang.build_entries import INDEX, NEVER_SECONDS, UNUSED_SECONDS, parse_action
from wherry.golang.go_sum import hash_files
from wherry.golang.module_zip import hash_zip
from wherry.golang.shared_directories import make_above
from wherry.process.cancel import CancelToken
from wherry.sandbox import syscalls
from wherry.sandbox.go_indexes import keep_line
from wherry.sandbox.go_modules import (
    PARTS,
    Module,
    hash_of,
    is_tree,
    modules_in,
    read_start,
    unescaped,
)
from wherry.sandbox.go_shadows import Shadows
from wherry.sandbox.scanning import is_opaque, open_directory
from wherry.sandbox.step_spec import StepGoCache

_ENTRY: Final = re.compile(r"[0-9a-f]{64}-a")
# As Go unpacks modules, with the usual umask.
_DIRECTORY: Final = 0o555
_FILE: Final = 0o444
_LARGEST_GO_MOD: Final = 16 << 20
# Another build came first.
_TAKEN: Final = (errno.EEXIST, errno.ENOTEMPTY)


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
    """The ids of the actions that a step made or used, and why something could not be taken."""

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
        return harvesting.modules()
    places = (step.below + path for path in goroots)
    return harvesting.build(SettledSources(places, modules=step.modules, trimmed=step.trimmed))


def has_loose_modules(cache: StepGoCache, tops: Iterable[str]) -> bool:
    """Whether any of these trees has a module's directory in the place of a module cache.

    Asked once the cache has taken what it can: what is left may have been changed by anybody. A
    link may lead to modules, too. Raises `OSError`.
    """
    for top in tops:
        try:
            here = _reached(top, cache.path)
        except _Spoilt:
            return True
        for directory, names, files in os.walk(here) if here else ():
            if any("@" in name for name in names):
                return True
            if any(os.path.islink(f"{directory}/{name}") for name in (*names, *files)):
                return True
            if directory == here:
                names[:] = [name for name in names if name != "cache"]
    return False


def _reached(upper: str, path: str) -> str | None:
    """The directory in the upper one, if the step touched it.

    Raises `_Spoilt` where something else is in its place or on the way.
    """
    here = upper
    for part in path.strip("/").split("/"):
        here = f"{here}/{part}"
        try:
            if not stat.S_ISDIR(os.lstat(here).st_mode):
                raise _Spoilt
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
        self._cache = cache
        self._failure = ""
        self._kept = f"{cache.lower}/fs{cache.path}"
        self._seen = frozenset(cache.seen)
        tops = (f"{snapshot}/fs" for snapshot in cache.snapshots)
        self._below_it = Shadows(tops, cache.path, (step.opaque,))
        self._own = Shadows((step.upper,), cache.path, (step.opaque,))
        self._indexes = step.indexes
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

    # --- the build cache ------------------------------------------------------------------------

    def build(self, sources: SettledSources) -> Taken:
        """Take actions and their outputs."""
        for number in range(256):
            self._cancel.check()
            directory = f"{self._top}/{number:02x}"
            with suppress(FileNotFoundError, NotADirectoryError):
                for name in sorted(os.listdir(directory)):
                    if _ENTRY.fullmatch(name):
                        with self._one():
                            self._take_action(f"{number:02x}/{name}", name[:64], sources)
        self._drop_copies()
        return Taken(tuple(self._used), self._failure)

    @contextmanager
    def _one(self) -> Iterator[None]:
        """What cannot be taken stays, and what comes after it is taken all the same."""
        try:
            yield
        except OSError as error:
            if error.errno not in _TAKEN:
                self._failure = error.strerror or str(error)

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
            if _is_index(f"{self._top}/{place}"):
                if identity not in self._indexes:
                    os.unlink(path)
                    os.unlink(f"{self._top}/{place}")
                    return
                keep_line(self._cache, identity, self._indexes[identity])
            if not self._take_output(place, action.output, action.size, sources):
                return
            os.chmod(path, 0o644)
            os.utime(path, (old, old))
            os.rename(path, kept)
        elif _is_alike(path, kept):
            os.unlink(path)
            os.utime(kept, (old, old))
        # An index serves where its line is kept beside it, and does not travel.
        if identity not in self._indexes:
            self._used.append(identity)

    def _printed(self, identity: str) -> bool:
        """Whether the compiler printed something: Go shows it again only where it has that, too."""
        key = hashlib.sha256(b"subkey:" + bytes.fromhex(identity) + b"stdout").hexdigest()
        action = parse_action(f"{key}-a", read_start(f"{self._top}/{key[:2]}/{key}-a"))
        return action is not None and action.size > 0

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

    # --- the module cache -----------------------------------------------------------------------

    def modules(self) -> Taken:
        """Take modules that are whole and what Go says they are."""
        whole = [module for module in modules_in(self._top) if self._is_whole(module)]
        if whole:
            # Go believes in trees: none may get its name before its bytes are on the disk.
            syscalls.write_out(self._top)
        for module in whole:
            with self._one():
                self._take_module(module)
        return Taken(failure=self._failure)

    def _is_whole(self, module: Module) -> bool:
        """Whether all of a module is there, is right and is what the cache lacks."""
        self._cancel.check()
        with self._one():
            parts = [f"{module.download}.{part}" for part in PARTS]
            if any(map(self._is_hidden, (module.tree, *parts))):
                return False
            # Zips may have come from another machine; Go then writes the rest.
            own = [name for name in parts if os.path.lexists(f"{self._top}/{name}")]
            if not all(name in own or os.path.isfile(f"{self._kept}/{name}") for name in parts):
                return False
            # Another build must be able to tell whether it is the one that it means.
            h1 = hash_of(self._top, module)
            if module.line(h1) not in self._seen or not self._is_free(module, h1):
                return False
            return self._is_right(module, h1) and all(map(self._is_owned, (module.tree, *own)))
        return False

    def _is_free(self, module: Module, h1: str) -> bool:
        """Whether the cache lacks a module; the first hash that came has its place.

        Others may be using what is there.
        """
        known = hash_of(self._kept, module)
        return not known or (known == h1 and not os.path.lexists(f"{self._kept}/{module.tree}"))

    def _take_module(self, module: Module) -> None:
        claim, *parts = (f"{module.download}.{part}" for part in reversed(PARTS))
        if not self._claim(module, claim):
            return
        # It may be the very file that is in the cache now, which no snapshot must share.
        os.unlink(f"{self._top}/{claim}")
        with suppress(OSError):
            os.removexattr(f"{self._top}/{module.tree}", self._opaque)
        # The tree last: what is missing beside a tree nobody would ever bring.
        for name in (*parts, module.tree):
            if os.path.lexists(f"{self._top}/{name}"):
                make_above(self._kept, name)
                if name != module.tree:
                    os.chmod(f"{self._top}/{name}", 0o644)
                os.rename(f"{self._top}/{name}", f"{self._kept}/{name}")

    def _claim(self, module: Module, name: str) -> bool:
        """Put the module's hash into the cache unless one is there; whether it is this one.

        It comes first, so that of several builds none puts its files beside another's hash.
        """
        os.chmod(f"{self._top}/{name}", 0o644)
        make_above(self._kept, name)
        with suppress(FileExistsError):
            os.link(f"{self._top}/{name}", f"{self._kept}/{name}")
            # Without a hash nobody believes in a tree: somebody was killed.
            remove_tree(f"{self._kept}/{module.tree}")
        h1 = hash_of(self._top, module)
        return h1 == hash_of(self._kept, module) and self._is_free(module, h1)

    def _is_hidden(self, name: str) -> bool:
        """Whether the next step of the root would not see it in the cache."""
        return self._below_it.cover(name) or self._own.hide(os.path.dirname(name))

    def _is_owned(self, name: str) -> bool:
        """Whether a file, or all of a tree, is the cache's owner's."""
        owner = os.lstat(self._kept)
        return all(
            (status.st_uid, status.st_gid) == (owner.st_uid, owner.st_gid)
            for status in map(os.lstat, _all_of(f"{self._top}/{name}"))
        )

    def _is_right(self, module: Module, h1: str) -> bool:
        """Whether tree, zip and go.mod are those of the hash, and as Go leaves them."""
        prefix = f"{unescaped(module.path)}@{unescaped(module.version)}"
        if hash_zip(self._part(module, "zip"), prefix) != h1:
            return False
        if not self._is_right_mod(module):
            return False
        if not _tells(read_start(self._part(module, "info")), unescaped(module.version)):
            return False
        try:
            return hash_files(_files(f"{self._top}/{module.tree}", prefix)) == h1
        except ValueError:
            return False

    def _is_right_mod(self, module: Module) -> bool:
        """Whether a module's `.mod` is the go.mod of its tree, or what Go makes up without one."""
        path = f"{self._top}/{module.tree}/go.mod"
        text = f"module {unescaped(module.path)}\n".encode()
        if os.path.lexists(path):
            text = read_start(path, _LARGEST_GO_MOD + 1)
        mod = read_start(self._part(module, "mod"), _LARGEST_GO_MOD + 1)
        return mod == text and len(mod) <= _LARGEST_GO_MOD

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
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("Version") == version


def _all_of(path: str) -> Iterator[str]:
    """A file, or a tree and all in it."""
    yield path
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            yield f"{directory}/{name}"


def _is_file(path: str, size: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _is_index(path: str) -> bool:
    """Whether an output is one of Go's indexes.

    Those of directories, whose names and times Go compares, are quickly made and of no use later.
    """
    return read_start(path, len(INDEX)) == INDEX


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
