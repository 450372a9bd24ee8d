# SPDX-License-Identifier: Apache-2.0
"""Exports to a directory, and is killed at each change of the file system in turn.

`python gocache_kill_driver.py WORK` has a child of its own for each point: it runs one export on a
copy of a cache, and the n-th call that changes files is its last. Prints one line of JSON for each
point: the call, what the directory then holds, and what is there after the next export.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from gocache_places import adding, contents, directory_place, export, keeping, pack

CALLS = ("mkdir", "open", "link", "rename", "unlink", "rmdir", "fsync")


def main() -> None:
    work = Path(sys.argv[1])
    # The system lives on when a process is killed: no disk has to be waited for.
    os.fsync = lambda descriptor: None
    for begin, replace in ((None, False), (b"old", True)):
        number = 0
        while killed := one(work / f"{number}", begin, number, replace=replace):
            print(json.dumps({"begin": (begin or b"").decode(), "replace": replace, **killed}))
            number += 1


def one(work: Path, begin: bytes | None, number: int, *, replace: bool) -> dict[str, object] | None:
    """What came of a kill at this point; None where the export was through by then."""
    shutil.rmtree(work, ignore_errors=True)
    cache = work / "cache"
    if begin is not None:
        export(directory_place(cache), pack(begin))
    told = work.parent / "told"
    told.write_text("")
    child = os.fork()
    if not child:
        doomed(number, told)
        new, place = pack("new"), directory_place(cache)
        place.put(new)
        place.publish(keeping(new) if replace else adding(new))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert os.waitstatus_to_exitcode(status) == 0
        return None
    found = sorted(pack.decode() for pack in contents(directory_place(cache)))
    after = directory_place(cache)
    export(after, pack("after"))
    return {
        "call": told.read_text(),
        "found": found,
        "after": sorted(pack.decode() for pack in contents(after)),
        "names": sorted(os.listdir(cache)),
        "blobs": len(os.listdir(cache / "blobs/sha256")),
    }


def doomed(number: int, told: Path) -> None:
    """Let the process die right before its call of this number."""
    count = 0

    def wrapped(name: str, real):
        def call(*given, **more):
            nonlocal count
            changes = name != "open" or (given[1] & os.O_CREAT)
            if not changes:
                return real(*given, **more)
            count += 1
            if count == number + 1:
                told.write_text(name)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **more)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))


if __name__ == "__main__":
    main()
