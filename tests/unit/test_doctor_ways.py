# SPDX-License-Identifier: Apache-2.0
"""`wherry doctor` about what others answer: the Go module proxy, private modules, engines."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from golang_support import needs_go
from wherry.api import engine_checks, private_checks, proxy_checks
from wherry.api.checks import Check, State
from wherry.api.go_checks import GoHere, ask_go
from wherry.exporters.engine_endpoint import Endpoint
from wherry.golang.requirements import Requirements
from wherry.process.cancel import CancelToken

NOBODY: frozenset[str] = frozenset()
ANSWERING = """#!/bin/sh
test "$1" = env && echo '{"GOVERSION": "go1.99", "GOPRIVATE": "x.invalid"}' && exit
"""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        server.asked.append((self.path, self.headers.get("Authorization", "")))
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.answer)))
        self.end_headers()
        self.wfile.write(server.answer)

    def log_message(self, *_args: object) -> None:
        return


class _Server(http.server.ThreadingHTTPServer):
    status = 200
    answer = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str]] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.02,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def proxied(goproxy: str, module: str = "example.com/A", logins: frozenset[str] = NOBODY) -> Check:
    return proxy_checks.proxy_check(goproxy, module, {}, logins, CancelToken())


class TestModuleProxy:
    def test_one_that_answers(self, server: _Server) -> None:
        check = proxied(f"http://{server.place}/sub/,direct,http://127.0.0.1:1")
        assert (check.state, check.found) == (State.OK, f"{server.place} answers")
        assert check.details == ("direct: modules from their own repositories, by git",)
        assert server.asked == [("/sub/example.com/!a/@v/list", "")]

    @pytest.mark.parametrize(
        ("status", "logins", "state", "told"),
        [
            (404, NOBODY, State.OK, "answers"),
            (410, NOBODY, State.OK, "answers"),
            (401, NOBODY, State.LIMITED, "wants a login (401)"),
            (403, frozenset({"127.0.0.1"}), State.OK, "the login that Go will send"),
            (502, NOBODY, State.LIMITED, "answers with an error (502)"),
        ],
    )
    def test_statuses(
        self, server: _Server, status: int, logins: frozenset[str], state: State, told: str
    ) -> None:
        server.status = status
        check = proxied(f"http://{server.place}", logins=logins)
        assert check.state is state
        assert told in check.found
        assert bool(check.remedy) == (state is not State.OK)

    def test_credentials_are_neither_sent_nor_shown(self, server: _Server) -> None:
        server.status = 401
        check = proxied(f"http://ada:hunter2@{server.place}/x?k=hunter3")
        assert check.state is State.OK
        assert "hunter" not in repr(check)
        assert server.asked[0][1] == ""

    def test_off(self) -> None:
        for text in ("off", " off ", ""):
            check = proxied(text)
            assert check.state is State.LIMITED
            assert "downloads no modules" in check.found
        last = proxied("file:///srv/modules|off,http://127.0.0.1:1")
        assert last.details == ("off: nothing else is asked",)

    @pytest.mark.parametrize("entry", ["proxy.example", "http://[", "ftp://a/b", "http://a:x/"])
    def test_no_url(self, entry: str) -> None:
        check = proxied(entry)
        assert check.state is State.LIMITED
        assert check.remedy == "check: go env GOPROXY"

    def test_unreachable_and_silent_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(proxy_checks, "_SECONDS", 0.4)
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            port = silent.getsockname()[1]
            began = time.monotonic()
            check = proxied(f"http://127.0.0.1:1|http://127.0.0.1:{port}")
        assert time.monotonic() - began < 15
        assert check.state is State.LIMITED
        assert "cannot reach 127.0.0.1:1" in check.found
        assert any(f"127.0.0.1:{port}" in line for line in check.details)
        assert "module cache go on" in check.details[-1]


class TestPrivateModules:
    @pytest.fixture
    def home(self, tmp_path: Path) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOSUMDB": "off",
            "GOPRIVATE": "git.invalid,*.corp.invalid",
        }  # fmt: skip

    def check(self, env: dict[str, str], *modules: tuple[str, str]) -> Check | None:
        here = ask_go(env, CancelToken())
        return private_checks.private_check(here, Requirements(modules=modules), env, CancelToken())

    @needs_go
    def test_none_are_required(self, home: dict[str, str]) -> None:
        assert self.check(home, ("example.com/a", "v1.0.0")) is None
        assert self.check({**home, "GOPRIVATE": ""}, ("git.invalid/a", "v1.0.0")) is None

    @needs_go
    @pytest.mark.skipif(shutil.which("git") is None, reason="no git")
    def test_git_s_insteadof_leads_there(self, tmp_path: Path, home: dict[str, str]) -> None:
        repository = tmp_path / "repositories/team/lib.git"
        repository.mkdir(parents=True)
        (repository / "go.mod").write_text("module git.invalid/team/lib.git\n\ngo 1.21\n")
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=m"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a"], ["tag", "v1.0.0"]):
            subprocess.run([*git, *words], cwd=repository, env=home, check=True, timeout=60)
        (tmp_path / ".gitconfig").write_text(
            f'[url "file://{tmp_path}/repositories/"]\n\tinsteadOf = https://git.invalid/\n'
            "[safe]\n\tdirectory = *\n"
        )
        check = self.check(home, ("git.invalid/team/lib.git", "v1.0.0"))
        assert check is not None
        assert check.state is State.OK, check
        assert check.found == "git.invalid (git.invalid/team/lib.git) can be had by git or https"
        there = self.check(home, ("git.invalid/team/lib.git", "v1.0.1"))
        assert there is not None
        assert there.state is State.LIMITED
        assert "git's insteadOf names git.invalid" in there.details

    @needs_go
    def test_hosts_that_are_not_reached(self, tmp_path: Path, home: dict[str, str]) -> None:
        (tmp_path / ".netrc").write_text("machine b.corp.invalid login a password hunter2\n")
        hosts = [f"{letter}.corp.invalid" for letter in "abcdef"]
        check = self.check(home, *((f"{host}/x", "v1.0.0") for host in hosts))
        assert check is not None
        assert check.state is State.LIMITED
        lines = (check.found, *check.details)
        assert "neither git's insteadOf nor netrc names a.corp.invalid" in lines
        assert "netrc names b.corp.invalid" in lines
        assert lines[-1] == "2 more hosts were not asked"
        assert "hunter2" not in repr(check)

    @needs_go
    def test_only_checksums_are_private(self, home: dict[str, str]) -> None:
        env = {**home, "GOPRIVATE": "", "GONOSUMDB": "git.invalid"}
        check = self.check(env, ("git.invalid/a", "v1.0.0"))
        assert check is not None
        assert "by the module proxy" in check.found

    def test_a_git_that_never_ends(
        self, tmp_path: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(private_checks, "_SECONDS", 0.3)
        script = tmp_path / "bin/go"
        script.parent.mkdir()
        script.write_text(f"{ANSWERING}exec sleep 60\n")
        script.chmod(0o755)
        began = time.monotonic()
        check = self.check(
            {**home, "PATH": f"{script.parent}:/usr/bin:/bin"}, ("x.invalid/a", "v1")
        )
        assert time.monotonic() - began < 20
        assert check is not None
        assert "no answer within" in check.found
        assert "git ls-remote" in check.remedy

    def test_no_prompt_can_appear(self, tmp_path: Path) -> None:
        """Go sees an environment in which neither git nor ssh asks."""
        script = tmp_path / "go"
        script.write_text(f"{ANSWERING}env > {tmp_path}/seen; cat >> {tmp_path}/seen\n")
        script.chmod(0o755)
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GIT_SSH_COMMAND": "ssh -i /key"}
        self.check(env, ("x.invalid/a", "v1"))
        seen = (tmp_path / "seen").read_text().splitlines()
        assert "GIT_TERMINAL_PROMPT=0" in seen
        assert "GIT_SSH_COMMAND=ssh -i /key -o BatchMode=yes -o ConnectTimeout=5" in seen
        assert "SSH_ASKPASS_REQUIRE=never" in seen

    def test_netrc(self, tmp_path: Path) -> None:
        path = tmp_path / "logins"
        path.write_text("machine a.example login x password y\ndefault login z\nmachine b.example")
        assert private_checks.netrc_hosts({"NETRC": str(path)}) == {"a.example", "b.example"}
        assert private_checks.netrc_hosts({"HOME": str(tmp_path)}) == NOBODY
        assert private_checks.netrc_hosts({}) == NOBODY


class TestEngines:
    def of(self, env: dict[str, str]) -> tuple[Check, ...]:
        return engine_checks.engine_checks({"HOME": "/nowhere", **env}, CancelToken())

    def test_one_that_answers(self, server: _Server) -> None:
        server.answer = b'{"Version": "27.1", "Arch": "arm64", "Os": "linux"}'
        (check,) = self.of({"DOCKER_HOST": f"tcp://{server.place}"})
        assert check.state is State.OK
        assert check.found == f"Docker 27.1 at tcp://{server.place} (DOCKER_HOST), arm64"
        assert check.details == ("--load takes this one",)

    @pytest.mark.parametrize("answer", [b"SSH-2.0-x", b"{", b"[]", b'{"Version": 0}'])
    def test_something_else_answers(self, server: _Server, answer: bytes) -> None:
        server.answer = answer
        (check,) = self.of({"DOCKER_HOST": f"tcp://{server.place}"})
        assert check.state is State.LIMITED
        assert check.remedy

    def test_a_silent_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_checks, "_SECONDS", 0.3)
        began = time.monotonic()
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            (check,) = self.of({"DOCKER_HOST": f"tcp://127.0.0.1:{silent.getsockname()[1]}"})
        assert time.monotonic() - began < 10
        assert check.state is State.LIMITED
        assert "does not answer" in check.found
        assert "start it again" in check.remedy

    def test_a_socket_that_nobody_listens_at(self) -> None:
        # Paths of sockets are short, those of tests are not.
        with tempfile.TemporaryDirectory() as directory:
            with closing(socket.socket(socket.AF_UNIX)) as left:
                left.bind(f"{directory}/docker.sock")
            checks = self.of({"XDG_RUNTIME_DIR": directory})
        check = next(check for check in checks if directory in check.found)
        assert check.state is State.LIMITED
        assert check.details == ("Connection refused",)
        assert "start it" in check.remedy

    def test_addresses_that_cannot_be_used(self) -> None:
        (check,) = self.of({"DOCKER_HOST": "ssh://ada:hunter2@host/x"})
        assert check.state is State.LIMITED
        assert "hunter2" not in repr(check)
        assert check.remedy

    def test_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_checks, "endpoints", lambda *_: (Endpoint("/nowhere/e.sock"),))
        (check,) = self.of({})
        assert check.state is State.NOTE
        assert "podman" in check.remedy


def test_a_here_knows_its_environment(tmp_path: Path) -> None:
    script = tmp_path / "go"
    script.write_text('#!/bin/sh\necho \'{"GOVERSION": "go1.99"}\'\n')
    script.chmod(0o755)
    here = ask_go({"PATH": f"{tmp_path}:/usr/bin:/bin", "A": "b"}, CancelToken())
    assert isinstance(here, GoHere)
    assert (here.env["A"], here.env["GOTOOLCHAIN"]) == ("b", "local")
