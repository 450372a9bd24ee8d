# SPDX-License-Identifier: Apache-2.0
"""The index of a pack set: its JSON, whose every value is checked before anybody believes it.

JSON form of the index, version 1:
  {"v": 1,
   "packs": [{"kind", "pack": [digest, size], "table": [digest, size], "content": bytes,
              "rows": count, "made": time}, ...]
   "users": {name: {"time": time, "rows": {pack digest: base64 of a bitmap, or "*"}}}
   "records": {key: {"blob": [digest, size], "time": time, "layers": [[digest, size, type], ...],
                     "results": [digest, ...], "modules": [[digest, size], ...]}},
   "steps": {...}    as `step_index` has them, left out where there are none
   "mounts": {...}}  as `mount_records` has them, left out where there are none
Times are seconds since 1970. Dictionaries with keys not named here are read and dropped. Broken
steps or mounts are dropped alone: what Go builds need of an index does not depend on them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from wherry.errors import UsageError
from wherry.gocache.mount_records import MountRecord, encode_mounts, read_mounts
from wherry.gocache.pack_set import (
    MOST_PACKS,
    MOST_RECORDS,
    MOST_ROWS,
    MOST_USERS,
    PACK_TYPE,
    RECORD_TYPE,
    TABLE_TYPE,
    Pack,
    PackSet,
    RecordBlob,
    Rows,
    User,
)
from wherry.gocache.step_index import encode_steps, read_steps
from wherry.gocache.step_records import StepSet
from wherry.gocache.table import KINDS, BadPack
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Descriptor

_VERSION = 1
_ALL = "*"


class OtherRelease(BadPack):
    """A set that another release of wherry has written: not ours to replace."""


def encode_index(current: PackSet) -> bytes:
    """The index as JSON; equal sets give equal bytes."""
    value: dict[str, object] = {
        "v": _VERSION,
        "packs": [
            {
                "kind": pack.kind,
                "pack": _encoded(pack.blob),
                "table": _encoded(pack.table),
                "content": pack.content,
                "rows": pack.rows,
                "made": pack.made,
            }
            for pack in current.packs
        ],
        "users": {
            name: {
                "time": user.time,
                "rows": {
                    str(pack.digest): _bitmap(user.rows[pack.digest], pack.rows)
                    for pack in current.packs
                    if pack.digest in user.rows
                },
            }
            for name, user in current.users.items()
        },
        "records": {
            key: {
                "blob": _encoded(record.blob),
                "time": record.time,
                "layers": [[*_encoded(layer), layer.media_type] for layer in record.layers],
                "results": [str(result) for result in record.results],
                "modules": [_encoded(blob) for blob in record.modules],
            }
            for key, record in current.records.items()
        },
    }
    if current.steps != StepSet():
        value["steps"] = encode_steps(current.steps)
    if current.mounts:
        value["mounts"] = encode_mounts(current.mounts)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def read_index(data: bytes) -> PackSet:
    """A set from its index; raises `BadPack` for one that is malformed or of a newer version."""
    try:
        return _index(json.loads(data))
    except BadPack:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
            UsageError) as error:  # fmt: skip
        raise BadPack("the index of a cache is malformed", why=str(error)[:200]) from error


def _index(value: Any) -> PackSet:  # noqa: ANN401 - a stranger's JSON, checked here
    if value["v"] != _VERSION:
        why = f"its version is {value['v']!r}; this wherry knows {_VERSION}"
        raise OtherRelease("the cache was written by another release of wherry", why=why)
    for name, most in (("packs", MOST_PACKS), ("users", MOST_USERS), ("records", MOST_RECORDS)):
        if len(value[name]) > most:
            raise BadPack(f"the index of a cache has more than {most} {name}")
    packs = tuple(map(_pack, value["packs"]))
    if sum(pack.rows for pack in packs) > MOST_ROWS:
        raise BadPack(f"the index of a cache has more than {MOST_ROWS} rows")
    # Made once for each pack: "*" is short, and what it stands for is not.
    wholes = {pack.digest: Rows((1 << pack.rows) - 1) for pack in packs}
    faults: list[str] = []
    none: dict[str, MountRecord] = {}
    return PackSet(
        packs,
        {str(name): _user(user, wholes) for name, user in value["users"].items()},
        {str(key): _record(record) for key, record in value["records"].items()},
        _section(value, "steps", read_steps, StepSet(), faults),
        _section(value, "mounts", read_mounts, none, faults),
        tuple(faults),
    )


_Section = TypeVar("_Section")


def _section(
    value: Any,  # noqa: ANN401 - as above
    name: str,
    read: Callable[[Any], _Section],
    nothing: _Section,
    faults: list[str],
) -> _Section:
    """A part that others can do without; why it cannot be read goes to `faults`."""
    if name not in value:
        return nothing
    try:
        return read(value[name])
    except BadPack as error:
        faults.append(f"{error.what}: {error.why}" if error.why else error.what)
        return nothing


def _pack(value: Any) -> Pack:  # noqa: ANN401 - as above
    if value["kind"] not in KINDS:
        raise BadPack("the index of a cache names a pack of an unknown kind")
    return Pack(
        value["kind"],
        _descriptor(PACK_TYPE, *value["pack"]),
        _descriptor(TABLE_TYPE, *value["table"]),
        _count(value["content"]),
        _count(value["rows"], MOST_ROWS),
        _count(value["made"]),
    )


def _user(value: Any, wholes: Mapping[Digest, Rows]) -> User:  # noqa: ANN401 - as above
    rows = {parse_digest(digest): bitmap for digest, bitmap in value["rows"].items()}
    return User(
        _count(value["time"]),
        {
            digest: _rows(bitmap, wholes[digest])
            for digest, bitmap in rows.items()
            if digest in wholes
        },
    )


def _record(value: Any) -> RecordBlob:  # noqa: ANN401 - as above
    layers = tuple(
        _descriptor(str(media_type), digest, size) for digest, size, media_type in value["layers"]
    )
    results = tuple(map(parse_digest, value["results"]))
    blob, *modules = (
        _descriptor(RECORD_TYPE, *item) for item in (value["blob"], *value["modules"])
    )
    return RecordBlob(blob, _count(value["time"]), layers, results, tuple(modules))


def _descriptor(media_type: str, digest: Any, size: Any) -> Descriptor:  # noqa: ANN401 - as above
    found = parse_digest(digest)
    if found.algorithm != "sha256":
        raise BadPack("the index of a cache names a blob by another digest than sha256")
    return Descriptor(media_type, found, _count(size))


def _encoded(blob: Descriptor) -> list[str | int]:
    return [str(blob.digest), blob.size]


def _bitmap(rows: Rows, count: int) -> str:
    if rows.bits == (1 << count) - 1:
        return _ALL
    return base64.b64encode(rows.bits.to_bytes((count + 7) // 8, "little")).decode("ascii")


def _rows(text: Any, whole: Rows) -> Rows:  # noqa: ANN401 - as above
    if text == _ALL:
        return whole
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadPack("the index of a cache is malformed", why=str(error)) from error
    if len(data) != (whole.bits.bit_length() + 7) // 8:
        raise BadPack("the index of a cache is malformed", why="a bitmap of another size")
    return Rows(int.from_bytes(data, "little") & whole.bits)


def _count(value: Any, most: int = 1 << 50) -> int:  # noqa: ANN401 - as above
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise BadPack("the index of a cache is malformed", why=f"not a number: {value!r}"[:80])
    return value
