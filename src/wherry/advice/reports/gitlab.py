# SPDX-License-Identifier: Apache-2.0
"""GitLab's code quality report (GitLab Docs, "Code Quality", its report format).

A finding keeps its fingerprint when lines move: it is made of the rule, the path and the line's
text, with a number where all three come again.
"""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Severity
from wherry.advice.reports.report import FileReport, Report, clean, span

if TYPE_CHECKING:
    from wherry.advice.model import Finding

_SEVERITIES: Final = {
    Severity.ERROR: "major", Severity.WARNING: "minor", Severity.INFO: "info",
}  # fmt: skip


def render(report: Report) -> str:
    """A list of findings."""
    seen: Counter[str] = Counter()
    found = []
    for file, finding in report.findings():
        text = _identity(file, finding)
        found.append(_finding(file, finding, f"{text}\0{seen[text]}"))
        seen[text] += 1
    return json.dumps(found, indent=1) + "\n"


def _identity(file: FileReport, finding: Finding) -> str:
    line = file.text.lines[span(file.text, finding.range).line - 1 :][:1]
    return "\0".join((finding.rule.id, file.path, *(text.strip() for text in line)))


def _finding(file: FileReport, finding: Finding, identity: str) -> dict[str, object]:
    at = span(file.text, finding.range)
    text = f"{finding.message}; {finding.hint}" if finding.hint else finding.message
    return {
        "description": clean(text),
        "check_name": f"{finding.rule.id} {finding.rule.name}",
        "fingerprint": sha256(identity.encode("utf-8", "surrogateescape")).hexdigest(),
        "severity": _SEVERITIES[finding.rule.severity],
        "location": {
            "path": clean(file.path),
            "lines": {"begin": at.line, "end": at.end_line},
        },
    }
