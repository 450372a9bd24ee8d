# SPDX-License-Identifier: Apache-2.0
"""Starts builds with RUN steps as root and as users made for the test, and looks for their traces.

The base is busybox in an OCI layout, named `base`. Every build and every step has a mark in its
environment; what is still alive of them afterwards is found by it, by mounts, and by its user.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from differential.answers import read_images
from registry_samples import image, write_layout
from sandbox_runs import Runner, make_runner

DEFAULT_SIGNALS = ("env", "--default-signal=INT,TERM,HUP")
_MAIN = "from wherry.cli.main import main; main()"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
_RANGE = 65536

Finished = subprocess.CompletedProcess[str]
Facts = dict[str, Any]


class StepBuilds(NamedTuple):
    """Builds by one kind of user: a `context` to write into, a `store`, the `marker` of all."""

    runner: Runner
    context: Path
    layout: Path
    marker: str
    users: tuple[tuple[int, int], ...]

    @property
    def store(self) -> Path:
        return self.runner.store

    @property
    def scratch(self) -> Path:
        """A directory of the user, for what tests write."""
        return self.runner.home / "scratch"

    def write(self, dockerfile: str, **files: str) -> None:
        """Write the Dockerfile behind its base and mark, and files beside it."""
        around = f"FROM base AS start\nENV TEST_MARKER={self.marker}\n"
        (self.context / "Dockerfile").write_text(around + dockerfile)
        for name, content in files.items():
            (self.context / name).write_text(content)

    def command(self, *words: str, verb: str = "build") -> list[str]:
        start = [*DEFAULT_SIGNALS, *self.runner.words, self.runner.python, "-P", "-c", _MAIN, verb]
        if verb != "build":
            return [*start, *words]
        base = f"base=oci-layout://{self.layout}"
        return [*start, "--progress", "plain", "--build-context", base, *words, str(self.context)]

    def start(
        self, *words: str, verb: str = "build", prefix: tuple[str, ...] = (), **env: str
    ) -> subprocess.Popen[str]:
        """A command under way, both outputs in pipes."""
        return subprocess.Popen(
            [*prefix, *self.command(*words, verb=verb)],
            cwd=self.runner.home, env=self.env(**env), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape",
        )  # fmt: skip

    def run(self, *words: str, verb: str = "build", timeout: float = 120, **env: str) -> Finished:
        """A command to its end."""
        return finish(self.start(*words, verb=verb, **env), timeout)

    def env(self, **changes: str) -> dict[str, str]:
        return self.runner.env(TEST_MARKER=self.marker, **changes)

    def build(self, *words: str, **env: str) -> Facts:
        """Build, which must succeed; the image's facts, times left out."""
        archive = self.scratch / f"{uuid.uuid4().hex}.tar"
        done = self.run("-o", f"type=oci,dest={archive}", *words, **env)
        assert done.returncode == 0, done.stderr
        return facts(archive)

    def strays(self, seconds: float = 3.0) -> list[str]:
        """What is still alive after some time; the kernel may take a moment to bury one."""
        end = time.monotonic() + seconds
        while found := self._alive():
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        return found

    def _alive(self) -> list[str]:
        found = [line for line in mounts_of("self") if str(self.runner.home) in line]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (reason := self._reason(entry)):
                line = _read(entry / "cmdline").replace("\0", " ")
                found.append(f"process {entry.name} ({reason}): {line}")
        return found

    def _reason(self, entry: Path) -> str:
        """Why a process is one of ours, or nothing."""
        status = _read(entry / "status")
        if not status or "\nState:\tZ" in status:
            return ""
        user = int(status.partition("\nUid:\t")[2].split()[0])
        if any(first <= user < first + count for first, count in self.users):
            return f"user {user}"
        for name in ("environ", "cmdline"):
            if self.marker in _read(entry / name):
                return f"its {name}"
        if any(str(self.runner.home) in line for line in mounts_of(entry.name)):
            return "its mounts"
        return ""


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Finished:
    """Wait for the end and collect the outputs."""
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"no end after {timeout} s:\n{output}{errors}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def facts(archive: Path) -> Facts:
    """Config, history and tree of the only image of an OCI archive, each byte verified."""
    (found,) = read_images(archive, {}).values()
    return found


def mounts_of(process: str) -> list[str]:
    """The lines of a process's table of mounts."""
    return _read(Path("/proc") / process / "mountinfo").splitlines()


def descendants(ancestor: int) -> set[int]:
    """All processes below one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _read(entry / "stat")):
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, waiting = set[int](), [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found |= {*below}
        waiting += below
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


def replaced(found: Facts, old: str, new: str) -> Facts:
    """The facts of an image with another text of the same length in them."""
    assert len(old) == len(new)
    return dict(json.loads(json.dumps(found).replace(old, new)))


@contextmanager
def make_builds(kind: str) -> Iterator[StepBuilds]:
    """Builds by a user of this kind (root, ranges, one); skips where that cannot be."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is missing: the base for RUN cannot be made")
    with make_runner(kind, b"") as runner:
        layers = (base_layer(Path(busybox)),)
        sample = image(layers, settings={"Env": [_PATH]})
        layout = write_layout(sample, runner.home / "layout")
        for name in ("context", "scratch"):
            (runner.home / name).mkdir()
        users = tuple(_users(runner))
        if users:
            owner = users[0][0]
            for path in (layout, runner.home / "context", runner.home / "scratch"):
                subprocess.run(["chown", "-R", f"{owner}:{owner}", path], check=True)
        yield StepBuilds(runner, runner.home / "context", layout, uuid.uuid4().hex, users)


def _users(runner: Runner) -> Iterator[tuple[int, int]]:
    """The user's id and the ranges of its subordinate ids, as (first, count)."""
    if not runner.words:
        return
    name = next(word.partition("=")[2] for word in runner.words if word.startswith("--reuid="))
    asked = subprocess.run(["id", "-u", name], check=True, capture_output=True, text=True)
    yield int(asked.stdout), 1
    for line in _read(Path("/etc/subuid")).splitlines():
        owner, first, count = line.split(":")
        if owner == name:
            yield int(first), int(count)


def base_layer(busybox: Path) -> bytes:
    """A root with a shell, a user, and files for steps to change and remove."""
    asked = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("home", 0o755), ("data", 0o755),
                           ("data/deep", 0o755), ("root", 0o700), ("tmp", 0o1777)):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, mode
            archive.addfile(member)
        member = tarfile.TarInfo("bin/busybox")
        program = busybox.read_bytes()
        member.size, member.mode = len(program), 0o755
        archive.addfile(member, io.BytesIO(program))
        for word in sorted({*asked.stdout.split()} - {"busybox"}):
            member = tarfile.TarInfo(f"bin/{word}")
            member.type, member.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(member)
        for name, text in (("etc/passwd", _PASSWD), ("etc/group", "root:x:0:\napp:x:1000:\n"),
                           ("data/kept", "kept"), ("data/changed", "base"),
                           ("data/removed", "removed"), ("data/deep/a", "a")):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


# --- looking for words ------------------------------------------------------------------------


def files_with(words: Mapping[str, str], *places: Path) -> list[str]:
    """Files below `places` that hold one of the texts, packed ones unpacked: `NAME in PATH`."""
    found = []
    for place in places:
        for path in [place, *place.rglob("*")]:
            if path.is_symlink() or not path.is_file():
                continue
            data = path.read_bytes()
            if data[:2] == b"\x1f\x8b":
                data += gzip.decompress(data)
            found += [f"{name} in {path}" for name, word in words.items() if word.encode() in data]
            found += [f"{name} in the name {path}" for name, word in words.items()
                      if word in path.name]  # fmt: skip
    return found


def processes_with(words: Mapping[str, str]) -> list[tuple[int, str]]:
    """Processes whose arguments or environment hold one of the texts."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        for file in ("cmdline", "environ"):
            text = _read(entry / file)
            found += [(int(entry.name), f"{name} in {file} of {entry.name}")
                      for name, word in words.items() if word in text]  # fmt: skip
    return found
