# SPDX-License-Identifier: Apache-2.0
"""Commands that run others: `env`, `sudo`, `time` and their like, and `sh -c` with a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from wherry.advice.reading.shell_words import Command, Redirect, Word
from wherry.advice.views import POSIX_SHELLS

_MOST_WRAPPERS: Final = 20
# Programs that run the rest of their words as a command, and their options that take a word.
_WRAPPERS: Final[dict[str, str]] = {
    "command": "", "exec": "a", "env": "uCS", "nice": "n", "nohup": "", "sudo": "ugpCh",
    "time": "fo", "timeout": "ks", "xargs": "IdEeLnPs", "setarch": "", "stdbuf": "ioe",
}  # fmt: skip


def unwrapped(command: Command, read: Callable[[str], tuple[Command, ...]]) -> Iterator[Command]:
    """The command itself, or what its program runs of its words; `read` reads a script."""
    for _ in range(_MOST_WRAPPERS):
        inner = _wrapped(command)
        if inner is None:
            break
        command = inner
    script = _script(command) if command.program in POSIX_SHELLS else None
    if script is None:
        yield command
    else:
        yield from _shifted(script, command, read(script.value))


def _wrapped(command: Command) -> Command | None:
    """What a command's program runs; None where it is none that runs others."""
    program = command.program
    if program not in _WRAPPERS:
        return None
    words, assignments = list(command.words), list(command.assignments)
    takes = _WRAPPERS[program]
    at = 1
    while at < len(words):
        text = words[at].value
        if text == "--":
            at += 1
            break
        if text.startswith("-") and len(text) > 1:
            at += 2 if len(text) == 2 and text[1] in takes else 1
        elif program == "env" and "=" in text:
            name, _, value = text.partition("=")
            assignments.append((name, words[at]._replace(value=value)))
            at += 1
        else:
            break
    if program == "timeout":
        at += 1
    if at >= len(words):
        return None
    wrapped = (*command.wrapped, *words[:at])
    return command._replace(
        words=tuple(words[at:]), assignments=tuple(assignments), wrapped=wrapped
    )


def _script(command: Command) -> Word | None:
    for at, word in enumerate(command.words[1:-1], 1):
        text = word.value
        if text.startswith("-") and not text.startswith("--") and "c" in text:
            following = command.words[at + 1]
            return following if following.fixed and following.raw[:1] in "'\"" else None
        if not text.startswith(("-", "+")):
            return None
    return None


def _shifted(script: Word, outer: Command, found: tuple[Command, ...]) -> Iterator[Command]:
    """The commands of a quoted script, placed inside the quotes; the shell, if none is read."""
    exact = script.value == script.raw[1:-1]
    if not found:
        yield outer
    by = script.start + 1
    for inner in found:
        yield inner._replace(
            words=tuple(_moved(word, by, script, exact) for word in inner.words),
            assignments=(
                *outer.assignments,
                *((name, _moved(word, by, script, exact)) for name, word in inner.assignments),
            ),
            redirects=tuple(
                Redirect(item.operator, _moved(item.target, by, script, exact))
                for item in inner.redirects
            ),
            start=inner.start + by if exact else outer.start,
            end=inner.end + by if exact else outer.end,
            nested=inner.nested or outer.nested,
            depth=inner.depth + outer.depth + 1,
            shell=-1 - inner.shell - outer.start,
            either=inner.either or outer.either,
        )


def _moved(word: Word, by: int, script: Word, exact: bool) -> Word:
    if exact:
        return word._replace(start=word.start + by, end=word.end + by)
    return word._replace(start=script.start, end=script.end)
