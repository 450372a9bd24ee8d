# SPDX-License-Identifier: Apache-2.0
"""Starts `wherry run` as root and as users made for the test, on an image made by hand."""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import urllib3

import wherry
from wherry.oci.digest import sha256
from wherry.oci.image import (
    LAYER_GZIP,
    LAYER_TAR,
    Descriptor,
    ImageConfig,
    Layer,
    RunConfig,
    make_image,
)
from wherry.oci.platform import host_platform
from wherry.oci.reference import parse_reference
from wherry.store.store import open_store

PROBE_SOURCE = Path(__file__).parent / "integration" / "probe.c"
PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "app:x:1000:1001:app:/home/app:/bin/sh\n"
    "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
)
GROUP = "root:x:0:\napp:x:1001:\nextra:x:2000:app\nnonroot:x:65532:\n"
_MAIN = "from wherry.cli.main import main; main()"


class Runner(NamedTuple):
    """Who runs: words that become that user, an interpreter and packages the user can read."""

    kind: str
    words: tuple[str, ...]
    python: str
    packages: str
    home: Path
    user: str = ""

    @property
    def store(self) -> Path:
        return self.home / "store"

    def env(self, **changes: str) -> dict[str, str]:
        base = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home),
            "WHERRY_STORE": str(self.store),
            "PYTHONPATH": self.packages,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return base | changes

    def command(self, *args: str) -> list[str]:
        return [*self.words, self.python, "-P", "-c", _MAIN, "run", *args]

    def run(self, *args: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(*args),
            cwd=self.home,
            env=self.env(**env),
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def start(self, *args: str) -> Iterator[subprocess.Popen[bytes]]:
        """A run going on; killed at the block's end where it still is."""
        with subprocess.Popen(
            self.command(*args),
            cwd=self.home,
            env=self.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as run:
            try:
                yield run
            finally:
                run.kill()

    def leftovers(self) -> list[str]:
        """Directories and locks of runs in the store."""
        found = [*(self.store / "tmp").iterdir(), *(self.store / "locks").glob("tmp-*")]
        return sorted(path.name for path in found)


def compile_probe(directory: Path) -> bytes:
    """The static test program."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("gcc is missing: the test image's program cannot be made")
    target = directory / "probe"
    subprocess.run([compiler, "-static", "-O1", "-s", "-o", target, PROBE_SOURCE], check=True)
    return target.read_bytes()


def fill_store(store: Path, probe: bytes) -> None:
    """Tag the test image `probe` in the store."""
    foreign = bytearray(probe)
    foreign[18:20] = b"\x08\x00"  # ELF machine: MIPS
    files = _tar(
        _file("app/probe", probe, 0o755),
        _file("app/plain", b"no program", 0o644),
        _file("app/text", b"neither ELF nor script", 0o755),
        _file("app/script", b"#!/bin/absent -x\n", 0o755),
        _file("app/foreign", bytes(foreign), 0o755),
        _file("data/private", b"for 65532 only", 0o600, 65532),
        _file("gone", b"a lower layer's"),
    )
    upper = _tar(
        _file("etc/passwd", PASSWD.encode()),
        _file("etc/group", GROUP.encode()),
        _file(".wh.gone", b""),
    )
    run = RunConfig(
        user="65532:65532",
        env=("PATH=/app", "A=image", "B=image"),
        entrypoint=("/app/probe",),
        cmd=("info",),
        working_dir="/work/here",
    )
    gzipped = gzip.compress(files, 1)
    layers = (
        Layer(Descriptor(LAYER_GZIP, sha256(gzipped), len(gzipped)), sha256(files)),
        Layer(Descriptor(LAYER_TAR, sha256(upper), len(upper)), sha256(upper)),
    )
    config = ImageConfig(host_platform(), "1970-01-01T00:00:00Z", run, (), ())
    image = make_image(layers, config)
    with open_store(store) as opened:
        for data in (gzipped, upper, image.config_bytes, image.manifest_bytes):
            opened.blobs.put(data)
        opened.images.tag(parse_reference("probe"), image.descriptor, 0.0)


def _file(
    name: str, data: bytes, mode: int = 0o644, owner: int = 0
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uid, info.gid = len(data), mode, owner, owner
    return info, data


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@contextmanager
def make_runner(kind: str, probe: bytes) -> Iterator[Runner]:
    """A user of this kind (root, ranges, one) with a filled store; skips where that cannot be."""
    with make_user(kind) as runner:
        fill_store(runner.store, probe)
        if runner.user:
            subprocess.run(["chown", "-R", f"{runner.user}:", runner.store], check=True)
        yield runner


@contextmanager
def make_user(kind: str) -> Iterator[Runner]:
    """A user of this kind (root, ranges, one) with a home; skips where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("only root can make users to run as")
    if kind == "ranges" and shutil.which("newuidmap") is None:
        pytest.skip("newuidmap is missing: no user has id ranges")
    home = Path(tempfile.mkdtemp(prefix="wherry-run-"))
    home.chmod(0o755)
    try:
        with _user(kind, home) as words:
            packages = _copy_packages(home)
            user = home.name.replace("wherry-run-", "w").lower() if words else ""
            if user:
                subprocess.run(["chown", "-R", f"{user}:", home], check=True)
            yield Runner(kind, words, _interpreter(words, packages), packages, home, user)
    finally:
        shutil.rmtree(home)


@contextmanager
def _user(kind: str, home: Path) -> Iterator[tuple[str, ...]]:
    if kind == "root":
        yield ()
        return
    # The directory's name is unique, so the user's is; names are lower case.
    name = home.name.replace("wherry-run-", "w").lower()
    with _accounts_lock():
        subprocess.run(["useradd", "-M", "-d", home, "-s", "/bin/sh", name], check=True)
        if kind == "one":
            _forget_ranges(name)
    try:
        # setpriv itself still executes with root's rights; what `env` starts does not.
        yield ("setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups", "--", "env")
    finally:
        with _accounts_lock():
            subprocess.run(["userdel", name], check=True, capture_output=True)


def _forget_ranges(name: str) -> None:
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        if file.exists():
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if not line.startswith(f"{name}:")))


@contextmanager
def _accounts_lock() -> Iterator[None]:
    """useradd refuses to run twice at once, and tests run in several processes."""
    with open(Path(tempfile.gettempdir()) / "wherry-test-accounts.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _copy_packages(home: Path) -> str:
    """wherry and what it imports, where any user can read them, wherever they are installed."""
    target = home / "packages"
    for package in (wherry, click, urllib3):
        source = Path(package.__file__).parent
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target / source.name, ignore=ignored)
    return str(target)


def _interpreter(words: tuple[str, ...], packages: str) -> str:
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        check = [*words, python, "-P", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(check, capture_output=True, check=False).returncode == 0:
                return python
        except OSError:
            continue
    pytest.skip("no Python of 3.11 or later that an ordinary user can start")


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        # It has ended since its parent was asked.
        return []
    found = []
    for line in children.split():
        found += [int(line), *descendants(int(line))]
    return found


def wait_gone(pids: list[int], seconds: float = 10) -> list[int]:
    """Those of `pids` that still live after some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = [pid for pid in pids if _is_alive(pid)]
        if not alive:
            return []
        time.sleep(0.02)
    return alive


def _is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
