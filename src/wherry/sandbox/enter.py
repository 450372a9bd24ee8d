# SPDX-License-Identifier: Apache-2.0
"""A small stand-in for an OCI runtime, where none works: `enter BUNDLE ERRORS REMAP TERMINAL`.

Started by the worker as process 1 of a new pid namespace, it makes the mounts that the bundle's
config.json names, moves into the root tree, takes the user's ids and capabilities and becomes the
program. Once it has moved, Python's own modules cannot be imported any more. No seccomp and no
cgroup: what holds the program is the user namespace. A failure goes to the descriptor ERRORS as
JSON; its end-of-file means that the program runs.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import resource
import signal
import socket
import sys
import termios
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn

from wherry.sandbox import syscalls
from wherry.sandbox.rootpath import make_mount_point, resolve

# The config was written by wherry.sandbox.spec a moment before: JSON objects are read as they are.
_Object = dict[str, Any]

_DEVICES: Final = ("full", "null", "random", "tty", "urandom", "zero")
_LINKS: Final = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_FLAGS: Final = {
    "bind": syscalls.MS_BIND,
    "rbind": syscalls.MS_BIND | syscalls.MS_REC,
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "strictatime": syscalls.MS_STRICTATIME,
    "rprivate": 0,
}
# proc(5): blanks and backslashes of a mount point are octal numbers.
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
# What a bind mount already has and the kernel may refuse to take away.
_KEPT: Final = (
    (os.ST_RDONLY, syscalls.MS_RDONLY),
    (os.ST_NOSUID, syscalls.MS_NOSUID),
    (os.ST_NODEV, syscalls.MS_NODEV),
    (os.ST_NOEXEC, syscalls.MS_NOEXEC),
)


class _Options(NamedTuple):
    flags: int
    data: str


def main(arguments: list[str]) -> None:
    """Become the program of the bundle, or report why not and exit with 125."""
    bundle, errors, remap, terminal = arguments[0], int(arguments[1]), arguments[2], arguments[3]
    os.set_inheritable(errors, False)
    try:
        with open(os.path.join(bundle, "config.json"), encoding="utf-8") as file:
            config: _Object = json.load(file)
        build_root(config, os.path.join(bundle, config["root"]["path"]))
        become(config["process"], remap=remap == "1", terminal=terminal == "1")
    except OSError as error:
        _report(errors, error, at_exec=False)
    try:
        execute(config["process"])
    except OSError as error:
        _report(errors, error, at_exec=True)


def build_root(config: _Object, root: str) -> None:
    """Make all mounts in a mount namespace of our own and leave the old root behind."""
    _take_namespaces(config)
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount(root, root, flags=syscalls.MS_BIND | syscalls.MS_REC)
    for item in config["mounts"]:
        _mount(root, item)
        if item["destination"] == "/dev":
            _fill_dev(root)
    for path in config["linux"]["maskedPaths"]:
        _mask(resolve(root, path))
    for path in config["linux"]["readonlyPaths"]:
        real = resolve(root, path)
        if os.path.exists(real):
            syscalls.mount(real, real, flags=syscalls.MS_BIND | syscalls.MS_REC)
            _remount(real, syscalls.MS_RDONLY)
    if config["root"]["readonly"]:
        _remount(root, syscalls.MS_RDONLY)
    syscalls.pivot_root(root)


def _take_namespaces(config: _Object) -> None:
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
    has_network = {"type": "network"} in config["linux"]["namespaces"]
    syscalls.unshare(flags | (syscalls.CLONE_NEWNET if has_network else 0))
    if has_network:
        syscalls.start_loopback()
    if "hostname" in config:
        socket.sethostname(config["hostname"])


def become(process: _Object, *, remap: bool, terminal: bool) -> None:
    """Take ids, capabilities, terminal and directory of `process`."""
    user = process["user"]
    for limit in process.get("rlimits", ()):
        kind = getattr(resource, limit["type"])
        resource.setrlimit(kind, (_signed(limit["soft"]), _signed(limit["hard"])))
    if terminal:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if remap:
        _take_only_id(user["uid"], user["gid"])
    numbers = (syscalls.CAPABILITY_NUMBERS[name] for name in process["capabilities"]["bounding"])
    syscalls.limit_capabilities(frozenset(numbers))
    os.chdir(process["cwd"])
    if not remap:
        _set_ids(user)
    os.umask(0o022)


def _signed(value: int) -> int:
    """The number as Python's setrlimit takes it: no limit is -1."""
    return value - (1 << 64) if value >= 1 << 63 else value


def execute(process: _Object) -> NoReturn:
    """Exec the program of `process`; only its failure comes back, as `OSError`."""
    # Python ignores these two, and exec would hand that on.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    variables = dict(item.split("=", 1) for item in process["env"])
    name = process["args"][0]
    error: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in [name] if "/" in name else _search(name, variables):
        try:
            os.execve(path, process["args"], variables)  # noqa: S606 - the program itself
        except FileNotFoundError:
            continue
        except OSError as found:
            error = found
    raise error


def _search(name: str, variables: dict[str, str]) -> list[str]:
    directories = variables.get("PATH", os.defpath).split(":")
    return [os.path.join(directory, name) for directory in directories]


def _report(errors: int, error: OSError, *, at_exec: bool) -> NoReturn:
    report = {
        "errno": error.errno,
        "what": error.strerror,
        "path": error.filename or "",
        "at_exec": at_exec,
    }
    os.write(errors, json.dumps(report).encode())
    os._exit(125)


def _set_ids(user: _Object) -> None:
    try:
        os.setgroups(user["additionalGids"])
    except PermissionError:
        # With one id mapped the kernel forbids it, and there is nothing to set.
        if {*user["additionalGids"]} - {user["gid"]}:
            raise
    os.setresgid(*(user["gid"],) * 3)
    os.setresuid(*(user["uid"],) * 3)


def _take_only_id(uid: int, gid: int) -> None:
    """The one id that we have becomes `uid`, as `unshare --map-user` does it."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def _mount(root: str, item: _Object) -> None:
    options = _parse_options(item["options"])
    is_bind = bool(options.flags & syscalls.MS_BIND)
    source = item["source"]
    is_directory = not is_bind or os.path.isdir(source)
    target = make_mount_point(root, item["destination"], is_directory)
    if not is_bind:
        syscalls.mount(source, target, item["type"], options.flags, options.data)
        return
    tree = syscalls.MS_BIND | syscalls.MS_REC
    syscalls.mount(source, target, flags=options.flags & tree)
    if wanted := options.flags & ~tree:
        _remount(target, wanted)
        for below in _mounts_below(target):
            # What we cannot reach by name the program cannot reach either: it has fewer rights.
            with suppress(PermissionError):
                _remount(below, wanted)


def _remount(target: str, flags: int) -> None:
    present = os.statvfs(target).f_flag
    kept = sum(flag for bit, flag in _KEPT if present & bit and not flags & flag)
    syscalls.mount("none", target, flags=syscalls.MS_REMOUNT | syscalls.MS_BIND | flags | kept)


def _mounts_below(target: str) -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = {
            _ESCAPE.sub(lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in file
        }
    return sorted(point for point in points if point.startswith(target + "/"))


def _parse_options(words: list[str]) -> _Options:
    flags, data = 0, []
    for word in words:
        if word in _FLAGS:
            flags |= _FLAGS[word]
        else:
            data.append(word)
    return _Options(flags, ",".join(data))


def _fill_dev(root: str) -> None:
    for name in _DEVICES:
        source = f"/dev/{name}"
        if os.path.exists(source):
            target = make_mount_point(root, source, is_directory=False)
            syscalls.mount(source, target, flags=syscalls.MS_BIND)
    for name, target in _LINKS:
        os.symlink(target, f"{root}/dev/{name}")


def _mask(path: str) -> None:
    if os.path.isdir(path):
        syscalls.mount("tmpfs", path, "tmpfs", syscalls.MS_RDONLY)
    elif os.path.exists(path):
        syscalls.mount("/dev/null", path, flags=syscalls.MS_BIND)


if __name__ == "__main__":
    main(sys.argv[1:])
