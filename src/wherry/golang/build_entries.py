# SPDX-License-Identifier: Apache-2.0
"""The files of Go's build cache.

An entry is an *action* file `ID-a`, of one line, that names an *output* file `ID-d` by the sha256
of its bytes: `v1 ID OUTPUT SIZE TIME`, size in bytes and time in nanoseconds, both in decimal and
20 characters wide. Source: `cmd/go/internal/cache`, the same in Go 1.21 to 1.27.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

ACTION_SIZE: Final = 175
"""Bytes of an action file, always."""

INDEX: Final = b"go index v"
"""How an output begins that is Go's index of one directory: it is known by the directory's place,
not by what is in it, so that it means nothing elsewhere."""

UNUSED_SECONDS: Final = 2 * 3600
"""How old wherry makes an action that no step has used since.

Go renews the time of an action that it uses where it is older than an hour: that copies the small
file into the step's change, and tells which were used."""

NEVER_SECONDS: Final = 36525 * 24 * 3600
"""How far ahead wherry sets the time of an output: renewing it would copy all of it."""

_ACTION: Final = re.compile(rb"v1 ([0-9a-f]{64}) ([0-9a-f]{64}) ( *\d{1,20}) ( *\d{1,20})\n")


class Action(NamedTuple):
    """What an action file says: its id, its output's digest and size, when it was made (ns)."""

    id: str
    output: str
    size: int
    time: int


def parse_action(name: str, data: bytes) -> Action | None:
    """The action in a file `name` (`ID-a`), None where Go would not take it for one either."""
    match = _ACTION.fullmatch(data) if len(data) == ACTION_SIZE else None
    if match is None or match[1].decode() != name[:64]:
        return None
    return Action(match[1].decode(), match[2].decode(), int(match[3]), int(match[4]))


def subkey(identity: str, description: str) -> str:
    """The id of what Go keeps beside an entry, such as what compiling it printed: `stdout`.

    Source: `Subkey` of `cmd/go/internal/cache`.
    """
    data = b"subkey:" + bytes.fromhex(identity) + description.encode("ascii")
    return hashlib.sha256(data).hexdigest()


def encode_action(action: Action) -> bytes:
    """The content of an action file."""
    return f"v1 {action.id} {action.output} {action.size:20d} {action.time:20d}\n".encode("ascii")
