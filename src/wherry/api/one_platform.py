# SPDX-License-Identifier: Apache-2.0
"""A Dockerfile is built for one platform. Alone here, as few builds name several."""

from __future__ import annotations

import os

from wherry.api.recorded import directory_of
from wherry.api.request import BuildRequest
from wherry.errors import UsageError


def refuse_several_platforms(request: BuildRequest) -> None:
    """Raise `UsageError` for a Dockerfile's build that names several platforms.

    Who did not ask for the Dockerfile, and has a Go module beside it, may have meant that one.
    """
    hint = "name one, such as linux/amd64"
    directory, pattern = directory_of(request)
    chosen = request.frontend == "auto" and not request.file and pattern == "."
    if chosen and os.path.isfile(os.path.join(directory, "go.mod")):
        hint += "; --frontend gomodule builds the Go module there, for several, too"
    raise UsageError(f"several platforms: {request.platform}",
                     why="a Dockerfile is built for one", hint=hint)  # fmt: skip
