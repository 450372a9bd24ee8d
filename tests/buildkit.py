# SPDX-License-Identifier: Apache-2.0
"""A real BuildKit for tests: built once from the Go module proxy, started where root and runc are.

The two programs are kept in the user's cache directory. A daemon has a root directory and a socket
of its own, so that one of the machine's is neither used nor disturbed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from wherry.golang.toolchain import GoCommand

VERSION = "v0.33.1"
_MODULE = f"github.com/moby/buildkit@{VERSION}"
_PROGRAMS = ("buildctl", "buildkitd")
# Words of Go's where the module proxy cannot be reached, or may not be asked.
_UNREACHABLE = re.compile(
    r"dial tcp|i/o timeout|no such host|TLS handshake|proxyconnect|connection (?:refused|reset)"
    r"|disabled by GOPROXY|unexpected EOF|requires go >="
)


class NoBuildKit(Exception):
    """There can be no BuildKit here; the text says why, for the reason of a skip."""


class BuildKit(NamedTuple):
    """A running daemon: its socket, and the client."""

    address: str
    client: str

    def build(
        self,
        words: list[str],
        env: Mapping[str, str],
        timeout: float = 120,
        progress: str = "plain",
    ) -> subprocess.CompletedProcess[str]:
        """`buildctl build --frontend dockerfile.v0` with more words, however it ends."""
        command = [self.client, "--addr", self.address, "build", "--progress", progress]
        return subprocess.run(
            [*command, "--frontend", "dockerfile.v0", *words],
            env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=timeout, errors="replace",
        )  # fmt: skip


def why_not() -> str:
    """Why no daemon can run here, or nothing."""
    if os.getuid() != 0:
        return "BuildKit runs as root only"
    if shutil.which("runc") is None:
        return "BuildKit needs runc, which is not on PATH"
    return ""


def install(go: GoCommand) -> Path:
    """The directory with buildctl and buildkitd, built by the first who asks (some two minutes)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "wherry-tests" / f"buildkit-{VERSION}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((directory / name).exists() for name in _PROGRAMS):
            _build(go, directory)
    return directory


def _build(go: GoCommand, directory: Path) -> None:
    """Build in the module cache: `go install` takes no module whose go.mod excludes versions."""
    env = {**os.environ, **dict(go.env), "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    found = json.loads(_go(go, env, directory, "mod", "download", "-json", _MODULE))
    with tempfile.TemporaryDirectory(dir=directory) as staged:
        packages = [f"./cmd/{name}" for name in _PROGRAMS]
        words = ["build", "-trimpath", "-ldflags=-s -w", "-o", f"{staged}/", *packages]
        _go(go, env, found["Dir"], *words)
        for name in _PROGRAMS:
            Path(staged, name).rename(directory / name)


def _go(go: GoCommand, env: Mapping[str, str], place: str | Path, *words: str) -> str:
    done = subprocess.run(
        [go.path, *words], env=env, cwd=place, capture_output=True, text=True, check=False,
        timeout=1500,
    )  # fmt: skip
    if done.returncode != 0 and _UNREACHABLE.search(done.stderr + done.stdout):
        raise NoBuildKit(f"BuildKit cannot be had: {(done.stderr or done.stdout).strip()[-300:]}")
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@contextmanager
def running(programs: Path, state: Path) -> Iterator[BuildKit]:
    """A daemon for the time of the block, with all that is its own below `state`.

    It is ended by its process id, and by the kernel should this process be killed.
    """
    state.mkdir(parents=True, exist_ok=True)
    (state / "buildkitd.toml").write_text("")  # not the machine's
    address = f"unix://{state}/socket"
    words = [
        str(programs / "buildkitd"), "--config", str(state / "buildkitd.toml"),
        "--root", str(state / "root"), "--addr", address, "--containerd-worker=false",
        "--oci-worker-binary", "runc", "--oci-worker-net", "host", "--oci-worker-gc=false",
        # What a build may ask for; none gets it that does not ask.
        "--allow-insecure-entitlement", "network.host",
        "--allow-insecure-entitlement", "security.insecure",
    ]  # fmt: skip
    setpriv = shutil.which("setpriv")
    tied = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
    with (state / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [*tied, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "GOMAXPROCS": "2"},
        )  # fmt: skip
    try:
        _wait_for_answer(daemon, programs, address, state / "log")
        yield BuildKit(address, str(programs / "buildctl"))
    finally:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(5)


def _wait_for_answer(
    daemon: subprocess.Popen[bytes], programs: Path, address: str, log: Path
) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and daemon.poll() is None:
        asked = subprocess.run(
            [programs / "buildctl", "--addr", address, "debug", "workers"],
            capture_output=True, check=False, timeout=30,
        )  # fmt: skip
        if asked.returncode == 0:
            return
        time.sleep(0.1)
    raise NoBuildKit(f"BuildKit does not start: {log.read_text(errors='replace')[-2000:]}")
