# SPDX-License-Identifier: Apache-2.0
"""What a line says of a cache place that is not used or written: once, and why."""

from __future__ import annotations

import pytest

from wherry.api.cache_traffic import reason_of
from wherry.errors import MachineError, NetworkError, UsageError, WherryError
from wherry.gocache.spec import CacheSpec
from wherry.gocache.table import BadPack

PLACE = "./go-cache"
CACHE = f"the cache {PLACE}"


@pytest.mark.parametrize(
    ("error", "what", "wanted"),
    [
        (BadPack(f"{CACHE} is not trusted", why="it is not signed"), "used", "it is not signed"),
        (MachineError(f"cannot read {CACHE}", why="Is a file"), "used", "Is a file"),
        (MachineError(f"cannot read {CACHE}", why="Is a file"), "written",
         "cannot read it: Is a file"),
        (MachineError(f"cannot write {CACHE}", why="Is full"), "written", "Is full"),
        (NetworkError(f"{CACHE} was not written", why="others wrote\nit"), "written",
         "others wrote"),
        # Without a reason that is all there is to say.
        (NetworkError(f"{CACHE} was not written"), "written", f"{CACHE} was not written"),
        (UsageError(f"{CACHE} is of a newer format", why="made later"), "used",
         "it is of a newer format: made later"),
        (UsageError(f"the directory {PLACE} is not for a cache", why="it has files"), "written",
         "it is not for a cache: it has files"),
        (UsageError(f"{PLACE} is an image, not a cache", why="no"), "written",
         "it is an image, not a cache: no"),
        (NetworkError("cannot reach example.com", why="refused"), "used",
         "cannot reach example.com: refused"),
        (NetworkError("it is too slow"), "used", "it is too slow"),
    ],
)  # fmt: skip
def test_what_a_line_says_already_is_not_said_again(
    error: WherryError, what: str, wanted: str
) -> None:
    assert reason_of(error, CacheSpec(PLACE, is_directory=True), what) == wanted
