# SPDX-License-Identifier: Apache-2.0
"""Rules for builds that fail, or that build something else than they say (GO201 to GO207)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from wherry.advice.model import Edit, Finding, Fix, Need, Rule, Severity
from wherry.advice.reading.context_files import context_file
from wherry.advice.reading.go_commands import GoCommand, stage_commands
from wherry.advice.reading.word_places import base_place
from wherry.advice.rules.emulation import emulated_build
from wherry.advice.rules.main_files import main_file_only
from wherry.advice.rules.module_files import hidden_module_files, ignored_module_files
from wherry.advice.rules.platforms import wrong_architecture
from wherry.advice.rules.vcs_stamp import stamping_without_git
from wherry.advice.subject import Subject
from wherry.advice.views import StageView
from wherry.frontends.dockerfile.source import Range
from wherry.golang.requirements import read_requirements, version_order

# The last line of Go that builds a module which wants a newer one, as far as it can.
_FORGIVING: Final = (1, 20)
_READS_MODULE: Final = frozenset(
    ("build", "install", "run", "test", "vet", "generate", "list", "mod download", "mod tidy",
     "mod verify", "mod vendor")
)  # fmt: skip
_OTHER_GO: Final = re.compile(
    r"\b(?:dl\.google\.com/go|go\.dev/dl|golang\.org/dl|golang\.google\.cn/dl)\b"
)
_TAG: Final = re.compile(r"(\d+\.\d+(?:\.\d+|(?:rc|beta)\d+)?)(-[\w.-]+)?\Z")
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
# Variants that come with every newer Go as well; those of an old Alpine become plain `alpine`.
_KEPT: Final = frozenset(("", "-alpine", "-bookworm", "-trixie"))


class _Builder(NamedTuple):
    """A stage with Go, and the first command in it that reads a go.mod of the build context."""

    stage: StageView
    version: str
    command: GoCommand
    go: str
    toolchain: str


def _older_go(subject: Subject, rule: Rule) -> Iterator[Finding]:
    told: set[int] = set()
    for stage in subject.stages:
        bottom = tuple(stage.chain())[-1]
        builder = None if bottom.number in told else _builder(stage)
        if builder is None:
            continue
        judged = _judged(builder)
        if judged is None:
            continue
        message, severity = judged
        told.add(bottom.number)
        place = base_place(bottom)
        new = _new_version(builder)
        hint = (
            f"build with Go {new} or newer; GOTOOLCHAIN=auto lets Go fetch it instead"
            if version_order(builder.version)[:2] > _FORGIVING
            else f"build with Go {new} or newer"
        )
        related = ((builder.command.line.head, "this reads go.mod"),)
        found = rule._replace(severity=severity) if severity is not rule.severity else rule
        yield found.find(place, message, hint, _newer_tag(bottom, builder.version, new), related)


def _builder(stage: StageView) -> _Builder | None:
    facts = stage.facts
    if facts.family != "golang" or not facts.go:
        return None
    # Whoever brings another Go along knows what they do.
    if any(_OTHER_GO.search(line.node.original) for line in stage.all_lines):
        return None
    context = stage.subject.context
    for command in stage_commands(stage):
        if command.command.program != "go" or command.verb not in _READS_MODULE:
            continue
        if any("@" in word.value for word in command.arguments) or not command.directory:
            continue
        if command.environment.get("GOTOOLCHAIN", "local") != "local":
            continue
        source = context_file(command.line, f"{command.directory.rstrip('/')}/go.mod")
        if source is None or context is None:
            continue
        wants = read_requirements(f"{context.directory}/{source.path}")
        return _Builder(stage, facts.go, command, wants.go, wants.toolchain)
    return None


def _judged(builder: _Builder) -> tuple[str, Severity] | None:
    """What is wrong with a builder's Go, and how bad it is; None where nothing is.

    go.dev/doc/toolchain: since 1.21 Go refuses a module that wants a newer one. Before, it tries,
    but reads neither a `toolchain` line nor three numbers in the `go` line.
    """
    version, wanted = builder.version, builder.go
    if version_order(version)[:2] > _FORGIVING:
        if not wanted or not _is_older(version, wanted):
            return None
        return f"go.mod wants Go {wanted}, and Go {version} refuses it", Severity.ERROR
    if wanted.count(".") > 1:
        return f"Go {version} cannot read `go {wanted}` in go.mod", Severity.ERROR
    if builder.toolchain:
        return f"Go {version} cannot read the toolchain line of go.mod", Severity.ERROR
    if wanted and _is_older(version, wanted):
        return f"go.mod wants Go {wanted}, and this is Go {version}", Severity.WARNING
    return None


def _is_older(version: str, wanted: str) -> bool:
    if re.fullmatch(r"\d+\.\d+", version):
        # Such a tag is the last release of its line.
        return version_order(version)[:2] < version_order(wanted)[:2]
    return version_order(version) < version_order(wanted)


def _new_version(builder: _Builder) -> str:
    # Only from 1.21 on can Go read all of a newer go.mod.
    named = (builder.go, builder.toolchain.removeprefix("go"), "1.21")
    wanted = max(named, key=version_order)
    if version_order(builder.version)[:2] > _FORGIVING:
        wanted = builder.go
    if builder.version.count(".") == 1 or wanted.count(".") == 1:
        return ".".join(wanted.split(".")[:2])
    return wanted


def _newer_tag(stage: StageView, version: str, new: str) -> Fix | None:
    """Another version in the FROM's tag, or in the ARG before the first FROM that it names."""
    written = stage.stage.base.base
    if "@" in written or not re.fullmatch(r"\d+\.\d+(\.\d+)?", new):
        return None
    subject = stage.subject
    name, colon, tag = written.rpartition(":")
    variable = _VARIABLE.match(tag)
    plain = _TAG.match(tag)
    suffix = tag[variable.end() :] if variable else (plain[2] or "") if plain else ""
    kept = "-alpine" if suffix.startswith("-alpine") else suffix
    if not colon or kept not in _KEPT:
        return None
    title = f"build with Go {new}"
    place = base_place(stage)
    if subject.text.slice(place) != written:
        return None
    if variable is None:
        if not plain:
            return None
        return Fix(title, (Edit(place, f"{name}:{new}{kept}"),), safe=False)
    default = _default_range(subject, variable[1] or variable[2], version)
    if default is None:
        return None
    edits = [Edit(default, new)]
    if kept != suffix:
        edits.append(Edit(place, f"{name}:{variable[0]}{kept}"))
    return Fix(title, tuple(edits), safe=False)


def _default_range(subject: Subject, name: str, version: str) -> Range | None:
    for argument in subject.dockerfile.arguments:
        if (name, version) not in argument.arguments:
            continue
        place = argument.source.range
        logical = subject.text.logical(place)
        if logical is None:
            continue
        found = re.search(rf"\b{name}=[\"']?({re.escape(version)})", logical.text)
        if found:
            return logical.range(found.start(1), found.end(1))
    return None


RULES: Final = (
    Rule("GO201", "main-file-only", Severity.ERROR,
         "go build names single files of a package that has more",
         main_file_only, frozenset((Need.CONTEXT,)), mends=True),
    Rule("GO202", "older-go", Severity.ERROR,
         "go.mod wants a newer Go than the builder has",
         _older_go, frozenset((Need.CONTEXT,)), mends=True),
    Rule("GO203", "wrong-architecture", Severity.ERROR,
         "the program is built for another platform than its image is for",
         wrong_architecture, mends=True),
    Rule("GO204", "emulated-build", Severity.INFO,
         "Go runs under emulation where it could cross-compile",
         emulated_build, mends=True),
    Rule("GO205", "stamping-without-git", Severity.ERROR,
         "Go shall stamp the program with its commit, and cannot",
         stamping_without_git, frozenset((Need.CONTEXT,)), mends=True),
    Rule("GO206", "module-files-hidden", Severity.ERROR,
         "ignore rules keep go.mod, go.sum or vendor from the build",
         hidden_module_files, frozenset((Need.CONTEXT,)), mends=True),
    Rule("GO207", "module-files-not-in-git", Severity.WARNING,
         "git ignores go.mod or go.sum, so that only this machine has them",
         ignored_module_files, frozenset((Need.CONTEXT, Need.MODULE)), mends=True),
)  # fmt: skip
