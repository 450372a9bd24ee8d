# SPDX-License-Identifier: Apache-2.0
"""Travelling records as bytes: JSON, whose every value is checked before anybody believes it.

They come from caches that others may write to. What is malformed, too large or too deep is no
record; what it may name is checked where names are followed (`wherry.golang.enclosure`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from wherry.api.recorded import Output, decode_output
from wherry.api.travelling_key import TRAVELLING_FORMAT
from wherry.errors import UsageError
from wherry.golang.travelling import TravellingInputs
from wherry.oci.digest import parse_digest, sha256

# A record of caddy has 0.2 MB; what is larger by far would take memory and time to no use.
RECORD_LIMIT = 8 << 20
_SALT = re.compile(r"[0-9a-f]{32}")
_LARGEST = 1 << 62
# For each of the modules git may be asked; of other things that cost a little each, too.
_MODULES = 64
_FEW = 256
# Names in all, each of which costs a look at the disk.
_NAMES = 200_000


class Maybe(NamedTuple):
    """Null, or a value of this shape."""

    shape: Any


_TEXTS = {str: str}
# The fields of `TravellingInputs`, in their order.
_INPUTS = (
    str, str, str, _TEXTS, [str], str, {str: Maybe(str)}, {str: Maybe(str)}, _TEXTS, [str], _TEXTS,
    _TEXTS, [str], _TEXTS, _TEXTS, _TEXTS, {str: (str, str)}, _TEXTS,
)  # fmt: skip
# The fields of `Output`, in their order.
_OUTPUT = (
    str, [str], str, [(str, str, str)], str, int, str, [(str, int)], [(str, int)], int, Maybe(int),
    str, [(str, str, int, str, bool, str)], [str], [(str, int, str)],
)  # fmt: skip


class Told(NamedTuple):
    """What version control said of the module at `root`, or what templates looked at there.

    `digest` is of the words, salted. `facts` and `env` are names; both and `salt` are empty for
    version control.
    """

    root: str
    digest: str
    facts: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    salt: str = ""


_TOLD = (str, str, [str], [str], str)


class Letter(NamedTuple):
    """A whole travelling record.

    `data` is a digest of the data that composed bases are made from, `zstd` names the compressor
    where one was used. `documents` are manifests, indexes and configs by their digests.
    """

    key: str
    data: str
    zstd: str
    inputs: TravellingInputs
    stamps: tuple[Told, ...]
    templates: tuple[Told, ...]
    outputs: tuple[Output, ...]
    plural: bool
    documents: Mapping[str, bytes]


def encode_letter(letter: Letter) -> bytes:
    """The record's bytes."""
    documents = {digest: data.decode() for digest, data in letter.documents.items()}
    value = [TRAVELLING_FORMAT, *letter._replace(documents=documents)]  # type: ignore[arg-type]
    return _dumped(value)


def decode_letter(data: bytes) -> Letter | None:
    """A record from its bytes; None for anything that is none of this release's."""
    if len(data) > RECORD_LIMIT:
        return None
    try:
        value = json.loads(data)
        if not _fits(value, _LETTER):
            return None
        return _letter(value)
    except (ValueError, RecursionError, UnicodeError):
        return None


_INPUTS_PLACE = 1 + Letter._fields.index("inputs")
_MODULES_PLACE = TravellingInputs._fields.index("modules")


def parted(data: bytes) -> tuple[bytes, bytes]:
    """A record's bytes without what it says of modules, which edits seldom change; and that."""
    value = json.loads(data)
    modules = value[_INPUTS_PLACE][_MODULES_PLACE]
    value[_INPUTS_PLACE][_MODULES_PLACE] = None
    return _dumped(value), _dumped(modules)


def joined(rest: bytes, modules: bytes) -> bytes:
    """The bytes that were parted; raises `ValueError` for what never was one."""
    try:
        value = json.loads(rest)
        value[_INPUTS_PLACE][_MODULES_PLACE] = json.loads(modules)
    except (TypeError, IndexError, KeyError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return _dumped(value)


def _dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode("ascii")


_LETTER = (
    int, str, str, str, _INPUTS, [_TOLD], [_TOLD], [_OUTPUT], bool, _TEXTS,
)  # fmt: skip


def _letter(value: list[Any]) -> Letter | None:
    version, key, data, zstd, inputs, stamps, templates, outputs, plural, documents = value
    if version != TRAVELLING_FORMAT or not _SALT.fullmatch(inputs[0]):
        return None
    if len(stamps) + len(templates) > _MODULES or not _is_bounded(TravellingInputs(*inputs)):
        return None
    encoded = {digest: text.encode() for digest, text in documents.items()}
    if any(str(sha256(text)) != digest for digest, text in encoded.items()):
        return None
    decoded = tuple(map(decode_output, outputs))
    if not decoded or not all(_is_sound(output) for output in decoded):
        return None
    return Letter(
        key,
        data,
        zstd,
        _inputs(inputs),
        tuple(_told(item) for item in stamps),
        tuple(_told(item) for item in templates),
        decoded,
        plural,
        encoded,
    )


def _is_bounded(inputs: TravellingInputs) -> bool:
    """Whether asking for all of it ends soon, whoever wrote it."""
    few = (inputs.versions, inputs.switched, inputs.workspaces, inputs.trees, inputs.whole)
    names = sum(len(field) for field in inputs if not isinstance(field, str))
    return names <= _NAMES and all(len(field) <= _FEW for field in few)


def _inputs(value: list[Any]) -> TravellingInputs:
    found = TravellingInputs(*value)
    return found._replace(
        versions=tuple(found.versions),
        absent=tuple(found.absent),
        plain=tuple(found.plain),
        modules={name: (names, digest) for name, (names, digest) in found.modules.items()},
    )


def _told(value: list[Any]) -> Told:
    root, digest, facts, env, salt = value
    return Told(root, digest, tuple(facts), tuple(env), salt)


def _is_sound(output: Output) -> bool:
    """Whether an output's digests are digests."""
    named = [digest for digest, _ in (*output.blobs, *output.lazy)]
    named += [digest for digest in (output.manifest, output.config) if digest != ""]
    named += [base.resolved for base in output.bases]
    return all(map(_is_digest, named))


def _is_digest(text: str) -> bool:
    try:
        parse_digest(text)
    except UsageError:
        return False
    return True


def _fits(value: object, shape: Any) -> bool:  # noqa: ANN401 - JSON against a shape of types
    """Whether JSON has a shape: a type, `[shape]` for any number, a tuple for just these."""
    if isinstance(shape, Maybe):
        return value is None or _fits(value, shape.shape)
    if isinstance(shape, dict):
        inner = shape[str]
        return isinstance(value, dict) and all(_fits(item, inner) for item in value.values())
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    if isinstance(shape, tuple):
        return (
            isinstance(value, list)
            and len(value) == len(shape)
            and all(_fits(item, inner) for item, inner in zip(value, shape, strict=True))
        )
    if shape is int:
        return type(value) is int and 0 <= value < _LARGEST
    return type(value) is shape
