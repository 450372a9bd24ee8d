# SPDX-License-Identifier: Apache-2.0
"""The relay lets a step list keys and sign, and nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from wherry.sandbox.agent import AgentRelay, connect

FAILURE = b"\x00\x00\x00\x01\x05"


class FakeAgent:
    """Answers each message with its own bytes, and remembers them."""

    def __init__(self, path: Path) -> None:
        self.heard: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(peer,)))
                self._threads[-1].start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            while data := peer.recv(1 << 20):
                self.heard.append(data)
                peer.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path / "agent")
    yield fake
    fake.close()


@pytest.fixture
def relay(agent: FakeAgent, tmp_path: Path) -> Iterator[str]:
    # Longer than a socket's address may be.
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    path = str(directory / "relay")
    with AgentRelay(path, str(tmp_path / "agent")):
        yield path


def ask(path: str, *messages: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        connect(client, path)
        answer = b""
        for message in messages:
            client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        # What was sent and not read makes the end a reset.
        with suppress(ConnectionResetError):
            while data := client.recv(1 << 16):
                answer += data
        return answer


def packed(kind: int, body: bytes = b"") -> bytes:
    return (len(body) + 1).to_bytes(4, "big") + bytes([kind]) + body


def test_listing_and_signing_pass(relay: str, agent: FakeAgent) -> None:
    both = packed(11) + packed(13, b"data")
    assert ask(relay, both) == both
    assert b"".join(agent.heard) == both


def test_everything_else_is_refused_here(relay: str, agent: FakeAgent) -> None:
    kinds = [kind for kind in range(256) if kind not in (11, 13)]
    assert ask(relay, b"".join(packed(kind, b"x") for kind in kinds)) == FAILURE * len(kinds)
    assert agent.heard == []
    assert ask(relay, packed(25), packed(11)) == FAILURE + packed(11)


@pytest.mark.parametrize("bad", [b"\0\0\0\0", b"\xff\xff\xff\xff\x0b", b"\0\0\0\x09\x0b", b"\0"])
def test_broken_messages_end_the_connection(relay: str, agent: FakeAgent, bad: bytes) -> None:
    assert ask(relay, bad) == b""
    assert agent.heard == []
    assert ask(relay, packed(11)) == packed(11)


def test_an_agent_that_is_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "relay")
    with AgentRelay(path, str(tmp_path / "absent")):
        # It may have hung up before anything is said.
        try:
            answer = ask(path, b"")
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        assert answer == b""


def test_the_end_closes_connections(agent: FakeAgent, tmp_path: Path) -> None:
    path = str(tmp_path / "relay")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        with AgentRelay(path, str(tmp_path / "agent")):
            client.connect(path)
            client.sendall(packed(11))
            assert client.recv(100) == packed(11)
        assert client.recv(100) == b""
    assert os.path.exists(path)
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
        late.connect(path)


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="OpenSSH is not installed")
def test_with_a_real_agent(tmp_path: Path) -> None:
    upstream, path, key = (str(tmp_path / name) for name in ("real", "relay", "key"))
    with subprocess.Popen(["ssh-agent", "-D", "-a", upstream], stdout=subprocess.DEVNULL) as real:
        try:
            quiet = {"capture_output": True, "check": False, "text": True}
            subprocess.run(["ssh-keygen", "-qN", "", "-t", "ed25519", "-f", key], check=True)
            while not os.path.exists(upstream):
                pass
            own = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": upstream}
            subprocess.run(["ssh-add", key], env=own, **quiet)
            with AgentRelay(path, upstream):
                env = {**own, "SSH_AUTH_SOCK": path}
                listed = subprocess.run(["ssh-add", "-L"], env=env, **quiet)
                assert listed.stdout.split()[:2] == Path(f"{key}.pub").read_text().split()[:2]
                os.unlink(key)
                (tmp_path / "text").write_text("signed")
                sign = ["ssh-keygen", "-Y", "sign", "-n", "x", "-f", f"{key}.pub"]
                done = subprocess.run([*sign, str(tmp_path / "text")], env=env, **quiet)
                assert done.returncode == 0, done.stderr
                assert subprocess.run(["ssh-add", "-D"], env=env, **quiet).returncode != 0
            assert subprocess.run(["ssh-add", "-l"], env=own, **quiet).returncode == 0
        finally:
            real.terminate()
