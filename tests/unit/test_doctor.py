# SPDX-License-Identifier: Apache-2.0
"""`wherry doctor`: its findings, its exit codes, and that it shows no secret."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

from wherry.api import doctoring, go_checks
from wherry.api.checks import Check, State
from wherry.api.doctoring import Diagnosis, diagnose
from wherry.api.go_checks import ask_go, cgo_check, git_check, go_check, no_go, user_setting
from wherry.api.network_checks import network_checks
from wherry.api.proving import Proof
from wherry.api.run_checks import run_checks
from wherry.api.store_checks import file_system, store_checks
from wherry.api.store_limit import StoreLimit
from wherry.cli.doctor import command
from wherry.errors import MachineError
from wherry.golang.requirements import Requirements
from wherry.process.cancel import Cancelled, CancelToken
from wherry.sandbox.host_facts import HostFacts, Range
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.modes import Mode

FACTS = HostFacts(
    uid=1000, name="ada", unshare="/usr/bin/unshare", ranges=65536,
    users=Range(100000, 65536), groups=Range(200000, 65536),
)  # fmt: skip
NO_LIMIT = StoreLimit("", {})
WHOLE = Proof(FACTS, Mode(Mapping.RANGES), "/absent/runc", seccomp=True, snapshots="overlay")


def found(checks: tuple[Check, ...], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def texts(check: Check) -> str:
    return "\n".join((check.found, *check.details, check.remedy))


def program(directory: Path, name: str, script: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


class TestRun:
    def test_a_whole_mode(self) -> None:
        checks = run_checks(WHOLE)
        assert found(checks, "RUN") == Check("RUN", State.OK, "user namespace with id ranges")
        assert found(checks, "snapshots").state is State.OK
        ids = found(checks, "user ids")
        assert ids.found == "65536: user ids 100000-165535, group ids 200000-265535"
        assert "loopback" in found(checks, "network").found
        assert found(checks, "platforms").state is State.NOTE

    def test_one_id_and_a_bound_proc_are_two_lacks(self) -> None:
        facts = FACTS._replace(ranges=0, users=Range(), groups=Range())
        proof = WHOLE._replace(facts=facts, mode=Mode(Mapping.ONE, own_proc=False))
        checks = run_checks(proof)
        assert found(checks, "RUN").state is State.LIMITED
        lacks = [check for check in checks if not check.name]
        assert "usermod --add-subuids 100000-165535" in lacks[0].remedy
        assert "systempaths=unconfined" in lacks[1].remedy
        assert found(checks, "user ids").found == "1"

    def test_whole_copies_are_said(self) -> None:
        check = found(run_checks(WHOLE._replace(snapshots="whole")), "snapshots")
        assert check.state is State.LIMITED
        assert "Linux 5.11" in check.remedy

    def test_runtimes(self, tmp_path: Path) -> None:
        program(tmp_path, "runc", "echo 'runc version 9.1'; echo 'libseccomp: 2.5.4'")
        program(tmp_path, "crun", "echo 'crun version 9.2'; echo '+SYSTEMD -SELINUX'")
        proof = WHOLE._replace(runtime=str(tmp_path / "runc"))
        good = found(run_checks(proof), "OCI runtime")
        assert (good.state, good.found.split(" (")[0]) == (State.OK, "runc 9.1")
        plain = WHOLE._replace(runtime=str(tmp_path / "crun"), seccomp=False)
        less = found(run_checks(plain), "OCI runtime")
        assert less.state is State.LIMITED
        assert "without libseccomp" in less.found

    def test_no_runtime(self) -> None:
        none = found(run_checks(WHOLE._replace(runtime="")), "OCI runtime")
        assert "apt-get install runc" in none.remedy
        broken = WHOLE._replace(runtime="", problems=("runc: it fails",))
        check = found(run_checks(broken), "OCI runtime")
        assert check.details == ("runc: it fails",)
        assert check.remedy == ""

    def test_refused(self) -> None:
        facts = FACTS._replace(max_user_namespaces=0)
        proof = Proof(facts, error=MachineError("refused", why="one\ntwo", hint="long words"))
        check = found(run_checks(proof), "RUN")
        assert (check.state, check.details) == (State.MISSING, ("one", "two"))
        assert check.remedy == "as root: sysctl -w user.max_user_namespaces=15000"


class TestGo:
    def test_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(_env: object) -> None:
            raise MachineError("no Go toolchain found", why="nowhere", hint="install Go")

        monkeypatch.setattr(go_checks, "find_go", absent)
        with pytest.raises(MachineError) as caught:
            ask_go({"PATH": str(tmp_path)}, CancelToken())
        check = no_go(caught.value)
        assert (check.state, check.remedy) == (State.MISSING, "install Go")

    @pytest.fixture
    def env(self, tmp_path: Path) -> dict[str, str]:
        cache = tmp_path / "cache"
        for name in ("toolchain@v0.0.1-go1.9.9.linux-amd64", "toolchain@v0.0.1-go1.21.3.linux-x",
                     "x@v1"):  # fmt: skip
            (cache / "golang.org" / name).mkdir(parents=True)
        answer = {
            "GOVERSION": "go1.99.1", "GOMODCACHE": str(cache), "GOENV": str(tmp_path / "goenv"),
            "GOROOT": str(tmp_path / "root"),
        }  # fmt: skip
        program(
            tmp_path / "a", "go", f"test \"$GOTOOLCHAIN\" = local && echo '{json.dumps(answer)}'"
        )
        return {"PATH": f"{tmp_path}/a:/usr/bin:/bin"}

    def test_the_one_used_and_others(self, tmp_path: Path, env: dict[str, str]) -> None:
        program(tmp_path / "b", "go", "exit 1")
        env["PATH"] = f"{tmp_path}/a:{tmp_path}/b:/usr/bin:/bin"
        check = go_check(ask_go(env, CancelToken()), env, Requirements())
        assert (check.state, check.found) == (State.OK, f"go1.99.1 ({tmp_path}/a/go)")
        assert check.details == ("GOTOOLCHAIN=auto", f"also on PATH: {tmp_path}/b/go",
                                 "fetched by Go before: 1.9.9, 1.21.3")  # fmt: skip

    @pytest.mark.parametrize(
        ("asked", "setting", "state", "line"),
        [
            (Requirements("1.21"), "local", State.OK, "asks for Go 1.21"),
            (Requirements("1.21", "go1.99.1"), "auto", State.OK, "asks for Go 1.99.1"),
            # Told to stay what it is, Go passes over the toolchain line.
            (Requirements("1.21", "go1.99.9"), "local", State.OK, "asks for Go 1.21"),
            (Requirements("1.99.2"), "auto", State.OK, "1.99.2, which Go will fetch"),
            (Requirements("1.99.2"), "local", State.MISSING, "GOTOOLCHAIN=local lets Go fetch"),
            (Requirements("1.99.2"), "path", State.MISSING, "GOTOOLCHAIN=path lets Go fetch"),
            (Requirements("1.99.2"), "go1.99.1+auto", State.OK, "which Go will fetch"),
        ],
    )
    def test_what_go_mod_asks_for(
        self, env: dict[str, str], asked: Requirements, setting: str, state: State, line: str
    ) -> None:
        env["GOTOOLCHAIN"] = setting
        check = go_check(ask_go(env, CancelToken()), env, asked)
        assert check.state is state
        assert line in check.details[0]
        assert ("GOTOOLCHAIN=auto" in check.remedy) == (state is State.MISSING)

    def test_where_a_setting_comes_from(self, tmp_path: Path, env: dict[str, str]) -> None:
        here = ask_go(env, CancelToken())
        assert user_setting("GOTOOLCHAIN", here, env) == ""
        (tmp_path / "root").mkdir()
        (tmp_path / "root/go.env").write_text("# of Go\nGOTOOLCHAIN=auto\n")
        assert user_setting("GOTOOLCHAIN", here, env) == "auto"
        (tmp_path / "goenv").write_text("GOTOOLCHAIN=path\n")
        assert user_setting("GOTOOLCHAIN", here, env) == "path"
        assert user_setting("GOTOOLCHAIN", here, {**env, "GOTOOLCHAIN": "local"}) == "local"

    def test_one_that_never_answers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(go_checks, "_GO_SECONDS", 0.2)
        program(tmp_path, "go", "exec sleep 60")
        began = time.monotonic()
        with pytest.raises(MachineError, match="does not answer"):
            ask_go({"PATH": f"{tmp_path}:/usr/bin:/bin"}, CancelToken())
        assert time.monotonic() - began < 20

    def test_cgo(self, tmp_path: Path, env: dict[str, str]) -> None:
        here = ask_go(env, CancelToken())
        none = cgo_check(here, {"PATH": str(tmp_path / "a")}, CancelToken())
        assert none.state is State.LIMITED
        assert "apt-get install gcc" in none.remedy
        program(tmp_path / "a", "gcc", 'test "$1" = -dumpmachine && echo x86_64-linux-gnu')
        broken = cgo_check(here, env, CancelToken())
        assert broken.state is State.LIMITED
        assert "libc6-dev" in broken.remedy
        program(tmp_path / "a", "gcc", "echo x86_64-linux-gnu")
        good = cgo_check(here, env, CancelToken())
        assert (good.state, good.found) == (
            State.OK, f"{tmp_path}/a/gcc for x86_64-linux-gnu"
        )  # fmt: skip

    def test_git(self, tmp_path: Path) -> None:
        assert git_check({"PATH": str(tmp_path)}, CancelToken()).state is State.LIMITED
        program(tmp_path, "git", "echo git version 3.1")
        assert git_check({"PATH": str(tmp_path)}, CancelToken()).found == "3.1"


class TestStore:
    def test_a_new_one_and_one_of_others(self, tmp_path: Path) -> None:
        found = store_checks(str(tmp_path / "new"), NO_LIMIT)
        assert found.checks[0].state is not State.MISSING
        assert found.size >= 0
        assert found.free > 0
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.txt").touch()
        refused = store_checks(str(tmp_path / "other"), NO_LIMIT)
        assert (refused.checks[0].state, refused.size, refused.free) == (State.MISSING, -1, -1)
        assert "thesis.txt" in texts(refused.checks[0])

    @pytest.mark.parametrize(
        ("free", "files", "left", "told"),
        [
            (1, 10**6, 10**6, "there is little room"),
            (10**9, 10**6, 10, "room for 10 more files only (inodes)"),
            (10**9, 0, 0, ""),
        ],
    )
    def test_room(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        free: int, files: int, left: int, told: str,
    ) -> None:  # fmt: skip
        real = os.statvfs(tmp_path)
        fields = list(real[:10])
        fields[0:2] = [4096, 4096]
        fields[4], fields[5], fields[7] = free, files, left
        monkeypatch.setattr(
            "wherry.api.store_checks.os.statvfs", lambda _: os.statvfs_result(fields)
        )
        check = store_checks(str(tmp_path / "s"), NO_LIMIT).checks[0]
        assert check.state is (State.LIMITED if told else State.OK)
        assert check.details == ((told,) if told else ())
        assert ("prune" in check.remedy) == bool(told)

    @pytest.mark.parametrize(
        ("kind", "state", "told"),
        [
            ("ext4", State.OK, ""),
            ("tmpfs", State.NOTE, "after a restart"),
            ("nfs4", State.LIMITED, "several machines"),
            ("fuse.sshfs", State.LIMITED, "whole roots"),
            ("overlay", State.LIMITED, "goes with the container"),
            ("vfat", State.NOTE, "whole roots"),
        ],
    )
    def test_file_systems(self, tmp_path: Path, kind: str, state: State, told: str) -> None:
        place = tmp_path / "a b"
        place.mkdir()
        text = (
            "20 1 8:1 / / rw - ext4 /dev/vda rw\n"
            f"21 20 8:2 / {str(place).replace(' ', chr(92) + '040')} rw shared:1 - {kind} x rw\n"
            f"22 20 8:3 / {tmp_path}/a rw - xfs x rw\nnonsense\n"
        )
        (tmp_path / "mountinfo").write_text(text)
        (check,) = file_system(str(place / "store"), str(tmp_path / "mountinfo"))
        assert check.state is state
        assert told in texts(check)
        assert file_system(str(place), str(tmp_path / "none")) == ()


class TestNetwork:
    def test_nothing_is_set(self, tmp_path: Path) -> None:
        checks = network_checks({"HOME": str(tmp_path)})
        assert {check.state for check in checks} == {State.NOTE}
        assert found(checks, "proxy").found == "none"
        assert "config.toml" in found(checks, "settings").found

    def test_proxies_are_named_without_their_logins(self) -> None:
        env = {"https_proxy": "http://ada:hunter2@proxy.example:3128", "no_proxy": "internal"}
        check = found(network_checks(env), "proxy")
        assert check.found == "https by proxy.example:3128, with a login"
        assert check.details == ("not for internal",)
        assert "hunter2" not in repr(check)

    def test_a_proxy_that_makes_no_sense(self) -> None:
        env = {"https_proxy": "ftp://ada:hunter2@proxy.example"}
        check = found(network_checks(env), "proxy")
        assert check.state is State.MISSING
        assert "hunter2" not in texts(check)

    def test_logins_are_named_without_secrets(self, tmp_path: Path) -> None:
        program(tmp_path / "bin", "docker-credential-here", "exit 1")
        (tmp_path / ".docker").mkdir()
        content = {
            "auths": {"reg.example": {"auth": "YWRhOmh1bnRlcjI="}},
            "credsStore": "here",
            "credHelpers": {"other.example": "absent"},
        }
        (tmp_path / ".docker/config.json").write_text(json.dumps(content))
        env = {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}
        check = found(network_checks(env), "registry logins")
        assert check.state is State.LIMITED
        assert check.found == f"{tmp_path}/.docker/config.json"
        assert any("logins for reg.example" in line for line in check.details)
        assert "helper docker-credential-here" in check.details
        assert "helper docker-credential-absent: not found on PATH" in check.details
        assert "YWRh" not in texts(check)

    def test_files_that_make_no_sense(self, tmp_path: Path) -> None:
        (tmp_path / ".docker").mkdir()
        (tmp_path / ".docker/config.json").write_text('{"auths": YWRhOmh1bnRlcjI=')
        settings = tmp_path / ".config/wherry/config.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text("colour = 1\n")
        checks = network_checks({"HOME": str(tmp_path)})
        logins = found(checks, "registry logins")
        assert logins.state is State.MISSING
        assert "YWRh" not in texts(logins)
        assert found(checks, "settings").state is State.MISSING

    def test_certificates(self, tmp_path: Path) -> None:
        gone = found(network_checks({"SSL_CERT_FILE": f"{tmp_path}/no.pem"}), "certificates")
        assert gone.state is State.MISSING
        there = found(network_checks({"SSL_CERT_DIR": str(tmp_path)}), "certificates")
        assert there.found == f"SSL_CERT_DIR={tmp_path}"


@pytest.mark.parametrize(
    ("go_builds", "run_steps", "code"),
    [(True, True, 0), (True, False, 3), (False, True, 3), (False, False, 3)],
)
def test_exit_codes(go_builds: bool, run_steps: bool, code: int) -> None:
    assert Diagnosis((), go_builds, run_steps, "root", 0, 0).exit_code == code


def test_a_store_that_cannot_be_used_leaves_the_rest(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    told = diagnose(str(tmp_path), {"PATH": os.environ["PATH"]}, CancelToken())
    assert told.exit_code == 3
    assert not told.run_steps
    assert found(told.checks, "store").state is State.MISSING
    assert found(told.checks, "git").name == "git"


def test_no_place_for_a_store_is_a_finding() -> None:
    told = diagnose(MachineError("nowhere", hint="set HOME"), {"PATH": ""}, CancelToken())
    assert found(told.checks, "store").remedy == "set HOME"
    assert found(told.checks, "RUN").found == "not tried: there is no store"
    assert (told.exit_code, told.store_size) == (3, -1)


def test_an_interruption_ends_it(tmp_path: Path) -> None:
    program(tmp_path / "bin", "go", "exec sleep 60")
    token = CancelToken()
    threading.Timer(0.3, token.cancel).start()
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    with pytest.raises(Cancelled):
        diagnose(MachineError("nowhere"), env, token)


def test_another_system_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.sandbox.host_facts.sys.platform", "darwin")
    told = diagnose(str(tmp_path / "s"), {"PATH": os.environ["PATH"]}, CancelToken())
    assert told.mode == "none"
    assert "on this system" in found(told.checks, "RUN").found


class TestCommand:
    """The whole command, where little is there."""

    def run(self, where: Path, env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "wherry", "doctor", *args],
            cwd=where, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 3), done.stderr
        assert done.stderr == ""
        assert time.monotonic() - began < 30
        return done

    def test_empty_path_and_no_home(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, {"PATH": "", "WHERRY_STORE": str(tmp_path / "store")})
        assert done.returncode == 3
        assert "missing   Go:" in done.stdout
        assert "Go builds do not work here" in done.stdout

    def test_a_directory_that_is_gone(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        script = f"cd {gone} && rmdir {gone} && exec {sys.executable} -m wherry doctor --store rel"
        done = subprocess.run(
            ["sh", "-c", script], env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (3, "")
        assert "missing   store: the current directory is gone" in done.stdout

    def test_no_secret_is_shown(self, tmp_path: Path) -> None:
        (tmp_path / "go.mod").write_text(
            "module example.com/m\ngo 1.21\nrequire git.invalid/a v1.0.0\n"
        )
        (tmp_path / ".netrc").write_text("machine git.invalid login ada password hunter3\n")
        (tmp_path / ".gitconfig").write_text(
            '[url "https://ada:hunter4@127.0.0.1:1/"]\n\tinsteadOf = https://git.invalid/\n'
        )
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "GOPROXY": "https://ada:hunter2@127.0.0.1:1/hunter5?token=hunter6,direct",
            "GOPRIVATE": "git.invalid",
            "GOTOOLCHAIN": "local",
        }
        done = self.run(tmp_path, env, "--json", "--store", str(tmp_path / "store"))
        assert "hunter" not in done.stdout
        told = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        if shutil.which("go"):
            assert told["Go module proxy"]["state"] == "limited"
            assert told["private modules"]["state"] == "limited"
            assert (
                "git's insteadOf and netrc name git.invalid" in told["private modules"]["details"]
            )


@pytest.fixture
def diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = (
        Check("RUN", State.OK, "root"),
        Check("", State.LIMITED, "a lack", ("its meaning",), "its cure"),
    )
    told = Diagnosis(checks, go_builds=True, run_steps=False, mode="none", store_size=1,
                     store_free=2)  # fmt: skip
    monkeypatch.setattr("wherry.cli.doctor.diagnose", lambda *_: told)
    monkeypatch.setattr("wherry.cli.doctor.stopping", lambda: nullcontext(CancelToken()))


def test_text(diagnosed: None) -> None:
    done = CliRunner().invoke(command, ["--store", "x"], standalone_mode=False)
    assert done.return_value == 3
    assert done.output == (
        "ok        RUN: root\n"
        "limited   a lack\n"
        "          its meaning\n"
        "          hint: its cure\n"
        "\n"
        "Go builds work here; RUN steps are refused.\n"
    )


def test_json(diagnosed: None) -> None:
    done = CliRunner().invoke(command, ["--json", "--store", "x"], standalone_mode=False)
    told = json.loads(done.output)
    assert list(told) == ["format", "wherry", "checks", "go_builds", "run_steps", "mode",
                          "store_size", "store_free"]  # fmt: skip
    assert (told["format"], told["wherry"]) == (1, doctoring.__version__)
    assert (told["go_builds"], told["run_steps"], told["mode"]) == (True, False, "none")
    assert told["checks"][1] == {
        "name": "",
        "state": "limited",
        "found": "a lack",
        "details": ["its meaning"],
        "remedy": "its cure",
    }
