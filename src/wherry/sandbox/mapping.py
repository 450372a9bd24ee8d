# SPDX-License-Identifier: Apache-2.0
"""Which user ids exist for the program, and which command makes the namespaces that hold them.

Three mappings, best first: root needs none; a user with subordinate id ranges has 65,536 ids; any
other user has one. Each is proved by starting it, never believed: what a machine allows depends on
seccomp, AppArmor and sysctls that no file tells completely. What can be read here only orders the
tries and words the refusal.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from wherry.errors import MachineError

_ALL_IDS: Final = (1 << 32) - 1


class Mapping(StrEnum):
    """How ids inside relate to ids outside."""

    ROOT = "root"
    RANGES = "user namespace with id ranges"
    ONE = "user namespace with one id"


class HostFacts(NamedTuple):
    """What files of this machine say about namespaces.

    `ids` is how many ids exist here, from 0 on; `ranges` how many the user may map. The limit of
    namespaces is -1 where unknown.
    """

    uid: int
    unshare: str = ""
    ids: int = _ALL_IDS
    ranges: int = 0
    max_user_namespaces: int = -1
    apparmor_restricts: bool = False
    clone_refused: bool = False

    @property
    def initial(self) -> bool:
        """Whether no user namespace lies around."""
        return self.ids >= _ALL_IDS


def read_facts(search_path: str, root: Path = Path("/")) -> HostFacts:
    """Read the facts; `root` is another tree only in tests. Raises `MachineError` off Linux."""
    if not sys.platform.startswith("linux"):
        raise MachineError(
            "cannot run images on this system",
            why="an image's program needs a Linux kernel",
            hint="run it on Linux, or load the image into Docker",
        )
    uid = os.geteuid()
    kernel = root / "proc/sys"
    tools = all(shutil.which(name, path=search_path) for name in ("newuidmap", "newgidmap"))
    return HostFacts(
        uid=uid,
        unshare=shutil.which("unshare", path=search_path) or "",
        ids=min(_ids(_text(root / f"proc/self/{name}")) for name in ("uid_map", "gid_map")),
        ranges=_ranges(root, uid) if tools else 0,
        max_user_namespaces=_number(kernel / "user/max_user_namespaces"),
        apparmor_restricts=_number(kernel / "kernel/apparmor_restrict_unprivileged_userns") == 1,
        clone_refused=_number(kernel / "kernel/unprivileged_userns_clone") == 0,
    )


def candidates(facts: HostFacts) -> tuple[Mapping, ...]:
    """The mappings worth trying, best first."""
    if facts.uid == 0:
        # Root of a namespace with one id has nothing to give the image's files to.
        return (Mapping.ROOT, Mapping.ONE) if facts.ids > 1 else (Mapping.ONE,)
    if facts.ranges:
        return (Mapping.RANGES, Mapping.ONE)
    return (Mapping.ONE,)


def is_mapped(ids: frozenset[int], mapping: Mapping, facts: HostFacts) -> bool:
    """Whether all of `ids` exist inside without a further namespace."""
    match mapping:
        case Mapping.ROOT:
            return max(ids) < facts.ids
        case Mapping.RANGES:
            return max(ids) < facts.ranges
        case Mapping.ONE:
            return ids == {0}


def namespace_command(mapping: Mapping, unshare: str) -> tuple[str, ...]:
    """The words before a program that start it as root of its own mounts and processes.

    The program is process 1 there: when it ends, everything that it started ends with it.
    """
    users = {
        Mapping.ROOT: (),
        Mapping.RANGES: ("--user", "--map-root-user", "--map-auto"),
        Mapping.ONE: ("--user", "--map-root-user"),
    }
    own = ("--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--")
    return (unshare, *users[mapping], *own)


def refusal(facts: HostFacts, why: str) -> MachineError:
    """The error for a machine on which no mapping works, with what would mend it."""
    if not facts.unshare:
        remedy = "install util-linux, which holds unshare"
    elif facts.max_user_namespaces == 0:
        remedy = "as root: sysctl -w user.max_user_namespaces=15000"
    elif facts.clone_refused:
        remedy = "as root: sysctl -w kernel.unprivileged_userns_clone=1"
    elif facts.apparmor_restricts:
        remedy = (
            "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, "
            "or add an AppArmor profile that lets unshare use `userns`"
        )
    else:
        remedy = (
            "run it outside a chroot or container, or let the container use user namespaces "
            "(seccomp and AppArmor profiles; hostUsers in Kubernetes)"
        )
    hint = (
        f"{remedy}; without it, export the files with "
        "`wherry build -o type=local,dest=out` and start the program in out/app"
    )
    return MachineError(
        "cannot run images: this machine refuses user namespaces", why=why, hint=hint
    )


def _ids(text: str) -> int:
    """How many ids from 0 on a uid_map or gid_map holds; all where there is no such file."""
    if not text:
        return _ALL_IDS
    count = 0
    for inside, _, length in sorted(tuple(map(int, line.split())) for line in text.splitlines()):
        if inside > count:
            break
        count = max(count, inside + length)
    return count


def _ranges(root: Path, uid: int) -> int:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    files = (root / "etc/subuid", root / "etc/subgid")
    # unshare --map-auto takes the first line of each file, so the first line is what counts.
    return min(_first_range(_text(file), (name, str(uid))) for file in files)


def _first_range(text: str, owners: tuple[str, ...]) -> int:
    for line in text.splitlines():
        owner, _, rest = line.partition(":")
        count = rest.partition(":")[2]
        if owner and owner in owners and count.isdecimal():
            return int(count)
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else -1
