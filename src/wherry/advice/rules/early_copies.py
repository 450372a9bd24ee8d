# SPDX-License-Identifier: Apache-2.0
"""A rule about what is copied before `go mod download`: nothing that it reads may be missing."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Edit, Finding, Fix, Need, Rule, Severity
from wherry.advice.reading.copied_files import Placed, brings, placed_by
from wherry.advice.reading.fetching import (
    fetches,
    has_modules_to_fetch,
    is_given,
    module_files,
    workspace_above,
    workspace_files,
)
from wherry.advice.reading.go_commands import go_commands
from wherry.advice.reading.run_programs import is_apart, stands_apart
from wherry.advice.reading.whole_lines import after
from wherry.advice.reading.word_places import word_places
from wherry.advice.rules.early_order import Copied, copy_lines
from wherry.frontends.dockerfile.instructions import Copy, Run
from wherry.frontends.dockerfile.source import Range

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.reading.go_commands import GoCommand
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

_FAILS: Final = "go mod download fails without"
_SHOWN: Final = 3
_OWN: Final = re.compile(r"(?:\A|/)go\.(?:mod|sum|work)")


class _Early(NamedTuple):
    """A download of modules with the COPY that brings go.mod before it.

    `module` is the directory of that go.mod in the build context, `root` where it stands in the
    stage; `placed` is all that was copied before.
    """

    command: GoCommand
    copy: Line
    module: str
    root: str
    placed: tuple[Placed, ...]
    later: tuple[Placed, ...]

    def path_of(self, file: str) -> str:
        """Where a file of the build context belongs in the stage."""
        return posixpath.normpath(
            posixpath.join(self.root, posixpath.relpath(file, self.module or "."))
        )


def _incomplete(subject: Subject, rule: Rule) -> Iterator[Finding]:
    context = subject.context
    if context is None:
        return
    for stage in subject.stages:
        early = _early(stage, context)
        if early is None or not has_modules_to_fetch(context, early.module):
            continue
        message, missing = _missing(early, context)
        if missing:
            yield rule.find(
                early.copy.head,
                message,
                f"copy {_listed(missing)} too before go mod download",
                _fix(subject, early, missing),
                ((early.command.line.head, "the modules are fetched here"),),
            )


def _early(stage: StageView, context: Context) -> _Early | None:
    """The first download of a stage behind a COPY of its go.mod alone."""
    placed: list[tuple[Line, tuple[Placed, ...]]] = []
    for line in stage.all_lines:
        if isinstance(line.instruction, Copy):
            if line.instruction.from_:
                return None
            found = placed_by(line)
            if found is None:
                return None
            placed.append((line, found))
        elif isinstance(line.instruction, Run):
            for command in go_commands(line):
                if command.verb == "mod download" and fetches(command):
                    return _described(stage, command, placed, context)
            if not stands_apart(line):
                return None
    return None


def _described(
    stage: StageView, command: GoCommand, placed: list[tuple[Line, tuple[Placed, ...]]],
    context: Context,
) -> _Early | None:  # fmt: skip
    line = command.line
    if line.stage is not stage or not command.directory:
        return None
    # A mount may bring anything: those who write them know what they need.
    if placed_by(line) != () or command.flag("modfile") is not None:
        return None
    # What runs before it in the same RUN may make files.
    if not all(map(is_apart, line.commands[: line.commands.index(command.command)])):
        return None
    wanted = f"{command.directory.rstrip('/')}/go.mod"
    for copy, items in placed:
        for item in items:
            if item.directory or item.target != wanted or not is_given(context, item.source):
                continue
            own = stage.all_lines[stage.all_lines.index(line) :]
            later = [found for after_it in own for found in placed_by(after_it) or ()]
            return _Early(
                command, copy, posixpath.dirname(item.source), command.directory,
                tuple(found for _, before in placed for found in before), tuple(later),
            )  # fmt: skip
    return None


def _missing(early: _Early, context: Context) -> tuple[str, tuple[str, ...]]:
    """What is missing before the download, with a line that says what comes of it."""
    files = module_files(context, early.module) or ()
    missing = _not_there(early, files, context)
    local = tuple(path for path in missing if not path.endswith(".sum"))
    if local:
        return f"{_FAILS} {_listed(local)}, which a replace in go.mod names", missing
    workspace = workspace_above(context, early.module)
    if workspace is not None and early.command.environment.get("GOWORK") != "off":
        file = posixpath.join(workspace, "go.work")
        wanted = workspace_files(context, workspace) or ()
        lacking = _not_there(early, wanted, context)
        mods = tuple(path for path in lacking if path.endswith(".mod"))
        if brings(early.placed, early.path_of(file), context):
            if mods:
                return f"{_FAILS} {_listed(mods)}, which go.work names", lacking
        elif lacking and brings(early.later, early.path_of(file), context):
            return (
                "go.work is not copied before go mod download, so that what the workspace needs"
                " besides is fetched again after each change of a file"
            ), lacking
    if missing:
        return (
            f"{_listed(missing)} is not copied before go mod download,"
            " which then cannot tell whether it gets what the module was made with"
        ), missing
    return "", ()


def _not_there(early: _Early, files: tuple[str, ...], context: Context) -> tuple[str, ...]:
    return tuple(path for path in files if not brings(early.placed, early.path_of(path), context))


def _listed(paths: tuple[str, ...]) -> str:
    shown = paths if len(paths) <= _SHOWN else paths[: _SHOWN - 1]
    more = len(paths) - len(shown)
    words = [*shown, f"{more} more"] if more else list(shown)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _fix(subject: Subject, early: _Early, missing: tuple[str, ...]) -> Fix | None:
    """Adds the files to that COPY where they lie beside go.mod, else a COPY for each directory."""
    beside = tuple(path for path in missing if posixpath.dirname(path) == early.module)
    others = tuple(path for path in missing if path not in beside)
    typed = early.copy.instruction
    if not isinstance(typed, Copy):
        return None
    edits = _words(subject, early, beside)
    if not edits:
        beside, others = (), missing
    top = _top(early, typed)
    lines = copy_lines(Copied(early.copy, early.module, top), others) if others else ""
    if lines is None:
        return None
    added = (after(subject.text, early.copy.range, lines),) if lines else ()
    return Fix("copy what the download needs", (*edits, *added))


def _words(subject: Subject, early: _Early, files: tuple[str, ...]) -> tuple[Edit, ...]:
    """The edits of the COPY itself: files behind go.mod, and a slash at the destination."""
    typed, node = early.copy.instruction, early.copy.node
    if not files or not isinstance(typed, Copy) or node.json:
        return ()
    places = word_places(subject, node)
    head = early.copy.head
    at = next((number for number, word in enumerate(typed.sources) if word.endswith("go.mod")), -1)
    if at < 0 or len(places) != len(typed.sources) + 1 or head in (places[at], places[-1]):
        return ()
    is_directory = typed.destination.endswith("/") or typed.destination in (".", "..")
    if not is_directory and len(typed.sources) == 1:
        # It may be the name of the file.
        return ()
    prefix = typed.sources[at].removesuffix("go.mod")
    names = " ".join(prefix + posixpath.basename(path) for path in files)
    own = [number for number, word in enumerate(typed.sources) if _OWN.search(word)]
    end = places[own[-1]].end
    edits = [Edit(Range(end, end), f" {names}")]
    if not typed.destination.endswith("/") and len(typed.sources) == 1:
        edits.append(Edit(Range(places[-1].end, places[-1].end), "/"))
    return tuple(edits)


def _top(early: _Early, typed: Copy) -> str:
    """The directory of the module as that COPY writes it."""
    written = typed.destination
    if written.endswith(("/", "/.")) or written in (".", "..") or len(typed.sources) > 1:
        return written
    return early.root


RULES: Final = (
    Rule("GO002", "incomplete-early-copy", Severity.WARNING,
         "files that go mod download reads are not copied before it", _incomplete,
         frozenset((Need.CONTEXT,)), mends=True),
)  # fmt: skip
