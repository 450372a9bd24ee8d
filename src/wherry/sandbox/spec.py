# SPDX-License-Identifier: Apache-2.0
"""From an image's config and a request to one process, and from that to an OCI runtime config.

Pure: nothing here asks the machine. The words are those of the OCI runtime specification 1.0,
config.md and config-linux.md; the defaults are Docker's, but for CAP_MKNOD, which is left out:
without a device cgroup it would let root in the image open the machine's disks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

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


def runtime_config(
    program: Program, mounts: tuple[Mount, ...], *, readonly: bool = False
) -> dict[str, Json]:
    """The OCI runtime's config.json; the root tree is `rootfs` beside it.

    No user namespace: the runtime is started inside one where there is need. No cgroup and no
    network namespace.
    """
    return {
        "ociVersion": "1.0.2",
        "process": _process(program),
        "root": {"path": "rootfs", "readonly": readonly},
        "mounts": [mount.as_json() for mount in mounts],
        "linux": {
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
            "rootfsPropagation": "rprivate",
        },
    }


def _process(program: Program) -> dict[str, Json]:
    user = program.user
    # As in Docker, a plain user starts with nothing and can only gain through a file's set-id bit.
    held = CAPABILITIES if user.uid == 0 else ()
    capabilities: dict[str, Json] = {
        "bounding": list(CAPABILITIES),
        "effective": list(held),
        "permitted": list(held),
    }
    return {
        "terminal": program.terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": list(program.args),
        "env": list(program.env),
        "cwd": program.cwd,
        "capabilities": capabilities,
        "noNewPrivileges": False,
    }
