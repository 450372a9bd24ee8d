# SPDX-License-Identifier: Apache-2.0
"""wherry's registry client against real registries, with skopeo and crane on the other side."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from registry_samples import (
    Sample,
    image,
    index,
    layer,
    schema1,
    write_dir,
    write_layout,
)
from registry_servers import Server
from registry_tools import Crane, Skopeo, needs_skopeo
from wherry.errors import NetworkError, WherryError
from wherry.oci.digest import parse_digest, sha256
from wherry.oci.image import Descriptor, parse_manifest
from wherry.oci.media import is_foreign
from wherry.oci.platform import parse_platform
from wherry.process.cancel import CancelToken
from wherry.registry.artifact import ArtifactContent, artifacts_about, pull_artifact, push_artifact
from wherry.registry.auth import Authorizer
from wherry.registry.client import Registry, Repository
from wherry.registry.credentials import Keyring
from wherry.registry.model import RawManifest, RegistryOptions
from wherry.registry.pull import Pulled, fetch_layers, pull_manifests
from wherry.registry.push import Content, Pushed, Target, push
from wherry.store.store import Store, open_store
from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.http import Transport
from wherry.transport.model import TransportOptions

SERVERS = ("docker_registry", "docker_registry_htpasswd", "docker_registry_tls", "ggcr_registry")
OPEN_SERVERS = ("docker_registry", "ggcr_registry")
TWO = (layer({"bin/app": "program"}), layer({"etc/app.conf": "x"}, size=300_000))
KINDS = {
    "oci-gzip": image(TWO, settings={"Entrypoint": ["/bin/app"], "User": "65532:65532"}),
    "oci-zstd": image(TWO, compression="zstd"),
    "oci-plain": image(TWO, compression="none"),
    "docker": image(TWO, docker_media_types=True),
}
PLATFORMS = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7")
_EACH = [image([layer({"bin/app": name}), TWO[1]], platform=name) for name in PLATFORMS]
_DOCKER_EACH = [
    image([layer({"bin/app": name})], platform=name, docker_media_types=True) for name in PLATFORMS
]
INDEXES = {
    "oci-index": index(_EACH),
    "docker-list": index(_DOCKER_EACH, docker_media_types=True),
}
FOREIGN = {
    "docker-foreign": image(TWO[:1], docker_media_types=True, foreign=[layer({"os": "foreign"})]),
    "oci-foreign": image(TWO[:1], foreign=[layer({"os": "foreign"})]),
}

Repositories = Callable[[str], Repository]
on_open_servers = pytest.mark.parametrize("server", OPEN_SERVERS, indirect=True)


def each(*kinds: str) -> pytest.MarkDecorator:
    """Every kind on the two open servers, the first one on those behind a password or TLS too."""
    pairs = [(name, kind) for name in OPEN_SERVERS for kind in kinds]
    pairs += [(name, kinds[0]) for name in SERVERS if name not in OPEN_SERVERS]
    return pytest.mark.parametrize(("server", "kind"), pairs, indirect=["server"])


class Held:
    """A blob in memory, to be pushed."""

    def __init__(
        self, data: bytes, media_type: str = "", repositories: tuple[str, ...] = ()
    ) -> None:
        self._data = data
        self.descriptor = Descriptor(
            media_type or "application/octet-stream", sha256(data), len(data)
        )
        self.repositories = repositories

    def open(self, offset: int) -> BinaryIO:
        return io.BytesIO(self._data[offset:])


def content_of(sample: Sample) -> Content:
    """What wherry pushes for a sample."""
    everything = (sample, *sample.children)
    blobs = {data: Held(data) for one in everything for data in one.blobs}
    return Content(raw(sample), tuple(map(raw, sample.children)), tuple(blobs.values()))


def raw(sample: Sample) -> RawManifest:
    described = Descriptor(sample.media_type, parse_digest(sample.digest), len(sample.data))
    return RawManifest(described, sample.data)


@contextmanager
def connected(server: Server, work: Path, *, trusted: bool = True) -> Iterator[Repositories]:
    """wherry's client with the server's credentials, and its CA if `trusted`."""
    env = {"HOME": str(work), "DOCKER_CONFIG": str(server.docker_config(work / "wherry-docker"))}
    cancel = CancelToken()
    ca_files = (server.ca_file,) if server.ca_file and trusted else ()
    with closing(Transport(TransportOptions(env, ca_files, retries=1), cancel)) as transport:
        authorizer = Authorizer(transport, Keyring(env, cancel))
        registry = Registry(authorizer, RegistryOptions(), cancel)
        yield lambda name: registry.repository(server.host, name)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """The server of that name."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def repositories(server: Server, tmp_path: Path) -> Iterator[Repositories]:
    with connected(server, tmp_path) as made:
        yield made


@pytest.fixture
def skopeo(server: Server, tmp_path: Path) -> Skopeo:
    return Skopeo(server, tmp_path)


@pytest.fixture
def tool(crane: Path, server: Server, tmp_path: Path) -> Crane:
    return Crane(crane, server, tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store") as opened:
        yield opened


def pull_all(repository: Repository, wanted: str, store: Store) -> Pulled:
    """Everything of an image, layers too."""
    pulled = pull_manifests(repository, wanted, None, store.blobs, CancelToken())
    jobs = [
        (descriptor, (repository,))
        for image in pulled.images
        for descriptor in image.image.manifest.layers
        if not is_foreign(descriptor.media_type)
    ]
    fetch_layers(jobs, store.blobs, CancelToken())
    return pulled


def is_held(store: Store, sample: Sample) -> bool:
    """Whether the store has every byte of the sample."""
    wanted = [sample.data, *sample.blobs]
    own = all(store.blobs.read(sha256(data)) == data for data in wanted)
    return own and all(is_held(store, child) for child in sample.children)


# --- what others push, wherry pulls -------------------------------------------------------------


@needs_skopeo
@each(*INDEXES, *KINDS, *FOREIGN)
def test_wherry_pulls_what_skopeo_pushes(
    kind: str, repositories: Repositories, repository_name: str, skopeo: Skopeo,
    store: Store, tmp_path: Path,
) -> None:  # fmt: skip
    sample = {**KINDS, **INDEXES, **FOREIGN}[kind]
    source = f"dir:{write_dir(sample, tmp_path / 'pushed')}"
    skopeo.push(source, f"{repository_name}:1", "--all", "--preserve-digests")
    pulled = pull_all(repositories(repository_name), "1", store)
    assert str(pulled.root.digest) == sample.digest
    assert len(pulled.images) == (len(sample.children) or 1)
    assert is_held(store, sample)


@each("oci-gzip", "oci-zstd", "docker", "oci-index")
def test_wherry_pulls_what_crane_pushes(
    kind: str, repositories: Repositories, repository_name: str, tool: Crane,
    store: Store, tmp_path: Path,
) -> None:  # fmt: skip
    sample = {**KINDS, **INDEXES}[kind]
    layout = write_layout(sample, tmp_path / "pushed")
    if sample.children:
        # crane pushes a layout's index.json as the index.
        (layout / "index.json").write_bytes(sample.data)
        digest = tool.push(layout, f"{repository_name}:1", "--index")
    else:
        digest = tool.push(layout, f"{repository_name}:1")
    assert digest == sample.digest
    pulled = pull_all(repositories(repository_name), "1", store)
    assert str(pulled.root.digest) == sample.digest
    assert is_held(store, sample)


@on_open_servers
@needs_skopeo
def test_wherry_takes_one_platform_of_an_index(
    repositories: Repositories, repository_name: str, skopeo: Skopeo, store: Store, tmp_path: Path
) -> None:
    sample = INDEXES["oci-index"]
    source = f"dir:{write_dir(sample, tmp_path / 'pushed')}"
    skopeo.push(source, f"{repository_name}:1", "--all", "--preserve-digests")
    repository = repositories(repository_name)
    wanted = parse_platform("linux/arm64")
    pulled = pull_manifests(repository, "1", wanted, store.blobs, CancelToken())
    assert [str(image.descriptor.digest) for image in pulled.images] == [_EACH[1].digest]
    assert not store.blobs.has(parse_digest(_EACH[0].digest))
    with pytest.raises(WherryError) as caught:
        pull_manifests(repository, "1", parse_platform("linux/s390x"), store.blobs, CancelToken())
    told = f"{caught.value.what} {caught.value.why} {caught.value.hint}"
    assert all(name in told for name in ("linux/s390x", "linux/amd64", "linux/arm/v7"))


def test_a_tag_that_is_not_there_names_near_ones(
    repositories: Repositories, repository_name: str
) -> None:
    repository = repositories(repository_name)
    push_sample(KINDS["oci-gzip"], repository, "1.26", "latest")
    assert repository.resolve("1.27") is None
    with pytest.raises(NetworkError) as caught:
        repository.manifest("1.27")
    assert "1.26" in f"{caught.value.why} {caught.value.hint}"
    assert set(repository.tags()) == {"1.26", "latest"}
    with pytest.raises(NetworkError):
        repositories(f"{repository_name}-none").manifest("1")


# --- what wherry pushes, others find right ------------------------------------------------------


def push_sample(sample: Sample, repository: Repository, *tags: str) -> Pushed:
    target = Target(repository.for_pushing(), tags)
    (pushed,) = push(content_of(sample), (target,), CancelToken())
    return pushed


def image_of_its_own(name: str) -> Sample:
    """Three blobs that no other test has: go-containerregistry's repositories share all blobs."""
    return image([layer({"bin/app": name}), layer({"etc/app.conf": name})])


@needs_skopeo
@each(*INDEXES, *KINDS)
def test_what_wherry_pushes_is_valid(
    kind: str, repositories: Repositories, repository_name: str, skopeo: Skopeo, tool: Crane,
    tmp_path: Path,
) -> None:  # fmt: skip
    sample = {**KINDS, **INDEXES}[kind]
    pushed = push_sample(sample, repositories(repository_name), "1", "latest")
    assert pushed.uploaded + pushed.existed == len(content_of(sample).blobs)
    for tag in ("1", "latest"):
        tool.validate(f"{repository_name}:{tag}", fast=kind in ("oci-zstd", "oci-plain"))
        assert tool.digest(f"{repository_name}:{tag}") == sample.digest
    assert skopeo.raw(f"{repository_name}:1") == sample.data
    target = tmp_path / "pulled"
    skopeo.pull(f"{repository_name}:1", f"dir:{target}", "--all", "--preserve-digests")
    everything = (sample, *sample.children)
    for data in {data for one in everything for data in one.blobs}:
        assert (target / sha256(data).hex).read_bytes() == data


@needs_skopeo
@each(*FOREIGN)
def test_foreign_layers_are_left_where_they_are(
    kind: str, repositories: Repositories, repository_name: str, skopeo: Skopeo
) -> None:
    sample = FOREIGN[kind]
    push_sample(sample, repositories(repository_name), "1")
    assert skopeo.raw(f"{repository_name}:1") == sample.data
    foreign = parse_manifest(sample.data).layers[0]
    assert is_foreign(foreign.media_type)
    assert not repositories(repository_name).blob_exists(foreign.digest)


def test_what_is_there_is_not_pushed_again(
    repositories: Repositories, repository_name: str, tool: Crane
) -> None:
    sample = image_of_its_own(repository_name)
    repository = repositories(repository_name)
    first = push_sample(sample, repository, "1")
    assert (first.unchanged, first.uploaded) == (False, 3)
    again = push_sample(sample, repository, "1")
    assert (again.unchanged, again.uploaded, again.bytes) == (True, 0, 0)
    tagged = push_sample(sample, repository, "1", "2")
    assert (tagged.unchanged, tagged.uploaded, tagged.bytes) == (False, 0, 0)
    tool.validate(f"{repository_name}:2")


def test_a_second_repository_mounts_from_the_first(
    repositories: Repositories, repository_name: str, tool: Crane
) -> None:
    names = (f"{repository_name}-a", f"{repository_name}-b")
    targets = tuple(Target(repositories(name).for_pushing(), ("1",)) for name in names)
    content = content_of(image_of_its_own(repository_name))
    results = push(content, targets, CancelToken())
    assert [one.uploaded for one in results] == [3, 0]
    # go-containerregistry's repositories have each other's blobs without a mount.
    shares = repositories(f"{repository_name}-c").blob_exists(content.blobs[0].descriptor.digest)
    assert (results[1].existed if shares else results[1].mounted) == 3
    for name in names:
        tool.validate(f"{name}:1")


@on_open_servers
def test_a_large_layer_goes_there_and_back(
    repositories: Repositories, repository_name: str, tool: Crane, store: Store
) -> None:
    sample = image([layer(size=20 << 20)])
    pushed = push_sample(sample, repositories(repository_name), "1")
    assert pushed.bytes == sum(map(len, sample.blobs))
    tool.validate(f"{repository_name}:1")
    pull_all(repositories(repository_name), "1", store)
    assert is_held(store, sample)


# --- artifacts ----------------------------------------------------------------------------------


@on_open_servers
def test_artifacts_are_found_by_their_subject(
    repositories: Repositories, repository_name: str, tool: Crane, store: Store
) -> None:
    repository = repositories(repository_name)
    subject = raw(KINDS["oci-gzip"]).descriptor
    push_sample(KINDS["oci-gzip"], repository, "1")
    made = [
        push_artifact(
            repository.for_pushing(),
            ArtifactContent(
                f"application/vnd.example.{kind}", (Held(kind.encode(), f"text/{kind}"),),
                subject=subject, annotations=(("kind", kind),),
            ),
        )
        for kind in ("sbom", "pack")
    ]  # fmt: skip
    found = artifacts_about(repository, subject.digest)
    assert {one.digest for one in found} == {one.descriptor.digest for one in made}
    (sbom,) = artifacts_about(repository, subject.digest, "application/vnd.example.sbom")
    assert dict(sbom.annotations) == {"kind": "sbom"}
    assert tool.manifest(f"{repository_name}@{sbom.digest}") == made[0].data
    pulled = pull_artifact(repository, str(sbom.digest), store.blobs)
    assert pulled.artifact_type == "application/vnd.example.sbom"
    assert [store.blobs.read(file.digest) for file in pulled.files] == [b"sbom"]
    assert pulled.subject is not None
    assert pulled.subject.digest == subject.digest
    assert artifacts_about(repository, sbom.digest) == ()


# --- what is refused ----------------------------------------------------------------------------


def test_a_wrong_password_is_told_without_it(
    docker_registry_htpasswd: Server, repository_name: str, tmp_path: Path
) -> None:
    server = docker_registry_htpasswd._replace(password="not the one")
    with connected(server, tmp_path) as repositories, pytest.raises(NetworkError) as caught:
        push_sample(KINDS["oci-gzip"], repositories(repository_name), "1")
    told = f"{caught.value.what} {caught.value.why} {caught.value.hint}"
    assert server.user in told
    assert f"wherry login {server.host}" in told
    assert "not the one" not in told
    anonymous = server._replace(user="", password="")
    with connected(anonymous, tmp_path) as repositories, pytest.raises(NetworkError) as caught:
        repositories(repository_name).manifest("1")
    assert f"wherry login {server.host}" in caught.value.hint


def test_a_certificate_of_nobody_is_refused(
    docker_registry_tls: Server, repository_name: str, tmp_path: Path
) -> None:
    with (
        connected(docker_registry_tls, tmp_path, trusted=False) as repositories,
        pytest.raises(ConnectionFailed) as caught,
    ):
        repositories(repository_name).resolve("1")
    assert caught.value.failure is Failure.TLS
    assert docker_registry_tls.host in f"{caught.value.what} {caught.value.why}"
    assert "--ca" in caught.value.hint


def test_schema_1_is_refused_by_name(
    ggcr_registry: Server, repository_name: str, tmp_path: Path, store: Store
) -> None:
    old = schema1(repository_name)
    with closing(http.client.HTTPConnection(ggcr_registry.host, timeout=10)) as connection:
        typed = {"Content-Type": old.media_type}
        connection.request("PUT", f"/v2/{repository_name}/manifests/old", old.data, typed)
        assert connection.getresponse().status == 201
    with connected(ggcr_registry, tmp_path) as repositories, pytest.raises(WherryError) as caught:
        pull_all(repositories(repository_name), "old", store)
    told = f"{caught.value.what} {caught.value.why} {caught.value.hint}".lower()
    assert "schema 1" in told
