# SPDX-License-Identifier: Apache-2.0
"""No value that looks secret is shown: by its form, or by the name of its variable."""

from __future__ import annotations

import pytest

from wherry.advice.model import Finding, Position, Range, Rule, Severity
from wherry.advice.reading.secret_values import hidden
from wherry.advice.reports.report import FORMATS, FileReport, Report, renderer_of
from wherry.advice.reports.text import render
from wherry.advice.run import Choice, advise
from wherry.advice.subject import Subject
from wherry.advice.texts import Text

TOKEN = "ghp_" + "aB3dE5gH7j" * 4
KEY = "-----BEGIN RSA PRIVATE KEY-----{0}MIIEpAIBAAKCAQEA7{0}bZ93{0}-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(("text", "secret"), [
    (f"ENV A={TOKEN}", TOKEN), (f"RUN git clone https://x:{TOKEN}@host/y", TOKEN),
    ("ENV DB_PASSWORD=hunter22", "hunter22"), ("ENV DB_PASSWORD hunter 22", "hunter 22"),
    ('ARG API_TOKEN="a b"', "a b"), ("ARG A=1 API_TOKEN='a b'", "a b"),
    ("RUN API_KEY=abc make", "abc"), ("RUN curl http://h/?token=abc", "abc"),
    ("ADD https://joe:s3cr7t@host/a /", "s3cr7t"),
    ("RUN echo 'machine h login me password s3cr7t9'", "s3cr7t9"),
    ("machine h\nlogin me\npassword s3cr7t9\n", "s3cr7t9"),
    (f"ENV K=\"{KEY.format(chr(92) + 'n')}\"", "bZ93"), (KEY.format("\n"), "bZ93"),
])  # fmt: skip
def test_values_are_stars(text: str, secret: str) -> None:
    found = hidden(text)
    assert len(found) == len(text)
    start = text.index(secret)
    assert set(found[start : start + len(secret)]) <= {"*", " "}
    assert hidden(found) == found


@pytest.mark.parametrize("text", [
    "ENV DB_PASSWORD_FILE=/run/secrets/db", "ENV DB_PASSWORD=$PASSWORD", "ARG TOKEN",
    "RUN --mount=type=secret,id=token,env=TOKEN make", "ENV KEYBOARD=us", "FROM golang:1.26",
    "RUN git clone https://$USER:$TOKEN@host/y", "RUN echo '-----BEGIN PRIVATE KEY-----' x y",
])  # fmt: skip
def test_other_words_stay(text: str) -> None:
    assert hidden(text) == text


@pytest.mark.parametrize("name", FORMATS)
def test_no_report_has_a_secret(name: str) -> None:
    source = f"FROM a\nENV A=1 \\\n  B={TOKEN}\nRUN x\n"
    rule = Rule("GO901", "any", Severity.ERROR, "any", lambda _subject, _rule: iter(()))
    place = Range(Position(2, 0), Position(3, 4 + len(TOKEN)))
    found = Report((FileReport("D", Text(source, "\\"), (Finding(rule, place, "m"),)),))
    text = render(found) if name == "text" else renderer_of(name)(found)
    assert text
    assert TOKEN not in text


def test_carets_stay_below_their_words() -> None:
    rule = Rule("GO901", "any", Severity.ERROR, "any", lambda _subject, _rule: iter(()))
    place = Range(Position(1, 15), Position(1, 16))
    file = FileReport("D", Text("ENV TOKEN=abcd B=1\n", "\\"), (Finding(rule, place, "m"),))
    lines = render(Report((file,))).splitlines()
    assert lines[1:] == ["  1 | ENV TOKEN=**** B=1", "    |                ^"]


def test_a_line_that_is_no_instruction_is_told_without_its_secret() -> None:
    subject = Subject("D", f"FROM a\nENV A=1\n  API_TOKEN={TOKEN} \\\n  B=1\n".encode())
    (finding,) = (item for item in advise(subject, Choice()).findings if item.rule.id == "GO000")
    assert finding.message.startswith("unknown instruction API_TOKEN=***")
    assert "ghp" not in finding.message.lower()
