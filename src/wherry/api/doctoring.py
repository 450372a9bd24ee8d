# SPDX-License-Identifier: Apache-2.0
"""What this machine can do, what is missing and how to get it: `wherry doctor` as a function.

RUN is proved by starting what a build starts. Nothing is changed, but that the store and its
directory are made where they are not there.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from typing import NamedTuple

from wherry._version import __version__
from wherry.api.checks import Check, State
from wherry.api.go_checks import git_check, go_check, store_check
from wherry.api.network_checks import network_checks
from wherry.errors import WherryError
from wherry.process.cancel import CancelToken

__all__ = ["Check", "Diagnosis", "State", "diagnose"]


class Diagnosis(NamedTuple):
    """All findings, and whether Go builds and RUN steps work.

    `mode` names how RUN works ("none" where it does not), `store_size` and `store_free` are bytes,
    -1 where the store cannot be used.
    """

    checks: tuple[Check, ...]
    go_builds: bool
    run_steps: bool
    mode: str
    store_size: int
    store_free: int

    @property
    def exit_code(self) -> int:
        """0 where both work, else 3."""
        return 0 if self.go_builds and self.run_steps else 3

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "wherry": __version__,
            **self._asdict(),
            "checks": [check.as_json() for check in self.checks],
        }


def diagnose(store: str, env: Mapping[str, str], cancel: CancelToken) -> Diagnosis:
    """Look at the machine of the user whose environment `env` is. Raises `Cancelled`."""
    place, size, free = store_check(store)
    mode, steps = _steps(store, env) if size >= 0 else ("none", ())
    go = go_check(env, cancel)
    checks = (_versions(), *steps, go, git_check(env, cancel), place, *network_checks(env))
    go_builds = go.state is State.OK and size >= 0
    return Diagnosis(checks, go_builds, mode != "none", mode, size, free)


def _steps(store: str, env: Mapping[str, str]) -> tuple[str, tuple[Check, ...]]:
    from wherry.api.proving import prove  # noqa: PLC0415 - Linux only
    from wherry.api.run_checks import not_here, run_checks  # noqa: PLC0415 - as above

    try:
        proof = prove(store, env)
    except WherryError as error:
        return "none", (not_here(error),)
    return str(proof.mode), run_checks(proof)


def _versions() -> Check:
    python = ".".join(map(str, sys.version_info[:3]))
    system = os.uname()
    found = f"{__version__}, Python {python}, {system.sysname} {system.release} {system.machine}"
    return Check("wherry", State.NOTE, found, (_distribution(),) if _distribution() else ())


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
