# SPDX-License-Identifier: Apache-2.0
"""`wherry doctor` where something really is broken: it says what, why, and a remedy that works."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from git_server import GitServer, git
from golang_support import needs_go
from wherry.api import engine_checks, private_checks
from wherry.api.checks import Check, State
from wherry.api.doctoring import diagnose
from wherry.api.go_checks import ask_go, go_check, why_no_builds
from wherry.api.proxy_checks import proxy_check
from wherry.api.store_checks import store_checks
from wherry.api.store_limit import StoreLimit
from wherry.errors import MachineError, UsageError
from wherry.exporters.engine_endpoint import Endpoint
from wherry.golang.requirements import Requirements
from wherry.process.cancel import CancelToken
from wherry.store import database
from wherry.store.relief import open_to_prune
from wherry.store.session import Session
from wherry.store.store import open_store

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GOTOOLCHAIN": "local",
            "GOPROXY": "off", "GOSUMDB": "off"}  # fmt: skip


NOTHING = Requirements()


def _go(env: Mapping[str, str], asked: Requirements = NOTHING, why: str = "") -> Check:
    here = ask_go(env, CancelToken())
    return go_check(here, env, asked, why, why_no_builds(here, env, CancelToken()))


@needs_go
class TestGo:
    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("GOFLAGS", "bogus", "GOFLAGS cannot be read"),
            ("GOFLAGS", "-bogus", "GOFLAGS cannot be read"),
            ("GOWORK", "/nowhere/go.work", "go.work cannot be read"),
        ],
    )
    def test_settings_that_go_refuses(
        self, env: dict[str, str], name: str, value: str, told: str
    ) -> None:
        """`go env` says nothing of these, and every build fails."""
        check = _go({**env, name: value})
        assert check.state is State.MISSING
        assert told in check.found
        assert check.remedy.startswith("check: go env")

    def test_settings_that_build(self, env: dict[str, str]) -> None:
        for flags in ("", "-mod=vendor", "-tags=a", "-modfile=/x/go.mod"):
            assert _go({**env, "GOFLAGS": flags}).state is State.OK, flags

    def test_a_go_that_cannot_be_fetched(self, env: dict[str, str]) -> None:
        env["GOTOOLCHAIN"] = "auto"
        asked = Requirements("1.99.2")
        assert "which Go will fetch" in _go(env, asked).details[0]
        check = _go(env, asked, "GOPROXY=off: Go downloads no modules")
        assert check.state is State.MISSING
        assert "Go cannot fetch it: GOPROXY=off" in check.details[1]
        assert "install Go 1.99.2" in check.remedy

    def test_the_exact_go_of_the_settings(self, env: dict[str, str]) -> None:
        """It is taken whatever else is there, newer or not."""
        asked = Requirements("1.21", exact="1.21.99", source="wherry.toml")
        assert (
            "wherry.toml here asks for Go 1.21.99, which Go will fetch" in _go(env, asked).details
        )
        assert _go(env, asked, "no way").state is State.MISSING

    def test_flags_that_need_cgo(self, env: dict[str, str]) -> None:
        env["GOFLAGS"] = "-race"
        here = ask_go(env, CancelToken())
        refused = why_no_builds(here, env, CancelToken())
        assert refused is not None
        assert "cgo" in refused.what
        assert why_no_builds(here, env, CancelToken(), cgo=True) is None


@needs_go
def test_what_a_module_asks_for_is_read_from_all_its_files(
    env: dict[str, str], tmp_path: Path
) -> None:
    module = tmp_path / "work" / "m"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module example.com/m\n\ngo 1.21\n")

    def told() -> Check:
        found = diagnose(str(tmp_path / "store"), env, CancelToken(), str(module))
        assert (found.exit_code == 3) == (not found.go_builds or not found.run_steps)
        (check,) = (check for check in found.checks if check.name == "Go")
        assert found.go_builds == (check.state is not State.MISSING)
        return check

    assert told().state is State.OK
    (tmp_path / "work" / "go.work").write_text("go 1.99.1\n\nuse ./m\n")
    assert "go.work here asks for Go 1.99.1" in told().details[0]
    assert told().state is State.MISSING
    env["GOWORK"] = "off"
    (module / "wherry.toml").write_text('[build]\ngo = "1.21.99"\n')
    check = told()
    assert "wherry.toml here asks for Go 1.21.99" in check.details[0]
    # GOPROXY=off: nobody will fetch it.
    assert check.state is State.MISSING


class TestModuleProxy:
    def test_the_way_back_is_told_where_somebody_left_it(self) -> None:
        found = proxy_check(
            "http://127.0.0.1:1", "", {}, frozenset(), CancelToken(), "go env -u GOPROXY"
        )
        assert found.remedy.endswith("or for Go's own proxy: go env -u GOPROXY")
        found = proxy_check("http://127.0.0.1:1", "", {}, frozenset(), CancelToken())
        assert "GOPROXY" not in found.remedy

    def test_a_black_hole_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A port whose queue is full takes no connection and refuses none."""
        monkeypatch.setattr("wherry.api.proxy_checks._SECONDS", 0.5)
        with closing(socket.socket()) as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            waiting = [socket.socket() for _ in range(4)]
            try:
                for one in waiting:
                    one.setblocking(False)
                    one.connect_ex(listening.getsockname())
                began = time.monotonic()
                url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                found = proxy_check(f"{url},{url}/b|direct", "", {}, frozenset(), CancelToken())
                assert time.monotonic() - began < 10
            finally:
                for one in waiting:
                    one.close()
        assert found.state is State.LIMITED
        assert "no connection in" in found.found or "no answer within" in found.found


@needs_go
@needs_git
class TestPrivateModules:
    """A git server that wants a login, behind git's insteadOf."""

    MODULE = "git.invalid/team/lib.git"

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[GitServer]:
        work, bare = tmp_path / "lib", tmp_path / "repositories/team/lib.git"
        work.mkdir()
        (work / "go.mod").write_text(f"module {self.MODULE}\n\ngo 1.21\n")
        git(work, "init", "-q")
        git(work, "add", ".")
        git(work, "commit", "-q", "-m", "a")
        git(work, "tag", "v1.0.0")
        bare.parent.mkdir(parents=True)
        git(work, "clone", "-q", "--bare", ".", str(bare))
        with GitServer(tmp_path / "repositories") as server:
            import threading

            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            server.wanted = "Basic " + base64.b64encode(b"ada:hunter2").decode()
            (tmp_path / ".gitconfig").write_text(
                f'[url "{server.url}/"]\n\tinsteadOf = https://git.invalid/\n'
            )
            yield server
            server.shutdown()
            thread.join()

    def check(self, env: dict[str, str], version: str = "v1.0.0") -> Check:
        env = {**env, "GOPRIVATE": "git.invalid"}
        here = ask_go(env, CancelToken())
        asked = Requirements(modules=((self.MODULE, version),))
        found = private_checks.private_check(here, asked, env, CancelToken())
        assert found is not None
        return found

    def test_a_login_is_missing_and_the_remedy_mends_it(
        self, env: dict[str, str], tmp_path: Path, server: GitServer
    ) -> None:
        found = self.check(env)
        assert found.state is State.LIMITED
        # git's own words, which Go keeps to itself.
        assert any("could not read Username" in line for line in found.details)
        assert found.remedy == (
            "give git a login: in ~/.netrc, machine 127.0.0.1 login USER password TOKEN"
        )
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login ada password hunter2\n")
        netrc.chmod(0o600)
        assert self.check(env).state is State.OK
        netrc.write_text("machine 127.0.0.1 login ada password wrong-one\n")
        wrong = self.check(env)
        assert wrong.state is State.LIMITED
        assert "wrong-one" not in repr(wrong)

    def test_no_such_version(self, env: dict[str, str], server: GitServer) -> None:
        server.wanted = ""
        found = self.check(env, "v1.0.9")
        assert "unknown revision" in repr(found)
        assert "check the version" in found.remedy

    def test_ssh_that_nobody_answers(self, env: dict[str, str], tmp_path: Path) -> None:
        if shutil.which("ssh") is None:
            pytest.skip("no ssh")
        (tmp_path / ".gitconfig").write_text(
            '[url "ssh://git@127.0.0.1:1/"]\n\tinsteadOf = https://git.invalid/\n'
        )
        found = self.check(env)
        assert any("Connection refused" in line for line in found.details)
        assert not any("Please make sure" in line for line in found.details)
        assert "check the network to git.invalid" in found.remedy

    def test_a_key_that_is_refused(self, env: dict[str, str], tmp_path: Path) -> None:
        ssh = tmp_path / "refusing"
        ssh.write_text("#!/bin/sh\necho 'git@x: Permission denied (publickey).' >&2\nexit 255\n")
        ssh.chmod(0o755)
        (tmp_path / ".gitconfig").write_text(
            '[url "ssh://git@127.0.0.1/"]\n\tinsteadOf = https://git.invalid/\n'
        )
        found = self.check({**env, "GIT_SSH_COMMAND": str(ssh)})
        assert "ssh -T git@git.invalid" in found.remedy
        assert "ssh-add" in found.remedy


class TestEngines:
    @pytest.mark.parametrize(
        ("programs", "told"),
        [
            ((), "apt-get install podman"),
            (("podman",), "systemctl --user start podman.socket"),
            (("dockerd",), "systemctl start docker"),
        ],
    )
    def test_those_that_are_installed_are_only_to_be_started(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: tuple[str, ...], told: str
    ) -> None:
        monkeypatch.setattr(engine_checks, "endpoints", lambda *_: (Endpoint("/nowhere/e.sock"),))
        for name in programs:
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o755)
        (check,) = engine_checks.engine_checks({"PATH": str(tmp_path)}, CancelToken())
        assert told in check.remedy


class TestStore:
    def test_the_size_of_the_settings_is_told_with_its_source(self, tmp_path: Path) -> None:
        (tmp_path / "go.mod").write_text("module m\n")
        (tmp_path / "wherry.toml").write_text('[store]\nsize = "3GB"\n')
        found = store_checks(str(tmp_path / "s"), StoreLimit(str(tmp_path), {}))
        assert "of at most 3.0 GB" in found.checks[0].found
        assert "at most: wherry.toml:2" in found.checks[0].details

    def test_a_bad_file_is_no_fault_of_the_store(self, tmp_path: Path) -> None:
        (tmp_path / "wherry.toml").write_text("[store]\nsize = 7\n")
        limit = StoreLimit(str(tmp_path), {})
        assert store_checks(str(tmp_path / "s"), limit).checks[0].state is not State.MISSING
        with pytest.raises(UsageError):
            limit()


class TestFullDisk:
    """What doctor and errors name as the remedy, `wherry cache prune`, works on a full disk."""

    @pytest.fixture
    def full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A store whose database opens only once its work directory is gone."""
        with open_store(tmp_path / "s") as store, store.work("a") as work:
            Path(work.path, "program").write_bytes(b"x" * 1000)
        opens = database.Database._open

        def refusing(self: database.Database) -> object:
            if (tmp_path / "s/work/a").exists():
                raise MachineError("cannot use state.db", why="No space left on device")
            return opens(self)

        monkeypatch.setattr(database.Database, "_open", refusing)
        monkeypatch.setattr("wherry.store.relief._room", lambda _root: 0)
        return tmp_path / "s"

    def test_room_is_made(self, full: Path) -> None:
        with pytest.raises(MachineError):
            open_store(full)
        with open_to_prune(str(full), None, None) as store:
            store.prune(everything=True)
        assert not (full / "work/a").exists()

    def test_not_while_others_use_the_store(self, full: Path) -> None:
        other = Session(str(full), time.time, lambda _: None)
        try:
            with pytest.raises(MachineError):
                open_to_prune(str(full), None, None)
        finally:
            other.close()
        assert (full / "work/a/program").exists()

    def test_not_what_a_process_still_holds(self, full: Path) -> None:
        """A go command that outlived its wherry."""
        holder = subprocess.Popen(
            ["flock", str(full / "locks/work-a"), "sleep", "60"], start_new_session=True
        )
        try:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                probe = subprocess.run(
                    ["flock", "-n", str(full / "locks/work-a"), "true"], check=False
                )
                if probe.returncode:
                    break
                time.sleep(0.05)
            with pytest.raises(MachineError):
                open_to_prune(str(full), None, None)
            assert (full / "work/a/program").exists()
        finally:
            os.killpg(holder.pid, 9)
            holder.wait(10)
