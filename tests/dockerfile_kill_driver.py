# SPDX-License-Identifier: Apache-2.0
"""Builds a Dockerfile as the command does and sends itself a signal at a named point.

`python dockerfile_kill_driver.py SOURCE STORE POINT OCCURRENCE SIGNAL`: the exit code
is the command's.
"""

import os
import signal
import sys

from kill_driver import Killer
from wherry.api.building import build_image
from wherry.api.request import BuildRequest
from wherry.cli.stopping import stopping
from wherry.errors import Interrupted
from wherry.events import discard


def main() -> int:
    source, store, point, occurrence, number = sys.argv[1:]
    try:
        with stopping() as token:
            killer = Killer(point, int(occurrence), int(number), token)
            request = BuildRequest(
                source=source,
                file="Dockerfile",
                cwd=source,
                env=os.environ,
                store=store,
                trace=killer,
            )
            result = build_image(request, discard, token)
    except Interrupted as error:
        print("interrupted")
        return error.code
    print(result.digest if killer.reached else "never reached")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os._exit(code)
