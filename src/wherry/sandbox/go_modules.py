# SPDX-License-Identifier: Apache-2.0
"""Which modules of a Go cache a step sees: those that its go.sum files vouch for.

A cache has modules of many builds. A step that found more than its own would go on where a build
from nothing fails, or take a version that has other files by now. What the go.sum files at and
below its working directory do not name is hidden, by overlay's marks of removed files in a layer
between the cache and the root; what earlier steps of the root saw stays visible.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.golang.go_sum import read_sums
from wherry.sandbox.rootpath import read_bytes, resolve

PARTS: Final = ("info", "mod", "zip", "ziphash")
_SUMS: Final = ("go.sum", "go.work.sum")
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

    def line(self, h1: str) -> str:
        """As go.sum has it."""
        return f"{unescaped(self.path)} {unescaped(self.version)} {h1}"


def unescaped(name: str) -> str:
    """A path or version as it is written: `!a` stands for `A` (Go Modules Reference)."""
    return re.sub(r"!([a-z])", lambda match: match[1].upper(), name)


def modules_in(top: str) -> Iterator[Module]:
    """The modules of the module cache at `top` that have a hash."""
    downloads = f"{top}/cache/download"
    for directory, _, names in os.walk(downloads):
        if os.path.basename(directory) == "@v":
            path = os.path.relpath(os.path.dirname(directory), downloads)
            for name in sorted(names):
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
        if len(several) == 1 and not version.endswith("/go.mod")
        for h1 in several
    )


def _sum_files(root: str, top: str) -> list[str]:
    """The files at and below `top`, and those of the directories above it."""
    found: list[str] = []
    above = top
    while above.startswith(f"{root}/"):
        above = os.path.dirname(above)
        found += [f"{above}/{name}" for name in _SUMS if os.path.isfile(f"{above}/{name}")]
    if top == root:
        # The whole root: nobody keeps a module there, and looking through it takes long.
        return [f"{top}/{name}" for name in _SUMS]
    for number, (directory, names, files) in enumerate(os.walk(top)):
        names[:] = [name for name in names if name not in _SKIPPED]
        found += [f"{directory}/{name}" for name in _SUMS if name in files]
        if number > _MOST_DIRECTORIES or len(found) > _MOST_FILES:
            break
    return found


def hide(lower: str, mask: str, path: str, visible: Iterable[str]) -> None:
    """Hide the modules of the cache in `lower` that are not visible, in the layer `mask`.

    `path` is the cache's place in the root, `visible` are lines of go.sum. Raises `OSError`.
    """
    shown = frozenset(visible)
    top = f"{lower}/fs{path}"
    for module in modules_in(top):
        if module.line(hash_of(top, module)) in shown:
            continue
        names = (module.tree, *(f"{module.download}.{part}" for part in PARTS))
        for name in names:
            if os.path.lexists(f"{top}/{name}"):
                _make_above(f"{lower}/fs", f"{mask}/fs", f"{path}/{name}".strip("/"))
                os.mknod(f"{mask}/fs{path}/{name}", stat.S_IFCHR, 0)


def own(mask: str, path: str, owner: tuple[int, int]) -> None:
    """Give a step's user the directories that Go makes first, in the layer `mask`.

    In the cache they are for every user to write to; in the root they are as if Go had just made
    them. Raises `OSError`.
    """
    here = f"{mask}/fs"
    os.makedirs(here)
    for part in f"{path}/cache/download".strip("/").split("/"):
        here = f"{here}/{part}"
        os.mkdir(here)
        os.chmod(here, 0o755)  # noqa: S103 - as any directory of a root
        with suppress(OSError):
            # Where there is but one id, everything is its own.
            os.chown(here, *owner)


def hash_of(top: str, module: Module) -> str:
    """The hash that Go has written beside a module; empty where there is none."""
    try:
        with open(f"{top}/{module.download}.ziphash", "rb") as file:
            found = file.read(100).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return found if _HASH.fullmatch(found) else ""


def _make_above(top: str, mask: str, name: str) -> None:
    """Make the directories above a file as they are in the cache: overlay shows these."""
    here = ""
    for part in name.split("/")[:-1]:
        here = f"{here}/{part}"
        with suppress(FileExistsError):
            os.mkdir(f"{mask}{here}")
            os.chmod(f"{mask}{here}", stat.S_IMODE(os.stat(f"{top}{here}").st_mode))
