# SPDX-License-Identifier: Apache-2.0
"""Real engines, each with a root of its own: dockerd of Debian's docker.io, podman of Debian's.

Nothing of theirs outlives the tests, and no network or firewall rule is made. Both need root; where
a program or that is missing, tests are skipped by name.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry_tools import output_of

_WAIT = 60.0
# Such limits this machine may have itself: podman's own may be above them.
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


def needs(*programs: str) -> None:
    """Skip the test where a program or root is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on PATH")
    if os.geteuid():
        pytest.skip("real engines are started as root only")


@contextmanager
def _started(words: list[str], socket: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The engine's process once its socket is there; it and its children end with the block."""
    with open(log, "wb") as file:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
        try:
            deadline = time.monotonic() + _WAIT
            while not socket.exists():
                assert process.poll() is None, log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
                time.sleep(0.1)
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)


class Docker:
    """A dockerd, and docker's command line for it."""

    def __init__(self, root: Path, process: subprocess.Popen[bytes]) -> None:
        self.address = f"unix://{root}/d.sock"
        self.process = process
        self._env = {"PATH": os.environ["PATH"], "HOME": str(root), "DOCKER_HOST": self.address}

    def __call__(self, *words: str | Path) -> str:
        """What `docker WORDS` prints."""
        return output_of("docker", *words, env=self._env)

    def run(self, name: str) -> str:
        """What the image's program prints, on either output."""
        return _both("docker", "run", "--rm", "--network=none", name, env=self._env)


class Podman:
    """A podman with storage of its own, and its service."""

    def __init__(self, root: Path) -> None:
        self.address = f"unix://{root}/p.sock"
        self._words = podman_words(root)

    def __call__(self, *words: str | Path) -> str:
        """What `podman WORDS` prints."""
        return output_of(*self._words, *words)

    def run(self, name: str) -> str:
        """What the image's program prints, on either output."""
        return _both(*self._words, "run", "--rm", "--network=none", *_LIMITS, name)


def podman_words(root: Path) -> tuple[str, ...]:
    """podman on its own storage; with runc, as crun refuses machines with two kinds of cgroups."""
    runtime = shutil.which("runc", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    chosen = (f"--runtime={runtime}",) if runtime else ()
    return (
        "podman", "--root", f"{root}/root", "--runroot", f"{root}/run", "--storage-driver=vfs",
        "--cgroup-manager=cgroupfs", "--events-backend=file", *chosen,
    )  # fmt: skip


def _both(*words: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, env=env,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """A dockerd for the tests of a module."""
    needs("dockerd", "docker")
    # Not below pytest's own directory: sockets have short names.
    with tempfile.TemporaryDirectory(prefix="dockerd-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        words = [
            "dockerd", f"--host=unix://{root}/d.sock", f"--data-root={root}/data",
            f"--exec-root={root}/exec", f"--pidfile={root}/pid", "--iptables=false",
            "--ip6tables=false", "--bridge=none", "--storage-driver=vfs",
        ]  # fmt: skip
        with _started(words, root / "d.sock", root / "log") as process:
            made = Docker(root, process)
            deadline = time.monotonic() + _WAIT
            while _fails(made):
                assert time.monotonic() < deadline, (root / "log").read_text()[-2000:]
                time.sleep(0.2)
            yield made


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """A podman with its service for the tests of a module."""
    needs("podman")
    with tempfile.TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        words = [*podman_words(root), "system", "service", "--time=0", f"unix://{root}/p.sock"]
        with _started(words, root / "p.sock", root / "log"):
            yield Podman(root)


def _fails(docker: Docker) -> bool:
    try:
        docker("version")
    except AssertionError:
        return True
    return False
