# SPDX-License-Identifier: Apache-2.0
"""Applying fixes: which of them fit together, again and again until nothing is left to do.

A fix is applied whole or not at all. One that touches what another of the same pass touches waits
for the next pass, which looks at the new text. Lines for other files (`Edit.path`) are appended to
them unless they are there already; where in the file the edit's range is, is not asked.

What comes out is stable: mending it again changes nothing. So where fixes never come to an end,
nothing is changed at all, and where they go round in a circle, its first text is taken.
"""

from __future__ import annotations

import codecs
import os
import secrets
import stat
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.texts import apply
from wherry.errors import MachineError

if TYPE_CHECKING:
    from wherry.advice.model import Edit, Finding, Fix
    from wherry.advice.texts import Text
    from wherry.frontends.dockerfile.source import Problem

# Passes that leave as much to do as there was before: one with fewer fixes than ever counts not.
_MOST_IDLE: Final = 10
# A text that grows beyond this many times its size, and these bytes, would go on growing.
_MOST_TIMES: Final = 4
_MOST_MORE: Final = 16 << 10

Lines = dict[str, tuple[str, ...]]
"""Lines that are appended, by the path of the file in the build context."""


class Look(NamedTuple):
    """What is known of one text: itself by places, what is wrong with it, what was found."""

    text: Text
    findings: Sequence[Finding]
    problems: Sequence[Problem] = ()


class Mended(NamedTuple):
    """One pass: the new text, new lines of other files, fixes that were applied or have to wait."""

    text: bytes
    files: Lines
    applied: tuple[Finding, ...]
    deferred: tuple[Finding, ...]


class Settled(NamedTuple):
    """All passes: as `Mended`; `left` is what was found last and is still so.

    `undone` are the ids of rules whose fixes never came to an end or broke the file, and are not
    in the text.
    """

    text: bytes
    files: Lines
    applied: tuple[Finding, ...]
    left: tuple[Finding, ...]
    undone: tuple[str, ...] = ()


def mend(
    text: Text,
    findings: Iterable[Finding],
    allowed: Callable[[Finding], bool],
    has_line: Callable[[str, str], bool],
) -> Mended:
    """One pass over the fixes that are allowed, in the order of the file.

    `has_line(path, line)` says whether another file has a line. A fix that changes nothing, or
    whose own edits overlap, is passed over. Findings with the same edits are applied together.
    """
    taken: dict[Edit, None] = {}
    spans: list[tuple[int, int]] = []
    files: Lines = {}
    applied: list[Finding] = []
    deferred: list[Finding] = []
    for finding, fix in sorted(_fixes(findings, allowed), key=lambda item: _order(text, item)):
        own = [edit for edit in fix.edits if not edit.path and _changes(text, edit)]
        lines = _new_lines(fix, has_line)
        if (not own and not lines) or not _is_sound(text, own):
            continue
        if not all(edit in taken for edit in own):
            new = [text.span(edit.range) for edit in own]
            if any(_touches(spans, *span) for span in new):
                deferred.append(finding)
                continue
            taken.update(dict.fromkeys(own))
            for span in new:
                insort(spans, span)
        applied.append(finding)
        _add(files, lines)
    data = encoded(apply(text, taken), mark=text.mark)
    return Mended(data, files, tuple(applied), tuple(deferred))


class _State(NamedTuple):
    data: bytes
    files: Lines
    applied: tuple[Finding, ...]
    look: Look


def settle(
    data: bytes,
    look: Callable[[bytes], Look],
    allowed: Callable[[Finding], bool],
    has_line: Callable[[str, str], bool],
) -> Settled:
    """Mend a text until there is nothing to do; `look` says what is found in one."""
    states = [_State(data, {}, (), look(data))]
    least, idle = len(states[0].look.findings) + 1, 0
    most = _MOST_TIMES * len(data) + _MOST_MORE
    while True:
        now = states[-1]

        def is_known(path: str, line: str, now: _State = now) -> bool:
            return line in now.files.get(path, ()) or has_line(path, line)

        done = mend(now.look.text, now.look.findings, allowed, is_known)
        if not done.applied:
            return _settled(now, has_line)
        rules = tuple(sorted({finding.rule.id for finding in done.applied}))
        waiting = len(done.applied) + len(done.deferred)
        least, idle = (waiting, idle) if waiting < least else (least, idle + 1)
        if idle > _MOST_IDLE or len(done.text) > most:
            return _settled(states[0], has_line)._replace(undone=rules)
        files = dict(now.files)
        _add(files, done.files)
        following = look(done.text)
        if len(following.problems) > len(now.look.problems):
            return _settled(now, has_line)._replace(undone=rules)
        for before in states:
            if (before.data, before.files) == (done.text, files):
                return _settled(before, has_line)
        states.append(_State(done.text, files, (*now.applied, *done.applied), following))


def _settled(state: _State, has_line: Callable[[str, str], bool]) -> Settled:
    left = tuple(
        finding for finding in state.look.findings if not _is_done(finding, state.files, has_line)
    )
    return Settled(state.data, state.files, state.applied, left)


def _is_done(finding: Finding, files: Lines, has_line: Callable[[str, str], bool]) -> bool:
    """Whether lines for other files, which nobody has written yet, mend the finding."""
    fix = finding.fix
    if fix is None or not fix.edits or not all(edit.path for edit in fix.edits):
        return False
    wanted = [(edit.path, line) for edit in fix.edits for line in _lines(edit)]
    added = [item for item in wanted if item[1] in files.get(item[0], ())]
    return bool(added) and all(item in added or has_line(*item) for item in wanted)


def _fixes(
    findings: Iterable[Finding], allowed: Callable[[Finding], bool]
) -> Iterable[tuple[Finding, Fix]]:
    for finding in findings:
        if finding.fix is not None and allowed(finding):
            yield finding, finding.fix


def _order(text: Text, item: tuple[Finding, Fix]) -> tuple[int, int, str]:
    finding, fix = item
    starts = [text.offset(edit.range.start) for edit in fix.edits if not edit.path]
    place = text.offset(finding.range.start)
    return min(starts, default=place), place, finding.rule.id


def _changes(text: Text, edit: Edit) -> bool:
    new = edit.text if text.newline == "\n" else edit.text.replace("\n", "\r\n")
    return text.slice(edit.range) != new


def _touches(spans: list[tuple[int, int]], start: int, end: int) -> bool:
    """Whether characters are in or right beside one of the spans, which are sorted."""
    at = bisect_right(spans, start, key=lambda span: span[0])
    return (at > 0 and spans[at - 1][1] >= start) or (at < len(spans) and spans[at][0] <= end)


def _is_sound(text: Text, edits: Sequence[Edit]) -> bool:
    at = 0
    for start, end in sorted(text.span(edit.range) for edit in edits):
        if start < at or end < start:
            return False
        at = end
    return True


def _lines(edit: Edit) -> tuple[str, ...]:
    return tuple(line.rstrip() for line in edit.text.split("\n") if line.strip())


def _new_lines(fix: Fix, has_line: Callable[[str, str], bool]) -> Lines:
    found: Lines = {}
    for edit in fix.edits:
        if edit.path:
            new = tuple(line for line in _lines(edit) if not has_line(edit.path, line))
            _add(found, {edit.path: new} if new else {})
    return found


def _add(files: Lines, more: Lines) -> None:
    for path, lines in more.items():
        files[path] = tuple(dict.fromkeys((*files.get(path, ()), *lines)))


def encoded(text: str, *, mark: bool) -> bytes:
    """The bytes of a text, with the mark of UTF-8 before it where it had one."""
    data = text.encode("utf-8", "surrogateescape")
    return codecs.BOM_UTF8 + data if mark else data


def lines_of(data: bytes) -> frozenset[str]:
    """The lines of a file, without blanks at their ends."""
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    return frozenset(line.rstrip() for line in text.split("\n"))


def appended(data: bytes, lines: Sequence[str]) -> bytes:
    """A file's bytes with lines at its end, each ended as the file's own are."""
    newline = b"\r\n" if b"\r\n" in data else b"\n"
    begins = newline if data and not data.endswith(b"\n") else b""
    added = b"".join(line.encode("utf-8", "surrogateescape") + newline for line in lines)
    return data + begins + added


def write_file(path: str, shown: str, before: bytes | None, after: bytes) -> None:
    """Replace a file that holds `before` (None: there is none) at once, keeping its mode.

    A link stays one: the file that it leads to is replaced. Raises `MachineError`, also where the
    file holds something else by now.
    """
    place = os.path.realpath(path)
    staged = f"{place}.{secrets.token_hex(4)}.tmp"
    try:
        try:
            with open(staged, "xb") as file:
                if before is not None:
                    _keep_rights(os.stat(place), file.fileno())
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
            _put(staged, place, shown, before)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(staged)
    except OSError as error:
        raise MachineError(f"cannot write {shown}", why=error.strerror or str(error),
                           hint="make room, or make the directory writable") from error  # fmt: skip


def _put(staged: str, place: str, shown: str, before: bytes | None) -> None:
    """Rename, unless the place holds something else by now."""
    changed = MachineError(f"{shown} changed meanwhile", why="it is left as it is",
                           hint="say the same again")  # fmt: skip
    if _held(place) != before:
        raise changed
    if before is None:
        try:
            # Unlike a renamed file, a link takes nobody's place.
            os.link(staged, place)
        except FileExistsError:
            raise changed from None
        except OSError:
            # Not every file system has links.
            os.replace(staged, place)
        return
    os.replace(staged, place)


def _held(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _keep_rights(was: os.stat_result, descriptor: int) -> None:
    # Only root may give files away, and others have made theirs by themselves.
    with suppress(PermissionError):
        os.fchown(descriptor, was.st_uid, was.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(was.st_mode))
