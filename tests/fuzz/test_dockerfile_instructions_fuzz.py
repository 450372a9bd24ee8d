# SPDX-License-Identifier: Apache-2.0
"""Random instructions through wherry's readers and BuildKit's `instructions` package.

Both must refuse the same files, and make the same values of the others. That wherry tells all
errors of a file and BuildKit the first is no difference here. Differences that are meant are named
in `EXPLAINED`; those of the parser in `dockerfile_comparison`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import pytest

import dockerfile_comparison
from dockerfile_grammar import mutated
from dockerfile_instruction_grammar import dockerfile
from oracle_program import Answer, Oracle
from wherry.frontends.dockerfile.instructions import (
    Arg,
    Cmd,
    Command,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    NameValue,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from wherry.frontends.dockerfile.parse import parse
from wherry.frontends.dockerfile.source import Problems
from wherry.frontends.dockerfile.typed import read_dockerfile


class Difference(NamedTuple):
    """Where the two part: `what` in words, and both views."""

    what: str
    ours: Any
    theirs: Any


def compare(text: str, theirs: Answer) -> Difference | None:
    """The first difference from the answer to `instructions`, meant or not."""
    assert "panic" not in theirs, (text, theirs)
    try:
        ours = read_dockerfile(parse(text))
    except Problems as error:
        if "error" not in theirs:
            return Difference("refused by wherry alone", error.problems, theirs)
        return _other_line(error, theirs)
    if "error" in theirs:
        return Difference("refused by BuildKit alone", ours, theirs["error"])
    mine, other = _view(ours), _expected(theirs)
    return None if mine == other else Difference("other values", mine, other)


def _other_line(error: Problems, theirs: Answer) -> Difference | None:
    """BuildKit's one error is an instruction's, in whose lines one of ours is."""
    if "lines" not in theirs or re.search(r"invalid escape|no instructions", theirs["error"]):
        return None
    first, last = theirs["lines"]
    if any(first <= problem.range.lines[0] <= last for problem in error.problems):
        return None
    # What stands before FROM is told once, at the first of it.
    if "no build stage" in theirs["error"]:
        return None
    return Difference("the error has another line", error.problems, theirs)


def _view(ours: Dockerfile) -> Any:
    return {
        "arguments": [_values(argument) for argument in ours.arguments],
        "stages": [
            (stage.base.name, stage.base.base, stage.base.platform,
             [_values(instruction) for instruction in stage.instructions])
            for stage in ours.stages
        ],
    }  # fmt: skip


def _expected(theirs: Answer) -> Any:
    return {
        "arguments": [_their_values(argument) for argument in theirs["arguments"]],
        "stages": [
            (stage["name"], stage["base"], stage["platform"],
             [_their_values(command) for command in stage["commands"]])
            for stage in theirs["stages"]
        ],
    }  # fmt: skip


def _their_values(command: Answer) -> Any:
    fields = dict(command["fields"])
    # In no order, and seen by the values of the flags as well.
    fields.pop("FlagsUsed", None)
    for argument in fields.get("Args", ()) if command["type"] == "ArgCommand" else ():
        argument.pop("DocComment")
    if command["type"] == "RunCommand":
        fields |= {"Network": command["network"], "Security": command["security"]}
    if command["type"] == "HealthCheckCommand":
        fields = fields["Health"]
    empty = (None, [], "", 0)
    return command["type"], command["text"], {
        name: value for name, value in fields.items() if value not in empty or value is False
    }  # fmt: skip


def _values(instruction: Instruction) -> Any:
    kind, fields = _fields(instruction)
    empty = (None, [], "", 0)
    return kind, instruction.source.text, {
        name: value for name, value in fields.items() if value not in empty or value is False
    }  # fmt: skip


def _fields(instruction: Instruction) -> tuple[str, dict[str, Any]]:
    match instruction:
        case Arg():
            pairs = [{"Key": name, "Value": default} for name, default in instruction.arguments]
            return "ArgCommand", {"Args": pairs}
        case Env():
            return "EnvCommand", {"Env": _pairs(instruction.variables, instruction.old_form)}
        case Label():
            return "LabelCommand", {"Labels": _pairs(instruction.labels, instruction.old_form)}
        case Run():
            return "RunCommand", {
                **_command(instruction.command),
                "Network": instruction.network or "default",
                "Security": instruction.security or "sandbox",
            }
        case Copy():
            return _copy(instruction)
        case Cmd():
            return "CmdCommand", _command(instruction.command)
        case Entrypoint():
            return "EntrypointCommand", _command(instruction.command)
        case Healthcheck():
            return "HealthCheckCommand", _health(instruction)
        case Onbuild():
            return "OnbuildCommand", {"Expression": instruction.expression}
        case _:
            return _plain(instruction)


def _plain(instruction: Instruction) -> tuple[str, dict[str, Any]]:
    match instruction:
        case Workdir():
            return "WorkdirCommand", {"Path": instruction.path}
        case User():
            return "UserCommand", {"User": instruction.user}
        case Expose():
            return "ExposeCommand", {"Ports": list(instruction.ports)}
        case Volume():
            return "VolumeCommand", {"Volumes": list(instruction.paths)}
        case StopSignal():
            return "StopSignalCommand", {"Signal": instruction.signal}
        case Shell():
            return "ShellCommand", {"Shell": list(instruction.words)}
        case Maintainer():
            return "MaintainerCommand", {"Maintainer": instruction.name}
        case _:
            raise AssertionError(instruction)


def _pairs(pairs: Sequence[NameValue], old: bool) -> list[dict[str, Any]]:
    return [{"Key": name, "Value": value, "NoDelim": old} for name, value in pairs]


def _command(command: Command) -> dict[str, Any]:
    return {
        "CmdLine": list(command.words),
        "PrependShell": command.shell,
        "Files": [
            {"Name": heredoc.name, "Data": heredoc.content, "Chomp": heredoc.chomp}
            for heredoc in command.heredocs
        ],
    }


def _copy(copy: Copy) -> tuple[str, dict[str, Any]]:
    contents = [
        {
            "Path": heredoc.name,
            "Data": re.sub(r"(?m)^\t+", "", heredoc.content) if heredoc.chomp else heredoc.content,
            "Expand": heredoc.expand,
        }
        for heredoc in copy.heredocs
    ]
    names = {f"<<{heredoc.name}" for heredoc in copy.heredocs}
    fields = {
        "DestPath": copy.destination,
        "SourcePaths": [source for source in copy.sources if source not in names],
        "SourceContents": contents,
        "Chown": copy.owner,
        "Chmod": copy.mode,
        "Link": copy.link,
        "ExcludePatterns": list(copy.excludes),
    }
    if copy.add:
        return "AddCommand", {
            **fields, "Checksum": copy.checksum, "KeepGitDir": copy.keep_git_dir,
            "Unpack": copy.unpack,
        }  # fmt: skip
    return "CopyCommand", {**fields, "From": copy.from_, "Parents": copy.parents}


def _health(check: Healthcheck) -> dict[str, Any]:
    if check.command is None:
        return {"Test": ["NONE"]}
    kind = "CMD-SHELL" if check.command.shell else "CMD"
    return {
        "Test": [kind, *check.command.words],
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }


# --- differences that are meant -----------------------------------------------------------------


class Explained(NamedTuple):
    """A difference that is meant: its name, why, and which differences it covers."""

    name: str
    reason: str
    covers: Callable[[str, Difference], bool]


def _all_say(start: str) -> Callable[[str, Difference], bool]:
    return lambda _text, found: (
        found.what == "refused by wherry alone"
        and all(problem.message.startswith(start) for problem in found.ours)
    )


EXPLAINED = (
    Explained(
        "mounts",
        "wherry checks a mount when it reads the file, BuildKit when it builds that stage",
        _all_say("--mount="),
    ),
    Explained(
        "no FROM",
        "BuildKit refuses a file of ARGs alone in its next step",
        _all_say("the file has no FROM"),
    ),
    Explained(
        "not UTF-8",
        "the oracle's values go through Go's JSON, which has U+FFFD for bytes that are not UTF-8",
        lambda text, found: (
            found.what == "other values" and any("\udc80" <= char <= "\udcff" for char in text)
        ),
    ),
    Explained(
        "bytes in flags",
        "BuildKit takes each byte of a flag for a character, and so knows no flag or value that is"
        " not ASCII (a duration in \u00b5s)",
        lambda text, found: (
            found.what != "refused by wherry alone"
            and re.search(r"--[\x21-\x7e]*[^\x00-\x7f]", text) is not None
        ),
    ),
)


def explanation(oracle: Oracle, text: str, found: Difference) -> str:
    """The name of what explains a difference, empty without such."""
    for each in EXPLAINED:
        if each.covers(text, found):
            return each.name
    trees, heads = oracle.ask("parse", text=text), oracle.ask("syntax", text=text)
    parsed = dockerfile_comparison.compare(text, trees, heads)
    name = parsed and dockerfile_comparison.explanation(text, parsed)
    return f"parser: {name}" if name else ""


def texts(seed: int, count: int) -> list[str]:
    """Two of three by the grammar alone, one of three mutated."""
    random = Random(seed)
    made = [dockerfile(random) for _ in range(count)]
    return [text if index % 3 else mutated(random, text) for index, text in enumerate(made)]


def check(oracle: Oracle, seed: int, count: int) -> Counter[str]:
    """Compare `count` files; how often both took one, both refused it, and each explanation."""
    tally = Counter[str]()
    unexplained = []
    made = texts(seed, count)
    answers = oracle.ask_all("instructions", [{"text": text} for text in made])
    for text, theirs in zip(made, answers, strict=True):
        found = compare(text, theirs)
        if found is None:
            tally["refused" if "error" in theirs else "accepted"] += 1
        elif name := explanation(oracle, text, found):
            tally[name] += 1
        else:
            unexplained.append((text, found))
    for text, found in unexplained[:5]:
        print(f"{text!r}\n  {found.what}\n  ours:   {found.ours}\n  theirs: {found.theirs}\n")
    assert not unexplained, f"{len(unexplained)} of {count} files are read otherwise"
    return tally


def test_random_instructions_are_read_as_by_buildkit(oracle: Oracle) -> None:
    tally = check(oracle, 1, 300)
    # A comparison in which one side hardly occurs, or much is left out, would not say much.
    assert tally["accepted"] > 60 and tally["refused"] > 60, tally
    assert tally["accepted"] + tally["refused"] > 250, tally


@pytest.mark.soak
def test_many_random_instructions_are_read_as_by_buildkit(oracle: Oracle) -> None:
    tally = Counter[str]()
    for seed in range(2, 22):
        tally += check(oracle, seed, 1000)
    print(f"20,000 files: {dict(tally)}")
    assert tally["accepted"] > 4000 and tally["refused"] > 4000, tally
    assert tally["accepted"] + tally["refused"] > 17_000, tally
