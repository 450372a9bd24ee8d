# SPDX-License-Identifier: Apache-2.0
"""Local directories that go.mod and go.work name: `replace … => ./dir` and `use ./dir`.

Their go.mod files take part in choosing versions also where no package of theirs is imported.
Source: the Go Modules Reference, sections "go.mod files" and "Workspaces".
"""

from __future__ import annotations

import os
import re

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|(=>)|([^\s()]+)|([()])')


def local_directories(path: str, home: str = "") -> tuple[str, ...]:
    """Absolute paths of the directories that the go.mod or go.work at `path` names.

    `home` is what they are relative to: by default where the file lies, for `-modfile` the
    module's root. A file that cannot be read names none; a syntax error is left to go to report.
    """
    home = home or os.path.dirname(path)
    return tuple(
        os.path.normpath(os.path.join(home, word))
        for verb, word in _named(_text(path))
        # What replaces may be a module; what is used is always a directory, also as a bare word.
        if verb == "use" or word.startswith(("./", "../", "/")) or word in (".", "..")
    )


def module_path(path: str) -> str:
    """The path that the go.mod at `path` gives its module, or the empty string."""
    for line in _text(path).splitlines():
        words = _words(line.split("//", 1)[0])
        if words[:1] == ["module"]:
            return words[1] if len(words) > 1 else ""
    return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _named(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    block = ""
    for line in text.splitlines():
        words = _words(line.split("//", 1)[0])
        if not words:
            continue
        if words[0] == ")":
            block = ""
            continue
        verb = block
        if not verb:
            verb, words = words[0], words[1:]
            if words[:1] == ["("]:
                block = verb
                continue
        if verb == "use":
            found += [(verb, word) for word in words[:1]]
        elif verb == "replace" and "=>" in words:
            found += [(verb, word) for word in words[words.index("=>") + 1 :][:1]]
    return found


def _words(line: str) -> list[str]:
    return ["".join(match.groups(default="")) for match in _WORD.finditer(line)]
