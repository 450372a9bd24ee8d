# SPDX-License-Identifier: Apache-2.0
"""Modules and where Go keeps them: the paths below GOMODCACHE.

Paths in packs come from strangers: what is no name that Go itself would make is refused, before
anything is written. Sources: the Go Modules Reference, sections "Module cache" and "Module paths,
package paths and versions"; the documentation of golang.org/x/mod/module and `go help private`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wherry.gocache.table import BadPack
from wherry.golang.module_paths import escape, unescape

DOWNLOADS = "cache/download"
LISTINGS = "cache/wherry"
"""Where wherry keeps its own files in a module cache that it made; Go passes them by."""
TOOLCHAIN = "golang.org/toolchain"
_KINDS = ("mod", "info", "ziphash", "zip")
_PATH = re.compile(
    r"[a-z0-9!_~-][a-z0-9!._~-]*\.[a-z0-9!._~-]*(?:/[a-z0-9!_~-][a-z0-9!._~-]*)*", re.ASCII
)
_VERSION = re.compile(r"v[0-9][0-9a-z.+!_-]*", re.ASCII)
_BARE_MARK = re.compile(r"!(?![a-z])")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\:\ud800-\udfff]")


class ModuleVersion(NamedTuple):
    """A module as go.sum names it; as a key of sums, `version` may end in `/go.mod`."""

    path: str
    version: str

    def __str__(self) -> str:
        return f"{self.path}@{self.version}"

    @property
    def directory(self) -> str:
        """Where its files are unpacked, relative to GOMODCACHE."""
        return f"{escape(self.path)}@{escape(self.version)}"

    @property
    def listing(self) -> str:
        """Where a module cache that wherry made keeps its listing, relative to it."""
        return f"{LISTINGS}/{escape(self.path)}/@v/{escape(self.version)}.listing"

    def download(self, kind: str) -> str:
        """Its file of the kind `mod`, `info`, `ziphash` or `zip`, relative to GOMODCACHE."""
        return f"{DOWNLOADS}/{escape(self.path)}/@v/{escape(self.version)}.{kind}"


class Place(NamedTuple):
    """What a path below GOMODCACHE stands for.

    `kind` is `mod`, `info`, `ziphash`, `zip` or `listing`, or `file` for one of the module's own,
    which `name` names relative to the module's root.
    """

    module: ModuleVersion
    kind: str
    name: str = ""


def place_of(key: str) -> Place:
    """What the path `key` stands for; raises `BadPack` where Go would make no such path.

    Whatever it gives leads to a place below GOMODCACHE.
    """
    if len(key) > 4096 or _UNPRINTABLE.search(key):
        raise _refused(key)
    for root, kinds in ((DOWNLOADS, _KINDS), (LISTINGS, ("listing",))):
        if key.startswith(f"{root}/"):
            path, mark, name = key[len(root) + 1 :].partition("/@v/")
            version, dot, kind = name.rpartition(".")
            if not mark or not dot or kind not in kinds:
                raise _refused(key)
            return Place(_module(path, version, key), kind)
    path, mark, rest = key.partition("@")
    version, slash, name = rest.partition("/")
    if not mark or not slash or not _is_file_name(name):
        raise _refused(key)
    return Place(_module(path, version, key), "file", name)


def is_private(path: str, patterns: str) -> bool:
    """Whether a module's path matches one of `patterns`, as Go matches GOPRIVATE."""
    elements = path.split("/")
    for pattern in patterns.split(","):
        wanted = pattern.removesuffix("/").split("/")
        if wanted != [""] and len(wanted) <= len(elements):
            expression = _expression("/".join(wanted))
            if expression is None or expression.fullmatch("/".join(elements[: len(wanted)])):
                return True
    return False


def glob_expression(pattern: str) -> re.Pattern[str] | None:
    """A glob of Go's path.Match as a regular expression; None for a malformed one."""
    return _expression(pattern)


def _module(path: str, version: str, key: str) -> ModuleVersion:
    if (
        not _PATH.fullmatch(path)
        or not _VERSION.fullmatch(version)
        or _BARE_MARK.search(path + "\n" + version)
        or any(part.endswith(".") for part in path.split("/"))
    ):
        raise _refused(key)
    module = ModuleVersion(unescape(path), unescape(version))
    if module.path == TOOLCHAIN:
        raise BadPack("a pack holds a Go toolchain", why=key[:200])
    return module


def _is_file_name(name: str) -> bool:
    return all(
        part not in ("", ".", "..") and len(part.encode()) <= 255 for part in name.split("/")
    )


def _refused(key: str) -> BadPack:
    return BadPack("a pack names a file that no module cache has", why=repr(key)[:200])


def _expression(pattern: str) -> re.Pattern[str] | None:
    """Go's path.Match: `*` and `?` stop at a slash, `[^a-z]` negates, `\\` quotes."""
    found: list[str] = []
    rest = pattern
    while rest:
        letter, rest = rest[0], rest[1:]
        if letter in "*?":
            found.append("[^/]*" if letter == "*" else "[^/]")
        elif letter == "[":
            match = re.match(r"(\^?)((?:\\.|[^\\\]-])(?:-(?:\\.|[^\\\]-]))?)+\]", rest, re.DOTALL)
            if match is None:
                return None
            found.append(_letters(match[0][:-1]))
            rest = rest[match.end() :]
        elif letter == "\\":
            if not rest:
                return None
            found.append(re.escape(rest[0]))
            rest = rest[1:]
        else:
            found.append(re.escape(letter))
    try:
        return re.compile("".join(found), re.DOTALL)
    except re.error:
        return None


def _letters(text: str) -> str:
    """The inside of a class such as `^a-z\\]`, for Python."""
    negated, text = text.startswith("^"), text.removeprefix("^")
    pieces = re.findall(r"\\.|.", text, re.DOTALL)
    inside = "".join(
        piece if piece == "-" and 0 < number < len(pieces) - 1 else re.escape(piece[-1])
        for number, piece in enumerate(pieces)
    )
    return f"[{'^' if negated else ''}{inside}]"
