# SPDX-License-Identifier: Apache-2.0
"""In what two answers differ, fact by fact."""

from __future__ import annotations

import re
from collections.abc import Iterator

from differential.answers import Answer, Facts


def differences(expected: Answer, got: Answer) -> list[str]:
    """Lines `where: BuildKit ... wherry ...`; none where the answers are equal.

    Two refusals are equal but for the exit code of a step: their words are each builder's own. A
    program that cannot be started has none in BuildKit, which says 1; wherry says 126 and 127.
    """
    if bool(expected.refusal) != bool(got.refusal):
        return [f"refusal: BuildKit {_outcome(expected)}, wherry {_outcome(got)}"]
    codes = [_exit_code(answer.refusal) for answer in (expected, got)]
    if all(codes) and codes[0] != codes[1] and codes not in (["1", "126"], ["1", "127"]):
        return [_line("exit code", *codes)]
    if sorted(expected.images) != sorted(got.images):
        return [_line("platforms", sorted(expected.images), sorted(got.images))]
    found = []
    for platform, image in expected.images.items():
        where = f"{platform} " if len(expected.images) > 1 else ""
        found += [where + line for line in _image(image, got.images[platform])]
    return found


def _exit_code(refusal: str) -> str:
    found = re.search(r"exit code:? (\d+)", refusal)
    return found[1] if found else ""


def _outcome(answer: Answer) -> str:
    return f"refuses ({answer.refusal})" if answer.refusal else "builds an image"


def _image(expected: Facts, got: Facts) -> Iterator[str]:
    for key in sorted(expected["config"].keys() | got["config"].keys()):
        yield from _part(f"config {key}", expected["config"].get(key), got["config"].get(key))
    if expected["layers"] != got["layers"]:
        yield _line("number of layers", expected["layers"], got["layers"])
    yield from _histories(expected["history"], got["history"])
    for path in sorted(expected["tree"].keys() | got["tree"].keys()):
        yield from _entry(path, expected["tree"].get(path), got["tree"].get(path))
    yield from _run_layers(expected.get("runs", []), got.get("runs", []))


def _run_layers(expected: list[Facts], got: list[Facts]) -> Iterator[str]:
    """Which names each RUN's layer has, and their times where these are not of now.

    BuildKit's own mount points give directories the time of the step, which wherry mends; those
    that other instructions make have such a time in BuildKit, and a fixed one in wherry.
    """
    if len(expected) != len(got):
        return  # then histories or numbers of layers differ, and say so
    for number, (one, other) in enumerate(zip(expected, got, strict=True), 1):
        for name in sorted(one["names"].keys() | other["names"].keys()):
            times = [names["names"].get(name, "none") for names in (one, other)]
            is_mended = name.endswith("/") and times[0] == "now" and times[1] != "none"
            if times[0] != times[1] and not is_mended:
                yield _line(f"layer of RUN {number}, {name}", *times)


def _part(where: str, expected: object, got: object) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in sorted(expected.keys() | got.keys()):
            yield from _part(f"{where} {key}", expected.get(key), got.get(key))
    elif expected != got:
        yield _line(where, expected, got)


def _histories(expected: list[Facts], got: list[Facts]) -> Iterator[str]:
    if len(expected) != len(got):
        lines = [[line.get("created_by") for line in lines] for lines in (expected, got)]
        yield _line("history lines", lines[0], lines[1])
        return
    for number, (one, other) in enumerate(zip(expected, got, strict=True), 1):
        yield from _part(f"history line {number}", one, other)


def _entry(path: str, expected: Facts | None, got: Facts | None) -> Iterator[str]:
    if expected is None or got is None:
        yield _line(path, expected or "has nothing", got or "has nothing")
        return
    for key in sorted(expected.keys() | got.keys()):
        if expected.get(key) != got.get(key):
            yield _line(f"{path} {key}", expected.get(key), got.get(key))


def _line(where: str, expected: object, got: object) -> str:
    return f"{where}: BuildKit {expected}, wherry {got}"
