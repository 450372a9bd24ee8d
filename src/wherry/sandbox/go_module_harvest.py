# SPDX-License-Identifier: Apache-2.0
"""Takes the modules that a step unpacked into its module cache.

A module is taken whole: its tree, zip and hash agree with each other and with a go.sum that the
step could see, and all is as Go leaves it. Of several builds the first one's hash has its place.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from wherry.fstree.removal import remove_tree
from wherry.golang.go_sum import hash_files
from wherry.golang.module_paths import unescape
from wherry.golang.module_zip import hash_zip
from wherry.golang.shared_directories import make_above
from wherry.process.cancel import CancelToken
from wherry.sandbox import syscalls
from wherry.sandbox.go_modules import PARTS, Module, hash_of, modules_in, read_start
from wherry.sandbox.go_shadows import Shadows
from wherry.sandbox.step_spec import StepGoCache

# As Go unpacks modules, with the usual umask.
_DIRECTORY: Final = 0o555
_FILE: Final = 0o444
_LARGEST_GO_MOD: Final = 16 << 20
# Another build came first.
_TAKEN: Final = (errno.EEXIST, errno.ENOTEMPTY)


class Shadowing(NamedTuple):
    """What hides a cache's files: the snapshots `below` a step, and its `own` change."""

    below: Shadows
    own: Shadows


class Faults:
    """Why something could not be taken: `text` is the last one's, in the system's words."""

    def __init__(self) -> None:
        self.text = ""

    @contextmanager
    def passed_over(self) -> Iterator[None]:
        """What cannot be taken stays, and what comes after it is taken all the same."""
        try:
            yield
        except OSError as error:
            if error.errno not in _TAKEN:
                self.text = error.strerror or str(error)


class ModuleHarvest:
    """One module cache of one step; `top` is its directory in the change, the mark is `opaque`."""

    def __init__(
        self, cache: StepGoCache, top: str, shadows: Shadowing, opaque: str, cancel: CancelToken
    ) -> None:
        self._top = top
        self._kept = f"{cache.lower}/fs{cache.path}"
        self._seen = frozenset(cache.seen)
        self._shadows = shadows
        self._opaque = opaque
        self._cancel = cancel
        self._faults = Faults()

    def take(self) -> str:
        """Take modules that are whole and what Go says they are; gives why one was left behind.

        Raises `Cancelled` and `OSError`.
        """
        whole = [module for module in modules_in(self._top) if self._is_whole(module)]
        if whole:
            # Go believes in trees: none may get its name before its bytes are on the disk.
            syscalls.write_out(self._top)
        for module in whole:
            with self._faults.passed_over():
                self._take_module(module)
        return self._faults.text

    def _is_whole(self, module: Module) -> bool:
        """Whether all of a module is there, is right and is what the cache lacks."""
        self._cancel.check()
        with self._faults.passed_over():
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
        kept = f"{self._kept}/{name}"
        if not os.path.lexists(kept) and os.path.lexists(f"{self._kept}/{module.tree}"):
            # Without a hash nobody believes in a tree: somebody was killed. At once, for the next
            # build may claim the module meanwhile.
            aside = f"{self._kept}/{module.tree}.{secrets.token_hex(4)}"
            os.rename(f"{self._kept}/{module.tree}", aside)
            remove_tree(aside)
        with suppress(FileExistsError):
            os.link(f"{self._top}/{name}", kept)
        h1 = hash_of(self._top, module)
        return h1 == hash_of(self._kept, module) and self._is_free(module, h1)

    def _is_hidden(self, name: str) -> bool:
        """Whether the next step of the root would not see it in the cache."""
        return self._shadows.below.cover(name) or self._shadows.own.hide(os.path.dirname(name))

    def _is_owned(self, name: str) -> bool:
        """Whether a file, or all of a tree, is the cache's owner's."""
        owner = os.lstat(self._kept)
        return all(
            (status.st_uid, status.st_gid) == (owner.st_uid, owner.st_gid)
            for status in map(os.lstat, _all_of(f"{self._top}/{name}"))
        )

    def _is_right(self, module: Module, h1: str) -> bool:
        """Whether tree, zip and go.mod are those of the hash, and as Go leaves them."""
        prefix = f"{unescape(module.path)}@{unescape(module.version)}"
        if hash_zip(self._part(module, "zip"), prefix) != h1:
            return False
        if not self._is_right_mod(module):
            return False
        if not _tells(read_start(self._part(module, "info")), unescape(module.version)):
            return False
        try:
            return hash_files(_files(f"{self._top}/{module.tree}", prefix)) == h1
        except ValueError:
            return False

    def _is_right_mod(self, module: Module) -> bool:
        """Whether a module's `.mod` is the go.mod of its tree, or what Go makes up without one."""
        path = f"{self._top}/{module.tree}/go.mod"
        text = f"module {unescape(module.path)}\n".encode()
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
