# SPDX-License-Identifier: Apache-2.0
"""Which entries of the build cache one `go build` used: its action graph.

`go build -debug-actiongraph=FILE` writes each action with its package and the first 15 bytes of
its id, which is the entry's name in GOCACHE (`cmd/go/internal/work`, actionJSON and hashToString;
so in Go 1.21 to 1.27). It also tells which packages were compiled and for how long.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NamedTuple

FLAG = "-debug-actiongraph="
_PREFIX_BYTES = 15


class Compiled(NamedTuple):
    """A package of a build: `prefix` are the first 30 hex digits of its action's id.

    `milliseconds` of processor time went into compiling it, 0 where the cache had it.
    """

    package: str
    prefix: str
    milliseconds: int


def read_action_graph(data: bytes) -> tuple[Compiled, ...]:
    """The packages of an action graph; none where this Go writes another form of it."""
    try:
        return tuple(_compiled(action) for action in json.loads(data) if _is_package(action))
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        return ()


def _is_package(action: Any) -> bool:  # noqa: ANN401 - Go's JSON
    return bool(action.get("Mode") == "build" and action.get("ActionID"))


def _compiled(action: Any) -> Compiled:  # noqa: ANN401 - as above
    prefix = base64.urlsafe_b64decode(action["ActionID"])
    if len(prefix) != _PREFIX_BYTES:
        raise ValueError(action["ActionID"])
    spent = int(action.get("CmdUser", 0)) + int(action.get("CmdSys", 0))
    return Compiled(str(action["Package"]), prefix.hex(), max(spent, 0) // 1_000_000)
