# SPDX-License-Identifier: Apache-2.0
"""The rule about configuration in a stage whose image nobody gets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Finding, Fix
from wherry.advice.reading.programs import written_command
from wherry.advice.reading.whole_lines import after, block_text, removal
from wherry.frontends.dockerfile.instructions import (
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)

if TYPE_CHECKING:
    from wherry.advice.model import Rule
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

_KINDS: Final = (Expose, User, Cmd, Entrypoint, Healthcheck, Volume, StopSignal)
# Stages that people build by their name, to work in them.
_FOR_WORK: Final = re.compile(
    r"(?:\A|[-_.])(?:dev|devel|develop|development|debug|debugger|test|tests|testing|local|air|"
    r"watch|live|reload|hot|ci|lint|run|runtime|serve|prod|production|release|final)(?:\Z|[-_.])"
)
_TOOLS: Final = frozenset(
    ("air", "dlv", "go", "gin", "reflex", "modd", "fresh", "realize", "gow", "wgo", "nodemon",
     "CompileDaemon", "sh", "bash", "ash", "make", "task", "just", "mage", "tail", "sleep", "npm")
)  # fmt: skip


def lost_configuration(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO227: configuration that no image gets."""
    for stage in subject.stages:
        if stage.number in subject.exported or _is_for_work(stage):
            continue
        for at, line in enumerate(stage.lines):
            if not _is_lost(subject, stage, at):
                continue
            keyword = line.node.keyword
            message = f"{keyword} in {stage.shown} has no effect: no image is made of this stage"
            final = subject.final
            assert final is not None  # noqa: S101 - a stage that is not exported is not alone
            fix = _move(subject, final, line)
            hint = f"write it in the last stage, {_called(final)}"
            if _has_kind(final, line.instruction):
                hint = f"remove it: the last stage, {_called(final)}, has its own"
            yield rule.find(line.head, message, hint, fix, ((final.node.range, "the last stage"),))


def _called(stage: StageView) -> str:
    return stage.name or f"FROM {stage.stage.base.base}"


def _is_for_work(stage: StageView) -> bool:
    """Whether the stage may be built by its name, to be run."""
    if _FOR_WORK.search(stage.name):
        return True
    for line in stage.lines:
        if not isinstance(line.instruction, (Cmd, Entrypoint)):
            continue
        command = written_command(line)
        if command is None:
            continue
        text = command.words[0]
        first = text.split()[0] if command.shell and text.strip() else text
        if first.rpartition("/")[2] in _TOOLS:
            return True
    return False


def _is_lost(subject: Subject, stage: StageView, at: int) -> bool:
    line = stage.lines[at]
    typed = line.instruction
    rest = stage.lines[at + 1 :]
    if isinstance(typed, User):
        # RUN and WORKDIR count on it.
        return not any(isinstance(item.instruction, (Run, Workdir)) for item in rest)
    if isinstance(typed, Env):
        return _is_port(subject, typed, rest)
    if isinstance(typed, Healthcheck) and typed.command is None:
        return False
    return isinstance(typed, _KINDS)


def _is_port(subject: Subject, typed: Env, rest: list[Line]) -> bool:
    """Whether an ENV names a port for the program, which the last stage does not get."""
    names = [pair.name for pair in typed.variables]
    if not all(name == "PORT" or name.endswith("_PORT") for name in names):
        return False
    final = subject.final
    if final is None or any(name in final.ends.environment for name in names):
        return False
    return not any(name in item.node.original for item in rest for name in names)


def _has_kind(stage: StageView, typed: Instruction) -> bool:
    """Whether a stage says the same kind of thing already, or a command of another kind."""
    if isinstance(typed, Env):
        return False
    kinds = (Cmd, Entrypoint) if isinstance(typed, (Cmd, Entrypoint)) else (type(typed),)
    return any(isinstance(line.instruction, kinds) for line in stage.all_lines)


def _move(subject: Subject, final: StageView, line: Line) -> Fix | None:
    """Move the lines to the end of the last stage; None where it has such ones, or may differ."""
    sources = {number for stage in final.chain() for number in stage.plan.sources}
    if line.stage.number not in sources or "$" in line.node.original or not final.lines:
        return None
    if _has_kind(final, line.instruction):
        return None
    text = subject.text
    edits = (
        removal(text, line.range),
        after(text, final.lines[-1].range, block_text(text, line.range)),
    )
    return Fix("move it to the last stage", edits, safe=False)
