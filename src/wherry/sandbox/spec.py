# SPDX-License-Identifier: Apache-2.0
"""From an image's config and a request to one process, and from that to an OCI runtime config.

Pure: nothing here asks the machine. The words are those of the OCI runtime specification 1.0,
config.md and config-linux.md; the defaults are Docker's, but for CAP_MKNOD, which is left out:
without a device cgroup it would let root in the image open the machine's disks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from wherry.oci.canonical import Json
from wherry.oci.image import RunConfig
from wherry.sandbox.mounts import MASKED, READ_ONLY, Mount
from wherry.sandbox.request import RunError, RunRequest
from wherry.sandbox.users import User

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES: Final = (
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
    "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip
_NAMESPACES: Final = ("pid", "ipc", "uts", "mount")
# Numbers below 0 count down from it: -1 becomes RLIM_INFINITY.
_UNLIMITED: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Program:
    """The process to start, nothing left open; `env` is in order, `NAME=VALUE` each."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: User
    terminal: bool = False

    def describe(self) -> str:
        """A line for people."""
        return f"run {list(self.args)} as {self.user.uid}:{self.user.gid} in {self.cwd}"


def command_line(image: RunConfig, request: RunRequest) -> tuple[str, ...]:
    """Docker's rule: arguments replace the command, an entrypoint given replaces both.

    Raises `RunError` where nothing is left to run.
    """
    if request.entrypoint is not None:
        entrypoint = (request.entrypoint,) if request.entrypoint else ()
        words = (*entrypoint, *request.args)
    else:
        words = (*image.entrypoint, *(request.args or image.cmd))
    if not words:
        raise RunError(
            "no command specified",
            why="the image has neither entrypoint nor command",
            hint="name the program after the image",
        )
    return words


def environment(
    image: RunConfig, request: RunRequest, caller: Mapping[str, str], home: str, hostname: str
) -> tuple[str, ...]:
    """The program's variables: defaults, the image's, then those asked for.

    A bare NAME takes the caller's value; where the caller has none, NAME is removed. HOME is the
    user's own where nothing else sets it.
    """
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if request.terminal:
        values["TERM"] = caller.get("TERM", "xterm")
    for item in image.env:
        name, _, value = item.partition("=")
        values[name] = value
    for item in request.env:
        name, given, value = item.partition("=")
        if not name:
            raise RunError(f"invalid environment variable: {item!r}", hint="write NAME=VALUE")
        if given:
            values[name] = value
        elif name in caller:
            values[name] = caller[name]
        else:
            values.pop(name, None)
    if not values.get("HOME"):
        values["HOME"] = home
    return tuple(f"{name}={value}" for name, value in values.items())


def search_path(env: Sequence[str]) -> str:
    """The PATH of the program's environment, in which its own name is looked up."""
    for item in env:
        if item.startswith("PATH="):
            return item.removeprefix("PATH=")
    return DEFAULT_PATH


def working_directory(image: RunConfig, request: RunRequest) -> str:
    """Where the program starts; raises `RunError` unless `-w` is absolute."""
    if request.working_dir and not request.working_dir.startswith("/"):
        raise RunError(
            f"the working directory {request.working_dir!r} is not absolute",
            hint=f"write -w /{request.working_dir}",
        )
    return request.working_dir or "/" + image.working_dir.lstrip("/")


class Device(NamedTuple):
    """A device node; `kind` is `c` or `b`."""

    path: str
    kind: str
    major: int
    minor: int

    def as_json(self) -> dict[str, Json]:
        """The node as the specification writes it (config-linux.md, "Devices")."""
        numbers: dict[str, Json] = {"major": self.major, "minor": self.minor}
        return {"path": self.path, "type": self.kind, **numbers}


class Confinement(NamedTuple):
    """How a program is held, where that differs from `wherry run`.

    `root` is its root tree, absolute or in the bundle. `network` means a network of its own, with
    nothing but a loopback device. `capabilities` is all that a program can ever have, even as a
    plain user where they are `ambient`. `seccomp` is the object of that name, or none; `limits` are
    those of setrlimit(2): a name without its prefix, the soft and the hard value, -1 for none.
    `devices` are made in /dev.
    """

    root: str = "rootfs"
    hostname: str = ""
    network: bool = False
    capabilities: tuple[str, ...] = CAPABILITIES
    ambient: bool = False
    masked: tuple[str, ...] = MASKED
    read_only: tuple[str, ...] = READ_ONLY
    seccomp: dict[str, Json] | None = None
    limits: tuple[tuple[str, int, int], ...] = ()
    devices: tuple[Device, ...] = ()


_LIKE_DOCKER: Final = Confinement()


def runtime_config(
    program: Program,
    mounts: tuple[Mount, ...],
    *,
    readonly: bool = False,
    confinement: Confinement = _LIKE_DOCKER,
) -> dict[str, Json]:
    """The OCI runtime's config.json.

    No user namespace: the runtime is started inside one where there is need. No cgroup.
    """
    namespaces = (*_NAMESPACES, "network") if confinement.network else _NAMESPACES
    linux: dict[str, Json] = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "maskedPaths": list(confinement.masked),
        "readonlyPaths": list(confinement.read_only),
        "rootfsPropagation": "rprivate",
    }
    if confinement.seccomp is not None:
        linux["seccomp"] = confinement.seccomp
    if confinement.devices:
        linux["devices"] = [device.as_json() for device in confinement.devices]
    config: dict[str, Json] = {
        "ociVersion": "1.0.2",
        "process": _process(program, confinement),
        "root": {"path": confinement.root, "readonly": readonly},
        "mounts": [mount.as_json() for mount in mounts],
        "linux": linux,
    }
    if confinement.hostname:
        config["hostname"] = confinement.hostname
    return config


def _process(program: Program, confinement: Confinement) -> dict[str, Json]:
    user = program.user
    # As in Docker, a plain user starts with nothing and can only gain through a file's set-id bit.
    held = confinement.capabilities if user.uid == 0 or confinement.ambient else ()
    capabilities: dict[str, Json] = {
        "bounding": list(confinement.capabilities),
        "effective": list(held),
        "permitted": list(held),
    }
    if confinement.ambient:
        capabilities |= {"inheritable": list(held), "ambient": list(held)}
    process: dict[str, Json] = {
        "terminal": program.terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": list(program.args),
        "env": list(program.env),
        "cwd": program.cwd,
        "capabilities": capabilities,
        "noNewPrivileges": False,
    }
    if confinement.limits:
        process["rlimits"] = [_limit(*limit) for limit in confinement.limits]
    return process


def _limit(name: str, soft: int, hard: int) -> dict[str, Json]:
    # The specification has no other word for "no limit" than the kernel's largest number.
    return {
        "type": f"RLIMIT_{name.upper()}",
        "soft": soft % _UNLIMITED,
        "hard": hard % _UNLIMITED,
    }
