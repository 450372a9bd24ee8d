# SPDX-License-Identifier: Apache-2.0
"""The rules about what an image starts: it has to be there, and to be a file."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix
from wherry.advice.reading.brought import lacks
from wherry.advice.reading.copied import is_below
from wherry.advice.reading.directories import is_directory
from wherry.advice.reading.programs import places_of, programs_in, started

if TYPE_CHECKING:
    from wherry.advice.model import Rule
    from wherry.advice.reading.programs import Started
    from wherry.advice.subject import StageView, Subject

_SCRIPT: Final = re.compile(r"\.(?:sh|bash|py|rb|js|pl)\Z")
# What means the same in JSON, in a shell and in a Dockerfile.
_PLAIN: Final = re.compile(r"[\w./+@-]+")
_SHOWN: Final = 4


def missing_programs(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO221: what an image starts is certainly not in its root."""
    for stage in subject.results:
        found = started(stage)
        places = places_of(stage, found) if found is not None else ()
        if found is None or not places or not all(lacks(stage, place) for place in places):
            continue
        hint, fix = _other_program(stage, found)
        yield rule.find(found.place, f"{found.program} is not in the image", hint, fix)


def started_directories(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO222: what an image starts is a directory of its root."""
    for stage in subject.results:
        found = started(stage)
        # Directories in PATH are passed by.
        if found is None or "/" not in found.program:
            continue
        for place in places_of(stage, found):
            if is_directory(stage, place):
                hint, fix = _program_inside(stage, found, place)
                message = f"{found.program} is a directory in the image, and cannot be started"
                yield rule.find(found.place, message, hint, fix)


def _other_program(stage: StageView, found: Started) -> tuple[str, Fix | None]:
    programs = programs_in(stage)
    paths = programs.paths
    if not paths:
        return "copy the program there, or name the one that is there", None
    is_script = _SCRIPT.search(found.program) is not None
    if len(paths) == 1:
        hint = f"the program is at {paths[0]}: write that"
        return hint, None if is_script else _named(stage, found, paths[0], safe=programs.whole)
    shown = ", ".join(paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
    name = posixpath.basename(found.program)
    alike = [path for path in paths if posixpath.basename(path) == name]
    fix = _named(stage, found, alike[0], safe=False) if len(alike) == 1 else None
    return f"programs in the image are {shown}", fix


def _program_inside(stage: StageView, found: Started, place: str) -> tuple[str, Fix | None]:
    programs = programs_in(stage)
    inside = [path for path in programs.paths if is_below(path, place)]
    if len(inside) != 1:
        return f"write the path of the program in it: {place.rstrip('/')}/NAME", None
    hint = f"the program is at {inside[0]}: write that"
    return hint, _named(stage, found, inside[0], safe=programs.whole)


def _named(stage: StageView, found: Started, path: str, *, safe: bool) -> Fix | None:
    """Writes another program in place of the one that is named, relative where that one is."""
    written = stage.subject.text.slice(found.place).strip("'\"")
    directory = stage.ends.directory
    if found.program.startswith("./") and is_below(path, directory):
        path = f"./{posixpath.relpath(path, directory)}"
    if written != found.program or not _PLAIN.fullmatch(path):
        return None
    return Fix(f"start {path}", (Edit(found.place, path),), safe=safe)
