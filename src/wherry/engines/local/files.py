# SPDX-License-Identifier: Apache-2.0
"""The executors of FileOp, MergeOp and of sources: what COPY, ADD and WORKDIR do, on values.

A step is keyed by the identity of the root that it changes and by the digests of just what it
selects. What a selection's digest was is remembered under a signature of the files' states, so that
a context that nobody touched costs one look at each file and no reading.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from wherry.engines.local.guarded_files import GuardedFiles
from wherry.engines.local.layer_indexes import LayerIndexes
from wherry.engines.local.results import Built, Held, Result
from wherry.engines.local.storage import Fetch, LayerSettings, Storage, Times, written_layer
from wherry.fstree.files import Files
from wherry.fstree.limits import Limits
from wherry.fstree.wildcard import has_wildcard
from wherry.graph.keys import CacheKey, content_key, definition_key, encode
from wherry.graph.ops import (
    Copy,
    ExecMount,
    FileOp,
    MergeOp,
)
from wherry.oci.canonical import canonical_json
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken
from wherry.solver.model import Step

if TYPE_CHECKING:
    from wherry.engines.local.roots import ChangeReader, Roots
    from wherry.fstree.missing import NotFound

_KIND: Final = "selection/1"


class FileRules(NamedTuple):
    """How layers are written, the times in them, and how much an archive may unpack to."""

    settings: LayerSettings
    times: Times
    limits: Limits


class Selections(Protocol):
    """What steps select of roots, as other builds have found; roots are the same everywhere."""

    def find(self, key: str) -> Digest | None:
        """The digest of a selection; None where nobody told."""

    def note(self, key: str, selected: Digest) -> None:
        """Hear of a selection of this build."""


class FileSteps:
    """What all file steps of a build share; safe for threads.

    `changes` reads what RUN steps changed; None where there is none.
    """

    def __init__(
        self,
        storage: Storage,
        fetch: Fetch,
        rules: FileRules,
        cancel: CancelToken,
        changes: ChangeReader | None = None,
    ) -> None:
        self.storage = storage
        self.settings, self.times, self.limits = rules
        self.cancel = cancel
        self._fetch = fetch
        self._changes = changes
        self._lock = threading.Lock()
        self._roots: Roots | None = None
        self.indexes = LayerIndexes(storage, self.limits)
        self.selections: Selections | None = None

    @property
    def roots(self) -> Roots:
        """The roots as values, made when a step first has to look into one."""
        with self._lock:
            if self._roots is None:
                from wherry.engines.local.roots import Roots  # noqa: PLC0415 - not if unchanged

                self._roots = Roots(
                    self.storage,
                    self._fetch,
                    self.indexes,
                    self.cancel,
                    self._changes,
                    lambda change: written_layer(self.storage, change, self.settings),
                )
            return self._roots

    def fetch(self, layers: tuple[Layer, ...]) -> None:
        """Bring the bytes of lazy layers into the store; raises `NetworkError`."""
        self._fetch(layers)

    def files_of(self, source: Result) -> Files:
        """An input as files to copy from, which raise `HiddenCache` for what was left outside."""
        if isinstance(source, Held):
            return source.files
        view = self.roots.view(source.stack)
        outside = [cache.path for cache in source.outside]
        return GuardedFiles(view, outside) if outside else view

    def shown(self, mount: ExecMount, source: Result) -> Digest:
        """The digest of what a mount shows of its source; raises as `selected`."""
        if isinstance(source, Built) and not source.stack:
            return sha256(b"empty")
        start = Copy(mount.input, mount.selector or "/", "/", literal=True)
        return self.selected(start, source)

    def selected(self, action: Copy, source: Result) -> Digest:
        """The digest of what `action` reads; remembered under the state of what was looked at.

        Raises `NotFound` where it is not there.
        """
        key = _memo_key(action, source, seen=True)
        travelling = self.selections if isinstance(source, Built) else None
        found = self._remembered(key, travelling) or self._looked_up(action, source, key)
        if travelling is not None and key is not None:
            travelling.note(key, found)
        return found

    def _remembered(self, key: str | None, travelling: Selections | None) -> Digest | None:
        if key is None or not self.settings.reuse:
            return None
        known = self.storage.records.get(_KIND, key)
        if known is not None:
            return parse_digest(known.decode())
        return travelling.find(key) if travelling is not None else None

    def _looked_up(self, action: Copy, source: Result, key: str | None) -> Digest:
        from wherry.fstree.missing import NotFound  # noqa: PLC0415 - not if unchanged
        from wherry.fstree.selection import selection_digest  # noqa: PLC0415 - as above

        try:
            found = selection_digest(
                self.files_of(source),
                action.path,
                parents=action.parents,
                excludes=action.excludes,
                literal=action.literal,
                unpack=action.unpack,
            )
        except NotFound as error:
            raise told(error, source) from None
        # Wildcards that match nothing select nothing, and that is a selection too.
        found = found or sha256(b"")
        # Looked at again: what changed meanwhile is remembered under neither state.
        if key is not None and key == _memo_key(action, source, seen=False):
            self.storage.records.put(_KIND, key, str(found).encode(), ())
        return found


@dataclass(frozen=True, slots=True)
class SourceOperation:
    """Gives files to copy from: a build context, a download, a git tree."""

    held: Callable[[Step], Held]

    def definition(self, _inputs: tuple[Digest, ...]) -> CacheKey | None:
        """None: contents count, and they are not known yet."""
        return None

    def content(self, _inputs: tuple[Result, ...]) -> CacheKey | None:
        """None: what reads from it is keyed by what it selects."""
        return None

    def run(self, _inputs: tuple[Result, ...], step: Step) -> Result:
        """The files."""
        return self.held(step)


@dataclass(frozen=True, slots=True)
class MergeOperation:
    """Puts a layer that was made alone on top of a root."""

    op: MergeOp

    def definition(self, inputs: tuple[Digest, ...]) -> CacheKey | None:
        """The op and the keys of its inputs."""
        return definition_key(self.op, inputs)

    def content(self, _inputs: tuple[Result, ...]) -> CacheKey | None:
        """None: there is no work to spare."""
        return None

    def run(self, inputs: tuple[Result, ...], _step: Step) -> Result:
        """The layers of input 1 on those of input 0."""
        below, link = built(inputs[0]), built(inputs[1])
        return replace(link, below=below.stack)


@dataclass(frozen=True, slots=True)
class FileOperation:
    """Changes a root by copying, writing and making directories; its result is one layer."""

    op: FileOp
    shared: FileSteps

    def definition(self, inputs: tuple[Digest, ...]) -> CacheKey | None:
        """The op and the keys of its inputs, where they have any."""
        return definition_key(self.op, (*inputs, *self._latest()))

    def content(self, inputs: tuple[Result, ...]) -> CacheKey | None:
        """The op, the root that it changes, and what each action selects.

        Raises `NotFound` where a source is not there.
        """
        below = self._below(inputs)
        digests = [] if self.op.alone else [below.root_digest]
        copies = (action for action in self.op.actions if isinstance(action, Copy))
        selected = self.shared.selected
        digests += [selected(action, self.source_of(action, inputs)) for action in copies]
        return content_key(self.op, (*digests, *self._latest()))

    def _latest(self) -> tuple[Digest, ...]:
        """What no time in the layer may be later than: other bytes come of another."""
        latest = self.shared.times.latest
        return () if latest is None else (sha256(f"latest {latest}".encode()),)

    def run(self, inputs: tuple[Result, ...], step: Step) -> Result:
        """Work out the change, and write it as a layer."""
        from wherry.engines.local.changing import change  # noqa: PLC0415 - not if unchanged

        below = self._below(inputs)
        return replace(change(self, below, inputs, step), below=below.stack)

    def _below(self, inputs: tuple[Result, ...]) -> Built:
        return Built((), 0) if self.op.alone else built(inputs[0])

    def source_of(self, action: Copy, inputs: tuple[Result, ...]) -> Result:
        """What an action copies from."""
        return inputs[action.source - 1 if self.op.alone else action.source]


def _memo_key(action: Copy, source: Result, *, seen: bool) -> str | None:
    """The state of what `action` reads: as it was `seen` first, or as it is now."""
    if isinstance(source, Held):
        look = source.seen if seen and source.seen is not None else source.signature
        state = look((fixed_part(action),))
    else:
        state = str(source.root_digest)
    if state is None:
        return None
    return sha256(canonical_json([encode(action), state])).hex


def built(result: Result) -> Built:
    """A root or layer; the front end lets nothing else stand where one is needed."""
    assert isinstance(result, Built)  # noqa: S101 - see above
    return result


def told(error: NotFound, source: Result) -> NotFound:
    """The error, with the ignore rule where one hides what was looked for."""
    found = source.hidden_by(error.path) if isinstance(source, Held) else None
    return error if found is None else error.hidden_by(*found)


def fixed_part(action: Copy) -> str:
    """The deepest path that a pattern certainly stays below: what its selection depends on."""
    parts = [part for part in action.path.split("/") if part not in ("", ".")]
    for number, part in enumerate(parts):
        if part == ".." or (has_wildcard(part) and not action.literal):
            return "/".join(parts[:number])
    return "/".join(parts)
