# SPDX-License-Identifier: Apache-2.0
"""An OCI registry as a value in memory: what it holds, and what it answers to one request.

It keeps to the distribution specification 1.1 to the letter, so that whatever a test finds wrong is
either the client's fault or a fault that the test asked for. No sockets here: `fault_registry` has
them. Where the specification leaves a choice, the stricter one is taken: an upload's `_state` must
come back as it was given, and a manifest is shown only to who accepts its media type.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_LIMIT = 4 << 20

_ROUTE = re.compile(
    r"/v2/(?P<name>[a-z0-9][a-z0-9._/-]*)/"
    r"(?P<what>manifests|blobs/uploads|blobs|tags|referrers)/(?P<key>[^/]*)"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(data: bytes | bytearray) -> str:
    """`sha256:…` of the bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True)
class Asked:
    """One request: `path` with its query, header names in lower case, the body as it comes in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Iterable[bytes] = ()

    @property
    def query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return {name: values[0] for name, values in found.items()}


@dataclass(frozen=True)
class Answer:
    """What the registry says; `Content-Length` is added by whoever sends it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def error(status: int, code: str, message: str = "", **headers: str) -> Answer:
    """An error in the specification's JSON."""
    body = {"errors": [{"code": code, "message": message or code.lower().replace("_", " ")}]}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"Content-Type": "application/json", **more}, json.dumps(body).encode())


@dataclass
class Repository:
    """What one name holds; blobs' bytes are the registry's."""

    blobs: set[str] = field(default_factory=set)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Upload:
    """A blob on its way in."""

    name: str
    data: bytearray = field(default_factory=bytearray)
    short: bool = False


class Contents:
    """A registry's repositories, and how it answers.

    `referrers`: the referrers API is there, else 404. `mounts`: cross-repository mounts work, else
    they are answered by an upload session. `min_chunk`: told as OCI-Chunk-Min-Length and held to.
    `page`: most tags in one answer. `monolithic`: POST with a digest takes the blob at once, else
    it opens a session (202), as Docker's registry does.
    """

    def __init__(
        self,
        *,
        referrers: bool = True,
        mounts: bool = True,
        min_chunk: int = 0,
        page: int = 1000,
        monolithic: bool = True,
    ) -> None:
        self.referrers = referrers
        self.mounts = mounts
        self.min_chunk = min_chunk
        self.page = page
        self.monolithic = monolithic
        self.blobs: dict[str, bytes] = {}
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, Upload] = {}
        self.lock = threading.RLock()

    def repository(self, name: str) -> Repository:
        """The repository, made where there was none."""
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    def add_blob(self, name: str, data: bytes) -> str:
        digest = digest_of(data)
        with self.lock:
            self.blobs[digest] = data
            self.repository(name).blobs.add(digest)
        return digest

    def add_manifest(self, name: str, wanted: str, data: bytes, media_type: str) -> str:
        """Put a manifest without any check; `wanted` is a tag, a digest or "" (by digest only)."""
        digest = digest_of(data)
        with self.lock:
            held = self.repository(name)
            held.manifests[digest] = (media_type, data)
            if wanted and not _DIGEST.fullmatch(wanted):
                held.tags[wanted] = digest
        return digest

    # --- answering ------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Answer:
        """The answer to one request. The body is read while it comes in, outside of the lock."""
        path = urlsplit(asked.path).path
        if path in ("/v2", "/v2/"):
            return Answer(200, {"Content-Type": "application/json"}, b"{}")
        route = _ROUTE.fullmatch(path)
        if route is None:
            return error(404, "NAME_UNKNOWN", "no such path")
        name, what, key = route["name"], route["what"], route["key"]
        if what == "blobs/uploads":
            return self._upload(asked, name, key)
        body = b"".join(asked.body)
        with self.lock:
            if what == "manifests":
                return self._manifest(asked, name, key, body)
            if what == "blobs":
                return self._blob(asked, name, key)
            if what == "tags" and key == "list":
                return self._tags(asked, name)
            if what == "referrers":
                return self._referrers(asked, name, key)
        return error(404, "NAME_UNKNOWN", "no such path")

    def _manifest(self, asked: Asked, name: str, key: str, body: bytes) -> Answer:
        if asked.method == "PUT":
            return self._put_manifest(asked, name, key, body)
        held = self.repositories.get(name)
        if held is None:
            return error(404, "NAME_UNKNOWN")
        digest = key if _DIGEST.fullmatch(key) else held.tags.get(key, "")
        if digest not in held.manifests:
            return error(404, "MANIFEST_UNKNOWN")
        if asked.method == "DELETE":
            return _delete_manifest(held, key, digest)
        if asked.method not in ("GET", "HEAD"):
            return error(405, "UNSUPPORTED")
        media_type, data = held.manifests[digest]
        if not _accepted(asked, media_type):
            return error(404, "MANIFEST_UNKNOWN", "found, but the Accept header does not name it")
        return Answer(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, data)

    def _put_manifest(self, asked: Asked, name: str, key: str, body: bytes) -> Answer:
        media_type = asked.headers.get("content-type", "")
        digest = digest_of(body)
        if len(body) > MANIFEST_LIMIT:
            return error(413, "SIZE_INVALID")
        if _DIGEST.fullmatch(key) and key != digest:
            return error(400, "DIGEST_INVALID")
        try:
            document = json.loads(body)
        except ValueError:
            return error(400, "MANIFEST_INVALID")
        if document.get("mediaType", media_type) != media_type:
            return error(400, "MANIFEST_INVALID", "Content-Type and mediaType differ")
        missing = self._missing(name, document)
        if missing:
            return error(400, "MANIFEST_BLOB_UNKNOWN", f"blob unknown: {missing}")
        self.add_manifest(name, key, body, media_type)
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if "subject" in document and self.referrers:
            headers["OCI-Subject"] = document["subject"]["digest"]
        return Answer(201, headers)

    def _missing(self, name: str, document: Mapping[str, object]) -> str:
        """The first blob or manifest that the document names and the repository lacks."""
        held = self.repository(name)
        for child in _list(document.get("manifests")):
            if child["digest"] not in held.manifests:
                return str(child["digest"])
        wanted = _list(document.get("layers"))
        if isinstance(document.get("config"), dict):
            wanted.append(document["config"])  # type: ignore[arg-type]
        for blob in wanted:
            if blob["digest"] not in held.blobs and not blob.get("urls"):
                return str(blob["digest"])
        return ""

    def _blob(self, asked: Asked, name: str, key: str) -> Answer:
        held = self.repositories.get(name)
        if held is None:
            return error(404, "NAME_UNKNOWN")
        if not _DIGEST.fullmatch(key):
            return error(400, "DIGEST_INVALID")
        if key not in held.blobs:
            return error(404, "BLOB_UNKNOWN")
        if asked.method == "DELETE":
            held.blobs.discard(key)
            return Answer(202)
        if asked.method not in ("GET", "HEAD"):
            return error(405, "UNSUPPORTED")
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": key,
            "Accept-Ranges": "bytes",
        }
        return _ranged(asked, Answer(200, headers, self.blobs[key]))

    def _tags(self, asked: Asked, name: str) -> Answer:
        held = self.repositories.get(name)
        if held is None:
            return error(404, "NAME_UNKNOWN")
        limit = min(int(asked.query.get("n", self.page)), self.page)
        left = sorted(tag for tag in held.tags if tag > asked.query.get("last", ""))
        page = left[:limit]
        headers = {"Content-Type": "application/json"}
        if len(left) > limit and page:
            headers["Link"] = f'</v2/{name}/tags/list?n={limit}&last={page[-1]}>; rel="next"'
        return Answer(200, headers, json.dumps({"name": name, "tags": page}).encode())

    def _referrers(self, asked: Asked, name: str, key: str) -> Answer:
        if not self.referrers:
            return error(404, "NAME_UNKNOWN", "no such path")
        held = self.repositories.get(name, Repository())
        found = list(_referring(held, key))
        headers = {"Content-Type": OCI_INDEX}
        wanted = asked.query.get("artifactType")
        if wanted:
            found = [entry for entry in found if entry["artifactType"] == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return Answer(200, headers, json.dumps(index).encode())

    # --- uploads --------------------------------------------------------------------------------

    def _upload(self, asked: Asked, name: str, key: str) -> Answer:
        if asked.method == "POST" and not key:
            return self._start_upload(asked, name)
        with self.lock:
            upload = self.uploads.get(key)
            if upload is None or upload.name != name:
                return error(404, "BLOB_UPLOAD_UNKNOWN")
            if "_state" not in asked.query:
                return error(400, "BLOB_UPLOAD_INVALID", "the location's query is missing")
        if asked.method == "GET":
            return self._accepted(key, upload, 204)
        if asked.method == "DELETE":
            self.uploads.pop(key, None)
            return Answer(204)
        if asked.method == "PATCH":
            return self._append(asked, key, upload) or self._accepted(key, upload, 202)
        if asked.method == "PUT":
            refused = self._append(asked, key, upload)
            return refused or self._finish(asked.query.get("digest", ""), key, upload)
        return error(405, "UNSUPPORTED")

    def _start_upload(self, asked: Asked, name: str) -> Answer:
        query = asked.query
        with self.lock:
            held = self.repository(name)
            source = self.repositories.get(query.get("from", ""))
            digest = query.get("mount", "")
            if self.mounts and source is not None and digest in source.blobs:
                held.blobs.add(digest)
                return _created(name, digest)
            key = uuid.uuid4().hex
            upload = self.uploads[key] = Upload(name)
        for piece in asked.body:
            upload.data += piece
        if self.monolithic and "digest" in query:
            return self._finish(query["digest"], key, upload)
        upload.data.clear()
        return self._accepted(key, upload, 202)

    def _append(self, asked: Asked, key: str, upload: Upload) -> Answer | None:
        """Take the body's bytes as they come; an error where they may not be taken."""
        span = re.fullmatch(r"(\d+)-(\d+)", asked.headers.get("content-range", ""))
        before = len(upload.data)
        refused = "content-range" in asked.headers and (span is None or int(span[1]) != before)
        if refused or (upload.short and asked.method == "PATCH"):
            answer = self._accepted(key, upload, 416)
            return Answer(416, answer.headers)
        for piece in asked.body:
            upload.data += piece
        got = len(upload.data) - before
        if span is not None and got != int(span[2]) + 1 - before:
            return error(400, "SIZE_INVALID")
        upload.short = asked.method == "PATCH" and got < self.min_chunk
        return None

    def _finish(self, digest: str, key: str, upload: Upload) -> Answer:
        with self.lock:
            self.uploads.pop(key, None)
            if not _DIGEST.fullmatch(digest) or digest_of(upload.data) != digest:
                return error(400, "DIGEST_INVALID")
            self.add_blob(upload.name, bytes(upload.data))
        return _created(upload.name, digest)

    def _accepted(self, key: str, upload: Upload, status: int) -> Answer:
        size = len(upload.data)
        headers = {
            "Location": f"/v2/{upload.name}/blobs/uploads/{key}?_state={size}.{key[:6]}",
            "Range": f"0-{max(size - 1, 0)}",
            "Docker-Upload-UUID": key,
        }
        if self.min_chunk and status == 202:
            headers["OCI-Chunk-Min-Length"] = str(self.min_chunk)
        return Answer(status, headers)


def _created(name: str, digest: str) -> Answer:
    location = f"/v2/{name}/blobs/{digest}"
    return Answer(201, {"Location": location, "Docker-Content-Digest": digest})


def _delete_manifest(held: Repository, key: str, digest: str) -> Answer:
    if key in held.tags:
        del held.tags[key]
        return Answer(202)
    del held.manifests[digest]
    held.tags = {tag: value for tag, value in held.tags.items() if value != digest}
    return Answer(202)


def _accepted(asked: Asked, media_type: str) -> bool:
    if media_type not in (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST):
        return True
    named = [part.partition(";")[0].strip() for part in asked.headers.get("accept", "").split(",")]
    return media_type in named or "*/*" in named


def _ranged(asked: Asked, answer: Answer) -> Answer:
    """The part that `Range: bytes=A-B`, `A-` or `-N` wants."""
    span = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.headers.get("range", ""))
    size = len(answer.body)
    if asked.method != "GET" or span is None or span[0] == "bytes=-":
        return answer
    if span[1]:
        start, end = int(span[1]), min(int(span[2] or size - 1), size - 1)
    else:
        start, end = max(size - int(span[2]), 0), size - 1
    if start > end:
        return error(416, "RANGE_INVALID", Content_Range=f"bytes */{size}")
    headers = {**answer.headers, "Content-Range": f"bytes {start}-{end}/{size}"}
    return Answer(206, headers, answer.body[start : end + 1])


def _referring(held: Repository, digest: str) -> Iterator[dict[str, object]]:
    for own, (media_type, data) in sorted(held.manifests.items()):
        document = json.loads(data)
        if document.get("subject", {}).get("digest") != digest:
            continue
        kind = document.get("artifactType") or document.get("config", {}).get("mediaType", "")
        entry = {"mediaType": media_type, "digest": own, "size": len(data), "artifactType": kind}
        if document.get("annotations"):
            entry["annotations"] = document["annotations"]
        yield entry


def _list(value: object) -> list[dict[str, object]]:
    return list(value) if isinstance(value, list) else []
