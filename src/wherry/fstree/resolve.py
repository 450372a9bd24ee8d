# SPDX-License-Identifier: Apache-2.0
"""Symbolic links followed inside a tree, as the kernel would with the tree as its root.

Absolute targets begin at the tree's root and `..` stops there, so that no path leads out of it.
"""

from __future__ import annotations

from typing import Final

from wherry.errors import UsageError
from wherry.fstree.files import Files
from wherry.fstree.tree import Symlink

# As many as Go's path/filepath and containerd follow before they call it a loop.
_MOST_LINKS: Final = 255
# Hostile links may have targets of thousands of components each.
_MOST_STEPS: Final = 16_384


def resolve(files: Files, path: str, *, last: bool = True) -> str:
    """The path that `path` leads to in `files`, with all its links followed.

    `path` may begin at the root or not, and hold `.`, `..` and empty components. What is not there
    is kept as it is written, and so is what stands below a file. With `last` False a link in the
    last place stays. Raises `UsageError` for more than 255 links, which is a loop.
    """
    done: list[str] = []
    todo = _parts(path)
    links = steps = 0
    while todo:
        steps += 1
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        here = "/".join((*done, part))
        entry = files.entry(here) if todo or last else None
        if not isinstance(entry, Symlink):
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS or steps + len(todo) > _MOST_STEPS:
            raise UsageError(
                f"cannot follow the links in /{path.strip('/')}",
                why=f"there are more than {_MOST_LINKS} on the way: they lead in a circle",
            )
        if entry.target.startswith("/"):
            done.clear()
        todo.extend(_parts(entry.target))
    return "/".join(done)


def _parts(path: str) -> list[str]:
    """The components of `path`, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
