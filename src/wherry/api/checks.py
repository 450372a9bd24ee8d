# SPDX-License-Identifier: Apache-2.0
"""One finding of `wherry doctor`: what was looked at, what is there, what would make it better."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How good a finding is. `LIMITED` works with less, `NOTE` is neither good nor bad."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"
    NOTE = "note"


class Check(NamedTuple):
    """A finding in a line, with `details` below it and the `remedy`, an action, where one helps."""

    name: str
    state: State
    found: str
    details: tuple[str, ...] = ()
    remedy: str = ""

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {**self._asdict(), "state": str(self.state), "details": list(self.details)}
