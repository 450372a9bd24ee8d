# SPDX-License-Identifier: Apache-2.0
"""Which modules of a Go cache a step sees: those that its go.sum files vouch for.

A cache has modules of many builds, and of cache places. A step that found more than its own would
go on where a build from nothing fails, or take a version that has other files by now. What the
go.sum files at and below its working directory do not vouch for is hidden, by overlay's marks of
removed files in a layer between the cache and the root; what earlier steps of the root saw stays
visible.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.golang.go_sum import hash_files, read_sums
from wherry.golang.module_paths import escape, unescape
from wherry.golang.module_zip import hash_zip
from wherry.sandbox.rootpath import read_bytes, resolve

PARTS: Final = ("info", "mod", "zip", "ziphash")
_SUMS: Final = ("go.sum", "go.work.sum")
# Besides, Go's mark of a tree that is not whole yet, and the tree.
_PARTIAL: Final = "partial"
_TREE: Final = "tree"
_LARGEST_FILE: Final = 32 << 20
_MOST_FILES: Final = 1000
_MOST_DIRECTORIES: Final = 100_000
_SKIPPED: Final = (".git", "node_modules")
_HASH: Final = re.compile(r"h1:[A-Za-z0-9+/]{43}=")


class Module(NamedTuple):
    """A module of a cache: path and version as Go escapes them in names."""

    path: str
    version: str

    @property
    def tree(self) -> str:
        """Its directory."""
        return f"{self.path}@{self.version}"

    @property
    def download(self) -> str:
        """Its files below cache/download, without their endings."""
        return f"cache/download/{self.path}/@v/{self.version}"

    @property
    def name(self) -> str:
        """What go.sum calls it: path and version."""
        return f"{unescape(self.path)} {unescape(self.version)}"

    def line(self, h1: str) -> str:
        """As go.sum has it."""
        return f"{self.name} {h1}"


def modules_in(top: str) -> Iterator[Module]:
    """The modules of the module cache at `top` that have a hash."""
    for path, names in _downloads(top):
        for name in names:
            if name.endswith(".ziphash"):
                yield Module(path, name.removesuffix(".ziphash"))


def vouched(root: str, directory: str) -> frozenset[str]:
    """The lines of all go.sum files at and below a directory of a root, and of a workspace's.

    Raises `OSError` for links in a circle.
    """
    top = resolve(root, directory)
    texts = []
    for path in _sum_files(root, top):
        with suppress(OSError):
            data = read_bytes(root, path.removeprefix(root), _LARGEST_FILE)
            texts.append(data.decode("utf-8", "replace"))
    sums = read_sums(texts)
    return frozenset(
        f"{path} {version} {h1}"
        for (path, version), several in sums.items()
        # Two hashes of one version: Go would not take it.
        if len(several) == 1
        for h1 in several
    )


def _sum_files(root: str, top: str) -> list[str]:
    """The files at and below `top`, and those of the directories above it."""
    if top == root:
        # The whole root: nobody keeps a module there, and looking through it takes long.
        return [f"{top}/{name}" for name in _SUMS]
    found: list[str] = []
    for directory, _, files in directories_around(root, top):
        found += [f"{directory}/{name}" for name in _SUMS if name in files]
        if len(found) > _MOST_FILES:
            break
    return found


def directories_around(root: str, top: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """The directories above `top` in a root, and those at and below it, as `os.walk` has them.

    Only so many; and none in which nobody keeps modules.
    """
    above = top
    while above.startswith(f"{root}/"):
        above = os.path.dirname(above)
        with suppress(OSError):
            yield above, [], os.listdir(above)
    for number, (directory, names, files) in enumerate(os.walk(top)):
        names[:] = [name for name in names if name not in _SKIPPED]
        yield directory, names, files
        if number > _MOST_DIRECTORIES:
            break


def hide(lower: str, mask: str, path: str, visible: Iterable[str]) -> None:
    """Hide what is not vouched for of the cache in `lower`, in the layer `mask`.

    `path` is the cache's place in the root, `visible` are lines of go.sum. Raises `OSError`.
    """
    hide_files(lower, mask, path, _Vouching(f"{lower}/fs{path}", visible).hidden())


def hide_files(lower: str, mask: str, path: str, names: Iterable[str]) -> None:
    """Hide files of the cache in `lower`, by their names in it, as `hide` does."""
    made: set[str] = set()
    for name in names:
        above = os.path.dirname(name)
        if above not in made:
            made.add(above)
            _make_above(f"{lower}/fs", f"{mask}/fs", f"{path}/{name}".strip("/"))
        os.mknod(f"{mask}/fs{path}/{name}", stat.S_IFCHR, 0)


class _Vouching:
    """What lines of go.sum vouch for in the module cache at `top`.

    Of a module that has come from a cache place there may be its zip alone, or its go.mod: each is
    compared with what go.sum says of just that.
    """

    def __init__(self, top: str, lines: Iterable[str]) -> None:
        self._top = top
        self._lines = frozenset(lines)
        self._named = frozenset(line.rpartition(" ")[0] for line in self._lines)

    def hidden(self) -> Iterator[str]:
        """All files and trees that the lines do not vouch for, by their names in the cache."""
        found = {module: {_TREE} for module in _trees(self._top)}
        for path, names in _downloads(self._top):
            for name in names:
                version, _, part = name.rpartition(".")
                if part in (*PARTS, _PARTIAL):
                    found.setdefault(Module(path, version), set()).add(part)
                else:
                    # Such as what somebody who was killed had begun: Go would tidy it up.
                    yield f"cache/download/{path}/@v/{name}"
        for module, parts in found.items():
            shown = self._shown(module, parts)
            for part in sorted(parts):
                if not shown[part]:
                    yield module.tree if part == _TREE else f"{module.download}.{part}"

    def _shown(self, module: Module, parts: set[str]) -> dict[str, bool]:
        """Whether the step may see each part of a module; `parts` are those that there are."""
        if "ziphash" in parts:
            files = _PARTIAL not in parts and module.line(hash_of(self._top, module)) in self._lines
        else:
            files = "zip" in parts and self._is_right_zip(module)
        gomod = self._is_right_gomod(module, known=files)
        is_bare = not parts & {"zip", "ziphash"}
        return {
            _TREE: files and "ziphash" in parts,
            "ziphash": files,
            "zip": files,
            "mod": gomod,
            # Nothing vouches for what it tells: it goes with what it is about.
            "info": gomod if is_bare else files,
            _PARTIAL: False,
        }

    def _is_right_zip(self, module: Module) -> bool:
        """Whether a zip that has no hash beside it is what go.sum says."""
        path = f"{self._top}/{module.download}.zip"
        if module.name not in self._named or os.path.islink(path):
            return False
        return module.line(hash_zip(path, module.name.replace(" ", "@"))) in self._lines

    def _is_right_gomod(self, module: Module, *, known: bool) -> bool:
        """Whether a go.mod is what go.sum says; `known`: it vouches for the module's files."""
        name = f"{module.name}/go.mod"
        if name not in self._named:
            return known
        try:
            with open(f"{self._top}/{module.download}.mod", "rb", opener=_no_link) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return False
        return f"{name} {hash_files([('go.mod', digest)])}" in self._lines


def _trees(top: str) -> Iterator[Module]:
    """The modules that have a directory in the cache at `top`."""
    for directory, names, _ in os.walk(top):
        below = os.path.relpath(directory, top)
        if below == ".":
            names[:] = [name for name in names if name != "cache"]
        for name in names:
            path, mark, version = os.path.normpath(f"{below}/{name}").rpartition("@")
            if mark:
                yield Module(path, version)
        names[:] = [name for name in names if "@" not in name]


def _downloads(top: str) -> Iterator[tuple[str, list[str]]]:
    """The paths of modules that the cache at `top` has downloads of, with the files' names."""
    downloads = f"{top}/cache/download"
    for directory, _, names in os.walk(downloads):
        if os.path.basename(directory) == "@v":
            yield os.path.relpath(os.path.dirname(directory), downloads), sorted(names)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def lend(lower: str, mask: str, path: str, user: tuple[int, int]) -> None:
    """Make the directories that modules share a user's own, in the layer `mask`.

    Go writes there even if it has all that it needs, and an earlier step of another user may have
    seen a module without that anything was there for it to own. Raises `OSError`.
    """
    for directory, names, _ in os.walk(f"{lower}/fs{path}"):
        names[:] = [name for name in names if "@" not in name or name == "@v"]
        place = directory.removeprefix(f"{lower}/fs")
        if os.lstat(directory).st_uid != user[0]:
            _make_above(f"{lower}/fs", f"{mask}/fs", f"{place}/x".strip("/"))
            _give(f"{mask}/fs{place}", user)


def has_files(top: str, line: str) -> bool:
    """Whether the module cache at `top` has files of the module that a line of go.sum is about."""
    path, _, rest = line.partition(" ")
    version = rest.partition(" ")[0].removesuffix("/go.mod")
    module = Module(escape(path), escape(version))
    return any(os.path.lexists(f"{top}/{module.download}.{part}") for part in PARTS)


def has_tree(top: str, line: str) -> bool:
    """Whether the module cache at `top` has the files of a line of go.sum, with its hash."""
    path, version, h1 = line.split(" ")
    module = Module(escape(path), escape(version))
    if version.endswith("/go.mod") or hash_of(top, module) != h1:
        return False
    return os.path.isdir(f"{top}/{module.tree}")


def names_of(lines: Iterable[str]) -> frozenset[bytes]:
    """The modules of lines of go.sum about files, as `PATH@VERSION`."""
    words = (line.split(" ") for line in lines)
    return frozenset(os.fsencode(f"{path}@{version}") for path, version, _ in words)


def tree_of(line: str) -> str:
    """The directory in a module cache of the module whose files a line of go.sum is about.

    Empty for a line about a go.mod alone.
    """
    path, version, _ = line.split(" ")
    return "" if version.endswith("/go.mod") else f"{escape(path)}@{escape(version)}"


def hash_of(top: str, module: Module) -> str:
    """The hash that Go has written beside a module; empty where there is none."""
    found = read_start(f"{top}/{module.download}.ziphash", 100).decode("ascii", "replace").strip()
    return found if _HASH.fullmatch(found) else ""


def is_tree(name: str) -> bool:
    """Whether a directory of a module cache, by its name there, holds the files of one module."""
    above, _, last = name.rpartition("/")
    return "@" in last and "@" not in above and not name.startswith("cache/")


def read_start(path: str, most: int = 1 << 20) -> bytes:
    """The first bytes of a regular file; empty where there is none.

    Anything else is not opened at all: devices may notice.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return b""
        with open(path, "rb", buffering=0, opener=_no_link) as file:
            return file.read(most)
    except OSError:
        return b""


def _make_above(top: str, mask: str, name: str) -> None:
    """Make the directories above a file as they are in the cache: overlay shows these."""
    here = ""
    for part in name.split("/")[:-1]:
        here = f"{here}/{part}"
        with suppress(FileExistsError):
            status = os.stat(f"{top}{here}")
            os.mkdir(f"{mask}{here}")
            os.chmod(f"{mask}{here}", stat.S_IMODE(status.st_mode))
            _give(f"{mask}{here}", (status.st_uid, status.st_gid))


def _give(path: str, owner: tuple[int, int]) -> None:
    # Where there is but one id, everything is its own.
    with suppress(OSError):
        os.chown(path, *owner, follow_symlinks=False)
