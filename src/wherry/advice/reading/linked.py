# SPDX-License-Identifier: Apache-2.0
"""The rule about programs that are linked against a libc which their image lacks.

Source: `go help environment` (CGO_ENABLED), cmd/cgo: cgo is on by default where Go builds for the
machine itself and finds a C compiler. A program with cgo files in its closure (net and os/user of
the standard library are such) is then linked against the libc of the image that it is built in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Edit, Finding, Fix, Severity
from wherry.advice.reading.destinations import is_known
from wherry.advice.reading.go_commands import GoCommand
from wherry.advice.reading.main_packages import main_of, tags_of
from wherry.advice.reading.programs import origin_of
from wherry.frontends.dockerfile.instructions import Copy, Run

if TYPE_CHECKING:
    from wherry.advice.model import Rule
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

# Words of whoever brings another libc along, or does without.
_COMPATIBLE: Final = (
    "libc6", "gcompat", "glibc", "musl", "ld-linux", "/lib64", "patchelf", "/nix/",
)  # fmt: skip
_STATIC_TAGS: Final = frozenset(("netgo", "static", "static_build", "osusergo"))


class _Link(NamedTuple):
    """A program that needs a libc.

    `sure` says that cgo is written to be on; `packages` are those with cgo files, as far as known;
    `needed` that not all of them have Go code instead.
    """

    sure: bool
    packages: tuple[str, ...] = ()
    needed: bool = True


def wrong_libc(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO223: a program that needs a libc which its image has not."""
    for stage in subject.results:
        origin = origin_of(stage)
        if origin is None:
            continue
        command = origin.command
        builder, base = command.line.stage.facts.libc, stage.facts.libc
        if builder not in ("glibc", "musl") or base in ("", builder):
            continue
        if _brings_libc(stage, command):
            continue
        link = _link(command)
        if link is not None:
            yield _finding(stage, rule, command, link)


def _brings_libc(stage: StageView, command: GoCommand) -> bool:
    """Whether something in the stages may make the program run where it is."""
    lines = (*stage.all_lines, *command.line.stage.all_lines)
    for line in lines:
        if isinstance(line.instruction, Run):
            text = line.instruction.source.text
            # musl-dev and musl-tools in the build stage are what cgo needs anyway.
            words = _COMPATIBLE if line in stage.all_lines else ("patchelf", "musl-gcc")
            if any(word in text for word in words):
                return True
        elif line in stage.all_lines and _copies_libraries(line):
            return True
    return False


def _copies_libraries(line: Line) -> bool:
    typed = line.instruction
    if not isinstance(typed, Copy):
        return False
    words = (*typed.sources, typed.destination)
    if not all(is_known(line, word) for word in words):
        return True
    named = ("/lib", "ld-linux", "ld-musl", ".so.", "rootfs", "/nix")
    # A whole root, or an archive of one, may hold anything.
    whole = any(line.expand(source) == "/" or ".tar" in source for source in typed.sources)
    return whole or any(word in line.expand(text) for text in words for word in named)


def _link(command: GoCommand) -> _Link | None:
    """How a program is linked where it needs a libc; None where it needs none, or may not."""
    if command.cgo is False or _is_static(command) or _is_crossed(command):
        return None
    module, main = command.line.subject.module, main_of(command)
    packages: tuple[str, ...] | None = None
    needed = True
    if module is not None and main is not None and not module.problem(main, tags_of(command)):
        packages = module.uses_cgo(main, on=True, tags=tags_of(command))
        needed = bool(module.uses_cgo(main, on=False, tags=tags_of(command)))
        if not packages:
            return None
    if command.cgo:
        return _Link(sure=True, packages=packages or (), needed=needed)
    if packages is None or not _has_compiler(command):
        return None
    return _Link(sure=False, packages=packages, needed=needed)


def _is_static(command: GoCommand) -> bool:
    """Whether the flags make a static program, or cannot be told."""
    flags = [command.flag(name) or "" for name in ("ldflags", "tags", "buildmode", "extldflags")]
    values = [command.line.expand(value) if "$" in value else value for value in flags]
    known = all(is_known(command.line, value) for value in flags)
    environment = command.environment
    if not known or environment.get("CC") or "static" in environment.get("CGO_LDFLAGS", ""):
        return True
    tags = frozenset(values[1].replace(",", " ").split())
    return "static" in values[0] or "static" in values[2] or bool(tags & _STATIC_TAGS)


def _is_crossed(command: GoCommand) -> bool:
    """Whether the build may be for another machine, where cgo is off by default."""
    if command.environment.get("GOOS", "linux") not in ("linux", ""):
        return True
    if command.cgo:
        return False
    return command.environment.get("GOARCH", "amd64") not in ("amd64", "")


def _has_compiler(command: GoCommand) -> bool:
    """Whether Go finds a C compiler in the build stage, by the table or by its name in a RUN."""
    stage = command.line.stage
    if stage.facts.family != "golang":
        return False
    if "gcc" in (stage.facts.programs or ()):
        return True
    before = stage.all_lines[: stage.all_lines.index(command.line) + 1]
    return any(
        word in ("gcc", "build-base")
        for line in before
        for other in line.commands
        if other.program == "apk"
        for word in other.arguments
    )


def _finding(stage: StageView, rule: Rule, command: GoCommand, link: _Link) -> Finding:
    builder, base = command.line.stage.facts.libc, stage.facts.libc
    lacks = "has no libc" if base == "none" else f"has {base}"
    cause = f" ({', '.join(link.packages[:2])})" if link.packages else ""
    message = f"the program is linked against {builder}{cause}, and {stage.image} {lacks}"
    first, last = command.command.words[0], command.command.words[-1]
    place = command.line.place(first.start, last.end)
    fix = None if link.needed else _without_cgo(command)
    if fix is not None or not link.needed:
        hint = "build with CGO_ENABLED=0: nothing in the program needs C"
    else:
        other = "gcr.io/distroless/base" if builder == "glibc" else "alpine"
        hint = (
            f"ship it on a base with {builder} ({other}), or link it statically:"
            " -ldflags '-linkmode external -extldflags \"-static\"'"
        )
        if not link.packages:
            hint = f"build with CGO_ENABLED=0; or, where the program needs C, {hint}"
    certain = link.sure and (base == "none" or bool(link.packages))
    graded = rule if certain else rule._replace(severity=Severity.WARNING)
    return graded.find(place, message, hint, fix)


def _without_cgo(command: GoCommand) -> Fix | None:
    """Write CGO_ENABLED=0 for this one command; None where there is no plain place for it."""
    line, text = command.line, command.line.subject.text
    title = "build without cgo"
    own = dict(command.command.assignments).get("CGO_ENABLED")
    if own is not None:
        place = line.place(own.start, own.end)
        if text.slice(place) != own.raw:
            return None
        return Fix(title, (Edit(place, "0"),), safe=False)
    word = command.command.words[0]
    place = line.place(word.start, word.end)
    if command.command.wrapped or text.slice(place) != word.raw:
        return None
    start = line.place(word.start, word.start)
    return Fix(title, (Edit(start, "CGO_ENABLED=0 "),), safe=False)
