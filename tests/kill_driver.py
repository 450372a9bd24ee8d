# SPDX-License-Identifier: Apache-2.0
"""Builds as the command does and sends itself a signal at a named point.

`python kill_driver.py SOURCE STORE OUTPUT POINT OCCURRENCE SIGNAL`: the exit code is the command's.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from wherry.api.building import build_image
from wherry.api.request import BuildRequest
from wherry.cli.stopping import stopping
from wherry.errors import Interrupted
from wherry.events import discard
from wherry.process.cancel import CancelToken


class Killer:
    """A trace that sends the signal when the point is reached the given number of times."""

    def __init__(self, point: str, occurrence: int, number: int, token: CancelToken) -> None:
        self._point = point
        self._left = occurrence
        self._number = number
        self._token = token
        self._lock = threading.Lock()
        self.reached = False

    def __call__(self, point: str) -> None:
        with self._lock:
            self._left -= point == self._point
            if self._left or self.reached or point != self._point:
                return
            self.reached = True
        os.kill(os.getpid(), self._number)
        # The thread that takes signals needs a moment; the build goes on as soon as it knows.
        end = time.monotonic() + 10
        while not self._token.cancelled and time.monotonic() < end:
            time.sleep(0.002)


def do(work: Callable[[Killer, CancelToken], str], words: Sequence[str]) -> int:
    """Do `work` with a killer made of POINT OCCURRENCE SIGNAL; say what came of it."""
    point, occurrence, number = words
    try:
        with stopping() as token:
            killer = Killer(point, int(occurrence), int(number), token)
            done = work(killer, token)
    except Interrupted as error:
        print("interrupted")
        return error.code
    print(done if killer.reached else "never reached")
    return 0


def leave(code: int) -> NoReturn:
    """End as the command does."""
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os._exit(code)


def main() -> int:
    source, store, output, *words = sys.argv[1:]

    def build(killer: Killer, token: CancelToken) -> str:
        request = BuildRequest(
            source=source,
            cwd=source,
            env=os.environ,
            store=store,
            outputs=(f"type=oci,dest={output}",),
            trace=killer,
        )
        return build_image(request, discard, token).digest

    return do(build, words)


if __name__ == "__main__":
    leave(main())
