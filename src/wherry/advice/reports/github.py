# SPDX-License-Identifier: Apache-2.0
"""Workflow commands of GitHub Actions (GitHub Docs, "Workflow commands"), one line a finding.

Each becomes a note at its line of the pull request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.advice.model import Finding, Severity
from wherry.advice.reports.report import FileReport, Report, span
from wherry.advice.reports.text import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMANDS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}
_ESCAPES: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY_ESCAPES: Final[Mapping[int, str]] = {**_ESCAPES, ord(":"): "%3A", ord(","): "%2C"}


def render(report: Report) -> str:
    """The commands; files that could not be read are errors of theirs."""
    lines = [_line(file, finding) for file, finding in report.findings()]
    lines += [f"::error file={_property(path)}::{_message(why)}" for path, why in report.errors]
    return "".join(f"{line}\n" for line in lines)


def _line(file: FileReport, finding: Finding) -> str:
    at = span(file.text, finding.range)
    properties = {"file": file.path, "line": str(at.line), "endLine": str(at.end_line)}
    if at.end_line == at.line:
        # Columns are only taken where all is on one line; the end is the last column in it.
        properties["col"] = str(at.column)
        properties["endColumn"] = str(max(at.column, at.end_column - 1))
    properties["title"] = f"{finding.rule.id} {finding.rule.name}"
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    hint = f"\nhint: {finding.hint}" if finding.hint else ""
    return f"::{_COMMANDS[finding.rule.severity]} {given}::{_message(finding.message + hint)}"


def _message(text: str) -> str:
    return shown(text.translate(_ESCAPES))


def _property(text: str) -> str:
    return shown(text.translate(_PROPERTY_ESCAPES))
