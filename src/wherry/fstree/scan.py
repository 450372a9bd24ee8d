# SPDX-License-Identifier: Apache-2.0
"""What lies in a live directory that ignore rules do not hide, as it was when first looked at.

Directories are read on demand, each once, with the status of everything in them: from then on the
names and statuses stay what they were, whatever happens on the disk. An excluded directory is there
only if a rule that begins with `!` brings back something below it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from wherry.fstree.ignore import TOP, IgnoreRules
from wherry.fstree.safe_open import OpenRoot, unreadable
from wherry.process.cancel import CancelToken
from wherry.process.clock import RACY_NS, file_clock_ns

Listing = Mapping[str, os.stat_result]

_NOTHING: Final[Listing] = {}


class _Read(NamedTuple):
    """A directory's names: those that are there, and excluded directories that may hold some."""

    plain: Listing
    doubtful: Listing


class Scan:
    """One look at the directory `root`; not safe for threads.

    Paths of `without` are not there, whatever the rules say, nor is anything below them.
    Everything raises `BuildError` for a directory that cannot be read, `UsageError` for an ignore
    rule that is no pattern, and `Cancelled`.
    """

    def __init__(
        self,
        root: OpenRoot,
        rules: IgnoreRules,
        cancel: CancelToken,
        without: Collection[str] = (),
    ) -> None:
        self._root = root
        self._without: dict[str, list[str]] = {}
        for path in without:
            directory, _, name = path.rpartition("/")
            self._without.setdefault(directory, []).append(name)
        self._rules = rules
        self._cancel = cancel
        self._started = file_clock_ns()
        self.root_status = root.status()
        self._read: dict[str, _Read] = {}
        # What the rules said of each directory: they go by what is above.
        self._states: dict[str, int] = {"": TOP}
        self._listings: dict[str, Listing] = {}

    def status(self, path: str) -> os.stat_result | None:
        """What `lstat` says of `path`; None for what is not there or hidden."""
        if not path:
            return self.root_status
        parent, slash, name = path.rpartition("/")
        return None if slash and not parent else self.listing(parent).get(name)

    def listing(self, path: str) -> Listing:
        """The names in the directory `path` with their statuses; empty for what is none."""
        known = self._listings.get(path)
        if known is not None:
            return known
        # From the top, so that no directory is read that is hidden or behind a link.
        parts = path.split("/") if path else []
        here, found = "", self._listing("")
        for part in parts:
            status = found.get(part)
            if status is None or not stat.S_ISDIR(status.st_mode):
                return _NOTHING
            here = f"{here}/{part}" if here else part
            found = self._listing(here)
        return found

    @property
    def settled_until(self) -> int:
        """The latest change time (ns since 1970) of a file whose later changes show in its status.

        git's rule: it lies well before this look, and is of this machine's clock; -1 where no time
        proves anything. It holds for files on the root's device only.
        """
        return self._started - RACY_NS if self._root.is_local else -1

    def is_settled(self, status: os.stat_result) -> bool:
        """Whether a later change of the file must show in its status."""
        device = self.root_status.st_dev
        return status.st_ctime_ns <= self.settled_until and status.st_dev == device

    def may_be_there(self, path: str) -> bool:
        """False for what was looked for in its directory and is not there."""
        directory, _, name = path.rpartition("/")
        known = self._listings.get(directory)
        return known is None or name in known

    def _listing(self, path: str) -> Listing:
        known = self._listings.get(path)
        if known is None:
            plain, doubtful = self._names(path)
            if doubtful:
                kept = {name: status for name, status in doubtful.items()
                        if self._holds_some(_join(path, name))}  # fmt: skip
                plain = {**plain, **kept}
            known = self._listings[path] = plain
        return known

    def _holds_some(self, path: str) -> bool:
        """Whether anything below the excluded directory `path` is brought back."""
        todo = [path]
        while todo:
            here = todo.pop()
            plain, doubtful = self._names(here)
            if plain:
                return True
            todo.extend(_join(here, name) for name in doubtful)
        return False

    def _names(self, path: str) -> _Read:
        known = self._read.get(path)
        if known is None:
            self._cancel.check()
            try:
                known = self._read_directory(path)
            except OSError as error:
                raise unreadable(path, error) from None
            self._read[path] = known
        return known

    def _read_directory(self, path: str) -> _Read:
        found: dict[str, os.stat_result] = {}
        with self._root.directory(path) as place, os.scandir(place) as names:
            for item in names:
                try:
                    found[item.name] = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # gone since the directory was read: as if it had never been there
        for name in self._without.get(path, ()):
            found.pop(name, None)
        return self._sift(path, found) if self._rules else _Read(found, _NOTHING)

    def _sift(self, path: str, found: Mapping[str, os.stat_result]) -> _Read:
        plain: dict[str, os.stat_result] = {}
        doubtful: dict[str, os.stat_result] = {}
        prefix = f"{path}/" if path else ""
        step, above = self._rules.step, self._states[path]
        for name, status in found.items():
            full = prefix + name
            hidden, state = step(full, above)
            if not hidden:
                plain[name] = status
            if stat.S_ISDIR(status.st_mode):
                self._states[full] = state
                if hidden and self._rules.may_hold_included(full):
                    doubtful[name] = status
        return _Read(plain, doubtful)


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
