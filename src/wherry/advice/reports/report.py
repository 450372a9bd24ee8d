# SPDX-License-Identifier: Apache-2.0
"""What all formats are written from, and what they share: places, counts, clean texts."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Finding, Severity

if TYPE_CHECKING:
    from wherry.advice.texts import Text
    from wherry.frontends.dockerfile.source import Range

_MODULES: Final = {
    "json": "as_json", "sarif": "sarif", "github": "github", "gitlab": "gitlab", "junit": "junit",
    "checkstyle": "checkstyle",
}  # fmt: skip
FORMATS: Final = ("text", *_MODULES)
"""The formats by name; `text` is for people."""

# Bytes that are no UTF-8, as surrogates: no format for programs can hold them.
_UNDECODED: Final = re.compile("[\ud800-\udfff]")


class FileReport(NamedTuple):
    """What was found in one file; `skipped` are rules that could not be asked, with the reason."""

    path: str
    text: Text
    findings: tuple[Finding, ...]
    skipped: tuple[tuple[str, str], ...] = ()


class Report(NamedTuple):
    """All files that were looked at; `errors` are those that could not be read, with the reason."""

    files: tuple[FileReport, ...]
    errors: tuple[tuple[str, str], ...] = ()

    def findings(self) -> Iterator[tuple[FileReport, Finding]]:
        """All findings, each with its file."""
        for file in self.files:
            for finding in file.findings:
                yield file, finding

    def counts(self) -> dict[Severity, int]:
        """How many findings there are of each severity, the worst first."""
        found = Counter(finding.rule.severity for _, finding in self.findings())
        return {severity: found[severity] for severity in Severity}


class Span(NamedTuple):
    """A range as programs take it: lines and columns count from 1, the end is not included."""

    line: int
    column: int
    end_line: int
    end_column: int


def span(text: Text, place: Range) -> Span:
    """A range, cut to what the text has."""
    start = text.position(text.offset(place.start))
    end = text.position(max(text.offset(place.start), text.offset(place.end)))
    return Span(start.line, start.column + 1, end.line, end.column + 1)


def clean(text: str) -> str:
    """A text without what is no letter of Unicode."""
    return _UNDECODED.sub("\ufffd", text)


def renderer_of(name: str) -> Callable[[Report], str]:
    """What writes a format for programs (all of `FORMATS` but `text`)."""
    # Each is imported only when it is asked for: an editor waits for the answer.
    module = importlib.import_module(f"wherry.advice.reports.{_MODULES[name]}")
    render: Callable[[Report], str] = module.render
    return render
