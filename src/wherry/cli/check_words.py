# SPDX-License-Identifier: Apache-2.0
"""What `wherry check` says to people beside its report: counts, what was left out, what changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wherry.advice.reports.text import headline, shown
from wherry.cli.progress.output import printable

if TYPE_CHECKING:
    from wherry.advice.reports.report import Report
    from wherry.api.check_mending import Change, Mending
    from wherry.api.checking import Checked, CheckedFile


def empty_lines(paths: Sequence[str]) -> Iterator[str]:
    """A line for each folder without a Dockerfile."""
    for path in paths:
        where = "this directory" if path == "." else printable(path)
        yield f"there is no Dockerfile in {where} or below"


def skipped_lines(files: Sequence[CheckedFile]) -> Iterator[str]:
    """A line for each reason why rules were not asked."""
    reasons: dict[str, tuple[set[str], set[str]]] = {}
    for file in files:
        for rule, reason in file.advice.skipped:
            rules, paths = reasons.setdefault(reason, (set(), set()))
            rules.add(rule)
            paths.add(file.path)
    for reason, (rules, paths) in reasons.items():
        of = f" of {_count(len(paths), 'file')}" if len(files) > 1 else ""
        were = "was" if len(rules) == 1 else "were"
        yield f"{_count(len(rules), 'rule')} {were} not asked{of}: {printable(reason)}"


def summary_line(report: Report) -> str:
    """How many findings there are in how many files, and how many could be mended."""
    checked = f"checked {_count(len(report.files), 'file')}"
    found = [finding for _, finding in report.findings()]
    if not found:
        return f"{checked}: nothing found"
    kinds = ", ".join(
        _count(number, severity) if severity != "info" else f"{number} info"
        for severity, number in report.counts().items() if number
    )  # fmt: skip
    from wherry.api.check_mending import STAGE_SPLIT  # noqa: PLC0415 - not for `--help`

    mended = [finding for finding in found if finding.fix is not None]
    splits = [finding.rule.name == STAGE_SPLIT for finding in mended].count(True)
    safe = [finding.fix is not None and finding.fix.safe for finding in mended].count(True)
    unsafe = len(mended) - safe - splits
    mends: list[str] = []
    for flag, number in (("--fix", safe), ("--unsafe-fixes", unsafe), ("--stage-split", splits)):
        if number:
            mends.append(f"{flag} {number} more" if mends else f"{flag} mends {number}")
    tail = f"; {', '.join(mends)}" if mends else ""
    return f"{checked}: {_count(len(found), 'finding')} ({kinds}){tail}"


def mended_lines(mending: Mending, after: Checked, would: str) -> Iterator[str]:
    """What was mended and how much is left; `would` is `would be` where nothing was written."""
    left = sum(len(file.advice.findings) for file in after.files)
    number = len(mending.applied)
    verb = f"{would} fixed".strip()
    if number:
        paths = ", ".join(printable(change.path) for change in mending.changes)
        yield f"{_count(number, 'finding')} {verb} in {paths}; {left} left"
    else:
        yield f"nothing {verb}; {left} left"
    if mending.undone:
        rules = ", ".join(mending.undone)
        yield f"fixes of {rules} were left out: they never come to an end, or break the file"


def headlines(checked: Checked) -> Iterator[str]:
    """Each finding in one line."""
    for file, finding in checked.report().findings():
        yield headline(file, finding)


def diffs_of(changes: Sequence[Change], *, exact: bool) -> bytes:
    """What changes in all files; not `exact`, without letters that steer a terminal."""
    from wherry.advice.reports.diff import render_diff  # noqa: PLC0415 - for --diff only

    whole = b"".join(render_diff(item.path, item.before, item.after) for item in changes)
    if exact:
        return whole
    lines = whole.decode("utf-8", "replace").split("\n")
    return "\n".join(shown(line.removesuffix("\r")) for line in lines).encode()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
