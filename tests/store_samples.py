# SPDX-License-Identifier: Apache-2.0
"""Small images and checks of whole stores, for the tests of the store and of what uses it."""

import hashlib
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import (
    LAYER_GZIP,
    Descriptor,
    Image,
    ImageConfig,
    Layer,
    RunConfig,
    make_image,
)
from wherry.oci.platform import Platform
from wherry.store.store import Store

HOUR = 3600.0


class Clock:
    """A clock that stands until its `time` is moved."""

    def __init__(self):
        self.time = 1_000_000.0

    def __call__(self):
        return self.time


def put_image(store: Store, seed: str, layer_size: int = 5000) -> Image:
    """An image of one layer whose bytes depend on `seed`, with all its blobs in the store."""
    data = hashlib.sha256(seed.encode()).digest() * (layer_size // 32)
    digest = store.blobs.put(data)
    layer = Layer(Descriptor(LAYER_GZIP, digest, len(data)), digest)
    config = ImageConfig(
        Platform("linux", "amd64"), "1970-01-01T00:00:00Z", RunConfig(), (digest,), ()
    )
    image = make_image((layer,), config)
    store.blobs.put(image.config_bytes)
    store.blobs.put(image.manifest_bytes)
    return image


def put_snapshot(store: Store, key: str, size: int = 5000) -> str:
    """The snapshot `key`, made as a namespace worker would: fs/ with a file that names it."""
    staged = store.snapshots.stage()
    Path(staged, "fs").mkdir()
    Path(staged, "fs", "name").write_text(key)
    return store.snapshots.commit(key, staged, size)


def put_modules(store: Store, letter: str, size: int = 5000, used_at: float | None = None) -> Path:
    """A tree of Go modules that is whole: read-only files in read-only directories, as Go's are."""
    path = Path(store.path, "gocache", "modules", letter * 64)
    module = path / "example.com" / "lib@v1.0.0"
    module.mkdir(parents=True)
    path.chmod(0o700)
    for name in ("a.go", "b.go"):
        (module / name).write_bytes(b"x" * (size // 2))
        (module / name).chmod(0o444)
    module.chmod(0o555)
    os.utime(path, None if used_at is None else (used_at, used_at))
    return path


def stored(image: Image) -> Descriptor:
    """The image's descriptor as the store gives it: an index's words about it are not kept."""
    return replace(image.descriptor, platform=None)


def blobs_of(image: Image) -> tuple[Digest, ...]:
    """Everything that the image's tag must keep."""
    return (
        image.digest,
        image.manifest.config.digest,
        *(layer.descriptor.digest for layer in image.layers),
    )


def age(store: Store, seconds: float) -> None:
    """Make everything in a store as old as if it had last been used `seconds` earlier."""
    for path in Path(store.path, "blobs").rglob("*"):
        if path.is_file():
            stamp = path.stat().st_mtime - seconds
            os.utime(path, (stamp, stamp))
    locks = Path(store.path, "locks")
    snapshots = Path(store.path, "snapshots").glob("*")
    for path in (*locks.glob("work-*"), *locks.glob("mount-*"), *snapshots):
        stamp = path.stat().st_mtime - seconds
        os.utime(path, (stamp, stamp))
    with sqlite3.connect(Path(store.path, "state.db")) as connection:
        connection.execute("UPDATE records SET used_at = used_at - ?", (seconds,))
    connection.close()


def faults(root: str | Path) -> list[str]:
    """What is wrong in a store: blobs that are not their digest, pins and tags of nothing."""
    found = []
    for path in Path(root, "blobs").rglob("*"):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            found.append(f"blob {path.name} is damaged")
    connection = sqlite3.connect(Path(root, "state.db"), timeout=60)
    try:
        for (text,) in connection.execute("SELECT digest FROM pins"):
            digest = parse_digest(text)
            if not Path(root, "blobs", digest.algorithm, digest.hex).is_file():
                found.append(f"pinned blob {digest} is missing")
        found += [
            f"tag {name} means nothing"
            for (name,) in connection.execute(
                "SELECT name FROM tags WHERE digest NOT IN"
                " (SELECT key FROM records WHERE kind = 'image')"
            )
        ]
        found += [
            f"integrity: {text}"
            for (text,) in connection.execute("PRAGMA integrity_check")
            if text != "ok"
        ]
    finally:
        connection.close()
    return found
