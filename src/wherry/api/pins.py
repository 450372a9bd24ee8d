# SPDX-License-Identifier: Apache-2.0
"""`wherry.lock` in a build: bases and the Go version come from it, and `--locked` insists on it."""

from __future__ import annotations

import os
from typing import NamedTuple

from wherry.api.asked import Asked
from wherry.api.bases import BasePolicy
from wherry.api.request import BuildRequest
from wherry.bases.static import static_data_versions
from wherry.errors import BuildError
from wherry.graph.ops import ComposedBase
from wherry.settings.lock import LOCK_NAME, LockFile, load_lock


class Pins(NamedTuple):
    """What was asked for with the lock file's Go version, and where bases come from.

    `warnings` say what differs from the lock file; they belong to the image, built or unchanged.
    """

    asked: Asked
    policy: BasePolicy
    warnings: tuple[str, ...] = ()


def read_pins(request: BuildRequest, asked: Asked) -> Pins:
    """Apply the lock file beside `wherry.toml`, if there is one.

    What differs from it is a warning, and with `--locked` a `BuildError`.
    """
    lock = load_lock(os.path.dirname(asked.settings_path))
    if lock is None:
        if request.locked:
            raise BuildError(f"there is no {LOCK_NAME} in {os.path.dirname(asked.settings_path)}",
                             why="--locked takes everything from it",
                             hint="write one: wherry lock")  # fmt: skip
        return Pins(asked, BasePolicy(None, False, request.pull))
    difference = _difference(asked, lock)
    if difference and request.locked:
        raise BuildError(difference, why="--locked allows nothing that is not in the lock file",
                         hint="bring the lock file up to date: wherry lock --update")  # fmt: skip
    if not asked.go_version and lock.go:
        asked = asked._replace(go_version=lock.go)
    warnings = (difference,) if difference else ()
    return Pins(asked, BasePolicy(lock, request.locked, request.pull), warnings)


def _difference(asked: Asked, lock: LockFile) -> str:
    if asked.go_version and asked.go_version != lock.go:
        return f"wherry.toml asks for Go {asked.go_version}, {LOCK_NAME} holds {lock.go or 'none'}"
    if asked.base is not ComposedBase.STATIC:
        return ""
    here, held = dict(static_data_versions()), dict(lock.data)
    for name in sorted(here):
        if held.get(name) != here[name]:
            return (
                f"the base static is made of {name} {here[name]} here, "
                f"and {LOCK_NAME} holds {held.get(name, 'none')}"
            )
    return ""
