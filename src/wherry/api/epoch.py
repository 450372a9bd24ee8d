# SPDX-License-Identifier: Apache-2.0
"""SOURCE_DATE_EPOCH: the time that a reproducible build takes for now."""

from __future__ import annotations

from collections.abc import Mapping

from wherry.errors import UsageError


def source_date_epoch(env: Mapping[str, str]) -> int | None:
    """SOURCE_DATE_EPOCH (reproducible-builds.org's specification); raises `UsageError`."""
    text = env.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= 253402300799):
        raise UsageError(
            f"SOURCE_DATE_EPOCH is no time: {text!r}",
            hint="set it to whole seconds since 1970, as of: git log -1 --format=%ct",
        )
    return int(text)
