# SPDX-License-Identifier: Apache-2.0
"""The few Linux calls that Python does not wrap: mounts, namespaces, capabilities.

For the spawned programs `worker` and `enter` only: each changes the process that calls it. All
raise `OSError` with the kernel's number.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wherry.process.capabilities import NAMES

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MS_STRICTATIME: Final = 1 << 24
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_MNT_DETACH: Final = 2
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522
CAPABILITY_NUMBERS: Final = {f"CAP_{name.upper()}": number for number, name in enumerate(NAMES)}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
# glibc and musl have no pivot_root(2), and the number of the call differs by machine.
_PIVOT_ROOT: Final = {"x86_64": 155, "i686": 217, "armv7l": 218, "s390x": 217, "ppc64le": 203}
_PIVOT_ROOT_GENERIC: Final = 41


def adopt_orphans() -> None:
    """Make what descendants of this process leave behind its children, as process 1 has it."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            flags,
            os.fsencode(data) or None,
        ),
        target,
    )


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags))


def unmount(target: str) -> None:
    """umount2(2), at once for everybody who does not use it already."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), target)


@contextmanager
def inside(directory: str) -> Iterator[None]:
    """The block's relative paths begin in `directory`.

    Only for threads with a mount namespace, and so a working directory, of their own.
    """
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir("/")


@contextmanager
def new_pid_namespace() -> Iterator[None]:
    """Processes started inside the block go into one new pid namespace; the first is process 1."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    try:
        unshare(CLONE_NEWPID)
        try:
            yield
        finally:
            # Until then no thread can be started: it would live in two namespaces.
            _check(_libc.setns(own, CLONE_NEWPID))
    finally:
        os.close(own)


def write_out(directory: str) -> None:
    """syncfs(2) of the file system that holds `directory`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(_libc.syncfs(descriptor), directory)
    finally:
        os.close(descriptor)


def pivot_root(root: str) -> None:
    """Make the mount at `root` the only one that can be reached, and the working directory."""
    os.chdir(root)
    number = _PIVOT_ROOT.get(os.uname().machine, _PIVOT_ROOT_GENERIC)
    # With both names the same the old root lies over the new one until it is taken off.
    _check(_libc.syscall(number, b".", b"."), root)
    _check(_libc.umount2(b".", _MNT_DETACH))
    os.chdir("/")


def held_capabilities() -> tuple[str, ...]:
    """The names of the capabilities that this process is permitted, by their numbers."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    buffer = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, buffer))
    _, low, _, _, high, _ = struct.unpack("=6I", buffer.raw)
    permitted = high << 32 | low
    return tuple(name for name, number in CAPABILITY_NUMBERS.items() if permitted >> number & 1)


def start_loopback() -> None:
    """Bring up the loopback device of this network namespace (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("=16sh22x", b"lo", 0))
        flags = struct.unpack_from("=h", request, 16)[0]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("=16sh22x", b"lo", flags | _IFF_UP))


def limit_capabilities(kept: frozenset[int]) -> None:
    """Let no later exec give more than `kept`, and nothing by inheritance."""
    number = 0
    while _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number not in kept:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0))
        number += 1
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    buffer = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, buffer))
    low_e, low_p, _, high_e, high_p, _ = struct.unpack("=6I", buffer.raw)
    _check(_libc.capset(header, struct.pack("=6I", low_e, low_p, 0, high_e, high_p, 0)))


def _check(result: int, path: str = "") -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path or None)
