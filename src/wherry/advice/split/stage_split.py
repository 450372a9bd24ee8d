# SPDX-License-Identifier: Apache-2.0
"""Turns a single-stage Dockerfile of a Go program into one with a stage that builds and an image.

The first stage keeps its lines up to the last RUN. What follows stands in the second stage without
being touched; lines before that which concern the image alone move there with their comments. What
cannot be told (a shell that is needed, packages that the program may use, commands after the build)
means no fix at all. Files that only the code names are not known, so that the fix is not safe.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Edit, Fix, Position, Range
from wherry.advice.reading.base_facts import BaseFacts, facts_of
from wherry.advice.reading.go_commands import GoCommand, stage_commands
from wherry.advice.reading.roots import Kind, find
from wherry.advice.reading.shipped_images import (
    Started,
    builds_own,
    is_for_development,
    plain_words,
    started,
)
from wherry.advice.reading.word_places import base_place, rest_place
from wherry.advice.rules.large_bases import STATIC
from wherry.advice.split.split_lines import (
    Moving,
    moved_lines,
    needs_directory,
    removal_edits,
    tail_problem,
)
from wherry.advice.split.split_needs import needs_cgo, only_builds
from wherry.frontends.dockerfile.instructions import Cmd, Entrypoint, Healthcheck, Run, User

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

BASE: Final = "gcr.io/distroless/base-debian13:nonroot"
"""The base for programs that need glibc."""

_PLAIN: Final = re.compile(r"[\w./@+-]+")
_SETTINGS: Final = re.compile(
    r"[\w./@+-]+\.(?:ya?ml|json|toml|ini|conf|cfg|env|properties|pem|crt|html|tmpl|sql|xml)"
)
_WHERE_PROGRAMS_ARE: Final = frozenset(("/usr/local/bin", "/usr/bin", "/bin", "/go/bin"))


class _Program(NamedTuple):
    """A program that the image gets: its path in the first stage, in the image, and its build."""

    source: str
    target: str
    command: GoCommand


def split(subject: Subject, base: str = STATIC) -> Fix | None:
    """The edits that make two stages of one, on `base`; None where that is not plain to do.

    Where the program needs cgo, the default base gives way to `BASE`.
    """
    if len(subject.stages) != 1 or subject.problems:
        return None
    stage = subject.stages[0]
    what = started(stage)
    if what is None or not _can_start(stage, what):
        return None
    last = max(at for at, line in enumerate(stage.lines) if isinstance(line.instruction, Run))
    programs = _programs(stage, what)
    if not only_builds(stage, programs[0].command.line) or tail_problem(stage, last):
        return None
    cgo = needs_cgo(programs[0].command)
    if cgo:
        if stage.facts.libc != "glibc":
            return None
        base = BASE if base == STATIC else base
        if facts_of(base).libc not in ("glibc", ""):
            return None
    commands = _commands(stage, {program.target for program in programs})
    if commands is None or any(program.command.flag("race") for program in programs):
        return None
    return _fix(stage, what, _Plan(base, last, cgo, programs, commands))


class _Plan(NamedTuple):
    base: str
    last: int
    cgo: bool
    programs: tuple[_Program, ...]
    commands: dict[int, str]


def _can_start(stage: StageView, what: Started) -> bool:
    """Whether the image starts a program that go built, by itself and at a plain path."""
    command = what.found.command
    if what.found.kind is not Kind.BUILT or command is None or not builds_own(command):
        return False
    if command.line.stage is not stage or what.wrapped or is_for_development(stage):
        return False
    return bool(_PLAIN.fullmatch(what.path)) and plain_words(what.line) is not None


def _programs(stage: StageView, what: Started) -> tuple[_Program, ...]:
    """The program that is started, first, and others that are built beside it."""
    assert what.found.command is not None  # noqa: S101 - _can_start asked
    name = posixpath.basename(what.path)
    target = f"/usr/local/bin/{name}" if what.bare else what.path
    found = [_Program(what.path, target, what.found.command)]
    beside = {posixpath.dirname(what.path), *_WHERE_PROGRAMS_ARE}
    for command in stage_commands(stage):
        path = command.output
        if not path or path.endswith("/") or not builds_own(command) or path == what.path:
            continue
        if posixpath.dirname(path) in beside and _PLAIN.fullmatch(path):
            found.append(_Program(path, path, command))
    return tuple(found)


def _commands(stage: StageView, targets: set[str]) -> dict[int, str] | None:
    """CMD, ENTRYPOINT and HEALTHCHECK by line as they have to be written; None if one cannot be.

    Only those that change are told of.
    """
    found: dict[int, str] = {}
    kinds = [type(line.instruction) for line in stage.lines]
    if kinds.count(Cmd) > 1 or kinds.count(Entrypoint) > 1 or kinds.count(Healthcheck) > 1:
        return None
    both = Cmd in kinds and Entrypoint in kinds
    for at, line in enumerate(stage.lines):
        typed = line.instruction
        if isinstance(typed, Healthcheck):
            if typed.command is None:
                continue
            words = typed.command.words
            if typed.command.shell or not words or stage.ends.path(words[0]) not in targets:
                return None
        elif isinstance(typed, (Cmd, Entrypoint)):
            plain = plain_words(line)
            if plain is None or (typed.command.shell and both):
                return None
            if typed.command.shell:
                found[at] = json.dumps(list(plain), ensure_ascii=False)
    return found


def _fix(stage: StageView, what: Started, plan: _Plan) -> Fix | None:
    name = stage.name or "build"
    facts = facts_of(plan.base)
    dropped = {at for at in _unknown_users(stage, facts) if at > plan.last}
    moving = moved_lines(stage, plan.last, plan.commands)
    if moving is None:
        return None
    edits = [*_cgo_edits(plan), *removal_edits(stage, {*moving.removed, *dropped})]
    if not stage.name:
        word = "AS" if stage.node.original[:4].isupper() else "as"
        end = base_place(stage).end
        edits.append(Edit(Range(end, end), f" {word} {name}"))
    edits += [
        Edit(rest_place(stage.lines[at]), text)
        for at, text in plan.commands.items()
        if at > plan.last
    ]
    block = _second_stage(stage, what, plan, moving, name)
    whole = stage.lines[plan.last].node.range
    if stage.subject.text.slice(whole).rstrip().endswith(stage.subject.parsed.escape):
        # A line that goes on behind the end of the file would take in what is put there.
        return None
    end = whole.end
    edits.append(Edit(Range(end, end), "\n\n" + "\n".join(block)))
    return Fix("build in one stage, run in another", tuple(edits), safe=False)


def _second_stage(
    stage: StageView, what: Started, plan: _Plan, moving: Moving, name: str
) -> list[str]:
    block = [f"FROM {plan.base}", *moving.first]
    files = _settings(stage, what, plan.last)
    words = plain_words(what.line) or ()
    relative = not what.bare and not words[0].startswith("/")
    if needs_directory(stage, plan.last, relative=relative or any(item[1] for item in files)):
        block.append(f"WORKDIR {stage.lines[plan.last].state.directory}")
    copies = [(program.source, program.target) for program in plan.programs]
    copies += [(path, path) for path, _ in files]
    block += [f"COPY --from={name} {source} {target}" for source, target in copies]
    user = stage.last(User)
    if user is not None and stage.lines.index(user) <= plan.last:
        typed = user.instruction
        assert isinstance(typed, User)  # noqa: S101 - for the type checker
        if _knows(facts_of(plan.base), user.expand(typed.user)):
            block.append(f"USER {user.expand(typed.user)}")
    return [*block, *moving.then]


def _settings(stage: StageView, what: Started, last: int) -> list[tuple[str, bool]]:
    """The files that the command names: path, and whether it was written as a relative one."""
    found: dict[str, bool] = {}
    lines: list[Line] = [what.line]
    more = stage.last(Cmd)
    if more is not None and more is not what.line:
        lines.append(more)
    context = stage.subject.context
    for word in (word for line in lines for word in plain_words(line) or ()):
        value = word.partition("=")[2] if word.startswith("-") else word
        if not _SETTINGS.fullmatch(value):
            continue
        path = stage.ends.path(value)
        source = find(stage, path)
        if source.line is not None and source.line in stage.lines[last + 1 :]:
            continue
        if source.kind is Kind.CONTEXT or (source.kind is Kind.MAYBE and context is None):
            found[path] = not value.startswith("/")
    return list(found.items())


def _cgo_edits(plan: _Plan) -> list[Edit]:
    """CGO_ENABLED=0 for each build that leaves it to Go."""
    edits: dict[Position, Edit] = {}
    for program in plan.programs:
        command = program.command
        if plan.cgo or command.cgo is not None:
            continue
        typed = command.line.instruction
        if isinstance(typed, Run) and typed.command.shell:
            at = command.command.start
            start = command.line.place(at, at + 1).start
            text = "CGO_ENABLED=0 "
        else:
            start, text = command.line.node.range.start, "ENV CGO_ENABLED=0\n"
        edits[start] = Edit(Range(start, start), text)
    return list(edits.values())


def _unknown_users(stage: StageView, facts: BaseFacts) -> set[int]:
    """The USER lines after the build that name whom the base does not know: it has its own."""
    return {
        at
        for at, line in enumerate(stage.lines)
        if isinstance(line.instruction, User)
        and not _knows(facts, line.expand(line.instruction.user))
    }


def _knows(facts: BaseFacts, user: str) -> bool:
    return all(
        name.isdecimal() or facts.users is None or name in facts.users for name in user.split(":")
    )
