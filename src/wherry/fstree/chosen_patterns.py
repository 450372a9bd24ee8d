# SPDX-License-Identifier: Apache-2.0
"""Which paths below a live directory a pattern of `files` means.

A pattern is matched component by component: `*`, `?` and `[...]` stay within a name, as in COPY
(`wherry.fstree.wildcard`), and a component `**` stands for any directories, also none. A directory
that matches is taken whole, so nothing below it is matched again. Links are not passed through, and
version control's own directories are left out unless the pattern spells their names.
"""

from __future__ import annotations

import stat
from typing import Final, NamedTuple

from wherry.errors import UsageError, near
from wherry.fstree.live_tree import LiveTree
from wherry.fstree.wildcard import WildcardError, has_wildcard, match

VERSION_CONTROL: Final = frozenset((".git", ".hg", ".svn", ".bzr"))
"""Names that a whole directory or a wildcard never takes: they may hold credentials."""

ANY_DIRECTORIES: Final = "**"
# Names to choose a near one from, and to show.
_MOST_NAMES: Final = 5_000
_SHOWN: Final = 8


class Pattern(NamedTuple):
    """`source` as the user wrote it, cut before its first component with a wildcard.

    `base` is a normal path, `rest` the components from there on; without any it names one path.
    """

    source: str
    base: str
    rest: tuple[str, ...]


def parse_pattern(source: str) -> Pattern:
    """The pattern that `from` says; raises `UsageError` for a path that is none of the module's."""
    _refuse_foreign(source)
    parts = [part for part in source.split("/") if part not in ("", ".")]
    # A backslash is the wildcards' escape; a class may not hold a slash here.
    first = next((at for at, part in enumerate(parts) if _is_pattern(part)), len(parts))
    rest = tuple(parts[first:])
    # Where nothing is there to be matched, a bad pattern is still refused.
    for part in rest:
        try:
            match(part, part)
        except WildcardError as error:
            raise UsageError(
                f"`files` takes {source!r}, which is no pattern",
                why=f"{part!r}: {error.why}",
                hint="put a backslash before a character that stands for itself",
            ) from None
    return Pattern(source, "/".join(parts[:first]), rest)


def matches(tree: LiveTree, base: str, rest: tuple[str, ...]) -> list[str]:
    """The paths below the directory `base` that match, sorted; `rest` is not empty."""
    found: list[str] = []
    todo = [(base, _closed({0}, rest))]
    while todo:
        directory, states = todo.pop()
        inner: list[tuple[str, frozenset[int]]] = []
        for name, status in tree.children(directory).items():
            after = _step(states, name, rest)
            path = f"{directory}/{name}" if directory else name
            if len(rest) in after:
                found.append(path)
            elif after and stat.S_ISDIR(status.st_mode):
                inner.append((path, after))
        todo += inner
    return sorted(found, key=lambda path: path.split("/"))


def nothing_matches(tree: LiveTree, pattern: Pattern) -> UsageError:
    """The error for a pattern that means nothing, with what there is in its place."""
    here = real = ""
    for part in pattern.base.split("/") if pattern.base else ():
        status = tree.status(real)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return _nothing(pattern, f"{here!r} is a file", "")
        below = f"{real}/{part}" if real else part
        here = f"{here}/{part}" if here else part
        found = tree.real(below)
        inside = None if found is None else tree.inside(found)
        if inside is None:
            names = tuple(tree.children(real))[:_MOST_NAMES]
            if part in names:
                return _nothing(pattern, f"{here!r} is a link to {tree.link(below)!r}", "")
            return _nothing(pattern, f"{here!r} is not there", near(part, names) or _listed(names))
        real = inside
    status = tree.status(real)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return _nothing(pattern, f"{here!r} is a file", "")
    where = repr(here) if here else "the module's root"
    names = tuple(tree.children(real))[:_MOST_NAMES]
    why = f"nothing in {where} matches {'/'.join(pattern.rest)!r}"
    return _nothing(pattern, why, near(pattern.rest[0], names) or _listed(names))


def _nothing(pattern: Pattern, why: str, hint: str) -> UsageError:
    what = f"`files` takes {pattern.source!r}, which matches nothing"
    return UsageError(what, why=why, hint=hint or "name what is there, or leave the entry out")


def _listed(names: tuple[str, ...]) -> str:
    if not names:
        return "the directory is empty"
    more = ", ..." if len(names) > _SHOWN else ""
    return "it holds " + ", ".join(repr(name) for name in names[:_SHOWN]) + more


def _refuse_foreign(source: str) -> None:
    why = ""
    if not source:
        why = "it is empty"
    elif "\0" in source:
        why = "it holds a NUL character"
    elif source.startswith("/"):
        why = "it is absolute"
    elif ".." in source.split("/"):
        why = "it holds '..'"
    if why:
        raise UsageError(
            f"`files` cannot take {source!r}",
            why=f"{why}; sources lie in the module",
            hint="write the path from the directory of wherry.toml on",
        )


def _is_pattern(part: str) -> bool:
    return has_wildcard(part) or "\\" in part


def _closed(states: set[int], rest: tuple[str, ...]) -> frozenset[int]:
    """With the states behind each `**`, which may stand for no directory at all."""
    for state in sorted(states):
        ahead = state
        while ahead < len(rest) - 1 and rest[ahead] == ANY_DIRECTORIES:
            ahead += 1
            states.add(ahead)
    return frozenset(states)


def _step(states: frozenset[int], name: str, rest: tuple[str, ...]) -> frozenset[int]:
    """The states after one more component `name`; `len(rest)` means that the path matches."""
    after: set[int] = set()
    hidden = name in VERSION_CONTROL
    for state in states:
        part = rest[state]
        if part == ANY_DIRECTORIES:
            if hidden:
                continue
            # At the end it takes everything, whole.
            after.add(state if state < len(rest) - 1 else len(rest))
        elif (not hidden or part == name) and match(part, name):
            after.add(state + 1)
    if len(rest) in after:
        return frozenset((len(rest),))
    return _closed(after, rest)
