# SPDX-License-Identifier: Apache-2.0
"""The state of a part of a directory as one digest, from statuses alone.

A directory counts by its mode and by the names that can be seen in it: its times tell of hidden
names, too. A copy may follow links out of the part that it names, so where links lead belongs to
the part.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterable
from typing import Final

from wherry.fstree.scan import Scan

_FILE: Final = struct.Struct("<QIqqqQQ")
_OTHER: Final = struct.Struct("<QI")
_KIND: Final = 0o170000
# Links that lead to links: more than this many parts are unclear.
_MOST: Final = 1_000
# And so is a link that makes its own path ever longer.
_DEEPEST: Final = 255


def signature(scan: Scan, prefixes: Iterable[str], read_link: Callable[[str], str]) -> str | None:
    """A digest of what `scan` sees at and below `prefixes`, which may begin with a slash.

    None where a status proves nothing, or links lead on and on.
    """
    parts: dict[str, bytes] = {}
    todo = [_normal(prefix.split("/")) for prefix in prefixes]
    while todo:
        part = todo.pop()
        if part.count("/") > _DEEPEST:
            return None
        if _is_covered(part, parts):
            continue
        found = _Part(scan, read_link).digest(part)
        if found is None or len(parts) > _MOST:
            return None
        parts[part], more = found
        todo.extend(more)
    # The device of every file below, which is the root's.
    hasher = hashlib.sha256(_OTHER.pack(scan.root_status.st_dev, 0))
    for part in sorted(parts):
        hasher.update(part.encode("utf-8", "surrogateescape") + b"\0" + parts[part])
    return hasher.hexdigest()


class _Part:
    """One prefix: what lies there, and below it if it is a directory."""

    def __init__(self, scan: Scan, read_link: Callable[[str], str]) -> None:
        self._scan = scan
        self._read_link = read_link
        self._hasher = hashlib.sha256()
        self._leads_to: list[str] = []

    def digest(self, part: str) -> tuple[bytes, list[str]] | None:
        """The part's digest, and the paths that its links lead to; None where it is unclear."""
        here, rest = "", part.split("/") if part else []
        status = self._scan.root_status
        while rest:
            here = f"{here}/{rest[0]}" if here else rest[0]
            del rest[0]
            following = self._scan.status(here)
            if following is None:
                self._hasher.update(b"absent\0" + _bytes(here))
                return self._hasher.digest(), self._leads_to
            status = following
            if stat.S_ISLNK(status.st_mode):
                self._follow(here, rest)
                break
            # A copy with --parents takes their modes.
            if rest and not self._add(((here, status),)):
                return None
        if not self._add((("", status),)):
            return None
        if stat.S_ISDIR(status.st_mode) and not self._below(here):
            return None
        return self._hasher.digest(), self._leads_to

    def _below(self, path: str) -> bool:
        todo = [path]
        while todo:
            here = todo.pop()
            listing = sorted(self._scan.listing(here).items())
            if not self._add(listing):
                return False
            prefix = f"{here}/" if here else ""
            for name, status in listing:
                kind = status.st_mode & _KIND
                if kind == stat.S_IFDIR:
                    todo.append(prefix + name)
                elif kind == stat.S_IFLNK:
                    self._follow(prefix + name, [])
        return True

    def _add(self, listing: Iterable[tuple[str, os.stat_result]]) -> bool:
        """Count names and statuses; False where one of them proves nothing."""
        pieces: list[bytes] = []
        until, device = self._scan.settled_until, self._scan.root_status.st_dev
        pack, is_directory = _FILE.pack, stat.S_IFDIR
        # This runs for every file of a context, in every build.
        for name, status in listing:
            mode, changed = status.st_mode, status.st_ctime_ns
            raw = name.encode("utf-8", "surrogateescape")
            if mode & _KIND == is_directory:
                facts = _OTHER.pack(len(raw), mode)
            elif changed > until or status.st_dev != device:
                return False
            else:
                facts = pack(
                    len(raw), mode, status.st_size, status.st_mtime_ns, changed, status.st_ino,
                    status.st_rdev,
                )  # fmt: skip
            pieces += (facts, raw)
        self._hasher.update(_OTHER.pack(len(pieces), 0))
        self._hasher.update(b"".join(pieces))
        return True

    def _follow(self, link: str, rest: list[str]) -> None:
        """Take note of where `link` leads; `rest` is what is looked for behind it."""
        target = self._read_link(link)
        names = [name for name in (*target.split("/"), *rest) if name not in ("", ".")]
        if ".." in names[_leading(names) :]:
            # `a/../b` depends on where a leads: rather count everything.
            self._leads_to.append("")
            return
        above = [] if target.startswith("/") else link.split("/")[:-1]
        self._leads_to.append(_normal([*above, *names]))


def _is_covered(part: str, parts: dict[str, bytes]) -> bool:
    if part in parts or "" in parts:
        return True
    while "/" in part:
        part = part.rpartition("/")[0]
        if part in parts:
            return True
    return False


def _leading(names: list[str]) -> int:
    """How many `..` stand at the beginning."""
    return next((place for place, name in enumerate(names) if name != ".."), len(names))


def _normal(components: list[str]) -> str:
    """The path without empty and `.` components, `..` stopping at the root."""
    done: list[str] = []
    for name in components:
        if name == "..":
            del done[-1:]
        elif name not in ("", "."):
            done.append(name)
    return "/".join(done)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
