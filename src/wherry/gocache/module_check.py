# SPDX-License-Identifier: Apache-2.0
"""Is what was restored into a module cache right? Compares every file with go.sum.

A module is right if its listing has the hash that go.sum gives it, and names each of its files with
the sha256 that it has. What is found is noted in the tree itself, with the machine's run: files
that were written before a crash may be gone after it, so another run looks again, once.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wherry.fstree.removal import remove_tree
from wherry.gocache.module_listing import Listing, file_sha256, load_listing
from wherry.gocache.module_names import LISTINGS, ModuleVersion, Place, place_of
from wherry.gocache.module_sums import Sums, agreed, agreed_gomod, hash_gomod
from wherry.gocache.modules import clean_info

if TYPE_CHECKING:
    from wherry.gocache.table import Row

_NOTE = f"{LISTINGS}/checked"
_BOOT = "/proc/sys/kernel/random/boot_id"


def check_modules(path: str, rows: Iterable[Row], sums: Sums) -> dict[ModuleVersion, str]:
    """Take out of the tree at `path` what is not right, and note the rest.

    `rows` are all its files, whose contents are known to be those that the rows name. Gives the
    modules that were taken out, with the reason.
    """
    checked = _Checked(path, rows, sums)
    _write(os.path.join(path, _NOTE), checked.note())
    return checked.refused


def listed_modules(path: str) -> tuple[dict[ModuleVersion, Listing], frozenset[ModuleVersion]]:
    """The modules of a checked tree with their listings, and those of them that are whole."""
    note = _json(path)
    found: dict[ModuleVersion, Listing] = {}
    for name, version, h1 in note["modules"]:
        module = ModuleVersion(name, version)
        listing = load_listing(os.path.join(path, module.listing), module, h1)
        # Somebody changed it: then nothing of the module is known to be there.
        found[module] = listing or Listing({})
    return found, frozenset(ModuleVersion(*pair) for pair in note["whole"])


def is_settled(path: str) -> bool:
    """Whether all that was checked in the tree is still there after the machine was started anew.

    In the same run of the machine nothing is read but the note.
    """
    note_path = os.path.join(path, _NOTE)
    try:
        note = _json(path)
        boot = _boot()
        if boot and note["boot"] == boot:
            return True
        for name, version, h1 in note["modules"]:
            module = ModuleVersion(name, version)
            listing = load_listing(os.path.join(path, module.listing), module, h1)
            if listing is None or not _holds(os.path.join(path, module.directory), listing):
                return False
        staged = f"{note_path}.{secrets.token_hex(4)}"
        _write(staged, json.dumps({**note, "boot": boot}).encode("ascii"))
        os.replace(staged, note_path)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _holds(top: str, listing: Listing) -> bool:
    """Whether all files below `top` are those of the listing."""
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            if file_sha256(path) != listing.files.get(os.path.relpath(path, top)):
                return False
    return True


class _Checked:
    """Compares the files of a staged tree with go.sum, and takes out the modules that differ."""

    def __init__(self, path: str, rows: Iterable[Row], sums: Sums) -> None:
        self.refused: dict[ModuleVersion, str] = {}
        self._path = path
        self._whole: list[ModuleVersion] = []
        self._modules: list[tuple[str, str, str]] = []
        files: dict[ModuleVersion, dict[str, str]] = {}
        notes: set[ModuleVersion] = set()
        for row in rows:
            place = place_of(row.key)
            if place.kind == "file":
                files.setdefault(place.module, {})[place.name] = row.content
            elif place.kind in ("listing", "ziphash"):
                notes.add(place.module)
            else:
                self._check_note(place, row.key, sums)
        for module in sorted(files.keys() | notes):
            why = self._difference(module, files.get(module, {}), agreed(sums, module))
            if why:
                self.refused[module] = why
                self._remove(module.directory, module.listing, module.download("ziphash"))

    def note(self) -> bytes:
        """What the tree says of itself."""
        value = {"boot": _boot(), "whole": self._whole, "modules": self._modules}
        return json.dumps(value).encode("ascii")

    def _check_note(self, place: Place, key: str, sums: Sums) -> None:
        """Take a `.mod` or `.info` out that is not right: Go fetches it."""
        data = _read(os.path.join(self._path, key))
        if place.kind == "mod":
            is_right = hash_gomod(data) == agreed_gomod(sums, place.module)
        else:
            is_right = clean_info(data, place.module) == data
        if not is_right:
            self._remove(key)

    def _difference(self, module: ModuleVersion, files: dict[str, str], h1: str) -> str:
        listing = load_listing(os.path.join(self._path, module.listing), module, h1)
        if listing is None:
            return "its list of files is not that of go.sum"
        if _read(os.path.join(self._path, module.download("ziphash"))) != h1.encode("ascii"):
            return "its hash is not the one in go.sum"
        for name, digest in files.items():
            if listing.files.get(name) != digest:
                return f"its file {name[:200]} is not the one of go.sum"
        if "go.mod" in listing.files and "go.mod" not in files:
            return "its go.mod is missing"
        if not files:
            # Go asks for the directory.
            os.makedirs(os.path.join(self._path, module.directory), mode=0o755, exist_ok=True)
        if len(files) == len(listing.files):
            self._whole.append(module)
        self._modules.append((*module, h1))
        return ""

    def _remove(self, *keys: str) -> None:
        for key in keys:
            remove_tree(os.path.join(self._path, key))


def _boot() -> str:
    return _read(_BOOT).decode("ascii", "replace").strip()


def _json(path: str) -> Any:  # noqa: ANN401 - wherry's own note
    return json.loads(_read(os.path.join(path, _NOTE)))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
