# SPDX-License-Identifier: Apache-2.0
"""JSON for editors and programs; `docs/check.md` says what each field is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wherry.advice.reports.report import FileReport, Report, clean, span

if TYPE_CHECKING:
    from wherry.advice.model import Edit, Finding
    from wherry.frontends.dockerfile.source import Range


def render(report: Report) -> str:
    """One line of JSON, all of it ASCII."""
    findings = [finding for _, finding in report.findings()]
    fixes = [finding.fix for finding in findings if finding.fix is not None]
    counts = {str(severity): number for severity, number in report.counts().items()}
    value = {
        "files": [_file(file) for file in report.files],
        "errors": [{"path": clean(path), "message": clean(why)} for path, why in report.errors],
        "summary": {
            "files": len(report.files),
            "findings": len(findings),
            **counts,
            "safe_fixes": sum(fix.safe for fix in fixes),
            "unsafe_fixes": sum(not fix.safe for fix in fixes),
        },
    }
    return json.dumps(value) + "\n"


def _file(file: FileReport) -> dict[str, object]:
    return {
        "path": clean(file.path),
        "findings": [_finding(file, finding) for finding in file.findings],
        "skipped": [{"rule": rule, "reason": clean(reason)} for rule, reason in file.skipped],
    }


def _finding(file: FileReport, finding: Finding) -> dict[str, object]:
    fix = finding.fix
    return {
        "rule": finding.rule.id,
        "name": finding.rule.name,
        "severity": str(finding.rule.severity),
        **_place(file, finding.range),
        "message": clean(finding.message),
        "hint": clean(finding.hint),
        "related": [
            {**_place(file, place), "message": clean(word)} for place, word in finding.related
        ],
        "fix": None if fix is None else {
            "title": clean(fix.title),
            "safe": fix.safe,
            "edits": [_edit(file, edit) for edit in fix.edits],
        },
    }  # fmt: skip


def _place(file: FileReport, place: Range) -> dict[str, int]:
    return span(file.text, place)._asdict()


def _edit(file: FileReport, edit: Edit) -> dict[str, object]:
    """An edit of the file, or lines for the end of another, which has no range then."""
    if edit.path:
        return {"path": clean(edit.path), "start": None, "end": None, "text": clean(edit.text)}
    at = span(file.text, edit.range)
    return {
        "path": "",
        "start": {"line": at.line, "column": at.column},
        "end": {"line": at.end_line, "column": at.end_column},
        "text": clean(edit.text),
    }
