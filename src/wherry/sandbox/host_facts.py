# SPDX-License-Identifier: Apache-2.0
"""What files of this machine say about namespaces: rights, limits, ranges, what lies around.

Nothing here proves that a namespace can be made: what a machine allows depends on seccomp, AppArmor
and sysctls that no file tells completely. The facts order the tries and word what is said where
one fails.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from wherry.errors import MachineError

ALL_IDS: Final = (1 << 32) - 1
_SYS_ADMIN: Final = 1 << 21  # CAP_SYS_ADMIN of capabilities(7)
_FILTERED: Final = 2  # proc(5), "Seccomp": a filter is installed
# What useradd gives a new user (login.defs(5), SUB_UID_MIN and SUB_UID_COUNT).
_FIRST: Final = 100000
_USUAL: Final = 65536
# Directories that proc(5) makes for other file systems: to mount there covers nothing.
_MOUNT_POINTS: Final = frozenset(
    {"/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd", "/proc/openprom", "/proc/xen"}
)
_POD: Final = "var/run/secrets/kubernetes.io"
# proc(5): blanks and backslashes of a mount point are octal numbers.
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class Container(StrEnum):
    """What wherry itself runs in, so far as that leaves traces."""

    NONE = ""
    DOCKER = "Docker"
    PODMAN = "Podman"
    KUBERNETES = "Kubernetes"
    OTHER = "a container"


class Range(NamedTuple):
    """Subordinate ids of one user, as a line of /etc/subuid or /etc/subgid has them."""

    first: int = 0
    length: int = 0

    def __str__(self) -> str:
        return f"{self.first}-{self.first + self.length - 1}"


class HostFacts(NamedTuple):
    """What files of this machine say about namespaces.

    `ids` is how many ids exist here, from 0 on; `ranges` how many the user may map beside the own
    one, 0 where the tools for that are missing. `users` and `groups` are the ranges as the files
    have them, `free` one that nobody has yet, `missing_tools` the programs that would map them.
    The limit of namespaces is -1 where unknown. `powerful`: with CAP_SYS_ADMIN. `filtered`: under a
    seccomp filter. `no_new_privileges`: set-user-id programs, as newuidmap is, give no rights.
    `masked`: what of /proc other mounts cover. `rooted`: the root directory is a mount point, as
    it is everywhere but in a chroot. `label` is the AppArmor profile, empty where there is none.
    """

    uid: int
    name: str = ""
    unshare: str = ""
    ids: int = ALL_IDS
    ranges: int = 0
    users: Range = Range()
    groups: Range = Range()
    free: Range = Range(100000, 65536)
    missing_tools: tuple[str, ...] = ()
    max_user_namespaces: int = -1
    apparmor_restricts: bool = False
    clone_refused: bool = False
    powerful: bool = False
    filtered: bool = False
    no_new_privileges: bool = False
    masked: tuple[str, ...] = ()
    rooted: bool = True
    label: str = ""
    container: Container = Container.NONE

    @property
    def initial(self) -> bool:
        """Whether no user namespace lies around."""
        return self.ids >= ALL_IDS

    @property
    def first_id(self) -> int:
        """The first subordinate user id, 0 where there is none."""
        return self.users.first if self.ranges else 0

    @property
    def first_group(self) -> int:
        """The first subordinate group id, 0 where there is none."""
        return self.groups.first if self.ranges else 0


def read_facts(search_path: str, root: Path = Path("/")) -> HostFacts:
    """Read the facts; `root` is another tree only in tests. Raises `MachineError` off Linux."""
    if not sys.platform.startswith("linux"):
        raise MachineError(
            "cannot run images on this system",
            why="an image's program needs a Linux kernel",
            hint="run it on Linux, or load the image into Docker",
        )
    uid = os.geteuid()
    name = _user_name(uid)
    kernel = root / "proc/sys"
    status = _status(root)
    tools = tuple(
        name for name in ("newuidmap", "newgidmap") if not shutil.which(name, path=search_path)
    )
    lines = tuple(_subordinate(_text(root / f"etc/{file}")) for file in ("subuid", "subgid"))
    # unshare --map-auto takes the first line of each file, so the first line is what counts.
    users, groups = (
        next((found for owner, found in own if owner in (name, str(uid))), Range()) for own in lines
    )
    ids = min(_ids(_text(root / f"proc/self/{name}")) for name in ("uid_map", "gid_map"))
    points = _mount_points(root)
    return HostFacts(
        uid=uid,
        name=name,
        unshare=shutil.which("unshare", path=search_path) or "",
        ids=ids,
        ranges=0 if tools else min(users.length, groups.length),
        users=users,
        groups=groups,
        free=_free(uid, ids, [taken for own in lines for _, taken in own]),
        missing_tools=tools,
        max_user_namespaces=_number(kernel / "user/max_user_namespaces"),
        apparmor_restricts=_number(kernel / "kernel/apparmor_restrict_unprivileged_userns") == 1,
        clone_refused=_number(kernel / "kernel/unprivileged_userns_clone") == 0,
        powerful=bool(int(status.get("CapEff", "0"), 16) & _SYS_ADMIN),
        filtered=status.get("Seccomp") == str(_FILTERED),
        no_new_privileges=status.get("NoNewPrivs") == "1",
        masked=tuple(
            sorted({point for point in points if point.startswith("/proc/")} - _MOUNT_POINTS)
        ),
        rooted=not points or "/" in points,
        label=_label(root),
        container=_container(root),
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _ids(text: str) -> int:
    """How many ids from 0 on a uid_map or gid_map holds; all where there is no such file."""
    if not text:
        return ALL_IDS
    count = 0
    for inside, _, length in sorted(tuple(map(int, line.split())) for line in text.splitlines()):
        if inside > count:
            break
        count = max(count, inside + length)
    return count


def _subordinate(text: str) -> tuple[tuple[str, Range], ...]:
    """The lines of /etc/subuid or /etc/subgid (subuid(5)): owner and range."""
    found = []
    for line in text.splitlines():
        owner, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if owner and first.isdecimal() and count.isdecimal():
            found.append((owner, Range(int(first), int(count))))
    return tuple(found)


def _free(uid: int, ids: int, taken: list[Range]) -> Range:
    """A range to give to the user: as useradd would, or all that a small namespace has left."""
    first = max([_FIRST, *(item.first + item.length for item in taken)])
    if first + _USUAL <= ids:
        return Range(first, _USUAL)
    return Range(uid + 1, max(0, ids - uid - 1))


def _status(root: Path) -> dict[str, str]:
    lines = _text(root / "proc/self/status").splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in pairs}


def _mount_points(root: Path) -> tuple[str, ...]:
    fields = (line.split(" ") for line in _text(root / "proc/self/mountinfo").splitlines())
    return tuple(
        _ESCAPE.sub(lambda found: chr(int(found[1], 8)), words[4])
        for words in fields
        if len(words) > 4
    )


def _label(root: Path) -> str:
    """The AppArmor profile of this process, without its mode: `docker-default`."""
    text = _text(root / "proc/self/attr/apparmor/current").strip("\0\n ")
    label = text.partition(" (")[0]
    return "" if label == "unconfined" else label


def _container(root: Path) -> Container:
    if (root / _POD).exists():
        return Container.KUBERNETES
    if (root / "run/.containerenv").exists():
        return Container.PODMAN
    if (root / ".dockerenv").exists():
        return Container.DOCKER
    # systemd's container interface: a file that container managers of all kinds write.
    return Container.OTHER if (root / "run/systemd/container").exists() else Container.NONE


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else -1
