# SPDX-License-Identifier: Apache-2.0
"""GO106: removed in one layer, kept in the one below that made it.

A path is only told of where an earlier instruction of the same image is known to have made it: a
COPY, a download, a clone, a go build, or the packages that a package manager was told to install.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Finding, Range, Rule
from wherry.advice.reading.destinations import is_into
from wherry.advice.reading.go_commands import go_commands
from wherry.advice.reading.layer_mounts import is_on_mount
from wherry.advice.reading.paths import is_within
from wherry.advice.reading.run_edits import is_script
from wherry.advice.reading.shipped_images import images
from wherry.advice.rules.leftovers import verb_of
from wherry.frontends.dockerfile.instructions import Copy, Run

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Command, Word
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line

_INSTALLS: Final = {
    "apk": (frozenset(("add",)), frozenset(("del",))),
    "apt-get": (frozenset(("install",)), frozenset(("remove", "purge"))),
    "apt": (frozenset(("install",)), frozenset(("remove", "purge"))),
    "yum": (frozenset(("install",)), frozenset(("remove", "erase"))),
    "dnf": (frozenset(("install",)), frozenset(("remove", "erase"))),
}
_CLONE_TAKES: Final = frozenset(("-b", "--branch", "--depth", "-o", "--origin", "-c", "--config",
                                 "-j", "--jobs", "--reference", "--template"))  # fmt: skip
_WILD: Final = frozenset("*?[{$`~")
# Of one RUN as many are looked for.
_MOST_REMOVALS: Final = 50


class _Removal(NamedTuple):
    """What a command removes: a path, or (`manager`) a package; and the words to point at."""

    name: str
    manager: str
    place: Range


def removed_but_kept(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO106: what a RUN removes although an earlier layer holds it."""
    for stage in images(subject):
        lines = stage.all_lines
        for at, line in enumerate(lines):
            if not is_script(line):
                continue
            for removal in islice(_removals(line), _MOST_REMOVALS):
                maker = _maker(lines[:at], removal)
                if maker is None:
                    continue
                what = "package " if removal.manager else ""
                copied = isinstance(maker.instruction, Copy)
                yield rule.find(
                    removal.place,
                    f"{what}{removal.name} is removed here, but stays in the layer below",
                    "mount it in the RUN that needs it: RUN --mount=type=bind,source=..,target=.."
                    if copied
                    else "remove it in the RUN that makes it, or make it in a stage of its own and"
                    " COPY what is needed",
                    related=((maker.head, "made here"),),
                )


def _removals(line: Line) -> Iterator[_Removal]:
    for command, directory in _placed(line):
        if command.depth or command.nested:
            continue
        if command.program == "rm":
            for word in command.words[1:]:
                path = "" if word.value.startswith("-") else _path(word, directory)
                if path and not is_on_mount(line, path):
                    yield _Removal(path, "", line.place(command.words[0].start, word.end))
        elif command.program in _INSTALLS:
            verb = verb_of(command, _INSTALLS[command.program][1])
            if verb is None:
                continue
            for word in command.words[1:]:
                if word.start > verb.start and word.fixed and not word.value.startswith("-"):
                    place = line.place(command.words[0].start, word.end)
                    yield _Removal(word.value, command.program, place)
                    # One of them is enough to say.
                    break


def _path(word: Word, directory: str) -> str:
    """The path that a word removes; empty where it is not plain, or no single thing."""
    path = _resolved(word, directory)
    return "" if path in ("/", "/tmp") else path  # noqa: S108 - a path of the image


def _resolved(word: Word, directory: str) -> str:
    """The absolute path that a word names, `/*` at its end aside; empty where it is not plain."""
    text = word.value if word.value == "/*" else word.value.removesuffix("/*")
    if not text or any(mark in text for mark in _WILD):
        return ""
    if not text.startswith("/") and not directory:
        return ""
    return posixpath.normpath(posixpath.join(directory, text))


def _placed(line: Line) -> Iterator[tuple[Command, str]]:
    """The commands of a RUN with the directory each runs in, empty where that is not known."""
    where: dict[int, str] = {}
    for command in line.commands:
        directory = where.get(command.shell, where.get(0, line.state.directory))
        if command.program in ("cd", "pushd"):
            target = command.words[-1]
            where[command.shell] = _resolved(target, directory) if len(command.words) == 2 else ""
            continue
        yield command, directory


def _maker(lines: Sequence[Line], removal: _Removal) -> Line | None:
    """The latest earlier line that made what is removed; None where one took it away since."""
    for line in reversed(lines):
        typed = line.instruction
        if isinstance(typed, Copy) and not removal.manager:
            if _copies(line, typed, removal.name):
                return line
        elif isinstance(typed, Run) and is_script(line):
            found = _installs(line, removal) if removal.manager else _makes(line, removal.name)
            if found is not None:
                return line if found else None
    return None


def _installs(line: Line, removal: _Removal) -> bool | None:
    """True where a RUN installs a package, False where it removes it (again), else None."""
    adds, removes = _INSTALLS[removal.manager]
    result: bool | None = None
    for command in line.commands:
        if command.program not in _INSTALLS or removal.name not in command.arguments:
            continue
        if verb_of(command, removes):
            result = False
        elif verb_of(command, adds):
            result = True
    return result


def _makes(line: Line, path: str) -> bool | None:
    """True where a RUN makes a path and leaves it, False where it removes it, else None."""
    result: bool | None = None
    built = {command.command.start: command.output for command in go_commands(line)}
    for command, directory in _placed(line):
        made = built.get(command.start) or _download(command, directory)
        if made and is_within(made.rstrip("/"), path) and not is_on_mount(line, path):
            result = True
        elif (
            command.program == "rm"
            and any(is_within(path, _path(word, directory) or "\0") for word in command.words[1:])
        ) or (
            command.program == "mv"
            and any(_path(word, directory) == path for word in command.words[1:-1])
        ):
            result = False
    return result


def _download(command: Command, directory: str) -> str:
    """The path that wget, curl or git clone makes; empty where it cannot be told."""
    word: str | None = None
    if command.program == "wget":
        word = _wget_output(command)
    elif command.program == "curl":
        word = _curl_output(command)
    elif command.program == "git" and command.arguments[:1] == ("clone",):
        word = _clone_target(command.arguments[1:])
    if not word or word == "-" or any(mark in word for mark in _WILD):
        return ""
    if not word.startswith("/") and not directory:
        return ""
    return posixpath.normpath(posixpath.join(directory, word))


def _wget_output(command: Command) -> str | None:
    words = command.arguments
    for at, word in enumerate(words):
        if word.startswith("--output-document="):
            return word.partition("=")[2]
        if re.fullmatch(r"-[a-zA-Z]*O|--output-document", word):
            return words[at + 1] if at + 1 < len(words) else None
        if re.match(r"-[a-zA-Z]*O", word) or word.startswith(("-P", "--directory")):
            return None
    return _url_name(words)


def _curl_output(command: Command) -> str | None:
    words = command.arguments
    for at, word in enumerate(words):
        if word.startswith("--output="):
            return word.partition("=")[2]
        if re.fullmatch(r"-[a-zA-Z]*o|--output", word):
            return words[at + 1] if at + 1 < len(words) else None
        if re.fullmatch(r"-[a-zA-Z]*O[a-zA-Z]*|--remote-name", word):
            return _url_name(words)
    return None


def _url_name(words: Sequence[str]) -> str | None:
    urls = [word for word in words if "://" in word]
    if len(urls) != 1 or "?" in urls[0]:
        return None
    return urls[0].rstrip("/").rpartition("/")[2]


def _clone_target(words: Sequence[str]) -> str | None:
    named: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in _CLONE_TAKES
        else:
            named.append(word)
    if len(named) == 2:
        return named[1]
    return posixpath.basename(named[0]).removesuffix(".git") if len(named) == 1 else None


def _copies(line: Line, typed: Copy, path: str) -> bool:
    """Whether a COPY is known to make a path, or something below it."""
    destination = line.expand(typed.destination)
    if "$" in destination:
        return False
    target = line.state.path(destination)
    into = is_into(destination, typed.sources)
    if is_within(target, path):
        return True
    if not is_within(path, target):
        return False
    inside = posixpath.relpath(path, target)
    for written in typed.sources:
        source = line.expand(written)
        if any(mark in source for mark in _WILD) or typed.parents:
            continue
        name = posixpath.basename(source.rstrip("/"))
        if into and name == inside and "." in name.strip(".") and not _unpacks(typed, name):
            return True
        if not typed.from_ and not typed.excludes and _in_context(line, source, inside):
            return True
    return False


def _unpacks(typed: Copy, name: str) -> bool:
    return typed.add and bool(re.search(r"\.(?:tar|tgz|tbz2?|txz|gz|bz2|xz|zst)\b", name))


def _in_context(line: Line, source: str, inside: str) -> bool:
    context = line.subject.context
    if context is None or "://" in source:
        return False
    directory = posixpath.normpath(source.lstrip("/") or ".")
    if not context.is_directory(directory):
        return False
    relative = posixpath.normpath(posixpath.join(directory, inside))
    return context.has(relative) and not context.hides(relative)
