# SPDX-License-Identifier: Apache-2.0
"""Where ko's settings lie: asked for every module without a `wherry.toml`, so cheap to import."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from wherry.errors import UsageError

KO_NAMES: Final = (".ko.yaml", ".ko.yml")
_PLACE: Final = "KO_CONFIG_PATH"
# What of the environment a `.ko.yaml` is read with; `{{.Env.NAME}}` comes on top.
KO_VARIABLES: Final = (
    _PLACE, "KO_DOCKER_REPO", "KO_DEFAULTBASEIMAGE", "KO_DEFAULTPLATFORMS",
    "KO_DEFAULTENV", "KO_DEFAULTFLAGS", "KO_DEFAULTLDFLAGS", "KO_DATA_DATE_EPOCH", "KO_GO_PATH",
)  # fmt: skip


def find_ko(directory: str, env: Mapping[str, str]) -> str:
    """The path of ko's settings for `directory`: KO_CONFIG_PATH, else a `.ko.yaml` there.

    Empty where there is none; costs two system calls. Raises `UsageError` where KO_CONFIG_PATH
    names nothing.
    """
    return next((path for path in ko_paths(directory, env) if os.path.isfile(path)), "")


def ko_paths(directory: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Where ko's settings for `directory` may lie; the first one that is there counts.

    Raises as `find_ko`.
    """
    named = env.get(_PLACE, "")
    place = os.path.join(directory, named) if named else directory
    if named and not os.path.isdir(place):
        if not os.path.isfile(place):
            raise UsageError(f"{_PLACE} names no file: {named}",
                             hint="unset it, or name a .ko.yaml or its directory")  # fmt: skip
        return (place,)
    return tuple(os.path.join(place, name) for name in KO_NAMES)
