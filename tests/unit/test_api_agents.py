# SPDX-License-Identifier: Apache-2.0
"""--ssh: its forms and mistakes, and agents of our own: what they hold and that they end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.api.agents import Agents, AgentSpec, read_agent
from wherry.errors import MachineError, UsageError
from wherry.process.cancel import Cancelled, CancelToken

ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
needs_openssh = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("ssh-agent", "ssh-add", "ssh-keygen")),
    reason="OpenSSH's client is not installed",
)


@pytest.fixture
def agent_socket(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        yield path


class TestForms:
    def test_without_a_place_it_is_the_users_agent(self, tmp_path: Path, agent_socket: str) -> None:
        env = {"SSH_AUTH_SOCK": agent_socket}
        for text in ("default", "default="):
            assert read_agent(text, str(tmp_path), env) == AgentSpec("default", agent_socket)
        assert read_agent("team", str(tmp_path), env) == AgentSpec("team", agent_socket)

    def test_a_socket(self, tmp_path: Path, agent_socket: str) -> None:
        for written in (agent_socket, "agent.sock"):
            found = read_agent(f"team={written}", str(tmp_path), {})
            assert found == AgentSpec("team", agent_socket)
        assert read_agent(f"={agent_socket}", str(tmp_path), {}).id == "default"

    def test_keys(self, tmp_path: Path) -> None:
        for name in ("a", "b=c"):
            (tmp_path / name).touch()
        keys = (str(tmp_path / "a"), str(tmp_path / "b=c"))
        assert read_agent("team=a,b=c", str(tmp_path), {}) == AgentSpec("team", keys=keys)

    @pytest.mark.parametrize(
        ("text", "what", "hint"),
        [
            ("default", "--ssh default: no agent runs", "--ssh default=$HOME/.ssh/"),
            ("", "an --ssh is empty", "--ssh default"),
            ("a=nothing", "nothing cannot be used", "private key"),
            ("a=~/.ssh/id", "id cannot be used", "the shell leaves ~ alone here: write $HOME"),
            ("a=agent.sock,key", "--ssh a names a socket and more", "one socket"),
            ("a=agent.sock,agent.sock", "--ssh a names a socket and more", "one socket"),
            ("a=.", "'.' is neither a key nor a socket", "private key"),
            ("a=key,,key", "'' is neither a key nor a socket", "private key"),
            ("a=\0", "cannot be used", "private key"),
        ],
    )
    @pytest.mark.usefixtures("agent_socket")
    def test_mistakes(self, tmp_path: Path, text: str, what: str, hint: str) -> None:
        (tmp_path / "key").touch()
        with pytest.raises(UsageError) as raised:
            read_agent(text, str(tmp_path), {})
        assert what in raised.value.what
        assert hint in raised.value.hint


def make_key(path: Path, *, passphrase: str = "") -> str:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", path.name]
    subprocess.run([*words, "-f", str(path)], check=True)
    return str(path)


def held(agent: str, cwd: Path) -> list[str]:
    """The comments of the keys in an agent."""
    os.symlink(agent, cwd / "s")
    listed = subprocess.run(
        ["ssh-add", "-L"], cwd=cwd, env={**ENV, "SSH_AUTH_SOCK": "s"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    os.unlink(cwd / "s")
    return [line.split()[2] for line in listed.stdout.splitlines() if line.startswith("ssh-")]


def connect(agent: str, cwd: Path) -> socket.socket:
    """A connection to an agent, by a short name; it ends with the agent."""
    os.symlink(agent, cwd / "s")
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(cwd / "s"))
    os.unlink(cwd / "s")
    return connection


def agents_of(directory: Path, *keys: str) -> Agents:
    spec = AgentSpec("team", keys=keys)
    return Agents((spec,), ENV, str(directory), CancelToken())


@needs_openssh
class TestOurs:
    def test_it_holds_just_the_keys_named_and_ends(self, tmp_path: Path) -> None:
        keys = [make_key(tmp_path / name) for name in ("one", "two", "three")]
        # Such as CI systems mount them; ssh-add itself would refuse the file.
        os.chmod(keys[0], 0o644)
        directory = tmp_path / "long" / ("x" * 120)
        with agents_of(directory, *keys[:2]) as agents:
            assert agents.socket("other") is None
            assert not directory.exists(), "started before it was asked for"
            path = agents.socket("team")
            assert path is not None
            assert agents.socket("team") == path
            assert sorted(held(path, tmp_path)) == ["one", "two"]
            assert os.stat(directory).st_mode & 0o777 == 0o700
            connected = connect(path, tmp_path)
        assert os.listdir(directory) == []
        with connected:
            assert connected.recv(1) == b"", "the agent lives"

    def test_threads_get_one_agent(self, tmp_path: Path) -> None:
        key = make_key(tmp_path / "one")
        found: list[str | None] = []
        with agents_of(tmp_path / "d", key) as agents:
            threads = [
                threading.Thread(target=lambda: found.append(agents.socket("team")))
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(found) == 4
        assert len(set(found)) == 1

    def test_builds_share_a_directory(self, tmp_path: Path) -> None:
        one, two = (make_key(tmp_path / name) for name in ("one", "two"))
        directory = tmp_path / "d"
        with agents_of(directory, one) as first:
            path = first.socket("team")
            with agents_of(directory, two) as second:
                assert second.socket("team") not in (None, path)
            assert path is not None
            assert held(path, tmp_path) == ["one"]
        assert os.listdir(directory) == []

    def test_nobody_is_asked_for_a_passphrase(self, tmp_path: Path) -> None:
        key = make_key(tmp_path / "locked", passphrase="very secret")
        with agents_of(tmp_path / "d", key) as agents:
            with pytest.raises(MachineError, match="has a passphrase") as raised:
                agents.socket("team")
            assert key in raised.value.what
            assert "--ssh team" in raised.value.hint
            assert os.listdir(tmp_path / "d") == []

    def test_a_file_that_is_no_key(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("hunter2\n")
        with (
            agents_of(tmp_path / "d", str(tmp_path / "text")) as agents,
            pytest.raises(UsageError, match="cannot be used") as raised,
        ):
            agents.socket("team")
        assert "hunter2" not in str(raised.value)

    def test_a_cancelled_build_adds_no_key(self, tmp_path: Path) -> None:
        cancel = CancelToken()
        cancel.cancel()
        spec = AgentSpec("team", keys=(make_key(tmp_path / "one"),))
        with (
            Agents((spec,), ENV, str(tmp_path / "d"), cancel) as agents,
            pytest.raises(Cancelled),
        ):
            agents.socket("team")
        assert os.listdir(tmp_path / "d") == []

    def test_it_ends_where_wherry_is_killed(self, tmp_path: Path) -> None:
        key = make_key(tmp_path / "one")
        program = (
            "import os, signal\n"
            "from wherry.api.agents import Agents, AgentSpec\n"
            "from wherry.process.cancel import CancelToken\n"
            f"a = Agents((AgentSpec('t', keys=({key!r},)),), {ENV!r}, {str(tmp_path / 'd')!r},"
            " CancelToken())\n"
            "print(a.socket('t'), flush=True)\n"
            "input()\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as wherry:  # fmt: skip
            assert wherry.stdin is not None
            assert wherry.stdout is not None
            with connect(wherry.stdout.readline().rstrip(), tmp_path) as connected:
                wherry.stdin.write("\n")
                wherry.stdin.flush()
                assert wherry.wait() == -9
                assert connected.recv(1) == b"", "the agent lives"
        end = time.monotonic() + 10
        while os.listdir(tmp_path / "d") and time.monotonic() < end:
            time.sleep(0.01)
        assert os.listdir(tmp_path / "d") == []

    def test_openssh_in_part(self, tmp_path: Path) -> None:
        """An ssh-agent without an ssh-add beside it."""
        key = make_key(tmp_path / "one")
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("ssh-agent", "sh", "cat"):
            os.symlink(shutil.which(name) or "", programs / name)
        spec = AgentSpec("team", keys=(key,))
        env = {"PATH": str(programs)}
        with (
            Agents((spec,), env, str(tmp_path / "d"), CancelToken()) as agents,
            pytest.raises(MachineError, match="cannot start ssh-add") as raised,
        ):
            agents.socket("team")
        assert "openssh-client" in raised.value.hint


def test_without_openssh(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    spec = AgentSpec("team", keys=(str(tmp_path / "key"),))
    with (
        Agents((spec,), {"PATH": str(tmp_path)}, str(tmp_path / "d"), CancelToken()) as agents,
        pytest.raises(MachineError, match="cannot start ssh-agent") as raised,
    ):
        agents.socket("team")
    assert "openssh-client" in raised.value.hint


def test_an_agent_that_does_not_start(tmp_path: Path) -> None:
    program = tmp_path / "ssh-agent"
    program.write_text("#!/bin/sh\necho out of sockets >&2\nexit 1\n")
    program.chmod(0o755)
    spec = AgentSpec("team", keys=("/key",))
    with (
        Agents((spec,), {"PATH": str(tmp_path)}, str(tmp_path / "d"), CancelToken()) as agents,
        pytest.raises(MachineError, match="does not start") as raised,
    ):
        agents.socket("team")
    assert raised.value.why == "out of sockets"


def test_the_users_own_agent_is_only_named(tmp_path: Path, agent_socket: str) -> None:
    specs = (AgentSpec("default", agent_socket),)
    with Agents(specs, {}, str(tmp_path / "d"), CancelToken()) as agents:
        assert agents.socket("default") == agent_socket
    assert os.path.exists(agent_socket)
    assert not (tmp_path / "d").exists()
