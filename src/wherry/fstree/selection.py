# SPDX-License-Identifier: Apache-2.0
"""What a COPY or ADD takes out of a tree: which sources, and which entries below each.

A source's path may hold wildcards, and with `--parents` a pivot `/./`; links in it are followed
inside the tree, in the last place too. Below a source nothing is followed. The entries come in the
order in which they are copied, so that the copy and the digest of what it would write see the same.
All rules are BuildKit's, apart from three that come of how it sends a context and computes keys: it
refuses patterns that meet a broken link directly below the source; it finds nothing, where here it
is an error, below a file (of a stage); it copies files that match before the pivot, if a stage has
them or another instruction takes them too.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, assert_never

from wherry.errors import InternalError
from wherry.fstree.changed import layer_xattrs
from wherry.fstree.files import Files
from wherry.fstree.ignore import IgnoreRules
from wherry.fstree.missing import NotFound, not_found
from wherry.fstree.resolve import resolve
from wherry.fstree.steps import Step, all_below, some_below
from wherry.fstree.tree import Directory, Entry, File, HardLink, Special, Symlink, Xattrs
from wherry.fstree.wildcard import has_wildcard, match
from wherry.oci.digest import Digest

_PIVOT: Final = "/./"
_VERSION: Final = "selection/1"


def normal_path(path: str) -> str:
    """`path` from the root, without leading slash, `.`, `..` and doubled slashes.

    Links do not count: `..` takes the name before it away, and stops at the root.
    """
    return posixpath.normpath("/" + path).lstrip("/")


class Source(NamedTuple):
    """One thing to copy: `name` is what a file is called at its destination, `path` where it is."""

    name: str
    path: str


@dataclass(frozen=True)
class Selection:
    """What is taken: see `wherry.graph.ops.Copy` for the fields."""

    path: str
    parents: bool = False
    excludes: tuple[str, ...] = ()
    literal: bool = False
    unpack: bool = False

    def sources(self, tree: Files) -> tuple[Source, ...]:
        """The sources in the order of copying; none where a wildcard matches nothing.

        Raises `NotFound`, and `UsageError` for a bad pattern or links that lead in a circle.
        """
        base, pattern = self._parts()
        follows = self.unpack or not self.literal
        is_pattern = not self.literal and has_wildcard(base)
        paths = _matches(tree, base) if is_pattern else [base]
        found = tuple(_source(tree, path, follows) for path in paths)
        if pattern is None:
            return found
        # What a pattern begins at is a directory.
        inside = tuple(source for source in found if isinstance(tree.entry(source.path), Directory))
        if not inside and not is_pattern:
            raise not_found(tree, f"{base}/{pattern}")
        return inside

    def steps(self, tree: Files, source: Source) -> Iterator[Step]:
        """The source itself, and the entries below it that are taken."""
        entry = tree.entry(source.path)
        if entry is None:
            raise not_found(tree, source.path)
        yield Step("", entry, is_parent=False)
        if not isinstance(entry, Directory):
            return
        _, pattern = self._parts()
        if pattern is None and not self.excludes:
            yield from all_below(tree, source.path)
            return
        includes = None if pattern is None else IgnoreRules((pattern,))
        yield from some_below(tree, source.path, includes, IgnoreRules(self.excludes))

    def check_required(self, tree: Files, taken: bool) -> None:
        """With `--parents`, a path without wildcards has to be there: raises `NotFound`.

        `taken` says whether anything below a source was.
        """
        base, pattern = self._parts()
        if pattern is None or taken or has_wildcard(base) or has_wildcard(pattern):
            return
        path = posixpath.join(base, pattern)
        why = hint = ""
        if not pattern:
            why = "with --parents a source is something in the directory, not all of it"
            hint = f"write {base}/./* for everything in it".replace("//", "/")
        elif link := _first_link(tree, base, pattern):
            why = f"with --parents links on the way are not followed: /{link} is one"
        elif tree.entry(path) is not None:
            why = "--exclude leaves it out"
        raise NotFound(f"/{path}", why=why, hint=hint) if why else not_found(tree, path)

    def _parts(self) -> tuple[str, str | None]:
        """The path of the sources, and with `--parents` the pattern below them."""
        if not self.parents:
            return normal_path(self.path), None
        base, pivot, pattern = self.path.partition(_PIVOT)
        if not pivot:
            base, pattern = "", self.path
        return normal_path(base), normal_path(pattern)


def selection_digest(
    tree: Files,
    path: str,
    *,
    parents: bool = False,
    excludes: tuple[str, ...] = (),
    literal: bool = False,
    unpack: bool = False,
) -> Digest | None:
    """A digest of everything in `tree` that such a copy would write, times apart.

    These are names, types, modes, owners, links, capabilities and contents, and which names are of
    one file. None where wildcards match nothing. Raises what the copy would raise.
    """
    selection = Selection(path, parents, excludes, literal, unpack)
    sources = selection.sources(tree)
    parts: list[str] = [_VERSION]
    taken = False
    for source in sources:
        steps = selection.steps(tree, source)
        top = next(steps).entry
        # Of a directory only what it holds is copied, except as it is for literal paths.
        if literal or not isinstance(top, Directory):
            parts += ("source", source.name, _facts(tree, top))
        else:
            parts.append("contents")
        taken |= _add_below(parts, tree, steps)
    selection.check_required(tree, taken)
    if not sources:
        return None
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return Digest("sha256", hashlib.sha256(text).hexdigest())


def _add_below(parts: list[str], tree: Files, steps: Iterator[Step]) -> bool:
    """Add what lies below a source; whether there is anything."""
    first_names: dict[int, str] = {}
    before = len(parts)
    add, digest_of = parts.append, tree.digest
    for below, entry, _ in steps:
        add(below)
        if type(entry) is not File:
            add(_facts(tree, entry))
            continue
        if entry.inode and (first := first_names.setdefault(entry.inode, below)) != below:
            add(f"name\0{first}")
            continue
        facts = f"file\0{entry.mode:o} {entry.uid} {entry.gid} {digest_of(entry).hex}"
        add(facts + _attributes(entry.xattrs) if entry.xattrs else facts)
    return len(parts) > before


def _facts(tree: Files, entry: Entry) -> str:
    match entry:
        case Directory():
            return f"dir\0{entry.mode:o} {entry.uid} {entry.gid}" + _attributes(entry.xattrs)
        case File():
            owner = f"{entry.uid} {entry.gid}"
            facts = f"file\0{entry.mode:o} {owner} {tree.digest(entry).hex}"
            return facts + _attributes(entry.xattrs)
        case Symlink():
            return f"link\0{entry.uid} {entry.gid}\0{entry.target}" + _attributes(entry.xattrs)
        case Special():
            owner = f"{entry.uid} {entry.gid}"
            return f"{entry.kind}\0{entry.mode:o} {owner} {entry.major} {entry.minor}"
        case HardLink():
            raise InternalError(f"a readable tree has the hard link /{entry.path}")
        case _:
            assert_never(entry)


def _attributes(xattrs: Xattrs) -> str:
    return "".join(f" {value.hex()}" for _, value in layer_xattrs(xattrs))


def _source(tree: Files, path: str, follows: bool) -> Source:
    found = resolve(tree, path, last=follows)
    if tree.entry(found) is None:
        raise not_found(tree, path)
    return Source(path.rpartition("/")[2], found)


def _matches(tree: Files, path: str) -> list[str]:
    """The paths that match, in the order of the tree; below a match nothing matches again."""
    parts = path.split("/")
    at = next(index for index, part in enumerate(parts) if has_wildcard(part))
    base, pattern = resolve(tree, "/".join(parts[:at])), "/".join(parts[at:])
    if not isinstance(tree.entry(base), Directory):
        raise not_found(tree, path if tree.entry(base) else "/".join(parts[:at]))
    match(pattern, ".")  # where nothing is there to be matched, a bad pattern is still refused
    found: list[str] = []
    # The slashes of a name are those of the pattern, unless a class or an escape stands for one.
    depth = len(parts) - at if not set(pattern) & {"[", "\\"} else None
    pending = [(base, name, "", 1) for name in reversed(tree.names(base))]
    while pending:
        directory, name, above, level = pending.pop()
        below = f"{above}/{name}" if above else name
        here = f"{directory}/{name}" if directory else name
        if depth is not None and level < depth:
            is_match = False
            descends = match("/".join(parts[at : at + level]), below)
        else:
            is_match = match(pattern, below)
            descends = depth is None
        if is_match:
            found.append(here)
        elif descends and isinstance(tree.entry(here), Directory):
            pending += [(here, inner, below, level + 1) for inner in reversed(tree.names(here))]
    return found


def _first_link(tree: Files, base: str, pattern: str) -> str:
    """The first link on the way to `pattern` below `base`, except in its last place."""
    path = resolve(tree, base)
    for part in pattern.split("/")[:-1]:
        path = f"{path}/{part}" if path else part
        if isinstance(tree.entry(path), Symlink):
            return path
    return ""
