# SPDX-License-Identifier: Apache-2.0
"""The world of a run: BuildKit, a registry with the bases, servers of files and git, a key.

All of it lives in one process of its own, which the first that needs it starts (`entered`); any
number of processes share it, each with a shared lock on one file of its directory. When the last
lock is gone, for whatever reason, that process ends its servers and itself.
"""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import buildkit
from certificates import Authority, Pair
from differential import debian, served
from differential.bases import Pusher
from wherry.errors import MachineError
from wherry.golang.toolchain import find_go

_TESTS = Path(__file__).resolve().parent.parent
_ORDINARY_DAYS = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}


class World(NamedTuple):
    """Where everything is; `buildkit` is None where none can run, for the reason `why_not`."""

    names: dict[str, str]  # REGISTRY, HTTP, GIT, COMMIT, ...: what the texts of cases may name
    digests: dict[str, str]  # of the bases
    layouts: str  # a directory of OCI layouts, one for each base
    ca: str  # the certificate that the one of %HTTPS% is signed with
    agent: str  # the socket of an agent of ssh with one key
    buildkit: buildkit.BuildKit | None
    why_not: str


def with_case_name(world: World) -> World:
    """The world with `%CASE%`, a word that no other case or run has: for what BuildKit keeps."""
    return world._replace(names={**world.names, "CASE": f"x{uuid.uuid4().hex[:12]}"})


@contextmanager
def entered(directory: Path) -> Iterator[World]:
    """The world whose state is in `directory`, started where it is not yet there."""
    directory.mkdir(parents=True, exist_ok=True)
    started = None
    with (directory / "alive").open("w") as alive:
        with (directory / "start").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fcntl.flock(alive, fcntl.LOCK_SH)
            state = directory / "state.json"
            if not state.exists():
                started = _start(directory)
            facts = json.loads(state.read_text())
        try:
            client = facts.pop("buildkit")
            yield World(buildkit=buildkit.BuildKit(*client) if client else None, **facts)
        finally:
            fcntl.flock(alive, fcntl.LOCK_UN)
            if started is not None:
                started.wait(300)


@contextmanager
def shared_world(places: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all workers of pytest-xdist; the tests skip where BuildKit cannot run."""
    if reason := buildkit.why_not():
        pytest.skip(reason)
    base = places.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base
    with entered(shared / "differential-world") as world:
        if world.buildkit is None:
            pytest.skip(world.why_not)
        yield world


def _start(directory: Path) -> subprocess.Popen[bytes]:
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "differential.world", str(directory)], cwd=_TESTS,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 1600  # BuildKit may have to be built first
    while not (directory / "state.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the world does not start: {log.read_text(errors='replace')}")
        time.sleep(0.05)
    return process


# --- the process --------------------------------------------------------------------------------


def main(directory: Path) -> None:
    """Start everything, say where it is, and end it with the last that uses it."""
    state = directory / "state.json"
    work = Path(tempfile.mkdtemp(prefix="wherry-world-"))  # a socket's path has to be short
    try:
        with ExitStack() as stack:
            facts = _servers(stack, work)
            staged = directory / "state.new"
            staged.write_text(json.dumps(facts))
            staged.rename(state)
            with (directory / "alive").open() as alive:
                fcntl.flock(alive, fcntl.LOCK_EX)
                state.unlink()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _servers(stack: ExitStack, work: Path) -> dict[str, object]:
    work.chmod(0o711)
    files = work / "http"
    names = served.make_files(files)
    repository = served.make_repository(work / "git", _ORDINARY_DAYS)
    registry = stack.enter_context(_registry(work / "registry"))
    server = stack.enter_context(_http_server(files, repository.parent))
    authority = Authority(work / "ca")
    pair = authority.issue("server")
    secured = stack.enter_context(_http_server(files, repository.parent, pair))
    names |= {"REGISTRY": registry, "HTTP": server, "GIT": f"{server}/git", "HTTPS": secured}
    names |= {"MIRROR": debian.mirror()}
    names |= served.commits(repository, _ORDINARY_DAYS)
    pusher = Pusher(registry)
    digests = pusher.push_all()
    pusher.close()
    served.make_layouts(work / "layouts")
    client, why_not = _buildkit(stack, work / "buildkit")
    agent = stack.enter_context(_agent(work / "agent"))
    return {"names": names, "digests": digests, "layouts": str(work / "layouts"),
            "ca": authority.file, "agent": agent,
            "buildkit": client, "why_not": why_not}  # fmt: skip


def _buildkit(stack: ExitStack, work: Path) -> tuple[buildkit.BuildKit | None, str]:
    why_not = buildkit.why_not()
    try:
        if why_not == "":
            programs = buildkit.install(find_go(os.environ))
            return stack.enter_context(buildkit.running(programs, work)), ""
    except MachineError as error:
        why_not = f"BuildKit cannot be built: {error}"
    except buildkit.NoBuildKit as error:
        why_not = str(error)
    return None, why_not


@contextmanager
def _registry(directory: Path) -> Iterator[str]:
    from registry_servers import docker_registry_server

    with docker_registry_server(directory) as server:
        yield server.host


@contextmanager
def _agent(place: Path) -> Iterator[str]:
    """An agent with a key made now; nothing where there is no such program."""
    if shutil.which("ssh-agent") is None:
        yield ""
        return
    place.mkdir(mode=0o755)
    key, socket = place / "key", place / "socket"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the tests' key", "-f", str(key)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            assert process.poll() is None, "the agent of ssh does not start"
            time.sleep(0.02)
        env = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", str(key)], check=True, env=env)
        yield str(socket)
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def _http_server(files: Path, repositories: Path, tls: Pair | None = None) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), served.handler(files, repositories, _ORDINARY_DAYS)
    )
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
