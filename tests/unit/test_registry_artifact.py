# SPDX-License-Identifier: Apache-2.0
"""Artifacts: manifests as the specification writes them, pushed to and pulled from memory."""

import json

import pytest

from fake_repository import FakeRegistry, FakeRepository, MemoryStore, Source, index_of, raw
from fake_repository import small_image as small
from wherry.errors import NetworkError, UsageError
from wherry.oci.digest import sha256
from wherry.oci.image import MANIFEST, Descriptor
from wherry.process.cancel import Cancelled, CancelToken
from wherry.registry.artifact import (
    EMPTY,
    Artifact,
    ArtifactContent,
    artifact_manifest,
    artifacts_about,
    pull_artifact,
    push_artifact,
    title_of,
)

KIND = "application/vnd.example.pack.v1"
EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.fixture
def repository() -> FakeRepository:
    return FakeRegistry().repository("packs")


def files(*names: str) -> tuple[Source, ...]:
    return tuple(Source(f"{name}\n".encode(), "text/plain").titled(name) for name in names)


def test_the_manifest_is_that_of_the_specification() -> None:
    subject = small()[0].descriptor
    made = artifact_manifest(
        ArtifactContent(KIND, files("a.txt"), subject=subject, annotations=(("k", "v"),))
    )
    value = json.loads(made.data)
    assert value == {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": KIND,
        "config": {"mediaType": EMPTY, "digest": EMPTY_DIGEST, "size": 2, "data": "e30="},
        "layers": [
            {
                "mediaType": "text/plain",
                "digest": str(sha256(b"a.txt\n")),
                "size": 6,
                "annotations": {"org.opencontainers.image.title": "a.txt"},
            }
        ],
        "annotations": {"k": "v"},
        # No platform: the subject is named by what it is.
        "subject": {"mediaType": MANIFEST, "digest": str(subject.digest), "size": subject.size},
    }
    assert made.descriptor == Descriptor(MANIFEST, sha256(made.data), len(made.data))


def test_equal_contents_are_equal_bytes() -> None:
    one = ArtifactContent(KIND, files("a", "b"), annotations=(("x", "1"), ("y", "2")))
    two = ArtifactContent(KIND, files("a", "b"), annotations=(("y", "2"), ("x", "1")))
    assert artifact_manifest(one) == artifact_manifest(two)
    assert artifact_manifest(one) != artifact_manifest(one._replace(files=files("b", "a")))
    assert str(artifact_manifest(ArtifactContent(KIND, ())).descriptor.digest) == (
        "sha256:" + sha256(artifact_manifest(ArtifactContent(KIND, ())).data).hex
    )


def test_an_artifact_needs_a_type_and_has_a_size() -> None:
    with pytest.raises(UsageError, match="type"):
        artifact_manifest(ArtifactContent("", files("a")))
    many = files(*(f"{number:05}" for number in range(30_000)))
    with pytest.raises(UsageError, match="30000 files is too large"):
        artifact_manifest(ArtifactContent(KIND, many))


def test_there_and_back(repository: FakeRepository) -> None:
    subject = small()[0].descriptor
    sent = ArtifactContent(
        KIND,
        files("a.txt", "b.txt"),
        config=Source(b'{"pack":1}', "application/vnd.example.config"),
        subject=subject,
        annotations=(("k", "v"),),
    )
    manifest = push_artifact(repository, sent, tag="v1")
    store = MemoryStore()
    for wanted in ("v1", str(manifest.descriptor.digest)):
        found = pull_artifact(repository, wanted, store)
        assert found.manifest == manifest
        assert found.artifact_type == KIND
        assert found.config.media_type == "application/vnd.example.config"
        assert [title_of(file) for file in found.files] == ["a.txt", "b.txt"]
        assert [store.open(file.digest).read() for file in found.files] == [b"a.txt\n", b"b.txt\n"]
        assert found.annotations == (("k", "v"),)
        assert found.subject is not None
        assert found.subject.digest == subject.digest
    # By digest, with all in the store, nothing was asked.
    assert [kind for kind, _ in repository.calls].count("manifest") == 1
    assert store.has(manifest.descriptor.digest)


def test_pushing_again_sends_nothing(repository: FakeRepository) -> None:
    sent = ArtifactContent(KIND, files("a"))
    push_artifact(repository, sent, tag="v1")
    repository.calls.clear()
    push_artifact(repository, sent, tag="v1")
    assert repository.calls == [("resolve", "v1")]


def test_by_digest_only(repository: FakeRepository) -> None:
    manifest = push_artifact(repository, ArtifactContent(KIND, files("a")))
    assert set(repository.manifests) == {str(manifest.descriptor.digest)}


def test_an_artifact_without_files(repository: FakeRepository) -> None:
    manifest = push_artifact(repository, ArtifactContent(KIND, ()), tag="v1")
    assert [layer["mediaType"] for layer in json.loads(manifest.data)["layers"]] == [EMPTY]
    store = MemoryStore()
    found = pull_artifact(repository, "v1", store)
    assert found.files == ()
    # The empty object is known; it is never fetched.
    assert repository.kinds("fetch_blob", "open_blob") == []
    assert store.blobs[found.config.digest] == b"{}"


def test_a_file_of_another_type_may_have_the_bytes_of_the_empty_object(
    repository: FakeRepository,
) -> None:
    push_artifact(repository, ArtifactContent(KIND, (Source(b"{}", "text/json"),)), tag="v1")
    assert [file.media_type for file in pull_artifact(repository, "v1", MemoryStore()).files] == [
        "text/json"
    ]


@pytest.mark.parametrize(
    "title", ["../../etc/passwd", "/etc/passwd", "a\0b", "\x1b[2J", "x" * 5000]
)
def test_hostile_titles_are_given_as_they_are_and_nothing_is_done_with_them(
    repository: FakeRepository, title: str
) -> None:
    push_artifact(repository, ArtifactContent(KIND, (Source(b"x").titled(title),)), tag="v1")
    store = MemoryStore()
    found = pull_artifact(repository, "v1", store)
    assert [title_of(file) for file in found.files] == [title]
    assert set(store.blobs) == {
        found.manifest.descriptor.digest, found.config.digest, sha256(b"x")
    }  # fmt: skip


def test_a_damaged_file_leaves_no_manifest_behind(repository: FakeRepository) -> None:
    manifest = push_artifact(repository, ArtifactContent(KIND, files("a", "b")), tag="v1")
    repository.blobs[sha256(b"b\n")] = b"B\n"
    store = MemoryStore()
    with pytest.raises(NetworkError, match=str(sha256(b"b\n"))):
        pull_artifact(repository, "v1", store)
    assert not store.has(manifest.descriptor.digest)
    assert not store.has(sha256(b"b\n"))


def test_an_index_is_no_artifact_but_an_image_is_one(repository: FakeRepository) -> None:
    image, blobs = small()
    manifest = repository.add_image(image, blobs, "image")
    found = pull_artifact(repository, "image", MemoryStore())
    assert found.artifact_type == image.manifest.config.media_type
    assert found.files == image.manifest.layers
    repository.add(index_of([manifest.descriptor]), "index")
    with pytest.raises(NetworkError, match="index"):
        pull_artifact(repository, "index", MemoryStore())


@pytest.mark.parametrize("field", ["subject", "artifactType", "annotations", "layers", "config"])
def test_hostile_fields_are_one_error(repository: FakeRepository, field: str) -> None:
    manifest = push_artifact(repository, ArtifactContent(KIND, files("a")), tag="v1")
    repository.add(raw({**json.loads(manifest.data), field: 3}), "bad")
    store = MemoryStore()
    with pytest.raises(NetworkError, match=r"r\.test/packs@sha256"):
        pull_artifact(repository, "bad", store)
    assert store.blobs == {}


def test_artifacts_are_found_by_what_they_are_about(repository: FakeRepository) -> None:
    subject = small()[0].descriptor
    other = small("other")[0].descriptor
    for kind, about in ((KIND, subject), ("application/sbom", subject), (KIND, other)):
        push_artifact(repository, ArtifactContent(kind, files("a"), subject=about), tag=kind[-4:])
    found = artifacts_about(repository, subject.digest)
    assert len(found) == 2
    (only,) = artifacts_about(repository, subject.digest, KIND)
    artifact = pull_artifact(repository, str(only.digest), MemoryStore())
    assert isinstance(artifact, Artifact)
    assert artifact.subject == Descriptor(MANIFEST, subject.digest, subject.size)
    assert artifacts_about(repository, sha256(b"nothing")) == ()


def test_a_cancelled_push_and_pull(repository: FakeRepository) -> None:
    sent = ArtifactContent(KIND, files("a"))
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        push_artifact(repository, sent, tag="v1", cancel=token)
    assert "v1" not in repository.manifests
    push_artifact(repository, sent, tag="v1")
    with pytest.raises(Cancelled):
        pull_artifact(repository, "v1", MemoryStore(), cancel=token)
