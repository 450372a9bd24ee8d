# SPDX-License-Identifier: Apache-2.0
"""Rules about the size of images: what is in them that the program does not need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Finding, Range, Rule, Severity
from wherry.advice.reading.go_commands import GoCommand, go_commands
from wherry.advice.reading.layer_mounts import is_on_mount
from wherry.advice.reading.shipped_images import (
    images,
    is_for_development,
    started,
    starts_own_build,
)
from wherry.advice.reading.word_places import base_place
from wherry.advice.rules.build_flags import no_trimpath, not_stripped
from wherry.advice.rules.kept_layers import removed_but_kept
from wherry.advice.rules.large_bases import large_base
from wherry.advice.rules.leftovers import package_lists
from wherry.frontends.dockerfile.instructions import Run

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

_MB: Final = 1_000_000
# Directories that programs often read while they run, and that no instruction tells of.
_READ_AT_RUN_TIME: Final = (
    "templates", "template", "static", "public", "assets", "web", "www", "views", "migrations",
    "config", "configs", "conf", "locales", "i18n", "resources", "html", "dist",
)  # fmt: skip


def _toolchain_in_image(subject: Subject, rule: Rule) -> Iterator[Finding]:
    if len(subject.stages) < 2:
        return
    for stage in dict.fromkeys(map(_program_stage, images(subject))):
        if not _holds_toolchain(stage):
            continue
        size = stage.facts.size // _MB
        about = f", about {size} MB" if size else ""
        yield rule.find(
            base_place(stage),
            f"the image of {stage.shown} holds the whole Go toolchain{about}",
            "COPY the program from the stage that builds it onto a small base: "
            "gcr.io/distroless/static-debian13:nonroot with CGO_ENABLED=0",
            related=_built(stage),
        )


def _program_stage(stage: StageView) -> StageView:
    """The stage, or the one below it that starts the same program: the base counts there."""
    while stage.below is not None and _holds_toolchain(stage.below):
        stage = stage.below
    return stage


def _holds_toolchain(stage: StageView) -> bool:
    """Whether GO101 is told of a stage."""
    if not stage.facts.has_go or is_for_development(stage):
        return False
    what = started(stage)
    return what is not None and starts_own_build(stage, what)


def _single_stage(subject: Subject, rule: Rule) -> Iterator[Finding]:
    if not _is_fat_single(subject):
        return
    stage = subject.stages[0]
    found = _data_directories(subject)
    look = f" Look whether the program reads {', '.join(found)} when it runs." if found else ""
    from wherry.advice.split.stage_split import split  # noqa: PLC0415 - few files have one stage

    fix = split(subject)
    by_flag = "; `wherry check --fix --stage-split` writes it" if fix is not None else ""
    yield rule.find(
        base_place(stage),
        "the only stage builds the program and is the image: Go, sources and caches are in it",
        f"build in a first stage and COPY the program into a second one{by_flag}. Files that the "
        f"program opens by itself have to be copied by hand.{look}",
        fix,
        _built(stage),
    )


def _is_fat_single(subject: Subject) -> bool:
    """Whether GO102 is told of a file."""
    if len(subject.stages) != 1 or is_for_development(subject.stages[0]):
        return False
    what = started(subject.stages[0])
    return what is not None and starts_own_build(subject.stages[0], what)


def _built(stage: StageView) -> tuple[tuple[Range, str], ...]:
    what = started(stage)
    command = what.found.command if what is not None else None
    return ((command.line.head, "the program is built here"),) if command is not None else ()


def _data_directories(subject: Subject) -> list[str]:
    context = subject.context
    if context is None:
        return []
    return [
        name for name in _READ_AT_RUN_TIME if context.is_directory(name) and not context.hides(name)
    ]


def _go_caches(subject: Subject, rule: Rule) -> Iterator[Finding]:
    if _is_fat_single(subject):
        return
    for stage in images(subject):
        if stage.facts.has_go is not False or is_for_development(stage):
            continue
        for line in stage.all_lines:
            command = _leaves_caches(line)
            if command is not None:
                yield rule.find(
                    line.head,
                    "Go's build cache and modules stay in this layer of the image",
                    "build in a stage of its own and COPY the program, or mount the caches: "
                    "RUN --mount=type=cache,target=/root/.cache/go-build "
                    "--mount=type=cache,target=/go/pkg/mod",
                )
                break


def _leaves_caches(line: Line) -> GoCommand | None:
    """The first go build of a RUN that neither mounts nor removes Go's build cache."""
    typed = line.instruction
    if not isinstance(typed, Run):
        return None
    builds = [command for command in go_commands(line) if command.builds]
    if not builds:
        return None
    cache = builds[0].environment.get("GOCACHE", "/root/.cache/go-build")
    if is_on_mount(line, cache):
        return None
    for command in line.commands:
        words = command.arguments
        if command.program == "go" and words[:1] == ("clean",):
            return None
        if command.program in ("rm", "find") and any(
            mark in word for word in words for mark in ("cache", "/go", "/root", "$")
        ):
            return None
    return builds[0]


RULES: Final[tuple[Rule, ...]] = (
    Rule("GO101", "toolchain-in-image", Severity.WARNING,
         "the image stands on a base with a Go toolchain", _toolchain_in_image),
    Rule("GO102", "single-stage", Severity.WARNING,
         "the stage that builds the program is the image", _single_stage, mends=True),
    Rule("GO103", "not-stripped", Severity.INFO,
         "symbol table and debug information are left in the program", not_stripped, mends=True),
    Rule("GO104", "no-trimpath", Severity.INFO,
         "paths of the build's directories are left in the program", no_trimpath, mends=True),
    Rule("GO105", "package-lists-left", Severity.WARNING,
         "package lists and caches of a package manager are left in a layer", package_lists,
         mends=True),
    Rule("GO106", "removed-but-kept", Severity.WARNING,
         "files are removed that a layer below still holds", removed_but_kept),
    Rule("GO107", "large-base", Severity.INFO,
         "the base is a distribution, the program static", large_base, mends=True),
    Rule("GO108", "go-caches-in-image", Severity.WARNING,
         "go build leaves its caches in the image", _go_caches),
)  # fmt: skip
