# SPDX-License-Identifier: Apache-2.0
"""`wherry check` as users meet it, with made-up rules: what rules find has tests of its own."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.advice.catalogue import RULES as REAL_RULES
from wherry.advice.model import Edit, Finding, Fix, Need, Range, Rule, Severity
from wherry.advice.subject import Subject
from wherry.api.check_mending import STAGE_SPLIT
from wherry.cli.verbs import run_verb
from wherry.errors import MachineError, SeveralErrors, UsageError, WherryError

DOCKERFILE = "FROM golang:latest\nRUN echo A\nRUN date\n"
MENDED = "FROM golang:1\nRUN echo A\nRUN date\n"


def each(subject: Subject, pattern: str) -> Iterator[tuple[Range, str]]:
    text = subject.text
    for match in re.finditer(pattern, text.whole):
        yield Range(text.position(match.start()), text.position(match.end())), match[0]


def tags(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for place, _ in each(subject, ":latest"):
        yield rule.find(place, "the tag moves", "name one", Fix("pin", (Edit(place, ":1"),)))


def shouts(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for place, _ in each(subject, "echo [A-Z]+"):
        yield rule.find(place, "it shouts")


def dates(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for place, _ in each(subject, "RUN date"):
        yield rule.find(place, "not twice the same",
                        fix=Fix("stop it", (Edit(place, "RUN true"),), safe=False))  # fmt: skip


def hidden(subject: Subject, rule: Rule) -> Iterator[Finding]:
    if subject.context is not None and not subject.context.hides(".git"):
        place = subject.parsed.nodes[0].range
        edit = Edit(place, ".git\n", ".dockerignore")
        yield rule.find(place, ".git is copied", fix=Fix("hide .git", (edit,)))


def arguments(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for name, value in sorted(subject.globals.items()):
        if name == "SHOWN":
            yield rule.find(subject.parsed.nodes[0].range, f"{name} is {value}")


def modules(subject: Subject, rule: Rule) -> Iterator[Finding]:
    assert subject.module is not None
    assert subject.context is not None
    place = subject.parsed.nodes[0].range
    yield rule.find(place, f"module in {os.path.basename(subject.context.directory)}")


def split(subject: Subject, rule: Rule) -> Iterator[Finding]:
    if len(subject.parsed.nodes) < 4:
        end = subject.text.position(len(subject.text.whole))
        edit = Edit(Range(end, end), "RUN more\n")
        yield rule.find(subject.parsed.nodes[0].range, "one stage",
                        fix=Fix("split", (edit,), safe=False))  # fmt: skip


W, E, INFO = Severity.WARNING, Severity.ERROR, Severity.INFO
RULES = (
    Rule("GO901", "latest-tag", W, "tags that move", tags, mends=True),
    Rule("GO902", "shouting", INFO, "loud output", shouts),
    Rule("GO903", "dates", E, "what is never the same", dates, mends=True),
)
IGNORES = Rule("GO904", "git-copied", W, "the history", hidden, mends=True)
ARGUMENTS = Rule("GO905", "argument", INFO, "arguments", arguments)
MODULES = Rule("GO906", "module", INFO, "modules", modules, frozenset((Need.MODULE,)))
SPLIT = Rule("GO907", STAGE_SPLIT, INFO, "one stage", split, mends=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("PWD", str(root))
    use(monkeypatch, *RULES)
    (root / "Dockerfile").write_text(DOCKERFILE)
    return root


def use(monkeypatch: pytest.MonkeyPatch, *rules: Rule) -> None:
    monkeypatch.setattr("wherry.advice.run.RULES", rules)


class Outcome:
    def __init__(self, code: int, out: str, err: str, error: WherryError | None) -> None:
        self.code = code
        self.out = out
        self.lines = out.splitlines()
        self.err = err.splitlines()
        self.error = error

    @property
    def heads(self) -> list[str]:
        return [line for line in self.lines if re.match(r"\S+:\d+:\d+ ", line)]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def call(*words: str) -> Outcome:
        capsys.readouterr()
        error, code = None, 0
        try:
            code = run_verb(["check", *words])
        except WherryError as caught:
            error = caught
            code = caught.code if isinstance(caught, SeveralErrors) else caught.exit_code
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err, error)

    return call


def give(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))


class TestFinding:
    def test_the_report_is_on_stdout_and_the_counts_are_beside_it(self, project, run) -> None:
        outcome = run()
        assert outcome.code == 1
        assert outcome.lines[:5] == [
            "Dockerfile:1:12 GO901 warning latest-tag: the tag moves",
            "  1 | FROM golang:latest",
            "    |            ^^^^^^^",
            "  hint: name one",
            "  fix: pin",
        ]
        assert outcome.err == [
            "checked 1 file: 3 findings (1 error, 1 warning, 1 info); --fix mends 1, "
            "--unsafe-fixes 1 more"
        ]

    def test_nothing_found(self, project, run) -> None:
        (project / "Dockerfile").write_text("FROM scratch\n")
        outcome = run()
        assert (outcome.code, outcome.out) == (0, "")
        assert outcome.err == ["checked 1 file: nothing found"]

    def test_an_empty_file_has_no_line_to_show(self, project, run) -> None:
        (project / "Dockerfile").write_text("")
        outcome = run()
        assert len(outcome.lines) == 2
        assert outcome.lines[1] == "  hint: begin with FROM and an image's name"

    @pytest.mark.parametrize(
        ("text", "threshold", "code"),
        [
            ("FROM a\nRUN echo A\n", "", 0), ("FROM a\nRUN echo A\n", "info", 1),
            ("FROM a:latest\n", "", 1), ("FROM a:latest\n", "error", 0),
            ("FROM a\nRUN date\n", "error", 1), ("FROM a\nRUN date\n", "never", 0),
        ],
    )  # fmt: skip
    def test_what_fails(self, project, run, text: str, threshold: str, code: int) -> None:
        (project / "Dockerfile").write_text(text)
        assert run(*(["--fail-on", threshold] if threshold else [])).code == code

    def test_folders_files_and_both(self, project, run) -> None:
        (project / "api").mkdir()
        (project / "api" / "Dockerfile.dev").write_text(DOCKERFILE)
        assert len(run().heads) == 6
        assert [line.split(":")[0] for line in run("api").heads] == ["api/Dockerfile.dev"] * 3
        assert len(run("api", "./api/Dockerfile.dev", "api/../api").heads) == 3
        (project / "any.txt").write_text(DOCKERFILE)
        assert run("./any.txt").heads[0].startswith("any.txt:1:12 ")
        whole = str(project / "api")
        assert run(whole).heads[0].startswith(f"{whole}/Dockerfile.dev:1:12 ")

    def test_a_folder_without_any(self, project, run) -> None:
        (project / "empty").mkdir()
        outcome = run("empty")
        assert (outcome.code, outcome.out) == (0, "")
        assert outcome.err[0] == "there is no Dockerfile in empty or below"
        (project / "Dockerfile").unlink()
        assert run().err[0] == "there is no Dockerfile in this directory or below"

    def test_what_cannot_be_read_does_not_hide_the_others(self, project, run) -> None:
        outcome = run("no/Dockerfile", "Dockerfile")
        assert outcome.code == 2
        assert len(outcome.heads) == 3
        assert isinstance(outcome.error, UsageError)
        assert outcome.error.what == "cannot read no/Dockerfile"
        found = json.loads(run("no", "Dockerfile", "--format", "json").out)
        assert found["errors"][0]["path"] == "no"
        assert run("no", "nope").code == 2

    def test_a_file_that_is_no_text_and_one_that_is_not_utf_8(self, project, run) -> None:
        (project / "Dockerfile").write_bytes(b"FROM a:latest\nRUN \xff\n\x00")
        assert "GO000 error syntax" in run().out
        (project / "Dockerfile").write_bytes(b"FROM a:latest\nRUN \xff\n")
        assert [line.split()[1] for line in run().heads] == ["GO901"]

    def test_a_broken_file_gets_what_can_be_said_of_the_rest(self, project, run) -> None:
        (project / "Dockerfile").write_text(f"{DOCKERFILE}COPPY a b\n")
        names = [line.split()[1] for line in run().heads]
        assert sorted(names) == ["GO000", "GO901", "GO902", "GO903"]


class TestRules:
    def test_ignored_and_only(self, project, run) -> None:
        def names(*words: str) -> list[str]:
            return [line.split()[1] for line in run(*words).heads]

        assert names("--ignore", "GO901,shouting") == ["GO903"]
        assert names("--ignore", "go901", "--ignore", "GO902") == ["GO903"]
        assert names("--only", "latest-tag") == ["GO901"]
        assert names("--only", "GO901, GO903", "--ignore", "dates") == ["GO901"]

    def test_an_unknown_rule(self, project, run) -> None:
        outcome = run("--ignore", "latest-tga")
        assert outcome.code == 2
        assert outcome.error is not None
        assert (outcome.error.what, outcome.error.hint) == (
            "there is no rule 'latest-tga'", "did you mean 'latest-tag'?"
        )  # fmt: skip
        assert outcome.out == ""

    def test_settings_and_flags_that_replace_them(self, project, run) -> None:
        (project / "wherry.toml").write_text(
            '[check]\nignore = ["shouting"]\nfail-on = "never"\nseverity = { GO901 = "info" }\n'
        )
        outcome = run()
        assert outcome.code == 0
        assert [line.split()[1:3] for line in outcome.heads] == [
            ["GO901", "info"], ["GO903", "error"]
        ]  # fmt: skip
        assert len(run("--ignore", "dates").heads) == 2
        assert run("--fail-on", "info").code == 1

    def test_wrong_settings_are_told_and_the_files_are_looked_at(self, project, run) -> None:
        (project / "wherry.toml").write_text('[check]\nonly = ["shouting", "shuoting"]\n')
        outcome = run()
        assert outcome.code == 2
        assert outcome.error is not None
        assert outcome.error.where == "wherry.toml:2"
        assert outcome.error.hint == "did you mean 'shouting'?"
        assert [line.split()[1] for line in outcome.heads] == ["GO902"]
        (project / "wherry.toml").write_text("[chekc]\n")
        outcome = run("Dockerfile", "Dockerfile")
        assert isinstance(outcome.error, UsageError)
        assert len(outcome.heads) == 3

    def test_the_list(self, run) -> None:
        outcome = run("--list")
        assert outcome.code == 0
        assert len(outcome.lines) == len(REAL_RULES)
        assert outcome.lines[0].startswith(f"{REAL_RULES[0].id} ")
        found = json.loads(run("--list", "--format", "json").out)
        assert [item["rule"] for item in found] == [rule.id for rule in REAL_RULES]
        assert run("--list", "--format", "sarif").code == 2

    def test_rules_that_cannot_be_asked_are_told_by_reason(
        self, project, run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(monkeypatch, *RULES, MODULES)
        (project / "Dockerfile.b").write_text("FROM scratch\n")
        assert run().err[0] == (
            "1 rule was not asked of 2 files: there is no go.mod in the build context"
        )
        (project / "go.mod").write_text("module a\n")
        outcome = run()
        assert len(outcome.err) == 1
        assert sum("module in project" in line for line in outcome.heads) == 2


class TestPlace:
    @pytest.fixture(autouse=True)
    def _modules(self, project, monkeypatch: pytest.MonkeyPatch) -> None:
        use(monkeypatch, MODULES, ARGUMENTS)

    def test_the_build_context_is_found(self, project, run) -> None:
        (project / "go.mod").write_text("module a\n")
        (project / "build").mkdir()
        (project / "build" / "Dockerfile").write_text("FROM a\nCOPY go.mod .\n")
        for word in (".", "build/Dockerfile"):
            outcome = run(word)
            assert outcome.heads[-1].startswith("build/Dockerfile:1:1 GO906 info module: module in")
        # A folder that is named is the topmost.
        assert run("build").heads == []

    def test_the_build_context_is_named(self, project, run) -> None:
        (project / "other").mkdir()
        (project / "other" / "go.mod").write_text("module a\n")
        assert "module in other" in run("Dockerfile", "--context", "other").out
        outcome = run("--context", "nowhere")
        assert isinstance(outcome.error, UsageError)

    def test_build_arguments(self, project, run, monkeypatch: pytest.MonkeyPatch) -> None:
        (project / "Dockerfile").write_text("ARG SHOWN=1\nFROM a\n")
        assert "SHOWN is 1" in run().out
        assert "SHOWN is 2" in run("--build-arg", "SHOWN=2").out
        monkeypatch.setenv("SHOWN", "3")
        assert "SHOWN is 3" in run("--build-arg", "SHOWN").out
        assert run("--build-arg", "=x").code == 2


class TestStdin:
    def test_a_text_without_a_file(self, project, run, monkeypatch: pytest.MonkeyPatch) -> None:
        give(monkeypatch, b"FROM a:latest\n")
        found = json.loads(run("--stdin", "--format", "json").out)
        assert found["files"][0]["path"] == "Dockerfile"
        give(monkeypatch, b"FROM a:latest\n")
        outcome = run("--stdin", "--stdin-name", "api/Dockerfile")
        assert outcome.heads == ["api/Dockerfile:1:7 GO901 warning latest-tag: the tag moves"]

    def test_mended_text_goes_to_stdout(
        self, project, run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(monkeypatch, *RULES, IGNORES)
        give(monkeypatch, DOCKERFILE.encode())
        outcome = run("--stdin", "--fix")
        assert outcome.out == MENDED
        assert not (project / ".dockerignore").exists()
        assert outcome.err[-1] == "1 finding fixed in Dockerfile; 3 left"
        assert (project / "Dockerfile").read_text() == DOCKERFILE

    def test_too_much(self, project, run, monkeypatch: pytest.MonkeyPatch) -> None:
        give(monkeypatch, b"#" * ((1 << 20) + 1))
        assert run("--stdin").code == 2


@pytest.mark.parametrize(
    "words",
    [("--unsafe-fixes",), ("--stage-split",), ("--stdin", "Dockerfile"), ("--stdin-name", "a"),
     ("--prove",), ("--fix", "--prove", "--stdin"), ("--fix", "--build-context", "a=b"),
     ("--fix", "--prove", "--build-context", "a"), ("--format", "xml"), ("--fail-on", "fatal")],
)  # fmt: skip
def test_flags_that_make_no_sense(project, run, words: tuple[str, ...]) -> None:
    assert run(*words).code == 2


class TestMending:
    def test_safe_fixes_are_written(self, project, run) -> None:
        (project / "Dockerfile").chmod(0o640)
        outcome = run("--fix")
        assert (project / "Dockerfile").read_text() == MENDED
        assert stat.S_IMODE((project / "Dockerfile").stat().st_mode) == 0o640
        assert outcome.code == 1
        assert [line.split()[1] for line in outcome.heads] == ["GO902", "GO903"]
        assert outcome.err == [
            "checked 1 file: 2 findings (1 error, 1 info); --unsafe-fixes mends 1",
            "1 finding fixed in Dockerfile; 2 left",
        ]
        assert run("--fix").err[-1] == "nothing fixed; 2 left"

    def test_unsafe_fixes_too(self, project, run) -> None:
        outcome = run("--fix", "--unsafe-fixes")
        assert (project / "Dockerfile").read_text() == MENDED.replace("date", "true")
        assert outcome.code == 0

    def test_the_mark_and_the_line_ends_stay(self, project, run) -> None:
        (project / "Dockerfile").write_bytes(b"\xef\xbb\xbfFROM a:latest\r\nRUN b\r\n")
        run("--fix")
        assert (project / "Dockerfile").read_bytes() == b"\xef\xbb\xbfFROM a:1\r\nRUN b\r\n"

    def test_a_diff_writes_nothing(self, project, run) -> None:
        outcome = run("--fix", "--diff")
        assert outcome.code == 1
        assert outcome.out == (
            "--- a/Dockerfile\n+++ b/Dockerfile\n@@ -1,3 +1,3 @@\n"
            "-FROM golang:latest\n+FROM golang:1\n RUN echo A\n RUN date\n"
        )
        assert outcome.err[-1] == "1 finding would be fixed in Dockerfile; 2 left"
        assert outcome.err[0].startswith("Dockerfile:2:5 GO902 info")
        assert (project / "Dockerfile").read_text() == DOCKERFILE

    def test_lines_for_another_file_are_appended_once(
        self, project, run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(monkeypatch, IGNORES)
        (project / "Dockerfile.b").write_text(DOCKERFILE)
        (project / ".dockerignore").write_text("*.md")
        assert run("--diff").out == (
            "--- a/.dockerignore\n+++ b/.dockerignore\n@@ -1 +1,2 @@\n-*.md\n"
            "\\ No newline at end of file\n+*.md\n+.git\n"
        )
        outcome = run("--fix")
        assert (outcome.code, outcome.out) == (0, "")
        assert (project / ".dockerignore").read_text() == "*.md\n.git\n"
        assert outcome.err[-1] == "2 findings fixed in .dockerignore; 0 left"
        assert run("--fix").err[-1] == "nothing fixed; 0 left"

    def test_a_file_that_is_not_there_is_made(
        self, project, run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(monkeypatch, IGNORES)
        run("--fix")
        assert (project / ".dockerignore").read_text() == ".git\n"

    def test_the_split_has_a_switch_of_its_own(
        self, project, run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(monkeypatch, SPLIT)
        assert run().err[-1].endswith("1 finding (1 info); --stage-split mends 1")
        run("--fix", "--unsafe-fixes")
        assert (project / "Dockerfile").read_text() == DOCKERFILE
        run("--fix", "--stage-split")
        assert (project / "Dockerfile").read_text() == f"{DOCKERFILE}RUN more\n"

    def test_a_file_that_changed_meanwhile_is_left(
        self, project, run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def edited(subject: Subject, rule: Rule) -> Iterator[Finding]:
            (project / "Dockerfile").write_text("FROM theirs\n")
            yield from tags(subject, rule)

        use(monkeypatch, RULES[0]._replace(look=edited))
        outcome = run("--fix")
        assert isinstance(outcome.error, MachineError)
        assert outcome.code == 3
        assert (project / "Dockerfile").read_text() == "FROM theirs\n"
        # What was not written is not told as mended.
        assert outcome.err[-1] == "nothing fixed; 1 left"

    def test_what_could_not_be_written_is_left(
        self, project, run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(monkeypatch, RULES[0], IGNORES)
        (project / ".dockerignore").mkdir()
        outcome = run("--fix")
        assert outcome.code == 3
        assert (project / "Dockerfile").read_text() == MENDED
        assert outcome.err[-1] == "1 finding fixed in Dockerfile; 0 left"


@pytest.mark.parametrize("name", ["json", "sarif", "github", "gitlab", "junit", "checkstyle"])
def test_every_format(project, run, name: str) -> None:
    outcome = run("--format", name)
    assert outcome.code == 1
    assert outcome.out
    # What reads the report may read stderr with it.
    assert len(outcome.err) == (name == "github")
