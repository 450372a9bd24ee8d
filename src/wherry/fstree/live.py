# SPDX-License-Identifier: Apache-2.0
"""Contents of files in a live directory, each in the state that it was first seen in.

Whenever a file is opened and again when it has been hashed, its status is compared with the one
that it was seen with: a content is never given, nor remembered, for another state.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Final

from wherry.fstree.memo import Digests, FileMemo, state
from wherry.fstree.safe_open import OpenRoot, changed, unreadable
from wherry.fstree.tree import Opened
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken

_BLOCK: Final = 1 << 18


class LiveContent(Opened):
    """A content whose digest is found when it is asked for; equal if the digests are."""

    __slots__ = ("_contents", "_path", "_status")
    _contents: LiveContents
    _path: str
    _status: os.stat_result

    def __init__(self, contents: LiveContents, path: str, status: os.stat_result) -> None:
        # The class above is frozen, and its own way to be made wants a digest.
        put = object.__setattr__
        put(self, "_contents", contents)
        put(self, "_path", path)
        put(self, "_status", status)
        put(self, "size", status.st_size)

    @property
    def opener(self) -> Callable[[], BinaryIO]:
        """Opens the content; raises `BuildError` where it cannot be read or changed."""
        return partial(self._contents.open, self._path, self._status)

    @property
    def digest(self) -> Digest:
        """The content's digest; raises `BuildError` where it cannot be read or changed."""
        return self._contents.digest(self._path, self._status)


class LiveContents:
    """The contents below `root`; safe for threads.

    `memo` keeps digests between builds, of files of which `is_settled` is true.
    """

    def __init__(
        self,
        root: OpenRoot,
        memo: FileMemo,
        is_settled: Callable[[os.stat_result], bool],
        cancel: CancelToken,
    ) -> None:
        self._root = root
        self._memo = memo
        self._is_settled = is_settled
        self._cancel = cancel
        self._lock = threading.Lock()
        self._digests: Digests | None = None
        self.was_read = False

    def open(self, path: str, status: os.stat_result) -> BinaryIO:
        """The content for reading."""
        return io.BufferedReader(io.FileIO(self._open(path, status), "rb"), _BLOCK)

    def digest(self, path: str, status: os.stat_result) -> Digest:
        """The digest, remembered or read."""
        seen = state(status)
        with self._lock:
            if self._digests is None:
                self._digests = Digests(self._memo.load())
            known = self._digests.get(path, seen)
            if known is None:
                known = Digest("sha256", self._hash(path, status, seen))
                if self._is_settled(status):
                    self._digests.put(path, seen, known)
            return known

    def save(self, keeps: Callable[[str], bool]) -> None:
        """Remember the digests of the files whose paths `keeps` is true for."""
        with self._lock:
            if self._digests is not None and self._digests.is_changed:
                self._memo.save(self._digests.encode(keeps))
            self._digests = None

    def _hash(self, path: str, status: os.stat_result, seen: bytes) -> str:
        descriptor = self._open(path, status)
        try:
            # By one byte more than it should have: a small file is read at once, and one that
            # grows for ever is not.
            left = status.st_size + 1
            hasher = hashlib.sha256()
            while left > 1:
                self._cancel.check()
                piece = os.read(descriptor, min(left, _BLOCK))
                if not piece:
                    break
                hasher.update(piece)
                left -= len(piece)
            if left != 1 or state(os.fstat(descriptor)) != seen:
                raise changed(path)
        except OSError as error:
            raise unreadable(path, error) from None
        finally:
            os.close(descriptor)
        return hasher.hexdigest()

    def _open(self, path: str, status: os.stat_result) -> int:
        """A descriptor of the file that `status` was of: nothing else is read from."""
        self.was_read = True
        try:
            descriptor = self._root.file(path)
        except OSError as error:
            raise unreadable(path, error) from None
        now = os.fstat(descriptor)
        if not stat.S_ISREG(now.st_mode) or state(now) != state(status):
            os.close(descriptor)
            raise changed(path)
        return descriptor
