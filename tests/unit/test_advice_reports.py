# SPDX-License-Identifier: Apache-2.0
"""Each format of a report: what programs need is there, and nothing strange gets out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from wherry.advice.model import Edit, Finding, Fix, Position, Range, Rule, Severity
from wherry.advice.reports.diff import render_diff
from wherry.advice.reports.report import FORMATS, FileReport, Report, renderer_of, span
from wherry.advice.reports.text import render
from wherry.advice.texts import Text

SOURCE = "FROM golang:latest\nCOPY . .\nRUN go build \\\n\t-o /app\nEXPOSE 80\n"


def rule(name: str, severity: Severity, title: str) -> Rule:
    return Rule(name, title, severity, f"{title} in one line", lambda _subject, _rule: iter(()))


PIN = rule("GO902", Severity.WARNING, "latest-base")
SPLIT = rule("GO901", Severity.ERROR, "long-run")
NOTE = rule("GO903", Severity.INFO, "low-port")


def at(line: int, column: int, end_line: int, end_column: int) -> Range:
    return Range(Position(line, column), Position(end_line, end_column))


TAG = at(1, 12, 1, 18)
FIX = Fix("name a version", (Edit(TAG, "1.26"),))
HIDE = Fix("hide it", (Edit(TAG, ".git\n", ".dockerignore"),), safe=False)
FINDINGS = (
    Finding(PIN, TAG, "the tag moves", "name a version", FIX, ((at(2, 0, 2, 4), "used here"),)),
    Finding(SPLIT, at(3, 0, 4, 8), "too long", fix=HIDE),
    Finding(NOTE, at(5, 7, 5, 9), "a low port"),
)


def report(path: str = "api/Dockerfile", source: str | bytes = SOURCE) -> Report:
    file = FileReport(path, Text(source, "\\"), FINDINGS, (("GO904", "no Go on PATH"),))
    return Report((file,), (("b/Dockerfile", "cannot read b/Dockerfile: no right"),))


def parsed(name: str, what: Report) -> Any:
    return json.loads(renderer_of(name)(what))


def test_text_for_people() -> None:
    assert render(report()) == (
        "api/Dockerfile:1:13 GO902 warning latest-base: the tag moves\n"
        "  1 | FROM golang:latest\n"
        "    |             ^^^^^^\n"
        "  see api/Dockerfile:2:1: used here\n"
        "  hint: name a version\n"
        "  fix: name a version\n"
        "\n"
        "api/Dockerfile:3:1 GO901 error long-run: too long\n"
        "  3 | RUN go build \\\n"
        "    | ^^^^^^^^^^^^^^\n"
        "  4 |     -o /app\n"
        "    |     ^^^^^^^\n"
        "  fix (unsafe): hide it\n"
        "\n"
        "api/Dockerfile:5:8 GO903 info low-port: a low port\n"
        "  5 | EXPOSE 80\n"
        "    |        ^^\n"
    )
    assert render(Report(())) == ""


def test_text_in_colours() -> None:
    text = render(report(), color=True)
    assert "\x1b[1;33mwarning\x1b[0m" in text
    assert "\x1b[1;33m^^^^^^\x1b[0m" in text


def shown(source: str, place: Range) -> list[str]:
    file = FileReport("D", Text(source, "\\"), (Finding(PIN, place, "m"),))
    return render(Report((file,))).splitlines()[1:]


def test_carets_stand_below_wide_letters_and_tabs() -> None:
    assert shown("\tA 中x\n", at(1, 3, 1, 5)) == ["  1 |     A 中x", "    |       ^^^"]


def test_a_long_line_is_cut_around_its_place() -> None:
    source = "RUN " + "a" * 500 + "BAD" + "b" * 500 + "\n"
    line, carets = shown(source, at(1, 504, 1, 507))
    assert len(line) < 180
    assert line.startswith("  1 | …a")
    assert line.endswith("b…")
    assert line.index("BAD") == carets.index("^^^")
    # The end of a long line, too.
    line, carets = shown(source, at(1, 1000, 1, 1007))
    assert line.index("b") < carets.index("^")
    assert carets.endswith("^^^^^^^")


def test_a_long_range_shows_its_first_lines() -> None:
    lines = shown("RUN a \\\n" * 9 + "b\n", at(1, 0, 10, 1))
    assert [line[2] for line in lines] == ["1", " ", "2", " ", "3", " ", " "]
    assert lines[-1] == "    | ... to line 10"


def test_whole_lines_and_places_beyond_the_end() -> None:
    assert shown("A\nB\n", at(2, 0, 3, 0)) == ["  2 | B", "    | ^"]
    assert shown("A", at(1, 0, 2, 0)) == ["  1 | A", "    | ^"]
    assert shown("A", at(9, 0, 9, 9)) == ["  1 | A", "    |  ^"]
    assert span(Text("A", "\\"), at(9, 0, 9, 9)) == (1, 2, 1, 2)


def test_json() -> None:
    value = parsed("json", report())
    file = value["files"][0]
    assert file["path"] == "api/Dockerfile"
    assert file["findings"][0] == {
        "rule": "GO902", "name": "latest-base", "severity": "warning",
        "line": 1, "column": 13, "end_line": 1, "end_column": 19,
        "message": "the tag moves", "hint": "name a version",
        "related": [
            {"line": 2, "column": 1, "end_line": 2, "end_column": 5, "message": "used here"}
        ],
        "fix": {
            "title": "name a version", "safe": True,
            "edits": [{
                "path": "", "start": {"line": 1, "column": 13}, "end": {"line": 1, "column": 19},
                "text": "1.26",
            }],
        },
    }  # fmt: skip
    edit = file["findings"][1]["fix"]["edits"][0]
    assert edit == {"path": ".dockerignore", "start": None, "end": None, "text": ".git\n"}
    assert file["findings"][2]["fix"] is None
    assert file["skipped"] == [{"rule": "GO904", "reason": "no Go on PATH"}]
    assert value["errors"] == [
        {"path": "b/Dockerfile", "message": "cannot read b/Dockerfile: no right"}
    ]
    assert value["summary"] == {
        "files": 1, "findings": 3, "error": 1, "warning": 1, "info": 1,
        "safe_fixes": 1, "unsafe_fixes": 1,
    }  # fmt: skip


def test_sarif() -> None:
    value = parsed("sarif", report("a b/Docker:file"))
    assert value["version"] == "2.1.0"
    run = value["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert [item["id"] for item in rules] == ["GO901", "GO902", "GO903"]
    assert rules[1]["defaultConfiguration"] == {"level": "warning"}
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["invocations"][0]["executionSuccessful"] is False
    first, second, third = run["results"]
    assert [item["level"] for item in run["results"]] == ["warning", "error", "note"]
    assert all(rules[item["ruleIndex"]]["id"] == item["ruleId"] for item in run["results"])
    place = first["locations"][0]["physicalLocation"]
    region = {"startLine": 1, "startColumn": 13, "endLine": 1, "endColumn": 19}
    assert place == {"artifactLocation": {"uri": "a%20b/Docker%3Afile"}, "region": region}
    change = first["fixes"][0]["artifactChanges"][0]
    assert change["replacements"] == [
        {"deletedRegion": region, "insertedContent": {"text": "1.26"}}
    ]
    assert first["relatedLocations"][0]["message"] == {"text": "used here"}
    # Its fix writes into another file.
    assert "fixes" not in second
    assert "fixes" not in third
    whole = parsed("sarif", report("/a/Dockerfile"))["runs"][0]["results"][0]
    uri = whole["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "file:///a/Dockerfile"


def test_github() -> None:
    lines = renderer_of("github")(report("a,b:c/Dockerfile")).splitlines()
    assert lines[0] == (
        "::warning file=a%2Cb%3Ac/Dockerfile,line=1,endLine=1,col=13,endColumn=18,"
        "title=GO902 latest-base::the tag moves%0Ahint: name a version"
    )
    # Over several lines there are no columns.
    assert lines[1].startswith("::error file=a%2Cb%3Ac/Dockerfile,line=3,endLine=4,title=GO901")
    assert lines[2].startswith("::notice ")
    assert lines[3] == "::error file=b/Dockerfile::cannot read b/Dockerfile: no right"


def test_gitlab() -> None:
    first, second, third = parsed("gitlab", report())
    assert first["description"] == "the tag moves; name a version"
    assert first["check_name"] == "GO902 latest-base"
    assert first["location"] == {"path": "api/Dockerfile", "lines": {"begin": 1, "end": 1}}
    assert [item["severity"] for item in (first, second, third)] == ["minor", "major", "info"]


def test_a_fingerprint_stays_when_lines_move() -> None:
    def prints(source: str, *lines: int) -> list[str]:
        found = tuple(Finding(PIN, at(line, 0, line, 1), "m") for line in lines)
        value = parsed("gitlab", Report((FileReport("D", Text(source, "\\"), found),)))
        return [item["fingerprint"] for item in value]

    before = prints("FROM a\nRUN b\nRUN b\n", 1, 2, 3)
    assert len(set(before)) == 3
    assert prints("# new\n\nFROM a\nRUN c\n  RUN b\nRUN b\n", 3, 5, 6) == before
    assert prints("FROM b\n", 1)[0] not in before


def test_junit() -> None:
    root = ET.fromstring(renderer_of("junit")(report()))
    assert root.attrib == {"name": "wherry check", "tests": "4", "failures": "2", "errors": "1"}
    suite, unread = root.findall("testsuite")
    assert suite.attrib == {"name": "api/Dockerfile", "tests": "3", "failures": "2", "errors": "0"}
    cases = suite.findall("testcase")
    assert cases[0].attrib == {
        "name": "GO902 latest-base 1:13", "classname": "api/Dockerfile",
        "file": "api/Dockerfile", "line": "1",
    }  # fmt: skip
    failure = cases[0].find("failure")
    assert failure is not None
    assert failure.attrib == {"message": "the tag moves", "type": "warning"}
    assert (failure.text or "").strip() == "api/Dockerfile:1:13: the tag moves; name a version"
    assert cases[2].find("failure") is None
    assert cases[2].find("system-out") is not None
    assert unread.find("testcase/error") is not None


def test_a_clean_file_is_a_passing_case_of_junit() -> None:
    file = FileReport("D", Text(SOURCE, "\\"), ())
    suite = ET.fromstring(renderer_of("junit")(Report((file,))))[0]
    assert suite.attrib["tests"] == "1"
    assert [case.attrib["name"] for case in suite] == ["check"]


def test_checkstyle() -> None:
    root = ET.fromstring(renderer_of("checkstyle")(report()))
    assert (root.tag, root.attrib) == ("checkstyle", {"version": "4.3"})
    file, unread = root.findall("file")
    assert file[0].attrib == {
        "line": "1", "column": "13", "severity": "warning",
        "message": "the tag moves; name a version", "source": "wherry.GO902.latest-base",
    }  # fmt: skip
    assert unread.attrib == {"name": "b/Dockerfile"}


@pytest.mark.parametrize("name", FORMATS)
def test_strange_letters_come_out_harmless(name: str) -> None:
    evil = "\x1b[31m\x00\x9b\u202e\udcff]]>&<\"'%\r\n::error::\ufffe"
    finding = Finding(PIN, at(1, 0, 1, 8), evil, evil, Fix(evil, (Edit(TAG, evil),)),
                      ((TAG, evil),))  # fmt: skip
    source = b"FROM \x1b[2J\xff\xe2\x80\xae \x00\n"
    file = FileReport(f"a{evil}", Text(source, "\\"), (finding,), (("GO9", evil),))
    what = Report((file,), ((evil, evil),))
    text = render(what) if name == "text" else renderer_of(name)(what)
    text.encode("utf-8")
    assert not set("\x00\x1b\x9b\u202e").intersection(text)
    match name:
        case "json" | "sarif" | "gitlab":
            json.loads(text)
            assert text.isascii()
        case "junit" | "checkstyle":
            ET.fromstring(text)
            assert text.isascii()
        case "github":
            # One line a finding, whatever it holds: no command of another's making.
            assert len(text.splitlines()) == 2
            assert all(line.startswith("::") for line in text.split("\n")[:-1])
        case _:
            assert len(text.splitlines()) == 6


def test_diffs() -> None:
    diff = render_diff("a/D", b"a\r\nb\n\xff\n", b"a\r\nc\n\xff\n")
    assert diff == b"--- a/a/D\n+++ b/a/D\n@@ -1,3 +1,3 @@\n a\r\n-b\n+c\n \xff\n"
    assert render_diff("D", None, b"x") == (
        b"--- /dev/null\n+++ b/D\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n"
    )
    assert render_diff("D", b"x", b"x\n") == (
        b"--- a/D\n+++ b/D\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+x\n"
    )
    assert render_diff("D", b"x\n", b"x\n") == b""
