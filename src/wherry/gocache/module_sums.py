# SPDX-License-Identifier: Apache-2.0
"""What go.sum vouches for (`wherry.golang.go_sum`).

The files in force are those that Go itself asks: the main module's, or the workspace's with those
of its modules.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from wherry.gocache.module_names import ModuleVersion
from wherry.golang import go_sum
from wherry.golang.flagfiles import flag_files
from wherry.golang.modfile import local_directories

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wherry.golang.toolchain import GoFacts

Sums = dict[ModuleVersion, frozenset[str]]
"""The hashes of modules; a version that ends in `/go.mod` stands for the go.mod alone."""

_GOMOD = "/go.mod"
_SUM_LIMIT = 64 << 20


def sum_files(facts: GoFacts, flags: Sequence[str], directory: str) -> tuple[str, ...]:
    """The files of sums that are in force for Go in `directory`; `flags` include GOFLAGS."""
    if facts.gowork:
        used = local_directories(facts.gowork)
        return (f"{facts.gowork}.sum", *(os.path.join(path, "go.sum") for path in used))
    modfile = flag_files(flags, directory).modfile or facts.gomod
    return (f"{modfile.removesuffix('.mod')}.sum",) if modfile else ()


def read_sums(paths: Iterable[str]) -> Sums:
    """The sums of all files together; a file that is not there has none."""
    return parse_sums(map(_text, paths))


def parse_sums(texts: Iterable[str]) -> Sums:
    """The sums of the texts of several such files together."""
    sums = go_sum.read_sums(texts)
    return {ModuleVersion(*module): several for module, several in sums.items()}


def agreed(sums: Mapping[ModuleVersion, frozenset[str]], module: ModuleVersion) -> str:
    """The one hash that go.sum gives a module; empty where it gives none, or two."""
    several = sums.get(module, frozenset())
    return next(iter(several)) if len(several) == 1 else ""


def agreed_gomod(sums: Mapping[ModuleVersion, frozenset[str]], module: ModuleVersion) -> str:
    """The hash that go.sum gives a module's go.mod; empty as above."""
    return agreed(sums, module._replace(version=module.version + _GOMOD))


def gomod_modules(sums: Mapping[ModuleVersion, frozenset[str]]) -> list[ModuleVersion]:
    """The modules whose go.mod has a hash."""
    return sorted(
        module._replace(version=module.version.removesuffix(_GOMOD))
        for module in sums
        if module.version.endswith(_GOMOD)
    )


def source_modules(sums: Mapping[ModuleVersion, frozenset[str]]) -> list[ModuleVersion]:
    """The modules whose files have a hash."""
    return sorted(module for module in sums if not module.version.endswith(_GOMOD))


def hash_gomod(data: bytes) -> str:
    """The hash that go.sum has for a go.mod of these bytes."""
    return go_sum.hash_files([("go.mod", hashlib.sha256(data).hexdigest())])


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_SUM_LIMIT)
    except OSError:
        return ""
