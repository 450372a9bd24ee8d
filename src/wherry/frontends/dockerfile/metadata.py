# SPDX-License-Identifier: Apache-2.0
"""Instructions that change an image's configuration and no file, and their lines in its history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from wherry.frontends.dockerfile.building import Building
from wherry.frontends.dockerfile.configure import health_json, health_words
from wherry.frontends.dockerfile.gotext import duration, plain_list, quoted_list
from wherry.frontends.dockerfile.instructions import (
    Arg,
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    NameValue,
    Onbuild,
    Shell,
    StopSignal,
    User,
    Volume,
)
from wherry.frontends.dockerfile.ports import expand_port
from wherry.frontends.dockerfile.refusals import BadValue
from wherry.frontends.dockerfile.scope import declare
from wherry.frontends.dockerfile.signals import check_signal
from wherry.frontends.dockerfile.source import Range

_Field = User | StopSignal | Healthcheck | Shell | Onbuild | Maintainer
Metadata = Arg | Env | Label | Cmd | Entrypoint | Expose | Volume | _Field


def lower_metadata(
    stage: Building, instruction: Metadata, given: Mapping[str, str], outer: Mapping[str, str]
) -> None:
    """Apply an instruction to the stage; raises `BadValue`.

    `given` are the user's build arguments, `outer` the variables of the global scope.
    """
    line = _apply(stage, instruction, given, outer)
    if line:
        stage.note(line)


def _apply(
    stage: Building, instruction: Metadata, given: Mapping[str, str], outer: Mapping[str, str]
) -> str:
    """Do it; gives the line of the history, empty where there is none."""
    match instruction:
        case Env():
            return _set_variables(stage, instruction)
        case Arg():
            return f"ARG {' '.join(declare(stage.scope, instruction, given, outer))}"
        case Label():
            labels = _expanded(stage, instruction.labels, instruction.source.range)
            stage.config.labels.update(labels)
            return " ".join(["LABEL", *(f"{name}={value}" for name, value in labels)])
        case Cmd() | Entrypoint():
            return _set_command(stage, instruction)
        case Expose():
            return _expose(stage, instruction)
        case Volume():
            return _add_volumes(stage, instruction)
        case _:
            return _set_field(stage, instruction)


def _set_field(stage: Building, instruction: _Field) -> str:
    """Those that set one field to one value."""
    config = stage.config
    place = instruction.source.range
    match instruction:
        case User():
            config.user = stage.scope.expand(instruction.user, place)
            return f"USER {config.user}"
        case StopSignal():
            signal = stage.scope.expand(instruction.signal, place)
            check_signal(signal)
            config.stop_signal = signal
            return f"STOPSIGNAL {signal}"
        case Healthcheck():
            config.healthcheck = health_json(instruction)
            return f"HEALTHCHECK {_health_text(instruction)}"
        case Shell():
            config.shell = instruction.words
            return f"SHELL {plain_list(instruction.words)}"
        case Maintainer():
            config.author = instruction.name
            return f"MAINTAINER {instruction.name}"
        case Onbuild():
            config.on_build.append(instruction.expression)
            return ""
        case _:
            assert_never(instruction)


def _expanded(
    stage: Building, settings: tuple[NameValue, ...], place: Range
) -> list[tuple[str, str]]:
    """Names and values expanded; none of them sees another of the same instruction."""
    expand = stage.scope.expand
    return [(expand(name, place), expand(value, place)) for name, value in settings]


def _set_variables(stage: Building, instruction: Env) -> str:
    line = ["ENV"]
    for name, value in _expanded(stage, instruction.variables, instruction.source.range):
        item = f"{name}={value}"
        stage.scope.set(name, value)
        stage.config.env[name] = item
        line.append(item)
    return " ".join(line)


def _set_command(stage: Building, instruction: Cmd | Entrypoint) -> str:
    """A new entrypoint drops the command that was inherited, not one that the stage has given."""
    config = stage.config
    words = config.command_words(instruction.command)
    if isinstance(instruction, Cmd):
        config.cmd = words
        config.args_escaped = True
        stage.cmd_given = True
        return f"CMD {quoted_list(words)}"
    config.entrypoint = words
    if not stage.cmd_given:
        config.cmd = ()
    return f"ENTRYPOINT {quoted_list(words)}"


def _expose(stage: Building, instruction: Expose) -> str:
    ports: list[str] = []
    for text in instruction.ports:
        for word in stage.scope.expand_words(text):
            ports.extend(expand_port(word))
    stage.config.ports.update(ports)
    return f"EXPOSE {plain_list(ports)}"


def _add_volumes(stage: Building, instruction: Volume) -> str:
    paths = stage.scope.expand_all(instruction.paths, instruction.source.range)
    if "" in paths:
        empty = instruction.paths[paths.index("")]
        raise BadValue("VOLUME has an empty path", f"{empty} expands to nothing" if empty else "")
    stage.config.volumes.update(paths)
    return f"VOLUME {plain_list(paths)}"


def _health_text(check: Healthcheck) -> str:
    fields = (
        ("Test", plain_list(health_words(check))),
        ("Interval", duration(check.interval)),
        ("Timeout", duration(check.timeout)),
        ("StartPeriod", duration(check.start_period)),
        ("StartInterval", duration(check.start_interval)),
        ("Retries", str(check.retries)),
    )
    return f"{{{' '.join(f'{name}:{value}' for name, value in fields)}}}"
