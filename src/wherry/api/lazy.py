# SPDX-License-Identifier: Apache-2.0
"""Lazy layers: noted with their repository when an image is met, fetched when bytes are needed."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import BinaryIO, Final

from wherry.api.registries import Registries
from wherry.api.transfer import transfer
from wherry.errors import MachineError, NetworkError
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Layer, Manifest
from wherry.oci.media import foreign_missing, is_foreign
from wherry.store.store import Store

# Seconds between two looks at whether the build was cancelled.
_PATIENCE: Final = 0.05


def note_sources(store: Store, manifests: Iterable[Manifest], repository: str) -> None:
    """Remember that `repository` (`registry/name`) holds the layers of these images."""
    for manifest in manifests:
        for layer in manifest.layers:
            store.sources.add(layer.digest, repository)


def missing_layers(store: Store, manifests: Iterable[Manifest]) -> tuple[Descriptor, ...]:
    """The layers that are not in the store, each once, and could be.

    Foreign layers are none of them: registries need not have those. An artifact's config counts as
    a layer: it may be large, and is then not fetched with the manifest.
    """
    layers = {
        blob.digest: blob for manifest in manifests for blob in (manifest.config, *manifest.layers)
    }
    return tuple(
        layer
        for layer in layers.values()
        if not is_foreign(layer.media_type) and not store.blobs.has(layer.digest, layer.size)
    )


def complete(store: Store, manifests: Iterable[Manifest], registries: Registries, name: str) -> int:
    """Fetch what is missing of the images called `name`; the number of bytes that were fetched.

    Raises `NetworkError` that names the source where a layer cannot be had (any more).
    """
    return _fetch(store, missing_layers(store, manifests), registries, name)


def fetch_missing(store: Store, layers: Iterable[Layer], registries: Registries) -> int:
    """`complete` for single layers of a root."""
    missing = []
    for layer in layers:
        blob = layer.descriptor
        if not store.blobs.has(blob.digest, blob.size):
            if is_foreign(blob.media_type):
                raise foreign_missing(blob.digest.short, blob.urls)
            missing.append(blob)
    name = f"layer {missing[0].digest.short}" if len(missing) == 1 else "a root"
    return _fetch(store, tuple(missing), registries, name) if missing else 0


def fetcher(
    store: Store, registries: Registries, *, is_plan: bool = False
) -> Callable[[tuple[Layer, ...]], object]:
    """What roots ask for layers: `fetch_missing`; for a plan, which downloads none, a refusal.

    That raises `Unfetched` for a layer that is not here.
    """
    if is_plan:
        return partial(_refuse_missing, store)
    return _Once(store, registries).fetch


class _Once:
    """Fetches for several threads: what one of them fetches the others wait for."""

    def __init__(self, store: Store, registries: Registries) -> None:
        self._store = store
        self._registries = registries
        self._guard = threading.Lock()
        self._fetching: dict[Digest, threading.Lock] = {}

    def fetch(self, layers: tuple[Layer, ...]) -> int:
        """`fetch_missing`; also raises `Cancelled` while it waits."""
        missing = {layer.descriptor.digest: layer for layer in layers if not self._is_here(layer)}
        # In one order for all threads, so that no two wait for each other.
        with ExitStack() as held:
            for digest in sorted(missing):
                with self._guard:
                    lock = self._fetching.setdefault(digest, threading.Lock())
                while not lock.acquire(timeout=_PATIENCE):
                    self._registries.around.cancel.check()
                held.callback(lock.release)
            return fetch_missing(self._store, missing.values(), self._registries)

    def _is_here(self, layer: Layer) -> bool:
        return self._store.blobs.has(layer.descriptor.digest, layer.descriptor.size)


def _refuse_missing(store: Store, layers: Iterable[Layer]) -> None:
    from wherry.engines.local.dry import Unfetched  # noqa: PLC0415 - for plans alone

    for layer in layers:
        blob = layer.descriptor
        if not store.blobs.has(blob.digest, blob.size):
            raise Unfetched(f"the layer {blob.digest.short} would have to be fetched to know")


def _fetch(store: Store, missing: tuple[Descriptor, ...], registries: Registries, name: str) -> int:
    if not missing:
        return 0
    from wherry.registry.pull import fetch_layers  # noqa: PLC0415 - HTTP is imported here

    jobs = []
    for layer in missing:
        names = store.sources.of(layer.digest)
        if not names:
            raise MachineError(
                f"a layer of {name} is missing from the store",
                why=f"{layer.digest} is not there, and no registry is known to have it",
                hint="build or pull the image again",
            )
        jobs.append((layer, tuple(registries.named(item) for item in names)))
    around = registries.around
    total = sum(layer.size for layer in missing)
    with transfer(around.sink, f"fetch layers of {name}", total) as moving:
        fetch_layers(
            jobs,
            store.blobs.fetched,
            around.cancel,
            workers=registries.concurrency,
            progress=moving,
        )
        moving.remark = f"{total / 1e6:.1f} MB"
    return total


class LazyLayer(io.RawIOBase):
    """A lazy layer's bytes from `offset` on, for reading once; to be closed.

    They come from the first of its `repositories` (`registry/name`) that gives any, asked when
    they are first read. Read from 0 the last bytes come only if all are right. Reading raises
    `NetworkError` that names layer and repositories, `Cancelled`.
    """

    def __init__(
        self,
        layer: Descriptor,
        repositories: Iterable[str],
        registries: Registries,
        offset: int,
    ) -> None:
        self._layer = layer
        self._left = list(repositories)
        self._registries = registries
        self._offset = offset
        self._file: BinaryIO | None = None
        self._begun = False
        self._failures: list[tuple[str, NetworkError]] = []

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, empty at the end."""
        while True:
            try:
                data = self._opened().read(size)
            except NetworkError as error:
                self._pass_over(error)
            else:
                self._begun = self._begun or bool(data)
                return data

    def close(self) -> None:
        """Give the connection back."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            repository = self._registries.named(self._left[0])
            self._file = repository.open_blob(self._layer, self._offset)
        return self._file

    def _pass_over(self, error: NetworkError) -> None:
        """Go on with the next repository, unless the reader has bytes of this one."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._failures.append((self._left.pop(0), error))
        if self._begun or not self._left:
            from wherry.registry.pull import not_had  # noqa: PLC0415 - HTTP is imported here

            raise not_had(self._layer, self._failures) from error
