# SPDX-License-Identifier: Apache-2.0
"""The directory of the programs in an image, as base and files leave it.

A layer's entry for a directory gives it that entry's mode and owner, also where layers below have
the directory. So the programs' layers bring along what is there: `/app` of the base stays what it
was, as with Docker's COPY. Without an entry there would be no saying what a new `/app` is like.
"""

from __future__ import annotations

import re
from typing import Final

from wherry.errors import UsageError
from wherry.frontends.gomodule.lower import BINARY_DIRECTORY, Place
from wherry.fstree.files import Files
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import Directory, Tree
from wherry.graph.ops import Parent

# `/app` or `app/` as a path of its own: not in /usr/app, /app.d or /application.
_NAMED: Final = re.compile(rb"(?<![\w./-])(?:/app(?![\w.-])|app/)")


def names_directory(config: bytes) -> bool:
    """Whether an image's config (its history, its environment) speaks of the directory.

    Whether the image has it only its layers tell. Whoever made it left a trace there, but for files
    that were copied to the root or layers without history; and to fetch a base's layers in order to
    find that there is no `/app` would cost most builds more than all else.
    """
    return _NAMED.search(config) is not None


def program_place(base: Files, files: Tree | None = None) -> Place:
    """Where programs lie on `base` with `files` on top, and what the directories there are like.

    Links of the base on the way are followed. Raises `UsageError` where a file or a link of `files`
    is in the way.
    """
    path = resolve(base, BINARY_DIRECTORY)
    own = {entry.path: entry for entry in files.entries} if files is not None else {}
    parents: list[Parent] = []
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        here = "/".join(parts[:count])
        found = own.get(here) or base.entry(here)
        if found is None:
            continue
        if not isinstance(found, Directory):
            whose = "`files`" if here in own else "the base"
            raise UsageError(
                f"programs cannot lie in /{BINARY_DIRECTORY}",
                why=f"/{here} of {whose} is no directory",
                hint="choose another `to`" if here in own else "use another base",
            )
        parent = Parent(here, found.mode, found.uid, found.gid, found.xattrs)
        # What a layer says without being told is not worth a layer of its own.
        if parent != Parent(here):
            parents.append(parent)
    return Place(path, tuple(parents))
