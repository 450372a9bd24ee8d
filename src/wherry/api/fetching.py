# SPDX-License-Identifier: Apache-2.0
"""What a Dockerfile build gets from elsewhere: files by URL, trees of git repositories.

A downloaded file is kept in the store by its digest. Whether a server's file is still that one is
asked with its strong ETag; that spares the download only, the content's digest is what counts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from wherry.api.registries import Registries
from wherry.engines.local.results import Held
from wherry.fstree.directory import DirectoryFiles
from wherry.fstree.files import Files
from wherry.fstree.ignore import IgnoreRules
from wherry.fstree.limits import OPTION, Limits
from wherry.fstree.memo import NoMemo
from wherry.fstree.tree import Entry, File, OnDisk
from wherry.graph.ops import GitOp, HttpOp
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken
from wherry.solver.model import Step
from wherry.store.store import Store

if TYPE_CHECKING:
    from wherry.engines.local.http import Fetched, Wanted
    from wherry.vcs.git_url import GitSource

_URLS: Final = "url/1"
_PIECE: Final = 1 << 20


class Fetching:
    """The downloads of one build; what it opens is closed with `closing`."""

    def __init__(
        self, store: Store, registries: Registries, limits: Limits, closing: ExitStack
    ) -> None:
        self._store = store
        self._registries = registries
        self._closing = closing
        self.limits = limits
        self.cancel = registries.around.cancel

    def downloaded(self, url: str) -> str:
        """The path of a file with what `url` gives; raises `NetworkError`."""
        from wherry.engines.local.http import Wanted  # noqa: PLC0415 - few builds download

        return self._store.blobs.path(self._fetched(Wanted(url), self.cancel).digest)

    def http(self, op: HttpOp, step: Step) -> Held:
        """The file of `op`; raises `NetworkError`, or `BuildError` for another checksum."""
        from wherry.engines.local.http import FILE_MODE, Wanted  # noqa: PLC0415 - as above
        from wherry.fstree.layer_index import LayerIndex  # noqa: PLC0415 - as above
        from wherry.fstree.view import View  # noqa: PLC0415 - as above

        fetched = self._fetched(Wanted(op.url, op.checksum, op.name), step.cancel)
        step.remark(f"{fetched.size / 1e6:.1f} MB")
        content = OnDisk(self._store.blobs.path(fetched.digest), fetched.digest, fetched.size)
        file = File(fetched.name, content, FILE_MODE, mtime=fetched.mtime)
        files = View.empty().with_layer(LayerIndex((file,)))
        state = f"{fetched.name} {fetched.digest}"
        return Held(files, lambda _paths: state)

    def _fetched(self, wanted: Wanted, cancel: CancelToken) -> Fetched:
        """The file that is wanted; its bytes are in the store."""
        from wherry.engines.local.http import HttpSource  # noqa: PLC0415 - few builds download

        memo = _UrlMemo(self._store)
        source = HttpSource(
            self._registries.options(),
            memo,
            self._store.blobs.has,
            self.limits.bytes,
            OPTION,
            cancel,
            self._registries.around.sink,
        )
        fetched = source.fetch(wanted, self._store.scratch())
        if fetched.path is not None:
            with open(fetched.path, "rb") as file, self._store.blobs.writer() as writer:
                while piece := file.read(_PIECE):
                    writer.write(piece)
                writer.commit(fetched.digest, fetched.size)
            os.unlink(fetched.path)
        memo.keep(fetched.digest)
        return fetched

    def git_tree(self, op: GitOp, step: Step) -> Held:
        """The tree of `op`; raises as `http`, and `MachineError` where git is missing."""
        from wherry.vcs.git_url import GitSource  # noqa: PLC0415 - few builds ask git

        source = GitSource(
            op.remote,
            op.ref,
            op.directory,
            op.checksum,
            keep_git_dir=op.keep_git_dir,
            submodules=op.submodules,
            fetch_by_commit=op.fetch_by_commit,
        )
        step.remark(source.shown)
        return self.checked_out(source, step.cancel)

    def checked_out(self, source: GitSource, cancel: CancelToken | None = None) -> Held:
        """The tree of a git repository: its commit is known now, its files once they are read."""
        from wherry.vcs.fetch import fetch_tree, resolve_commit  # noqa: PLC0415 - as above
        from wherry.vcs.git_command import GitAccess  # noqa: PLC0415 - as above

        cancel = cancel or self.cancel
        access = GitAccess(self._registries.around.env, cancel)
        work = self._store.scratch()
        resolved = resolve_commit(source, work, access)

        def fetch() -> Files:
            checkout = fetch_tree(source, work, access, resolved)
            files = DirectoryFiles(checkout.root, IgnoreRules(()), NoMemo(), cancel)
            return self._closing.enter_context(files)

        # What `.git` holds depends on names, too.
        state = repr((resolved, source.directory, source.keep_git_dir, source.submodules))
        return Held(_Later(fetch), lambda _paths: state)


class _UrlMemo:
    """What is remembered of a URL; it is written once the bytes that it speaks of are there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._saved: dict[str, bytes] = {}

    def load(self, key: str) -> bytes | None:
        """What was saved last, if anything."""
        return self._store.records.get(_URLS, key)

    def save(self, key: str, data: bytes) -> None:
        """Take what `keep` will write."""
        self._saved[key] = data

    def keep(self, digest: Digest) -> None:
        """Write what was saved; it keeps the blob."""
        for key, data in self._saved.items():
            self._store.records.put(_URLS, key, data, (digest,))


class _Later:
    """Files that are fetched when they are first looked at; safe for threads."""

    def __init__(self, fetch: Callable[[], Files]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._files: Files | None = None

    def entry(self, path: str) -> Entry | None:
        """As `Files.entry`."""
        return self._there().entry(path)

    def names(self, path: str) -> tuple[str, ...]:
        """As `Files.names`."""
        return self._there().names(path)

    def digest(self, file: File) -> Digest:
        """As `Files.digest`."""
        return self._there().digest(file)

    def _there(self) -> Files:
        with self._lock:
            if self._files is None:
                self._files = self._fetch()
            return self._files
