# SPDX-License-Identifier: Apache-2.0
"""GO203: programs for another platform than their image's."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Rule, Severity
from wherry.advice.reading import roots
from wherry.advice.reading.go_commands import GoCommand, stage_commands
from wherry.advice.reading.go_settings import Setting, default_of, setting_of
from wherry.advice.reading.programs import (
    named_places,
    named_program,
    origin_of,
    places_of,
    programs_in,
)
from wherry.advice.reading.whole_lines import block
from wherry.advice.reading.word_places import base_place, word_range
from wherry.frontends.dockerfile.source import Range

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line

_ARCHITECTURES: Final = frozenset(
    ("amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "loong64", "mips64le")
)
_SYSTEMS: Final = frozenset(
    ("darwin", "windows", "freebsd", "openbsd", "netbsd", "solaris", "plan9", "aix", "android",
     "ios", "illumos", "dragonfly", "js", "wasip1")
)  # fmt: skip
_PLATFORMS: Final = re.compile(r"\b(?:TARGETARCH|TARGETPLATFORM|BUILDPLATFORM)\b")
_TARGETS: Final = re.compile(r"\b(?:TARGETARCH|TARGETPLATFORM)\b")
_BUILDER: Final = re.compile(r"\$\{?BUILDARCH\}?")
TARGET: Final = re.compile(r"\$\{?TARGETPLATFORM\}?")
_TARGETED: Final = re.compile(r"[\"']?\$\{?TARGETARCH\}?[\"']?")
_BUILT_ON: Final = re.compile(r"\$\{?BUILDPLATFORM\}?")


def wrong_architecture(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """What GO203 finds."""
    several = is_for_several(subject)
    for stage in subject.stages:
        builds = [command for command in stage_commands(stage) if command.builds]
        constants = {
            setting.raw
            for setting in (setting_of(command, "GOARCH") for command in builds)
            if setting is not None
        }
        for command in builds:
            # In a condition or a loop, one of several builds may be the right one.
            if command.command.depth or command.command.either:
                continue
            is_started = _is_started(command)
            if is_started:
                yield from _wrong_system(command, rule)
            if not several or len(constants) != 1 or _is_pinned(subject):
                continue
            if is_started or _is_in_path(command):
                yield from _wrong_setting(command, rule)
    yield from _wrong_base(subject, rule)


def _wrong_system(command: GoCommand, rule: Rule) -> Iterator[Finding]:
    setting = setting_of(command, "GOOS")
    if setting is None or setting.raw not in _SYSTEMS:
        return
    message = f"GOOS={setting.raw} builds a program that cannot run in this image, which is Linux's"
    fix = Fix("build for Linux", (Edit(setting.place, "linux"),), safe=False)
    yield rule.find(setting.place, message, "write GOOS=linux", _sound(fix, setting))


def _wrong_setting(command: GoCommand, rule: Rule) -> Iterator[Finding]:
    setting = setting_of(command, "GOARCH")
    if setting is None:
        return
    system = setting_of(command, "GOOS")
    if system is not None and system.raw in _SYSTEMS:
        return
    if _TARGETED.fullmatch(setting.raw):
        yield from _wrong_argument(setting, rule)
        return
    if _BUILDER.fullmatch(setting.raw):
        message = "GOARCH=$BUILDARCH builds for the machine that builds, not for the image"
    elif setting.raw in _ARCHITECTURES:
        message = f"GOARCH={setting.raw} builds the same program for every platform of the image"
    else:
        return
    edits = (*declared(setting.line, ("TARGETARCH",)), Edit(setting.place, "$TARGETARCH"))
    fix = Fix("build for the image's platform", edits, safe=False)
    hint = "write GOARCH=$TARGETARCH, after ARG TARGETARCH"
    line = setting.line
    has_default = default_of(line, "TARGETARCH") is not None
    # Whoever cross-compiles for one platform may always ask for it.
    says_target = any(_TARGETS.search(node.original) for node in line.subject.parsed.nodes)
    graded = rule if says_target else rule._replace(severity=Severity.WARNING)
    yield graded.find(setting.place, message, hint, None if has_default else _sound(fix, setting))


def _wrong_argument(setting: Setting, rule: Rule) -> Iterator[Finding]:
    """An ARG of a stage whose default beats the value that BuildKit has for it."""
    given = default_of(setting.line, "TARGETARCH")
    if given is None or given[1] not in _ARCHITECTURES:
        return
    line, value = given
    message = (
        f"ARG TARGETARCH={value} beats the image's own architecture, so that GOARCH is {value} for"
        " every platform"
    )
    word = word_range(setting.line.subject, line.node, f"TARGETARCH={value}")
    fix = None
    if line.subject.text.slice(word) == f"TARGETARCH={value}":
        edit = Edit(word, "TARGETARCH")
        fix = Fix("leave the architecture to the build", (edit,), safe=False)
    hint = "write ARG TARGETARCH without a value: BuildKit gives it one"
    yield rule._replace(severity=Severity.WARNING).find(word, message, hint, fix)


def _wrong_base(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """An image on the builder's platform, whose program is built for the target's."""
    if any(name == "BUILDPLATFORM" for item in subject.dockerfile.arguments
           for name, value in item.arguments if value):  # fmt: skip
        return
    for stage in subject.results:
        bottom = tuple(stage.chain())[-1]
        if stage.is_scratch or not _BUILT_ON.fullmatch(bottom.stage.base.platform):
            continue
        origin = origin_of(stage)
        if origin is None or bottom in origin.command.line.stage.chain():
            continue
        setting = setting_of(origin.command, "GOARCH")
        flag = next((item for item in bottom.node.flags if item.text.startswith("--plat")), None)
        if setting is None or flag is None or not _TARGETED.fullmatch(setting.raw):
            continue
        message = "the image is the builder's platform's, and its program the target's"
        edit = Edit(Range(flag.range.start, base_place(bottom).start), "")
        fix = Fix("take the image's own platform", (edit,), safe=False)
        related = ((setting.place, "this builds for the target's"),)
        yield rule.find(flag.range, message, "leave --platform out here", fix, related)


def _sound(fix: Fix, setting: Setting) -> Fix | None:
    """The fix, where what is replaced is the value and nothing else."""
    text = setting.line.subject.text.slice(setting.place)
    return fix if text.strip("'\"") == setting.raw else None


def is_for_several(subject: Subject) -> bool:
    """Whether the file speaks of platforms: somebody builds it for more than one."""
    return any(_PLATFORMS.search(node.original) for node in subject.parsed.nodes)


def _is_pinned(subject: Subject) -> bool:
    """Whether an image of the file has a platform that does not follow the build's target."""
    for stage in subject.results:
        platform = tuple(stage.chain())[-1].stage.base.platform
        if platform and not TARGET.fullmatch(platform):
            return True
    return False


def _is_started(command: GoCommand) -> bool:
    """Whether an image of the file starts what the command builds."""
    for stage in command.line.subject.results:
        first = named_program(stage)
        places = places_of(stage, first) if first is not None else ()
        for place in places:
            found = roots.find(stage, place)
            built = found.command
            if found.kind is not roots.Kind.BUILT or built is None:
                continue
            if is_same(built, command):
                return True
    return False


def _is_in_path(command: GoCommand) -> bool:
    """Whether a script that an image starts finds what the command builds by its name."""
    for stage in command.line.subject.results:
        if stage.command is None:
            continue
        for item in programs_in(stage).built:
            if is_same(item.command, command):
                return item.path in named_places(stage, posixpath.basename(item.path))
    return False


def is_same(first: GoCommand, other: GoCommand) -> bool:
    """Whether both are the same words of the file."""
    return first.line is other.line and first.command.start == other.command.start


def declared(line: Line, names: tuple[str, ...]) -> tuple[Edit, ...]:
    """An ARG line above an instruction and its comments, for names that it does not know yet."""
    missing = [name for name in names if name not in line.state.variables]
    if not missing:
        return ()
    text = line.subject.text
    place = block(text, line.range).start
    indent = text.indent(line.range)
    return (Edit(Range(place, place), f"{indent}ARG {' '.join(missing)}\n"),)
