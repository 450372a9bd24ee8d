# SPDX-License-Identifier: Apache-2.0
"""What build flags bring into a build besides themselves: files they name, or things unknown.

Sources: `go help build`, `go tool compile -help`, `go tool link -help`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from wherry.golang.flags import flag_name

# Other programs, other compilers, directories that are searched.
_FOREIGN = frozenset(("toolexec", "gccgoflags", "pkgdir", "asmflags", "linkshared"))
# Options of Go's compiler and linker that name files, or bring in the system's linker.
_COMPILER_FILES = re.compile(r"-(?:I|embedcfg|importcfg|coveragecfg|pgoprofile|symabis)\b")
_LINKER_FILES = re.compile(r"-(?:L|importcfg|libgcc|extld|extar|linkmode[= ]+(?:external|auto))\b")
# An overlay of these decides which directories belong to the build at all.
_MODULE_FILES = ("go.mod", "go.work", "modules.txt")


class FlagFiles(NamedTuple):
    """Absolute paths of files that flags name, there or not; `modfile` is -modfile's, or empty.

    `unclear` says which flag brings in what a record cannot know.
    """

    files: tuple[str, ...] = ()
    modfile: str = ""
    unclear: str = ""


def flag_files(flags: Iterable[str], directory: str) -> FlagFiles:
    """What `flags` bring into a build that runs in `directory`."""
    files: list[str] = []
    modfile = unclear = ""
    for flag in flags:
        name, value = flag_name(flag), flag.partition("=")[2]
        path = os.path.join(directory, value)
        if _is_foreign(name, value):
            unclear = f"the flag -{name} brings in programs or files of its own"
        elif name == "pgo" and value not in ("auto", "off", ""):
            files.append(path)
        elif name == "modfile" and value:
            modfile = path
            files += [path, path.removesuffix(".mod") + ".sum"]
        elif name == "overlay" and value:
            targets = _overlay_targets(path)
            files += [path, *(os.path.join(directory, target) for target in targets or ())]
            if targets is None:
                unclear = "the overlay file cannot be followed"
    return FlagFiles(tuple(files), modfile, unclear)


def _is_foreign(name: str, value: str) -> bool:
    return (
        name in _FOREIGN
        or (name == "compiler" and value != "gc")
        or (name == "gcflags" and _COMPILER_FILES.search(value) is not None)
        or (name == "ldflags" and _LINKER_FILES.search(value) is not None)
    )


def _overlay_targets(path: str) -> list[str] | None:
    """The files that stand in for others; None where that cannot be told."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
        # Go's decoder takes a key in any case.
        replaced = [
            pair
            for key, pairs in value.items()
            if key.lower() == "replace" and pairs
            for pair in pairs.items()
        ]
        if any(os.path.basename(name) in _MODULE_FILES for name, _ in replaced):
            return None
        return [os.fspath(target) for _, target in replaced if target]
    except (OSError, ValueError, AttributeError, TypeError):
        return None
