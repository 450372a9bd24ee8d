# SPDX-License-Identifier: Apache-2.0
"""Manifests at one server (distribution specification 1.1, "Pulling manifests", "Pushing
manifests"), by their exact bytes and never without their digest having been checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from wherry.errors import NetworkError, UsageError
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.image import Descriptor
from wherry.registry.documents import refuse
from wherry.registry.endpoint import Call, Endpoint, Wanted, Whole
from wherry.registry.kinds import ACCEPT, content_type, is_telling, kind_of
from wherry.registry.model import MANIFEST_LIMIT, RawManifest
from wherry.registry.problems import refused

_CREATED = (200, 201, 202, 204)
_LATER = 500
_TOO_MANY = 429


class Put(NamedTuple):
    """A manifest that was pushed; `linked`: the server keeps track of its subject by itself."""

    digest: Digest
    linked: bool


def get_manifest(endpoint: Endpoint, wanted: Wanted) -> RawManifest | None:
    """The manifest, None where it is not there; `NetworkError` where it cannot be trusted."""
    what = f"cannot get the manifest of {endpoint.full_name}{wanted.suffix}"
    call = Call("GET", f"manifests/{wanted.text}", (ACCEPT,))
    whole = endpoint.read(call, what, MANIFEST_LIMIT)
    return _checked(whole, wanted, f"{endpoint.full_name}{wanted.suffix}") if whole.found else None


def head_manifest(endpoint: Endpoint, wanted: Wanted) -> Descriptor | None:
    """What a tag or digest points to, None where it is not there.

    By HEAD, which registries do not count as a pull; by GET where its answer does not say enough.
    """
    call = Call("HEAD", f"manifests/{wanted.text}", (ACCEPT,))
    with endpoint.send(call) as response:
        if response.status == 404:
            return None
        if response.status == _TOO_MANY or response.status >= _LATER:
            what = f"cannot find out what {endpoint.full_name}{wanted.suffix} is"
            raise refused(what, response)
        if response.status == 200 and (found := _described(response.headers, wanted)):
            return found
    raw = get_manifest(endpoint, wanted)
    return raw.descriptor if raw else None


def put_manifest(endpoint: Endpoint, data: bytes, media_type: str, wanted: Wanted) -> Put:
    """Push a manifest; `NetworkError` where the server refuses it or has made another of it."""
    name = f"{endpoint.full_name}{wanted.suffix}"
    digest = digest_like(data, wanted.digest)
    if wanted.digest not in (None, digest):
        raise UsageError(f"a manifest cannot be pushed as {name}",
                         why=f"its bytes have the digest {digest}")  # fmt: skip
    call = Call("PUT", f"manifests/{wanted.text}", (("content-type", media_type),), data)
    with endpoint.send(call) as response:
        if response.status not in _CREATED:
            raise refused(f"cannot push the manifest {name}", response)
        stated, linked = stated_digest(response.headers), "oci-subject" in response.headers
    if stated is not None and stated != digest_like(data, stated):
        raise NetworkError(f"{endpoint.name} changed the manifest {name}",
                           why=f"{digest} was sent, it says that it has {stated}",
                           hint="push to a registry that keeps manifests as they are")  # fmt: skip
    return Put(digest, linked)


def digest_like(data: bytes, like: Digest | None) -> Digest:
    """The digest of `data` by the same algorithm, sha256 where there is none."""
    if like is None:
        return sha256(data)
    return Digest(like.algorithm, hashlib.new(like.algorithm, data).hexdigest())


def stated_digest(headers: Mapping[str, str]) -> Digest | None:
    """Docker-Content-Digest, None where it is absent or malformed."""
    try:
        return parse_digest(headers.get("docker-content-digest", ""))
    except UsageError:
        return None


def _checked(whole: Whole, wanted: Wanted, name: str) -> RawManifest:
    """The manifest of an answer, with its digest and kind established."""
    stated = stated_digest(whole.headers)
    expected = wanted.digest or stated
    found = digest_like(whole.data, expected)
    kind = kind_of(whole.data, content_type(whole.headers.get("content-type", "")), name)
    if expected is not None and found != expected:
        refuse(name, f"its bytes have the digest {found}, not {expected}")
    return RawManifest(Descriptor(kind, found, len(whole.data)), whole.data)


def _described(headers: Mapping[str, str], wanted: Wanted) -> Descriptor | None:
    """What a HEAD's headers say, None where they leave anything open."""
    digest = stated_digest(headers)
    kind = content_type(headers.get("content-type", ""))
    length = headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() and len(length) < 10 else 0
    if wanted.digest is not None and digest != wanted.digest:
        # By another algorithm, or a lie: the bytes tell.
        return None
    if digest is None or not is_telling(kind) or not 0 < size <= MANIFEST_LIMIT:
        return None
    return Descriptor(kind, digest, size)
