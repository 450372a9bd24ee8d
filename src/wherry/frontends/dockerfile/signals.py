# SPDX-License-Identifier: Apache-2.0
"""Signals as STOPSIGNAL names them: Linux's names, with or without `SIG`, or a number."""

from __future__ import annotations

import re
from typing import Final

from wherry.errors import near
from wherry.frontends.dockerfile.refusals import BadValue

_NAMES: Final = frozenset(
    (
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "RTMIN", "RTMAX",
    )
)  # fmt: skip
_REALTIME: Final = re.compile(r"RTMIN\+([1-9]|1[0-5])|RTMAX-([1-9]|1[0-4])")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def check_signal(text: str) -> None:
    """Raises `BadValue` unless `text` names a signal; numbers are taken as they are, but for 0."""
    if _NUMBER.fullmatch(text) and int(text) != 0:
        return
    name = text.upper().removeprefix("SIG")
    if name not in _NAMES and not _REALTIME.fullmatch(name):
        hint = near(name, tuple(sorted(_NAMES))) or "write it as SIGTERM or 15"
        raise BadValue(f"unknown signal {text!r}", hint)
