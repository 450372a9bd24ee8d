# SPDX-License-Identifier: Apache-2.0
"""Flags that make a Go program smaller: `-ldflags="-s -w"` and `-trimpath`.

Only builds whose program reaches an image are looked at. Flags that come out of a variable without
a known value are not known, and then nothing is said. Sources: `go help build`, `go tool link`
(`-s` leaves out the symbol table and debug information, and implies `-w`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Range, Rule
from wherry.advice.reading.go_commands import GoCommand, stage_commands
from wherry.advice.reading.roots import Kind, find
from wherry.advice.reading.run_edits import insert_after, is_script
from wherry.advice.reading.shipped_images import builds_own, images, shipped, started
from wherry.frontends.dockerfile.instructions import Copy

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Word
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

_UNKNOWN: Final = "\0"
_SUBSTITUTION: Final = re.compile(r"\$\([^()]*\)|`[^`]*`")
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+)|\{[^}]*\})")
_GO_LINE: Final = re.compile(r"(\d+)\.(\d+)")
_MOST_NESTED: Final = 20
_DEBUG: Final = frozenset(("race", "msan", "asan", "cover", "n"))


def not_stripped(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO103: the symbol table and debug information stay in the program."""
    if any(other.program.endswith("strip") for line in subject.lines for other in line.commands):
        return
    for command in reaching(subject):
        if _is_debug(command) or _may_have_more(command):
            continue
        stripped = _strips(command)
        if stripped is not False:
            continue
        word = command.flags.get("ldflags")
        place = _place(command) if word is None else command.line.place(word.start, word.end)
        yield rule.find(
            place if is_script(command.line) else command.line.head,
            "the program keeps its symbol table and debug information",
            'write -ldflags="-s -w": the program gets about a quarter smaller; stack traces stay',
            _strip_fix(command),
        )


def no_trimpath(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO104: the paths of the build's directories stay in the program."""
    for command in reaching(subject):
        if _is_debug(command) or _may_have_more(command) or _lacks_trimpath(command):
            continue
        flags = command.environment.get("GOFLAGS", "")
        old = any("-trimpath" in word.value for word in command.command.words)
        if command.flag("trimpath") is not None or old or "trimpath" in flags or "$" in flags:
            continue
        fix = None
        if is_script(command.line):
            edit = insert_after(command.line, _verb(command), " -trimpath")
            fix = Fix("add -trimpath", (edit,))
        yield rule.find(
            _place(command),
            "the program holds the paths of the directories it was built in",
            "write go build -trimpath: the same program comes out of every directory",
            fix,
        )


def _lacks_trimpath(command: GoCommand) -> bool:
    """Whether the stage's Go is, or may be, from before 1.13, which does not know the flag."""
    facts = command.line.stage.facts
    found = _GO_LINE.match(facts.go)
    if found is None:
        return facts.family != "golang" and command.line.subject.module is None
    return (int(found[1]), int(found[2])) < (1, 13)


def reaching(subject: Subject) -> tuple[GoCommand, ...]:
    """The go commands whose programs get into images, in the order of the file.

    Where none is known to, those with `-o` in the stages that images copy from.
    """
    found = [
        command
        for command in (*_started(subject), *_copied(subject), *_inside(subject))
        if builds_own(command) and not _goes_nowhere(command)
    ]
    if not found:
        used = _used(subject)
        found = [
            command
            for stage in subject.stages
            if stage.number in used
            for command in stage_commands(stage)
            if builds_own(command) and command.output and not _goes_nowhere(command)
        ]
    unique = {(item.line.range, item.command.start): item for item in found}
    return tuple(unique[key] for key in sorted(unique))


def _started(subject: Subject) -> Iterator[GoCommand]:
    for stage in images(subject):
        what = started(stage)
        if what is not None and what.found.command is not None:
            yield what.found.command


def _copied(subject: Subject) -> Iterator[GoCommand]:
    """What COPY --from brings into images: programs by name, and directories of them."""
    numbers = shipped(subject)
    for stage in subject.stages:
        if stage.number not in numbers:
            continue
        for line in stage.lines:
            source = subject.source_stage(line)
            if source is None or not isinstance(line.instruction, Copy):
                continue
            for written in line.instruction.sources:
                path = "/" + line.expand(written).strip("/")
                found = find(source, path)
                if found.kind is Kind.BUILT and found.command is not None:
                    yield found.command
                elif path != "/":
                    yield from _below(source, path)


def _below(source: StageView, path: str) -> Iterator[GoCommand]:
    for stage in source.chain():
        for command in stage_commands(stage):
            if command.output and (command.output + "/").startswith(path + "/"):
                yield command


def _inside(subject: Subject) -> Iterator[GoCommand]:
    """What is built in a stage that is an image itself."""
    numbers = shipped(subject)
    for stage in subject.stages:
        if stage.number in numbers:
            yield from (command for command in stage_commands(stage) if command.output)


def _used(subject: Subject) -> set[int]:
    """The stages that images copy from, also by way of others."""
    waiting = list(shipped(subject))
    seen: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number not in seen:
            seen.add(number)
            stage = subject.stages[number]
            waiting.extend(stage.plan.sources)
            waiting.extend(below.number for below in stage.chain())
    return seen


def _goes_nowhere(command: GoCommand) -> bool:
    return (command.output or "").startswith("/dev/")


def _is_debug(command: GoCommand) -> bool:
    """Whether a build is for a debugger or for tests, which want what others leave out."""
    if any(command.flag(name) not in (None, "false") for name in _DEBUG):
        return True
    return "-N" in (command.flag("gcflags") or "")


def _may_have_more(command: GoCommand) -> bool:
    """Whether a variable among the words may hold flags."""
    return any(
        not word.fixed and word.value.lstrip("\"'").startswith(("$", "`"))
        for word in command.arguments
    ) or any(name.startswith(("$", "`")) for name in command.flags)


def _strips(command: GoCommand) -> bool | None:
    """Whether the linker gets `-s`; None where that cannot be told."""
    word = command.flags.get("ldflags")
    if word is None:
        given = command.environment.get("GOFLAGS", "")
        if "ldflags" not in given:
            return None if "$" in given or "`" in given else False
        text = given.replace("-ldflags=", " ").replace("'", " ").replace('"', " ")
    else:
        text = word.value
    words = _known(text, command.line, command.environment).split()
    if any(item.strip("\"'") in ("-s", "--s", "-s=true", "-s=1") for item in words):
        return True
    if any(item.lstrip("\"'").startswith(_UNKNOWN) for item in words):
        return None
    return False


def _known(text: str, line: Line, environment: dict[str, str]) -> str:
    """A text with the variables that have a value; what has none stands as a mark."""
    values = {**line.state.variables, **environment}

    def value(found: re.Match[str]) -> str:
        return values.get(found[1] or found[2] or "", _UNKNOWN)

    for _ in range(_MOST_NESTED):
        text, found = _SUBSTITUTION.subn(_UNKNOWN, text)
        if not found:
            break
    return _VARIABLE.sub(value, text)


def _verb(command: GoCommand) -> Word:
    """The word that a flag may follow: the verb, or the value of `-C`, which has to come first."""
    words = command.command.words
    at = next((at for at, word in enumerate(words) if word.value == command.verb), 0)
    following = words[at + 1].value if at + 1 < len(words) else ""
    if following in ("-C", "--C") and at + 2 < len(words):
        return words[at + 2]
    return words[at + 1] if following.startswith(("-C=", "--C=")) else words[at]


def _place(command: GoCommand) -> Range:
    words = command.command.words
    if not is_script(command.line):
        return command.line.head
    last = next((word for word in words if word.value == command.verb), words[0])
    return command.line.place(words[0].start, last.end)


def _strip_fix(command: GoCommand) -> Fix | None:
    if not is_script(command.line):
        return None
    word = command.flags.get("ldflags")
    if word is None:
        if "ldflags" in command.environment.get("GOFLAGS", ""):
            return None
        edit = insert_after(command.line, _verb(command), ' -ldflags="-s -w"')
    else:
        new = _with_strip(word)
        if new is None:
            return None
        edit = Edit(command.line.place(word.start + new[0], word.start + new[1]), new[2])
    return Fix("leave out the symbol table and debug information", (edit,), safe=False)


def _with_strip(word: Word) -> tuple[int, int, str] | None:
    """What to replace in the word that holds the linker's flags: from, to, by what."""
    joined = re.match(r"([\"']?)-{1,2}ldflags=", word.raw)
    at = joined.end() if joined else 0
    value = word.raw[at:]
    has = re.search(r"(?:\A|[\s\"'])-w\b", value) is not None
    added = "-s" if has else "-s -w"
    if "\n" in word.raw or not value:
        return None
    if (joined and joined[1]) or value[0] in "\"'":
        start = at if joined and joined[1] else at + 1
        empty = word.raw[start : start + 1] in ("'", '"')
        # An empty range would stand before what it follows where a line goes on.
        return start - 1, start, word.raw[start - 1] + added + ("" if empty else " ")
    return at, len(word.raw), f'"{added} {value}"'
