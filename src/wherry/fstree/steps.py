# SPDX-License-Identifier: Apache-2.0
"""The entries below a source of a COPY, in the order in which they are copied.

A directory comes before what it holds, names in the order of their characters. No link is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from wherry.fstree.files import Files
from wherry.fstree.ignore import TOP, IgnoreRules
from wherry.fstree.missing import NotFound
from wherry.fstree.tree import Directory, Entry


class Step(NamedTuple):
    """One entry that a copy takes.

    `below` is its path below the source, empty for the source itself. `is_parent`: a directory
    that no pattern asks for, but something in it.
    """

    below: str
    entry: Entry
    is_parent: bool


def all_below(tree: Files, top: str) -> Iterator[Step]:
    """Everything below the directory `top`."""
    entry_of = tree.entry
    pending = [(top, "", iter(tree.names(top)))]
    while pending:
        directory, above, names = pending[-1]
        for name in names:
            path = f"{directory}/{name}" if directory else name
            entry = entry_of(path) or _still_there(tree, path)
            below = f"{above}/{name}" if above else name
            yield Step(below, entry, False)
            if type(entry) is Directory:
                pending.append((path, below, iter(tree.names(path))))
                break
        else:
            pending.pop()


@dataclass(slots=True)
class _Level:
    """A directory on the way down; `waiting` is its step as long as nothing in it was taken.

    `included` and `excluded` are the states of the patterns.
    """

    path: str
    below: str
    names: Iterator[str]
    waiting: Step | None
    included: int
    excluded: int


def some_below(
    tree: Files, top: str, includes: IgnoreRules | None, excludes: IgnoreRules
) -> Iterator[Step]:
    """What is below the directory `top`, matches `includes` and does not match `excludes`.

    Patterns are about paths below `top`. A directory that does not match itself comes before the
    first thing in it that does.
    """
    levels = [_Level(top, "", iter(tree.names(top)), None, TOP, TOP)]
    while levels:
        level = levels[-1]
        name = next(level.names, None)
        if name is None:
            levels.pop()
            continue
        below = f"{level.below}/{name}" if level.below else name
        is_taken, included = (
            (True, TOP) if includes is None else includes.step(below, level.included)
        )
        is_excluded, excluded = excludes.step(below, level.excluded)
        if is_excluded and not excludes.may_hold_included(below):
            continue
        entry = _still_there(tree, f"{level.path}/{name}" if level.path else name)
        if is_taken and not is_excluded:
            # Directories on the way come with the first thing that is taken in them.
            for outer in levels:
                if outer.waiting:
                    yield outer.waiting
                    outer.waiting = None
            yield Step(below, entry, is_parent=False)
        if isinstance(entry, Directory):
            waiting = None if is_taken and not is_excluded else Step(below, entry, is_parent=True)
            names = iter(tree.names(entry.path))
            levels.append(_Level(entry.path, below, names, waiting, included, excluded))


def _still_there(tree: Files, path: str) -> Entry:
    entry = tree.entry(path)
    if entry is None:
        raise NotFound(f"/{path}", why="it was there a moment ago")
    return entry
