# SPDX-License-Identifier: Apache-2.0
"""Builds a Dockerfile as the command does and sends itself a signal at a named point.

`python dockerfile_kill_driver.py SOURCE STORE POINT OCCURRENCE SIGNAL`: the exit code
is the command's.
"""

import os
import sys

from kill_driver import Killer, do, leave
from wherry.api.building import build_image
from wherry.api.request import BuildRequest
from wherry.events import discard
from wherry.process.cancel import CancelToken


def main() -> int:
    source, store, *words = sys.argv[1:]

    def build(killer: Killer, token: CancelToken) -> str:
        request = BuildRequest(
            source=source,
            file="Dockerfile",
            cwd=source,
            env=os.environ,
            store=store,
            trace=killer,
        )
        return build_image(request, discard, token).digest

    return do(build, words)


if __name__ == "__main__":
    leave(main())
