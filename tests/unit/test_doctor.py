# SPDX-License-Identifier: Apache-2.0
"""`wherry doctor`: its findings, its exit codes, and that it shows no secret."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

from wherry.api import doctoring, go_checks
from wherry.api.checks import Check, State
from wherry.api.doctoring import Diagnosis, diagnose
from wherry.api.go_checks import git_check, go_check, store_check
from wherry.api.network_checks import network_checks
from wherry.api.proving import Proof
from wherry.api.run_checks import run_checks
from wherry.cli.doctor import command
from wherry.errors import MachineError
from wherry.process.cancel import CancelToken
from wherry.sandbox.host_facts import HostFacts, Range
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.modes import Mode

FACTS = HostFacts(
    uid=1000, name="ada", unshare="/usr/bin/unshare", ranges=65536,
    users=Range(100000, 65536), groups=Range(200000, 65536),
)  # fmt: skip
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
        check = go_check({"PATH": str(tmp_path)}, CancelToken())
        assert (check.state, check.remedy) == (State.MISSING, "install Go")

    def test_the_one_used_and_others(self, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        for name in ("toolchain@v0.0.1-go1.9.9.linux-amd64", "toolchain@v0.0.1-go1.21.3.linux-x",
                     "x@v1"):  # fmt: skip
            (cache / "golang.org" / name).mkdir(parents=True)
        answer = json.dumps({"GOVERSION": "go1.99.1", "GOMODCACHE": str(cache)})
        program(tmp_path / "a", "go", f"test \"$GOTOOLCHAIN\" = local && echo '{answer}'")
        program(tmp_path / "b", "go", "exit 1")
        check = go_check({"PATH": f"{tmp_path}/a:{tmp_path}/b:/usr/bin:/bin"}, CancelToken())
        assert (check.state, check.found) == (State.OK, f"go1.99.1 ({tmp_path}/a/go)")
        assert check.details == (f"also on PATH: {tmp_path}/b/go",
                                 "fetched by Go before: 1.9.9, 1.21.3")  # fmt: skip

    def test_git(self, tmp_path: Path) -> None:
        assert git_check({"PATH": str(tmp_path)}, CancelToken()).state is State.LIMITED
        program(tmp_path, "git", "echo git version 3.1")
        assert git_check({"PATH": str(tmp_path)}, CancelToken()).found == "3.1"

    def test_store(self, tmp_path: Path) -> None:
        check, size, free = store_check(str(tmp_path / "new"))
        assert check.state is not State.MISSING
        assert size >= 0
        assert free > 0
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.txt").touch()
        check, size, free = store_check(str(tmp_path / "other"))
        assert (check.state, size, free) == (State.MISSING, -1, -1)
        assert "thesis.txt" in texts(check)


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


def test_another_system_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.sandbox.host_facts.sys.platform", "darwin")
    told = diagnose(str(tmp_path / "s"), {"PATH": os.environ["PATH"]}, CancelToken())
    assert told.mode == "none"
    assert "on this system" in found(told.checks, "RUN").found


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
    assert told["wherry"] == doctoring.__version__
    assert (told["go_builds"], told["run_steps"], told["mode"]) == (True, False, "none")
    assert told["checks"][1] == {
        "name": "",
        "state": "limited",
        "found": "a lack",
        "details": ["its meaning"],
        "remedy": "its cure",
    }
