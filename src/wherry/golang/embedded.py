# SPDX-License-Identifier: Apache-2.0
"""Directories whose every name counts, because a `//go:embed` pattern reaches into them.

Source: the documentation of Go's package embed, "Directives". A pattern's elements without
wildcard lead to a directory; below a wildcard every directory that may match is watched; a matched
directory is embedded whole. Watching too many directories costs time only, too few would be wrong.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable

_WILD = frozenset("*?[\\")


def watched_directories(package_dir: str, patterns: Iterable[str]) -> set[str]:
    """The directories to list for the embed `patterns` of the package in `package_dir`."""
    found: set[str] = set()
    for pattern in patterns:
        elements = [
            part for part in pattern.removeprefix("all:").split("/") if part not in ("", ".")
        ]
        _expand(package_dir, elements, found)
    return found


def parent_directories(names: Iterable[str]) -> set[str]:
    """The directories that lead to files `names`, relative as they are; `.` is left out."""
    found: set[str] = set()
    for name in names:
        directory = os.path.dirname(name)
        while directory and directory not in found:
            found.add(directory)
            directory = os.path.dirname(directory)
    return found


def _expand(directory: str, elements: list[str], found: set[str]) -> None:
    if not elements:
        found.update(_below(directory))
        return
    element, rest = elements[0], elements[1:]
    if not _WILD & set(element):
        target = os.path.join(directory, element)
        if os.path.isdir(target):
            _expand(target, rest, found)
        elif os.path.isdir(directory):
            # Not there (yet), or a file: the name may come or turn into a directory.
            found.add(directory)
        return
    found.add(directory)
    for name in _directories(directory):
        if "[" in element or "\\" in element or fnmatch.fnmatchcase(name, element):
            _expand(os.path.join(directory, name), rest, found)


def _below(directory: str) -> Iterable[str]:
    for path, _names, _files in os.walk(directory):
        yield path


def _directories(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
