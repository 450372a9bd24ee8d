# SPDX-License-Identifier: Apache-2.0
"""Mending what `wherry check` found: in memory first, then file by file on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.mending import Look, Settled, appended, lines_of, settle, write_file
from wherry.advice.run import advise
from wherry.errors import MachineError, WherryError

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.model import Finding
    from wherry.api.checking import Checked, CheckedFile, Checker

STAGE_SPLIT: Final = "single-stage"
"""The rule whose fix makes two stages of one: so much that it has a switch of its own."""


class Allowed(NamedTuple):
    """Which fixes are wanted: those that change what an image does, the split into stages.

    `without` and `just` are ids of rules: those that are left out, and, if any, all that count.
    """

    unsafe: bool = False
    split: bool = False
    without: frozenset[str] = frozenset()
    just: frozenset[str] = frozenset()

    def allows(self, finding: Finding, *, has_place: bool) -> bool:
        """Whether a finding's fix is; a text without a place has no files beside it."""
        fix = finding.fix
        if fix is None or (not has_place and any(edit.path for edit in fix.edits)):
            return False
        if finding.rule.id in self.without or (self.just and finding.rule.id not in self.just):
            return False
        return self.split if finding.rule.name == STAGE_SPLIT else fix.safe or self.unsafe


class Change(NamedTuple):
    """A file before (None: there is none) and after; `path` is what the user calls it.

    `place` is where it is, empty for a text without a file.
    """

    path: str
    place: str
    before: bytes | None
    after: bytes


class Mending(NamedTuple):
    """What mending comes to: the files as they are then, what was applied, what has to be written.

    `undone` are the ids of rules whose fixes were left out since they never come to an end.
    """

    files: tuple[CheckedFile, ...]
    applied: tuple[tuple[str, Finding], ...]
    changes: tuple[Change, ...]
    undone: tuple[str, ...] = ()


def mend_files(checker: Checker, checked: Checked, wanted: Allowed) -> Mending:
    """Apply the wanted fixes of all files, in memory."""
    shelf = _Shelf(checker.cwd)
    files: list[CheckedFile] = []
    applied: list[tuple[str, Finding]] = []
    undone: dict[str, None] = {}
    for file in checked.files:
        result = _settled(checker, file, wanted, shelf)
        undone.update(dict.fromkeys(result.undone))
        applied.extend((file.path, finding) for finding in result.applied)
        files.append(_after(checker, file, result) if result.applied else file)
        if result.text != file.data:
            shelf.put(file.path, file.place, file.data, result.text)
        for path, lines in result.files.items():
            shelf.append(file.subject.context, path, lines)
    return Mending(tuple(files), tuple(applied), shelf.changes(), tuple(undone))


def write_mending(mending: Mending, checked: Checked) -> tuple[Mending, tuple[WherryError, ...]]:
    """Write the files, each at once: what mending comes to then, and why some could not be.

    A Dockerfile that was written is told as mended, even if lines for a file beside it are missing.
    """
    errors: list[WherryError] = []
    lost: set[str] = set()
    for change in mending.changes:
        if change.place:
            try:
                write_file(change.place, change.path, change.before, change.after)
            except MachineError as error:
                errors.append(error)
                lost.add(os.path.realpath(change.place))
    return (_without(mending, checked, lost) if lost else mending), tuple(errors)


def _without(mending: Mending, checked: Checked, lost: set[str]) -> Mending:
    """The same, but for what would be in the files that are lost."""
    files = {old.path: (old, new) for old, new in zip(checked.files, mending.files, strict=True)}
    applied: list[tuple[str, Finding]] = []
    failed: set[str] = set()
    for path, finding in mending.applied:
        if lost.isdisjoint(_written(files[path][0], finding)):
            applied.append((path, finding))
        else:
            failed.add(path)
    kept = tuple(
        old if path in failed and (old.data == new.data or os.path.realpath(old.place) in lost)
        else new
        for path, (old, new) in files.items()
    )  # fmt: skip
    changes = tuple(item for item in mending.changes if os.path.realpath(item.place) not in lost)
    return mending._replace(files=kept, applied=tuple(applied), changes=changes)


def _written(file: CheckedFile, finding: Finding) -> set[str]:
    """The files that a finding's fix writes to."""
    context, edits = file.subject.context, finding.fix.edits if finding.fix else ()
    beside = {_inside(context, edit.path) for edit in edits if edit.path and context is not None}
    own = {file.place} if any(not edit.path for edit in edits) else set()
    return set(map(os.path.realpath, beside | own))


def _settled(checker: Checker, file: CheckedFile, wanted: Allowed, shelf: _Shelf) -> Settled:
    def look(data: bytes) -> Look:
        if data == file.data:
            return Look(file.subject.text, file.advice.findings, file.subject.problems)
        subject = checker.subject(data, file.path, file.subject.context)
        return Look(subject.text, advise(subject, file.choice).findings, subject.problems)

    def allowed(finding: Finding) -> bool:
        return wanted.allows(finding, has_place=bool(file.place))

    return settle(file.data, look, allowed, shelf.asker(file.subject.context))


def _after(checker: Checker, file: CheckedFile, result: Settled) -> CheckedFile:
    subject = checker.subject(result.text, file.path, file.subject.context)
    advice = file.advice._replace(findings=result.left)
    return file._replace(data=result.text, subject=subject, advice=advice)


class _Shelf:
    """Files as they are once all is written; each is read from the disk once."""

    def __init__(self, cwd: str) -> None:
        self._cwd = cwd
        self._changes: dict[str, Change] = {}

    def put(self, path: str, place: str, before: bytes, after: bytes) -> None:
        self._changes[os.path.realpath(place) if place else ""] = Change(path, place, before, after)

    def append(self, context: Context | None, path: str, lines: tuple[str, ...]) -> None:
        if context is None:
            return
        place = _inside(context, path)
        known = self._changes.get(os.path.realpath(place))
        before = known.before if known else _read(place)
        after = (known.after if known else before) or b""
        there = lines_of(after)
        new = [line for line in lines if line not in there]
        if new:
            shown = os.path.relpath(place, self._cwd)
            change = Change(shown, place, before, appended(after, new))
            self._changes[os.path.realpath(place)] = change

    def asker(self, context: Context | None) -> Callable[[str, str], bool]:
        """What says whether a file of a build context has a line on the disk.

        Lines that another Dockerfile has just asked for count as new: they mend this one, too.
        """
        read: dict[str, frozenset[str]] = {}

        def has_line(path: str, line: str) -> bool:
            if context is None:
                return False
            if path not in read:
                place = _inside(context, path)
                read[path] = lines_of(_read(place) or b"")
            return line in read[path]

        return has_line

    def changes(self) -> tuple[Change, ...]:
        return tuple(sorted(self._changes.values(), key=lambda change: change.path))


def _inside(context: Context, path: str) -> str:
    """A file of the build context, which no path leads out of."""
    return os.path.join(context.directory, os.path.normpath(f"/{path}").lstrip("/"))


def _read(place: str) -> bytes | None:
    try:
        with open(place, "rb") as file:
            return file.read()
    except OSError:
        return None
