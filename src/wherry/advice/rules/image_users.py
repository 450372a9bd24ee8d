# SPDX-License-Identifier: Apache-2.0
"""Rules about the user of an image: whether it is known there, and which ports it may open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix
from wherry.advice.reading.brought import PACKAGE_MANAGERS, may_bring
from wherry.advice.reading.destinations import is_known
from wherry.advice.reading.word_places import word_places
from wherry.frontends.dockerfile.instructions import Copy, Env, Expose, Run, User

if TYPE_CHECKING:
    from wherry.advice.model import Rule
    from wherry.advice.reading.shell_words import Command
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView
    from wherry.frontends.dockerfile.source import Range

_NONROOT: Final = "65532:65532"
_ROOT: Final = "0:0"
_ADDING: Final = frozenset(("adduser", "useradd", "newusers", "usermod", "busybox"))
# What adds no user, whatever its words are.
_QUIET: Final = frozenset(
    ("addgroup", "groupadd", "cd", "chmod", "chown", "chgrp", "echo", "export", "go", "ln", "ls",
     "mkdir", "mv", "cp", "rm", "set", "setcap", "sleep", "test", "touch", "true", "curl", "wget",
     "tar", "unzip", "update-ca-certificates", "ldconfig", "sed", "cat", "[", ":", "find", "date",
     "apt-mark", "mktemp", "grep", "printf", "id", "getent", "git")
)  # fmt: skip
_FIRST_FREE: Final = 1024


def unknown_users(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO226: a USER by a name that nothing in the image knows."""
    for stage in subject.stages:
        known = stage.facts.users
        if known is None:
            continue
        for at, line in enumerate(stage.lines):
            name = _named_user(line)
            if not name or name in known or not _counts(subject, stage, at, name):
                continue
            if any(_may_add(other, name) for other in stage.all_lines):
                continue
            place = _argument(line)
            number = _ROOT if name == "root" else _NONROOT
            message = f"{stage.image} knows no user {name}, and nothing adds it"
            hint = f"write the user as a number, which needs no name: USER {number}"
            fix = None
            if place is not None:
                fix = Fix(f"USER {number}", (Edit(place, number),), safe=False)
            yield rule.find(place or line.head, message, hint, fix)


def _named_user(line: Line) -> str:
    """The name that a USER gives; empty for numbers and for what is not known."""
    typed = line.instruction
    if not isinstance(typed, User) or not is_known(line, typed.user):
        return ""
    name = line.expand(typed.user).partition(":")[0]
    return "" if name.isdigit() or "$" in name else name


def _counts(subject: Subject, stage: StageView, at: int, name: str) -> bool:
    """Whether anything runs as the user of a line: the image, or a RUN behind it."""
    rest = stage.lines[at + 1 :]
    following = next((item for item in rest if isinstance(item.instruction, User)), None)
    until = rest.index(following) if following is not None else len(rest)
    # A RUN of root's needs no name for it.
    if name != "root" and any(isinstance(item.instruction, Run) for item in rest[:until]):
        return True
    return following is None and stage.number in subject.exported


def _argument(line: Line) -> Range | None:
    """The place of a USER's only word; None where it is not written as one."""
    places = word_places(line.subject, line.node)
    if len(places) != 1 or line.subject.text.slice(places[0]) != line.node.rest:
        return None
    return places[0]


def _may_add(line: Line, name: str) -> bool:
    """Whether an instruction may add a user of that name."""
    typed = line.instruction
    if isinstance(typed, Copy):
        return may_bring(line, typed, "/etc/passwd")
    if not isinstance(typed, Run):
        return False
    if not line.commands or "/etc/passwd" in typed.source.text:
        return True
    return any(_may_add_by(line, command, name) for command in line.commands if command.words)


def _may_add_by(line: Line, command: Command, name: str) -> bool:
    program = command.program
    if program in _QUIET:
        return False
    if program not in _ADDING and program not in PACKAGE_MANAGERS:
        return True
    for word in command.words[1:]:
        value = word.value if word.fixed else line.expand(word.value)
        unknown = "$(" in word.value or "`" in word.value or not is_known(line, word.value)
        if not word.fixed and unknown:
            return True
        # The package of a server adds a user of its name.
        if value == name or (program in PACKAGE_MANAGERS and (name in value or "*" in value)):
            return True
    return False


def low_ports(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO231: a port below 1024, and a user who is not root."""
    for stage in subject.results:
        user = stage.ends.user.partition(":")[0]
        if user in ("", "root", "0") or "$" in user or _grants(subject):
            continue
        for line in stage.all_lines:
            for port, place in _ports(line):
                yield rule.find(
                    place,
                    f"port {port} is open to root alone on some hosts, and this runs as {user}",
                    "listen on a port from 1024 on, such as 8080, and map it outside: Docker since"
                    " 20.10 lets everybody open low ports, older container runtimes do not",
                )


def _grants(subject: Subject) -> bool:
    """Whether a RUN gives the program the right to open low ports."""
    words = ("setcap", "cap_net_bind_service")
    return any(
        word in line.instruction.source.text
        for line in subject.lines
        if isinstance(line.instruction, Run)
        for word in words
    )


def _ports(line: Line) -> Iterator[tuple[int, Range]]:
    typed = line.instruction
    if isinstance(typed, Expose):
        places = word_places(line.subject, line.node)
        for written, place in zip(line.node.arguments, places, strict=False):
            port = _low(line, written.partition("/")[0])
            if port:
                yield port, place
    elif isinstance(typed, Env):
        for pair in typed.variables:
            port = _low(line, pair.value) if pair.name == "PORT" else 0
            if port:
                yield port, line.head


def _low(line: Line, written: str) -> int:
    """A port below 1024; 0 for others and for what is not known."""
    value = line.expand(written).strip() if is_known(line, written) else ""
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0
    return number if number < _FIRST_FREE else 0
