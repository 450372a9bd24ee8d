# SPDX-License-Identifier: Apache-2.0
"""Pulling images from repositories in memory: what is asked, what is stored, what is refused."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_repository import (
    AMD64,
    ARM64,
    FakeRegistry,
    FakeRepository,
    MemoryStore,
    index_of,
    raw,
    small_image,
)
from wherry.errors import MachineError, NetworkError, UsageError, WherryError
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import CONFIG, INDEX, LAYER_GZIP, MANIFEST, Descriptor
from wherry.oci.media import DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST
from wherry.oci.platform import Platform
from wherry.process.cancel import Cancelled, CancelToken
from wherry.registry.documents import CONFIG_LIMIT, MOST_LAYERS, MOST_MANIFESTS
from wherry.registry.model import Progress, RawManifest
from wherry.registry.pull import Pulled, fetch_layers, pull_manifests

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
ATTESTS = (("vnd.docker.reference.type", "attestation-manifest"),)


@pytest.fixture
def repository() -> FakeRepository:
    return FakeRegistry().repository()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def pull(
    repository: FakeRepository,
    store: MemoryStore,
    wanted: str = "latest",
    platform: Platform | None = AMD64,
) -> Pulled:
    return pull_manifests(repository, wanted, platform, store, CancelToken())


def refused(repository: FakeRepository, platform: Platform | None = AMD64) -> NetworkError:
    """The one error of pulling `latest`, after which nothing may be in the store."""
    store = MemoryStore()
    with pytest.raises(NetworkError) as caught:
        pull(repository, store, platform=platform)
    assert store.blobs == {}
    assert repository.full_name in caught.value.what
    assert caught.value.why
    assert caught.value.hint
    return caught.value


def manifest_value(repository: FakeRepository, seed: str = "a") -> dict[str, object]:
    """The JSON of an image's manifest whose blobs the repository has."""
    image, blobs = small_image(seed)
    repository.blobs.update(blobs)
    return dict(json.loads(image.manifest_bytes))


def two_platforms(repository: FakeRepository) -> tuple[RawManifest, RawManifest, RawManifest]:
    """Index, amd64 and arm64, with an attestation for the first; tagged `latest`."""
    amd64 = repository.add_image(*small_image("amd"))
    arm64 = repository.add_image(*small_image("arm", ARM64))
    statement = repository.add_image(*small_image("att", Platform("unknown", "unknown")))
    noted = replace(
        statement.descriptor, annotations=ATTESTS, platform=Platform("unknown", "unknown")
    )
    index = index_of([amd64.descriptor, arm64.descriptor, noted])
    return repository.add(index, "latest"), amd64, arm64


def test_one_image_costs_a_manifest_and_a_config(
    repository: FakeRepository, store: MemoryStore
) -> None:
    image, blobs = small_image(layers=3)
    manifest = repository.add_image(image, blobs, "latest")
    pulled = pull(repository, store)
    config = image.manifest.config.digest
    assert repository.calls == [("manifest", "latest"), ("open_blob", str(config))]
    assert pulled.root == manifest.descriptor
    assert pulled.manifests == (manifest,)
    assert [(found.manifest, found.config) for found in pulled.images] == [
        (manifest, image.config_bytes)
    ]
    assert pulled.images[0].platform == AMD64
    assert pulled.images[0].image == image
    assert store.blobs == {
        manifest.descriptor.digest: manifest.data, config: image.config_bytes
    }  # fmt: skip
    assert set(blobs) == {blob.digest for blob in pulled.blobs}


def test_what_the_store_has_is_not_asked_for(
    repository: FakeRepository, store: MemoryStore
) -> None:
    index, _, _ = two_platforms(repository)
    digest = str(index.descriptor.digest)
    first = pull(repository, store, digest)
    asked, written = len(repository.calls), len(store.committed)
    assert pull(repository, store, digest) == first
    assert (len(repository.calls), len(store.committed)) == (asked, written)
    # By tag, only the tag is asked for.
    assert pull(repository, store) == first
    assert repository.calls[asked:] == [("manifest", "latest")]
    # Of another platform only what is not there.
    pull(repository, store, digest, ARM64)
    assert [kind for kind, _ in repository.calls[asked + 1 :]] == ["manifest", "open_blob"]


def test_of_an_index_only_the_platform_is_fetched(
    repository: FakeRepository, store: MemoryStore
) -> None:
    index, _, arm64 = two_platforms(repository)
    pulled = pull(repository, store, platform=ARM64)
    assert pulled.root == index.descriptor
    assert [raw.data for raw in pulled.manifests] == [index.data, arm64.data]
    assert [image.platform for image in pulled.images] == [ARM64]
    assert pulled.images[0].descriptor.platform == ARM64
    assert len(repository.calls) == 3
    assert len(store.blobs) == 3


def test_all_platforms_come_with_their_attestations_which_are_no_images(
    repository: FakeRepository, store: MemoryStore
) -> None:
    index, _, _ = two_platforms(repository)
    pulled = pull(repository, store, platform=None)
    assert [image.platform for image in pulled.images] == [AMD64, ARM64]
    assert len(pulled.manifests) == 4
    assert pulled.manifests[0] == index
    # Config and layer of each of the three, the attestation's too.
    assert {blob.digest for blob in pulled.blobs} == set(repository.blobs)
    # Only layers are left to fetch.
    configs = {image.image.manifest.config.digest for image in pulled.images}
    documents = {raw.descriptor.digest for raw in pulled.manifests}
    assert documents | configs < set(store.blobs)
    assert len(store.blobs) == 4 + 3
    # What an index lists is in the store before the index.
    assert store.committed[-1] == index.descriptor.digest


def test_indexes_within_indexes(repository: FakeRepository, store: MemoryStore) -> None:
    leaf = repository.add_image(*small_image())
    inner = repository.add(index_of([leaf.descriptor]))
    repository.add(index_of([inner.descriptor]), "latest")
    assert len(pull(repository, store).manifests) == 3
    everything = pull(repository, MemoryStore(), platform=None)
    assert len(everything.manifests) == 3
    assert everything.images[0].image.config.platform == AMD64


@pytest.mark.parametrize("platform", [AMD64, None])
def test_indexes_have_a_deepest_level(
    repository: FakeRepository, platform: Platform | None
) -> None:
    found = repository.add_image(*small_image()).descriptor
    for _ in range(4):
        found = repository.add(index_of([replace(found, platform=None)]), "latest").descriptor
    assert "deep" in refused(repository, platform).why


def test_docker_manifests_lists_and_configs(repository: FakeRepository, store: MemoryStore) -> None:
    value = manifest_value(repository)
    value["mediaType"] = DOCKER_MANIFEST
    value["config"]["mediaType"] = DOCKER_CONFIG
    manifest = repository.add(raw(value, DOCKER_MANIFEST, platform=AMD64))
    repository.add(index_of([manifest.descriptor], DOCKER_LIST), "latest")
    pulled = pull(repository, store)
    assert pulled.root.media_type == DOCKER_LIST
    assert pulled.images[0].manifest.descriptor.media_type == DOCKER_MANIFEST
    # From the store the types are found again.
    again = pull(repository, store, str(pulled.root.digest))
    assert again.manifests == pulled.manifests


def test_an_image_for_another_platform_is_given_with_its_platform(
    repository: FakeRepository, store: MemoryStore
) -> None:
    repository.add_image(*small_image(platform=ARM64), "latest")
    assert pull(repository, store).images[0].platform == ARM64


def test_an_index_without_the_platform_lists_what_it_has(
    repository: FakeRepository, store: MemoryStore
) -> None:
    two_platforms(repository)
    with pytest.raises(UsageError) as caught:
        pull(repository, store, platform=Platform("linux", "s390x"))
    assert caught.value.what == "r.test/app:latest has no image for linux/s390x"
    assert caught.value.why == "it has linux/amd64, linux/arm64"
    assert store.blobs == {}


def test_a_damaged_document_of_the_store_is_fetched_again(
    repository: FakeRepository, store: MemoryStore
) -> None:
    image, blobs = small_image()
    repository.add_image(image, blobs, "latest")
    pull(repository, store)
    whole = dict(store.blobs)
    store.blobs[image.manifest.config.digest] = b"x" * len(image.config_bytes)
    store.blobs[image.digest] = b"{}"
    pull(repository, store, str(image.digest))
    assert store.blobs == whole


def test_a_layers_digest_is_no_image(repository: FakeRepository, store: MemoryStore) -> None:
    large = b"\0" * (5 << 20)
    store.blobs[sha256(large)] = large
    with pytest.raises(NetworkError):
        pull(repository, store, str(sha256(large)))
    image, blobs = small_image()
    store.blobs.update(blobs)
    with pytest.raises(NetworkError, match="UTF-8"):
        pull(repository, store, str(image.manifest.layers[0].digest))


def test_another_digest_than_asked_for_is_refused(
    repository: FakeRepository, store: MemoryStore
) -> None:
    good, evil = (repository.add_image(*small_image(seed)) for seed in "ab")
    repository.manifests[str(good.descriptor.digest)] = evil
    with pytest.raises(NetworkError, match="instead"):
        pull(repository, store, str(good.descriptor.digest))
    assert store.blobs == {}


def test_bytes_that_belie_their_descriptor_are_refused(repository: FakeRepository) -> None:
    manifest = repository.add_image(*small_image(), "latest")
    repository.manifests["latest"] = manifest._replace(data=manifest.data + b" ")
    assert "bytes" in refused(repository).why
    swapped = manifest.data.replace(b"2", b"3")
    repository.manifests["latest"] = manifest._replace(data=swapped)
    assert "digest" in refused(repository).why


@pytest.mark.parametrize("change", ["data", "size", "type"])
@pytest.mark.parametrize("platform", [AMD64, None])
def test_children_have_to_be_what_their_index_says(
    repository: FakeRepository, change: str, platform: Platform | None
) -> None:
    child = repository.add_image(*small_image())
    listed = child.descriptor
    if change == "data":
        other, _ = small_image("other")
        repository.manifests[str(listed.digest)] = RawManifest(
            other.descriptor, other.manifest_bytes
        )
    elif change == "size":
        listed = replace(listed, size=listed.size + 1)
    else:
        listed = replace(listed, media_type=DOCKER_MANIFEST)
    repository.add(index_of([listed]), "latest")
    assert str(listed.digest) in refused(repository, platform).what


def test_a_config_has_to_be_what_its_manifest_says(repository: FakeRepository) -> None:
    image, blobs = small_image()
    repository.add_image(image, blobs, "latest")
    digest = image.manifest.config.digest
    repository.blobs[digest] = image.config_bytes + b" " * 100
    assert str(digest) in refused(repository).what
    repository.blobs[digest] = image.config_bytes[:-1] + b" "
    assert "digest" in refused(repository).why


def test_layers_and_diff_ids_have_to_be_as_many(repository: FakeRepository) -> None:
    value = manifest_value(repository)
    value["layers"] = value["layers"] * 2
    manifest = repository.add(raw(value), "latest")
    error = refused(repository)
    assert "number of layers" in error.why
    assert str(manifest.descriptor.digest) in error.what


@pytest.mark.parametrize("size", [-1, 1 << 41, 10**30])
def test_absurd_sizes_are_refused(repository: FakeRepository, size: int) -> None:
    value = manifest_value(repository)
    value["layers"][0]["size"] = size
    repository.add(raw(value), "latest")
    assert "size" in refused(repository).why
    assert repository.calls == [("manifest", "latest")]


def test_a_config_over_the_limit_is_not_fetched(repository: FakeRepository) -> None:
    value = manifest_value(repository)
    value["config"]["size"] = CONFIG_LIMIT + 1
    repository.add(raw(value), "latest")
    assert "8388609" in refused(repository).why
    assert repository.kinds("open_blob") == []


def test_a_listed_manifest_over_the_limit_is_not_fetched(repository: FakeRepository) -> None:
    child = repository.add_image(*small_image()).descriptor
    repository.add(index_of([replace(child, size=(4 << 20) + 1)]), "latest")
    assert "size" in refused(repository).why
    assert len(repository.calls) == 1


def test_too_many_layers_and_manifests(repository: FakeRepository) -> None:
    value = manifest_value(repository)
    value["layers"] = value["layers"] * (MOST_LAYERS + 1)
    repository.add(raw(value), "latest")
    assert "1001 layers" in refused(repository).why
    child = repository.add_image(*small_image()).descriptor
    entries = [replace(child, digest=sha256(b"%d" % n)) for n in range(MOST_MANIFESTS + 1)]
    repository.add(index_of(entries), "latest")
    assert "1001 manifests" in refused(repository, None).why
    # As many, but the index itself is one more.
    repository.add(index_of(entries[1:]), "latest")
    assert "over 1000 manifests" in refused(repository, None).why


def test_many_inner_indexes_count_too(repository: FakeRepository) -> None:
    leaf = repository.add_image(*small_image(platform=ARM64)).descriptor
    inner = [
        repository.add(index_of([replace(leaf, size=number)])).descriptor
        for number in range(MOST_MANIFESTS)
    ]
    repository.add(index_of(inner), "latest")
    assert "more than 1000 manifests" in refused(repository).why
    assert len(repository.calls) == MOST_MANIFESTS


def test_an_artifact_is_no_image_and_names_its_type(repository: FakeRepository) -> None:
    value = manifest_value(repository)
    value["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
    value["artifactType"] = "application/vnd.example.sbom"
    artifact = repository.add(raw(value), "latest")
    assert "application/vnd.example.sbom" in refused(repository).why
    del value["artifactType"]
    value["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    repository.add(raw(value), "latest")
    assert "helm" in refused(repository).why
    # Beside images it does no harm, and is part of the whole.
    image = repository.add_image(*small_image())
    repository.add(index_of([image.descriptor, artifact.descriptor]), "latest")
    pulled = pull(repository, MemoryStore(), platform=None)
    assert (len(pulled.images), len(pulled.manifests)) == (1, 3)


def test_an_index_of_nothing(repository: FakeRepository) -> None:
    repository.add(index_of([]), "latest")
    assert "no image" in refused(repository, None).why


def test_other_types_in_an_index_are_passed_over(
    repository: FakeRepository, store: MemoryStore
) -> None:
    image = repository.add_image(*small_image())
    other = replace(image.descriptor, media_type="application/x", digest=sha256(b"other"))
    repository.add(index_of([other, image.descriptor]), "latest")
    assert len(pull(repository, store, platform=None).manifests) == 2


@pytest.mark.parametrize(
    ("media_type", "word"),
    [("text/html", "text/html"), ("application/vnd.docker.distribution.manifest.v1+json", "v1")],
)
def test_unknown_types_are_named(repository: FakeRepository, media_type: str, word: str) -> None:
    repository.add(raw({"schemaVersion": 2}, media_type), "latest")
    assert word in refused(repository).why


HOSTILE: dict[str, bytes | Callable[[dict[str, object]], bytes]] = {
    "nothing": b"",
    "not JSON": b"<html>",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"schemaVersion":2,"x":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    "a huge number": b'{"schemaVersion":2,"size":' + b"9" * 10_000 + b"}",
    "a duplicate key": b'{"schemaVersion":2,"config":{},"config":{},"layers":[]}',
    "NaN": b'{"schemaVersion":2,"x":NaN}',
    "Infinity": b'{"schemaVersion":2,"x":-Infinity}',
    "UTF-16": '{"schemaVersion":2}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "broken UTF-8": b'{"schemaVersion":2,"x":"\xff"}',
    "a lone surrogate": lambda v: json.dumps({**v, "annotations": {"a": "\ud800"}}).encode(),
    "a surrogate in a key": lambda v: json.dumps({**v, "\udfff": 1}).encode(),
    "schema 1": lambda v: json.dumps({**v, "schemaVersion": 1}).encode(),
    "no schema": lambda v: json.dumps({k: v[k] for k in v if k != "schemaVersion"}).encode(),
    "an index too": lambda v: json.dumps({**v, "manifests": []}).encode(),
    "another type": lambda v: json.dumps({**v, "mediaType": INDEX}).encode(),
    "a type of no type": lambda v: json.dumps({**v, "mediaType": {"a": 1}}).encode(),
    "layers of no list": lambda v: json.dumps({**v, "layers": {}}).encode(),
    "layers of strings": lambda v: json.dumps({**v, "layers": ["x"]}).encode(),
    "no config": lambda v: json.dumps({**v, "config": None}).encode(),
    "a config of a list": lambda v: json.dumps({**v, "config": [1]}).encode(),
    "a float": lambda v: json.dumps({**v, "config": {**v["config"], "size": 1.0}}).encode(),
    "a boolean": lambda v: json.dumps({**v, "config": {**v["config"], "size": True}}).encode(),
    "no digest": lambda v: json.dumps({**v, "config": {**v["config"], "digest": "../x"}}).encode(),
    "md5": lambda v: json.dumps({**v, "config": {**v["config"], "digest": "md5:0"}}).encode(),
    "annotations of numbers": lambda v: json.dumps({**v, "annotations": {"a": 1}}).encode(),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_manifests_are_one_clear_error(repository: FakeRepository, kind: str) -> None:
    made = HOSTILE[kind]
    data = made if isinstance(made, bytes) else made(manifest_value(repository))
    repository.add(raw(data, MANIFEST), "latest")
    error = refused(repository)
    assert len(str(error)) < 1000
    assert str(error).isprintable() or "\n" in str(error)


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if isinstance(HOSTILE[kind], bytes)])
def test_hostile_configs_are_one_clear_error(repository: FakeRepository, kind: str) -> None:
    data = HOSTILE[kind]
    repository.blobs[sha256(data)] = data
    value = manifest_value(repository)
    value["config"] = Descriptor(CONFIG, sha256(data), len(data)).as_json()
    repository.add(raw(value), "latest")
    assert len(str(refused(repository))) < 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["mediaType", "digest", "size", "platform", "os", "variant", "annotations", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["manifest", "index", "config"]),
    st.dictionaries(
        st.sampled_from(["config", "layers", "manifests", "annotations", "subject", "rootfs",
                         "history", "os", "artifactType", "mediaType", "schemaVersion"]),
        json_values, min_size=1, max_size=4,
    ),
    st.binary(max_size=4),
    st.sampled_from([AMD64, None]),
)  # fmt: skip
def test_whatever_a_registry_says_is_an_image_or_one_error(
    kind: str, changes: dict[str, object], tail: bytes, platform: Platform | None
) -> None:
    repository, store = FakeRegistry().repository(), MemoryStore()
    image, blobs = small_image()
    manifest = repository.add_image(image, blobs, "latest")
    originals = {
        "manifest": image.manifest_bytes,
        "config": image.config_bytes,
        "index": index_of([manifest.descriptor]).data,
    }
    data = json.dumps({**json.loads(originals[kind]), **changes}).encode() + tail
    if kind == "config":
        repository.blobs[sha256(data)] = data
        value = json.loads(image.manifest_bytes)
        value["config"] = Descriptor(CONFIG, sha256(data), len(data)).as_json()
        repository.add(raw(value), "latest")
    else:
        repository.add(raw(data, INDEX if kind == "index" else MANIFEST), "latest")
    try:
        pulled = pull(repository, store, platform=platform)
    except (NetworkError, UsageError) as error:
        assert store.blobs == {}
        assert len(str(error)) < 2000
    else:
        for digest, stored in store.blobs.items():
            assert sha256(stored) == digest
        assert len(pulled.images[0].image.layers) == len(pulled.images[0].image.config.diff_ids)


def test_cancelling_stops_before_the_next_request(
    repository: FakeRepository, store: MemoryStore
) -> None:
    two_platforms(repository)
    token = CancelToken()
    repository.before = lambda *_: token.cancel()
    with pytest.raises(Cancelled):
        pull_manifests(repository, "latest", None, store, token)
    assert len(repository.calls) == 1
    assert store.blobs == {}


# --- layers ---------------------------------------------------------------------------------


def layers_in(repository: FakeRepository, count: int) -> list[Descriptor]:
    """As many layers, the last one the largest."""
    found = []
    for number in range(count):
        data = bytes([number]) * (100 * number + 250)
        repository.blobs[sha256(data)] = data
        found.append(Descriptor(LAYER_GZIP, sha256(data), len(data)))
    return found


def test_layers_are_fetched_once_the_largest_first(
    repository: FakeRepository, store: MemoryStore
) -> None:
    layers = [
        Descriptor(LAYER_GZIP, sha256(data), len(data))
        for data in (b"x" * size for size in (10, 1000, 500))
    ]
    for layer, size in zip(layers, (10, 1000, 500), strict=True):
        repository.blobs[layer.digest] = b"x" * size
    told: list[int] = []
    jobs = [(layer, (repository,)) for layer in (*layers, layers[0])]
    fetch_layers(jobs, store, CancelToken(), workers=1, progress=told.append)
    assert [subject for _, subject in repository.calls] == [
        str(layers[number].digest) for number in (1, 2, 0)
    ]
    assert sum(told) == 1510
    fetch_layers(jobs, store, CancelToken())
    assert len(repository.calls) == 3


def test_no_jobs_are_no_work(store: MemoryStore) -> None:
    fetch_layers([], store, CancelToken())
    assert store.blobs == {}


def test_layers_are_fetched_side_by_side_but_no_more_than_asked(store: MemoryStore) -> None:
    repository = FakeRegistry().repository()
    layers = layers_in(repository, 6)
    together = threading.Barrier(3)
    running, most = [0], [0]
    lock = threading.Lock()

    def before(kind: str, subject: str) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait(10)
        with lock:
            running[0] -= 1

    repository.before = before
    fetch_layers([(layer, (repository,)) for layer in layers], store, CancelToken(), workers=3)
    assert most[0] == 3
    assert len(store.blobs) == 6


def test_the_next_repository_is_asked_where_one_fails(store: MemoryStore) -> None:
    empty = FakeRegistry("mirror.test").repository()
    full = FakeRegistry("origin.test").repository()
    layers = layers_in(full, 2)
    fetch_layers([(layer, (empty, full)) for layer in layers], store, CancelToken())
    assert len(empty.calls) == len(full.calls) == 2
    assert set(store.blobs) == {layer.digest for layer in layers}


def test_a_layer_that_nobody_has_names_all_who_were_asked(store: MemoryStore) -> None:
    first, second = (FakeRegistry(f"{name}.test").repository() for name in ("a", "b"))
    layer = Descriptor(LAYER_GZIP, sha256(b"gone"), 4)
    with pytest.raises(NetworkError) as caught:
        fetch_layers([(layer, (first,)), (layer, (second, first))], store, CancelToken())
    assert str(layer.digest) in caught.value.what
    assert [line.partition(":")[0] for line in caught.value.why.splitlines()] == [
        "a.test/app", "b.test/app"
    ]  # fmt: skip
    assert caught.value.hint == "log in"
    with pytest.raises(NetworkError, match="no repository is known"):
        fetch_layers([(layer, ())], store, CancelToken())


def test_a_layer_of_two_sizes_is_refused(repository: FakeRepository, store: MemoryStore) -> None:
    layer = layers_in(repository, 1)[0]
    jobs = [(layer, (repository,)), (replace(layer, size=layer.size + 1), (repository,))]
    with pytest.raises(NetworkError, match="bytes"):
        fetch_layers(jobs, store, CancelToken())
    assert repository.calls == []


def test_foreign_layers_come_from_the_repository_or_not_at_all(
    repository: FakeRepository, store: MemoryStore
) -> None:
    layer = replace(layers_in(repository, 1)[0], media_type=FOREIGN)
    data = repository.blobs.pop(layer.digest)
    with pytest.raises(NetworkError) as caught:
        fetch_layers([(layer, (repository,))], store, CancelToken())
    assert f"foreign layer {layer.digest}" in caught.value.what
    assert "r.test/app" in caught.value.why
    repository.blobs[layer.digest] = data
    fetch_layers([(layer, (repository,))], store, CancelToken())
    assert store.has(layer.digest)
    asked = len(repository.calls)
    fetch_layers([(layer, ())], store, CancelToken())
    assert len(repository.calls) == asked


def test_the_first_failure_stops_the_others_and_is_raised_when_they_have_ended(
    store: MemoryStore,
) -> None:
    repository = FakeRegistry().repository()
    layers = layers_in(repository, 5)
    *rest, slow, bad = (str(layer.digest) for layer in layers)
    started, ended = threading.Event(), threading.Event()
    halted: list[int] = []

    def before(kind: str, subject: str) -> None:
        assert subject not in rest, "started after the failure"
        if subject == bad:
            assert started.wait(10)
            raise NetworkError("first")
        started.set()

    class Slow(FakeRepository):
        """Goes on as long as nothing stops it."""

        def fetch_blob(
            self, descriptor: Descriptor, store: MemoryStore, progress: Progress
        ) -> None:
            self._call("fetch_blob", str(descriptor.digest))
            try:
                for _ in range(1000):
                    time.sleep(0.01)
                    progress(1)
            except Cancelled:
                halted.append(1)
                time.sleep(0.05)
                ended.set()
                raise

    slowly = Slow(repository.server, repository.name)
    slowly.before = repository.before = before
    jobs = [(layer, (slowly if str(layer.digest) == slow else repository,)) for layer in layers]
    with pytest.raises(NetworkError, match="first"):
        fetch_layers(jobs, store, CancelToken(), workers=2)
    assert halted == [1]
    assert ended.is_set()
    assert store.blobs == {}


def test_a_full_disk_is_not_blamed_on_the_repository(repository: FakeRepository) -> None:
    class Full(MemoryStore):
        def writer(self):
            raise MachineError("no space left", hint="make room")

    other = FakeRegistry("other.test").repository()
    layer = layers_in(repository, 1)[0]
    with pytest.raises(MachineError):
        fetch_layers([(layer, (repository, other))], Full(), CancelToken())
    assert other.calls == []


@pytest.mark.parametrize("workers", [1, 3])
def test_cancelling_ends_all_fetches(store: MemoryStore, workers: int) -> None:
    repository = FakeRegistry().repository()
    layers = layers_in(repository, 8)
    token = CancelToken()
    jobs = [(layer, (repository,)) for layer in layers]
    with pytest.raises(Cancelled):
        fetch_layers(jobs, store, token, workers=workers, progress=lambda count: token.cancel())
    assert store.blobs == {}
    assert len(repository.calls) <= workers


def test_a_fault_in_a_worker_reaches_the_caller(store: MemoryStore) -> None:
    repository = FakeRegistry().repository()
    layers = layers_in(repository, 3)

    def broken(count: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch_layers(
            [(layer, (repository,)) for layer in layers], store, CancelToken(), progress=broken
        )


def test_progress_is_told_by_one_thread_at_a_time(store: MemoryStore) -> None:
    repository = FakeRegistry().repository()
    layers = layers_in(repository, 8)
    inside = threading.Lock()
    total = [0]

    def progress(count: int) -> None:
        assert inside.acquire(blocking=False)
        time.sleep(0.0005)
        total[0] += count
        inside.release()

    jobs = [(layer, (repository,)) for layer in layers]
    fetch_layers(jobs, store, CancelToken(), workers=8, progress=progress)
    assert total[0] == sum(layer.size for layer in layers)


def test_errors_are_ours(repository: FakeRepository, store: MemoryStore) -> None:
    with pytest.raises(WherryError, match="not found"):
        pull(repository, store, "nothing")
    with pytest.raises(UsageError, match="not a digest"):
        pull(repository, store, str(Digest("sha256", "00")))
