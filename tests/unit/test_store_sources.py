# SPDX-License-Identifier: Apache-2.0
"""Lazy blobs: pinned though they are elsewhere, and their sources kept as long as they are."""

import sqlite3
from dataclasses import replace

import pytest

from store_samples import age, put_image
from wherry.errors import MachineError
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import LAYER_GZIP, Descriptor, Image, Layer, make_image
from wherry.oci.reference import parse_reference
from wherry.store.store import Store, open_store

NAME = parse_reference("lazy:1")


def lazy_image(store: Store, seed: str) -> tuple[Image, Digest]:
    """An image whose only layer is nowhere, manifest and config in the store; and the layer."""
    digest = sha256(seed.encode())
    whole = put_image(store, seed)
    layer = Layer(Descriptor(LAYER_GZIP, digest, 77), digest)
    image = make_image((layer,), replace(whole.config, author=seed))
    store.blobs.put(image.config_bytes)
    store.blobs.put(image.manifest_bytes)
    return image, digest


def test_an_image_whose_layer_has_a_source_can_be_tagged(tmp_path):
    with open_store(tmp_path) as store:
        image, layer = lazy_image(store, "a")
        with pytest.raises(MachineError, match="missing"):
            store.images.tag(NAME, image.descriptor, 1.0)
        assert store.images.get(NAME) is None
        store.sources.add(layer, "registry.example.com/team/base")
        store.images.tag(NAME, image.descriptor, 1.0)
        assert not store.blobs.has(layer)
        assert store.blobs.known(layer, 77)
        found = store.images.get(NAME)
        assert found is not None
        assert found.digest == image.digest


def test_where_an_image_came_from_stays_before_where_it_was_pushed_to(tmp_path):
    now = [1000.0]
    names = ("z.example.com/origin", "a.example.com/copy", "m.example.com/copy")
    with open_store(tmp_path, clock=lambda: now[0]) as store:
        digest = sha256(b"x")
        for name in names:
            store.sources.add(digest, name)
            now[0] += 1
        assert store.sources.of(digest) == names
    now[0] += 10_000
    with open_store(tmp_path, clock=lambda: now[0]) as store:
        store.sources.add(digest, names[1])
        assert store.sources.of(digest) == names


def test_pruning_keeps_the_sources_of_tagged_images_and_drops_the_others(tmp_path):
    with open_store(tmp_path) as store:
        image, kept = lazy_image(store, "kept")
        store.sources.add(kept, "registry.example.com/kept")
        store.images.tag(NAME, image.descriptor, 1.0)
        dropped = sha256(b"dropped")
        store.sources.add(dropped, "registry.example.com/dropped")
    with open_store(tmp_path) as store:
        age_sources(store, 10_000)
        age(store, 10_000)
    with open_store(tmp_path) as store:
        store.prune(everything=True)
    with open_store(tmp_path) as store:
        assert store.sources.of(kept) == ("registry.example.com/kept",)
        assert store.sources.of(dropped) == ()
        assert store.images.get(NAME) is not None


def test_a_source_in_use_by_another_process_outlives_a_prune(tmp_path):
    digest = sha256(b"in use")
    with open_store(tmp_path) as user, open_store(tmp_path) as pruner:
        user.sources.add(digest, "registry.example.com/base")
        pruner.prune(everything=True)
        assert user.sources.of(digest) == ("registry.example.com/base",)


def test_an_old_source_that_is_asked_for_is_in_use_again(tmp_path):
    digest = sha256(b"old")
    with open_store(tmp_path) as store:
        store.sources.add(digest, "registry.example.com/base")
        age_sources(store, 10_000)
    with open_store(tmp_path) as user:
        assert user.sources.of(digest) == ("registry.example.com/base",)
        with open_store(tmp_path) as pruner:
            pruner.prune(everything=True)
        assert user.sources.of(digest) == ("registry.example.com/base",)


def test_a_state_db_of_the_first_release_gains_the_table(tmp_path):
    with open_store(tmp_path) as store:
        image = put_image(store, "old")
        store.images.tag(NAME, image.descriptor, 1.0)
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("DROP TABLE sources")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    with open_store(tmp_path) as store:
        assert store.images.get(NAME) is not None
        store.sources.add(sha256(b"x"), "registry.example.com/base")
        assert store.sources.of(sha256(b"x")) == ("registry.example.com/base",)


def age_sources(store: Store, seconds: float) -> None:
    connection = sqlite3.connect(f"{store.path}/state.db")
    connection.execute("UPDATE sources SET used_at = used_at - ?", (seconds,))
    connection.commit()
    connection.close()
