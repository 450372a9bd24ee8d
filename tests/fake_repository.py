# SPDX-License-Identifier: Apache-2.0
"""Repositories and a blob store in memory, which write down every call, and images for them."""

import gzip
import io
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import BinaryIO

from wherry.errors import MachineError, NetworkError
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import (
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    Image,
    ImageConfig,
    Layer,
    RunConfig,
    make_image,
    parse_descriptor,
)
from wherry.oci.platform import Platform
from wherry.registry.model import BlobSource, Progress, RawManifest, Sent, no_progress

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def raw(data: bytes | object, media_type: str = MANIFEST, **more: object) -> RawManifest:
    """A document by its bytes, or by the value that they encode."""
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    return RawManifest(Descriptor(media_type, sha256(data), len(data), **more), data)


def layer_bytes(seed: str, size: int = 400) -> bytes:
    return gzip.compress(seed.encode() * (size // len(seed) + 1), mtime=0)


def small_image(
    seed: str = "a", platform: Platform = AMD64, layers: int = 1
) -> tuple[Image, dict[Digest, bytes]]:
    """An image whose bytes depend on `seed`, and its blobs (config and layers)."""
    blobs: dict[Digest, bytes] = {}
    made = []
    for number in range(layers):
        data = layer_bytes(f"{seed}{number}", 400 + 100 * number)
        blobs[sha256(data)] = data
        diff_id = sha256(gzip.decompress(data))
        made.append(Layer(Descriptor(LAYER_GZIP, sha256(data), len(data)), diff_id))
    config = ImageConfig(platform, "1970-01-01T00:00:00Z", RunConfig(user=seed), (), ())
    image = make_image(tuple(made), config)
    blobs[image.manifest.config.digest] = image.config_bytes
    return image, blobs


def index_of(entries: Iterable[Descriptor], media_type: str = INDEX) -> RawManifest:
    value = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [entry.as_json() for entry in entries],
    }
    return raw(value, media_type)


class MemoryStore:
    """A blob store that is a dict; it refuses whatever is not what it is called."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.committed: list[Digest] = []

    def has(self, digest: Digest, size: int | None = None) -> bool:
        return digest in self.blobs and size in (None, len(self.blobs[digest]))

    def open(self, digest: Digest) -> BinaryIO:
        if digest not in self.blobs:
            raise MachineError("a blob is missing from the store")
        return io.BytesIO(self.blobs[digest])

    @contextmanager
    def writer(self):
        store, data = self, bytearray()

        class Staged:
            def write(self, piece: bytes | bytearray | memoryview) -> None:
                data.extend(piece)

            def commit(self, digest: Digest, size: int) -> None:
                assert (sha256(bytes(data)), len(data)) == (digest, size)
                store.blobs[digest] = bytes(data)
                store.committed.append(digest)

        yield Staged()


class Source:
    """A blob to push."""

    def __init__(
        self, data: bytes, media_type: str = LAYER_GZIP, repositories: tuple[str, ...] = ()
    ) -> None:
        self.data = data
        self.descriptor = Descriptor(media_type, sha256(data), len(data))
        self.repositories = repositories
        self.opened = 0

    def titled(self, title: str) -> "Source":
        annotations = (("org.opencontainers.image.title", title),)
        self.descriptor = replace(self.descriptor, annotations=annotations)
        return self

    def open(self, offset: int) -> BinaryIO:
        self.opened += 1
        return io.BytesIO(self.data[offset:])


class FakeRegistry:
    """Blobs and manifests of the repositories of one registry; `calls` are all requests."""

    def __init__(self, name: str = "r.test") -> None:
        self.name = name
        self.calls: list[tuple[str, str, str]] = []
        self.blobs: dict[str, dict[Digest, bytes]] = defaultdict(dict)
        self.manifests: dict[str, dict[str, RawManifest]] = defaultdict(dict)

    def repository(self, name: str = "app") -> "FakeRepository":
        return FakeRepository(self, name)


class FakeRepository:
    """One repository. `before` runs at each call with its kind and subject: it may raise."""

    def __init__(self, server: FakeRegistry, name: str) -> None:
        self.server = server
        self.registry = server.name
        self.name = name
        self.full_name = f"{server.name}/{name}"
        self.before: Callable[[str, str], None] = lambda kind, subject: None
        self.calls: list[tuple[str, str]] = []
        self.mountable = True
        self._lock = threading.Lock()

    @property
    def blobs(self) -> dict[Digest, bytes]:
        return self.server.blobs[self.name]

    @property
    def manifests(self) -> dict[str, RawManifest]:
        return self.server.manifests[self.name]

    def kinds(self, *names: str) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] in names]

    def add(self, manifest: RawManifest, *tags: str) -> RawManifest:
        for name in (str(manifest.descriptor.digest), *tags):
            self.manifests[name] = manifest
        return manifest

    def add_image(self, image: Image, blobs: dict[Digest, bytes], *tags: str) -> RawManifest:
        self.blobs.update(blobs)
        return self.add(RawManifest(image.descriptor, image.manifest_bytes), *tags)

    def for_pushing(self) -> "FakeRepository":
        return self

    def manifest(self, wanted: str) -> RawManifest:
        self._call("manifest", wanted)
        if wanted not in self.manifests:
            raise NetworkError(f"{self.full_name}: {wanted} not found", hint="look at the tags")
        return self.manifests[wanted]

    def resolve(self, wanted: str) -> Descriptor | None:
        self._call("resolve", wanted)
        found = self.manifests.get(wanted)
        return found.descriptor if found else None

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        self._call("open_blob", str(descriptor.digest))
        if descriptor.digest not in self.blobs:
            raise NetworkError(f"{self.full_name}: blob {descriptor.digest} not found")
        return io.BytesIO(self.blobs[descriptor.digest][offset:])

    def fetch_blob(
        self, descriptor: Descriptor, store: MemoryStore, progress: Progress = no_progress
    ) -> None:
        self._call("fetch_blob", str(descriptor.digest))
        data = self.blobs.get(descriptor.digest)
        if data is None:
            raise NetworkError(f"{self.full_name}: blob not found", hint="log in")
        with store.writer() as sink:
            for start in range(0, len(data), 100):
                progress(len(data[start : start + 100]))
                sink.write(data[start : start + 100])
            if (sha256(data), len(data)) != (descriptor.digest, descriptor.size):
                raise NetworkError("blob is not what it should be")
            sink.commit(descriptor.digest, descriptor.size)

    def push_blob(self, source: BlobSource, progress: Progress = no_progress) -> Sent:
        digest = source.descriptor.digest
        self._call("push_blob", str(digest))
        if digest in self.blobs:
            return Sent.EXISTED
        for full_name in source.repositories:
            assert full_name.startswith(f"{self.registry}/"), "another registry's repository"
            name = full_name.removeprefix(f"{self.registry}/")
            if self.mountable and digest in self.server.blobs[name]:
                self.blobs[digest] = self.server.blobs[name][digest]
                return Sent.MOUNTED
        with source.open(0) as file:
            data = file.read()
        for start in range(0, len(data), 100):
            progress(len(data[start : start + 100]))
        self.blobs[digest] = data
        return Sent.UPLOADED

    def push_manifest(self, data: bytes, media_type: str, wanted: str) -> Digest:
        self._call("push_manifest", wanted)
        found = raw(data, media_type)
        self._refuse_dangling(found)
        self.add(found, wanted)
        return found.descriptor.digest

    def referrers(self, digest: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        self._call("referrers", str(digest))
        found = []
        for manifest in self.manifests.values():
            value = json.loads(manifest.data)
            if value.get("subject", {}).get("digest") == str(digest) and (
                artifact_type in ("", value.get("artifactType"))
            ):
                found.append(manifest.descriptor)
        return tuple(found)

    def _refuse_dangling(self, manifest: RawManifest) -> None:
        value = json.loads(manifest.data)
        for child in value.get("manifests", ()):
            assert child["digest"] in self.manifests, "a manifest before its children"
        for blob in (value.get("config"), *value.get("layers", ())):
            with suppress(AttributeError):
                if blob is not None and "foreign" not in blob["mediaType"]:
                    assert parse_descriptor(blob).digest in self.blobs, (
                        "a manifest before its blobs"
                    )

    def _call(self, kind: str, subject: str) -> None:
        with self._lock:
            self.calls.append((kind, subject))
        self.server.calls.append((self.name, kind, subject))
        self.before(kind, subject)
