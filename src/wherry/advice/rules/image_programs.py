# SPDX-License-Identifier: Apache-2.0
"""The rules about what an image starts: it has to be there, and to be a file."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix
from wherry.advice.reading.brought import PACKAGE_MANAGERS, lacks, may_make
from wherry.advice.reading.compose_files import is_mounted_by_compose
from wherry.advice.reading.destinations import WILD, is_known
from wherry.advice.reading.directories import is_directory
from wherry.advice.reading.paths import is_below, normal
from wherry.advice.reading.programs import named_places, named_program, places_of, programs_in
from wherry.advice.reading.word_places import word_places
from wherry.frontends.dockerfile.instructions import Copy, Entrypoint

if TYPE_CHECKING:
    from wherry.advice.model import Rule
    from wherry.advice.reading.programs import NamedProgram
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

_SCRIPT: Final = re.compile(r"\.(?:sh|bash|py|rb|js|pl)\Z")
# What means the same in JSON, in a shell and in a Dockerfile.
_PLAIN: Final = re.compile(r"[\w./+@-]+")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
# Names that a shell or every base has something else for.
_COMMON: Final = frozenset(
    ("command", "echo", "env", "eval", "exec", "false", "kill", "printf", "read", "set", "sh",
     "sleep", "test", "time", "true", "wait")
)  # fmt: skip
# What every root has, and what is put there by whoever runs a build.
_OF_ROOT: Final = frozenset(
    ("/", "/tmp", "/root", "/home", "/srv", "/mnt", "/media", "/boot", "/opt", "/var")  # noqa: S108
)
_OF_SYSTEM: Final = ("/dev", "/proc", "/sys", "/tmp/", "/root/", "/mnt/")  # noqa: S108
_SHOWN: Final = 4
_DEEPEST: Final = 20


def missing_programs(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO221: what an image starts is certainly not in its root, or not what it is copied from."""
    yield from missing_sources(subject, rule)
    for stage in subject.results:
        found = named_program(stage)
        if found is None:
            continue
        if _ASSIGNMENT.match(found.program) and _is_whole(stage, found):
            message = f"{found.program} is no program: only a shell sets a variable like this"
            yield rule.find(found.place, message, "set it with ENV, and begin with the program")
            continue
        places = _merged(stage, places_of(stage, found))
        if places and all(lacks(stage, place) for place in places):
            if any(is_mounted_by_compose(subject.context, place) for place in places):
                continue
            hint, fix = _other_program(stage, found)
            yield rule.find(found.place, f"{found.program} is not in the image", hint, fix)
            continue
        if any(_is_misnamed(stage, place) for place in places):
            hint, fix = _other_program(stage, found)
            yield rule.find(found.place, f"{found.program} is not in the image", hint, fix)
            continue
        path = _elsewhere(stage, found)
        if path:
            message = f"{found.program} is not in the image"
            if "/" not in found.program:
                message = f"{found.program} is not found: PATH does not lead to {path}"
            fix = _named(stage, found, path, safe=False)
            yield rule.find(found.place, message, f"write {path}", fix)


def _merged(stage: StageView, places: tuple[str, ...]) -> tuple[str, ...]:
    """The places, with what they may be links to: newer bases have /usr/bin for /bin."""
    if stage.is_scratch:
        return places
    whole = [f"/usr{place}" for place in places if place.startswith(("/bin/", "/sbin/"))]
    short = [place[4:] for place in places if place.startswith(("/usr/bin/", "/usr/sbin/"))]
    return tuple(dict.fromkeys((*places, *whole, *short)))


def _is_whole(stage: StageView, found: NamedProgram) -> bool:
    """Whether the command line is certainly no argument of an ENTRYPOINT of the base's."""
    return stage.facts.known or isinstance(found.line.instruction, Entrypoint)


def _is_misnamed(stage: StageView, place: str) -> bool:
    """Whether Go builds a program of another name right there, and nothing else comes from afar.

    The build context may still get the program before a build; but who builds one beside it here
    is more likely to have misspelt it.
    """
    if stage.subject.context is None or "." in posixpath.basename(place):
        return False
    beside = [path for path in programs_in(stage).paths
              if posixpath.dirname(path) == posixpath.dirname(place)]  # fmt: skip
    return len(beside) == 1 and beside[0] != place and lacks(stage, place, followed=_DEEPEST)


def missing_sources(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO221, too: what a COPY takes from a stage is certainly not there."""
    for line in subject.lines:
        typed = line.instruction
        if not isinstance(typed, Copy) or not typed.from_ or typed.parents:
            continue
        stage = subject.source_stage(line)
        for written, place in zip(typed.sources, word_places(subject, line.node), strict=False):
            source = normal(line.expand(written))
            if stage is None or not is_known(line, written) or WILD.search(source):
                continue
            if source in _OF_ROOT or source.startswith(_OF_SYSTEM) or not lacks(stage, source):
                continue
            name = posixpath.basename(source)
            alike = [path for path in programs_in(stage).paths if posixpath.basename(path) == name]
            hint = "name what is there, or make it in that stage"
            fix = None
            if len(alike) == 1:
                hint = f"the program is at {alike[0]}: write that"
                if subject.text.slice(place) == written:
                    fix = Fix(f"copy {alike[0]}", (Edit(place, alike[0]),), safe=False)
            yield rule.find(place, f"{written} is not in {stage.shown}", hint, fix)


def _elsewhere(stage: StageView, found: NamedProgram) -> str:
    """Where the program of the name lies that is started, if that is not where it is looked for.

    Empty where it is there, or may be. What bases have by themselves is hardly called the same.
    """
    name = posixpath.basename(found.program)
    places = named_places(stage, name) if name == found.program else places_of(stage, found)
    places = _merged(stage, places)
    if name in _COMMON or not places or not stage.facts.known:
        return ""
    inside = [item for item in programs_in(stage).paths if posixpath.basename(item) == name]
    if len(inside) != 1 or inside[0] in places:
        return ""
    may_come = any(_may_put(line, place) for line in stage.all_lines for place in places)
    return "" if may_come else inside[0]


def _may_put(line: Line, place: str) -> bool:
    """As `may_make`; a package is only thought to bring the program where it is named."""
    programs = [command.program for command in line.commands if command.words]
    if not PACKAGE_MANAGERS.isdisjoint(programs):
        name = posixpath.basename(place)
        return name in line.node.original or may_make(line, f"/{name}/{name}")
    return may_make(line, place)


def started_directories(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO222: what an image starts is a directory of its root."""
    for stage in subject.results:
        found = named_program(stage)
        # Directories in PATH are passed by.
        if found is None or "/" not in found.program:
            continue
        for place in places_of(stage, found):
            if is_directory(stage, place):
                hint, fix = _program_inside(stage, found, place)
                message = f"{found.program} is a directory in the image, and cannot be started"
                yield rule.find(found.place, message, hint, fix)


def _other_program(stage: StageView, found: NamedProgram) -> tuple[str, Fix | None]:
    programs = programs_in(stage)
    paths = programs.paths
    if any(path.endswith(".go") for path in paths):
        return f"name the program that go build makes: -o {posixpath.basename(found.program)}", None
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


def _program_inside(stage: StageView, found: NamedProgram, place: str) -> tuple[str, Fix | None]:
    programs = programs_in(stage)
    inside = [path for path in programs.paths if is_below(path, place)]
    if len(inside) != 1:
        return f"write the path of the program in it: {place.rstrip('/')}/NAME", None
    hint = f"the program is at {inside[0]}: write that"
    return hint, _named(stage, found, inside[0], safe=programs.whole)


def _named(stage: StageView, found: NamedProgram, path: str, *, safe: bool) -> Fix | None:
    """Writes another program in place of the one that is named, relative where that one is."""
    written = stage.subject.text.slice(found.place).strip("'\"")
    directory = stage.ends.directory
    if found.program.startswith("./") and is_below(path, directory):
        path = f"./{posixpath.relpath(path, directory)}"
    if written != found.program or not _PLAIN.fullmatch(path):
        return None
    return Fix(f"start {path}", (Edit(found.place, path),), safe=safe)
