# SPDX-License-Identifier: Apache-2.0
"""What refers to a manifest (distribution specification 1.1, "Listing Referrers", "Pushing
Manifests with Subject", "Referrers Tag Schema").

Registries with the referrers API keep the list themselves. For the others the client keeps it, as
an index under a tag made of the subject's digest; entries of other clients stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urljoin

from wherry.errors import NetworkError, UsageError
from wherry.oci.digest import Digest
from wherry.oci.image import INDEX, Descriptor, parse_descriptor
from wherry.registry.documents import INDEX_TYPES, read_object, refuse
from wherry.registry.endpoint import Call, Endpoint, Wanted, Whole, check_digest
from wherry.registry.kinds import content_type
from wherry.registry.manifests import get_manifest, put_manifest
from wherry.registry.model import MANIFEST_LIMIT, RawManifest
from wherry.registry.problems import Refused
from wherry.transport.origins import parse_origin

_MOST_PAGES = 100
_MOST_ENTRIES = 10_000
_RACES = 2
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;[^,<]*\brel="?next"?', re.IGNORECASE)
# A server that does not know the API may say so in any of these ways.
_NO_API = frozenset((HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED,
                     HTTPStatus.NOT_ACCEPTABLE, HTTPStatus.NOT_IMPLEMENTED))  # fmt: skip

Entry = dict[str, Any]
"""A descriptor as an index has it, with all its fields."""


def list_referrers(
    endpoint: Endpoint, digest: Digest, artifact_type: str
) -> tuple[Descriptor, ...]:
    """The manifests whose subject is `digest`, of one artifact type or of all (empty).

    Raises `NetworkError`, also for a list that does not end.
    """
    name = f"the list of referrers of {endpoint.full_name}@{check_digest(digest)}"
    found: dict[Digest, Descriptor] = {}
    for entry, filtered in _entries(endpoint, digest, artifact_type, name):
        if artifact_type and not filtered and entry.get("artifactType") != artifact_type:
            continue
        try:
            descriptor = parse_descriptor(entry)
        except UsageError as error:
            refuse(name, error.what, error)
        found.setdefault(descriptor.digest, descriptor)
        if len(found) > _MOST_ENTRIES:
            refuse(name, f"it has more than {_MOST_ENTRIES} entries")
    return tuple(found.values())


def fallback_tag(digest: Digest) -> str:
    """The tag that holds the referrers where the registry has no API for them."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{digest.algorithm[:32]}-{digest.hex[:64]}")


def subject_of(manifest: RawManifest, name: str) -> Digest | None:
    """The digest of a manifest's subject; raises `NetworkError` where it is malformed."""
    subject = read_object(manifest.data, name).get("subject")
    if subject is None:
        return None
    try:
        return parse_descriptor(subject).digest
    except UsageError as error:
        refuse(name, f"its subject: {error.what}", error)


def link(endpoint: Endpoint, manifest: RawManifest, subject: Digest) -> None:
    """Enter a manifest into the list under the fallback tag of its subject.

    Another client may do the same at this time: the list is read again afterwards, and written
    once more where the entry was lost.
    """
    entry = _entry_of(manifest)
    wanted = Wanted(fallback_tag(subject))
    for _ in range(_RACES):
        index, entries = _fallback(endpoint, wanted)
        if _lists(entries, entry):
            return
        data = _encoded({**index, "manifests": [*entries, entry]})
        if len(data) > MANIFEST_LIMIT:
            refuse(f"{endpoint.full_name}{wanted.suffix}", "the list of referrers is full")
        put_manifest(endpoint, data, INDEX, wanted)
    if not _lists(_fallback(endpoint, wanted)[1], entry):
        raise NetworkError(f"cannot enter {entry['digest']} as a referrer of {subject}",
                           why="others write the same list at the same time",
                           hint="push again")  # fmt: skip


def _lists(entries: list[Entry], entry: Entry) -> bool:
    return any(known.get("digest") == entry["digest"] for known in entries)


def _encoded(index: dict[str, object]) -> bytes:
    # Not canonical JSON: other clients may have put numbers there that it does not have.
    return json.dumps(index, ensure_ascii=False, separators=(",", ":")).encode()


def _entry_of(manifest: RawManifest) -> Entry:
    """How an index lists the manifest: with its artifact type and annotations."""
    value = read_object(manifest.data, str(manifest.descriptor.digest))
    entry: Entry = dict(manifest.descriptor.as_json())
    config = value.get("config")
    kind = value.get("artifactType") or (
        config.get("mediaType") if isinstance(config, dict) else ""
    )
    if isinstance(kind, str) and kind:
        entry["artifactType"] = kind
    annotations = value.get("annotations")
    if isinstance(annotations, dict) and annotations:
        entry["annotations"] = annotations
    return entry


def _fallback(endpoint: Endpoint, wanted: Wanted) -> tuple[dict[str, object], list[Entry]]:
    """The index under the fallback tag and its entries; an empty one where there is none."""
    raw = get_manifest(endpoint, wanted)
    if raw is None:
        return {"schemaVersion": 2, "mediaType": INDEX}, []
    name = f"{endpoint.full_name}{wanted.suffix}"
    if raw.descriptor.media_type not in INDEX_TYPES:
        refuse(name, "it is to list referrers, and is no index")
    value = read_object(raw.data, name)
    return {**value, "mediaType": INDEX}, _checked_entries(value, name)


def _entries(
    endpoint: Endpoint, digest: Digest, artifact_type: str, name: str
) -> Iterator[tuple[Entry, bool]]:
    """All entries, each with whether the registry has filtered them."""
    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    url, seen = "", set[str]()
    for _ in range(_MOST_PAGES):
        page = _page(endpoint, Call("GET", f"referrers/{digest}{query}"), name, url)
        if page is None and not url:
            _, entries = _fallback(endpoint, Wanted(fallback_tag(digest)))
            yield from ((entry, False) for entry in entries)
            return
        if page is None:
            refuse(name, "a page of it is missing")
        filtered = "artifacttype" in page.headers.get("oci-filters-applied", "").lower()
        for entry in _checked_entries(read_object(page.data, name), name):
            yield entry, filtered
        url = _next_url(page, name)
        if not url:
            return
        if url in seen:
            refuse(name, "its pages go round in a circle")
        seen.add(url)
    refuse(name, f"it has more than {_MOST_PAGES} pages")


def _page(endpoint: Endpoint, call: Call, name: str, url: str) -> Whole | None:
    """One page; None where the registry has no such API."""
    try:
        page = endpoint.read(call, f"cannot get {name}", MANIFEST_LIMIT, url)
    except Refused as error:
        if error.status in _NO_API and not url:
            return None
        raise
    kind = content_type(page.headers.get("content-type", ""))
    return page if page.found and kind != "text/html" else None


def _next_url(page: Whole, name: str) -> str:
    """The next page's URL, empty after the last; a registry's list does not go on elsewhere."""
    found = _NEXT.search(page.headers.get("link", "")[:8192])
    if found is None:
        return ""
    try:
        url = urljoin(page.url, str(found[1]))
    except ValueError:
        refuse(name, "the address of its next page is malformed")
    if parse_origin(url) != parse_origin(page.url):
        refuse(name, "its next page is at another server")
    return url


def _checked_entries(index: dict[str, object], name: str) -> list[Entry]:
    entries = index.get("manifests")
    if entries is None:
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        refuse(name, "its manifests are no list of objects")
    return entries
