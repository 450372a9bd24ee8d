# SPDX-License-Identifier: Apache-2.0
"""A rule about variables that are new with each build: what runs behind them is never cached.

An ARG or ENV counts for every RUN behind it, whether that one uses it or not (Dockerfile reference,
"Impact on build caching"). A LABEL does not, but has to stay behind the ARG that it uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Finding, Fix, Range, Rule, Severity
from wherry.advice.reading.destinations import VARIABLE
from wherry.advice.reading.fetching import fetches
from wherry.advice.reading.go_commands import go_commands
from wherry.advice.reading.run_programs import installs, reads_named_only
from wherry.advice.reading.whole_lines import after, before, block, block_text, removal
from wherry.frontends.dockerfile.instructions import Arg, Env, Label, Run

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Command
    from wherry.advice.subject import Subject
    from wherry.advice.texts import Text
    from wherry.advice.views import Line, StageView

# A new value with each commit or build, unless the default is somebody's choice.
_ALWAYS: Final = re.compile(
    r"(?:\w+_)?(?:"
    r"(?:GIT|VCS|CI|SOURCE|SRC|BUILD|HEAD)?_?(?:COMMIT|REVISION)"
    r"(?:_?(?:SHA|HASH|ID|SHORT|DATE|TIME|REF))?"
    r"|GIT_?(?:SHA1?|HASH|REV|REF|TAG|BRANCH|DESCRIBE|(?:TREE_?)?STATE|DIRTY|SUMMARY)"
    r"|VCS_?REF|GITHUB_SHA|CI_COMMIT_\w+|SHORT_SHA"
    r"|BUILD_?(?:DATE|TIME|TIMESTAMP|STAMP|NUMBER|NUM|ID)|TIMESTAMP"
    r")",
    re.IGNORECASE,
)
# New with each release, or what a tool is pinned to: the default tells.
_MAYBE: Final = re.compile(
    r"(?:(?:APP|BUILD|RELEASE|SERVICE|IMAGE|PROJECT|PROGRAM|BINARY|GIT|PKG|MAIN)_?)?VERSION|DATE"
    r"|REVISION|BUILD|RELEASE",
    re.IGNORECASE,
)
_NO_VERSION: Final = frozenset(
    ("", "dev", "devel", "development", "unknown", "latest", "none", "local", "snapshot", "head",
     "main", "master", "undefined", "unset", "n/a", "na", "unversioned", "docker", "edge",
     "canary", "v0.0.0", "0.0.0", "0.0.0-dev", "v0.0.0-dev", "0.0.0-snapshot", "now")
)  # fmt: skip
# What somebody chose: another is chosen by changing the Dockerfile.
_PIN: Final = re.compile(r"v?\d+(?:\.\d+)+.*|[0-9a-f]{7,64}")
# What go, git and their like read without being told in the command.
_READ_UNNAMED: Final = re.compile(
    r"GO[A-Z0-9]+|(?:CGO_|GIT_(?:CONFIG|SSH|DIR|AUTHOR_|COMMITTER_)|SSH_|LD_|PKG_CONFIG|APT_).*|PATH"
    r"|HOME|TMPDIR|TZ|CC|CXX|C(?:PP|XX)?FLAGS|LDFLAGS|SOURCE_DATE_EPOCH|.*_PROXY",
    re.IGNORECASE,
)
_GONE: Final = "take out what nothing uses"


class _Moved(NamedTuple):
    """Lines that only hold a changing value, and where its first use is: None for the end.

    `kept` is the RUN before that use that need not run again, for its `command`.
    """

    lines: tuple[Line, ...]
    names: tuple[str, ...]
    use: Line | None
    kept: Line
    command: Command


def _changing(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for stage in subject.stages:
        moves = [found for line in stage.lines if (found := _moved(stage, line)) is not None]
        for group in _groups(moves):
            moved, names = group[0], [name for one in group for name in one.names]
            line, command = moved.lines[0], moved.command
            listed = ", ".join(names[:-1]) + " and " + names[-1]
            change, it = f"ARG {listed} change", "them"
            if len(names) == 1:
                change, it = f"ARG {names[0]} changes", "it"
            fix = _fix(stage, [other for other in moves if other.use is moved.use])
            hint = f"move {it} down to the command that uses {it}"
            if moved.use is not None and not _names(moved.use, set(names)):
                line_there = moved.use.head.lines[0]
                hint = f"move {it} down to line {line_there}, the first that may use {it}"
            if fix.title == _GONE:
                hint = f"nothing uses {it}: take {it} out"
            elif moved.use is None:
                hint = f"move {it} down to the end of the stage"
            yield rule.find(
                line.head,
                f"{change} with each build: {_shown(command)} behind {it}, which does not use {it},"
                " runs again each time",
                hint,
                fix,
                ((moved.kept.place(command.start, command.end), "this runs again"),),
            )


def _groups(moves: list[_Moved]) -> list[list[_Moved]]:
    """Those that hold up the same command and belong at the same place, together."""
    found: list[list[_Moved]] = []
    for moved in moves:
        for group in found:
            if group[0].use is moved.use and group[0].kept is moved.kept:
                group.append(moved)
                break
        else:
            found.append([moved])
    return found


def _shown(command: Command) -> str:
    """The first words of a command, without its flags."""
    words = list(takewhile(lambda word: not word.startswith("-"), command.arguments[:2]))
    if command.program == "go":
        return " ".join((command.program, *words))
    verb = next((word for word in command.arguments if word in ("add", "install")), "")
    return f"{command.program} {verb}".rstrip()


def _moved(stage: StageView, line: Line) -> _Moved | None:
    """What could be moved down to the first use of the changing values of an ARG, if anything."""
    typed = line.instruction
    if not isinstance(typed, Arg):
        return None
    names = tuple(name for name, default in typed.arguments if _is_changing(line, name, default))
    if not names:
        return None
    known = {name for name, _ in typed.arguments}
    lines = [line]
    kept: Line | None = None
    command: Command | None = None
    use: Line | None = None
    for following in stage.lines[stage.lines.index(line) + 1 :]:
        if not _uses(following, known):
            if command is None:
                kept, command = following, _expensive(following)
        elif command is None and isinstance(following.instruction, Env | Label):
            if _is_replaced(following, names):
                return None
            known.update(_set_by(following))
            lines.append(following)
        else:
            use = following
            break
    if use is not None and known & set(_set_by(use)):
        # Set anew there: which of both counts where is for whoever wrote that.
        return None
    if kept is None or command is None or not _may_move(stage, lines, use):
        return None
    return _Moved(tuple(lines), names, use, kept, command)


def _is_replaced(line: Line, names: tuple[str, ...]) -> bool:
    """Whether an ENV gives one of the names a value of its own, which counts from there on."""
    typed = line.instruction
    return isinstance(typed, Env) and any(
        pair.name in names and pair.name not in VARIABLE.findall(pair.value)
        for pair in typed.variables
    )


def _may_move(stage: StageView, lines: list[Line], use: Line | None) -> bool:
    """Whether the lines mean the same further down: nothing that they use is set in between."""
    last = len(stage.lines) if use is None else stage.lines.index(use)
    for line in lines:
        names = {*VARIABLE.findall(line.node.rest), *_set_by(line)}
        behind = stage.lines[stage.lines.index(line) + 1 : last]
        if any(names & set(_set_by(other)) for other in behind if other not in lines):
            return False
    return True


def _set_by(line: Line) -> tuple[str, ...]:
    match line.instruction:
        case Arg(arguments=pairs):
            return tuple(name for name, _ in pairs)
        case Env(variables=variables):
            return tuple(pair.name for pair in variables)
        case _:
            return ()


def _is_changing(line: Line, name: str, default: str | None) -> bool:
    always = _ALWAYS.fullmatch(name) is not None
    if not always and not _MAYBE.fullmatch(name):
        return False
    if default is None:
        # One before the first FROM may have a default for it.
        default = line.subject.globals.get(name, "")
    value = line.expand(default).strip("\"'").lower()
    return value in _NO_VERSION or (always and not _PIN.fullmatch(value))


def _uses(line: Line, names: set[str]) -> bool:
    """Whether an instruction uses one of the variables, or may: a script has them all."""
    if _names(line, names):
        return True
    if not isinstance(line.instruction, Run):
        return False
    if any(map(_READ_UNNAMED.fullmatch, names)):
        return True
    return not line.commands or not all(map(_reads_named_only, line.commands))


def _reads_named_only(command: Command) -> bool:
    """As `reads_named_only`; tests are programs that may ask for any variable."""
    is_test = command.program == "go" and "test" in command.arguments
    return reads_named_only(command) and not is_test


def _names(line: Line, names: set[str]) -> bool:
    """Whether an instruction names one of the variables."""
    bodies = " ".join(heredoc.content for heredoc in line.node.heredocs)
    text = f"{line.node.original} {bodies}"
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)


def _expensive(line: Line) -> Command | None:
    """The command of a RUN that takes long: it fetches, installs or compiles."""
    if not isinstance(line.instruction, Run):
        return None
    for command in go_commands(line):
        if fetches(command) or command.compiles:
            return command.command
    return next(filter(installs, line.commands), None)


def _fix(stage: StageView, moves: list[_Moved]) -> Fix:
    """Moves all lines that belong at the same place, in their order.

    ARGs that nothing uses are taken out; a stage that stands on this one has them too.
    """
    text = stage.subject.text
    use = moves[0].use
    places = sorted({line.range for moved in moves for line in moved.lines})
    new = "".join(block_text(text, place) for place in places)
    edits = [removal(text, place) for place in _joined(text, places)]
    is_base = any(other.below is stage for other in stage.subject.stages)
    plain = all(isinstance(line.instruction, Arg) for moved in moves for line in moved.lines)
    if use is None and plain and not is_base:
        return Fix(_GONE, tuple(edits))
    if use is not None:
        edits.append(before(text, use.range, new))
    else:
        edits.append(after(text, stage.lines[-1].range, new))
    return Fix("move what changes down", tuple(edits))


def _joined(text: Text, places: list[Range]) -> list[Range]:
    """Neighbours become one, so that blank lines around them are seen as they are."""
    found: list[Range] = []
    for place in places:
        whole = block(text, place)
        if found and found[-1].end == whole.start:
            found[-1] = Range(found[-1].start, whole.end)
        else:
            found.append(whole)
    return found


RULES: Final = (
    Rule("GO004", "changing-value-early", Severity.WARNING,
         "a value that changes with each build stands before what does not need it", _changing,
         mends=True),
)  # fmt: skip
