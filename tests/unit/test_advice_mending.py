# SPDX-License-Identifier: Apache-2.0
"""Fixes applied: what fits together, what waits, what never ends, and how files are written."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.advice.mending import (
    Look,
    Settled,
    appended,
    lines_of,
    mend,
    settle,
    write_file,
)
from wherry.advice.model import Edit, Finding, Fix, Range, Rule, Severity
from wherry.advice.texts import Text
from wherry.errors import MachineError
from wherry.frontends.dockerfile.source import Position, Problem

IGNORE = ".dockerignore"
NOWHERE = Range(Position(1, 0), Position(1, 0))


def rule(name: str = "GO900", severity: Severity = Severity.WARNING) -> Rule:
    return Rule(name, name.lower(), severity, "made up", lambda _subject, _rule: iter(()))


def replacing(text: Text, old: str, new: str, name: str = "GO900", line: str = "") -> list[Finding]:
    """A finding for each place of `old`, whose fix writes `new`, and `line` into another file."""
    found = []
    for match in re.finditer(re.escape(old), text.whole):
        place = Range(text.position(match.start()), text.position(match.end()))
        edits = [Edit(place, new)]
        if line:
            edits.append(Edit(NOWHERE, line, IGNORE))
        found.append(Finding(rule(name), place, f"{old}!", fix=Fix("write", tuple(edits))))
    return found


def always(_finding: Finding) -> bool:
    return True


def never_there(_path: str, _line: str) -> bool:
    return False


def looker(rewrites: Sequence[tuple[str, str, str]]) -> Callable[[bytes], Look]:
    def look(data: bytes) -> Look:
        text = Text(data, "\\")
        found = [
            finding
            for number, (old, new, line) in enumerate(rewrites)
            for finding in replacing(text, old, new, f"GO90{number}", line)
        ]
        return Look(text, found)

    return look


def settled(data: bytes, *rewrites: tuple[str, str]) -> Settled:
    look = looker([(*rewrite, "") for rewrite in rewrites])
    return settle(data, look, always, never_there)


class TestOnePass:
    def test_fixes_that_do_not_touch_are_applied_together(self) -> None:
        text = Text("a b a\n", "\\")
        findings = [*replacing(text, "b", "B"), *replacing(text, "a", "x")]
        done = mend(text, findings, always, never_there)
        assert (done.text, len(done.applied), done.deferred) == (b"x B x\n", 3, ())

    def test_what_touches_waits_and_the_first_of_the_file_wins(self) -> None:
        text = Text("abc\n", "\\")
        findings = [*replacing(text, "bc", "y"), *replacing(text, "ab", "x")]
        done = mend(text, findings, always, never_there)
        assert done.text == b"xc\n"
        assert [finding.message for finding in done.deferred] == ["bc!"]

    def test_findings_of_one_fix_are_applied_together(self) -> None:
        text = Text("ab\n", "\\")
        findings = [*replacing(text, "a", "x", "GO901"), *replacing(text, "a", "x", "GO902")]
        done = mend(text, findings, always, never_there)
        assert (done.text, len(done.applied)) == (b"xb\n", 2)

    def test_what_is_not_allowed_stays(self) -> None:
        text = Text("ab\n", "\\")
        findings = [*replacing(text, "a", "x", "GO901"), *replacing(text, "b", "x", "GO902")]
        done = mend(text, findings, lambda item: item.rule.id == "GO902", never_there)
        assert done.text == b"ax\n"

    def test_a_fix_that_changes_nothing_or_overlaps_itself_is_passed_over(self) -> None:
        text = Text("abc\n", "\\")
        whole, part = replacing(text, "abc", "x")[0], replacing(text, "b", "y")[0]
        assert whole.fix
        assert part.fix
        broken = Fix("both", (*whole.fix.edits, *part.fix.edits))
        findings = [whole._replace(fix=broken), *replacing(text, "a", "a")]
        done = mend(text, findings, always, never_there)
        assert (done.text, done.applied, done.deferred) == (b"abc\n", (), ())

    def test_the_mark_the_line_ends_and_strange_bytes_stay(self) -> None:
        text = Text(b"\xef\xbb\xbfa\r\n\xff b\r\n", "\\")
        done = mend(text, replacing(text, "b", "c\nd"), always, never_there)
        assert done.text == b"\xef\xbb\xbfa\r\n\xff c\r\nd\r\n"

    def test_lines_for_another_file(self) -> None:
        text = Text("a a\n", "\\")
        fix = Fix("hide", (Edit(NOWHERE, ".git\n*.key  \n\n", IGNORE),))
        findings = [finding._replace(fix=fix) for finding in replacing(text, "a", "")]
        done = mend(text, findings, always, lambda _path, line: line == "*.key")
        assert (done.text, done.files) == (b"a a\n", {IGNORE: (".git",)})
        assert len(done.applied) == 2
        done = mend(text, findings, always, lambda _path, line: True)
        assert (done.files, done.applied) == ({}, ())


class TestAllPasses:
    def test_what_waited_is_done_next(self) -> None:
        done = settled(b"abc\n", ("ab", "x"), ("bc", "y"), ("xc", "z"))
        assert (done.text, len(done.applied), done.left) == (b"z\n", 2, ())

    def test_many_that_touch_are_all_done(self) -> None:
        assert settled(b"aaaaaaaaaaaaaaaaaaaaaaaa\n", ("aa", "a")).text == b"a\n"

    def test_what_grows_without_end_is_left_as_it_was(self) -> None:
        done = settled(b"a b\n", ("a", "aa"), ("b", "c"))
        assert (done.text, done.applied, done.undone) == (b"a b\n", (), ("GO900",))
        assert [finding.message for finding in done.left] == ["a!", "b!"]

    def test_a_circle_ends_at_its_first_text(self) -> None:
        done = settled(b"x\n", ("x", "a"), ("a", "b"), ("b", "a"))
        assert (done.text, len(done.applied), done.undone) == (b"a\n", 1, ())
        assert settled(done.text, ("x", "a"), ("a", "b"), ("b", "a")).text == b"a\n"

    def test_a_fix_that_breaks_the_file_is_not_kept(self) -> None:
        def look(data: bytes) -> Look:
            text = Text(data, "\\")
            problems = [Problem("broken", NOWHERE)] if b"x" in data else []
            return Look(text, replacing(text, "a", "x"), problems)

        done = settle(b"a\n", look, always, never_there)
        assert (done.text, done.applied, done.undone) == (b"a\n", (), ("GO900",))

    def test_a_finding_is_done_once_its_line_is_promised(self) -> None:
        def look(data: bytes) -> Look:
            fix = Fix("hide", (Edit(NOWHERE, ".git", IGNORE),))
            return Look(Text(data, "\\"), [Finding(rule(), NOWHERE, "seen", fix=fix)])

        done = settle(b"a\n", look, always, never_there)
        assert (done.files, len(done.applied), done.left) == ({IGNORE: (".git",)}, 1, ())
        # Where the line is there and the finding too, the line did not help.
        done = settle(b"a\n", look, always, lambda _path, _line: True)
        assert (done.files, done.applied, len(done.left)) == ({}, (), 1)


WORDS = st.text(alphabet="abc\n", min_size=0, max_size=3)
REWRITES = st.lists(
    st.tuples(WORDS.filter(bool), WORDS, st.sampled_from(("", "", "one", "two"))), max_size=4
)


@settings(deadline=None)
@given(text=st.text(alphabet="abc\r\n", max_size=8), rewrites=REWRITES)
def test_mending_again_changes_nothing(text: str, rewrites: list[tuple[str, str, str]]) -> None:
    """Whatever the fixes are: those that grow, undo each other or touch, too."""
    disk: dict[str, set[str]] = {}

    def has_line(path: str, line: str) -> bool:
        return line in disk.get(path, set())

    first = settle(text.encode(), looker(rewrites), always, has_line)
    for path, lines in first.files.items():
        disk.setdefault(path, set()).update(lines)
    second = settle(first.text, looker(rewrites), always, has_line)
    assert (second.text, second.files) == (first.text, {})


class TestFiles:
    def test_lines_at_the_end(self) -> None:
        assert appended(b"", ["a"]) == b"a\n"
        assert appended(b"x\n", ["a", "b"]) == b"x\na\nb\n"
        assert appended(b"x", ["a"]) == b"x\na\n"
        assert appended(b"x\r\ny", ["a"]) == b"x\r\ny\r\na\r\n"
        assert lines_of(b"\xef\xbb\xbfa \r\nb\xff\n") == {"a", "b\udcff", ""}

    def test_a_file_is_replaced_with_its_mode(self, tmp_path: Path) -> None:
        path = tmp_path / "Dockerfile"
        path.write_bytes(b"old")
        path.chmod(0o640)
        write_file(str(path), "Dockerfile", b"old", b"new")
        assert path.read_bytes() == b"new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert os.listdir(tmp_path) == ["Dockerfile"]

    def test_a_new_file(self, tmp_path: Path) -> None:
        write_file(str(tmp_path / IGNORE), IGNORE, None, b"new")
        assert (tmp_path / IGNORE).read_bytes() == b"new"

    def test_a_link_stays_one(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_bytes(b"old")
        (tmp_path / "Dockerfile").symlink_to("real")
        write_file(str(tmp_path / "Dockerfile"), "Dockerfile", b"old", b"new")
        assert (tmp_path / "Dockerfile").is_symlink()
        assert (tmp_path / "real").read_bytes() == b"new"

    @pytest.mark.parametrize("before", [b"other", None])
    def test_what_changed_meanwhile_is_not_overwritten(
        self, tmp_path: Path, before: bytes | None
    ) -> None:
        path = tmp_path / "Dockerfile"
        path.write_bytes(b"theirs")
        with pytest.raises(MachineError, match="Dockerfile changed meanwhile"):
            write_file(str(path), "Dockerfile", before, b"new")
        assert path.read_bytes() == b"theirs"
        assert os.listdir(tmp_path) == ["Dockerfile"]

    @pytest.mark.parametrize(("before", "step"), [(b"old", "fsync"), (None, "fsync"),
                                                  (None, "link")])  # fmt: skip
    def test_nor_what_changes_at_the_last_moment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None, step: str
    ) -> None:
        path = tmp_path / "Dockerfile"
        if before is not None:
            path.write_bytes(before)
        done = getattr(os, step)

        def late(*words: object) -> None:
            path.write_bytes(b"theirs")
            done(*words)

        monkeypatch.setattr(os, step, late)
        with pytest.raises(MachineError, match="Dockerfile changed meanwhile"):
            write_file(str(path), "Dockerfile", before, b"new")
        assert path.read_bytes() == b"theirs"
        assert os.listdir(tmp_path) == ["Dockerfile"]

    def test_file_systems_without_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
        write_file(str(tmp_path / IGNORE), IGNORE, None, b"new")
        assert (tmp_path / IGNORE).read_bytes() == b"new"

    def test_what_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(MachineError, match="cannot write a/b"):
            write_file(str(tmp_path / "a" / "b"), "a/b", None, b"new")
