# SPDX-License-Identifier: Apache-2.0
"""GO201: `go build main.go`, where the package has more files than those that are named."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Final, NamedTuple

from wherry.advice.model import Edit, Finding, Fix, Rule, Severity
from wherry.advice.reading.context_files import context_file
from wherry.advice.reading.go_commands import GoCommand, go_commands
from wherry.advice.reading.go_source import GoFile, go_files
from wherry.advice.reading.shell_words import Word
from wherry.advice.subject import Subject
from wherry.frontends.dockerfile.instructions import Run

_VERBS: Final = frozenset(("build", "run", "install"))
_SHOWN: Final = 3


class _Named(NamedTuple):
    """Go files that a command names, and where their directory is in the root and the context."""

    command: GoCommand
    words: tuple[Word, ...]
    directory: str
    context_directory: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset(posixpath.basename(word.value) for word in self.words)

    @property
    def shown(self) -> str:
        return " ".join(word.value for word in self.words)


def main_file_only(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """What GO201 finds."""
    for line in subject.lines:
        for command in go_commands(line):
            named = _named(command) if command.verb in _VERBS else None
            if named is not None:
                yield from _judged(named, rule)


def _named(command: GoCommand) -> _Named | None:
    words = tuple(takewhile(lambda word: word.value.endswith(".go"), command.arguments))
    if not words or not all(word.fixed for word in words) or not command.directory:
        return None
    if command.verb != "run" and len(words) < len(command.arguments):
        return None
    directories = {posixpath.dirname(word.value) for word in words}
    if len(directories) != 1:
        return None
    directory = posixpath.normpath(posixpath.join(command.directory, directories.pop()))
    sources = [
        context_file(command.line, posixpath.join(directory, posixpath.basename(word.value)))
        for word in words
    ]
    places = {posixpath.dirname(source.path) for source in sources if source is not None}
    if None in sources or len(places) != 1:
        return None
    return _Named(command, words, directory, places.pop())


def _judged(named: _Named, rule: Rule) -> Iterator[Finding]:
    command = named.command
    context = command.line.subject.context
    if context is None:
        return
    tags = frozenset((command.flag("tags") or "").replace(",", " ").split())
    files = go_files(os.path.join(context.directory, named.context_directory))
    inside = [file for file in files if file.name in named.names]
    # A file that its own constraint leaves out of the package (`ignore`) is meant to be run alone.
    if len(inside) < len(named.names) or not all(file.is_built(tags)[0] for file in inside):
        return
    if any(file.package != "main" for file in inside):
        return
    missing = [
        file for file in files
        if file not in inside and file.package == "main" and file.is_built(tags)[0]
        and context_file(command.line, posixpath.join(named.directory, file.name)) is not None
    ]  # fmt: skip
    # Several files with a main each are programs of one file, not one package.
    if not missing or any(file.has_main for file in missing):
        return
    if not any(file.has_main for file in inside):
        return
    place = command.line.place(named.words[0].start, named.words[-1].end)
    hint = f"name the package's directory: {_directory_word(named)}"
    used = _first_used(inside, missing)
    if used is not None:
        message = f"{used[0]} is in {used[1]}, which `go {command.verb} {named.shown}` leaves out"
        yield rule.find(place, message, hint, _fix(named))
        return
    message = f"`go {command.verb} {named.shown}` leaves out {_listed(missing)} of the same package"
    milder = rule._replace(severity=Severity.WARNING)
    # What the other files do is not known: their `init` runs too, then.
    fix = _fix(named)
    yield milder.find(place, message, hint, fix and fix._replace(safe=False))


def _first_used(inside: list[GoFile], missing: list[GoFile]) -> tuple[str, str] | None:
    """A name that the named files use and another file has: without it nothing compiles."""
    code = "\n".join(file.code for file in inside)
    own = {name for file in inside for name in (*file.functions(), *file.types())}
    types = {name for file in inside for name in file.types()}
    methods = {name for file in inside for _, name in file.methods()}
    for file in missing:
        for name in sorted(file.functions() - own):
            if _is_free(name, code) and re.search(rf"(?<![\w.]){name}\s*[(\[]", code):
                return name, file.name
        for name in sorted(file.types() - own):
            if _is_free(name, code) and re.search(rf"(?<![\w.]){name}\b", code):
                return name, file.name
        for receiver, name in file.methods():
            # Other types may have a method of that name: only a call counts, on a type from here.
            if receiver not in types or name in methods:
                continue
            if re.search(rf"(?<=[\w)\]])\.{name}\s*\(", code):
                return f"{receiver}.{name}", file.name
    return None


def _is_free(name: str, code: str) -> bool:
    """Whether a name is nothing of the code's own: a variable, parameter, field or label."""
    own = rf"\b{name}\s*(?:,\s*\w+\s*)*:=|,\s*{name}\s*:=|\b(?:var|const)\s+{name}\b|\b{name}\s*:"
    # `name Type` as a parameter or field; `return name(…)` and the like have a word before it.
    typed = rf"[(,]\s*{name}\s+[\w*\[.]|^\s+{name}\s+[\w*\[]"
    return not re.search(f"{own}|{typed}", code, re.MULTILINE)


def _listed(files: list[GoFile]) -> str:
    names = ", ".join(file.name for file in files[:_SHOWN])
    more = len(files) - _SHOWN
    return f"{names} and {more} more" if more > 0 else names


def _directory_word(named: _Named) -> str:
    directory = posixpath.dirname(named.words[0].value)
    if not directory:
        return "."
    return directory if directory.startswith((".", "/")) else f"./{directory}"


def _fix(named: _Named) -> Fix | None:
    command = named.command
    run = command.line.instruction
    if not isinstance(run, Run) or not run.command.shell:
        return None
    text = _directory_word(named)
    if command.verb == "install":
        # Its file is named after the package then, and nothing can be said against that.
        return None
    output = command.output
    if output is not None and _may_be_directory(output, command.directory):
        return None
    if command.verb == "build" and output is None:
        # Without -o, the program is called after the first file.
        text = f"-o {posixpath.basename(named.words[0].value).removesuffix('.go')} {text}"
    place = command.line.place(named.words[0].start, named.words[-1].end)
    if command.line.subject.text.slice(place) != named.shown:
        return None
    return Fix("build the package, not single files", (Edit(place, text),))


def _may_be_directory(output: str, here: str) -> bool:
    """Whether `-o` may name a directory: what is put there is called after what is built."""
    if not output or output.endswith("/") or output == here:
        return True
    return posixpath.basename(output) in ("bin", "sbin", "build", "dist", "out", "tmp")
