# SPDX-License-Identifier: Apache-2.0
"""Local directories that go.mod and go.work name: `replace … => ./dir` and `use ./dir`.

Their go.mod files take part in choosing versions also where no package of theirs is imported.
Source: the Go Modules Reference, sections "go.mod files" and "Workspaces".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from wherry.golang.settings_file import read_small

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|(=>)|([^\s()]+)|([()])')
# Of a file that is larger, the beginning counts: large ones of real programs have 200 kB.
_MOST_BYTES: Final = 4 << 20


def local_directories(path: str, home: str = "") -> tuple[str, ...]:
    """Absolute paths of the directories that the go.mod or go.work at `path` names.

    `home` is what they are relative to: by default where the file lies, for `-modfile` the
    module's root. A file that cannot be read names none; a syntax error is left to go to report.
    """
    home = home or os.path.dirname(path)
    return tuple(
        os.path.normpath(os.path.join(home, word))
        for verb, word in _named(read_module_file(path))
        # What replaces may be a module; what is used is always a directory, also as a bare word.
        if verb == "use" or _is_directory(word)
    )


def replaced_modules(path: str) -> tuple[tuple[str, str], ...]:
    """Which modules the go.mod or go.work at `path` replaces by directories: (path, directory).

    Directories as absolute paths. Whether only one version is replaced is not told.
    """
    home = os.path.dirname(path)
    return tuple(
        (words[0], os.path.normpath(os.path.join(home, words[words.index("=>") + 1])))
        for verb, words in _directives(read_module_file(path))
        if verb == "replace" and "=>" in words[1:-1] and _is_directory(words[words.index("=>") + 1])
    )


def _is_directory(word: str) -> bool:
    return word.startswith(("./", "../", "/")) or word in (".", "..")


def module_path(path: str) -> str:
    """The path that the go.mod at `path` gives its module, or the empty string."""
    for line in read_module_file(path).splitlines():
        words = _words(line.split("//", 1)[0])
        if words[:1] == ["module"]:
            return words[1] if len(words) > 1 else ""
    return ""


def read_module_file(path: str) -> str:
    """The text of a go.mod or go.work; empty for what is no file, or cannot be read."""
    return read_small(path, _MOST_BYTES).decode("utf-8", "surrogateescape")


def _named(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for verb, words in _directives(text):
        if verb == "use":
            found += [(verb, word) for word in words[:1]]
        elif verb == "replace" and "=>" in words:
            found += [(verb, word) for word in words[words.index("=>") + 1 :][:1]]
    return found


def _directives(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each line that says something: its verb, or that of the block around it, and its words."""
    block = ""
    for line in text.splitlines():
        words = _words(line.split("//", 1)[0])
        if not words:
            continue
        if words[0] == ")":
            block = ""
        elif block:
            yield block, words
        elif words[1:2] == ["("]:
            block = words[0]
        else:
            yield words[0], words[1:]


def _words(line: str) -> list[str]:
    return ["".join(match.groups(default="")) for match in _WORD.finditer(line)]
