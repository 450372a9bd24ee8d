# SPDX-License-Identifier: Apache-2.0
"""GO203 and GO204: programs for the wrong platform, and Go that runs under emulation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Edit, Finding, Fix, Rule
from wherry.advice.reading import roots
from wherry.advice.reading.context_files import word_range
from wherry.advice.reading.go_commands import GoCommand, stage_commands
from wherry.advice.reading.programs import places_of, started
from wherry.frontends.dockerfile.instructions import Env, Run
from wherry.frontends.dockerfile.source import Position, Range

if TYPE_CHECKING:
    from wherry.advice.subject import Line, StageView, Subject

_ARCHITECTURES: Final = frozenset(
    ("amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "loong64", "mips64le")
)
_SYSTEMS: Final = frozenset(
    ("darwin", "windows", "freebsd", "openbsd", "netbsd", "solaris", "plan9", "aix", "android",
     "ios", "illumos", "dragonfly", "js", "wasip1")
)  # fmt: skip
_PLATFORMS: Final = re.compile(r"\b(?:TARGETARCH|TARGETPLATFORM|BUILDPLATFORM)\b")
_BUILDER: Final = re.compile(r"\$\{?BUILDARCH\}?")
_TARGET: Final = re.compile(r"\$\{?TARGETPLATFORM\}?")
_CROSS: Final = "--platform=$BUILDPLATFORM"


class Setting(NamedTuple):
    """What a variable is set to for a go command: the text as written, where, by which line."""

    raw: str
    place: Range
    line: Line


def setting_of(command: GoCommand, name: str) -> Setting | None:
    """Where a variable of a go command is set; None where nothing does, or only an ARG."""
    line = command.line
    if isinstance(line.instruction, Run) and not line.instruction.command.shell:
        return _env_setting(line, name)
    own = command.command
    before = (
        other for other in reversed(line.commands)
        if not other.words and other.start < own.start and other.shell in (own.shell, 0)
    )  # fmt: skip
    for other in (own, *before):
        for key, word in reversed(other.assignments):
            if key == name:
                return Setting(word.value, line.place(word.start, word.end), line)
    return _env_setting(line, name)


def _env_setting(line: Line, name: str) -> Setting | None:
    lines = line.stage.all_lines
    at = next(at for at, other in enumerate(lines) if other is line)
    for earlier in reversed(lines[:at]):
        if not isinstance(earlier.instruction, Env):
            continue
        for key, value in reversed(earlier.instruction.variables):
            if key == name:
                return Setting(value.strip("'\""), _value_range(earlier, key, value), earlier)
    return None


def _value_range(line: Line, name: str, value: str) -> Range:
    logical = line.subject.text.logical(line.range)
    if logical is None:
        return line.head
    found = re.search(rf"\b{name}[= ]\s*({re.escape(value)})", logical.text)
    return logical.range(found.start(1), found.end(1)) if found else line.head


def wrong_architecture(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """What GO203 finds."""
    several = _is_for_several(subject)
    for stage in subject.stages:
        builds = [command for command in stage_commands(stage) if command.builds]
        constants = {
            setting.raw
            for setting in (setting_of(command, "GOARCH") for command in builds)
            if setting is not None
        }
        for command in builds:
            # In a condition or a loop, one of several builds may be the right one.
            if command.command.depth or command.command.either or not _is_started(command):
                continue
            yield from _wrong_system(command, rule)
            if several and len(constants) == 1 and not _is_pinned(subject):
                yield from _wrong_setting(command, rule)


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
    if _BUILDER.fullmatch(setting.raw):
        message = "GOARCH=$BUILDARCH builds for the machine that builds, not for the image"
    elif setting.raw in _ARCHITECTURES:
        message = f"GOARCH={setting.raw} builds the same program for every platform of the image"
    else:
        return
    edits = (*_declared(setting.line, ("TARGETARCH",)), Edit(setting.place, "$TARGETARCH"))
    fix = Fix("build for the image's platform", edits, safe=False)
    hint = "write GOARCH=$TARGETARCH, after ARG TARGETARCH"
    yield rule.find(setting.place, message, hint, _sound(fix, setting))


def _sound(fix: Fix, setting: Setting) -> Fix | None:
    """The fix, where what is replaced is the value and nothing else."""
    text = setting.line.subject.text.slice(setting.place)
    return fix if text.strip("'\"") == setting.raw else None


def _is_for_several(subject: Subject) -> bool:
    """Whether the file speaks of platforms: somebody builds it for more than one."""
    return any(_PLATFORMS.search(node.original) for node in subject.parsed.nodes)


def _is_pinned(subject: Subject) -> bool:
    """Whether an image of the file has a platform that does not follow the build's target."""
    for stage in subject.results:
        platform = tuple(stage.chain())[-1].stage.base.platform
        if platform and not _TARGET.fullmatch(platform):
            return True
    return False


def _is_started(command: GoCommand) -> bool:
    """Whether an image of the file starts what the command builds."""
    for stage in command.line.subject.results:
        first = started(stage)
        places = places_of(stage, first) if first is not None else ()
        for place in places:
            found = roots.find(stage, place)
            built = found.command
            if found.kind is not roots.Kind.BUILT or built is None:
                continue
            if built.line is command.line and built.command.start == command.command.start:
                return True
    return False


def _declared(line: Line, names: tuple[str, ...]) -> tuple[Edit, ...]:
    """An ARG line above an instruction and its comments, for names that it does not know yet."""
    missing = [name for name in names if name not in line.state.variables]
    if not missing:
        return ()
    text = line.subject.text
    number = line.range.start.line
    while number > 1 and text.lines[number - 2].lstrip().startswith("#"):
        number -= 1
    place = Position(number, 0)
    indent = text.indent(line.range)
    return (Edit(Range(place, place), f"{indent}ARG {' '.join(missing)}\n"),)


def emulated_build(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """What GO204 finds."""
    if not _is_for_several(subject):
        return
    for stage in subject.stages:
        platform = stage.stage.base.platform
        if stage.below is not None or stage.facts.family != "golang":
            continue
        if platform and not _TARGET.fullmatch(platform):
            continue
        if any(stage in result.chain() for result in subject.results):
            continue
        builds = [
            command
            for other in subject.stages
            if stage in other.chain()
            for command in stage_commands(other)
            if command.builds
        ]
        if not builds or any(command.cgo is not False for command in builds):
            continue
        place = word_range(subject, stage.range, stage.stage.base.base)
        message = "for another platform than the builder's, this Go compiles under emulation"
        hint = f"FROM {_CROSS} and GOARCH=$TARGETARCH cross-compile, which is much faster"
        yield rule.find(place, message, hint, _crossing(stage, builds, place))


def _crossing(stage: StageView, builds: list[GoCommand], base: Range) -> Fix | None:
    """Build on the builder's own platform, for the image's."""
    flags = [flag for flag in stage.node.flags if flag.text.startswith("--platform")]
    edits: list[Edit] = [
        Edit(flags[0].range, _CROSS) if flags
        else Edit(Range(base.start, base.start), f"{_CROSS} ")
    ]  # fmt: skip
    if stage.subject.text.slice(base) != stage.stage.base.base:
        return None
    declared: set[int] = set()
    systems = any(setting_of(command, "GOOS") is None for command in builds)
    wanted = ("TARGETOS", "TARGETARCH") if systems else ("TARGETARCH",)
    for command in builds:
        setting = setting_of(command, "GOARCH")
        if setting is not None:
            if "TARGETARCH" not in setting.raw:
                return None
            continue
        run = command.line.instruction
        # What `go install` makes for another platform lies in a directory of its own.
        if command.verb != "build" or command.command.wrapped or command.command.shell < 0:
            return None
        if not isinstance(run, Run) or not run.command.shell or command.command.program != "go":
            return None
        names = ("TARGETARCH",) if setting_of(command, "GOOS") else ("TARGETOS", "TARGETARCH")
        if command.line.stage.number not in declared:
            edits += _declared(command.line, wanted)
            declared.add(command.line.stage.number)
        start = command.line.place(command.command.words[0].start, command.command.words[0].end)
        at = Range(start.start, start.start)
        text = "".join(f"{name.replace('TARGET', 'GO')}=${name} " for name in names)
        edits.append(Edit(at, text))
    return Fix("cross-compile", tuple(edits), safe=False)
