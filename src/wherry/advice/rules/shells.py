# SPDX-License-Identifier: Apache-2.0
"""Rules about commands that need a shell, or curl and its like, in images without them."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix
from wherry.advice.reading.brought import PACKAGE_MANAGERS, lacks, may_bring
from wherry.advice.reading.copied_files import mounts_of
from wherry.advice.reading.paths import DEFAULT_PATH
from wherry.advice.reading.programs import (
    named_by,
    plain_command,
    shell_text,
    text_place,
    written_command,
)
from wherry.advice.reading.shell import read_commands
from wherry.advice.reading.shell_words import Command
from wherry.advice.views import is_posix_shell
from wherry.frontends.dockerfile.instructions import Cmd, Copy, Healthcheck, Run

if TYPE_CHECKING:
    from wherry.advice.model import Rule
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView
    from wherry.frontends.dockerfile.source import Range

_ASKERS: Final = frozenset(("curl", "wget", "nc", "netcat", "ncat"))
_NETCATS: Final = frozenset(("nc", "netcat", "ncat"))
# Busybox has these, whatever the table's programs say.
_OF_BUSYBOX: Final = frozenset(("wget", "nc"))
_WITH_BUSYBOX: Final = frozenset(("alpine", "busybox"))
# What says nothing of whether there are curl and its like.
_QUIET: Final = frozenset(
    ("addgroup", "adduser", "groupadd", "useradd", "usermod", "cd", "chmod", "chown", "echo",
     "export", "go", "ln", "mkdir", "mv", "cp", "rm", "set", "setcap", "test", "touch", "true",
     "update-ca-certificates", "ldconfig", "sed", "cat", "[", ":", "find", "ls", "apt-mark")
)  # fmt: skip


def no_shell(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO224: a command in shell form where there is no shell."""
    for stage in subject.stages:
        if stage.facts.shell is not False:
            continue
        for line in stage.lines:
            if isinstance(line.instruction, Run) and _needs_shell(stage, line):
                hint = "run it in a build stage, and copy what it makes"
                yield _no_shell(stage, rule, line, hint, None)
    for stage in subject.results:
        command = stage.command
        if command is None or stage.facts.shell is not False or not _needs_shell(stage, command):
            continue
        fix = _exec_form(stage, command)
        example = '["/PROGRAM", "ARGUMENT"]'
        hint = f"write it in exec form: {command.node.keyword} {example}"
        yield _no_shell(stage, rule, command, hint, fix)


def _no_shell(stage: StageView, rule: Rule, line: Line, hint: str, fix: Fix | None) -> Finding:
    shell = line.state.shell[0]
    message = f"{line.node.keyword} in shell form needs {shell}, which {stage.image} lacks"
    return rule.find(line.head, message, hint, fix)


def _needs_shell(stage: StageView, line: Line) -> bool:
    """Whether an instruction is in shell form, and nothing can have brought the shell."""
    command = written_command(line)
    if command is None or not command.shell or not line.state.shell:
        return False
    if isinstance(line.instruction, Run) and _mounts_files(line):
        return False
    return not any(_may_bring(item, line.state.shell[0]) for item in stage.all_lines)


def _may_bring(line: Line, program: str) -> bool:
    """Whether an instruction may bring a program; in shell form, a RUN needs a shell itself."""
    typed = line.instruction
    if isinstance(typed, Copy):
        paths = [program] if program.startswith("/") else _in_path(program)
        # A link of /bin may lead to the directory that is copied.
        if program.startswith("/bin/"):
            paths.append(f"/usr{program}")
        return any(may_bring(line, typed, path) for path in paths)
    return isinstance(typed, Run) and (not typed.command.shell or _mounts_files(line))


def _mounts_files(line: Line) -> bool:
    mounts = mounts_of(line)
    return mounts is None or any(mount.type == "bind" for mount in mounts)


def _in_path(program: str) -> list[str]:
    return [f"{directory}/{program}" for directory in DEFAULT_PATH.split(":")]


def _exec_form(stage: StageView, line: Line) -> Fix | None:
    """The same command without a shell; None where a shell does more than start it."""
    plain = plain_command(line)
    text, _ = shell_text(line)
    lines = line.range.lines
    if plain is None or "/" not in plain.words[0].value or lines[0] != lines[1]:
        return None
    new = json.dumps([word.value for word in plain.words], ensure_ascii=False)
    # An ENTRYPOINT in exec form gets the CMD as arguments, which one in shell form does not.
    typed = line.instruction
    safe = isinstance(typed, Cmd) or stage.last(Cmd) is None
    return Fix("write it in exec form", (Edit(text_place(line, 0, len(text)), new),), safe=safe)


def idle_healthcheck(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO225: a HEALTHCHECK that cannot run in its image."""
    for stage in subject.results:
        line = stage.last(Healthcheck)
        command = written_command(line) if line is not None else None
        if line is None or command is None:
            continue
        if command.shell and stage.facts.shell is False:
            if _needs_shell(stage, line):
                yield rule.find(line.head, f"{stage.image} has no shell to run this", _HINT)
            continue
        yield from _absent_program(stage, rule, line)


_HINT: Final = (
    'let the program ask itself: HEALTHCHECK CMD ["/PROGRAM", "healthcheck"]; or take a base'
    " with wget, such as alpine"
)


def _absent_program(stage: StageView, rule: Rule, line: Line) -> Iterator[Finding]:
    found = _first_program(line)
    if found is None:
        return
    program, place = found
    if program.startswith("/") and posixpath.basename(program) not in _ASKERS:
        if lacks(stage, posixpath.normpath(program)):
            yield rule.find(place, f"{program} is not in the image: nothing puts it there", _HINT)
        return
    name = posixpath.basename(program)
    if name not in _ASKERS or stage.facts.programs is None or _has(stage, name):
        return
    if not any(_may_install(item, name) for item in stage.all_lines):
        yield rule.find(place, f"{stage.image} has no {name}, and nothing installs it", _HINT)


def _first_program(line: Line) -> tuple[str, Range] | None:
    """The program that a HEALTHCHECK starts first; None where another may serve instead of it."""
    command = written_command(line)
    if command is None:
        return None
    if not command.shell:
        found = named_by(line)
        return None if found is None else (found.program, found.place)
    text, _ = shell_text(line)
    if not text or not is_posix_shell(line.state.shell):
        return None
    commands = [item for item in read_commands(text) if item.words]
    if not commands or not commands[0].words[0].fixed or _has_choice(commands):
        return None
    word = commands[0].words[0]
    return word.value, text_place(line, word.start, word.end)


def _has_choice(commands: list[Command]) -> bool:
    asking = [item for item in commands if item.program in _ASKERS]
    return len(asking) > 1 or commands[0].program not in _ASKERS


def _has(stage: StageView, name: str) -> bool:
    facts = stage.facts
    busybox = facts.family in _WITH_BUSYBOX or (facts.family == "golang" and facts.libc == "musl")
    # The debug images of distroless have a whole busybox.
    busybox = busybox or (facts.family == "distroless" and facts.shell is not False)
    return name in (facts.programs or ()) or (busybox and name in _OF_BUSYBOX)


def _may_install(line: Line, name: str) -> bool:
    """Whether an instruction may bring curl or the like, by name or unseen."""
    typed = line.instruction
    if isinstance(typed, Copy):
        words = (*typed.sources, typed.destination)
        return any(name in word or "busybox" in word for word in (*words, typed.from_)) or any(
            may_bring(line, typed, path) for path in _in_path(name)
        )
    if not isinstance(typed, Run):
        return False
    names = ("nc", "netcat", "nmap", "busybox") if name in _NETCATS else (name, "busybox")
    if not line.commands or any(item in typed.source.text for item in names):
        return True
    for command in line.commands:
        if not command.words or command.program in _QUIET:
            continue
        if command.program not in PACKAGE_MANAGERS:
            return True
        if not all(word.fixed or "*" in word.value for word in command.words):
            return True
    return False
