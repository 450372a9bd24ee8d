# SPDX-License-Identifier: Apache-2.0
"""Text that nobody wrote to be read: looking at it ends, soon and with an answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.advice.context import Context
from wherry.advice.model import Finding
from wherry.advice.reading.compose_files import is_mounted_by_compose
from wherry.advice.reading.go_commands import stage_commands
from wherry.advice.reading.go_source import read_go_file
from wherry.advice.reading.secret_values import hidden, secrets_in
from wherry.advice.reading.shell import read_commands
from wherry.advice.reading.word_places import word_range
from wherry.advice.run import Advice, Choice, advise
from wherry.advice.subject import Subject


def checked(text: str, context: Context | None = None) -> Advice:
    return advise(Subject("Dockerfile", text, context), Choice())


def of_rule(advice: Advice, rule: str) -> list[Finding]:
    return [finding for finding in advice.findings if finding.rule.id == rule]


class TestWholeFiles:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("FROM golang\n" + "ENV A=1\n" * 50_000, "the file has more than 1,000 instructions"),
            ("FROM golang\n" * 201, "the file has more than 200 stages"),
            (
                "FROM golang\nRUN a \\\n" + f"  && {'x' * 100} \\\n" * 2_000 + "  && b\n",
                "the instructions are longer than 200,000 characters",
            ),
            (
                "FROM golang\nRUN <<EOF\n" + "x\n" * 110_000 + "EOF\n",
                "the instructions are longer than 200,000 characters",
            ),
        ],
    )
    def test_too_much_is_told_and_not_looked_at(self, text: str, reason: str) -> None:
        advice = checked(text)
        assert not advice.findings
        assert {why for _, why in advice.skipped} == {reason}
        assert "GO103" in dict(advice.skipped)

    def test_comments_of_any_length_do_not_count(self) -> None:
        advice = checked("# a\n" * 50_000 + "FROM golang:latest\n")
        assert of_rule(advice, "GO306")

    def test_names_of_rules_are_looked_at_all_the_same(self) -> None:
        advice = checked("# wherry: ignore=GO998\n" + "FROM golang\n" * 201)
        assert of_rule(advice, "GO099")
        assert "GO099" not in dict(advice.skipped)

    def test_each_of_many_findings_is_weighed(self) -> None:
        text = "FROM golang:1.27\n" + "# wherry: ignore=GO007\nRUN go install a.b/c@latest\n" * 400
        text += "RUN go install a.b/c@latest\n"
        (finding,) = of_rule(checked(text), "GO007")
        assert finding.range.start.line == 802


class TestStages:
    def test_copies_that_double_at_each_stage(self, tmp_path: Path) -> None:
        stages = ["FROM scratch AS s0\n"]
        stages += [
            f"FROM scratch AS s{number}\n" + f"COPY --from=s{number - 1} / /\n" * 2
            for number in range(1, 40)
        ]
        text = "".join(stages) + 'CMD ["/app"]\n'
        advice = checked(text, Context(str(tmp_path)))
        # What is copied of a stage may hold anything, as far as its words tell.
        assert not of_rule(advice, "GO221")

    def test_programs_that_double_at_each_stage(self) -> None:
        build = "FROM golang:1.27 AS s0\nCOPY . /src\nWORKDIR /src\nRUN go build -o /out/app .\n"
        stages = [
            f"FROM scratch AS s{number}\n" + f"COPY --from=s{number - 1} /out /out\n" * 2
            for number in range(1, 30)
        ]
        assert not of_rule(checked(build + "".join(stages) + 'CMD ["/out/app"]\n'), "GO000")

    def test_a_chain_of_stages_may_be_long(self, tmp_path: Path) -> None:
        text = "FROM golang:1.27 AS s0\nRUN go build -o /out/app .\n" + "".join(
            f"FROM scratch AS s{number}\nCOPY --from=s{number - 1} / /\n"
            for number in range(1, 150)
        )
        assert not of_rule(checked(text + 'CMD ["/out/other"]\n', Context(str(tmp_path))), "GO000")


class TestVariables:
    def test_values_that_grow_stay_unknown(self) -> None:
        text = "FROM scratch\nENV A=" + "x" * 1000 + "\n"
        text += "".join(f"ENV A{number}=$A{number or ''}$A\nENV A=$A$A\n" for number in range(200))
        subject = Subject("Dockerfile", text)
        assert sum(map(len, subject.stages[0].ends.variables.values())) < 64 << 20

    def test_names_beyond_reason(self) -> None:
        text = "FROM scratch\n" + "".join(f"ENV A{number}=b\n" for number in range(990))
        assert len(Subject("Dockerfile", text).stages[0].ends.variables) <= 1_000
        many = (
            "FROM scratch\nENV " + " ".join(f"A{number}=b" for number in range(600)) + "\nENV B=c\n"
        )
        assert set(Subject("Dockerfile", many).stages[0].ends.variables) == {"B"}

    def test_a_directory_that_no_system_takes(self) -> None:
        text = "FROM scratch\nWORKDIR /a\nWORKDIR /" + "x" * 5_000 + "\n"
        assert Subject("Dockerfile", text).stages[0].ends.directory == "/a"

    def test_few_of_many_unset_names_are_told(self) -> None:
        words = " ".join(f"$name{number}" for number in range(3_000))
        found = of_rule(checked(f"FROM alpine:3.22\nCOPY {words} /\n"), "UndefinedVar")
        assert len(found) == 20


class TestShellText:
    def test_programs_that_run_programs(self) -> None:
        (command,) = read_commands("env " * 5_000 + "go build")
        assert command.wrapped

    def test_depth(self) -> None:
        assert read_commands("( " * 20_000 + "go build" + " )" * 20_000)[-1].program == "go"
        assert isinstance(read_commands("$(" * 20_000), tuple)

    def test_more_than_anybody_writes_is_not_read(self) -> None:
        assert len(read_commands("a;" * 2_000)) == 2_000
        assert read_commands("a;" * 2_001) == ()
        assert read_commands("a " * 50_001) == ()

    def test_a_script_that_is_not_read_leaves_its_shell(self) -> None:
        (command,) = read_commands("sh -c '" + "a;" * 2_001 + "'")
        assert command.program == "sh"

    def test_places_behind_letters_of_several_bytes(self) -> None:
        text = "echo \u00e9\u4e2d\U0001f600 && " + "x \u00e9; " * 1_000 + "go build"
        last = read_commands(text)[-1]
        assert [text[word.start : word.end] for word in last.words] == ["go", "build"]
        assert text[last.start : last.end] == "go build"

    def test_bytes_that_are_no_letters(self) -> None:
        text = b"echo \xff\x00 && go build".decode("utf-8", "surrogateescape")
        last = read_commands(text)[-1]
        assert text[last.start : last.end].startswith("go")


class TestSecrets:
    def test_the_beginning_of_a_key_and_no_end(self) -> None:
        assert not list(secrets_in("-----BEGIN PRIVATE KEY-----" + "\\\\n" * 5_000 + "!"))
        assert hidden("-----BEGIN PRIVATE KEY-----" + "\\\\n" * 5_000).startswith("-----BEGIN")

    def test_a_key_with_escaped_ends_of_lines_is_found(self) -> None:
        for end in ("\\n", "\\\\n", "\n", "\\r\\n", ' "'):
            (found,) = secrets_in(f"-----BEGIN RSA PRIVATE KEY-----{end}MIIEpAIBAAKCAQEA7")
            assert found.what == "a private key"

    @pytest.mark.parametrize("marks", ["$" * 60_000, "$(" * 30_000, "`" * 60_000])
    def test_addresses_of_marks(self, marks: str) -> None:
        text = f"FROM golang:1.27\nARG TOKEN\nRUN git config url.https://{marks}/.insteadOf x\n"
        assert not of_rule(checked(text), "GO303")


class TestFiles:
    def test_a_pipe_is_no_file(self, tmp_path: Path) -> None:
        for name in ("main.go", ".dockerignore", "compose.yaml"):
            os.mkfifo(tmp_path / name)
        context = Context(str(tmp_path))
        assert not context.ignore_file
        assert read_go_file(str(tmp_path / "main.go")) is None
        assert not is_mounted_by_compose(context, "/app")

    def test_an_ignore_file_beyond_reason_counts_for_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("")
        (tmp_path / ".dockerignore").write_text("".join(f"b{number}\n" for number in range(5_001)))
        assert not Context(str(tmp_path)).hides("b1")
        (tmp_path / ".dockerignore").write_text("a\n" * 600_000)
        assert not Context(str(tmp_path)).hides("a")
        (tmp_path / ".dockerignore").write_text("a\n")
        assert Context(str(tmp_path)).hides("a")

    def test_names_are_those_that_rules_do_not_hide(self, tmp_path: Path) -> None:
        paths = ("a/b/c.txt", "a/b/d.md", "a/e.txt", "f/g/h.txt", "f/i.md", "j.txt", "k.md")
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("")
        rules = "**/*.md\n!a/b/d.md\nf\n!f/g/h.txt\nj*\n"
        (tmp_path / ".dockerignore").write_text(rules)
        context = Context(str(tmp_path))
        expected = {path for path in (*paths, ".dockerignore") if not context.hides(path)}
        assert set(context.names) == expected
        assert "f/g/h.txt" in expected

    def test_a_program_behind_two_slashes(self, tmp_path: Path) -> None:
        (tmp_path / "compose.yaml").write_text("volumes:\n- ./x:/srv/app:ro\n")
        context = Context(str(tmp_path))
        build = "FROM golang:1.27 AS build\nRUN go build -o /app .\n"
        text = f'{build}FROM scratch\nCOPY --from=build /app /app\nCMD ["//app"]\n'
        assert not of_rule(checked(text, context), "GO221")
        text = text.replace('"//app"', '"//other"')
        assert of_rule(checked(text, context), "GO221")
        assert is_mounted_by_compose(context, "/srv/app")
        assert is_mounted_by_compose(context, "/srv/app/x")
        assert not is_mounted_by_compose(context, "/srv/apple")

    @pytest.mark.parametrize(
        ("command", "directory"),
        [
            ("cd //src && go build", "/src"),
            ("go -C //src build", "/src"),
            ("go -C sub build", "/w/sub"),
            ("go -C=sub build", "/w/sub"),
            ("go -C $HERE build", "/here"),
            ("go -C $UNKNOWN build", ""),
            ("cd $UNKNOWN && go -C sub build", ""),
        ],
    )
    def test_where_go_runs(self, command: str, directory: str) -> None:
        text = f"FROM golang:1.27\nARG HERE=/here\nWORKDIR /w\nRUN {command}\n"
        (found,) = stage_commands(Subject("Dockerfile", text).stages[0])
        assert found.directory == directory


def test_a_word_is_found_where_it_is_no_part_of_another() -> None:
    subject = Subject("Dockerfile", "FROM a\nARG X_ARCH=amd64 ARCH=amd64\n")
    place = word_range(subject, subject.lines[0].node, "ARCH=amd64")
    assert (place.start, subject.text.slice(place)) == ((2, 17), "ARCH=amd64")
    assert word_range(subject, subject.lines[0].node, "other") == subject.lines[0].head


def test_substitutions_in_one_another_are_read_as_far_as_words_go() -> None:
    few = read_commands("$(a " * 100 + "go build" + ")" * 100)
    assert "build" in {word for command in few for word in command.arguments}
    assert read_commands("$(a " * 1_500 + "x" * 1_000 + ")" * 1_500) == ()
