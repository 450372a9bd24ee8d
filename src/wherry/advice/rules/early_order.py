# SPDX-License-Identifier: Apache-2.0
"""Mending the order: the module files and their download go before the copy of all sources."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Fix
from wherry.advice.reading.copied_files import brings, mounts_of, placed_by, within
from wherry.advice.reading.fetching import module_files, workspace_above, workspace_files
from wherry.advice.reading.run_programs import is_apart, stands_apart
from wherry.advice.reading.whole_lines import after, before, block_text, gap, removal
from wherry.frontends.dockerfile.instructions import Copy, Run

if TYPE_CHECKING:
    from wherry.advice.model import Edit
    from wherry.advice.rules.cache_order import Late
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, State

_TITLE: Final = "fetch the modules before the sources are copied"
_PLAIN: Final = re.compile(r"[\w./@+${}:-]+")
# Settings that change what is fetched, from where, and where to.
_SETTINGS: Final = re.compile(
    r"GO(?!OS\Z|ARCH\Z|ARM|AMD64\Z|LANG_VERSION\Z)|GIT|SSH|.*PROXY\Z|HOME\Z", re.IGNORECASE
)
_KEPT_FLAGS: Final = ("--chown", "--chmod", "--link")


class Copied(NamedTuple):
    """What a COPY of sources says: where in the build context, and its destination as written."""

    line: Line
    source: str
    destination: str


def late_fix(subject: Subject, late: Late) -> Fix | None:
    """Copies go.mod and its like first and fetches then; None where that may not do the same."""
    lines = _early_lines(subject, late)
    if lines is None or not _is_prepared(late):
        return None
    download = _download(late)
    run = None if download else _run(late)
    if download is None and run is None:
        return None
    for way in (_moved_up, _moved_down):
        edits = way(subject, late, lines, run)
        if edits is not None:
            return Fix(_TITLE, edits)
    return None


def without_fix(subject: Subject, late: Late) -> Fix:
    """Takes the copy out, which another one behind the download repeats."""
    return Fix("leave out the first of two copies", (removal(subject.text, late.copy.range),))


def _early_lines(subject: Subject, late: Late) -> str | None:
    """The COPYs of the module files, as whole lines."""
    context, typed = subject.context, late.copy.instruction
    if context is None or late.module is None or not isinstance(typed, Copy):
        return None
    files = module_files(context, late.module)
    workspace = workspace_above(context, late.module)
    if workspace is not None and late.command.environment.get("GOWORK") != "off":
        files = workspace_files(context, workspace)
    if files is None:
        return None
    if late.has_early:
        there = [
            item for line in late.copy.stage.all_lines if line.range < late.copy.range
            for item in (placed_by(line) or () if isinstance(line.instruction, Copy) else ())
        ]  # fmt: skip
        source, target = late.placed.source, late.placed.target
        files = tuple(
            path for path in files
            if not brings(tuple(there), posixpath.join(target, within(path, source) or ""), context)
        )  # fmt: skip
    return copy_lines(Copied(late.copy, late.placed.source, typed.destination), files)


def copy_lines(copied: Copied, files: tuple[str, ...]) -> str | None:
    """COPYs of files to the places where the COPY of all puts them; None where that fails.

    Paths are those of the build context; one line for each directory, as that COPY is written.
    """
    by_directory: dict[str, list[str]] = {}
    for path in files:
        inside = within(path, copied.source)
        if inside is None or not _PLAIN.fullmatch(path):
            return None
        by_directory.setdefault(posixpath.dirname(inside), []).append(path)
    if not _PLAIN.fullmatch(copied.destination):
        return None
    line = copied.line
    text = line.subject.text
    flags = [text.slice(flag.range) for flag in line.node.flags if _is_kept(flag.text)]
    keyword = "copy" if line.node.original.lstrip()[:1].islower() else "COPY"
    return "".join(
        " ".join((text.indent(line.range) + keyword, *flags, *paths,
                  inner_destination(copied.destination, directory))) + "\n"
        for directory, paths in by_directory.items()
    )  # fmt: skip


def inner_destination(written: str, directory: str) -> str:
    """A destination with a directory below it, in its style: of `.` and `lib`, `./lib/`."""
    top = written.removesuffix(".") if written.endswith("/.") or written == "." else written
    top = (top or ".").rstrip("/")
    return f"{top}/{directory}/" if directory else f"{top}/"


def _is_kept(flag: str) -> bool:
    return flag.partition("=")[0] in _KEPT_FLAGS


def _download(late: Late) -> Line | None:
    """The RUN that does nothing but fetch, which can be moved as it is."""
    line = late.command.line
    if line.stage is not late.copy.stage or late.command.verb != "mod download":
        return None
    typed = line.instruction
    is_whole = isinstance(typed, Run) and not typed.command.heredocs and len(line.commands) == 1
    return line if is_whole and not late.command.command.nested else None


def _run(late: Late) -> str | None:
    """A new RUN that fetches, with what the other one has to reach the modules."""
    command, line = late.command, late.command.line
    state = _state_there(late)
    names = {*command.environment, *state.variables}
    if any(
        command.environment.get(name) != state.variables.get(name)
        for name in names
        if _SETTINGS.match(name)
    ):
        return None
    before_it = line.commands[: line.commands.index(command.command)]
    mounts = mounts_of(line)
    if mounts is None or not all(item.program == "go" or is_apart(item) for item in before_it):
        return None
    if any(item.program == "git" for item in before_it):
        return None
    if any(mount.type == "bind" for mount in mounts):
        return None
    text = line.subject.text
    flags = [
        text.slice(flag.range) for flag in line.node.flags
        if "type=secret" in flag.text or "type=ssh" in flag.text
    ]  # fmt: skip
    keyword = "run" if line.node.original.lstrip()[:1].islower() else "RUN"
    indent = text.indent(late.copy.range)
    inside = state.directory in (late.root, command.directory)
    words = "go mod download" if inside else f"cd {late.root} && go mod download"
    if not _PLAIN.fullmatch(late.root):
        return None
    return f"{' '.join((indent + keyword, *flags, words))}\n"


def _state_there(late: Late) -> State:
    """What is true where the new RUN will stand."""
    return late.copy.state if _goes_up(late) else late.command.line.state


def _is_prepared(late: Late) -> bool:
    """Whether nothing between the copy and the download is needed for it in unknown ways."""
    return all(stands_apart(line) for line in late.between if isinstance(line.instruction, Run))


def _goes_up(late: Late) -> bool:
    """Whether the download can stand where the copy stands."""
    here, there = late.copy.state, late.command.line.state
    if any(isinstance(line.instruction, Run) for line in late.between):
        return False
    if (here.user, here.shell) != (there.user, there.shell):
        return False
    if _download(late) is None:
        return late.command.line.stage is not late.copy.stage or here.directory in (
            late.root, late.command.directory
        ) or not _is_free(late)  # fmt: skip
    return here.directory == there.directory and here.variables == there.variables


def _is_free(late: Late) -> bool:
    """Whether the copy means the same right before the command that fetches."""
    line = late.copy
    if any(isinstance(item.instruction, Copy) for item in late.between):
        return False
    fetching = late.command.line
    return fetching.stage is line.stage and placed_by(line) == placed_by(line, fetching.state)


def _moved_up(subject: Subject, late: Late, lines: str, run: str | None) -> tuple[Edit, ...] | None:
    if not _goes_up(late):
        return None
    text = subject.text
    place = late.copy.range
    if run is not None:
        return (before(text, place, lines + run + gap(text, place)),)
    moved = late.command.line.range
    new = lines + block_text(text, moved) + (gap(text, moved) or gap(text, place))
    return before(text, place, new), removal(text, moved)


def _moved_down(
    subject: Subject, late: Late, lines: str, run: str | None
) -> tuple[Edit, ...] | None:
    if not _is_free(late):
        return None
    text = subject.text
    place = late.command.line.range
    copied = block_text(text, late.copy.range)
    gone = removal(text, late.copy.range)
    if run is not None:
        return gone, before(text, place, lines + run + gap(text, place) + copied)
    return gone, before(text, place, lines), after(text, place, copied)
