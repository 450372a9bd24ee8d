# SPDX-License-Identifier: Apache-2.0
"""GO205: Go shall stamp a program with its commit, and git or the repository is not there for it.

What Go does (cmd/go, `setBuildInfo`; `go help build`, "-buildvcs"), since 1.18:

    single files, no module                no stamp, also with -buildvcs=true
    no .git above                          no stamp, also with -buildvcs=true
    .git, and no git on PATH               no stamp; with -buildvcs=true the build fails
    .git, and git refuses it               the build fails: error obtaining VCS status

Git refuses a repository that belongs to another user (git-config(1), "safe.directory").
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Edit, Finding, Fix, Rule, Severity
from wherry.advice.reading.context_files import ContextFile, context_file
from wherry.advice.reading.go_commands import GoCommand, stage_commands
from wherry.advice.reading.paths import is_within
from wherry.frontends.dockerfile.instructions import Copy, Run
from wherry.frontends.dockerfile.source import Position, Range
from wherry.golang.requirements import version_order

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

_FIRST: Final = (1, 18)
_TRUE: Final = frozenset(("true", "1", "t", "T", "TRUE", "True"))
_FALSE: Final = frozenset(("false", "0", "f", "F", "FALSE", "False"))
# Programs that bring no other program: where only these ran, what the base lacks is not there.
_HARMLESS: Final = frozenset(
    ("go", "cd", "set", "export", "echo", "true", "rm", "mkdir", "cp", "mv", "ls", "cat", "touch",
     "chmod", "chown", "adduser", "addgroup", "useradd", "groupadd", "update-ca-certificates",
     "date", "test", "[", ":", "printf", "pwd", "env", "sed", "grep")
)  # fmt: skip
_PACKAGES: Final = frozenset(("apk", "apt-get", "apt", "dnf", "yum", "microdnf"))
# Somebody's package of a version, or single files, which Go does not stamp.
_NO_STAMP: Final = re.compile(r"@|\.go\Z|[*?\[]")
# A stamp of the Dockerfile's own: `-X main.commit=$COMMIT`.
_OWN_STAMP: Final = re.compile(r"-X[= ].*(?:commit|revision|sha|hash)", re.IGNORECASE | re.DOTALL)
_ROOT: Final = frozenset(("root", "0"))


class _Build(NamedTuple):
    """A go command that stamps: where its repository comes from, and whether git is there.

    `asked` says that `-buildvcs=true` is given. `has_git` is None where it is not known.
    """

    command: GoCommand
    asked: bool
    repository: ContextFile | None
    has_git: bool | None


def stamping_without_git(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """What GO205 finds: one finding a stage at most, for all its builds have the same reason."""
    context = subject.context
    if context is None or not context.is_directory(".git"):
        return
    for stage in subject.stages:
        for command in stage_commands(stage):
            build = _build(command)
            finding = _judged(build, rule) if build is not None else None
            if finding is not None:
                yield finding
                break


def _build(command: GoCommand) -> _Build | None:
    if not command.builds or not command.directory or command.command.program != "go":
        return None
    if any(_NO_STAMP.search(word.value) for word in command.arguments) or not _has_module(command):
        return None
    value = command.flag("buildvcs") or "auto"
    if value in _FALSE or (value not in _TRUE and value != "auto"):
        return None
    go = command.line.stage.facts.go
    if go and version_order(go)[:2] < _FIRST:
        return None
    return _Build(command, value in _TRUE, _repository(command), _has_git(command.line))


def _has_module(command: GoCommand) -> bool:
    """Whether a go.mod of the build context is where the command runs, or above."""
    here = command.directory
    while context_file(command.line, posixpath.join(here, "go.mod")) is None:
        if here == "/":
            return False
        here = posixpath.dirname(here)
    return True


def _repository(command: GoCommand) -> ContextFile | None:
    """Where the nearest `.git` above a command's directory comes from."""
    context = command.line.subject.context
    here = command.directory
    while context is not None:
        found = context_file(command.line, posixpath.join(here, ".git"))
        if found is not None and context.is_directory(found.path):
            return found
        if here == "/":
            break
        here = posixpath.dirname(here)
    return None


def _has_git(line: Line) -> bool | None:
    """Whether git is on PATH while a line runs; None where that is not known."""
    stage = line.stage
    programs = stage.facts.programs
    if programs is None:
        return None
    if "git" in programs:
        return True
    sure = True
    for earlier in stage.all_lines:
        typed = earlier.instruction
        if isinstance(typed, Run):
            found = _installs_git(earlier)
            if found:
                return True
            sure = sure and found is not None
        elif isinstance(typed, Copy):
            target = earlier.state.path(earlier.expand(typed.destination))
            # Somebody's whole /usr, or a program from another image.
            sure = sure and not any(
                is_within(f"{directory}/git", target) or is_within(target, directory)
                for directory in ("/usr/bin", "/bin", "/usr/local/bin") if typed.from_
            )  # fmt: skip
        if earlier is line:
            break
    return False if sure else None


def _installs_git(line: Line) -> bool | None:
    commands = line.commands
    sure = bool(commands)
    for command in commands:
        words = command.words[1:]
        if command.program in _PACKAGES:
            if any(word.value.split("=")[0].split("-")[0].split("~")[0] == "git" for word in words):
                return True
            sure = sure and all(word.fixed for word in words)
        elif command.words and command.program not in _HARMLESS:
            sure = False
    return False if sure else None


def _judged(build: _Build, rule: Rule) -> Finding | None:
    command = build.command
    stage = command.line.stage
    context = command.line.subject.context
    if build.repository is None:
        hidden = context is not None and context.hides(".git")
        if not build.asked or not hidden or context is None:
            return None
        source = context_file(command.line, command.directory)
        if source is None or source.path != ".":
            return None
        message = (
            f"-buildvcs=true stamps nothing: .git is hidden by the rule "
            f"`{context.deciding_rule('.git')}` of {context.ignore_file}"
        )
        milder = rule._replace(severity=Severity.WARNING)
        return milder.find(_flag_place(command), message, "give the stamp by -ldflags=-X instead")
    if build.has_git is False:
        return _without_git(build, stage, rule)
    if build.has_git:
        return _refused(command, build.repository, rule)
    return None


def _without_git(build: _Build, stage: StageView, rule: Rule) -> Finding | None:
    image = stage.image or "the base"
    place = _flag_place(build.command)
    if not build.asked and _is_unstamped_by_choice(build.command):
        return None
    if build.asked:
        message = f"-buildvcs=true fails: there is no git in {image}"
        return rule.find(place, message, "install git, or write -buildvcs=false", _install(stage))
    message = f"the program gets no stamp of its commit: there is no git in {image}"
    hint = "install git, or give no .git to the build and write -buildvcs=false"
    return rule._replace(severity=Severity.INFO).find(place, message, hint)


def _is_unstamped_by_choice(command: GoCommand) -> bool:
    """Whether the flags give the commit, or several packages leave no program."""
    several = "o" not in command.flags and any("..." in word.value for word in command.arguments)
    return bool(several or _OWN_STAMP.search(command.flag("ldflags") or ""))


def _install(stage: StageView) -> Fix | None:
    """git beside the base, before anything else, so that it stays in the build cache."""
    bottom = tuple(stage.chain())[-1]
    if bottom.facts.packages != "apk" or bottom.begins.user not in ("", *_ROOT):
        return None
    place = Position(bottom.range.lines[1] + 1, 0)
    edit = Edit(Range(place, place), "RUN apk add --no-cache git\n")
    shipped = bottom.number in stage.subject.exported
    return Fix("install git", (edit,), safe=not shipped)


def _refused(command: GoCommand, repository: ContextFile, rule: Rule) -> Finding | None:
    """A repository of another user: git says no, and Go gives up."""
    line = command.line
    copied = repository.line.instruction
    if not isinstance(copied, Copy) or _is_prepared(line):
        return None
    owner = repository.line.expand(copied.owner).partition(":")[0] or "root"
    user = line.state.user.partition(":")[0]
    if not user or "$" in owner + user or (owner in _ROOT) == (user in _ROOT):
        return None
    message = (
        f"git refuses .git, which belongs to {owner}, when {user} builds: "
        f"`go {command.verb}` fails with `error obtaining VCS status`"
    )
    related = ((repository.line.head, "this copies .git"),)
    hint = "write -buildvcs=false, or copy with the --chown of the user that builds"
    return rule.find(_flag_place(command), message, hint, _without_stamp(command), related)


def _is_prepared(line: Line) -> bool:
    """Whether something may have made git content, or given the files to somebody else."""
    words = ("safe.directory", "chown", "GIT_CONFIG", ".gitconfig")
    return any(word in other.node.original for other in line.stage.all_lines
               if not isinstance(other.instruction, Copy) for word in words)  # fmt: skip


def _flag_place(command: GoCommand) -> Range:
    word = command.flags.get("buildvcs")
    if word is not None:
        return command.line.place(word.start, word.end)
    words = command.command.words
    return command.line.place(words[0].start, words[min(1, len(words) - 1)].end)


def _without_stamp(command: GoCommand) -> Fix | None:
    run = command.line.instruction
    if not isinstance(run, Run) or not run.command.shell:
        return None
    title = "build without a stamp"
    word = command.flags.get("buildvcs")
    if word is not None:
        place = command.line.place(word.start, word.end)
        return Fix(title, (Edit(place, "-buildvcs=false"),))
    if command.flag("buildvcs") is not None:
        return None
    for verb in command.command.words:
        if verb.value == command.verb:
            end = command.line.place(verb.start, verb.end).end
            return Fix(title, (Edit(Range(end, end), " -buildvcs=false"),))
    return None
