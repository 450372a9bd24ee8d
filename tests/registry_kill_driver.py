# SPDX-License-Identifier: Apache-2.0
"""Pulls or pushes as the command does and sends itself a signal at a named point of the store.

`python registry_kill_driver.py STORE POINT OCCURRENCE SIGNAL pull NAME | push NAME TARGET...`: the
exit code is the command's.
"""

import os
import sys
from functools import partial

from kill_driver import Killer, do, leave
from wherry.api import growing, pulling, pushing
from wherry.api.registries import RegistryAround
from wherry.events import discard
from wherry.process.cancel import CancelToken
from wherry.store.store import open_store


def main() -> int:
    store, point, occurrence, number, verb, name, *targets = sys.argv[1:]

    def move(killer: Killer, token: CancelToken) -> str:
        for module in (growing, pushing):
            module.open_store = partial(open_store, hook=killer)
        around = RegistryAround(store, os.environ, os.getcwd(), (), discard, token)
        if verb == "pull":
            pulling.pull_image(name, around)
        else:
            pushing.push_image(name, tuple(targets), around)
        return "done"

    return do(move, (point, occurrence, number))


if __name__ == "__main__":
    leave(main())
