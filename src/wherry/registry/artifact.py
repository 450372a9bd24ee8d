# SPDX-License-Identifier: Apache-2.0
"""Artifacts: files of any media type in a repository (OCI image specification 1.1, manifest.md,
"Guidelines for Artifact Usage").

An artifact is an image manifest with an artifact type, whose layers are the files and whose config
is usually the empty JSON object. With a subject it is found by asking for the subject's referrers.
A file's name is its descriptor's annotation `org.opencontainers.image.title`: of a pulled artifact
a stranger's words, which nothing here takes for a path.
"""

from __future__ import annotations

import io
from typing import BinaryIO, Final, NamedTuple, Protocol

from wherry.errors import UsageError
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import MANIFEST, Descriptor, Pairs
from wherry.oci.media import is_manifest
from wherry.process.cancel import CancelToken
from wherry.registry.documents import parse_manifest, parse_purpose, refuse
from wherry.registry.model import MANIFEST_LIMIT, BlobSource, RawManifest
from wherry.registry.pull import LayerSource, fetch_layers
from wherry.registry.push import Content, PushRepository, Target, push
from wherry.registry.reader import DocumentReader, DocumentStore, ManifestSource

TITLE: Final = "org.opencontainers.image.title"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
_EMPTY_BYTES: Final = b"{}"
_EMPTY: Final = Descriptor(EMPTY, sha256(_EMPTY_BYTES), len(_EMPTY_BYTES))


class ArtifactRepository(ManifestSource, LayerSource, Protocol):
    """What pulling an artifact needs of a repository."""


class ReferrersSource(Protocol):
    """What finding artifacts needs of a repository."""

    def referrers(self, digest: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """The manifests whose subject is `digest`."""


class ArtifactContent(NamedTuple):
    """What is pushed as one artifact.

    `files` are in their order, described with media type and annotations; `config` is a blob of the
    artifact type's own, the empty object where it is None. `subject` is the manifest that the
    artifact is about; only its media type, digest and size are written down.
    """

    artifact_type: str
    files: tuple[BlobSource, ...]
    config: BlobSource | None = None
    subject: Descriptor | None = None
    annotations: Pairs = ()


class Artifact(NamedTuple):
    """A pulled artifact, whose blobs are in the store.

    `artifact_type` is the manifest's, or its config's media type where it has none.
    """

    manifest: RawManifest
    artifact_type: str
    config: Descriptor
    files: tuple[Descriptor, ...]
    annotations: Pairs
    subject: Descriptor | None


def title_of(descriptor: Descriptor) -> str:
    """The name a file goes by, or nothing; a stranger's words: check them before any use."""
    return dict(descriptor.annotations).get(TITLE, "")


def artifact_manifest(content: ArtifactContent) -> RawManifest:
    """The manifest of an artifact: equal contents give equal bytes.

    Raises `UsageError` where it lacks a type or does not fit into what registries take.
    """
    if not content.artifact_type:
        raise UsageError("an artifact needs a type", hint="give it a media type of its own")
    config = content.config.descriptor.as_json() if content.config else _empty_json()
    value: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": content.artifact_type,
        "config": config,
        # A registry may refuse a manifest without layers: the specification has this one for it.
        "layers": [file.descriptor.as_json() for file in content.files] or [_empty_json()],
    }
    if content.annotations:
        value["annotations"] = dict(content.annotations)
    if content.subject is not None:
        subject = content.subject
        value["subject"] = Descriptor(subject.media_type, subject.digest, subject.size).as_json()
    data = canonical_json(value)
    if len(data) > MANIFEST_LIMIT:
        raise UsageError(f"an artifact of {len(content.files)} files is too large",
                         why=f"its manifest has {len(data)} bytes, more than {MANIFEST_LIMIT}",
                         hint="push fewer files at once, or an archive of them")  # fmt: skip
    return RawManifest(Descriptor(MANIFEST, sha256(data), len(data)), data)


def push_artifact(
    repository: PushRepository,
    content: ArtifactContent,
    *,
    tag: str = "",
    cancel: CancelToken | None = None,
    workers: int = 4,
) -> RawManifest:
    """Push an artifact, by digest only where `tag` is empty; gives the manifest that was pushed.

    What the repository has is not sent again. Raises as `artifact_manifest` and `push`.
    """
    manifest = artifact_manifest(content)
    blobs = (*content.files, content.config or _Empty())
    if not content.files:
        blobs += (_Empty(),)
    target = Target(repository, (tag,) if tag else ())
    push(Content(manifest, (), blobs), (target,), cancel or CancelToken(), workers=workers)
    return manifest


def pull_artifact(
    repository: ArtifactRepository,
    wanted: str,
    store: DocumentStore,
    *,
    cancel: CancelToken | None = None,
    workers: int = 4,
) -> Artifact:
    """The artifact of a tag or digest, with its manifest and all its blobs verified and stored.

    Raises `NetworkError` for what cannot be had, is unsound or is an index.
    """
    token = cancel or CancelToken()
    reader = DocumentReader(repository, store, token)
    raw = reader.root(wanted)
    name = reader.name(raw.descriptor.digest)
    if not is_manifest(raw.descriptor.media_type):
        refuse(name, "it is an index of several manifests, not an artifact")
    document, purpose = parse_manifest(raw, name), parse_purpose(raw, name)
    blobs = (document.config, *document.layers)
    if _EMPTY.digest in {blob.digest for blob in blobs} and not store.has(_EMPTY.digest):
        reader.keep(_EMPTY.digest, _EMPTY_BYTES)  # known without asking
    fetch_layers([(blob, (repository,)) for blob in blobs], store, token, workers=workers)
    reader.keep(raw.descriptor.digest, raw.data)
    return Artifact(
        raw,
        purpose.artifact_type or document.config.media_type,
        document.config,
        tuple(file for file in document.layers if file.media_type != EMPTY),
        document.annotations,
        purpose.subject,
    )


def artifacts_about(
    repository: ReferrersSource, subject: Digest, artifact_type: str = ""
) -> tuple[Descriptor, ...]:
    """The manifests of artifacts about `subject`, each once, of one type or of all."""
    found = repository.referrers(subject, artifact_type)
    return tuple({item.digest: item for item in found}.values())


class _Empty:
    """The blob of two bytes that stands for a config or file that does not matter."""

    descriptor = _EMPTY
    repositories: tuple[str, ...] = ()

    def open(self, offset: int) -> BinaryIO:
        return io.BytesIO(_EMPTY_BYTES[offset:])


def _empty_json() -> dict[str, Json]:
    return {**_EMPTY.as_json(), "data": "e30="}
