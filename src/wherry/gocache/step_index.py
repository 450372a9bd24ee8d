# SPDX-License-Identifier: Apache-2.0
"""The section of an index that holds steps: its JSON, whose every value is a stranger's.

JSON form (OCI descriptors as [digest, size, media type]):
  {"exports": count,
   "slabs": [{"layer": [digest, size, type, diff ID], "kept": true or false},
             {"run": id, "size": bytes, "empty": true or false, "outside": [[text, ...], ...],
              "unneeded": [[text, ...], ...], absent where there are none,
              "layers": [[latest time or null, digest, size, type, diff ID], ...]}, ...],
   "records": {key: [used, bytes, digest of a tree or "", [number of a slab, ...]]},
   "selections": {key: [used, digest]},
   "results": {digest of a manifest: used}}
A run's layers are all kept. Dictionaries' keys that are not named here are read and dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from wherry.errors import UsageError
from wherry.gocache.step_records import (
    MOST_KEPT,
    MOST_RECORDS,
    MOST_RESULTS,
    MOST_SELECTIONS,
    Outside,
    Run,
    Selection,
    StepRecord,
    StepSet,
    Storey,
    is_place,
)
from wherry.gocache.table import BadPack
from wherry.oci.canonical import Json
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Descriptor, Layer
from wherry.oci.media import is_layer

_KEY: Final = re.compile(r"[0-9a-f]{64}")
# No root has more storeys, no RUN more caches beside it.
_DEEPEST: Final = 1000
_MOST_SLABS: Final = 16_000
_MOST_NUMBERS: Final = 1_000_000
_MOST_LAYERS: Final = 16
_MOST_OUTSIDE: Final = 16
_OUTSIDE_TEXTS: Final = 3
_LONGEST: Final = 4096
_LARGEST: Final = 1 << 40
_LATEST: Final = 1 << 50


def encode_steps(steps: StepSet) -> dict[str, Json]:
    """The section; equal sets give equal values."""
    numbers: dict[Storey, int] = {}
    records: dict[str, Json] = {}
    for key in sorted(steps.records):
        record = steps.records[key]
        stack: list[Json] = [numbers.setdefault(item, len(numbers)) for item in record.stack]
        tree = "" if record.tree is None else str(record.tree)
        records[key] = [record.used, record.unpacked, tree, stack]
    return {
        "exports": steps.exports,
        "slabs": [_slab(storey, steps) for storey in numbers],
        "records": records,
        "selections": {
            key: [found.used, str(found.digest)] for key, found in steps.selections.items()
        },
        "results": {str(name): used for name, used in steps.results.items()},
    }


def read_steps(value: Any) -> StepSet:  # noqa: ANN401 - a stranger's JSON, checked here
    """The steps of a section; raises `BadPack` for one that is malformed."""
    try:
        return _steps(value)
    except BadPack:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError,
            UsageError) as error:  # fmt: skip
        raise _malformed(str(error)) from error


def _slab(storey: Storey, steps: StepSet) -> Json:
    if isinstance(storey, Layer):
        return {"layer": _layer_json(storey), "kept": storey.descriptor.digest in steps.kept}
    run = steps.runs.get(storey, Run(0))
    value: dict[str, Json] = {
        "run": str(storey),
        "size": run.size,
        "empty": run.empty,
        "outside": [list(item) for item in run.outside],
        "layers": [[latest, *_layer_json(layer)] for latest, layer in run.layers],
    }
    if run.unneeded:
        # Not a fourth text of `outside`: older versions of wherry would take none of the steps.
        value["unneeded"] = [list(item) for item in run.unneeded]
    return value


def _layer_json(layer: Layer) -> list[Json]:
    blob = layer.descriptor
    return [str(blob.digest), blob.size, blob.media_type, str(layer.diff_id)]


def _steps(value: Any) -> StepSet:  # noqa: ANN401 - as above
    for name, most in (("slabs", _MOST_SLABS), ("records", MOST_RECORDS),
                       ("selections", MOST_SELECTIONS), ("results", MOST_RESULTS)):  # fmt: skip
        if len(value[name]) > most:
            raise _malformed(f"more than {most} {name}")
    exports = _count(value["exports"])
    kept: dict[Digest, Descriptor] = {}
    runs: dict[Digest, Run] = {}
    slabs = [_storey(item, runs, kept) for item in value["slabs"]]
    if len(kept) > MOST_KEPT:
        raise _malformed(f"more than {MOST_KEPT} layers")
    if sum(len(record[3]) for record in value["records"].values()) > _MOST_NUMBERS:
        raise _malformed("its stacks are too deep")
    return StepSet(
        exports,
        {_key(key): _record(item, slabs, exports) for key, item in value["records"].items()},
        runs,
        {
            _key(key): Selection(_digest(digest), _count(used, exports))
            for key, (used, digest) in value["selections"].items()
        },
        {_digest(name): _count(used, exports) for name, used in value["results"].items()},
        kept,
    )


def _storey(value: Any, runs: dict[Digest, Run], kept: dict[Digest, Descriptor]) -> Storey:  # noqa: ANN401 - as above
    """A slab; what it says of runs and of layers that the place keeps is noted."""
    if "layer" in value:
        layer = _layer(value["layer"])
        if value["kept"] is True:
            _keep(layer, kept)
        return layer
    name = _digest(value["run"])
    if name in runs:
        raise _malformed("one run is there twice")
    if len(value["layers"]) > _MOST_LAYERS:
        raise _malformed("a run of too many layers")
    layers = tuple(
        (None if latest is None else _count(latest, _LATEST), _layer(rest))
        for latest, *rest in value["layers"]
    )
    for _, layer in layers:
        _keep(layer, kept)
    size, empty = _count(value["size"], _LARGEST), value["empty"] is True
    unneeded = _outside(value.get("unneeded", []))
    if any(kind != "modules" for kind, _, _ in unneeded):
        raise _malformed("a directory beside a run that is no module cache")
    runs[name] = Run(size, empty, _outside(value["outside"]), layers, unneeded)
    return name


def _keep(layer: Layer, kept: dict[Digest, Descriptor]) -> None:
    blob = layer.descriptor
    if blob.digest.algorithm != "sha256":
        raise _malformed("a layer is named by another digest than sha256")
    if kept.setdefault(blob.digest, blob) != blob:
        raise _malformed("one layer has two sizes")


def _outside(value: Any) -> tuple[Outside, ...]:  # noqa: ANN401 - as above
    if len(value) > _MOST_OUTSIDE:
        raise _malformed("a run with too many directories beside it")
    if any(not isinstance(row, list) or len(row) != _OUTSIDE_TEXTS for row in value):
        raise _malformed("a directory beside a run that is none")
    rows = tuple(tuple(_text(word) for word in row) for row in value)
    if not all(is_place(kind, path) for kind, path, _ in rows):
        raise _malformed("a directory beside a run that is no Go cache")
    return rows


def _record(value: Any, slabs: Sequence[Storey], exports: int) -> StepRecord:  # noqa: ANN401 - as above
    used, unpacked, tree, numbers = value
    if not 0 < len(numbers) <= _DEEPEST:
        raise _malformed("a root of no storeys, or of too many")
    stack = tuple(slabs[_count(number, len(slabs) - 1)] for number in numbers)
    if isinstance(stack[-1], Layer) != bool(tree):
        raise _malformed("a result that is neither a layer nor a run")
    found = _digest(tree) if tree else None
    return StepRecord(stack, _count(unpacked, _LARGEST), found, _count(used, exports))


def _layer(value: Any) -> Layer:  # noqa: ANN401 - as above
    digest, size, media_type, diff_id = value
    if not is_layer(media_type):
        raise _malformed("a layer of a type that none has")
    blob = Descriptor(media_type, parse_digest(digest), _count(size, _LARGEST))
    return Layer(blob, parse_digest(diff_id))


def _key(text: Any) -> str:  # noqa: ANN401 - as above
    if not isinstance(text, str) or not _KEY.fullmatch(text):
        raise _malformed("a step's key is none")
    return text


def _text(value: Any) -> str:  # noqa: ANN401 - as above
    if not isinstance(value, str) or len(value) > _LONGEST or "\0" in value:
        raise _malformed("a text that is none")
    return value


def _digest(text: Any) -> Digest:  # noqa: ANN401 - as above
    found = parse_digest(text)
    if found.algorithm != "sha256":
        raise _malformed("another digest than sha256")
    return found


def _count(value: Any, most: int = 1 << 50) -> int:  # noqa: ANN401 - as above
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _malformed(f"not a number: {value!r}"[:80])
    return value


def _malformed(why: str) -> BadPack:
    return BadPack("the steps of a cache are malformed", why=why[:200])
