# SPDX-License-Identifier: Apache-2.0
"""Go's own settings, found without starting Go: environment, the file of `go env -w`, go.env.

As Go reads them: a variable that is set and not empty counts, else the user's file, else the
`go.env` of the toolchain (`go help environment`). Only settings that no go.mod changes can be told
this way. On the way of asking a travelling record, so only os and sys.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from typing import NamedTuple

# Files of settings have a few lines; what is larger is no such file.
_LIMIT = 1 << 20


class GoSettings(NamedTuple):
    """Go's settings on this machine.

    `path` is the user's file, there or not, empty where Go looks at none; `user` and `toolchain`
    are the lines of the two files by name.
    """

    env: Mapping[str, str]
    path: str
    user: Mapping[str, str]
    toolchain: Mapping[str, str]

    def value(self, name: str) -> str:
        """What holds for a variable; empty where nobody says anything."""
        return self.env.get(name) or self.user.get(name) or self.toolchain.get(name, "")

    @property
    def module_cache(self) -> str:
        """GOMODCACHE, or where it is by default; empty where no directory can be told."""
        named = self.value("GOMODCACHE")
        if not named:
            home = self.env.get("HOME", "")
            usual = os.path.join(home, "go") if home else ""
            first = (self.value("GOPATH") or usual).split(os.pathsep)[0]
            named = os.path.join(first, "pkg", "mod") if first else ""
        return os.path.normpath(named) if os.path.isabs(named) else ""


def read_go_settings(env: Mapping[str, str], goroot: str) -> GoSettings:
    """The settings that hold under `env` for the toolchain in `goroot`."""
    path = _user_file(env)
    toolchain = _lines(os.path.join(goroot, "go.env"))
    return GoSettings(env, path, _lines(path) if path else {}, toolchain)


def _user_file(env: Mapping[str, str]) -> str:
    named = env.get("GOENV", "")
    if named:
        return "" if named == "off" else named
    home = env.get("HOME", "")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Application Support", "go", "env") if home else ""
    directory = env.get("XDG_CONFIG_HOME") or (os.path.join(home, ".config") if home else "")
    return os.path.join(directory, "go", "env") if os.path.isabs(directory) else ""


def _lines(path: str) -> dict[str, str]:
    """NAME=VALUE by line, the last one of a name; nothing of a file that cannot be read."""
    found: dict[str, str] = {}
    for line in read_small(path).decode("utf-8", "surrogateescape").split("\n"):
        name, equals, value = line.partition("=")
        if equals and "A" <= name[:1] <= "Z":
            found[name] = value
    return found


def read_small(path: str, limit: int = _LIMIT) -> bytes:
    """The first `limit` bytes of a regular file; empty where there is none that can be read."""
    return read_regular(path, limit) or b""


def read_regular(path: str, limit: int = -1) -> bytes | None:
    """The bytes of a regular file, at most `limit` of them; None where none can be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return file.read(limit)
    except (OSError, ValueError):
        return None
