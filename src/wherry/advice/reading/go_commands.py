# SPDX-License-Identifier: Apache-2.0
"""The `go` commands of a Dockerfile: which verb, flags, packages and environment each has.

Source: `go help build`, `go help environment` and `go help flag`: a flag is `-name=value`,
`--name value`, and those without a value are known by name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.paths import normal
from wherry.advice.reading.shell_words import Command, Word
from wherry.frontends.dockerfile.instructions import Run

if TYPE_CHECKING:
    from wherry.advice.views import Line, StageView

_SWITCHES: Final = frozenset(
    ("a", "n", "race", "msan", "asan", "cover", "v", "work", "x", "buildvcs", "json", "linkshared",
     "modcacherw", "trimpath", "i", "u", "t", "d", "insecure", "e", "deps", "test", "m", "versions",
     "retracted", "short", "failfast", "c", "benchmem", "fullpath", "h", "help")
)  # fmt: skip
_BUILDS: Final = frozenset(("build", "install"))
_COMPILES: Final = frozenset(("build", "install", "test", "vet", "run", "generate"))


class GoCommand(NamedTuple):
    """One `go VERB` of a RUN.

    `flags` are by name without dashes, with the words that hold them; a switch has the value
    `true` where none is given. `arguments` is what is left: packages, files, modules.
    `environment` is ENV, ARG, exports before it and its own assignments; `directory` where it runs,
    empty where `cd` went somewhere that is not known.
    """

    line: Line
    command: Command
    verb: str
    flags: dict[str, Word]
    arguments: tuple[Word, ...]
    environment: dict[str, str]
    directory: str

    @property
    def builds(self) -> bool:
        """Whether it makes a program: `go build` or `go install`."""
        return self.verb in _BUILDS

    @property
    def compiles(self) -> bool:
        """Whether it needs Go's build cache."""
        return self.verb in _COMPILES

    def flag(self, name: str) -> str | None:
        """The value of a flag, of GOFLAGS too; None where it is not given."""
        word = self.flags.get(name)
        if word is not None:
            return word.value
        return flags_of(self.environment.get("GOFLAGS", "")).get(name)

    @property
    def output(self) -> str | None:
        """The absolute path of the file or directory that `-o` names; None without it.

        Ends with a slash where that makes it a directory. Empty where it cannot be told.
        """
        word = self.flags.get("o")
        if word is None:
            return None
        value = self.line.expand(word.value) if not word.fixed else word.value
        if "$" in value or "`" in value or (not value.startswith("/") and not self.directory):
            return ""
        path = normal(posixpath.join(self.directory or "/", value))
        return f"{path}/" if value.endswith("/") else path

    @property
    def cgo(self) -> bool | None:
        """Whether cgo is on by what is written; None where it is left to Go."""
        value = self.environment.get("CGO_ENABLED")
        return None if value is None else value.strip() not in ("0", "")


# As many as a Dockerfile may have instructions (`wherry.advice.limits`): nearly every rule asks.
@lru_cache(maxsize=1024)
def go_commands(line: Line) -> tuple[GoCommand, ...]:
    """The `go` commands of a RUN, in their order."""
    return tuple(_found(line))


def stage_commands(stage: StageView) -> tuple[GoCommand, ...]:
    """The `go` commands of a stage's own lines, in their order."""
    return tuple(
        command
        for line in stage.lines
        if isinstance(line.instruction, Run)
        for command in go_commands(line)
    )


@lru_cache(maxsize=256)
def flags_of(text: str) -> dict[str, str]:
    """The flags in a GOFLAGS: blanks split it, quotes may hold one together."""
    found: dict[str, str] = {}
    for word in text.replace('"', " ").replace("'", " ").split():
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            found[name] = value if equals else "true"
    return found


def _found(line: Line) -> Iterator[GoCommand]:
    shells: dict[int, tuple[str, dict[str, str]]] = {}
    for command in line.commands:
        start = line.state.directory, dict(line.state.variables)
        # A subshell begins with what the shell around it had, which the last one is near enough.
        directory, exported = shells.get(command.shell) or shells.get(0) or start
        if not command.words:
            exported = {**exported, **_values(line, command)}
            shells[command.shell] = directory, exported
            continue
        if command.program in ("cd", "pushd"):
            shells[command.shell] = _changed(line, command, directory), exported
            continue
        if command.program == "go" or _is_go_version(command.program):
            place = _directory_flag(line, command, directory)
            environment = {**exported, **_values(line, command)}
            yield _go_command(line, command, environment, place)


def _is_go_version(program: str) -> bool:
    """`go1.22.3`, as golang.org/dl installs it."""
    return program.startswith("go1.")


def _values(line: Line, command: Command) -> dict[str, str]:
    return {
        name: word.value if word.fixed else line.expand(word.value)
        for name, word in command.assignments
    }


def _changed(line: Line, command: Command, directory: str) -> str:
    words = [word for word in command.words[1:] if word.value != "--"]
    return _inside(line, words[0], directory) if len(words) == 1 else ""


def _inside(line: Line, word: Word, directory: str) -> str:
    """The directory that a word names in another one; empty where it cannot be told."""
    value = word.value if word.fixed else line.expand(word.value)
    if "$" in value or "`" in value or value == "-" or value.startswith("~"):
        return ""
    if not directory and not value.startswith("/"):
        return ""
    return normal(posixpath.join(directory or "/", value))


def _directory_flag(line: Line, command: Command, directory: str) -> str:
    """`go -C DIR build`, and `go build -C DIR`: it has to be the first flag."""
    words = command.words
    for at in (1, 2):
        if len(words) > at + 1 and words[at].value in ("-C", "--C"):
            return _inside(line, words[at + 1], directory)
        if len(words) > at and words[at].value.startswith(("-C=", "--C=")):
            value = words[at].value.partition("=")[2]
            return _inside(line, words[at]._replace(value=value), directory)
    return directory


def _go_command(
    line: Line, command: Command, environment: dict[str, str], directory: str
) -> GoCommand:
    words = list(command.words[1:])
    while words and words[0].value.lstrip("-").split("=")[0] == "C":
        del words[: 1 if "=" in words[0].value else 2]
    verb = words.pop(0).value if words else ""
    if verb in ("mod", "work", "tool") and words and not words[0].value.startswith("-"):
        verb = f"{verb} {words.pop(0).value}"
    flags: dict[str, Word] = {}
    arguments: list[Word] = []
    at = 0
    while at < len(words):
        word = words[at]
        text = word.value
        if not text.startswith("-") or text == "-":
            arguments.extend(words[at:])
            break
        name, equals, value = text.lstrip("-").partition("=")
        if equals:
            flags[name] = word._replace(value=value)
        elif name in _SWITCHES or at + 1 >= len(words):
            flags[name] = word._replace(value="true")
        else:
            at += 1
            flags[name] = words[at]
        at += 1
    return GoCommand(line, command, verb, flags, tuple(arguments), environment, directory)
