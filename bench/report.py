# SPDX-License-Identifier: Apache-2.0
"""The machine's facts, the table and the JSON file."""

from __future__ import annotations

import json
import os
import platform
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.measure import Row
from bench.targets import GO_BUILD, Verdict, judge, reference

_LINE = "{:<18} {:<9} {:>9}  {:<20} {:>11}  {:<22} {}"


def machine_facts() -> dict[str, str]:
    """What the figures depend on beyond the tools."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load at start": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def table(facts: Mapping[str, str], rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    """Everything as text."""
    width = max(map(len, facts))
    lines = [f"{key:<{width}}  {value}" for key, value in facts.items()]
    for project, title in titles.items():
        of_project = [row for row in rows if row.project == project]
        if of_project:
            lines += ["", title, _LINE.format(*_headings(of_project))]
            for row in of_project:
                lines += _row_lines(row)
    return "\n".join(line.rstrip() for line in lines)


def _headings(rows: Sequence[Row]) -> tuple[str, ...]:
    compared = "x best peer" if any(reference(row) for row in rows) else ""
    if any(GO_BUILD in row.samples for row in rows):
        compared = "x go build"
    return ("row", "side", "median", "min..max", compared, "target", "reached")


def _row_lines(row: Row) -> Iterator[str]:
    verdicts = judge(row)
    compared = reference(row)
    label = row.name
    for side, values in row.samples.items():
        spread = f"{_figure(row, min(values)).split()[0]}..{_figure(row, max(values))}"
        ratio = f"{median(values) / compared:.2f}" if compared else ""
        own = verdicts if side == "wherry" else []
        target, reached = _verdict(own[0]) if own else ("", "")
        middle = _figure(row, median(values))
        yield _LINE.format(
            label, side, middle, spread if len(values) > 1 else "", ratio, target, reached
        )
        for verdict in own[1:]:
            yield _LINE.format("", "", "", "", "", *_verdict(verdict))
        label = ""
    if row.note:
        yield f"  ({row.note})"


def _verdict(verdict: Verdict) -> tuple[str, str]:
    return verdict.target.text, "yes" if verdict.reached else "no"


def _figure(row: Row, value: float) -> str:
    if row.unit == "s":
        return f"{value:.3f} s"
    if row.unit == "ms":
        return f"{value:.2f} ms"
    if row.unit != "bytes":
        return f"{value:.{1 if row.unit == '%' else 0}f} {row.unit}"
    if max(max(values) for values in row.samples.values()) < 1e5:
        return f"{value / 1e3:.2f} kB"
    return f"{value / 1e6:.2f} MB"


def write_json(path: Path, facts: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Every sample, with medians and verdicts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"facts": dict(facts), "rows": [_row_document(row) for row in rows]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def _row_document(row: Row) -> dict[str, object]:
    return {
        "project": row.project,
        "row": row.name,
        "unit": row.unit,
        "note": row.note,
        "medians": {side: median(values) for side, values in row.samples.items()},
        "samples": row.samples,
        "targets": [
            {
                "target": verdict.target.text,
                "figure": verdict.figure,
                "reached": verdict.reached,
            }
            for verdict in judge(row)
        ],
    }
