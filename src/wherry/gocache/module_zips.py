# SPDX-License-Identifier: Apache-2.0
"""Whole modules, for commands that are not wherry's own: zips in the user's download cache.

Go believes a zip that lies beside its `.ziphash`, whatever is in it; one without is hashed and
compared with go.sum before it is unpacked. So a zip is put there without, after its own files were
hashed and compared here: a pack that holds other code leaves nothing behind. What Go did not ask
for is taken away again at the end, so that no module cache keeps what Go itself never saw. Sources:
the Go Modules Reference, section "Module cache", and experiments with the go command.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from wherry.gocache.module_listing import file_sha256
from wherry.gocache.module_names import ModuleVersion, Place, place_of
from wherry.gocache.module_sums import (
    Sums,
    agreed,
    agreed_gomod,
    hash_gomod,
    source_modules,
)
from wherry.gocache.modules import (
    Choice,
    ModuleCache,
    clean_info,
    graph_files,
    made_row,
    unfit,
)
from wherry.gocache.new_files import write_new
from wherry.gocache.table import CONTENT_LIMIT, Content, Row
from wherry.golang.module_zip import hash_zip

if TYPE_CHECKING:
    from wherry.process.cancel import CancelToken


def choose_zips(cache: ModuleCache, cancel: CancelToken) -> Choice:
    """The zips of all modules that go.sum names and the cache holds, with the module graph.

    Raises `Cancelled`.
    """
    made: dict[str, bytes] = {}
    left_out: dict[ModuleVersion, str] = {}
    rows: list[Row] = []
    for module in source_modules(cache.sums):
        cancel.check()
        key = module.download("zip")
        path = os.path.join(cache.root, key)
        if not os.path.isfile(path):
            continue
        why = unfit(module, cache)
        size = os.path.getsize(path)
        if not why and size > CONTENT_LIMIT:
            why = "it is too large"
        if why:
            left_out[module] = why
        else:
            rows.append(Row(key, file_sha256(path), size))
    made.update(graph_files(cache, left_out))
    rows += [made_row(key, data) for key, data in made.items()]
    return Choice(tuple(sorted(rows)), cache.root, made, left_out)


class ZipsIntoCache:
    """Puts zips, `.mod` and `.info` files of packs into the user's module cache at `root`.

    Only what is not there is taken, and only of modules in `sums`, the user's own. `place` is for
    `wherry.gocache.pack.unpack`; what is not right is passed over and stands in `refused`. Call
    `settle` once the Go command has ended. Raises `BadPack` for names that no module cache has.
    """

    def __init__(self, root: str, rows: Iterable[Row], sums: Sums) -> None:
        self.refused: dict[ModuleVersion, str] = {}
        self._root = root
        self._sums = sums
        self._targets: dict[str, list[Row]] = {}
        self._guard = threading.Lock()
        self._placed: list[ModuleVersion] = []
        for row in rows:
            if self._is_wanted(place_of(row.key)):
                self._targets.setdefault(row.content, []).append(row)

    @property
    def contents(self) -> frozenset[str]:
        """The digests of all contents that are wanted from packs."""
        return frozenset(self._targets)

    def place(self, content: Content, chunks: Iterator[bytes]) -> None:
        """Take one content; called by several threads. Raises `OSError` for a full disk."""
        with self._guard:
            targets = self._targets.pop(content.digest, [])
        if not targets:
            return
        staged = self._staged(targets[0])
        try:
            write_new(staged, chunks)
            for row in targets[1:]:
                self._take(row, _copied(staged, self._staged(row)))
            self._take(targets[0], staged)
        finally:
            with suppress(OSError):
                os.unlink(staged)

    def settle(self) -> None:
        """Remove the zips that Go has not compared with go.sum by now."""
        for module in self._placed:
            path = os.path.join(self._root, module.download("zip"))
            with suppress(OSError), _ModuleLock(path.removesuffix("zip") + "lock"):
                if not os.path.lexists(f"{path}hash"):
                    os.unlink(path)

    def _staged(self, row: Row) -> str:
        path = os.path.join(self._root, row.key)
        os.makedirs(os.path.dirname(path), mode=0o777, exist_ok=True)
        # As Go names what it is about to rename; Go removes them if they stay.
        return f"{path}{secrets.token_hex(4)}.tmp"

    def _take(self, row: Row, staged: str) -> None:
        """Put a staged file in its place, if it is right and nothing came there meanwhile."""
        place = place_of(row.key)
        why = self._fault(staged, place)
        if why:
            self.refused[place.module] = why
        elif not self._is_there(place):
            with suppress(FileNotFoundError):
                os.rename(staged, os.path.join(self._root, row.key))
                if place.kind == "zip":
                    self._placed.append(place.module)
        with suppress(FileNotFoundError):
            os.unlink(staged)

    def _is_wanted(self, place: Place) -> bool:
        if place.kind not in ("zip", "mod", "info"):
            return False
        sum_of = agreed_gomod if place.kind == "mod" else agreed
        return bool(sum_of(self._sums, place.module)) and not self._is_there(place)

    def _is_there(self, place: Place) -> bool:
        module = place.module
        kinds = ("zip", "ziphash") if place.kind == "zip" else (place.kind,)
        keys = [module.download(kind) for kind in kinds]
        if place.kind == "zip":
            keys.append(module.directory)
        return any(os.path.lexists(os.path.join(self._root, key)) for key in keys)

    def _fault(self, path: str, place: Place) -> str:
        module = place.module
        if place.kind == "zip":
            is_right = hash_zip(path, str(module)) == agreed(self._sums, module)
        else:
            with open(path, "rb") as file:
                data = file.read()
            if place.kind == "mod":
                is_right = hash_gomod(data) == agreed_gomod(self._sums, module)
            else:
                is_right = clean_info(data, module) == data
        return "" if is_right else f"its {place.kind} is not the one of go.sum"


def _copied(source: str, target: str) -> str:
    shutil.copyfile(source, target)
    return target


class _ModuleLock:
    """Go's lock of one module version, so that no Go command unpacks it meanwhile."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)
