# SPDX-License-Identifier: Apache-2.0
"""`wherry check --list`: all rules, as a table or as JSON."""

from __future__ import annotations

import json

from wherry.advice.catalogue import RULES


def rules_text(*, as_json: bool) -> str:
    """One line a rule: id, severity, whether it mends, name, what it finds."""
    if as_json:
        rows = [
            {
                "rule": rule.id, "name": rule.name, "severity": str(rule.severity),
                "summary": rule.summary, "mends": rule.mends,
                "needs": sorted(map(str, rule.needs)),
            }
            for rule in RULES
        ]  # fmt: skip
        return json.dumps(rows) + "\n"
    width = max((len(rule.name) for rule in RULES), default=0)
    lines = (
        f"{rule.id:<6} {rule.severity:<8} {'fix' if rule.mends else '   '}  "
        f"{rule.name:<{width}}  {rule.summary}"
        for rule in RULES
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)
