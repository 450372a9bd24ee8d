# SPDX-License-Identifier: Apache-2.0
"""Modules as `go mod download` leaves them, for caches that wherry alone fills.

Beside each zip go the module's tree and the hash, in which Go then believes: both were made of the
bytes that go.sum vouches for. The hash comes first, so that of several builds none puts its files
beside another's, the tree last and whole. Source: the Go Modules Reference, section "Module cache".
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from wherry.fstree.removal import remove_tree
from wherry.gocache.module_names import Place, place_of
from wherry.gocache.module_sums import Sums, agreed
from wherry.gocache.module_zips import ZipsIntoCache
from wherry.gocache.new_files import write_new
from wherry.gocache.table import Row
from wherry.golang.module_zip import unpack_zip
from wherry.golang.shared_directories import make_above

_FILE = 0o644
# What a rename says where there is something already.
_TAKEN: Final = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


class TreesIntoCache(ZipsIntoCache):
    """As its base, with trees and hashes; `scratch` is a directory of the cache's file system.

    Directories that are shared by modules are for every user to write to.
    """

    def __init__(self, root: str, rows: Iterable[Row], sums: Sums, scratch: str) -> None:
        super().__init__(root, rows, sums)
        self._scratch = scratch
        os.makedirs(scratch, exist_ok=True)

    def _take(self, row: Row, staged: str) -> None:
        place = place_of(row.key)
        # Whatever this process's umask is: a step may run as any user.
        os.chmod(staged, _FILE)
        if place.kind == "zip":
            self._take_tree(staged, place)
        else:
            super()._take(row, staged)

    def _take_tree(self, staged: str, place: Place) -> None:
        module = place.module
        tree = f"{self._scratch}/{secrets.token_hex(8)}"
        try:
            h1 = unpack_zip(staged, str(module), tree)
            if h1 != agreed(self._sums, module):
                self.refused[module] = "its zip is not the one of go.sum"
            elif not self._is_there(place) and self._claim(module.download("ziphash"), h1):
                self._move(place, staged, tree)
        finally:
            with suppress(FileNotFoundError):
                remove_tree(tree)
            with suppress(FileNotFoundError):
                os.unlink(staged)

    def _move(self, place: Place, staged: str, tree: str) -> None:
        """Put zip and tree beside the hash, which goes again where they cannot be put there.

        Any of them alone would tell all later builds that the module is there.
        """
        module = place.module
        target = os.path.join(self._root, module.directory)
        made = [os.path.join(self._root, module.download("ziphash"))]
        try:
            make_above(self._root, module.directory)
            path = os.path.join(self._root, module.download("zip"))
            os.rename(staged, path)
            made.append(path)
            is_own = _is_moved(tree, target)
        except OSError:
            for path in reversed(made):
                with suppress(OSError):
                    os.unlink(path)
            raise
        if is_own:
            os.chmod(target, 0o555)  # noqa: S103 - as Go leaves it

    def _claim(self, key: str, h1: str) -> bool:
        """Write a module's hash unless one is there; whether it is this build's."""
        path = os.path.join(self._root, key)
        staged = f"{path}{secrets.token_hex(4)}.tmp"
        try:
            write_new(staged, [h1.encode("ascii")])
            os.chmod(staged, _FILE)
            os.link(staged, path)
        except FileExistsError:
            return False
        finally:
            with suppress(FileNotFoundError):
                os.unlink(staged)
        return True


def _is_moved(tree: str, target: str) -> bool:
    """Move a tree; False where a step of another build has left the same one. Raises `OSError`."""
    try:
        os.rename(tree, target)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True
