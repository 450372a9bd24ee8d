# SPDX-License-Identifier: Apache-2.0
"""Images and artifacts through wherry's client: against a registry that lies, and a real one."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from fault_registry import FaultRegistry
from registry_samples import Sample, artifact, descriptor, image, index, layer
from registry_servers import Server
from store_samples import faults
from wherry.errors import NetworkError, WherryError
from wherry.events import Event, Message
from wherry.oci.digest import parse_digest, sha256
from wherry.oci.image import Descriptor
from wherry.oci.platform import parse_platform
from wherry.process.cancel import Cancelled, CancelToken
from wherry.registry.artifact import (
    ArtifactContent,
    artifacts_about,
    pull_artifact,
    push_artifact,
    title_of,
)
from wherry.registry.auth import Authorizer
from wherry.registry.client import Registry, Repository
from wherry.registry.credentials import Keyring
from wherry.registry.model import RawManifest, RegistryOptions
from wherry.registry.pull import Pulled, fetch_layers, pull_manifests
from wherry.registry.push import Content, PartlyPushed, Pushed, Target, push
from wherry.store.store import Store, open_store
from wherry.transport.http import Transport
from wherry.transport.model import TransportOptions

AMD64 = parse_platform("linux/amd64")
LAYERS = (layer({"bin/app": "program"}), layer({"etc/app.conf": "x"}, size=300_000))
IMAGE = image(LAYERS)
ARM = image(LAYERS[:1], platform="linux/arm64/v8")
# As BuildKit writes them: an image manifest whose layer is a statement.
ATTESTATION = image([layer({"statement": "{}"})], platform="unknown/unknown")
INDEX = index([IMAGE, ARM, ATTESTATION])


class Connection:
    """wherry's client for one test: what it is told, and what stops it."""

    def __init__(
        self, env: dict[str, str], mirrors: tuple[tuple[str, tuple[str, ...]], ...]
    ) -> None:
        self.cancel = CancelToken()
        self.told: list[str] = []
        self.transport = Transport(
            TransportOptions(env, retries=2), self.cancel, self._sink, sleep=lambda _: None
        )
        authorizer = Authorizer(self.transport, Keyring(env, self.cancel))
        options = RegistryOptions(mirrors=mirrors)
        self.registry = Registry(authorizer, options, self.cancel, self._sink)

    def _sink(self, event: Event) -> None:
        if isinstance(event, Message):
            self.told.append(event.text)

    def close(self) -> None:
        self.transport.close()

    def repository(self, host: str, name: str = "team/app") -> Repository:
        return self.registry.repository(host, name)


Connect = Callable[..., Connection]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    made: list[Connection] = []

    def connection(*, env: dict[str, str] | None = None, mirrors=()) -> Connection:
        made.append(Connection({"HOME": str(tmp_path), **(env or {})}, mirrors))
        return made[-1]

    yield connection
    for one in made:
        one.close()


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as started:
        yield started


@pytest.fixture
def repository(registry: FaultRegistry, connect: Connect) -> Repository:
    return connect().repository(registry.host)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store") as opened:
        yield opened
    assert faults(tmp_path / "store") == []


class Held:
    """A blob in memory, to be pushed."""

    def __init__(self, data: bytes, media_type: str = "application/octet-stream") -> None:
        self.data = data
        self.descriptor = Descriptor(media_type, sha256(data), len(data))
        self.repositories: tuple[str, ...] = ()

    def open(self, offset: int) -> BinaryIO:
        return io.BytesIO(self.data[offset:])


def raw(sample: Sample) -> RawManifest:
    described = Descriptor(sample.media_type, parse_digest(sample.digest), len(sample.data))
    return RawManifest(described, sample.data)


def content_of(sample: Sample) -> Content:
    blobs = {data: Held(data) for one in (sample, *sample.children) for data in one.blobs}
    return Content(raw(sample), tuple(map(raw, sample.children)), tuple(blobs.values()))


def pull(repository: Repository, store: Store, wanted: str = "1", platform=AMD64) -> Pulled:
    return pull_manifests(repository, wanted, platform, store.blobs, CancelToken())


def layers_of(pulled: Pulled) -> list[Descriptor]:
    return [blob for image in pulled.images for blob in image.image.manifest.layers]


def fetch(pulled: Pulled, store: Store, *repositories: Repository) -> None:
    jobs = [(blob, repositories) for blob in layers_of(pulled)]
    fetch_layers(jobs, store.blobs, CancelToken())


def blobs_in(store: Store) -> set[str]:
    return {path.name for path in Path(store.path, "blobs").rglob("*") if path.is_file()}


# --- pulling ------------------------------------------------------------------------------------


def test_a_base_costs_manifests_and_one_config(
    registry: FaultRegistry, repository: Repository, store: Store
) -> None:
    registry.put_sample("team/app", "1", INDEX)
    pulled = pull(repository, store)
    assert [seen.path.rpartition("/")[2] for seen in registry.seen()] == [
        "1", IMAGE.digest, str(pulled.images[0].image.manifest.config.digest)
    ]  # fmt: skip
    registry.forget_requests()
    assert pull(repository, store, INDEX.digest) == pulled
    assert registry.count() == 0
    fetch(pulled, store, repository)
    assert registry.count("GET", "/blobs/") == 2
    assert [store.blobs.read(blob.digest) for blob in layers_of(pulled)] == list(IMAGE.blobs[1:])
    fetch(pulled, store, repository)
    assert registry.count() == 2


def test_all_platforms_with_attestations_come_whole(
    registry: FaultRegistry, repository: Repository, store: Store
) -> None:
    registry.put_sample("team/app", "1", INDEX)
    pulled = pull(repository, store, platform=None)
    assert [str(one.platform) for one in pulled.images] == ["linux/amd64", "linux/arm64/v8"]
    jobs = [(blob, (repository,)) for blob in pulled.blobs]
    fetch_layers(jobs, store.blobs, CancelToken())
    everything = {INDEX.data, *(child.data for child in INDEX.children)}
    everything |= {data for child in INDEX.children for data in child.blobs}
    assert blobs_in(store) == {sha256(data).hex for data in everything}


def test_cut_answers_are_resumed(
    registry: FaultRegistry, repository: Repository, store: Store
) -> None:
    registry.put_sample("team/app", "1", IMAGE)
    registry.rule("GET", "/manifests/", cut_after=100, times=1)
    registry.rule("GET", "/blobs/", cut_after=200, times=3)
    pulled = pull(repository, store)
    fetch(pulled, store, repository)
    assert [store.blobs.read(blob.digest) for blob in layers_of(pulled)] == list(IMAGE.blobs[1:])


@pytest.mark.parametrize(
    "fault",
    [
        {"corrupt_at": 20},
        {"truncate": 50},
        {"append": b" "},
        {"huge": 9 << 20},
        {"endless": True},
        {"status": 404},
        {"status": 200, "body": b"<html>Log in</html>", "headers": {"Content-Type": "text/html"}},
        {"headers": {"Content-Type": "application/vnd.oci.image.index.v1+json"}},
    ],
    ids=lambda fault: next(iter(fault)),
)
@pytest.mark.parametrize("part", ["root", "child", "config"])
def test_nothing_of_a_wrong_image_is_stored(
    part: str, fault: dict[str, object], registry: FaultRegistry, repository: Repository,
    store: Store,
) -> None:  # fmt: skip
    registry.put_sample("team/app", "1", INDEX)
    path = {
        "root": f"/manifests/{INDEX.digest}",
        "child": f"/manifests/{IMAGE.digest}",
        "config": "/blobs/",
    }[part]
    registry.rule("GET", path, **fault)
    if "headers" in fault and "status" not in fault and part != "child":
        # Nobody looks at a blob's type, and for an index it is the right one.
        assert pull(repository, store, INDEX.digest).images
        return
    with pytest.raises(NetworkError) as caught:
        pull(repository, store, INDEX.digest)
    assert f"{registry.host}/team/app" in str(caught.value)
    assert blobs_in(store) == set()


def test_an_index_that_lies_about_its_child(
    registry: FaultRegistry, repository: Repository, store: Store
) -> None:
    registry.put_sample("team/app", "", IMAGE)
    entry = {**IMAGE.descriptor, "platform": {"os": "linux", "architecture": "amd64"}}
    for field, value in (
        ("size", len(IMAGE.data) - 1),
        ("mediaType", "application/vnd.docker.distribution.manifest.v2+json"),
        ("size", 5 << 20),
    ):
        lie = {"schemaVersion": 2, "manifests": [{**entry, field: value}]}
        registry.put_manifest("team/app", "1", json.dumps(lie).encode())
        with pytest.raises(NetworkError, match="cannot be used"):
            pull(repository, store)
    assert blobs_in(store) == set()


def test_an_artifact_is_refused_by_its_type(
    registry: FaultRegistry, repository: Repository, store: Store
) -> None:
    registry.put_sample("team/app", "1", artifact("application/vnd.example.chart"))
    with pytest.raises(NetworkError, match=r"application/vnd\.example\.chart"):
        pull(repository, store)


def test_a_damaged_layer_stays_out_and_the_next_repository_is_asked(
    registry: FaultRegistry, connect: Connect, store: Store
) -> None:
    connection = connect()
    registry.put_sample("team/app", "1", IMAGE)
    repository = connection.repository(registry.host)
    pulled = pull(repository, store)
    known = blobs_in(store)
    registry.rule("GET", "/blobs/", corrupt_at=30)
    with pytest.raises(NetworkError) as caught:
        fetch(pulled, store, repository)
    assert f"{registry.host}/team/app" in caught.value.why
    assert blobs_in(store) == known
    with FaultRegistry() as other:
        other.put_sample("mirror/app", "1", IMAGE)
        fetch(pulled, store, repository, connection.repository(other.host, "mirror/app"))
    assert store.blobs.read(layers_of(pulled)[1].digest) == IMAGE.blobs[2]


def test_a_base_that_is_gone_names_where_it_was(
    registry: FaultRegistry, repository: Repository, store: Store
) -> None:
    registry.put_sample("team/app", "1", IMAGE)
    pulled = pull(repository, store)
    registry.close()
    with pytest.raises(NetworkError) as caught:
        fetch(pulled, store, repository)
    assert f"{registry.host}/team/app" in str(caught.value)
    assert caught.value.exit_code == 4


def test_cancelling_wakes_a_waiting_pull(
    registry: FaultRegistry, connect: Connect, store: Store
) -> None:
    connection = connect()
    registry.put_sample("team/app", "1", IMAGE)
    repository = connection.repository(registry.host)
    pulled = pull(repository, store)
    known = blobs_in(store)
    hold = threading.Event()
    registry.rule("GET", "/blobs/", hold=hold)
    waiting = threading.Timer(0.3, connection.cancel.cancel)
    waiting.start()
    began = time.monotonic()
    try:
        with pytest.raises(Cancelled):
            fetch_layers(
                [(blob, (repository,)) for blob in layers_of(pulled)],
                store.blobs,
                connection.cancel,
            )
    finally:
        hold.set()
        waiting.join()
    assert time.monotonic() - began < 10
    assert blobs_in(store) == known


# --- pushing ------------------------------------------------------------------------------------


def deliver(sample: Sample, *targets: Target) -> tuple[Pushed, ...]:
    return push(content_of(sample), targets, CancelToken())


def has_whole(registry: FaultRegistry, name: str, tag: str, sample: Sample) -> bool:
    """Whether the tag is there, with everything below it."""
    held = registry.contents.repositories[name]
    blobs = {data for one in (sample, *sample.children) for data in one.blobs}
    return registry.manifest(name, tag) == sample.data and all(
        f"sha256:{sha256(data).hex}" in held.blobs for data in blobs
    )


def test_an_unchanged_push_is_one_request_for_each_tag(
    registry: FaultRegistry, repository: Repository
) -> None:
    deliver(INDEX, Target(repository, ("1", "2")))
    assert has_whole(registry, "team/app", "1", INDEX)
    assert has_whole(registry, "team/app", "2", INDEX)
    puts = [seen.path.rpartition("/")[2] for seen in registry.seen("PUT", "/manifests/")]
    assert puts == [*(child.digest for child in INDEX.children), "1", "2"]
    registry.forget_requests()
    (result,) = deliver(INDEX, Target(repository, ("1", "2")))
    assert result.unchanged
    assert [(seen.method, seen.path) for seen in registry.seen()] == [
        ("HEAD", "/v2/team/app/manifests/1"), ("HEAD", "/v2/team/app/manifests/2")
    ]  # fmt: skip


def test_a_push_outlives_breaks(registry: FaultRegistry, repository: Repository) -> None:
    registry.rule("PUT", "/blobs/uploads/", cut_upload_after=1000, times=2)
    registry.rule("", "/blobs/", status=503, times=2)
    (result,) = deliver(IMAGE, Target(repository, ("1",)))
    assert has_whole(registry, "team/app", "1", IMAGE)
    assert result.bytes == sum(map(len, IMAGE.blobs))


@pytest.mark.parametrize("failing", ["/blobs/uploads/", r"/manifests/sha256:", r"/manifests/1"])
def test_a_target_that_fails_gets_no_tag_and_the_other_gets_all(
    failing: str, registry: FaultRegistry, connect: Connect
) -> None:
    connection = connect()
    with FaultRegistry() as bad:
        bad.rule("POST|PUT|PATCH", failing, status=400)
        targets = [Target(connection.repository(one.host), ("1",)) for one in (bad, registry)]
        with pytest.raises(PartlyPushed) as caught:
            deliver(INDEX, *targets)
        assert [item.target for item in caught.value.pushed] == targets[1:]
        assert bad.host in str(caught.value)
        with pytest.raises(KeyError):
            bad.manifest("team/app", "1")
    assert has_whole(registry, "team/app", "1", INDEX)


def test_two_repositories_of_a_registry_get_one_upload(
    registry: FaultRegistry, connect: Connect
) -> None:
    connection = connect()
    names = ("team/app", "other/app")
    targets = [Target(connection.repository(registry.host, name), ("1",)) for name in names]
    first, second = deliver(IMAGE, *targets)
    assert (first.uploaded, second.mounted, second.bytes) == (3, 3, 0)
    assert registry.count("POST", "/v2/other/app/.*from=team/app") == 3
    assert has_whole(registry, "other/app", "1", IMAGE)


def test_a_mirror_that_has_the_image_does_not_make_it_pushed(
    registry: FaultRegistry, connect: Connect
) -> None:
    with FaultRegistry() as mirror:
        mirror.put_sample("team/app", "1", IMAGE)
        repository = connect(mirrors=((registry.host, (mirror.host,)),)).repository(registry.host)
        assert repository.resolve("1") is not None
        mirror.forget_requests()
        (result,) = deliver(IMAGE, Target(repository, ("1",)))
        assert mirror.count() == 0
    assert (result.uploaded, result.unchanged) == (3, False)
    assert has_whole(registry, "team/app", "1", IMAGE)


def test_lazy_layers_stream_from_their_registry(
    registry: FaultRegistry, connect: Connect, store: Store
) -> None:
    connection = connect()

    class Lazy(Held):
        def open(self, offset: int) -> BinaryIO:
            return source.open_blob(self.descriptor, offset)

    with FaultRegistry() as origin:
        origin.put_sample("library/base", "1", IMAGE)
        origin.rule("GET", "/blobs/", cut_after=5000, times=2)
        source = connection.repository(origin.host, "library/base")
        content = content_of(IMAGE)._replace(blobs=tuple(Lazy(data) for data in IMAGE.blobs))
        (result,) = push(
            content, [Target(connection.repository(registry.host), ("1",))], CancelToken()
        )
    assert result.uploaded == 3
    assert has_whole(registry, "team/app", "1", IMAGE)
    assert blobs_in(store) == set()


def test_a_lazy_layer_that_is_damaged_fails_the_push(
    registry: FaultRegistry, connect: Connect
) -> None:
    connection = connect()

    class Lazy(Held):
        def open(self, offset: int) -> BinaryIO:
            return source.open_blob(self.descriptor, offset)

    with FaultRegistry() as origin:
        origin.put_sample("library/base", "1", IMAGE)
        origin.rule("GET", "/blobs/", corrupt_at=30)
        source = connection.repository(origin.host, "library/base")
        content = content_of(IMAGE)._replace(blobs=tuple(Lazy(data) for data in IMAGE.blobs))
        with pytest.raises(WherryError):
            push(content, [Target(connection.repository(registry.host), ("1",))], CancelToken())
    assert registry.count("PUT", "/manifests/") == 0


def test_cancelling_a_push_leaves_no_tag(registry: FaultRegistry, connect: Connect) -> None:
    connection = connect()
    registry.rule("PUT", "/blobs/uploads/", before=connection.cancel.cancel)
    target = Target(connection.repository(registry.host), ("1",))
    with pytest.raises(Cancelled):
        push(content_of(IMAGE), [target], connection.cancel)
    assert registry.count("PUT", "/manifests/") == 0


# --- artifacts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("api", [True, False], ids=["referrers", "tags"])
def test_artifacts_there_and_back(api: bool, connect: Connect, store: Store) -> None:
    with FaultRegistry(referrers=api) as registry:
        repository = connect().repository(registry.host)
        deliver(IMAGE, Target(repository, ("1",)))
        subject = raw(IMAGE).descriptor
        kinds = ("application/vnd.example.sbom", "application/vnd.example.pack")
        sent = [
            push_artifact(
                repository, ArtifactContent(kind, (Held(kind.encode()),), subject=subject)
            )
            for kind in kinds
        ]
        assert {item.digest for item in artifacts_about(repository, subject.digest)} == {
            manifest.descriptor.digest for manifest in sent
        }
        (found,) = artifacts_about(repository, subject.digest, kinds[0])
        pulled = pull_artifact(repository, str(found.digest), store.blobs)
        assert pulled.manifest.data == sent[0].data
        assert [store.blobs.read(file.digest) for file in pulled.files] == [kinds[0].encode()]
        registry.forget_requests()
        assert pull_artifact(repository, str(found.digest), store.blobs) == pulled
        assert registry.count() == 0


def test_a_hostile_artifact_is_data(
    registry: FaultRegistry, repository: Repository, store: Store
) -> None:
    title = "../../../etc/cron.d/x"
    data = b"hostile"
    registry.put_blob("team/app", data)
    named = {"org.opencontainers.image.title": title}
    made = json.loads(artifact("application/vnd.example").data)
    made["layers"] = [descriptor("text/plain", data, annotations=named)]
    registry.put_blob("team/app", b"{}")
    registry.put_manifest(
        "team/app", "1", json.dumps(made).encode(), "application/vnd.oci.image.manifest.v1+json"
    )
    found = pull_artifact(repository, "1", store.blobs)
    assert [title_of(file) for file in found.files] == [title]
    assert len(blobs_in(store)) == 3


# --- a real registry ----------------------------------------------------------------------------


def test_a_real_registry_takes_and_gives_everything(
    docker_registry_htpasswd: Server, repository_name: str, connect: Connect, store: Store,
    tmp_path: Path,
) -> None:  # fmt: skip
    server = docker_registry_htpasswd
    env = {"DOCKER_CONFIG": str(server.docker_config(tmp_path / "docker"))}
    repository = connect(env=env).repository(server.host, repository_name)
    (first,) = deliver(INDEX, Target(repository, ("1", "2")))
    assert first.uploaded == len(content_of(INDEX).blobs)
    (again,) = deliver(INDEX, Target(repository, ("1", "2")))
    assert again.unchanged
    pulled = pull(repository, store, platform=None)
    fetch_layers([(blob, (repository,)) for blob in pulled.blobs], store.blobs, CancelToken())
    assert str(pulled.root.digest) == INDEX.digest
    for child in INDEX.children:
        assert all(store.blobs.read(sha256(data)) == data for data in (child.data, *child.blobs))
    subject = raw(IMAGE).descriptor
    content = ArtifactContent("application/vnd.example.pack", (Held(b"pack"),), subject=subject)
    manifest = push_artifact(repository, content, tag="pack")
    (found,) = artifacts_about(repository, subject.digest)
    assert found.digest == manifest.descriptor.digest
    pulled_artifact = pull_artifact(repository, "pack", store.blobs)
    assert [store.blobs.read(file.digest) for file in pulled_artifact.files] == [b"pack"]
