# SPDX-License-Identifier: Apache-2.0
"""In what two file trees differ, so that people can read it: a directory that only one of them has
is one difference, not thousands. Times are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from wherry.fstree.files import Files
from wherry.fstree.tree import Directory, Entry, File, HardLink, Special, Symlink


class Difference(NamedTuple):
    """A path from the root, with `/` at its end for a directory, that is not the same in both.

    `kind` says which tree has it, or `changed`; `what` is then in what: `kind`, or some of
    `content`, `target`, `device`, `mode`, `owner`, `attributes`. `before` and `after` are bytes,
    with all that is below; None where it is not there, and for a directory that both have. `files`
    counts the files below a directory that only one tree has.
    """

    path: str
    kind: Literal["before", "after", "changed"]
    what: tuple[str, ...] = ()
    before: int | None = None
    after: int | None = None
    files: int = 1

    @property
    def weight(self) -> int:
        """How much of the trees it is about, in bytes."""
        return max(self.before or 0, self.after or 0)


def differences(before: Files, after: Files) -> Iterator[Difference]:
    """All differences, directories before what is in them."""
    waiting = [""]
    root = _changed(before, after, "")
    if root is not None:
        yield root
    while waiting:
        directory = waiting.pop()
        for name in sorted({*before.names(directory), *after.names(directory)}):
            path = f"{directory}/{name}" if directory else name
            one, other = before.entry(path), after.entry(path)
            if one is None:
                size, files = _weigh(after, path)
                yield Difference(_shown(path, other), "after", after=size, files=files)
            elif other is None:
                size, files = _weigh(before, path)
                yield Difference(_shown(path, one), "before", before=size, files=files)
            else:
                found = _changed(before, after, path)
                if found is not None:
                    yield found
                if isinstance(one, Directory) and isinstance(other, Directory):
                    waiting.append(path)


def _changed(before: Files, after: Files, path: str) -> Difference | None:
    one, other = before.entry(path), after.entry(path)
    if one is None or other is None:
        return None
    what = tuple(_what(before, after, one, other))
    if not what:
        return None
    sizes: tuple[int | None, int | None] = (None, None)
    if not isinstance(one, Directory) or not isinstance(other, Directory):
        sizes = (_weigh(before, path)[0], _weigh(after, path)[0])
    return Difference(_shown(path, other), "changed", what, *sizes)


def _what(before: Files, after: Files, one: Entry, other: Entry) -> Iterator[str]:
    found = _content(before, after, one, other)
    if found:
        yield found
    if found == "kind" or isinstance(one, HardLink) or isinstance(other, HardLink):
        return
    # Links have no mode, devices no attributes.
    if getattr(one, "mode", 0) != getattr(other, "mode", 0):
        yield "mode"
    if (one.uid, one.gid) != (other.uid, other.gid):
        yield "owner"
    if sorted(getattr(one, "xattrs", ())) != sorted(getattr(other, "xattrs", ())):
        yield "attributes"


def _content(before: Files, after: Files, one: Entry, other: Entry) -> str:
    """What of an entry's own is different; empty for none."""
    match one, other:
        case File(), File():
            same = one.content.size == other.content.size
            return "" if same and before.digest(one) == after.digest(other) else "content"
        case Symlink(), Symlink():
            return "" if one.target == other.target else "target"
        case Special(), Special():
            same = (one.kind, one.major, one.minor) == (other.kind, other.major, other.minor)
            return "" if same else "device"
        case Directory(), Directory():
            return ""
    return "kind"


def _weigh(files: Files, path: str) -> tuple[int, int]:
    """Bytes and number of what is at a path and below it; names of one file count once."""
    size = number = 0
    seen: set[int] = set()
    waiting = [path]
    while waiting:
        here = waiting.pop()
        entry = files.entry(here)
        if isinstance(entry, Directory):
            waiting += (f"{here}/{name}" for name in files.names(here))
            continue
        number += 1
        if isinstance(entry, File) and (not entry.inode or entry.inode not in seen):
            seen.add(entry.inode)
            size += entry.content.size
    return size, number


def _shown(path: str, entry: Entry | None) -> str:
    end = "/" if isinstance(entry, Directory) and path else ""
    return f"/{path}{end}"
