# SPDX-License-Identifier: Apache-2.0
"""How often programs are started, told by the kernel (fanotify's FAN_OPEN_EXEC; needs root).

A script in place of `go` would be seen by what is measured, and a trace would slow it. Only starts
below this process count; one that had ended before it could be looked at counts, too.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.failure import BenchError

_FAN_CLOEXEC = 0x1
_FAN_MARK_ADD = 0x1
_FAN_OPEN_EXEC = 0x1000
_AT_FDCWD = -100
_EVENT = struct.Struct("=IBBHQii")  # struct fanotify_event_metadata
_READ = 1 << 16


@contextmanager
def counted(programs: Sequence[Path]) -> Iterator[Counter[str]]:
    """Counts the starts of each of the programs, by file name; complete after the block."""
    found: Counter[str] = Counter()
    notifier = _watching(programs)
    ending, end = os.pipe2(os.O_CLOEXEC)
    thread = threading.Thread(target=_count, args=(notifier, ending, found))
    thread.start()
    try:
        yield found
    finally:
        os.close(end)
        thread.join()
        os.close(ending)
        os.close(notifier)


def _watching(programs: Sequence[Path]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    notifier: int = libc.fanotify_init(_FAN_CLOEXEC, os.O_RDONLY | os.O_CLOEXEC)
    if notifier < 0:
        raise BenchError(f"starts of programs cannot be counted: {_last_error()}")
    mask = ctypes.c_uint64(_FAN_OPEN_EXEC)
    for program in programs:
        path = os.fsencode(program.resolve())
        if libc.fanotify_mark(notifier, _FAN_MARK_ADD, mask, _AT_FDCWD, path) != 0:
            error = _last_error()
            os.close(notifier)
            raise BenchError(f"starts of {program} cannot be counted: {error}")
    return notifier


def _last_error() -> str:
    return os.strerror(ctypes.get_errno())


def _count(notifier: int, ending: int, found: Counter[str]) -> None:
    """Reads events until the other end of `ending` is closed and nothing more waits."""
    while True:
        ready, _, _ = select.select((notifier, ending), (), ())
        if notifier not in ready:
            return
        data = os.read(notifier, _READ)
        while data:
            length, _, _, _, _, file, pid = _EVENT.unpack_from(data)
            data = data[length:]
            try:
                if _may_be_ours(pid):
                    found[Path(os.readlink(f"/proc/self/fd/{file}")).name] += 1
            finally:
                os.close(file)


def _may_be_ours(pid: int) -> bool:
    """Whether this process is above `pid`, or nobody can tell."""
    own = os.getpid()
    while pid > 1 and pid != own:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return True
    return pid == own
