# SPDX-License-Identifier: Apache-2.0
"""All rules, by family; and what other tools call the same."""

from __future__ import annotations

from typing import Final

from wherry.advice.model import Rule
from wherry.advice.rules import build_checks, cache_order, correctness, final_image, safety, sizes
from wherry.advice.switches import UNKNOWN

RULES: Final[tuple[Rule, ...]] = (
    *cache_order.RULES, *sizes.RULES, *correctness.RULES, *final_image.RULES, *safety.RULES,
    *build_checks.RULES, *build_checks.EXPERIMENTAL, UNKNOWN,
)  # fmt: skip
"""As in the documentation: cache order, size, correctness, safety, build checks, and comments."""

BUILD_CHECKS: Final = frozenset(
    rule.id for rule in (*build_checks.RULES, *build_checks.EXPERIMENTAL)
)
"""The ids of BuildKit's own checks."""

ALIASES: Final[dict[str, frozenset[str]]] = {
    rule: frozenset(names.lower().split())
    for rule, names in {
        "GO007": "DL3062", "GO105": "DL3009 DL3019 DL3032 DL3036 DL3040", "GO301": "DL3002",
        "GO306": "DL3006 DL3007", "GO309": "DL3020",
        "DuplicateStageName": "DL3024", "FromPlatformFlagConstDisallowed": "DL3029",
        "JSONArgsRecommended": "DL3025", "MaintainerDeprecated": "DL4000",
        "MultipleInstructionsDisallowed": "DL3012 DL4003 DL4004",
        "RedundantTargetPlatform": "DL3029", "UndefinedVar": "DL3044",
        "WorkdirRelativePath": "DL3000",
    }.items()
}  # fmt: skip
"""Ids of rules, with the names of hadolint's rules that look for the same, in lower case."""
