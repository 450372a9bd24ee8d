# SPDX-License-Identifier: Apache-2.0
"""What a pattern such as `./...` depends on beyond what its programs are built from.

Another program appears where a file is added to any directory below, or where a file that belongs
to no program becomes one of package main. Source: `go help packages` (which directories a pattern
passes by). On the fast path: only hashlib and os.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping

from wherry.golang.signature import signature_of

# Directories by their path, each with its Go files by name, with their signatures.
PackageTree = Mapping[str, Mapping[str, str]]


def package_tree(root: str) -> PackageTree:
    """The directories at and below `root` that `./...` looks at, with their Go files but tests."""
    found: dict[str, dict[str, str]] = {}
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        # A module of its own is none of this one.
        if directory != root and any(entry.name == "go.mod" for entry in listed):
            continue
        found[directory] = {
            entry.name: signature_of(entry.path) for entry in listed if _is_source(entry.name)
        }
        waiting += [
            entry.path
            for entry in listed
            if not _is_passed_by(entry.name) and entry.is_dir(follow_symlinks=False)
        ]
    return found


def tree_signature(tree: PackageTree, known: Collection[str]) -> str:
    """One text for the tree, as hex.

    Of the directories in `known`, whose files somebody else compares, only the names count.
    """
    hasher = hashlib.sha256()
    for directory in sorted(tree):
        files = tree[directory]
        parts = files if directory in known else [part for item in files.items() for part in item]
        hasher.update("\0".join((directory, *parts, "\n")).encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()[:32]


def latest_change(tree: PackageTree, known: Collection[str]) -> int:
    """When a file of the other directories changed last, in nanoseconds since 1970; 0 for never."""
    stamps = (
        int(text.split(":")[2])
        for directory, files in tree.items()
        if directory not in known
        for text in files.values()
        if text
    )
    return max(stamps, default=0)


def _is_source(name: str) -> bool:
    return name.endswith(".go") and not name.endswith("_test.go") and name[0] not in "_."


def _is_passed_by(name: str) -> bool:
    return name[0] in "_." or name in ("testdata", "vendor")
