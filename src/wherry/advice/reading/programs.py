# SPDX-License-Identifier: Apache-2.0
"""What an image starts, and which programs that Go builds lie in its root."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.brought import output_of
from wherry.advice.reading.destinations import (
    VARIABLE,
    WILD,
    goes_into,
    is_known,
    knows_directory,
    target_of,
)
from wherry.advice.reading.directories import is_directory
from wherry.advice.reading.go_commands import GoCommand, go_commands
from wherry.advice.reading.main_packages import name_built
from wherry.advice.reading.paths import DEFAULT_PATH, is_below, normal
from wherry.advice.reading.remembered import of_stage
from wherry.advice.reading.roots import Kind, find
from wherry.advice.reading.shell import read_commands
from wherry.advice.reading.shell_words import Command
from wherry.advice.reading.word_places import rest_at, word_places
from wherry.advice.views import is_posix_shell
from wherry.frontends.dockerfile.instructions import Cmd, Copy, Entrypoint, Env, Healthcheck, Run

if TYPE_CHECKING:
    from wherry.advice.views import Line, StageView
    from wherry.frontends.dockerfile.instructions import Command as Written
    from wherry.frontends.dockerfile.source import Range


_DEEPEST: Final = 20
# More programs than these are in no image: the same ones come by way of many COPYs.
_MOST_PROGRAMS: Final = 1000
_LIBRARIES: Final = frozenset(("archive", "c-archive", "c-shared", "plugin", "shared"))
# What a shell does otherwise than start the program alone.
_SHELL_MARKS: Final = re.compile(r"[&|;<>(){}\n#]")


class NamedProgram(NamedTuple):
    """The program of a command line as it is written, and where; `shell` for the shell form."""

    line: Line
    program: str
    place: Range
    shell: bool


class Built(NamedTuple):
    """A program that Go builds, and where it lies in a root."""

    path: str
    command: GoCommand


class Programs(NamedTuple):
    """Programs of a root; `whole` says that there can be no others out of a build."""

    built: tuple[Built, ...]
    whole: bool

    @property
    def paths(self) -> tuple[str, ...]:
        """Where they lie, each once."""
        return tuple(dict.fromkeys(item.path for item in self.built))


def written_command(line: Line) -> Written | None:
    """The command line of a CMD, ENTRYPOINT, HEALTHCHECK or RUN; None without one."""
    typed = line.instruction
    if not isinstance(typed, (Cmd, Entrypoint, Healthcheck, Run)) or typed.command is None:
        return None
    return typed.command if typed.command.words else None


def shell_text(line: Line) -> tuple[str, int]:
    """The text of a shell form, and where it begins in what follows the keyword and flags."""
    command = written_command(line)
    if command is None or not command.shell or command.heredocs:
        return "", 0
    text = command.words[0]
    at = line.node.rest.rfind(text)
    return (text, at) if at >= 0 else ("", 0)


def text_place(line: Line, start: int, end: int) -> Range:
    """Where characters of a shell form's text stand in the file."""
    logical = line.subject.text.logical(line.node.range)
    if logical is None:
        return line.head
    begin = rest_at(line.node) + shell_text(line)[1]
    return logical.range(begin + start, begin + end)


def plain_command(line: Line) -> Command | None:
    """The one command of a shell form that needs no shell: no list, redirect or variable."""
    text, _ = shell_text(line)
    if not text or not is_posix_shell(line.state.shell) or _SHELL_MARKS.search(text):
        return None
    commands = read_commands(text)
    if len(commands) != 1 or commands[0].depth or commands[0].assignments:
        return None
    command = commands[0]
    if not command.words or not all(word.fixed for word in command.words):
        return None
    if any(word.value != "exec" for word in command.wrapped):
        return None
    return command


def named_by(line: Line) -> NamedProgram | None:
    """The program that a command line starts; None where that cannot be told."""
    command = written_command(line)
    if command is None:
        return None
    if not command.shell:
        program = command.words[0]
        places = word_places(line.subject, line.node)
        at = len(places) - len(command.words)
        if not program or "$" in program or at < 0:
            return None
        return NamedProgram(line, program, places[at], shell=False)
    plain = plain_command(line)
    if plain is None:
        return None
    word = plain.words[0]
    return NamedProgram(line, word.value, text_place(line, word.start, word.end), True)


def named_program(stage: StageView) -> NamedProgram | None:
    """The program that an image of the stage starts; None where that cannot be told."""
    line = stage.command
    return None if line is None else named_by(line)


def places_of(stage: StageView, found: NamedProgram) -> tuple[str, ...]:
    """The absolute paths at which the program is looked for; none where they are not known."""
    if found.program.startswith("/"):
        return (normal(found.program),)
    if not all(knows_directory(line) for line in stage.all_lines[-1:]):
        return ()
    if "/" in found.program:
        return (stage.ends.path(found.program),)
    if found.shell:
        # It may be a word of the shell itself.
        return ()
    return named_places(stage, found.program)


def named_places(stage: StageView, name: str) -> tuple[str, ...]:
    """Where a program is looked for by its name alone; none where PATH is not known.

    What bases have in PATH counts always: `ENV PATH=/app:$PATH` adds to it.
    """
    if not all(_knows_path(line) for line in stage.all_lines):
        return ()
    directories = f"{stage.ends.environment.get('PATH', '')}:{DEFAULT_PATH}".split(":")
    places = (stage.ends.path(f"{directory}/{name}") for directory in directories if directory)
    return tuple(dict.fromkeys(places))


def _knows_path(line: Line) -> bool:
    """Whether a line leaves PATH alone, or every variable in what it gives it has a value."""
    pairs = line.instruction.variables if isinstance(line.instruction, Env) else ()
    names = {name for pair in pairs if pair.name == "PATH" for name in VARIABLE.findall(pair.value)}
    return all(line.state.variables.get(name) for name in names - {"PATH"})


@of_stage
def programs_in(stage: StageView, depth: int = 0) -> Programs:
    """The programs of Go builds in the root that a stage ends with, in the order they come."""
    found: list[Built] = []
    whole = depth < _DEEPEST
    for line in stage.all_lines if whole else ():
        if isinstance(line.instruction, Run):
            for command in go_commands(line):
                if command.builds and command.flag("buildmode") not in _LIBRARIES:
                    path = _path_built(line.stage, command)
                    found += [Built(path, command)] if path else []
                    whole = whole and bool(path)
        elif isinstance(line.instruction, Copy) and line.instruction.from_:
            brought = _copied(stage, line, line.instruction, depth)
            found += brought.built
            whole = whole and brought.whole
        if len(found) > _MOST_PROGRAMS:
            return Programs((), whole=False)
    return Programs(tuple(found), whole)


def _copied(stage: StageView, line: Line, typed: Copy, depth: int) -> Programs:
    target, source_stage = target_of(line), line.subject.source_stage(line)
    if target is None or source_stage is None or typed.parents:
        return Programs((), whole=False)
    inner = programs_in(source_stage, depth + 1)
    into = goes_into(line) or is_directory(stage, target)
    found: list[Built] = []
    whole = inner.whole
    for source in typed.sources:
        if not is_known(line, source) or WILD.search(source):
            whole = False
            continue
        path = normal(line.expand(source))
        found.extend(_moved(inner.built, path, target, into=into))
    return Programs(tuple(found), whole)


def _moved(built: tuple[Built, ...], source: str, target: str, *, into: bool) -> Iterator[Built]:
    for item in built:
        if item.path == source:
            place = posixpath.join(target, posixpath.basename(source)) if into else target
            yield item._replace(path=place)
        elif is_below(item.path, source):
            inside = item.path[len(source.rstrip("/")) + 1 :]
            yield item._replace(path=posixpath.join(target, inside))


def _path_built(stage: StageView, command: GoCommand) -> str:
    """Where a `go build` or `go install` puts its program; empty where that cannot be told."""
    output = output_of(command)
    if output and not output.endswith("/") and not is_directory(stage, output):
        return output
    name = name_built(command)
    if output == "" or not name:
        return ""
    if output is not None:
        return posixpath.join(output, name)
    if command.verb == "build":
        return posixpath.join(command.directory, name) if command.directory else ""
    return posixpath.join(command.environment.get("GOBIN") or "/go/bin", name)


class Origin(NamedTuple):
    """What builds the program that an image starts, and the COPY that brings it, if any."""

    command: GoCommand
    line: Line | None


def origin_of(stage: StageView) -> Origin | None:
    """Where the program that an image of the stage starts comes from; None for any but Go's."""
    program = named_program(stage)
    places = places_of(stage, program) if program is not None else ()
    built = programs_in(stage).built if places else ()
    if len(places) > 1:
        # By its name alone: in one directory of PATH lies what Go builds.
        places = tuple(place for place in places if any(item.path == place for item in built))
    if len(places) != 1:
        return None
    found = find(stage, places[0])
    commands = [item.command for item in built if item.path == places[0]]
    if found.kind is not Kind.BUILT or not commands:
        return None
    return Origin(commands[-1], found.line)
