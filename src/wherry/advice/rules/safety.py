# SPDX-License-Identifier: Apache-2.0
"""Rules about safety: who the program runs as; and the list of all rules of the family.

The others are in `secrets`, `secret_files`, `base_tags`, `locked_bases` and `downloads`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Range, Rule, Severity
from wherry.advice.reading.roots import Kind, find
from wherry.advice.reading.shell import read_commands
from wherry.advice.reading.whole_lines import block
from wherry.advice.reading.word_places import value_of, word_places
from wherry.advice.rules import base_tags, downloads, locked_bases, secret_files, secrets
from wherry.advice.views import expanded, is_posix_shell
from wherry.frontends.dockerfile.instructions import Cmd, Copy, Entrypoint, Run, User

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

_NOBODY: Final = "65532:65532"
_ROOT: Final = frozenset(("root", "0"))
_BINS: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
# They start the program behind them, as the user that they were started as.
_STARTERS: Final = frozenset(("tini", "dumb-init", "catatonit", "env"))
# Names of stages that are there for people at work, not for what is shipped.
_AT_WORK: Final = re.compile(r"(?:^|[-_.])(?:dev|devel|debug|test|tests|lint|ci|local|delve|e2e)")
# The same in a name as Dockerfile.dev or docs.Dockerfile.
_FILE_AT_WORK: Final = re.compile(
    r"(?:^|[-_.])(?:dev|devel|debug|tests?|lint|ci|local|delve|e2e|docs?|devcontainer)(?:[-_.]|\Z)"
)
# What people at work start instead of the program, to build it anew or to look into it.
_WORK_PROGRAMS: Final = frozenset(
    ("air", "dlv", "reflex", "CompileDaemon", "realize", "fresh", "modd", "gow", "wgo", "make",
     "task", "mage", "just")
)  # fmt: skip
# What an image installs whose program changes the machine it runs on, which only root may.
_NEEDS_ROOT: Final = frozenset(
    ("iptables", "nftables", "ipset", "iproute2", "wireguard-tools", "util-linux", "e2fsprogs",
     "xfsprogs", "btrfs-progs", "nfs-utils", "nfs-common", "fuse", "fuse3", "mount", "lvm2",
     "cryptsetup", "docker", "docker-ce", "docker.io", "containerd", "runc", "sudo", "su-exec",
     "gosu", "shadow-uidmap", "uidmap", "libcap", "libcap2-bin")
)  # fmt: skip
_HOST_PROGRAM: Final = re.compile(
    r"(?:^|[-_])(?:csi|cni|kubelet|kube-proxy|iptables|driver|buildkitd|containerd|dockerd|runc|"
    r"snapshotter)(?:[-_]|\Z)"
)
_WITH_COPIES: Final = frozenset(("distroless", "scratch", "alpine", "debian", "ubuntu"))


def _runs_as_root(subject: Subject, rule: Rule) -> Iterator[Finding]:
    if _FILE_AT_WORK.search(posixpath.basename(subject.path)):
        return
    for stage in subject.results:
        command = stage.command
        if command is None or not _is_shipped(stage) or not _is_root(stage):
            continue
        program = _program(stage, command)
        if not program or posixpath.basename(program) in _WORK_PROGRAMS:
            continue
        if not _is_of_go(stage, program) or _changes_the_host(stage, program):
            continue
        user = stage.last(User)
        name = posixpath.basename(program)
        if user is not None:
            place, message = _user_place(user), f"{name} runs as root: this is the last USER"
        else:
            place, message = command.head, f"{name} runs as root: no USER says otherwise"
        hint = f"write USER {_NOBODY} before it, and give it the files that it has to write"
        yield rule.find(place, message, hint, _fix(stage, command, user))


def _is_shipped(stage: StageView) -> bool:
    return stage is stage.subject.final or not _AT_WORK.search(stage.name)


def _is_root(stage: StageView) -> bool:
    """Whether what the stage starts is known to run as root."""
    user = stage.ends.user.partition(":")[0]
    if user:
        return user in _ROOT
    # Nothing said: with the image's table, or the variable's value, one of them is not known.
    return stage.last(User) is None and _begins_empty(stage)


def _begins_empty(stage: StageView) -> bool:
    *_, bottom = stage.chain()
    written = bottom.stage.base.base
    subject = stage.subject
    return expanded(written, subject.globals, subject.parsed.escape) == "scratch"


def _program(stage: StageView, line: Line) -> str:
    """The absolute path of what is started; empty where that is not known."""
    words = _started(line)
    while words and posixpath.basename(words[0]) in _STARTERS:
        words = words[1:]
        while words and (words[0].startswith("-") or "=" in words[0]):
            words = words[1:]
    if not words or "$" in words[0] or words[0].endswith(".sh"):
        return ""
    if "/" in words[0]:
        return stage.ends.path(words[0])
    path = stage.ends.environment.get("PATH", "")
    for directory in path.split(":") if path else _BINS:
        found = posixpath.join(directory, words[0])
        if _is_of_go(stage, found):
            return found
    return ""


def _started(line: Line) -> tuple[str, ...]:
    typed = line.instruction
    if not isinstance(typed, (Cmd, Entrypoint)) or not typed.command.words:
        return ()
    if not typed.command.shell:
        return typed.command.words
    if not is_posix_shell(line.state.shell):
        return ()
    commands = read_commands(typed.command.words[0])
    # Of several, any may be the one that needs root.
    if len(commands) != 1 or not commands[0].program:
        return ()
    return tuple(word.value for word in commands[0].words)


def _is_of_go(stage: StageView, path: str) -> bool:
    if find(stage, path).kind is Kind.BUILT:
        return True
    if stage.facts.family not in _WITH_COPIES:
        return False
    return any(_brings(line, path) for line in stage.all_lines)


def _brings(line: Line, path: str) -> bool:
    """Whether a COPY names this very file and takes it from a stage that has Go."""
    typed = line.instruction
    if not isinstance(typed, Copy) or not typed.from_:
        return False
    source = line.subject.source_stage(line)
    if source is None or source.facts.family != "golang":
        return False
    destination = value_of(line, typed.destination)
    if destination is None:
        return False
    target = line.state.path(destination)
    for written in typed.sources:
        value = value_of(line, written)
        name = posixpath.basename((value or "").rstrip("/"))
        if path == posixpath.join(target, name) or (path == target and len(typed.sources) == 1):
            return True
    return False


def _changes_the_host(stage: StageView, program: str) -> bool:
    if _HOST_PROGRAM.search(posixpath.basename(program)):
        return True
    return any(
        word.value.partition("=")[0] in _NEEDS_ROOT
        for line in stage.all_lines
        for command in line.commands
        for word in command.words
    )


def _user_place(line: Line) -> Range:
    return (word_places(line.subject, line.node) or (line.head,))[0]


def _fix(stage: StageView, command: Line, user: Line | None) -> Fix | None:
    title = f"run as {_NOBODY}"
    lines = stage.lines
    if user is not None and user in lines:
        after = lines[lines.index(user) + 1 :]
        if not any(isinstance(line.instruction, Run) for line in after):
            return Fix(title, (Edit(_user_place(user), _NOBODY),), safe=False)
    starts = [line for line in lines if isinstance(line.instruction, (Cmd, Entrypoint))]
    if command not in starts:
        return None
    first = starts[0]
    after = lines[lines.index(first) + 1 :]
    # What follows would run as that user too.
    if any(isinstance(line.instruction, (Run, User)) for line in after):
        return None
    text = stage.subject.text
    at = block(text, first.range).start
    indent = text.indent(first.range)
    return Fix(title, (Edit(Range(at, at), f"{indent}USER {_NOBODY}\n"),), safe=False)


RULES: Final = (
    Rule("GO301", "runs-as-root", Severity.WARNING,
         "the image's Go program runs as root", _runs_as_root, mends=True),
    *secrets.RULES, *secret_files.RULES, base_tags.RULES[0], *locked_bases.RULES,
    *base_tags.RULES[1:], *downloads.RULES,
)  # fmt: skip
"""In the order of their ids."""
