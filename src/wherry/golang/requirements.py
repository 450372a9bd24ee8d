# SPDX-License-Identifier: Apache-2.0
"""What a go.mod asks for: Go versions and modules; and which modules Go's private patterns name.

Source: the Go Modules Reference, sections "go.mod files" and "Private modules".
"""

from __future__ import annotations

import fnmatch
import re
from typing import NamedTuple

from wherry.golang.modfile import read_module_file

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|([^\s()]+)|([()])')
_NUMBERS = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:(rc|beta)(\d+))?")


class Requirements(NamedTuple):
    """A go.mod's lines: `go` and `toolchain` as written, modules as (path, version).

    `source` is the file that asks for that Go; `exact` the one that settings name, whatever else
    is asked for.
    """

    go: str = ""
    toolchain: str = ""
    modules: tuple[tuple[str, str], ...] = ()
    source: str = "go.mod"
    exact: str = ""

    @property
    def newest(self) -> str:
        """The Go that is wanted, without `go` in front: the newer of both lines; maybe empty."""
        named = self.toolchain.removeprefix("go") if self.toolchain.startswith("go") else ""
        return max(self.go, named, key=version_order)


def read_requirements(path: str) -> Requirements:
    """The lines of the go.mod at `path`; none of a file that cannot be read.

    A syntax error is left to go to report, and so is what `replace` and `exclude` change.
    """
    versions: dict[str, str] = {}
    modules: list[tuple[str, str]] = []
    block = ""
    for line in read_module_file(path).splitlines():
        words = ["".join(match.groups(default="")) for match in _WORD.finditer(_bare(line))]
        if words[:1] == [")"]:
            block = ""
        elif words[1:2] == ["("]:
            block = words[0]
        elif words:
            verb, rest = (block, words) if block else (words[0], words[1:])
            if verb == "require" and len(rest) >= 2:
                modules.append((rest[0], rest[1]))
            elif verb in ("go", "toolchain") and rest:
                versions[verb] = rest[0]
    return Requirements(versions.get("go", ""), versions.get("toolchain", ""), tuple(modules))


def version_order(version: str) -> tuple[int, int, int, int, int]:
    """Sorts Go versions: 1.9 before 1.21, 1.27rc1 before 1.27.0; what is none comes first."""
    match = _NUMBERS.match(version.removeprefix("go"))
    if match is None:
        return (-1, 0, 0, 0, 0)
    # go.dev/doc/toolchain: 1.27 < 1.27rc1 < 1.27.0.
    stage = 2 if match[3] else {"beta": 0, "rc": 1}.get(match[4] or "", -1)
    return (int(match[1]), int(match[2] or 0), int(match[3] or 0), stage, int(match[5] or 0))


def is_matched(patterns: str, path: str) -> bool:
    """Whether one of the patterns of GOPRIVATE and its kind matches a prefix of a module's path."""
    for pattern in filter(None, (part.strip().rstrip("/") for part in patterns.split(","))):
        elements = pattern.split("/")
        prefix = path.split("/")[: len(elements)]
        if len(prefix) == len(elements) and all(
            fnmatch.fnmatchcase(part, form.replace("[^", "[!"))
            for part, form in zip(prefix, elements, strict=True)
        ):
            return True
    return False


def _bare(line: str) -> str:
    return line.split("//", 1)[0]
