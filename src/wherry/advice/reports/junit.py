# SPDX-License-Identifier: Apache-2.0
"""JUnit's XML, as Jenkins and other CI read it: a suite a file, a failed case a finding.

An `info` is told in a case that passes; a file in which nothing was found is one passing case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.advice.model import Severity
from wherry.advice.reports.report import FileReport, Report, span
from wherry.advice.reports.xml_text import HEAD, element, escaped

if TYPE_CHECKING:
    from wherry.advice.model import Finding


def render(report: Report) -> str:
    """The document."""
    suites = [line for file in report.files for line in _suite(file)]
    suites += [line for path, why in report.errors for line in _unread(path, why)]
    failures = sum(_failures(file) for file in report.files)
    tests = sum(max(len(file.findings), 1) for file in report.files) + len(report.errors)
    counts = {"tests": tests, "failures": failures, "errors": len(report.errors)}
    lines = [HEAD, *element("testsuites", {"name": "wherry check", **counts}, suites)]
    return "\n".join(lines) + "\n"


def _failures(file: FileReport) -> int:
    return sum(finding.rule.severity is not Severity.INFO for finding in file.findings)


def _suite(file: FileReport) -> list[str]:
    cases = [line for finding in file.findings for line in _case(file, finding)]
    if not cases:
        cases = element("testcase", {"name": "check", "classname": file.path})
    counts = {"tests": max(len(file.findings), 1), "failures": _failures(file), "errors": 0}
    return element("testsuite", {"name": file.path, **counts}, cases)


def _case(file: FileReport, finding: Finding) -> list[str]:
    rule, at = finding.rule, span(file.text, finding.range)
    place = f"{file.path}:{at.line}:{at.column}"
    hint = f"; {finding.hint}" if finding.hint else ""
    told = escaped(f"{place}: {finding.message}{hint}")
    if rule.severity is Severity.INFO:
        inner = [f"<system-out>{told}</system-out>"]
    else:
        named = {"message": finding.message, "type": rule.severity}
        inner = element("failure", named, [told])
    # Cases of one name would be taken for one.
    name = f"{rule.id} {rule.name} {at.line}:{at.column}"
    known = {"name": name, "classname": file.path, "file": file.path, "line": at.line}
    return element("testcase", known, inner)


def _unread(path: str, why: str) -> list[str]:
    error = element("error", {"message": why, "type": "unreadable"})
    case = element("testcase", {"name": "check", "classname": path}, error)
    return element("testsuite", {"name": path, "tests": 1, "failures": 0, "errors": 1}, case)
