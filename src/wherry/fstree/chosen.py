# SPDX-License-Identifier: Apache-2.0
"""Files chosen from a live directory for an image: what `files` in wherry.toml says, carried out.

Choosing looks at the disk once, reads every content for its digest and gives entries with the paths
that the user wrote; where these lie in an image, and who owns them, depends on the base
(`wherry.fstree.placed`). Modes are 0755 for directories and executables, else 0644, so that neither
umask nor a checkout's habits reach an image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from wherry.errors import SeveralErrors, UsageError
from wherry.fstree.chosen_links import refuse_leaving
from wherry.fstree.chosen_patterns import (
    VERSION_CONTROL,
    Pattern,
    matches,
    nothing_matches,
    parse_pattern,
)
from wherry.fstree.followed import followed
from wherry.fstree.live_tree import LiveTree, Statuses, refuse_special
from wherry.fstree.tree import Directory, File, Symlink
from wherry.oci.digest import Digest

_EXECUTE = 0o100


class Wanted(NamedTuple):
    """One entry of `files`: take `source` of the module to `target` in the image.

    `source` is a path or pattern (`wherry.fstree.chosen_patterns`). A `target` with a slash at its
    end is a directory to put things into; else it is the name of the one thing that is taken. What
    a directory holds goes right into `/`, though.
    `owner` is text as the user wrote it, empty for root. `mode` is that of files, None for the
    usual; directories can then also be entered by whoever may read them. With `follow` the source
    is a plain path, and links are replaced by what they lead to.
    """

    source: str
    target: str
    owner: str = ""
    mode: int | None = None
    follow: bool = False


class Taken(NamedTuple):
    """A file, link or directory that was chosen: `entry.path` is as the user's `to` has it.

    The path is empty for the image's root. `source` is where it was found, for people.
    """

    wanted: Wanted
    source: str
    entry: Directory | File | Symlink


class Read(NamedTuple):
    """A file that was read: its absolute path, its status then, the content's digest.

    `settled`: a later change of it must show in its status.
    """

    path: str
    status: os.stat_result
    digest: Digest
    settled: bool


class Listed(NamedTuple):
    """A directory whose names counted, and each name's mode with its file type."""

    path: str
    names: tuple[tuple[str, int], ...]


class Chosen(NamedTuple):
    """What was taken, and what was looked at for it; all paths of this machine are absolute.

    `links` are the links that were met and their targets, `leads` the real paths of what was
    reached through links.
    """

    taken: tuple[Taken, ...] = ()
    read: tuple[Read, ...] = ()
    listed: tuple[Listed, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    leads: tuple[tuple[str, str], ...] = ()

    def paths(self) -> tuple[str, ...]:
        """Everything on this machine that was looked at."""
        found = {item.path for item in self.read} | {item.path for item in self.listed}
        found |= {path for path, _ in self.links} | {path for path, _ in self.leads}
        return tuple(sorted(found))


def choose(
    root: str,
    wanted: Iterable[Wanted],
    check: Callable[[], None] = lambda: None,
    git_directory: str = "",
) -> Chosen:
    """Take what `wanted` says from the directory `root` (absolute).

    `git_directory` is the repository's own directory, some of which followed links may name.
    Raises `UsageError`, or `SeveralErrors` for several entries: for a pattern that matches nothing
    or is none, a link that leaves what is taken, a device, socket or pipe. Raises `BuildError` for
    what cannot be read or changes meanwhile, and what `check` raises.
    """
    found: list[Taken] = []
    errors: list[UsageError] = []
    with LiveTree(root, check) as tree, _Repository(git_directory, check) as git:
        for item in wanted:
            try:
                found.extend(_taken(tree, git.tree, item))
            except UsageError as error:
                errors.append(error)
        if errors:
            raise errors[0] if len(errors) == 1 else SeveralErrors(tuple(errors))
        looks = [_looked_at(tree)] + ([_looked_at(git.tree)] if git.tree is not None else [])
        return joined((Chosen(tuple(found)), *looks))


def joined(several: Iterable[Chosen]) -> Chosen:
    """Several choices as one, in their order."""
    parts = tuple(several)
    return Chosen(
        tuple(item for part in parts for item in part.taken),
        tuple(item for part in parts for item in part.read),
        tuple(item for part in parts for item in part.listed),
        tuple(item for part in parts for item in part.links),
        tuple(item for part in parts for item in part.leads),
    )


class _Repository:
    """The git directory as a live tree, opened only where there is one."""

    def __init__(self, directory: str, check: Callable[[], None]) -> None:
        self.tree = LiveTree(directory, check) if directory else None

    def __enter__(self) -> _Repository:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.tree is not None:
            self.tree.__exit__()


def _looked_at(tree: LiveTree) -> Chosen:
    return Chosen(
        read=tuple(
            Read(tree.absolute(path), status, tree.digests[path], path in tree.settled)
            for path, status in sorted(tree.read.items())
        ),
        listed=tuple(
            Listed(tree.absolute(path), _modes(tree.children(path))) for path in sorted(tree.listed)
        ),
        links=tuple((tree.absolute(path), text) for path, text in sorted(tree.links.items())),
        leads=tuple((tree.absolute(path), real) for path, real in sorted(tree.leads.items())),
    )


def _modes(children: Statuses) -> tuple[tuple[str, int], ...]:
    return tuple((name, status.st_mode) for name, status in children.items())


def _taken(tree: LiveTree, git: LiveTree | None, wanted: Wanted) -> Iterator[Taken]:
    """What one entry takes."""
    target = _target(wanted.target)
    source = wanted.source
    pattern = Pattern(source, source, ()) if wanted.follow else parse_pattern(source)
    base = _base(tree, pattern)
    into = wanted.target.endswith("/")
    if not pattern.rest:
        name = pattern.base.rpartition("/")[2]
        # What a whole directory holds can become the root's in no other way.
        within = into and (target or not _is_directory(tree, base))
        place = _joined(target, name) if within else target
        if wanted.follow:
            yield from _followed(tree, git, wanted, base, place)
        else:
            yield from _whole(tree, wanted, base, place)
        return
    found = matches(tree, base, pattern.rest)
    if not found:
        raise nothing_matches(tree, pattern)
    if not into and len(found) > 1:
        raise UsageError(
            f"`files` takes {len(found)} things to {wanted.target!r}",
            why=f"{pattern.source!r} matches {found[0]!r}, {found[1]!r}"
            + (" and more" if len(found) > 2 else ""),
            hint=f'write to = "{wanted.target}/" to put them into that directory',
        )
    yield from _matched(tree, wanted, base, tuple(found))


def _matched(tree: LiveTree, wanted: Wanted, base: str, found: tuple[str, ...]) -> Iterator[Taken]:
    """What matched, each under its path from the first wildcard on, or as the target's name."""
    target = _target(wanted.target)
    into = wanted.target.endswith("/")
    links: dict[str, str] = {}
    prefix = f"{base}/" if base else ""
    for path in found:
        below = path.removeprefix(prefix)
        status = tree.status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            inner: dict[str, str] = {}
            yield from _below(tree, wanted, path, _joined(target, below) if into else target, inner)
            if not into:
                # Under another name, what it holds may lead only to what it holds.
                _refuse_leaving(inner, ("",), path)
                return
            links |= {_joined(below, link): text for link, text in inner.items()}
            continue
        place = _joined(target, below) if into else target
        yield from _single(tree, wanted, path, place)
        if status is not None and stat.S_ISLNK(status.st_mode):
            links[below] = tree.link(path)
    _refuse_leaving(links, tuple(path.removeprefix(prefix) for path in found), base)


def _whole(tree: LiveTree, wanted: Wanted, path: str, place: str) -> Iterator[Taken]:
    """What a path without wildcards names: a file, or a directory with all it holds."""
    if not _is_directory(tree, path):
        yield from _single(tree, wanted, path, place)
        return
    links: dict[str, str] = {}
    yield from _below(tree, wanted, path, place, links)
    _refuse_leaving(links, ("",), path)


def _below(
    tree: LiveTree, wanted: Wanted, top: str, place: str, links: dict[str, str]
) -> Iterator[Taken]:
    """A directory and what it holds; puts its links into `links`, by path below it."""
    yield Taken(wanted, top or ".", Directory(place, directory_mode(wanted.mode)))
    todo = [(top, "")]
    while todo:
        directory, below = todo.pop()
        for name, status in tree.children(directory).items():
            if name in VERSION_CONTROL:
                continue
            path, inner = _joined(directory, name), _joined(below, name)
            if stat.S_ISDIR(status.st_mode):
                entry = Directory(_joined(place, inner), directory_mode(wanted.mode))
                yield Taken(wanted, path, entry)
                todo.append((path, inner))
                continue
            if stat.S_ISLNK(status.st_mode):
                links[inner] = tree.link(path)
            yield _leaf(tree, wanted, path, status, _joined(place, inner))


def _single(tree: LiveTree, wanted: Wanted, path: str, place: str) -> Iterator[Taken]:
    status = tree.status(path)
    if status is None:
        raise UsageError(f"{path!r} is gone", hint="build again")
    if not place:
        raise UsageError(
            f"`files` takes {path!r} to {wanted.target!r}",
            why="that is the image's root, a directory",
            hint="say where in it the file goes",
        )
    yield _leaf(tree, wanted, path, status, place)


def _leaf(tree: LiveTree, wanted: Wanted, path: str, status: os.stat_result, place: str) -> Taken:
    """A file or link as it goes into the image."""
    if stat.S_ISLNK(status.st_mode):
        return Taken(wanted, path, Symlink(place, tree.link(path)))
    if not stat.S_ISREG(status.st_mode):
        raise refuse_special(path, status)
    mode = file_mode(status, wanted.mode)
    return Taken(wanted, path, File(place, tree.content(path, status), mode))


def _followed(
    tree: LiveTree, git: LiveTree | None, wanted: Wanted, base: str, place: str
) -> Iterator[Taken]:
    """As `_whole`, each link replaced by what it leads to."""
    for found in followed(tree, git, base):
        path = _joined(place, found.below)
        source = _joined(wanted.source, found.below)
        if found.is_directory:
            yield Taken(wanted, source, Directory(path, directory_mode(wanted.mode)))
        elif not path:
            raise UsageError(f"{source!r} is a file, the image's root a directory")
        else:
            mode = file_mode(found.status, wanted.mode)
            content = found.tree.content(found.path, found.status)
            yield Taken(wanted, source, File(path, content, mode))


def file_mode(status: os.stat_result, mode: int | None) -> int:
    """A file's mode in the image: as the user says, else by whether its owner may execute it."""
    if mode is not None:
        return mode
    return 0o755 if status.st_mode & _EXECUTE else 0o644


def directory_mode(mode: int | None) -> int:
    """A directory's mode where files get `mode`: who may read them may also enter.

    Set-user-id means nothing for directories and is left out.
    """
    return 0o755 if mode is None else (mode & 0o3777) | (mode & 0o444) >> 2


def _base(tree: LiveTree, pattern: Pattern) -> str:
    """The pattern's path without wildcards, its links followed; it has to stay in the module."""
    real = tree.real(pattern.base)
    if real is None:
        raise nothing_matches(tree, pattern)
    base = tree.inside(real)
    if base is None:
        raise UsageError(
            f"{pattern.source!r} leads out of the module",
            why=f"it is a symbolic link, or behind one, and leads to {real!r}",
            hint="copy the files into the module, or name others",
        )
    if pattern.rest and not _is_directory(tree, base):
        raise nothing_matches(tree, pattern)
    return base


def _is_directory(tree: LiveTree, path: str) -> bool:
    status = tree.status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _refuse_leaving(links: dict[str, str], sources: tuple[str, ...], base: str) -> None:
    refuse_leaving(links, sources, {path: _joined(base, path) for path in links})


def _target(text: str) -> str:
    """The path in the image, relative and normal; raises `UsageError`."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not text.startswith("/") or ".." in parts or "\0" in text:
        raise UsageError(
            f"`files` cannot write to {text!r}",
            why="a place in the image is an absolute path without '..'",
            hint=f'write to = "/{text.lstrip("/.")}"',
        )
    return "/".join(parts)


def _joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and name else directory or name
