# SPDX-License-Identifier: Apache-2.0
"""Restores build entries into a GOCACHE, and is killed at each change of it in turn.

`python travelling_kill_driver.py WORK [named]` has a child of its own for each point: the n-th call
that changes files is its last, a write after its first half. With `named` the file system has no
files without names. Prints a line of JSON for each point: the call, what is wrong in the GOCACHE,
what is left over there, and whether the next restore gave all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from travelling_faults import spoilt
from wherry.gocache.build_cache import BuildCache
from wherry.gocache.pack import unpack, write_pack
from wherry.gocache.table import Row, Table
from wherry.golang.build_entries import Action, encode_action
from wherry.process.cancel import CancelToken

# The last is taken in several pieces.
CONTENTS = (b"", b"one", b"two" * 5000, b"large " * 1_000_000)


def prepare(cache: BuildCache) -> None:
    """The directories that are needed, and not all 256."""
    for number, content in enumerate(CONTENTS):
        for data in (b"key %d" % number, content):
            (Path(cache.path) / hashlib.sha256(data).hexdigest()[:2]).mkdir(
                parents=True, exist_ok=True
            )


def main() -> None:
    BuildCache.prepare = prepare
    work, has_unnamed = Path(sys.argv[1]), "named" not in sys.argv
    number = 0
    table, data = packed(work / "source")
    while killed := one(work / "cache", table, data, number, has_unnamed=has_unnamed):
        print(json.dumps(killed))
        number += 1


def packed(path: Path) -> tuple[Table, bytes]:
    """A pack of some entries."""
    cache = BuildCache(str(path))
    cache.prepare()
    rows = []
    for number, content in enumerate(CONTENTS):
        key = hashlib.sha256(b"key %d" % number).hexdigest()
        output = hashlib.sha256(content).hexdigest()
        (path / output[:2] / f"{output}-d").write_bytes(content)
        action = encode_action(Action(key, output, len(content), 1))
        (path / key[:2] / f"{key}-a").write_bytes(action)
        rows.append(Row(key, output, len(content), 1))
    out = io.BytesIO()
    return write_pack("build", rows, cache.open_output, out.write, CancelToken()).table, (
        out.getvalue()
    )


def restore(path: Path, table: Table, data: bytes) -> bool:
    """Restore as `Holding.restore` does; whether all is there then."""
    cache = BuildCache(str(path))
    cache.prepare()
    missing, outputs = cache.lacks(table.rows)
    unpack(table, io.BytesIO(data), outputs, cache.place, CancelToken())
    cache.enter(missing)
    return all(cache.row(row.key) == row for row in table.rows)


def one(
    path: Path, table: Table, data: bytes, number: int, *, has_unnamed: bool
) -> dict[str, object] | None:
    """What came of a kill at this point; None where the restore was through by then."""
    shutil.rmtree(path, ignore_errors=True)
    BuildCache(str(path)).prepare()
    told = path.parent / "told"
    told.write_text("")
    child = os.fork()
    if not child:
        doomed(number, told, has_unnamed=has_unnamed)
        restore(path, table, data)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert os.waitstatus_to_exitcode(status) == 0
        return None
    wrong = spoilt(path)
    return {
        "call": told.read_text(),
        "wrong": [text for text in wrong if "left over" not in text],
        "left": [text.partition(" ")[0] for text in wrong if "left over" in text],
        "again": restore(path, table, data),
    }


def doomed(number: int, told: Path, *, has_unnamed: bool) -> None:
    """Let the process die in its call of this number."""
    count = 0

    def wrapped(name: str, real):
        def call(*given, **more):
            nonlocal count
            if name == "open":
                if not has_unnamed and given[1] & os.O_TMPFILE == os.O_TMPFILE:
                    raise OSError(95, "Operation not supported")
                if not given[1] & (os.O_CREAT | os.O_WRONLY):
                    return real(*given, **more)
            count += 1
            if count == number + 1:
                if name == "write":
                    real(given[0], given[1][: len(given[1]) // 2])
                told.write_text(name)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **more)

        return call

    for name in ("open", "write", "link", "replace", "unlink"):
        setattr(os, name, wrapped(name, getattr(os, name)))


if __name__ == "__main__":
    main()
