# SPDX-License-Identifier: Apache-2.0
"""RUN: its command and its flags (Dockerfile reference, "RUN")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.commands import read_command
from wherry.frontends.dockerfile.fields import split_fields
from wherry.frontends.dockerfile.flags import read_flags
from wherry.frontends.dockerfile.instructions import Device, Run, Source
from wherry.frontends.dockerfile.mounts import check_unexpanded, needs_expansion, parse_mount
from wherry.frontends.dockerfile.numbers import parse_truth
from wherry.frontends.dockerfile.refusals import BadValue, choices, lower_case, refuse
from wherry.frontends.dockerfile.source import Problems

if TYPE_CHECKING:
    from wherry.frontends.dockerfile.flags import Given
    from wherry.frontends.dockerfile.instructions import Mount
    from wherry.frontends.dockerfile.nodes import Node
    from wherry.frontends.dockerfile.source import Problem

NETWORKS = ("default", "none", "host")
SECURITY = ("sandbox", "insecure")


def read_run(node: Node, source: Source, escape: str) -> Run:
    """A RUN; `Problems` holds everything that is wrong with its flags."""
    command = read_command(node)
    if not node.flags:
        return Run(source, command)
    given = read_flags(node)
    problems: list[Problem] = []
    mounts, texts = _read_mounts(given, escape, problems)
    devices = _read_devices(given, problems)
    for name, allowed in (("network", NETWORKS), ("security", SECURITY)):
        if name in given and given.text(name) not in allowed:
            wrong = refuse(
                given.place(name),
                f"--{name} is one of {', '.join(allowed)}, not {given.text(name)!r}",
                choices(given.text(name), allowed, f"write --{name}= with one of"),
            )
            problems.extend(wrong.problems)
    if problems:
        raise Problems(tuple(problems))
    return Run(
        source, command, mounts, texts, given.text("network"), given.text("security"), devices
    )


def _read_mounts(
    given: Given, escape: str, problems: list[Problem]
) -> tuple[tuple[Mount, ...], tuple[str, ...]]:
    texts = given.texts("mount")
    # Once one of them waits for variables all do: their order counts, as one may lie in another.
    waiting = any(needs_expansion(text, escape) for text in texts)
    mounts = []
    for index, text in enumerate(texts):
        place = given.place("mount", index)
        try:
            if needs_expansion(text, escape):
                check_unexpanded(text, where=place)
            else:
                mounts.append(parse_mount(text, where=place))
        except Problems as wrong:
            problems.extend(wrong.problems)
    return ((), texts) if waiting else (tuple(mounts), ())


def _read_devices(given: Given, problems: list[Problem]) -> tuple[Device, ...]:
    devices = []
    for index, text in enumerate(given.texts("device")):
        try:
            devices.append(parse_device(text))
        except BadValue as wrong:
            named = BadValue(f"--device={text}: {wrong.message}", wrong.hint)
            problems.append(named.at(given.place("device", index)))
    return tuple(devices)


def parse_device(text: str) -> Device:
    """What follows `--device=`: a CDI device's name and `required`; raises `BadValue`.

    A field that is no key of its own is the name, even with `=` in it (`vendor/device=gpu0`).
    """
    name, required = "", False
    for field in split_fields(text):
        before, equals, value = field.partition("=")
        match lower_case(before):
            case "required":
                required = parse_truth(value) if equals else True
            case "name" if equals:
                if name:
                    raise BadValue(f"the device is named {name!r} already", "remove one name")
                name = value
            case _ if not name:
                name = field
            case key:
                raise BadValue(
                    f"{field!r} is neither name=NAME nor required",
                    choices(key, ("name", "required"), "the keys are"),
                )
    return Device(name, required)
