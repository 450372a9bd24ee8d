# SPDX-License-Identifier: Apache-2.0
"""GO207: go.mod and go.sum that git ignores; git itself is asked (git-check-ignore(1))."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Finding, Fix, Rule
from wherry.advice.reading.whole_lines import added_lines
from wherry.advice.reading.word_places import word_range
from wherry.advice.rules.module_files import named_files, read_text
from wherry.errors import MachineError
from wherry.frontends.dockerfile.instructions import Copy
from wherry.process.cancel import Cancelled, time_limit
from wherry.process.spawn import Command, run
from wherry.vcs.git import go_place

if TYPE_CHECKING:
    from wherry.advice.reading.go_module import GoModule
    from wherry.advice.subject import Subject
    from wherry.frontends.dockerfile.source import Range

_QUIET: Final = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
# A git that does not answer is as none.
_MOST_SECONDS: Final = 30.0
_IGNORED: Final = re.compile(r"(.*?):\d+:(.*)\t(.*)")


class _Ignored(NamedTuple):
    """A file that git ignores, the pattern that says so, and the file that this stands in.

    `source` is relative to the context, empty for a file outside of it.
    """

    name: str
    pattern: str
    source: str


def ignored_files(subject: Subject, module: GoModule, rule: Rule) -> Iterator[Finding]:
    """What GO207 finds in a Dockerfile with a stage."""
    for item in _ignored(module):
        path = module.inside(item.name)
        place = _bringing(subject, path)
        where = f" of {item.source}" if item.source else ""
        message = f"git ignores {path} (`{item.pattern}`{where}): a fresh clone is without it"
        hint = f"commit it: git add --force {path}, and take the pattern away"
        yield rule.find(place, message, hint, _tracked_again(module, item))


@lru_cache(maxsize=64)
def _ignored(module: GoModule) -> tuple[_Ignored, ...]:
    """Which of go.mod and go.sum git ignores and does not have; none without git."""
    there = module.has_sum or bool(module.modules)
    names = [name for name, asked in (("go.mod", bool(module.path)), ("go.sum", there)) if asked]
    if not names or not go_place(module.directory).found:
        return ()
    told = _git(module, ("check-ignore", "--verbose", "--", *names))
    prefix = _git(module, ("rev-parse", "--show-prefix")) if told else None
    if prefix is None or not told:
        return ()
    up = "../" * prefix.strip().count("/")
    top = os.path.normpath(os.path.join(os.path.realpath(module.directory), up))
    context = os.path.realpath(module.context_directory)
    found = []
    for line in told.splitlines():
        match = _IGNORED.fullmatch(line)
        if match is None or match[2].startswith("!"):
            continue
        source = os.path.relpath(os.path.join(top, match[1]), context)
        if source.startswith(("..", ".git/")):
            source = ""
        found.append(_Ignored(match[3], match[2], source))
    return tuple(found)


def _git(module: GoModule, arguments: tuple[str, ...]) -> str | None:
    env: Mapping[str, str] = {**module.env, **_QUIET}
    argv = ("git", "-c", "core.fsmonitor=false", *arguments)
    try:
        with time_limit(_MOST_SECONDS) as limit:
            finished = run(Command(argv, module.directory, env), limit)
    except (MachineError, Cancelled):
        return None
    return None if finished.returncode else finished.stdout.decode("utf-8", "surrogateescape")


def _bringing(subject: Subject, path: str) -> Range:
    """Where a COPY names the file, else the COPY of its directory, else the first FROM."""
    copies = [
        line for line in subject.lines
        if isinstance(line.instruction, Copy) and not line.instruction.from_
    ]  # fmt: skip
    for line in copies:
        for named, word in named_files(line):
            if named == path:
                return word_range(subject, line.node, word)
    for line in copies:
        if isinstance(line.instruction, Copy):
            for word in line.instruction.sources:
                source = posixpath.normpath(line.expand(word).lstrip("/") or ".")
                if source == "." or path.startswith(f"{source}/"):
                    return line.head
    return subject.text.first_line(subject.stages[0].range)


def _tracked_again(module: GoModule, item: _Ignored) -> Fix | None:
    """Except the file from the pattern: a later line beats the earlier ones."""
    text = read_text(os.path.join(module.context_directory, item.source)) if item.source else None
    if text is None:
        return None
    title = f"let git have {item.name}"
    inside = os.path.relpath(module.inside(item.name), os.path.dirname(item.source) or ".")
    *above, name = inside.split("/")
    last = item.pattern.rpartition("/")[2]
    # gitignore(5): nothing can be excepted below a directory that is ignored itself.
    if not fnmatch.fnmatchcase(name, last) or any(fnmatch.fnmatchcase(up, last) for up in above):
        return None
    return Fix(title, (added_lines((f"!/{inside}",), item.source),), safe=False)
