# SPDX-License-Identifier: Apache-2.0
"""A file tree that can be read: layers on top of each other, a live directory, an archive.

Paths are relative, normal (no empty, `.` or `..` component) and `/`-separated; the empty path is
the root directory. Names that are not UTF-8 are text with surrogate escapes, as in `os.fsdecode`.
"""

from __future__ import annotations

from typing import Protocol

from wherry.fstree.tree import Entry, File
from wherry.oci.digest import Digest


class Files(Protocol):
    """Reads one file tree. Nothing here follows links: see `wherry.fstree.resolve`.

    Entries are directories, files, symbolic links and special files, never `HardLink`: names of
    one file are files with the same `inode`.
    """

    def entry(self, path: str) -> Entry | None:
        """What lies at `path`, under that path; None for nothing. The root is a `Directory`."""

    def names(self, path: str) -> tuple[str, ...]:
        """The names in the directory `path`, sorted; none for what is no directory."""

    def digest(self, file: File) -> Digest:
        """The digest of a file's content, which may have to be read for it."""
