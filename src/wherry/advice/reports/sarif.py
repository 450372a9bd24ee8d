# SPDX-License-Identifier: Apache-2.0
"""SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"), as code scanning takes it.

Columns count code points from 1 (`columnKind`). A fix that writes into another file is left out:
what SARIF replaces has to be a region of a file that is there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from wherry._version import __version__
from wherry.advice.model import Finding, Rule, Severity
from wherry.advice.reports.report import FileReport, Report, clean, span

if TYPE_CHECKING:
    from wherry.frontends.dockerfile.source import Range

_SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def render(report: Report) -> str:
    """One log with one run."""
    rules: dict[str, Rule] = {}
    for _, finding in report.findings():
        rules.setdefault(finding.rule.id, finding.rule)
    numbers = {name: number for number, name in enumerate(sorted(rules))}
    run = {
        "tool": {
            "driver": {
                "name": "wherry",
                "version": __version__,
                "rules": [_rule(rules[name]) for name in numbers],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(report)],
        "results": [
            _result(file, finding, numbers[finding.rule.id]) for file, finding in report.findings()
        ],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _invocation(report: Report) -> dict[str, object]:
    told = [
        {"level": "error", "message": {"text": clean(f"{path}: {why}")}}
        for path, why in report.errors
    ]
    return {"executionSuccessful": not told, "toolExecutionNotifications": told}


def _result(file: FileReport, finding: Finding, number: int) -> dict[str, object]:
    text = f"{finding.message}; {finding.hint}" if finding.hint else finding.message
    result: dict[str, object] = {
        "ruleId": finding.rule.id,
        "ruleIndex": number,
        "level": _LEVELS[finding.rule.severity],
        "message": {"text": clean(text)},
        "locations": [{"physicalLocation": _location(file, finding.range)}],
    }
    if finding.related:
        result["relatedLocations"] = [
            {"physicalLocation": _location(file, place), "message": {"text": clean(word)}}
            for place, word in finding.related
        ]
    fix = finding.fix
    if fix is not None and fix.edits and not any(edit.path for edit in fix.edits):
        replacements = [
            {
                "deletedRegion": _region(file, edit.range),
                "insertedContent": {"text": clean(edit.text)},
            }
            for edit in fix.edits
        ]
        change = {"artifactLocation": {"uri": _uri(file.path)}, "replacements": replacements}
        result["fixes"] = [{"description": {"text": clean(fix.title)}, "artifactChanges": [change]}]
    return result


def _location(file: FileReport, place: Range) -> dict[str, object]:
    return {"artifactLocation": {"uri": _uri(file.path)}, "region": _region(file, place)}


def _region(file: FileReport, place: Range) -> dict[str, int]:
    at = span(file.text, place)
    return {
        "startLine": at.line, "startColumn": at.column,
        "endLine": at.end_line, "endColumn": at.end_column,
    }  # fmt: skip


def _uri(path: str) -> str:
    """A path as a URI reference: a relative one stays relative to where the check was started."""
    name = quote(path.encode("utf-8", "surrogateescape"), safe="/")
    if path.startswith("/"):
        return f"file://{name}"
    # A first part with a colon would be taken for a scheme, but quote has seen to that.
    return name
