# SPDX-License-Identifier: Apache-2.0
"""Command lines: CMD, ENTRYPOINT, SHELL and HEALTHCHECK.

(Dockerfile reference, "Shell and exec form" and the sections of the four.) A command in JSON is the
exec form; anything else, even what only looks like JSON, is one text for a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.durations import parse_duration
from wherry.frontends.dockerfile.flags import read_flags
from wherry.frontends.dockerfile.instructions import Cmd, Command, Entrypoint, Healthcheck, Shell
from wherry.frontends.dockerfile.numbers import parse_signed
from wherry.frontends.dockerfile.refusals import BadValue, choices, refuse
from wherry.frontends.dockerfile.source import Problems

if TYPE_CHECKING:
    from wherry.frontends.dockerfile.flags import Given
    from wherry.frontends.dockerfile.instructions import Source
    from wherry.frontends.dockerfile.nodes import Node
    from wherry.frontends.dockerfile.source import Problem

_MILLISECOND = 1_000_000
_HEALTH_TYPES = ("CMD", "NONE")
_DURATIONS = ("interval", "timeout", "start-period", "start-interval")


def read_command(node: Node, skipped: int = 0) -> Command:
    """The command line in a node's arguments, after `skipped` of them; it may be empty."""
    words = node.arguments[skipped:]
    if not node.json and len(words) > 1:
        words = (" ".join(words),)
    return Command(words, not node.json, node.heredocs)


def read_cmd(node: Node, source: Source, _escape: str) -> Cmd:
    """CMD; without a command it resets what the base has."""
    read_flags(node)
    return Cmd(source, read_command(node))


def read_entrypoint(node: Node, source: Source, _escape: str) -> Entrypoint:
    """ENTRYPOINT; without a command it resets what the base has."""
    read_flags(node)
    return Entrypoint(source, read_command(node))


def read_shell(node: Node, source: Source, _escape: str) -> Shell:
    """SHELL, which has an exec form only."""
    read_flags(node)
    if not node.arguments:
        raise refuse(node.range, "SHELL has no program", 'write SHELL ["/bin/bash", "-c"]')
    if not node.json:
        meant = (word.strip('[]",') for word in node.rest.split())
        words = ", ".join(f'"{word}"' for word in meant if word)
        raise refuse(node.range, "SHELL takes a JSON array of texts only", f"write SHELL [{words}]")
    return Shell(source, node.arguments)


def read_healthcheck(node: Node, source: Source, _escape: str) -> Healthcheck:
    """HEALTHCHECK; `Problems` holds everything that is wrong with its flags."""
    if not node.arguments:
        raise refuse(
            node.range, "HEALTHCHECK has no type", "write HEALTHCHECK CMD COMMAND, or NONE"
        )
    kind = node.arguments[0].upper()
    if kind == "NONE":
        if len(node.arguments) > 1:
            raise refuse(
                node.range, "HEALTHCHECK NONE takes nothing after it", "remove what follows NONE"
            )
        return Healthcheck(source, None)
    given = read_flags(node)
    command = read_command(node, 1)
    if kind != "CMD":
        raise refuse(
            node.range,
            f"HEALTHCHECK has no type {node.arguments[0]!r}",
            f"write HEALTHCHECK CMD COMMAND, or NONE; {choices(kind, _HEALTH_TYPES)}",
        )
    if not command.words:
        raise refuse(node.range, "HEALTHCHECK CMD has no command", "write it after CMD")
    return _with_flags(source, command, given)


def _with_flags(source: Source, command: Command, given: Given) -> Healthcheck:
    numbers = []
    problems: list[Problem] = []
    for name in (*_DURATIONS, "retries"):
        try:
            numbers.append(_read_number(name, given.text(name)))
        except BadValue as wrong:
            named = BadValue(f"--{name}: {wrong.message}", wrong.hint)
            problems.append(named.at(given.place(name)))
    if problems:
        raise Problems(tuple(problems))
    return Healthcheck(source, command, *numbers)


def _read_number(name: str, text: str) -> int:
    if not text:
        return 0
    if name == "retries":
        retries = parse_signed(text)
        if retries < 0:
            raise BadValue(f"{text} is less than 0", "0 stands for the default, 3")
        return retries
    duration = parse_duration(text)
    if duration and duration < _MILLISECOND:
        raise BadValue(f"{text} is less than 1ms", "0 stands for the default")
    return duration
