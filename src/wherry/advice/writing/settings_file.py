# SPDX-License-Identifier: Apache-2.0
"""The wherry.toml: only what a build without the Dockerfile would do otherwise."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from wherry.advice.writing.plan import Plan

_HEADER: Final = re.compile(r"^[ \t]*\[[ \t]*build[ \t]*\][^\n]*(?:\n|\Z)", re.MULTILINE)
_INLINE: Final = re.compile(r"^[ \t]*build[ \t]*=", re.MULTILINE)


class Entry(NamedTuple):
    """A line, and the key of its explanation."""

    reason: str
    line: str


def settings_file(plan: Plan, before: str = "") -> str:
    """The text of the file; empty where nothing differs.

    What is there already (`before`, sound TOML) stays, and wins: only keys that it does not say
    are added.
    """
    table = tomllib.loads(before).get("build", {}) if before else {}
    said = set(table)
    # With one of these the base is chosen.
    if said & {"base", "libc-base"}:
        said |= {"base", "libc-base"}
    lines = [entry.line for entry in entries(plan) if entry.line.split()[0] not in said]
    added = "".join(f"{line}\n" for line in lines)
    if not lines:
        return before
    if header := _HEADER.search(before):
        gap = "" if header[0].endswith("\n") else "\n"
        return f"{before[: header.end()]}{gap}{added}{before[header.end() :]}"
    if _INLINE.search(before):
        # All of it stands in one place: what is there is left alone.
        return before
    if table:
        # Written as `build.go = "1.26.8"` at the top, where there can be no such table.
        return "".join(f"build.{line}\n" for line in lines) + before
    gap = "\n" if before else ""
    return f"{before.rstrip()}{gap * 2}[build]\n{added}"


def entries(plan: Plan) -> tuple[Entry, ...]:
    """The lines below `[build]`."""
    found: list[Entry] = []
    # A base has no digest here: wherry.lock is where those stand.
    base = plan.image.partition("@")[0]
    if plan.cgo:
        found.append(Entry("settings-cgo", "cgo = true"))
        found.append(Entry("settings-libc", f'libc-base = "{base}"'))
    elif plan.base != "static":
        found.append(Entry("settings-base", f'base = "{base}"'))
    ports = {program.listening.ports for program in plan.found.programs}
    if len(ports) == 1 and (same := ports.pop()):
        found.append(Entry("settings-ports", f"ports = [{', '.join(map(str, same))}]"))
    return tuple(found)
