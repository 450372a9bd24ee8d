# SPDX-License-Identifier: Apache-2.0
"""The error for a path that a COPY or ADD names and that is not there.

It knows what the directory that should hold the path does hold, for a near name. Whether a rule of
`.dockerignore` left the path out only the caller knows, who can have that said too.
"""

from __future__ import annotations

from typing import Self

from wherry.errors import UsageError, near
from wherry.fstree.changed import described
from wherry.fstree.files import Files
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import Directory, Symlink

# Names to choose a near one from; comparing with more takes too long for a message.
_MOST_NAMES = 5_000


class NotFound(UsageError):
    """A path to be copied that is not in its tree; `path` is absolute inside the tree."""

    def __init__(self, path: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(f"{path} is not there to be copied", why=why, hint=hint)
        self.path = path

    def hidden_by(self, rule: str, file: str) -> Self:
        """The same error for a path that the ignore rule `rule` of `file` leaves out.

        `file` is empty where no rule does, but wherry: `rule` then says why.
        """
        why = f"the rule {rule!r} of {file} leaves it out" if file else rule
        hint = f"add !{self.path.lstrip('/')} to {file}" if file else ""
        error = type(self)(self.path, why=why, hint=hint)
        error.where = self.where
        return error


def not_found(tree: Files, path: str) -> NotFound:
    """The error for `path`, with what `tree` has in its place."""
    path = path.strip("/")
    shown = f"/{path}"
    parent, _, name = path.rpartition("/")
    directory = resolve(tree, parent)
    found = tree.entry(directory)
    if isinstance(found, Directory):
        link = tree.entry(resolve(tree, path, last=False))
        if isinstance(link, Symlink):
            return NotFound(shown, why=_broken("it", link))
        names = tree.names(directory)[:_MOST_NAMES]
        why = "" if names else f"/{parent} is empty" if parent else "the tree is empty"
        return NotFound(shown, why=why, hint=near(name, names))
    return _blocked(tree, shown)


def _blocked(tree: Files, shown: str) -> NotFound:
    """The error for a path that breaks off before its last directory."""
    parts = shown.strip("/").split("/")
    for index, name in enumerate(parts):
        above, here = "/".join(parts[:index]), "/".join(parts[: index + 1])
        entry = tree.entry(resolve(tree, here))
        if isinstance(entry, Directory):
            continue
        if entry is not None:
            return NotFound(shown, why=f"/{here} is {described(entry)}")
        link = tree.entry(resolve(tree, here, last=False))
        if isinstance(link, Symlink):
            return NotFound(shown, why=_broken(f"/{here}", link))
        names = tree.names(resolve(tree, above))[:_MOST_NAMES]
        return NotFound(shown, why=f"/{here} is not there", hint=near(name, names))
    return NotFound(shown)


def _broken(what: str, link: Symlink) -> str:
    return f"{what} is a link to {link.target}, which is not there"
