# SPDX-License-Identifier: Apache-2.0
"""GO206: go.mod, go.sum and their like, kept from the build by ignore rules."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Finding, Fix, Rule
from wherry.advice.reading.context_files import context_file
from wherry.advice.reading.file_contents import read_file
from wherry.advice.reading.go_commands import GoCommand, go_commands, stage_commands
from wherry.advice.reading.remembered import of_stage
from wherry.advice.reading.whole_lines import added_lines
from wherry.advice.reading.word_places import word_range
from wherry.errors import UsageError
from wherry.frontends.dockerfile.instructions import Copy
from wherry.fstree.ignore import IgnoreRules, read_rules
from wherry.golang.requirements import read_requirements

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

_MOST_BYTES: Final = 1 << 20
_NAMES: Final = frozenset(("go.mod", "go.sum", "go.work", "go.work.sum", "vendor"))
_WILD: Final = frozenset("*?[$")
_COMPILES: Final = frozenset(("build", "install", "run", "test", "vet", "list"))
# Commands that write these files themselves.
_WRITES: Final = frozenset(
    ("mod init", "mod tidy", "mod vendor", "mod edit", "get", "work init", "work vendor")
)
_TOUCHED: Final = re.compile(r"\bgo\.(?:mod|sum|work)\b|\bgit\s+clone\b|-mod[= ]mod\b")


def hidden_module_files(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """What GO206 finds: first what a COPY names, then what the go commands would miss."""
    context = subject.context
    if context is None or not context.ignore_file:
        return
    told: set[str] = set()
    for line in subject.lines:
        for path, word in named_files(line):
            if context.has(path) and _is_hidden(context, path):
                told.add(path)
                message = f"{_why_hidden(context, path)}, so that this COPY cannot find it"
                place = word_range(subject, line.node, word)
                yield rule.find(place, message, _hint(context, path), _shown_again(context, path))
    for stage in subject.stages:
        for command in stage_commands(stage):
            for path in _missed(command, context):
                source = context_file(command.line, command.directory)
                if path in told or source is None:
                    continue
                told.add(path)
                message = f"{_why_hidden(context, path)}, and `go {command.verb}` needs it"
                related = ((command.line.head, "this needs it"),)
                yield rule.find(source.line.head, message, _hint(context, path),
                                _shown_again(context, path), related)  # fmt: skip


def named_files(line: Line) -> Iterator[tuple[str, str]]:
    """The module's files that a COPY from the context names: the path, and the word as written."""
    typed = line.instruction
    if not isinstance(typed, Copy) or typed.from_ or typed.heredocs:
        return
    for word in typed.sources:
        source = line.expand(word)
        path = posixpath.normpath(source.lstrip("/") or ".")
        if posixpath.basename(path) in _NAMES and _WILD.isdisjoint(source):
            yield path, word


def _is_hidden(context: Context, path: str) -> bool:
    if not context.hides(path):
        return False
    return not context.is_directory(path) or not context.rules.may_hold_included(path)


def _missed(command: GoCommand, context: Context) -> Iterator[str]:
    """The hidden files that a go command cannot do without, in a tree from the context."""
    if command.verb not in _COMPILES or not command.directory or command.command.program != "go":
        return
    if any("@" in word.value for word in command.arguments):
        return
    if command.environment.get("GO111MODULE") == "off" or _are_written(command.line.stage):
        return
    root = _module_root(command, context)
    if root is None:
        return
    gomod = posixpath.normpath(posixpath.join(root, "go.mod"))
    if _is_hidden(context, gomod):
        yield gomod
        return
    vendor = posixpath.normpath(posixpath.join(root, "vendor"))
    mode = command.flag("mod")
    if context.has(f"{vendor}/modules.txt"):
        if mode == "vendor" and _is_hidden(context, vendor):
            yield vendor
        if mode == "vendor" or not _is_hidden(context, vendor):
            return
    gosum = posixpath.normpath(posixpath.join(root, "go.sum"))
    if mode != "mod" and context.has(gosum) and _is_hidden(context, gosum):
        wanted = read_requirements(os.path.join(context.directory, gomod)).modules
        if wanted:
            yield gosum


def _module_root(command: GoCommand, context: Context) -> str | None:
    """The context's directory with the go.mod that a command would find, were it not hidden."""
    here = command.directory
    while True:
        source = context_file(command.line, here)
        if source is None:
            return None
        if context.has(posixpath.join(source.path, "go.mod")):
            return source.path
        if here == "/":
            return None
        here = posixpath.dirname(here)


@of_stage
def _are_written(stage: StageView) -> bool:
    """Whether the stage makes such files itself, or brings the code from elsewhere."""
    for line in stage.all_lines:
        if line.node.keyword == "RUN":
            if _TOUCHED.search(line.node.original):
                return True
            if any(other.verb in _WRITES for other in go_commands(line)):
                return True
    return False


def _why_hidden(context: Context, path: str) -> str:
    rule = context.deciding_rule(path)
    return f"{path} is hidden by the rule `{rule}` of {context.ignore_file}"


def _hint(context: Context, path: str) -> str:
    return f"add the line !{path} to {context.ignore_file}"


def _shown_again(context: Context, path: str) -> Fix | None:
    """A rule at the end of the ignore file that takes the path back in, where that is enough."""
    text = read_text(os.path.join(context.directory, context.ignore_file))
    if text is None:
        return None
    try:
        rules = read_rules(f"{text}\n!{path}")
        if IgnoreRules(rules).hides(path):
            return None
    except UsageError:
        return None
    edit = added_lines((f"!{path}",), context.ignore_file)
    return Fix(f"take {path} back in", (edit,))


def read_text(path: str) -> str | None:
    """What a file of rules holds, its line ends as they are; None where it cannot be read."""
    data = read_file(path, _MOST_BYTES)
    return None if data is None else data.decode("utf-8", "surrogateescape")


def ignored_module_files(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """What GO207 finds."""
    if subject.module is None or not subject.stages:
        return
    # Most Dockerfiles are looked at without starting anything.
    from wherry.advice.rules import git_ignored  # noqa: PLC0415 - see above

    yield from git_ignored.ignored_files(subject, subject.module, rule)
