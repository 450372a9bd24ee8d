# SPDX-License-Identifier: Apache-2.0
"""A machine with nothing on it but Debian's Python, for a plain user with an empty home.

It is the base root of `tests/cleanroom` with a writable layer above it, so that a new one costs
nothing. The network is this machine's; processes and mounts are its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

USER = 65532
HOME = "/home/user"
# What the machine around it says about reaching networks.
_KEPT = re.compile(r"PIP_(?!FIND_LINKS)\w+|\w+_proxy|\w+_PROXY|SSL_CERT_\w+|GOPROXY|GOSUMDB")
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

# In namespaces of its own: mount the layers, then become the user.
_ENTER = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
user=$3 place=$2/root
shift 3
cd /
exec chroot "--userspec=$user:$user" "$place" "$@"
"""


def base_root(suite: str) -> Path:
    """The base root of a Debian release; skips where there is none, or where it cannot be used."""
    cache = Path(os.environ.get("CLEANROOM_CACHE", "/var/tmp/wherry-cleanroom"))
    base = cache / f"base-{suite}"
    if not base.is_dir():
        pytest.skip(f"no root {base}: make cleanroom makes it, or name its CACHE in "
                    "CLEANROOM_CACHE")  # fmt: skip
    if os.geteuid() != 0:
        pytest.skip("mounting a root needs root")
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here: apt-get install util-linux")
    return base


def surroundings() -> dict[str, str]:
    """The variables by which this machine reaches networks."""
    return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}


class FreshMachine:
    """One machine, made below `place`."""

    def __init__(self, base: Path, place: Path) -> None:
        self._base = base
        self._place = place
        for name in ("upper", "work", "root"):
            (place / name).mkdir(parents=True)
        self.make_directory(HOME)
        for path in ("/etc/resolv.conf", "/etc/hosts", os.environ.get("SSL_CERT_FILE", _BUNDLE)):
            target = self.path(_BUNDLE if path.endswith(".crt") else path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def path(self, inside: str) -> Path:
        """A file of its writable layer, by its path there."""
        return self._place / "upper" / inside.lstrip("/")

    def make_directory(self, inside: str) -> Path:
        """A directory of the user's."""
        path = self.path(inside)
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, USER, USER)
        return path

    def copy_in(self, source: Path, inside: str) -> None:
        """A copy of a tree, which is the user's."""
        target = self.path(inside)
        shutil.copytree(source, target, dirs_exist_ok=True)
        for path in (target, *target.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)

    def run(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        cwd: str = HOME,
        *,
        user: int = USER,
        seconds: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there with just these variables; both streams as one."""
        inside = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in env.items()),
                  "sh", "-c", 'cd "$0" && exec "$@"', cwd, *words]  # fmt: skip
        return subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", _ENTER, "sh",
             str(self._base), str(self._place), str(user), *inside],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
