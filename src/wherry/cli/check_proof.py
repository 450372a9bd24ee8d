# SPDX-License-Identifier: Apache-2.0
"""`wherry check --prove`: the builds, and what they proved in words and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.cli.listening import listening
from wherry.cli.options import tell
from wherry.cli.progress.output import printable
from wherry.cli.progress.select import Mode
from wherry.cli.progress.units import format_seconds, format_size
from wherry.errors import UsageError

if TYPE_CHECKING:
    from wherry.api.check_mending import Allowed, Mending
    from wherry.api.check_proving import Proof, Side
    from wherry.api.checking import Checked, Checker, CheckRequest
    from wherry.api.compared_images import Comparison
    from wherry.api.request import BuildRequest, BuildResult
    from wherry.fstree.differences import Difference

_SHOWN: Final = 10
_IN_JSON: Final = 1000
_SIGNS: Final = {"before": "-", "after": "+", "changed": "~"}


def proved(
    checker: Checker,
    request: CheckRequest,
    place: tuple[str, tuple[tuple[str, str], ...]],
    checked: Checked,
    mending: Mending,
    wanted: Allowed,
) -> tuple[Proof, ...]:
    """Build all that mending changes, into the store of `place`, with its named contexts."""
    from wherry.api.check_proving import Prover, Ways  # noqa: PLC0415 - the engine is heavy

    ways = Ways(_build, *place)
    return Prover(checker, request, ways).prove(checked, mending, wanted)


def _build(request: BuildRequest) -> BuildResult:
    from wherry.api.building import build_image  # noqa: PLC0415 - as above

    # A log has no use for the steps of builds that nobody asked for.
    mode: Mode = "auto" if sys.stderr is not None and sys.stderr.isatty() else "quiet"
    with listening(mode, "") as (sink, token):
        return build_image(request, sink, token)


def named_context(text: str) -> tuple[str, str]:
    """What `--build-context` says: a name and a place. Raises `UsageError`."""
    name, equals, place = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--build-context {text!r} is not NAME=PLACE",
                         hint="write it as for `wherry build`")  # fmt: skip
    return name, place


def proof_text(proofs: tuple[Proof, ...]) -> str:
    """What the builds proved, for people."""
    return "".join(f"{line}\n" for proof in proofs for line in _lines(proof))


def with_proofs(report: str, proofs: tuple[Proof, ...]) -> str:
    """A report in JSON, with what the builds proved in it."""
    value = {**json.loads(report), "prove": [_as_json(proof) for proof in proofs]}
    return json.dumps(value) + "\n"


def tell_proofs(proofs: tuple[Proof, ...]) -> None:
    """The same to stderr, where stdout is for something else."""
    tell(*(line for proof in proofs for line in _lines(proof)))


def _lines(proof: Proof) -> Iterator[str]:
    yield f"{printable(proof.path)} was built before and after:"
    if proof.before.problem:
        place = f"in line {proof.before.line}: " if proof.before.line else ""
        yield f"  before: it does not build: {place}{printable(proof.before.problem)}"
        yield f"  after:  {_image(proof.after)}"
    else:
        yield f"  before: {_image(proof.before)}"
        yield f"  after:  {_image(proof.after)}"
    if proof.unmeasured:
        yield f"  no rebuild was timed: {printable(proof.unmeasured)}"
    elif proof.edited:
        yield f"  (rebuilt after a change of one line in {printable(proof.edited)})"
    if proof.comparison is not None:
        yield from _compared(proof.comparison)


def _image(side: Side) -> str:
    text = f"{format_size(side.size)}, {format_size(side.unpacked)} unpacked"
    if side.rebuild is not None:
        text += f", rebuilt in {format_seconds(side.rebuild)}"
    return text


def _compared(found: Comparison) -> Iterator[str]:
    if not found.files:
        yield "  files: the same"
    else:
        kinds = [item.kind for item in found.files]
        counts = (f"{kinds.count('before')} only before", f"{kinds.count('after')} only after",
                  f"{kinds.count('changed')} changed")  # fmt: skip
        yield f"  files: {', '.join(text for text in counts if not text.startswith('0 '))}"
        for item in found.files[:_SHOWN]:
            yield f"    {_SIGNS[item.kind]} {printable(item.path)}  {_difference(item)}"
        if len(found.files) > _SHOWN:
            yield f"    and {len(found.files) - _SHOWN} more"
    if not found.config:
        yield "  configuration: the same"
    for change in found.config:
        before, after = change.before or "nothing", change.after or "nothing"
        yield f"  {change.instruction}: {printable(before)} -> {printable(after)}"


def _difference(item: Difference) -> str:
    if item.kind == "changed":
        text = ", ".join(item.what)
        if item.before is not None and item.after is not None:
            sizes = [format_size(item.before), format_size(item.after)]
            text += f" ({' -> '.join(dict.fromkeys(sizes))})"
        return text
    size = format_size(item.before if item.before is not None else item.after or 0)
    if not item.path.endswith("/"):
        return size
    return f"{size} in {item.files} {'file' if item.files == 1 else 'files'}"


def _as_json(proof: Proof) -> dict[str, object]:
    found = proof.comparison
    return {
        "path": printable(proof.path),
        "before": _side(proof.before),
        "after": _side(proof.after),
        "edited": printable(proof.edited) or None,
        "unmeasured": printable(proof.unmeasured) or None,
        "same_files": None if found is None else not found.files,
        "differences": None if found is None else len(found.files),
        "files": None if found is None else [_file(item) for item in found.files[:_IN_JSON]],
        "config": None if found is None else [
            {"instruction": item.instruction, "before": printable(item.before),
             "after": printable(item.after)} for item in found.config
        ],
    }  # fmt: skip


def _side(side: Side) -> dict[str, object]:
    if side.problem:
        return {"problem": printable(side.problem), "line": side.line or None}
    return {
        "digest": side.digest, "size": side.size, "unpacked": side.unpacked,
        "seconds": round(side.seconds, 3),
        "rebuild_seconds": None if side.rebuild is None else round(side.rebuild, 3),
    }  # fmt: skip


def _file(item: Difference) -> dict[str, object]:
    return {"path": printable(item.path), "in": item.kind, "what": list(item.what),
            "before": item.before, "after": item.after, "files": item.files}  # fmt: skip
