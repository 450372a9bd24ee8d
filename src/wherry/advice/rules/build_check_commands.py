# SPDX-License-Identifier: Apache-2.0
"""BuildKit's build checks of what an image starts, where it works and what is copied into it.

As in BuildKit's dockerfile2llb (v0.33.1). Triggers that a stage hands on are not looked at.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Finding, Fix, Range, Rule
from wherry.advice.reading.word_places import rest_at
from wherry.advice.rules.build_check_places import characters, words_of
from wherry.frontends.dockerfile.instructions import (
    Cmd,
    Copy,
    Entrypoint,
    Shell,
    Workdir,
)
from wherry.frontends.dockerfile.words import WordError, expand

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

# Bases that have a SHELL of their own, so that the shell form is meant.
_OWN_SHELL: Final = re.compile(r"windows|nanoserver|powershell|(?:^|/)(?:cimg|circleci)/")
_PLAIN_WORDS: Final = re.compile(r"[\w./:,@%+=-]+(?: +[\w./:,@%+=-]+)*", re.ASCII)
# What a shell does itself, so that there is no such program.
_OF_THE_SHELL: Final = frozenset(
    (".", ":", "alias", "cd", "eval", "exit", "export", "for", "if", "set", "source", "trap",
     "ulimit", "umask", "unset", "while")
)  # fmt: skip
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_HIDES_ALL: Final = frozenset(("*", "**", "**/*"))
_ONCE: Final = frozenset(("CMD", "ENTRYPOINT", "HEALTHCHECK"))
_WILD: Final = re.compile(r"[*?\[]")


def json_args_recommended(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """CMD and ENTRYPOINT in shell form, where no SHELL says that it is meant."""
    for stage in subject.stages:
        if _OWN_SHELL.search(stage.image):
            continue
        chosen = any(isinstance(line.instruction, Shell) for line in _inherited(stage))
        for line in stage.lines:
            typed = line.instruction
            chosen = chosen or isinstance(typed, Shell)
            if chosen or not isinstance(typed, Cmd | Entrypoint) or not typed.command.shell:
                continue
            name, words = line.node.keyword, _exec_form(line)
            message = f"{name} in shell form: a shell gets the signals, not the program"
            hint = f"write {name} {words}" if words else f'write {name} ["PROGRAM", "ARGUMENT"]'
            yield rule.find(line.head, message, hint, _in_exec_form(line, words))


def _inherited(stage: StageView) -> tuple[Line, ...]:
    """The lines of the stages below."""
    return stage.below.all_lines if stage.below is not None else ()


def _exec_form(line: Line) -> str:
    """The same words as a JSON array; empty where a shell has something to do with them."""
    text = line.node.rest
    if not text:
        return "[]"
    words = text.split() if _PLAIN_WORDS.fullmatch(text) else []
    if len(words) > 1 and words[0] == "exec":
        del words[0]
    if not words or "=" in words[0] or words[0].startswith("-") or words[0] in _OF_THE_SHELL:
        return ""
    return json.dumps(words)


def _in_exec_form(line: Line, words: str) -> Fix | None:
    node = line.node
    if not words or not node.rest:
        return None
    start = rest_at(node)
    written = characters(line.subject, node, start, start + len(node.rest))
    if not written.whole:
        return None
    # No shell starts the program any more, which is what is wanted, and yet another thing.
    return Fix("write it in exec form", (written.edit(words),), safe=False)


def multiple_instructions(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """CMD, ENTRYPOINT or HEALTHCHECK more than once in a stage: only the last one counts."""
    for stage in subject.stages:
        last: dict[str, Line] = {}
        for line in stage.lines:
            keyword = line.node.keyword
            if keyword not in _ONCE:
                continue
            if keyword in last:
                message = f"another {keyword} of the stage takes this one's place"
                related = ((line.head, "this one counts"),)
                yield rule.find(last[keyword].head, message, "remove one of them", related=related)
            last[keyword] = line


def workdir_relative_path(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """A first WORKDIR that goes on from wherever the base's ended."""
    for stage in subject.stages:
        if any(isinstance(line.instruction, Workdir) for line in _inherited(stage)):
            continue
        for line in stage.lines:
            typed = line.instruction
            if isinstance(typed, Workdir):
                yield from _relative(line, typed, rule)
                break


def _relative(line: Line, typed: Workdir, rule: Rule) -> Iterator[Finding]:
    path = _known(line, typed.path)
    if path is None or path.startswith("/") or _DRIVE.match(path):
        return
    start = rest_at(line.node)
    place = characters(line.subject, line.node, start, start + len(line.node.rest)).range
    message = f"WORKDIR {typed.path} goes on from the base's directory, which may change"
    known = line.stage.facts.known
    absolute = line.state.path(path) if known else f"/{posixpath.normpath(path)}"
    yield rule.find(place, message, f"write a path from the root, such as {absolute}")


def copy_ignored_file(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """COPY and ADD of what the ignore file keeps out of the build context."""
    context = subject.context
    if context is None or not context.rules:
        return
    for line in subject.lines:
        typed = line.instruction
        if not isinstance(typed, Copy) or typed.from_:
            continue
        markers = {f"<<{heredoc.name}" for heredoc in typed.heredocs}
        places: dict[str, Range] | None = None
        for source in typed.sources:
            path = None if source in markers else _path(line, source)
            hiding = "" if path is None else _hiding(context, path)
            if not hiding:
                continue
            places = _word_places(line) if places is None else places
            name = line.node.keyword
            message = f"{name} {source}: {context.ignore_file} keeps it out of the build"
            back = "what the build needs with rules of !" if path == "." else f"it with !{path}"
            hint = f"remove the rule {hiding} there, or take back {back}"
            yield rule.find(places.get(source, line.head), message, hint)


def _path(line: Line, source: str) -> str | None:
    """A source's path in the build context; None for what comes from elsewhere, or is not known."""
    path = _known(line, source)
    if path is None or "://" in path or path.startswith("git@"):
        return None
    return posixpath.normpath("/" + path.lstrip("/")).lstrip("/") or "."


def _hiding(context: Context, path: str) -> str:
    """The rule that hides all of a path, or of what a pattern stands for; empty where none does."""
    if path == ".":
        rule = context.deciding_rule("any")
        # What is taken back may be built before: that it is not there yet says nothing.
        is_all = rule in _HIDES_ALL and not context.names and not context.rules.takes_back
        return rule if is_all else ""
    if not context.hides(path) or context.rules.may_hold_included(path):
        return ""
    if _WILD.search(path) and any(fnmatchcase(name, path) for name in context.names):
        return ""
    return context.deciding_rule(path)


def _word_places(line: Line) -> dict[str, Range]:
    """Where each word first stands, as written and without what a JSON array has around it."""
    found: dict[str, Range] = {}
    for written in words_of(line.subject, line.node):
        found.setdefault(written.text, written.range)
        found.setdefault(written.text.strip('[],"'), written.range)
    return found


def _known(line: Line, word: str) -> str | None:
    """A word with its variables worked in; None where one of them has no value here."""
    try:
        meant = expand(word, line.state.variables, line.subject.parsed.escape)
    except WordError:
        return None
    return None if meant.unmatched else meant.text
