# SPDX-License-Identifier: Apache-2.0
"""Images of an OCI layout as bases: copied into the store, every byte verified.

The form is buildx's `oci-layout://DIRECTORY[:TAG][@DIGEST]`; without either, the layout's only
image, or the one that is called `latest`.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import BinaryIO, Final

from wherry.errors import MachineError, UsageError, near
from wherry.exporters.names import REF_NAME
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Descriptor, Image, load_image, parse_index, parse_manifest
from wherry.oci.media import is_foreign, is_index
from wherry.oci.platform import Platform
from wherry.registry.choose import choose
from wherry.store.store import Store

_PIECE: Final = 1 << 20
_LARGEST: Final = 4 << 20
_TAG: Final = re.compile(
    r"(?P<place>.*?)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>.+))?", re.DOTALL
)


def find_in_layout(store: Store, cwd: str, text: str, platform: Platform) -> Image:
    """The layout's image for `platform`, all its blobs in the store.

    Raises `UsageError` where there is no such layout or image, or where bytes are not what their
    digest says; `MachineError` where the store cannot take them.
    """
    match = _TAG.fullmatch(text)
    assert match is not None  # noqa: S101 - every text matches
    place = os.path.normpath(os.path.join(cwd, match["place"]))
    found = _chosen(place, match["tag"] or "", match["digest"] or "")
    if is_index(found.media_type):
        found = choose(_blob(place, found), platform)
    data = _blob(place, found)
    manifest = parse_manifest(data)
    config = _blob(place, manifest.config)
    for blob in (data, config):
        store.blobs.put(blob)
    for layer in manifest.layers:
        if not is_foreign(layer.media_type):
            _copy(store, place, layer)
    return load_image(data, config)


def _chosen(place: str, tag: str, digest: str) -> Descriptor:
    path = os.path.join(place, "index.json")
    try:
        with open(path, "rb", opener=_at_once) as file:
            index = parse_index(file.read(_LARGEST))
    except OSError as error:
        raise UsageError(
            f"{place} is no OCI layout",
            why=f"{path}: {error.strerror}",
            hint="write one: wherry build -o type=oci,dest=DIR,tar=false",
        ) from error
    entries = index.manifests
    if digest:
        wanted = parse_digest(digest)
        # A digest may also name what an index in the layout lists: its blob is there then.
        named = [entry for entry in entries if entry.digest == wanted]
        if named:
            return named[0]
        raise UsageError(f"the layout {place} has no {digest}", hint=_listed(entries))
    names = {dict(entry.annotations).get(REF_NAME, ""): entry for entry in entries}
    if tag in names and tag:
        return names[tag]
    if not tag and len(entries) == 1:
        return entries[0]
    if not tag and "latest" in names:
        return names["latest"]
    hint = near(tag, tuple(filter(None, names))) if tag else ""
    raise UsageError(f"the layout {place} has no image {tag or 'latest'!r}",
                     hint=hint or _listed(entries))  # fmt: skip


def _listed(entries: tuple[Descriptor, ...]) -> str:
    names = [dict(entry.annotations).get(REF_NAME) or str(entry.digest) for entry in entries]
    return f"it has: {', '.join(names[:8]) or 'nothing'}"


def _path(place: str, digest: Digest) -> str:
    return os.path.join(place, "blobs", digest.algorithm, digest.hex)


def _blob(place: str, descriptor: Descriptor) -> bytes:
    if descriptor.size > _LARGEST:
        raise UsageError(f"the layout {place} has a manifest or config of {descriptor.size} bytes")
    with _opened(place, descriptor) as file:
        data = file.read(descriptor.size + 1)
    found = hashlib.new(descriptor.digest.algorithm, data).hexdigest()
    _check(place, descriptor, len(data), found)
    return data


def _copy(store: Store, place: str, layer: Descriptor) -> None:
    if store.blobs.has(layer.digest, layer.size):
        return
    hashing, size = hashlib.new(layer.digest.algorithm), 0
    with _opened(place, layer) as file, store.blobs.writer() as writer:
        while data := file.read(_PIECE):
            hashing.update(data)
            size += len(data)
            writer.write(data)
        _check(place, layer, size, hashing.hexdigest())
        writer.commit(layer.digest, layer.size)


def _opened(place: str, descriptor: Descriptor) -> BinaryIO:
    path = _path(place, descriptor.digest)
    try:
        return open(path, "rb", opener=_at_once)
    except OSError as error:
        raise MachineError(f"the layout {place} lacks a blob", why=f"{path}: {error.strerror}",
                           hint="write the layout again") from error  # fmt: skip


def _at_once(path: str, flags: int) -> int:
    """Opens a file; a pipe that lies in its place is empty, and not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check(place: str, descriptor: Descriptor, size: int, found: str) -> None:
    if size != descriptor.size or found != descriptor.digest.hex:
        raise UsageError(f"the layout {place} is damaged",
                         why=f"{descriptor.digest} has other bytes there",
                         hint="write the layout again")  # fmt: skip
