# SPDX-License-Identifier: Apache-2.0
"""Checkstyle's XML (its XMLLogger), which many CI and review tools read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.advice.reports.report import FileReport, Report, span
from wherry.advice.reports.xml_text import HEAD, element

if TYPE_CHECKING:
    from wherry.advice.model import Finding


def render(report: Report) -> str:
    """The document."""
    files = [line for file in report.files for line in _file(file)]
    for path, why in report.errors:
        error = {"line": 1, "severity": "error", "message": why, "source": "wherry"}
        files += element("file", {"name": path}, element("error", error))
    # The version is that of the format.
    lines = [HEAD, *element("checkstyle", {"version": "4.3"}, files)]
    return "\n".join(lines) + "\n"


def _file(file: FileReport) -> list[str]:
    errors = [line for finding in file.findings for line in _error(file, finding)]
    return element("file", {"name": file.path}, errors)


def _error(file: FileReport, finding: Finding) -> list[str]:
    at = span(file.text, finding.range)
    hint = f"; {finding.hint}" if finding.hint else ""
    attributes = {
        "line": at.line, "column": at.column, "severity": finding.rule.severity,
        "message": f"{finding.message}{hint}",
        "source": f"wherry.{finding.rule.id}.{finding.rule.name}",
    }  # fmt: skip
    return element("error", attributes)
