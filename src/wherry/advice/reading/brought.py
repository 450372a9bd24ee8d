# SPDX-License-Identifier: Apache-2.0
"""What a stage's root certainly lacks.

`wherry.advice.reading.roots` follows a path to where it comes from; here the question is the other
way round: which instruction *may* have made it. A script, an archive, a variable without a value or
a file that the build context lacks now (another tool may put it there before the build) may have.
"""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from wherry.advice.reading.destinations import VARIABLE, WILD, is_known, target_of
from wherry.advice.reading.directories import is_directory
from wherry.advice.reading.go_commands import GoCommand, go_commands
from wherry.advice.reading.main_packages import name_built
from wherry.advice.reading.paths import is_below, is_within, normal
from wherry.advice.reading.remembered import of_stage
from wherry.advice.reading.roots import Kind, find
from wherry.frontends.dockerfile.instructions import Copy, Run, Volume, Workdir

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Command, Word
    from wherry.advice.views import Line, StageView

PACKAGE_MANAGERS: Final = frozenset(
    ("apk", "apt", "apt-get", "dnf", "microdnf", "yum", "zypper", "dpkg", "update-ca-certificates")
)
_SYSTEM: Final = ("/bin/", "/sbin/", "/usr/", "/lib", "/etc/", "/opt/", "/var/", "/nix/", "/snap/")
_DATA: Final = (
    "/etc", "/usr/share", "/home", "/tmp", "/var", "/root", "/busybox", "/run",  # noqa: S108
)  # fmt: skip
_MAKES_NOTHING: Final = frozenset(
    ("addgroup", "adduser", "groupadd", "useradd", "usermod", "cat", "cd", "chgrp", "chmod",
     "chown", "date", "echo", "exit", "export", "false", "getent", "grep", "id", "ldconfig", "ldd",
     "ls", "mkdir", "printf", "pwd", "rm", "rmdir", "set", "setcap", "sleep", "test", "true",
     "uname", "unset", ":", "[", "apt-mark", "deluser", "passwd", "sync")
)  # fmt: skip
_MAKES_NO_PROGRAM: Final = frozenset(
    ("get", "mod download", "mod tidy", "mod verify", "mod vendor", "mod edit", "mod graph", "env",
     "version", "vet", "fmt", "list", "clean", "work sync", "work use", "work vendor", "doc")
)  # fmt: skip
# Files by their endings: nobody gives a directory such a name.
_FILE: Final = re.compile(r"\.(?:crt|pem|cer|zip|sh|ya?ml|json|txt|toml|html|sql|conf|mod|sum)\Z")


@of_stage
def lacks(stage: StageView, path: str, *, followed: int = 0) -> bool:
    """Whether the root that a stage ends with certainly has nothing at an absolute path.

    COPYs are followed through as many stages as `followed` says, down to a build context that
    nobody puts other files into. Of a COPY that is not followed, its words tell alone.
    """
    path = normal(path)
    if not base_lacks(stage, path):
        return False
    return not any(may_make(line, path, followed=followed) for line in stage.all_lines)


def base_lacks(stage: StageView, path: str) -> bool:
    """Whether the image that a stage goes back to certainly has nothing at a path."""
    facts = stage.facts
    if stage.is_scratch:
        return True
    if facts.family == "distroless":
        # Without libc its content is data; the shell of its debug images is in /busybox.
        common = _SYSTEM if facts.libc != "none" or facts.shell is not False else ()
        return not path.startswith((*_DATA, *common))
    # A distribution has its programs in these directories only.
    return facts.known and not path.startswith((*_SYSTEM, "/go/", "/home/", "/root/.", "/run/"))


def may_make(line: Line, path: str, *, followed: int = 0) -> bool:
    """Whether an instruction may put something at a path."""
    match line.instruction:
        case Copy() as typed:
            return may_bring(line, typed, path, followed=followed)
        case Run():
            return _may_write(line, path)
        case Volume(paths=paths):
            # What is mounted there when the program runs is not known.
            return any(is_within(path, place) for place in paths)
        case Workdir(path=written):
            place = line.state.path(line.expand(written))
            return not is_known(line, written) or is_within(place, path)
        case _:
            return False


def may_bring(line: Line, typed: Copy, path: str, *, followed: int = 0) -> bool:
    """Whether a COPY or ADD may put something at a path."""
    target = target_of(line)
    if target is None or typed.parents or not all(is_known(line, item) for item in typed.sources):
        return True
    if is_within(target, path):
        return True
    if not is_below(path, target):
        return False
    inside = path[len(target.rstrip("/")) + 1 :]
    sources = [line.expand(source) for source in typed.sources]
    if followed and not typed.add and not any(map(WILD.search, sources)):
        return any(_holds(line, typed, (source, inside), followed) for source in sources)
    return any(_may_hold(line, typed, source, inside) for source in sources)


def _holds(line: Line, typed: Copy, wanted: tuple[str, str], followed: int) -> bool:
    """As `_may_hold`, for a source and a path in it, looked up as `lacks` says."""
    source, inside = wanted
    if not _may_hold(line, typed, source, inside):
        return False
    place = source if _is_file(line, typed, source) else posixpath.join(source, inside)
    if typed.from_:
        stage = line.subject.source_stage(line)
        return stage is None or not lacks(stage, normal(place), followed=followed - 1)
    context = line.subject.context
    relative = posixpath.normpath(place.lstrip("/") or ".")
    return context is None or source.startswith("<<") or context.has(relative)


def _may_hold(line: Line, typed: Copy, source: str, inside: str) -> bool:
    """Whether one source may put something at `inside` of the destination."""
    if source.startswith("<<"):
        return source.lstrip("<-").strip("'\"") == inside
    name = posixpath.basename(source.rstrip("/"))
    if WILD.search(source):
        return not _is_file_name(name) or fnmatchcase(inside, name)
    if _is_file(line, typed, source):
        return inside == name
    return True


def _is_file_name(name: str) -> bool:
    return bool(_FILE.search(name)) or name in ("passwd", "group", "go.mod", "go.sum", "LICENSE")


def _is_file(line: Line, typed: Copy, source: str) -> bool:
    """Whether a source is a single file, and no archive that is unpacked."""
    if source.endswith("/") or posixpath.normpath(source) in (".", "/"):
        return False
    if typed.add and ("://" in source or ".t" in source or typed.unpack):
        return False
    if _is_file_name(posixpath.basename(source)):
        return True
    if not typed.from_:
        context = line.subject.context
        relative = posixpath.normpath(source.lstrip("/"))
        return context is not None and context.has(relative) and not context.is_directory(relative)
    stage = line.subject.source_stage(line)
    return stage is not None and is_built_file(stage, normal(source))


def is_built_file(stage: StageView, path: str) -> bool:
    """Whether a path of the root that a stage ends with is a program that Go builds there."""
    found = find(stage, path)
    if found.kind is not Kind.BUILT or found.command is None:
        return False
    output = found.command.output or ""
    if output.endswith("/"):
        output = posixpath.join(output, name_built(found.command))
    return output == found.path and not is_directory(found.command.line.stage, found.path)


def _may_write(line: Line, path: str) -> bool:
    """Whether a RUN may put something at a path."""
    typed = line.instruction
    if not line.commands or (isinstance(typed, Run) and not typed.command.shell):
        return True
    if any(_redirects(line, command, path) for command in line.commands):
        return True
    if any(_may_build(command, path) for command in go_commands(line)):
        return True
    return any(_may_program(line, command, path) for command in line.commands if command.words)


def _may_program(line: Line, command: Command, path: str) -> bool:
    program = command.program
    if program == "mkdir":
        return any(_may_mean(line, word, path) for word in command.words[1:])
    if program == "go" or program in _MAKES_NOTHING:
        return False
    if program in PACKAGE_MANAGERS:
        return path.startswith(_SYSTEM)
    return True


def _redirects(line: Line, command: Command, path: str) -> bool:
    return any(
        item.operator.startswith((">", "&>")) and _may_mean(line, item.target, path)
        for item in command.redirects
    )


def _may_mean(line: Line, word: Word, path: str) -> bool:
    """Whether a word may name the path or something below it."""
    if not word.fixed:
        return True
    # A `cd` before it may have changed the directory: the end of the path decides then.
    if word.value.startswith("/"):
        place = posixpath.normpath(word.value)
        return is_within(place, path)
    name = posixpath.normpath(word.value).split("/")[0]
    return name in path.split("/") or not line.state.directory or name in (".", "..")


def _may_build(command: GoCommand, path: str) -> bool:
    if not command.builds:
        return command.verb not in _MAKES_NO_PROGRAM
    output = output_of(command)
    if output == "":
        return True
    if output is not None:
        return is_within(path, output.rstrip("/"))
    if command.verb == "install":
        return bool(command.environment.get("GOBIN")) or posixpath.dirname(path).endswith("/bin")
    return not command.directory or posixpath.dirname(path) == command.directory


def output_of(command: GoCommand) -> str | None:
    """As `GoCommand.output`, but empty too where a variable of it has no value."""
    word = command.flags.get("o")
    if word is not None and not word.fixed:
        names = VARIABLE.findall(word.value)
        own = dict(command.command.assignments)
        if any(name in own or not command.line.state.variables.get(name) for name in names):
            return ""
    return command.output
