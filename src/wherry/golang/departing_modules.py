# SPDX-License-Identifier: Apache-2.0
"""The packages of the module cache that a build read, as a travelling record tells of them.

Every one of them is read once, and proven to be what go.sum names (`wherry.golang.cached_modules`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence

from wherry.golang.cached_modules import Proof, UnprovenError, module_root_of, package_digest
from wherry.golang.enclosure import OutsideError
from wherry.golang.included_files import includes_others
from wherry.golang.settings_file import read_regular
from wherry.golang.signature import module_signature


class DepartingModules:
    """Modules in `caches`, those in `proven` compared with go.sum already.

    `sums` are what go.sum says (`wherry.golang.go_sum`).
    """

    def __init__(
        self,
        caches: Sequence[str],
        proven: Collection[str],
        sums: Mapping[tuple[str, str], Collection[str]],
    ) -> None:
        self._caches = caches
        self._proven = proven
        self._proofs = {cache: Proof(cache, sums) for cache in caches}
        # Modules whose packages include files from beside them, with the cache that has them.
        self._including: set[tuple[str, str]] = set()

    def packages(self, known: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
        """Names and digest of each package in a build record's `modules`, by name in the cache.

        Raises `UnprovenError` where one is not, or no longer, what go.sum and the record say,
        `OutsideError` where it is in none of the caches.
        """
        found: dict[str, tuple[str, str]] = {}
        for directory, (names, state) in known.items():
            cache, name = cached_name(self._caches, directory)
            if not name:
                raise OutsideError(directory)
            content = _Content()
            digest = package_digest(directory, names, content.read)
            if cache not in self._proven:
                self._proofs[cache].check(name, names, content.files)
            if includes_others(content.files, content.files.get, beside(directory)):
                self._including.add((cache, module_root_of(name)))
            if not digest or module_signature(directory, names) != state:
                raise UnprovenError(f"the module cache changed: {directory}")
            found[name] = (names, digest)
        return found

    def whole(self) -> dict[str, str]:
        """The hashes of modules that count as a whole, once `packages` has found them."""
        return {
            root: self._proofs[cache].whole(root, is_checked=cache in self._proven)
            for cache, root in sorted(self._including)
        }


def cached_name(caches: Sequence[str], path: str) -> tuple[str, str]:
    """Which module cache holds a path, and its name there; empty ones where none does."""
    for cache in caches:
        if path.startswith(f"{cache}/"):
            return cache, os.path.relpath(path, cache)
    return "", ""


def beside(directory: str) -> Callable[[str], bool]:
    """Whether a name is there in a directory."""
    return lambda name: os.path.lexists(os.path.join(directory, name))


class _Content:
    """Files of one package that were read, by name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def read(self, path: str) -> bytes | None:
        """Read a file of the module cache."""
        data = read_regular(path)
        if data is not None:
            self.files[os.path.basename(path)] = data
        return data
