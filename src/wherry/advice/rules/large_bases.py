# SPDX-License-Identifier: Apache-2.0
"""GO107: a static program on a whole distribution, of which it uses nothing.

Only where all that is done on top of the base is known to be of no use for anything else: a package
that is installed, a script or a further program keeps the rule silent, and so does code that starts
other programs.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Rule
from wherry.advice.reading.file_contents import read_file
from wherry.advice.reading.go_commands import GoCommand
from wherry.advice.reading.main_packages import main_of, tags_of
from wherry.advice.reading.roots import Kind, find
from wherry.advice.reading.shipped_images import (
    Started,
    builds_own,
    images,
    is_for_development,
    plain_words,
    started,
)
from wherry.advice.reading.word_places import base_place
from wherry.frontends.dockerfile.instructions import (
    Cmd,
    Copy,
    Entrypoint,
    Healthcheck,
    Onbuild,
    Run,
    Shell,
    User,
    Volume,
)

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.reading.shell_words import Command
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

STATIC: Final = "gcr.io/distroless/static-debian13:nonroot"
"""The base for static programs: certificates, time zones, a user, and no shell."""

_MB: Final = 1_000_000
_FAMILIES: Final = frozenset(("debian", "ubuntu", "fedora"))
_MANAGERS: Final = frozenset(("apt-get", "apt", "yum", "dnf", "microdnf"))
# What the static base has as well.
_PACKAGES: Final = frozenset(("ca-certificates", "tzdata", "netbase"))
_HARMLESS: Final = frozenset(
    ("rm", "useradd", "adduser", "groupadd", "addgroup", "mkdir", "chown", "chmod", "set", "true",
     "update-ca-certificates", ":", "export")
)  # fmt: skip
_COMPILERS: Final = frozenset(
    ("gcc", "g++", "build-base", "musl-dev", "libc-dev", "clang", "alpine-sdk", "zig", "gcc-go")
)  # fmt: skip
_PROGRAMS: Final = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")
_STARTS: Final = re.compile(rb'"(?:os/exec|plugin)"')
_MOST_FILES: Final = 4000


def large_base(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO107: the base is a distribution, the program static."""
    for stage in images(subject):
        what = started(stage)
        if what is None or what.wrapped or not _is_needless(stage, what):
            continue
        size = f", about {stage.facts.size // _MB} MB" if stage.facts.size else ""
        yield rule.find(
            base_place(stage),
            f"the program is static and uses nothing of {stage.image}{size}",
            f"FROM {STATIC} has certificates, time zones and a user, and 2 MB",
            _fix(stage),
        )


def _is_needless(stage: StageView, what: Started) -> bool:
    command = what.found.command
    if stage.facts.family not in _FAMILIES or is_for_development(stage):
        return False
    if what.found.kind is not Kind.BUILT or command is None or not builds_own(command):
        return False
    if plain_words(what.line) is None or not all(map(_adds_nothing, stage.all_lines)):
        return False
    if not _is_static(command):
        return False
    context = stage.subject.context
    return context is None or not starts_programs(context)


def _adds_nothing(line: Line) -> bool:
    """Whether an instruction brings nothing that a distribution is needed for."""
    match line.instruction:
        case Run():
            commands = line.commands
            return bool(commands) and all(map(_is_harmless, commands))
        case Copy() as typed:
            return _copies_data(line, typed)
        case Healthcheck(command=command):
            return command is None or (not command.shell and _is_own(line, command.words))
        case Shell() | Onbuild():
            return False
        case _:
            return True


def _is_own(line: Line, words: tuple[str, ...]) -> bool:
    path = line.stage.ends.path(words[0]) if words and "/" in words[0] else ""
    return bool(path) and find(line.stage, path).kind is Kind.BUILT


def _is_harmless(command: Command) -> bool:
    if not command.words or command.program in _HARMLESS:
        return not command.redirects
    if command.program not in _MANAGERS:
        return False
    words = [word for word in command.words[1:] if not word.value.startswith("-")]
    if not words or not all(word.fixed for word in words):
        return False
    if words[0].value in ("update", "clean", "autoremove", "autoclean", "makecache"):
        return True
    if words[0].value != "install":
        return False
    return all(word.value.partition("=")[0] in _PACKAGES for word in words[1:])


def _copies_data(line: Line, typed: Copy) -> bool:
    if typed.add and any("://" in source for source in typed.sources):
        return False
    destination = line.state.path(line.expand(typed.destination))
    source = line.subject.source_stage(line)
    for written in typed.sources:
        path = "/" + line.expand(written).strip("/")
        if source is not None:
            found = find(source, path)
            if found.kind is Kind.BUILT and found.command is not None:
                if not _is_static(found.command):
                    return False
                continue
            # A directory of the build stage may hold anything; known data has its usual places.
            if not path.startswith(("/etc/", "/usr/share/")) and found.kind is not Kind.CONTEXT:
                return False
        elif typed.from_ or path.endswith((".sh", ".bash", ".py")):
            return False
        if destination in _PROGRAMS or posixpath.dirname(destination) in _PROGRAMS:
            return False
    return True


def _is_static(command: GoCommand) -> bool:
    """Whether a program needs no libc: cgo is off, cannot be on, or nothing uses it."""
    if command.cgo is not None:
        return not command.cgo
    if command.flag("race") is not None or _has_no_compiler(command.line.stage):
        return command.flag("race") is None
    module, main = command.line.subject.module, main_of(command)
    if module is None or main is None or module.problem(main, tags_of(command)):
        return False
    return not module.uses_cgo(main, on=True, tags=tags_of(command))


def _has_no_compiler(stage: StageView) -> bool:
    """Golang's Alpine images have none, and Go 1.20 and later then build without cgo."""
    facts = stage.facts
    if facts.family != "golang" or facts.libc != "musl":
        return False
    version = re.match(r"(\d+)\.(\d+)", facts.go)
    if version and (int(version[1]), int(version[2])) < (1, 20):
        return False
    for line in stage.all_lines:
        for command in line.commands:
            if command.program != "apk":
                continue
            for word in command.words[1:]:
                if not word.fixed or word.value.partition("=")[0] in _COMPILERS:
                    return False
    return True


def starts_programs(context: Context) -> bool:
    """Whether Go code of the build context may start other programs, or load them."""
    names = [
        name for name in context.names
        if name.endswith(".go") and not name.endswith("_test.go") and "vendor/" not in name
    ]  # fmt: skip
    if len(names) > _MOST_FILES:
        return True
    for name in names:
        text = read_file(os.path.join(context.directory, name), 1 << 20)
        if text is None or _STARTS.search(text):
            return True
    return False


def _fix(stage: StageView) -> Fix | None:
    """Another base, where nothing in the stage needs a shell, its users or root's rights."""
    written = stage.stage.base.base
    if stage.below is not None or "$" in written or not stage.node.rest.startswith(written):
        return None
    for line in stage.lines:
        match line.instruction:
            case Run() | Volume() | Shell():
                return None
            case Healthcheck(command=asked) if asked is not None and asked.shell:
                return None
            case User(user=user) if not re.fullmatch(r"[0-9:]+|root|nobody|nonroot", user):
                return None
            case _:
                pass
    command = stage.command
    typed = command.instruction if command is not None else None
    if not isinstance(typed, (Cmd, Entrypoint)) or typed.command.shell:
        return None
    edit = Edit(base_place(stage), STATIC)
    return Fix("stand on a base for static programs", (edit,), safe=False)
