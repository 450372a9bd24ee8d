# SPDX-License-Identifier: Apache-2.0
"""GO204: Go that runs under emulation where it could cross-compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Rule
from wherry.advice.reading.go_commands import GoCommand, stage_commands
from wherry.advice.reading.go_settings import default_of, setting_of
from wherry.advice.reading.programs import programs_in
from wherry.advice.reading.word_places import base_place
from wherry.advice.rules.platforms import TARGET, declared, is_for_several, is_same
from wherry.frontends.dockerfile.instructions import Run
from wherry.frontends.dockerfile.source import Range

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import StageView

_CROSS: Final = "--platform=$BUILDPLATFORM"


def emulated_build(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """What GO204 finds."""
    if not is_for_several(subject):
        return
    for stage in subject.stages:
        platform = stage.stage.base.platform
        if stage.below is not None or stage.facts.family != "golang":
            continue
        if platform and not TARGET.fullmatch(platform):
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
        if not any(_is_shipped(command) for command in builds):
            continue
        place = base_place(stage)
        message = "for another platform than the builder's, this Go compiles under emulation"
        hint = f"FROM {_CROSS} and GOARCH=$TARGETARCH cross-compile, which is much faster"
        yield rule.find(place, message, hint, _crossing(stage, builds, place))


def _is_shipped(command: GoCommand) -> bool:
    """Whether an image that is run holds what the command builds: no tool of the build."""
    return any(
        is_same(item.command, command)
        for stage in command.line.subject.results
        if stage.command is not None or stage.is_scratch
        for item in programs_in(stage).built
    )


def _crossing(stage: StageView, builds: list[GoCommand], base: Range) -> Fix | None:
    """Build on the builder's own platform, for the image's."""
    flags = [flag for flag in stage.node.flags if flag.text.startswith("--platform")]
    edits: list[Edit] = [
        Edit(flags[0].range, _CROSS) if flags
        else Edit(Range(base.start, base.start), f"{_CROSS} ")
    ]  # fmt: skip
    if stage.subject.text.slice(base) != stage.stage.base.base:
        return None
    stages: set[int] = set()
    systems = any(setting_of(command, "GOOS") is None for command in builds)
    wanted = ("TARGETOS", "TARGETARCH") if systems else ("TARGETARCH",)
    for command in builds:
        # The ARG's own value would make every program the same.
        if default_of(command.line, "TARGETARCH") is not None:
            return None
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
        if command.line.stage.number not in stages:
            edits += declared(command.line, wanted)
            stages.add(command.line.stage.number)
        start = command.line.place(command.command.words[0].start, command.command.words[0].end)
        at = Range(start.start, start.start)
        text = "".join(f"{name.replace('TARGET', 'GO')}=${name} " for name in names)
        edits.append(Edit(at, text))
    return Fix("cross-compile", tuple(edits), safe=False)
