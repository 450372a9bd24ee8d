# SPDX-License-Identifier: Apache-2.0
"""Rules about the order of steps: what a change of one file makes a build do again.

Here is the first of them, sources copied before the modules are fetched, and the list of all; the
others are in `early_copies`, `wide_copies`, `changing_values`, `cache_mounts` and `unpinned_tools`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Finding, Rule, Severity
from wherry.advice.reading.copied_files import brings, placed_by, within
from wherry.advice.reading.fetching import fetches, has_modules_to_fetch, is_vendored, module_above
from wherry.advice.reading.go_commands import go_commands
from wherry.advice.reading.paths import meets
from wherry.advice.reading.run_programs import has_cache_mount, may_be_skipped, module_cache
from wherry.advice.rules import (
    cache_mounts,
    changing_values,
    early_copies,
    unpinned_tools,
    wide_copies,
)
from wherry.advice.rules.early_order import late_fix, without_fix
from wherry.frontends.dockerfile.instructions import Copy, Run

if TYPE_CHECKING:
    from wherry.advice.reading.copied_files import Placed
    from wherry.advice.reading.go_commands import GoCommand
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView


class Late(NamedTuple):
    """A COPY of all sources, and the command behind it that fetches the modules again.

    `placed` is what it puts where. `module` is the directory with the go.mod in the build context,
    None where that is not known; `root` is where it stands in the stage. `between` are the lines
    between both. `has_early` says that go.mod was copied before, but nothing was run then.
    """

    copy: Line
    command: GoCommand
    placed: Placed
    module: str | None
    root: str
    between: tuple[Line, ...]
    has_early: bool


def _copied_first(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for stage in subject.stages:
        late = next(filter(None, (_late(stage, line) for line in stage.lines)), None)
        if late is None or _was_fetched(stage, late):
            continue
        late = late._replace(has_early=_has_early(stage, late))
        command = late.command
        there = command.line.place(command.command.start, command.command.end)
        again = _copied_again(stage, late)
        hint, fix = "copy go.mod and go.sum and run go mod download before it", late_fix
        if again is not None:
            hint, fix = f"leave it out: line {again.head.lines[0]} copies the same", without_fix
        yield rule.find(
            late.copy.head,
            f"all sources are copied before go {command.verb} fetches the modules,"
            " so that a change of any file fetches them all again",
            hint,
            fix(subject, late),
            ((there, "the modules are fetched here"),),
        )


def _copied_again(stage: StageView, late: Late) -> Line | None:
    """A second copy of the same behind the download, which has a go.mod of its own."""
    wanted = f"{late.root.rstrip('/')}/go.mod"
    if late.command.line not in stage.lines:
        return None
    if any(isinstance(line.instruction, Run) for line in late.between):
        return None
    copied = [
        item.target for line in late.between if isinstance(line.instruction, Copy)
        for item in placed_by(line) or ()
    ]  # fmt: skip
    if wanted not in copied:
        return None
    behind = stage.lines[stage.lines.index(late.command.line) + 1 :]
    first = next((line for line in behind if isinstance(line.instruction, Copy | Run)), None)
    if first is None or not isinstance(first.instruction, Copy):
        return None
    return first if placed_by(first) == placed_by(late.copy) else None


def _late(stage: StageView, line: Line) -> Late | None:
    """The copy at this line with what fetches behind it, if it is one of all sources."""
    typed = line.instruction
    if not isinstance(typed, Copy) or typed.from_:
        return None
    whole = [item for item in placed_by(line) or () if item.directory]
    if not whole:
        return None
    between: list[Line] = []
    for following in _behind(stage, line):
        commands = go_commands(following)
        if any(command.flag("mod") == "vendor" for command in commands):
            return None
        for command in commands:
            if fetches(command):
                if may_be_skipped(following, command.command):
                    # What a branch fetches may be there already, made outside.
                    return None
                found = _matched(line, command, whole)
                return None if found is None else found._replace(between=tuple(between))
            if command.verb in ("mod init", "get"):
                return None
        between.append(following)
    return None


def _behind(stage: StageView, line: Line) -> Iterator[Line]:
    """The lines that run after one: of its stage, then of the first that stands on it."""
    yield from stage.lines[stage.lines.index(line) + 1 :]
    above = [other for other in stage.subject.stages if other.below is stage]
    if len(above) == 1:
        yield from above[0].lines


def _matched(line: Line, command: GoCommand, whole: list[Placed]) -> Late | None:
    """The finding, where the command works in a module that the copy brings."""
    subject = line.subject
    context = subject.context
    if not command.directory or _keeps_modules(command):
        return None
    for placed in whole:
        inside = within(command.directory, placed.target)
        if inside is None:
            continue
        if context is None:
            # Without the files, only the command itself tells that there are modules to fetch.
            if placed.source or inside or command.verb != "mod download":
                return None
            return Late(line, command, placed, None, command.directory, (), has_early=False)
        path = "/".join(filter(None, (placed.source, inside)))
        module = module_above(context, path, placed.source)
        if module is None or not _is_to_fetch(subject, command, module):
            return None
        below = within(module, placed.source) or ""
        root = "/".join(filter(None, (placed.target.rstrip("/"), below))) or "/"
        return Late(line, command, placed, module, root, (), has_early=False)
    return None


def _is_to_fetch(subject: Subject, command: GoCommand, module: str) -> bool:
    context = subject.context
    if context is None or not has_modules_to_fetch(context, module):
        return False
    if not is_vendored(context, module):
        # A base that is not known may hold the modules already, or settings of its own.
        return command.verb == "mod download" or command.line.stage.facts.known
    return False


def _keeps_modules(command: GoCommand) -> bool:
    """Whether a cache mount keeps the modules for the next time."""
    cache = module_cache(command.line.state)
    mounts = command.line.instruction
    if not cache:
        return isinstance(mounts, Run) and bool(mounts.mounts or mounts.mount_texts)
    return has_cache_mount(command.line, cache)


def _was_fetched(stage: StageView, late: Late) -> bool:
    """Whether the modules are, or may be, there before the copy."""
    context = stage.subject.context
    cache = module_cache(late.copy.state)
    brought = False
    for line in _before(stage, late.copy):
        typed = line.instruction
        if isinstance(typed, Copy) and typed.from_:
            target = line.state.path(line.expand(typed.destination))
            if "pkg/mod" in target or (cache and meets(target, cache)):
                return True
        elif isinstance(typed, Copy):
            placed = placed_by(line)
            if placed is None:
                return True
            brought = brought or brings(placed, f"{late.root.rstrip('/')}/go.mod", context)
            brought = brought or any(item.source.endswith("go.mod") for item in placed)
        # What a script does with a go.mod is not known: it may well fetch.
        elif isinstance(typed, Run) and (
            brought or any(fetches(item) or item.verb == "get" for item in go_commands(line))
        ):
            return True
    return False


def _has_early(stage: StageView, late: Late) -> bool:
    wanted = f"{late.root.rstrip('/')}/go.mod"
    return any(
        brings(placed_by(line) or (), wanted, stage.subject.context)
        for line in _before(stage, late.copy)
        if isinstance(line.instruction, Copy)
    )


def _before(stage: StageView, line: Line) -> tuple[Line, ...]:
    lines = stage.all_lines
    return lines[: lines.index(line)]


RULES: Final = (
    Rule("GO001", "copy-before-download", Severity.WARNING,
         "all sources are copied before the modules are fetched", _copied_first, mends=True),
    *early_copies.RULES,
    *wide_copies.RULES,
    *changing_values.RULES,
    *cache_mounts.RULES,
    *unpinned_tools.RULES,
)  # fmt: skip
