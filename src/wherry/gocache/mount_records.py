# SPDX-License-Identifier: Apache-2.0
"""Cache mounts in a pack set: one archive for each, and when a build used it last.

A mount's key is a digest of what tells it from others: nothing of its name is in the index. Its
blob is a layer's tar (OCI image specification, layer.md), compressed with zstd, without an entry
for the directory itself, whose owner and mode stand here. The newest archive of a mount counts;
where room is short, those go first that were not used for longest.

JSON form of the section, whose every value is a stranger's:
  {key: {"blob": [digest, size], "diff_id": digest, "tree": digest, "tar": bytes, "entries": count,
         "top": [mode, uid, gid], "time": time}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from wherry.errors import UsageError
from wherry.gocache.table import BadPack
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.image import Descriptor, Layer
from wherry.oci.media import LAYER_ZSTD

MOUNT_TYPE: Final = "application/vnd.wherry.gocache.mount.v1.tar+zstd"
MOST_MOUNTS: Final = 64
"""More than so many mounts has no set that anybody reads."""
MOST_ENTRIES: Final = 1_000_000
_MOST_BYTES: Final = 1 << 50
_LAST_ID: Final = 2**32 - 2
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_BLOCK: Final = 512


class Top(NamedTuple):
    """Mode and owner of a mount's own directory."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class MountRecord(NamedTuple):
    """The archive of one cache mount.

    `tree` is the digest of names, contents, modes and owners, without times: equal ones need no new
    archive. `tar` is the archive's exact size when uncompressed, `entries` how many it has.
    """

    blob: Descriptor
    diff_id: Digest
    tree: Digest
    tar: int
    entries: int
    top: Top
    time: int

    @property
    def layer(self) -> Layer:
        """The archive, as what unpacks layers wants it."""
        return Layer(Descriptor(LAYER_ZSTD, self.blob.digest, self.blob.size), self.diff_id)


class MountChange(NamedTuple):
    """What a build does to the mounts of a set: archives by key, and keys that it used at `time`.

    A key that was used and not written is one whose archive was found to be as the mount is.
    """

    time: int = 0
    written: Mapping[str, MountRecord] = {}
    used: frozenset[str] = frozenset()


def mount_key(name: str) -> str:
    """The key of the mount that this name tells from others; the name may be any bytes."""
    text = name.encode("utf-8", "surrogateescape").hex()
    return sha256(canonical_json(["cache mount/1", text])).hex


def encode_mounts(mounts: Mapping[str, MountRecord]) -> dict[str, Json]:
    """The section of the index."""
    return {
        key: {
            "blob": [str(record.blob.digest), record.blob.size],
            "diff_id": str(record.diff_id),
            "tree": str(record.tree),
            "tar": record.tar,
            "entries": record.entries,
            "top": list(record.top),
            "time": record.time,
        }
        for key, record in mounts.items()
    }


def read_mounts(value: Any) -> dict[str, MountRecord]:  # noqa: ANN401 - a stranger's JSON, checked here
    """The mounts of an index; raises `BadPack` for a section that is malformed."""
    try:
        many = len(value) > MOST_MOUNTS
        found = {} if many else {_key(key): _record(item) for key, item in value.items()}
    except BadPack:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, UsageError) as error:
        raise _malformed(str(error)) from error
    if many:
        raise _malformed(f"more than {MOST_MOUNTS} of them")
    return found


def merged_mounts(
    current: Mapping[str, MountRecord], change: MountChange, most: int | None = None
) -> dict[str, MountRecord]:
    """The mounts after a change, in at most `most` bytes (None: any number), newest first."""
    merged = {
        key: record._replace(time=change.time) if key in change.used else record
        for key, record in current.items()
    }
    merged |= change.written
    newest = sorted(merged, key=lambda key: (merged[key].time, key), reverse=True)
    kept: set[str] = set()
    size = 0
    for key in newest[:MOST_MOUNTS]:
        if most is None or size + merged[key].blob.size <= most:
            size += merged[key].blob.size
            kept.add(key)
    return {key: merged[key] for key in sorted(kept)}


def mount_blobs(mounts: Mapping[str, MountRecord]) -> Iterable[Descriptor]:
    """The blobs that a section names."""
    return (record.blob for record in mounts.values())


def _key(text: Any) -> str:  # noqa: ANN401 - as above
    if not isinstance(text, str) or not _KEY.fullmatch(text):
        raise _malformed("a cache mount's key is none")
    return text


def _record(value: Any) -> MountRecord:  # noqa: ANN401 - as above
    digest, size = value["blob"]
    mode, uid, gid = value["top"]
    record = MountRecord(
        Descriptor(MOUNT_TYPE, _digest(digest), _count(size)),
        _digest(value["diff_id"]),
        _digest(value["tree"]),
        _count(value["tar"]),
        _count(value["entries"], MOST_ENTRIES),
        Top(_count(mode, 0o7777), _count(uid, _LAST_ID), _count(gid, _LAST_ID)),
        _count(value["time"]),
    )
    # Each entry has a header, and the archive an end.
    if record.tar < _BLOCK * (record.entries + 2):
        raise _malformed("an archive that is too small for its entries")
    return record


def _digest(text: Any) -> Digest:  # noqa: ANN401 - as above
    found = parse_digest(text)
    if found.algorithm != "sha256":
        raise _malformed("a cache mount is named by another digest than sha256")
    return found


def _count(value: Any, most: int = _MOST_BYTES) -> int:  # noqa: ANN401 - as above
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _malformed(f"not a number: {value!r}"[:80])
    return value


def _malformed(why: str) -> BadPack:
    return BadPack("the cache mounts of a cache are malformed", why=why[:200])
