# SPDX-License-Identifier: Apache-2.0
"""A live directory in which links are followed: what `kodata` means to ko.

Links may lead to anything in the module, and to the few files of the git directory that say which
commit is checked out; the rest of that directory may hold credentials. Everything is read at its
real path, where no component is a link: a link that is turned meanwhile gives an error, no file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from wherry.errors import UsageError
from wherry.fstree.chosen_patterns import VERSION_CONTROL
from wherry.fstree.live_tree import LiveTree, refuse_special

# Names in a git directory that say what is checked out (gitrepository-layout(5)).
_OPEN: Final = ("HEAD", "packed-refs", "refs")
_GIT: Final = ".git"
# Links to directories multiply what is below them.
_MOST: Final = 200_000
_HINT: Final = "make it lead to something in the module, or take it away"


class Followed(NamedTuple):
    """Something found `below` the directory: a file to be read at `path` of `tree`."""

    below: str
    is_directory: bool
    tree: LiveTree
    path: str
    status: os.stat_result


class _Place(NamedTuple):
    """A real place: a path of one of the trees."""

    tree: LiveTree
    path: str


def followed(tree: LiveTree, git: LiveTree | None, top: str) -> Iterator[Followed]:
    """What lies at the real path `top` of `tree`, and below it, the directory before its files.

    Raises `UsageError` for a link that leads nowhere, in a circle or out of the module, and for
    what is neither file, directory nor link.
    """
    status = tree.status(top)
    if status is None:
        raise UsageError(f"{top!r} is gone", hint="build again")
    first = ("", _Place(tree, top), status, (tree.absolute(top),))
    todo: list[tuple[str, _Place, os.stat_result, tuple[str, ...]]] = [first]
    count = 0
    while todo:
        below, place, status, above = todo.pop()
        count += 1
        if count > _MOST:
            raise UsageError(f"{top!r} holds more than {_MOST} files, links followed", hint=_HINT)
        is_directory = stat.S_ISDIR(status.st_mode)
        if not is_directory and not stat.S_ISREG(status.st_mode):
            raise refuse_special(_joined(top, below), status)
        yield Followed(below, is_directory, place.tree, place.path, status)
        if not is_directory:
            continue
        for name, inner in place.tree.children(place.path).items():
            if name in VERSION_CONTROL:
                continue
            shown = _joined(top, _joined(below, name))
            found, facts = _Place(place.tree, _joined(place.path, name)), inner
            if stat.S_ISLNK(inner.st_mode):
                found, facts = _behind(tree, git, found, shown)
            real = found.tree.absolute(found.path)
            if stat.S_ISDIR(facts.st_mode) and real in above:
                raise UsageError(f"the link {shown!r} leads to a directory that holds it",
                                 why="following it would never end", hint=_HINT)  # fmt: skip
            todo.append((_joined(below, name), found, facts, (*above, real)))


def _behind(
    tree: LiveTree, git: LiveTree | None, link: _Place, shown: str
) -> tuple[_Place, os.stat_result]:
    """Where a link leads, and what is there."""
    text = link.tree.link(link.path)
    real = link.tree.real(link.path)
    if real is None:
        raise UsageError(f"the symbolic link {shown!r} leads to {text!r}, which is not there",
                         hint=_HINT)  # fmt: skip
    inside = tree.inside(real)
    place = None if inside is None else _Place(tree, inside)
    if place is None and git is not None and (inside := git.inside(real)) is not None:
        place = _Place(git, inside)
    status = None if place is None else place.tree.status(place.path)
    if place is None or status is None:
        raise UsageError(
            f"the symbolic link {shown!r} leads to {text!r}, which is not in the module",
            why=f"that is {real!r}",
            hint=_HINT,
        )
    _refuse_closed(place, git, shown)
    return place, status


def _refuse_closed(place: _Place, git: LiveTree | None, shown: str) -> None:
    """Refuse what lies in a git directory and does not just say what is checked out."""
    parts = place.path.split("/")
    if place.tree is not git:
        if _GIT not in parts:
            return
        parts = parts[parts.index(_GIT) + 1 :]
    if not parts or parts[0] not in _OPEN:
        raise UsageError(
            f"the symbolic link {shown!r} leads into the git directory",
            why="its configuration may hold credentials",
            hint=f"only {', '.join(_OPEN)} of it can be taken",
        )


def _joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and name else directory or name
