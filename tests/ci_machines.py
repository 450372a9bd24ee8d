# SPDX-License-Identifier: Apache-2.0
"""What jobs of `docs/ci` run on: fresh roots, containers, this machine as a plain user."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import in_container
from fresh_machine import HOME, FreshMachine
from fresh_machine import USER as PLAIN
from sandbox_runs import Runner

# The first id of a pod's user namespace.
FIRST_ID = 300_000


class Machine(Protocol):
    """What a job runs on; `home` is its user's. Paths are as they are there."""

    home: str

    def path(self, inside: str) -> Path: ...

    def make_directory(self, inside: str) -> Path: ...

    def copy_in(self, source: Path, inside: str) -> None: ...

    def run(
        self, words: Sequence[str], env: Mapping[str, str], cwd: str = HOME
    ) -> subprocess.CompletedProcess[str]: ...


Machines = Callable[[Path], Machine]


class Fresh(FreshMachine):
    """A fresh machine that builds of modules are content with."""

    home = HOME


class Hosted(FreshMachine):
    """A fresh machine whose users may make user namespaces: its root is no chroot.

    What `VOLUMES` names lies on the disk of this machine: overlayfs writes to no other overlay.
    """

    home = HOME
    VOLUMES = ("home", "builds", "work")
    _ENTER = """
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
        mount -t proc proc "$2/root/proc"
        mount --rbind /dev "$2/root/dev"
        mount --rbind /sys "$2/root/sys"
        for name in home builds work; do
            mkdir -p "$2/root/$name"
            mount --bind "$2/volumes/$name" "$2/root/$name"
        done
        user=$3
        cd "$2/root"
        shift 3
        pivot_root . mnt
        umount -l /mnt
        exec chroot "--userspec=$user:$user" / "$@"
    """

    def __init__(self, base: Path, place: Path) -> None:
        for name in self.VOLUMES:
            (place / "volumes" / name).mkdir(parents=True)
        super().__init__(base, place)

    def path(self, inside: str) -> Path:
        if Path(inside).parts[1] in self.VOLUMES:
            return self._place / "volumes" / inside.lstrip("/")
        return super().path(inside)

    def run(
        self, words: Sequence[str], env: Mapping[str, str], cwd: str = HOME, *,
        user: int = PLAIN, seconds: float = 600,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        inside = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in env.items()),
                  "sh", "-c", 'cd "$0" && exec "$@"', cwd, *words]  # fmt: skip
        return finished(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", self._ENTER,
             "sh", str(self._base), str(self._place), str(user), *inside], seconds,
        )  # fmt: skip


class Container(Hosted):
    """Root of a container with Docker's rights and no seccomp filter, on a fresh root.

    With `first` it is in a user namespace whose ids begin there, which `base` has to be made for,
    and sees all of /proc; without it parts of /proc are covered.
    """

    _ENTER = """
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
        exec runc --root "$2/state" --rootless=true run --bundle "$2/bundle" "$3"
    """

    def __init__(self, base: Path, place: Path, first: int = 0) -> None:
        self._first = first
        super().__init__(base, place)
        (place / "bundle").mkdir()
        self._give()

    def make_directory(self, inside: str) -> Path:
        path = self.path(inside)
        path.mkdir(parents=True, exist_ok=True)
        self._give()
        return path

    def copy_in(self, source: Path, inside: str) -> None:
        shutil.copytree(source, self.path(inside), dirs_exist_ok=True)
        self._give()

    def run(
        self, words: Sequence[str], env: Mapping[str, str], cwd: str = HOME, *,
        user: int = 0, seconds: float = 600,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        options = argparse.Namespace(
            user=f"{user}:{user}", share=[], replace=[], unconfined=True,
            unmasked=bool(self._first), no_new_privileges=False, remap=self._first,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as scratch:
            config = in_container.configuration(options, list(words), Path(scratch))
        config["root"]["path"] = str(self._place / "root")
        config["process"] |= {"cwd": cwd, "env": [f"{name}={env[name]}" for name in env]}
        # Its own files instead of this machine's.
        config["mounts"] = [one for one in config["mounts"]
                            if one["type"] != "bind" or one["destination"] == "/sys"]  # fmt: skip
        config["mounts"] += [in_container.bind(str(self._place / "volumes" / name), f"/{name}")
                             for name in self.VOLUMES]  # fmt: skip
        (self._place / "bundle" / "config.json").write_text(json.dumps(config))
        return finished(
            ["unshare", "--mount", "--fork", "--kill-child", "sh", "-euc", self._ENTER, "sh",
             str(self._base), str(self._place), self._place.name], seconds,
        )  # fmt: skip

    def _give(self) -> None:
        """All that lies here already to its root."""
        for top in ("upper", "volumes"):
            for path in (self._place / top, *(self._place / top).rglob("*")):
                if path.lstat().st_uid < self._first:
                    os.chown(path, self._first, self._first, follow_symlinks=False)


class Here:
    """This machine itself, as a plain user with a home of his own; all else is kept below it."""

    def __init__(self, runner: Runner, place: Path) -> None:
        self._runner = runner
        self.home = str(runner.home / place.name)
        self.make_directory(self.home)

    def path(self, inside: str) -> Path:
        if inside.startswith(self.home):
            return Path(inside)
        return Path(self.home, "elsewhere", inside.lstrip("/"))

    def make_directory(self, inside: str) -> Path:
        path = self.path(inside)
        path.mkdir(parents=True, exist_ok=True)
        self._give(path)
        return path

    def copy_in(self, source: Path, inside: str) -> None:
        shutil.copytree(source, self.path(inside), dirs_exist_ok=True)
        self._give(self.path(inside))

    def run(
        self, words: Sequence[str], env: Mapping[str, str], cwd: str = HOME
    ) -> subprocess.CompletedProcess[str]:
        inside = ["-i", *(f"{name}={value}" for name, value in env.items()),
                  "sh", "-c", 'cd "$0" && exec "$@"', cwd, *words]  # fmt: skip
        return finished([*self._runner.words, *inside], 120)

    def _give(self, top: Path) -> None:
        for path in (top, *top.rglob("*")):
            shutil.chown(path, self._runner.user, self._runner.user)


def finished(words: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run it to its end; both streams as one."""
    return subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=seconds, check=False,
    )  # fmt: skip


class Kit(NamedTuple):
    """A base root, and all wheels that its Python needs for wherry and Go."""

    base: Path
    wheels: Path

    def fresh(self, place: Path) -> Machine:
        return self._with_wheels(Fresh(self.base, place))

    def hosted(self, place: Path) -> Machine:
        return self._with_wheels(Hosted(self.base, place))

    def container(self, place: Path) -> Machine:
        return self._with_wheels(Container(self.base, place))

    def pod(self, place: Path) -> Machine:
        """With a user namespace, as with `hostUsers: false`."""
        return self._with_wheels(Container(self._shifted(), place, FIRST_ID))

    def _with_wheels(self, machine: Machine) -> Machine:
        machine.copy_in(self.wheels, "/wheels")
        return machine

    def _shifted(self) -> Path:
        """The base root with other owners, made once."""
        made = self.wheels.parent / "shifted"
        if not made.exists():
            staged = self.wheels.parent / "staged"
            subprocess.run(["cp", "-a", str(self.base), str(staged)], check=True, timeout=120)
            for path in (staged, *staged.rglob("*")):
                facts = path.lstat()
                os.chown(path, FIRST_ID + facts.st_uid, FIRST_ID + facts.st_gid,
                         follow_symlinks=False)  # fmt: skip
            staged.rename(made)
        return made
