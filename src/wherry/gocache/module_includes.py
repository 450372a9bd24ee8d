# SPDX-License-Identifier: Apache-2.0
"""Files that a package's assembly includes by a path, from other directories of its module.

`go list` does not name them. Go's assembler looks for `#include "../x/y.h"` from the package's own
directory, also where the line stands in an included file. Source: `go doc cmd/asm`, and the working
directory that `go build -x` shows.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from wherry.golang.packages import Package

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]*)"', re.MULTILINE)
_INCLUDING = (".s", ".S", ".sx", ".h")
_LIMIT = 16 << 20


def included(package: Package, directory: str, files: Container[str]) -> set[str]:
    """The files of its module that a package includes by a path, whatever the platform.

    `directory` is the package's, and all names are, relative to the module's root; `files` are all
    that the module has.
    """
    names = (*package.s_files, *package.h_files, *package.ignored_other_files)
    waiting = [posixpath.join(directory, name) for name in names if name.endswith(_INCLUDING)]
    seen = set(waiting)
    root = package.dir[: len(package.dir) - len(directory)]
    while waiting:
        for target in _INCLUDE.findall(_bytes(os.path.join(root, waiting.pop()))):
            path = posixpath.normpath(posixpath.join(directory, os.fsdecode(target)))
            if path in files and path not in seen:
                seen.add(path)
                waiting.append(path)
    return {path for path in seen if posixpath.dirname(path) != directory}


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LIMIT)
    except OSError:
        return b""
