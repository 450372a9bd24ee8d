# SPDX-License-Identifier: Apache-2.0
"""What an image starts, and which stages of a Dockerfile are images that somebody runs.

A stage that starts `go`, a shell or a program that rebuilds on change is meant for development:
rules about the size of images leave it alone.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.paths import DEFAULT_PATH
from wherry.advice.reading.roots import MAYBE, Found, Kind, find
from wherry.advice.reading.shell import read_commands
from wherry.advice.views import is_posix_shell
from wherry.frontends.dockerfile.instructions import Cmd, Command, Entrypoint, Healthcheck, Run

if TYPE_CHECKING:
    from wherry.advice.reading.go_commands import GoCommand
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

__all__ = [
    "Started", "builds_own", "images", "is_for_development",
    "plain_words", "shipped", "started", "starts_own_build",
]  # fmt: skip

_SHELLS: Final = frozenset(("sh", "bash", "ash", "dash", "zsh", "fish", "busybox"))
_DEVELOPMENT: Final = _SHELLS | frozenset(
    ("go", "air", "dlv", "reflex", "CompileDaemon", "realize", "fresh", "gow", "wgo", "modd",
     "nodemon", "entr", "watchexec", "make", "mage", "task", "just", "tail", "sleep", "gotestsum",
     "ginkgo", "golangci-lint", "gopls", "godoc", "pkgsite")
)  # fmt: skip
# Programs that start another one and stay or go.
_STARTERS: Final = frozenset(
    ("tini", "dumb-init", "catatonit", "su-exec", "gosu", "exec", "env", "nohup", "setpriv")
)
_SCRIPT: Final = re.compile(r"\.(?:sh|bash|py|rb|js|pl)\Z")
_RUNNERS: Final = frozenset(("make", "gmake", "mage", "task", "just"))


class Started(NamedTuple):
    """What an image starts: the instruction, its words with the program first, and where that is.

    `path` is the program's absolute path in the image, empty where it cannot be told, `found` where
    that comes from. `bare` says that PATH was searched, `wrapped` that another program starts it.
    """

    line: Line
    words: tuple[str, ...]
    path: str
    found: Found
    bare: bool
    wrapped: bool


def plain_words(line: Line) -> tuple[str, ...] | None:
    """The words of a CMD, ENTRYPOINT or HEALTHCHECK; None where only a shell can tell them."""
    command = _command_of(line)
    if command is None or not command.words:
        return None
    if not command.shell:
        return command.words
    if not is_posix_shell(line.state.shell):
        return None
    text = command.words[0].strip()
    found = read_commands(text)
    if len(found) != 1 or (found[0].start, found[0].end) != (0, len(text)):
        return None
    only = found[0]
    if only.assignments or only.redirects or any(word.value != "exec" for word in only.wrapped):
        return None
    if not only.words or not all(word.fixed for word in only.words):
        return None
    return tuple(word.value for word in only.words)


def started(stage: StageView) -> Started | None:
    """What the image of a stage starts; None where it has no command of its own."""
    line = stage.command
    if line is None:
        return None
    programs = _programs(stage, line)
    first: Started | None = None
    for words in programs:
        own, wrapped = _unwrapped(words)
        path, found, bare = _located(stage, own)
        one = Started(line, own, path, found, bare, wrapped or len(programs) > 1)
        if found.kind is Kind.BUILT:
            return one
        first = first or one
    return first or Started(line, (), "", MAYBE, bare=False, wrapped=False)


def is_for_development(stage: StageView) -> bool:
    """Whether a stage starts nothing of its own, or what only developers and their tools start."""
    line = stage.command
    if line is None:
        return True
    programs = [_unwrapped(words)[0] for words in _programs(stage, line)]
    return any(words and posixpath.basename(words[0]) in _DEVELOPMENT for words in programs)


def images(subject: Subject) -> tuple[StageView, ...]:
    """The stages whose images somebody runs: the last, and other targets that start a program."""
    return tuple(
        stage
        for stage in subject.results
        if (stage is subject.final and not _is_a_check(stage))
        or (
            any(isinstance(line.instruction, (Cmd, Entrypoint)) for line in stage.lines)
            and not is_for_development(stage)
        )
    )


def _is_a_check(stage: StageView) -> bool:
    """Whether a last stage only runs something over the sources, in a file that gives out files.

    Files with targets like `validate` and `update` are made that way.
    """
    last = stage.lines[-1] if stage.lines else None
    return (
        any(other.is_scratch for other in stage.subject.stages)
        and last is not None
        and isinstance(last.instruction, Run)
        and bool(last.instruction.mounts or last.instruction.mount_texts)
        and stage.command is None
    )


def shipped(subject: Subject) -> frozenset[int]:
    """The numbers of the stages whose layers are in such images."""
    return frozenset(below.number for stage in images(subject) for below in stage.chain())


def builds_own(command: GoCommand) -> bool:
    """Whether a go command builds from the code at hand, not from a module of somebody else."""
    return command.builds and not any("@" in word.value for word in command.arguments)


def starts_own_build(stage: StageView, what: Started) -> bool:
    """Whether what a stage starts was built by go from the code at hand.

    Where `make` or its like ran in an image of Go, a path that no other instruction is known to
    bring counts too.
    """
    if what.found.kind is Kind.BUILT:
        return what.found.command is not None and builds_own(what.found.command)
    if what.found.kind is not Kind.MAYBE or stage.facts.family != "golang":
        return False
    if not what.words or "/" not in what.words[0] or _SCRIPT.search(what.words[0]):
        return False
    return any(
        command.program in _RUNNERS
        for line in stage.all_lines
        if isinstance(line.instruction, Run)
        for command in line.commands
    )


def _command_of(line: Line) -> Command | None:
    typed = line.instruction
    return typed.command if isinstance(typed, (Cmd, Entrypoint, Healthcheck)) else None


def _programs(stage: StageView, line: Line) -> tuple[tuple[str, ...], ...]:
    """The programs that a CMD or ENTRYPOINT starts, one by one, each with its words."""
    command = _command_of(line)
    if command is None or not command.words:
        return ()
    if command.shell:
        return _of_script(command.words[0]) if is_posix_shell(line.state.shell) else ()
    words = command.words
    if isinstance(line.instruction, Entrypoint):
        more = stage.last(Cmd)
        given = _command_of(more) if more is not None else None
        if given is not None and not given.shell:
            words = (*words, *given.words)
    is_shell = posixpath.basename(words[0]) in _SHELLS
    if is_shell and len(words) > 2 and re.fullmatch(r"-[a-z]*c", words[1]):
        return _of_script(words[2])
    return (words,)


def _of_script(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(word.value for word in command.words)
        for command in read_commands(text.strip())
        if command.program and not command.nested and command.program not in ("cd", "set", "ulimit")
    )


def _unwrapped(words: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """The words from the program on that `tini --` and its like start."""
    if not words or posixpath.basename(words[0]) not in _STARTERS:
        return words, False
    for at, word in enumerate(words[1:], 1):
        if "/" in word and not word.startswith("-"):
            return words[at:], True
    return words, False


def _located(stage: StageView, words: tuple[str, ...]) -> tuple[str, Found, bool]:
    """The program's path, where it comes from, and whether PATH was searched."""
    if not words or not words[0] or "$" in words[0] or "`" in words[0]:
        return "", MAYBE, False
    if "/" in words[0]:
        path = stage.ends.path(words[0])
        return path, find(stage, path), False
    directories = stage.ends.environment.get("PATH", DEFAULT_PATH).split(":")
    for directory in directories:
        if not directory.startswith("/") or "$" in directory:
            continue
        path = posixpath.join(directory, words[0])
        found = find(stage, path)
        if found.kind in (Kind.BUILT, Kind.CONTEXT):
            return path, found, True
    return "", MAYBE, True
