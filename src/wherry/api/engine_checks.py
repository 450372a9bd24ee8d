# SPDX-License-Identifier: Apache-2.0
"""What `wherry doctor` says about container engines: those that `--load` finds, and who answers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from wherry.api.checks import Check, State
from wherry.api.limited import within
from wherry.errors import MachineError, UsageError
from wherry.exporters.engine import Engine
from wherry.exporters.engine_endpoint import Endpoint, endpoints
from wherry.exporters.engine_http import EngineHttp, Patience
from wherry.process.cancel import CancelToken

_NAME: Final = "engine"
_SECONDS: Final = 3.0
_STARTS: Final = {
    "podman": "systemctl --user start podman.socket (as root without --user)",
    "dockerd": "as root, systemctl start docker (and join the group docker)",
}
_INSTALL: Final = "to use one: apt-get install podman, or docker.io (and join the group docker)"


def engine_checks(env: Mapping[str, str], cancel: CancelToken) -> tuple[Check, ...]:
    """The engines of this user, in the order that `--load` tries them."""
    try:
        found = endpoints(env, os.getuid())
    except UsageError as error:
        return (Check(_NAME, State.LIMITED, error.what, _lines(error.why), error.hint),)
    # A usual place where nothing is was never meant.
    there = [place for place in found if place.named_by or os.path.exists(place.path)]
    if not there:
        none = "none: no --load; images go to archives, directories and registries all the same"
        return (Check(_NAME, State.NOTE, none, remedy=_start(env)),)
    with ThreadPoolExecutor(len(there)) as threads:
        checks = list(threads.map(lambda place: _look(place, cancel), there))
    for number, check in enumerate(checks):
        if check.state is State.OK:
            checks[number] = check._replace(details=(*check.details, "--load takes this one"))
            break
    return tuple(checks)


def _start(env: Mapping[str, str]) -> str:
    """How an engine would come to be there: those that are installed are only to be started."""
    path = env.get("PATH", os.defpath)
    ways = [way for program, way in _STARTS.items() if shutil.which(program, path=path)]
    return f"to use one: {', or '.join(ways)}" if ways else _INSTALL


def _look(place: Endpoint, cancel: CancelToken) -> Check:
    named = f" ({place.named_by})" if place.named_by else ""
    patience = Patience(answer=_SECONDS)
    try:
        facts = within(
            _SECONDS, cancel, lambda token: Engine(EngineHttp(place, token, patience)).facts
        )
    except MachineError as error:
        return Check(_NAME, State.LIMITED, f"{error.what}{named}", _lines(error.why), error.hint)
    if facts is None:
        slow = f"the engine at {place}{named} does not answer"
        return Check(_NAME, State.LIMITED, slow, remedy="see whether it hangs, or start it again")
    return Check(_NAME, State.OK, f"{facts.name} at {place}{named}, {facts.architecture}")


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.splitlines())
