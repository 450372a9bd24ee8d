# SPDX-License-Identifier: Apache-2.0
"""The .dockerignore: nothing gets into a build but what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.advice.writing.found import Found
    from wherry.advice.writing.sources import Unit


class Part(NamedTuple):
    """Lines with one reason, a key of the explanations."""

    reason: str
    lines: tuple[str, ...]


def ignore_file(found: Found) -> str:
    """The text of the file."""
    head = "# Written by `wherry init`: a build gets what is named below, and nothing else.\n"
    return head + "".join(f"{line}\n" for part in parts(found) for line in part.lines)


def parts(found: Found) -> tuple[Part, ...]:
    """The lines by reason, in order: later rules win over earlier ones."""
    early = [_joined(place, name) for place, names in found.early for name in names]
    go: list[str] = []
    compiled: list[str] = []
    tests: list[str] = []
    embedded: list[str] = []
    for unit in found.units:
        go.append(_below(unit, "*.go"))
        compiled.extend(_below(unit, f"*{suffix}") for suffix in unit.suffixes)
        if unit.testdata and found.tested:
            tests.append(_below(unit, "testdata"))
        embedded.extend(unit.embedded)
    return tuple(_parts((
        ("deny", ["*"]), ("modules", [f"!{name}" for name in early]),
        ("vendor", ["!vendor"] if found.vendored else []),
        ("go", [f"!{name}" for name in go]), ("compiled", [f"!{name}" for name in compiled]),
        ("embedded", [f"!{name}" for name in embedded]),
        ("testdata", [f"!{name}" for name in tests]),
    )))  # fmt: skip


def _parts(items: tuple[tuple[str, list[str]], ...]) -> Iterator[Part]:
    for reason, lines in items:
        if lines:
            yield Part(reason, tuple(dict.fromkeys(lines)))


def _below(unit: Unit, pattern: str) -> str:
    if unit.alone:
        return _joined(unit.path, pattern)
    return f"{unit.path}/**/{pattern}"


def _joined(place: str, name: str) -> str:
    return name if place == "." else f"{place}/{name}"
