# SPDX-License-Identifier: Apache-2.0
import sqlite3
from pathlib import Path

import pytest

from store_samples import age, blobs_of, put_image, stored
from wherry.errors import MachineError, UsageError
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import INDEX, Descriptor, Index
from wherry.oci.reference import Reference, parse_reference
from wherry.store.store import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "store") as opened:
        yield opened


def contents(store):
    """All that a store holds on disk, with the times of blobs."""
    connection = sqlite3.connect(f"{store.path}/state.db")
    dump = list(connection.iterdump())
    connection.close()
    files = Path(store.path, "blobs").rglob("*")
    return dump, sorted((str(path), path.stat().st_mtime_ns) for path in files)


def test_get_put_delete(store):
    assert store.records.get("layer", "k") is None
    digest = store.blobs.put(b"x")
    store.records.put("layer", "k", b"one", [digest])
    store.records.put("layer", "k", b"two", [digest, digest])
    store.records.put("other", "k", b"", [])
    assert store.records.get("layer", "k") == b"two"
    assert store.records.get("other", "k") == b""
    store.records.delete("layer", "k")
    store.records.delete("layer", "k")
    assert store.records.get("layer", "k") is None
    assert store.records.get("other", "k") == b""


def test_a_record_of_a_missing_blob_is_refused(store):
    with pytest.raises(MachineError, match="missing"):
        store.records.put("layer", "k", b"v", [sha256(b"absent")])
    assert store.records.get("layer", "k") is None


def test_records_outlive_the_store_object(tmp_path):
    with open_store(tmp_path) as store:
        store.records.put("layer", "k", b"v", [store.blobs.put(b"x")])
    with open_store(tmp_path) as store:
        assert store.records.get("layer", "k") == b"v"
        assert store.blobs.has(sha256(b"x"), 1)


def test_asking_again_writes_nothing(tmp_path):
    reference = parse_reference("movies")
    with open_store(tmp_path) as store:
        image = put_image(store, "a")
        store.images.tag(reference, image.descriptor, 5.0)
        store.records.put("gobuild", "k", b"v", blobs_of(image))
    before = contents(store)
    with open_store(tmp_path) as store:
        assert store.records.get("gobuild", "k") == b"v"
        assert all(store.blobs.has(digest) for digest in blobs_of(image))
        assert store.images.is_tagged(reference, image.digest)
        assert store.images.get(reference) == stored(image)
        assert store.enforce_limit() is None
    with open_store(tmp_path) as store:
        checked = contents(store)
        assert store.enforce_limit() is None
    assert contents(store) == checked
    without_meta = [line for line in checked[0] if "meta" not in line]
    assert without_meta == [line for line in before[0] if "meta" not in line]
    assert checked[1] == before[1]


def test_use_is_marked_once_an_hour(tmp_path):
    with open_store(tmp_path, clock=lambda: 1_000_000.0) as store:
        digest = store.blobs.put(b"x")
        store.records.put("layer", "k", b"v", [digest])
    before = contents(store)
    with open_store(tmp_path, clock=lambda: 1_000_000.0 + 7200) as store:
        store.records.get("layer", "k")
        marked = contents(store)
        assert marked != before
        assert Path(store.blobs.path(digest)).stat().st_mtime == 1_007_200.0
        store.records.get("layer", "k")
        assert contents(store) == marked
    with open_store(tmp_path, clock=lambda: 1_007_900.0) as store:
        store.records.get("layer", "k")
        assert store.blobs.has(digest)
        assert contents(store) == marked


def test_a_clock_set_back_does_not_undo_the_marks(tmp_path):
    now = [1_000_000.0]
    with open_store(tmp_path, clock=lambda: now[0]) as store:
        now[0] = 10.0
        digest = store.blobs.put(b"x")
        store.records.put("layer", "k", b"v", [digest])
        with open_store(tmp_path, clock=lambda: 1_000_000.0) as other:
            pruned = other.prune(everything=True)
        assert (pruned.records, pruned.blobs) == (0, 0)
        assert store.blobs.read(digest) == b"x"


def test_tags_move_and_are_listed_newest_first(store):
    first, second = put_image(store, "a"), put_image(store, "b")
    store.images.tag(parse_reference("movies"), first.descriptor, 10.0)
    store.images.tag(parse_reference("movies:v1"), first.descriptor, 20.0)
    store.images.tag(parse_reference("localhost:5000/m"), second.descriptor, 15.0)
    assert [row.reference.familiar for row in store.images.list()] == [
        "movies:v1", "localhost:5000/m:latest", "movies:latest",
    ]  # fmt: skip
    store.images.tag(parse_reference("movies"), second.descriptor, 30.0)
    assert store.images.get(parse_reference("movies")) == stored(second)
    assert store.images.list()[0].descriptor == stored(second)
    assert store.images.list()[0].created_at == 30.0
    assert store.images.is_tagged(parse_reference("movies"), second.digest)
    assert not store.images.is_tagged(parse_reference("movies"), first.digest)
    assert store.images.tags_of(first.digest) == (parse_reference("movies:v1"),)


def test_names_that_look_alike_stay_apart(store):
    first, second = put_image(store, "a"), put_image(store, "b")
    hub = Reference("docker.io", "localhost/movies", "latest")
    local = Reference("localhost", "movies", "latest")
    assert hub.familiar != local.familiar
    store.images.tag(hub, first.descriptor, 1.0)
    store.images.tag(local, second.descriptor, 2.0)
    assert store.images.get(hub) == stored(first)
    assert store.images.get(local) == stored(second)


def test_resolve_takes_what_people_write(store):
    image = put_image(store, "a")
    store.images.tag(parse_reference("shop/movies:v1"), image.descriptor, 1.0)
    full = str(image.digest)
    for text in (
        "shop/movies:v1", "docker.io/shop/movies:v1", f"shop/movies:v1@{full}",
        f"other@{full}", full, image.digest.hex, image.digest.short, image.digest.hex[:6],
        full[: len("sha256:") + 6],
    ):  # fmt: skip
        assert store.images.resolve(text) == stored(image), text
    missing = (
        "shop/movies",
        "shop/movies:v2",
        image.digest.hex[:5],
        "f" * 64,
        f"x@sha256:{'0' * 64}",
    )
    for text in missing:
        assert store.images.resolve(text) is None, text
    with pytest.raises(UsageError):
        store.images.resolve("Not A Name")


def test_a_name_wins_over_a_short_digest(store):
    first, second = put_image(store, "a"), put_image(store, "b")
    store.images.tag(parse_reference("a:x"), first.descriptor, 1.0)
    store.images.tag(parse_reference(first.digest.short), second.descriptor, 1.0)
    assert store.images.resolve(first.digest.short) == stored(second)


def test_a_short_digest_of_several_images_is_refused(store, monkeypatch):
    value = b'{"mediaType":"x","digest":"sha256:%s","size":1}'
    for last in "12":
        digest = "abcdef" + "0" * 57 + last
        store.records.put("image", f"sha256:{digest}", value % digest.encode(), [])
    with pytest.raises(UsageError, match="several"):
        store.images.resolve("abcdef")
    found = store.images.resolve("abcdef" + "0" * 57 + "2")
    assert found is not None
    assert found.digest.hex.endswith("2")


def test_untag_forgets_the_image_with_its_last_tag(store):
    image = put_image(store, "a")
    one, two = parse_reference("one"), parse_reference("two")
    store.images.tag(one, image.descriptor, 1.0)
    store.images.tag(two, image.descriptor, 1.0)
    assert store.images.untag(one) == stored(image)
    assert store.images.resolve(str(image.digest)) == stored(image)
    assert store.images.untag(two) == stored(image)
    assert store.images.resolve(str(image.digest)) is None
    with pytest.raises(UsageError, match="no image 'two:latest'"):
        store.images.untag(two)


def test_an_unknown_name_hints_at_the_nearest(store):
    store.images.tag(parse_reference("movies"), put_image(store, "a").descriptor, 1.0)
    assert "'movies'" in store.images.unknown("moovies").hint
    assert "wherry images" in store.images.unknown("zzzzzzzz").hint


def test_an_untagged_image_stays_until_pruned(store):
    first, second = put_image(store, "a"), put_image(store, "b")
    store.images.tag(parse_reference("movies"), first.descriptor, 1.0)
    store.images.tag(parse_reference("movies"), second.descriptor, 1.0)
    assert store.images.resolve(first.digest.short) == stored(first)
    pruned = store.prune()
    assert pruned.images == 1
    assert store.images.resolve(first.digest.short) is None
    assert store.images.resolve("movies") == stored(second)


def test_a_tag_of_a_missing_layer_is_refused(store):
    image = put_image(store, "a")
    Path(store.blobs.path(image.layers[0].descriptor.digest)).unlink()
    with pytest.raises(MachineError, match="missing"):
        store.images.tag(parse_reference("movies"), image.descriptor, 1.0)
    assert store.images.list() == ()


def test_an_index_keeps_all_its_images(store):
    images = [put_image(store, seed) for seed in "ab"]
    index = Index(tuple(image.descriptor for image in images)).encoded()
    digest = store.blobs.put(index)
    store.images.tag(parse_reference("multi"), Descriptor(INDEX, digest, len(index)), 1.0)
    age(store, 10 * 3600)
    store.prune(everything=True)
    kept = [digest, *(item for image in images for item in blobs_of(image))]
    assert all(store.blobs.has(item) for item in kept)
    assert isinstance(kept[0], Digest)
