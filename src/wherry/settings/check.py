# SPDX-License-Identifier: Apache-2.0
"""The table `[check]`: which rules `wherry check` asks, and what their findings count as.

Rules are texts here: which there are is known where they are asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from wherry.errors import UsageError
from wherry.settings.declaration import Kind, setting
from wherry.settings.kinds import choice_of, list_of, one_of, parse_items, parse_pairs, parse_text

SEVERITIES: Final = ("error", "warning", "info")
THRESHOLDS: Final = (*SEVERITIES, "never")

_RULE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_RULE_SCHEMA: Final = {"type": "string", "pattern": f"^{_RULE.pattern}$"}
_UNKNOWN: Final = "wherry check refuses rules that there are not"


def parse_rules(value: object) -> tuple[str, ...]:
    """A list of rules by id or name, each once."""
    return tuple(dict.fromkeys(parse_items(value, _rule)))


def parse_severities(value: object) -> tuple[tuple[str, str], ...]:
    """A table from rules to severities."""
    pairs = parse_pairs(value, one_of(SEVERITIES))
    for name, _ in pairs:
        _rule(name)
    return pairs


def _rule(value: object) -> str:
    text = parse_text(value)
    if not _RULE.fullmatch(text):
        raise UsageError(f"{text!r} is no rule", hint="write its id or its name, such as GO001")
    return text


RULES = Kind(
    "list of rules", parse_rules, '["GO001", "unpinned-base"]',
    schema=list_of(_RULE_SCHEMA, _UNKNOWN),
)  # fmt: skip
THRESHOLD = Kind(
    '"error", "warning", "info" or "never"', one_of(THRESHOLDS), '"error"',
    schema=choice_of(THRESHOLDS),
)  # fmt: skip
SEVERITY = Kind(
    "table of severities",
    parse_severities,
    '{ GO001 = "error" }',
    schema={
        "type": "object",
        "propertyNames": {"pattern": f"^{_RULE.pattern}$"},
        "additionalProperties": choice_of(SEVERITIES),
        "$comment": _UNKNOWN,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """What the file says about `wherry check`; None is not said."""

    ignore: tuple[str, ...] | None = setting(RULES, "Rules of `wherry check` that are not asked")
    only: tuple[str, ...] | None = setting(RULES, "The only rules of `wherry check` that are asked")
    fail_on: str | None = setting(
        THRESHOLD,
        "From which severity on findings make `wherry check` fail; the default is `warning`",
        unsaid="warning",
    )
    severity: tuple[tuple[str, str], ...] = setting(
        SEVERITY, "What findings of a rule count as: `error`, `warning` or `info`", ()
    )
