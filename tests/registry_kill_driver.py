# SPDX-License-Identifier: Apache-2.0
"""Pulls or pushes as the command does and sends itself a signal at a named point of the store.

`python registry_kill_driver.py STORE POINT OCCURRENCE SIGNAL pull NAME | push NAME TARGET...`: the
exit code is the command's.
"""

import os
import signal
import sys
from functools import partial

from kill_driver import Killer
from wherry.api import pulling, pushing
from wherry.api.registries import RegistryAround
from wherry.cli.stopping import stopping
from wherry.errors import Interrupted
from wherry.events import discard
from wherry.store.store import open_store


def main() -> int:
    store, point, occurrence, number, verb, name, *targets = sys.argv[1:]
    try:
        with stopping() as token:
            killer = Killer(point, int(occurrence), int(number), token)
            for module in (pulling, pushing):
                module.open_store = partial(open_store, hook=killer)
            around = RegistryAround(store, os.environ, os.getcwd(), (), discard, token)
            if verb == "pull":
                pulling.pull_image(name, around)
            else:
                pushing.push_image(name, tuple(targets), around)
    except Interrupted as error:
        print("interrupted")
        return error.code
    print("done" if killer.reached else "never reached")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os._exit(code)
