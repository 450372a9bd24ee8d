# SPDX-License-Identifier: Apache-2.0
"""What a request says about RUN: every form of every flag, and its mistakes, all told at once."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from wherry.api.building import check_request
from wherry.api.request import BuildRequest
from wherry.api.step_limits import read_host, read_shm_size, read_ulimit
from wherry.api.step_options import StepOptions, read_step_options
from wherry.api.step_secrets import read_secret
from wherry.errors import SeveralErrors, UsageError

VALUE = "hunter2"
LARGEST = 500 << 10


def request(
    cwd: Path | str = "/", env: dict[str, str] | None = None, **options: Any
) -> BuildRequest:
    return BuildRequest(source=".", cwd=str(cwd), env=env or {}, store="/nowhere", **options)


def test_nothing_said() -> None:
    assert read_step_options(request()) == StepOptions()


class TestSecrets:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("id=token,src=file", b"of file"),
            ("id=token,source=file", b"of file"),
            ("id=token,type=file,src=file", b"of file"),
            ("src=file,id=token", b"of file"),
            ("ID=token,SRC=file", b"of file"),
            ('id=token,"src=a,b"', b"of a,b"),
            ("id=token,src=sub/file", b"of sub/file"),
            ("id=token,env=OTHER", b"of OTHER"),
            ("id=token,type=env,env=OTHER", b"of OTHER"),
            ("id=token,type=env,src=OTHER", b"of OTHER"),
            ("id=token,type=env,source=OTHER", b"of OTHER"),
            ("id=BOTH", b"of the variable BOTH"),
            ("id=BOTH,type=env", b"of the variable BOTH"),
            ("id=BOTH,type=file", b"of BOTH"),
            ("id=file", b"of file"),
            ("id=a=b", b"of a=b"),
        ],
    )
    def test_forms(self, tmp_path: Path, text: str, expected: bytes) -> None:
        (tmp_path / "sub").mkdir()
        for name in ("file", "a,b", "a=b", "BOTH", "sub/file"):
            (tmp_path / name).write_text(f"of {name}")
        env = {"OTHER": "of OTHER", "BOTH": "of the variable BOTH"}
        secret, warning = read_secret(text, str(tmp_path), env)
        assert (secret.value(), warning) == (expected, "")

    def test_an_absolute_path_and_bytes_of_any_kind(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"\0\xff\n")
        secret, _ = read_secret(f"id=a,src={tmp_path}/file", "/", {})
        assert secret.value() == b"\0\xff\n"
        secret, _ = read_secret("id=a,env=B", "/", {"B": os.fsdecode(b"\xff")})
        assert secret.value() == b"\xff"

    def test_a_variable_that_is_not_set_is_empty_with_a_word(self) -> None:
        for text in ("id=a,env=UNSET", "id=a,type=env,src=UNSET"):
            secret, warning = read_secret(text, "/", {})
            assert secret.value() == b""
            assert "UNSET is not set" in warning
        options = read_step_options(request(secrets=("id=a,env=UNSET", "id=b,env=UNSET")))
        assert len(options.warnings) == 2

    def test_a_file_is_read_when_asked_for_and_once(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("early")
        options = read_step_options(request(tmp_path, secrets=("id=a,src=file",)))
        file.write_text("late")
        assert options.secret("a") == b"late"
        file.unlink()
        assert options.secret("a") == b"late"
        assert options.secret("b") is None

    def test_a_pipe_is_opened_once_when_it_is_asked_for(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        options = read_step_options(request(tmp_path, secrets=("id=a,src=pipe",)))
        writer = threading.Thread(target=lambda: pipe.write_bytes(b"through"))
        writer.start()
        assert options.secret("a") == b"through"
        writer.join()
        assert options.secret("a") == b"through"

    def test_of_several_of_a_name_the_last_counts(self) -> None:
        env = {"A": "1", "B": "2"}
        options = read_step_options(request(env=env, secrets=("id=x,env=A", "id=x,env=B")))
        assert [secret.id for secret in options.secrets] == ["x"]
        assert options.secret("x") == b"2"

    @pytest.mark.parametrize(
        ("text", "what", "hint"),
        [
            ("", "is empty", "--secret id="),
            (VALUE, "field 1 of a --secret is not KEY=VALUE", "--secret id="),
            (f"id=a,{VALUE}", "field 2 of a --secret is not KEY=VALUE", "--secret id="),
            (f'id=a,"src={VALUE}', "not one CSV record", "--secret id="),
            (f"id=a\nsrc={VALUE}", "not one CSV record", "--secret id="),
            (f"id=a,scr={VALUE}", "does not know 'scr'", "did you mean 'src'?"),
            (f"id=a,value={VALUE}", "does not know 'value'", "known are: id, src"),
            ("src=file", "has no id", "--secret id="),
            ("id=,src=file", "has no id", "--secret id="),
            ("id=a,type=fil", "no type is called 'fil'", "did you mean 'file'?"),
            ("id=a,type=x", "no type is called 'x'", "file or env"),
            ("id=a,src=file,env=A", "names a file and a variable", "leave one"),
            ("id=a,type=file,env=A", "type=file has no env=", "src="),
            ("id=a", "there is no variable a and no file", "src=FILE or env=VARIABLE"),
            ("id=a,type=file", "there is no file", "check its name"),
            ("id=a,src=fil", "there is no file", "did you mean 'file'?"),
            ("id=a,src=file/x", "there is no file", "check its name"),
            ("id=a,src=~/x", "there is no file", "the shell leaves ~ alone here"),
            ("id=a,src=.", "is a directory", "name a file"),
            ("id=a,src=large", "the secret a is larger than 500 KiB", "--build-context"),
            ("id=a,env=LARGE", "the secret a is larger than 500 KiB", "--build-context"),
            ("id=a,src=\0", "cannot be read", "that you may read"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, text: str, what: str, hint: str) -> None:
        (tmp_path / "file").write_text(VALUE)
        (tmp_path / "large").write_bytes(b"x" * (LARGEST + 1))
        with pytest.raises(UsageError) as raised:
            read_secret(text, str(tmp_path), {"LARGE": "x" * (LARGEST + 1)})
        assert what in raised.value.what
        assert hint in raised.value.hint
        assert VALUE not in repr(raised.value.args)
        assert VALUE not in str(raised.value)

    def test_the_largest(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x" * LARGEST)
        secret, _ = read_secret("id=file", str(tmp_path), {})
        assert len(secret.value()) == LARGEST
        (tmp_path / "file").write_bytes(b"x" * (LARGEST + 1))
        secret, _ = read_secret("id=a,env=A", str(tmp_path), {"A": "x" * LARGEST})
        assert len(secret.value()) == LARGEST

    def test_a_file_that_grows_or_goes_before_it_is_asked_for(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text(VALUE)
        grown, _ = read_secret("id=a,src=file", str(tmp_path), {})
        gone, _ = read_secret("id=b,src=file", str(tmp_path), {})
        file.write_bytes(b"x" * (LARGEST + 1))
        with pytest.raises(UsageError, match="larger"):
            grown.value()
        file.unlink()
        with pytest.raises(UsageError, match="the secret b cannot be read"):
            gone.value()

    def test_no_repr_shows_a_value(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text(VALUE)
        env = {"TOKEN": VALUE}
        options = read_step_options(
            request(tmp_path, env, secrets=("id=a,src=file", "id=b,env=TOKEN"))
        )
        assert options.secret("a") == options.secret("b") == VALUE.encode()
        assert VALUE not in repr(options)
        assert VALUE not in f"{options.secrets[0]}{options.secrets[1]}"

    def test_one_that_was_not_given(self) -> None:
        options = read_step_options(request(env={"T": ""}, secrets=("id=token,env=T",)))
        error = options.no_secret("tokn")
        assert (error.what, error.hint) == ("there is no secret tokn", "did you mean 'token'?")
        assert options.no_secret("x").hint == "give it: --secret id=x,src=FILE"
        assert options.no_agent("x").hint == "give it: --ssh x"
        assert error.exit_code == 1


class TestHosts:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("db:10.0.0.7", ("db", "10.0.0.7")),
            ("db=10.0.0.7", ("db", "10.0.0.7")),
            ("db:::1", ("db", "::1")),
            ("db=::1", ("db", "::1")),
            ("db:[::1]", ("db", "::1")),
            ("db=[2001:DB8:0:0::1]", ("db", "2001:db8::1")),
            ("db=[10.0.0.7]", ("db", "10.0.0.7")),
            ("DB.Internal=10.0.0.7", ("db.internal", "10.0.0.7")),
            ("my_host=::ffff:10.0.0.7", ("my_host", "10.0.0.7")),
        ],
    )
    def test_forms(self, text: str, expected: tuple[str, str]) -> None:
        assert read_host(text) == expected

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("", "is not NAME=ADDRESS"),
            ("db", "is not NAME=ADDRESS"),
            ("db=", "is not NAME=ADDRESS"),
            (":10.0.0.7", "is not NAME=ADDRESS"),
            ("db=nowhere", "'nowhere' is no IP address"),
            ("db=10.0.0", "'10.0.0' is no IP address"),
            ("db=010.0.0.7", "'010.0.0.7' is no IP address"),
            ("db=[]", "'[]' is no IP address"),
            ("db=[::1", "'[::1' is no IP address"),
            ("db=fe80::1%eth0", "is no IP address"),
            ("a b=10.0.0.7", "cannot be a host's name"),
            ("a\nb=10.0.0.7", "cannot be a host's name"),
            ("a:b=10.0.0.7", "cannot be a host's name"),
            ("#a=10.0.0.7", "cannot be a host's name"),
            ("host.docker.internal=host-gateway", "there is no gateway"),
        ],
    )
    def test_mistakes(self, text: str, what: str) -> None:
        with pytest.raises(UsageError) as raised:
            read_host(text)
        assert what in raised.value.what
        assert "--add-host" in raised.value.hint

    def test_their_order_stays_and_one_flag_may_hold_several(self) -> None:
        options = read_step_options(request(add_hosts=("b=::2,a=::1", "b=::3")))
        assert options.hosts == (("b", "::2"), ("a", "::1"), ("b", "::3"))


class TestShmSize:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1", 1), ("65536", 65536), ("12b", 12), ("1k", 1024), ("1KB", 1024), ("1KiB", 1024),
            ("128m", 128 << 20), ("128MB", 128 << 20), ("2g", 2 << 30), ("1.5g", 3 << 29),
            (".5k", 512), ("2 g", 2 << 30), ("1t", 1 << 40), ("1p", 1 << 50),
        ],
    )  # fmt: skip
    def test_forms(self, text: str, expected: int) -> None:
        assert read_shm_size(text) == expected
        assert read_step_options(request(shm_size=text)).shm_size == expected

    @pytest.mark.parametrize(
        "text",
        [
            "0",
            "0.5",
            "-1",
            "m",
            "1x",
            "1bb",
            "1ib",
            "1mi",
            "x1",
            "1e3",
            "1..2",
            "9999999p",
            "٣",
        ],
    )
    def test_mistakes(self, text: str) -> None:
        with pytest.raises(UsageError) as raised:
            read_step_options(request(shm_size=text))
        assert repr(text) in raised.value.what
        assert "128m" in raised.value.hint


class TestUlimits:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("nofile=1024", ("nofile", 1024, 1024)),
            ("nofile=1024:4096", ("nofile", 1024, 4096)),
            ("core=0", ("core", 0, 0)),
            ("memlock=-1", ("memlock", -1, -1)),
            ("memlock=5:-1", ("memlock", 5, -1)),
            ("stack=-1:-1", ("stack", -1, -1)),
            (f"cpu={2**63 - 1}", ("cpu", 2**63 - 1, 2**63 - 1)),
        ],
    )
    def test_forms(self, text: str, expected: tuple[str, int, int]) -> None:
        assert read_ulimit(text) == expected

    @pytest.mark.parametrize(
        "name",
        ["core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
         "rss", "rtprio", "rttime", "sigpending", "stack"],
    )  # fmt: skip
    def test_names(self, name: str) -> None:
        assert read_ulimit(f"{name}=1") == (name, 1, 1)

    @pytest.mark.parametrize(
        ("text", "what", "hint"),
        [
            ("nofile", "is not NAME=SOFT[:HARD]", "nofile=1024"),
            ("nofiles=1", "no limit is called 'nofiles'", "did you mean 'nofile'?"),
            ("xyz=1", "no limit is called 'xyz'", "one of: core, cpu"),
            ("as=1", "no limit is called 'as'", ""),
            ("nofile=", "'' is no limit", "-1 is unlimited"),
            ("nofile=1:", "'' is no limit", "-1 is unlimited"),
            ("nofile=1:2:3", "'2:3' is no limit", "-1 is unlimited"),
            ("nofile=-2", "'-2' is no limit", "-1 is unlimited"),
            ("nofile=unlimited", "'unlimited' is no limit", "-1 is unlimited"),
            (f"nofile={2**63}", "is no limit", "-1 is unlimited"),
            ("nofile=2:1", "the soft limit is above the hard one", "first number"),
            ("nofile=-1:5", "the soft limit is above the hard one", "first number"),
        ],
    )
    def test_mistakes(self, text: str, what: str, hint: str) -> None:
        with pytest.raises(UsageError) as raised:
            read_ulimit(text)
        assert what in raised.value.what
        assert hint in raised.value.hint

    def test_the_last_of_a_name_counts_in_an_order_of_their_own(self) -> None:
        options = read_step_options(request(ulimits=("nproc=1", "core=0", "nproc=2")))
        assert options.ulimits == (("core", 0, 0), ("nproc", 2, 2))


class TestNetworkAndRights:
    @pytest.mark.parametrize(
        ("given", "meant"), [("", "default"), ("default", "default"), ("none", "none")]
    )
    def test_networks(self, given: str, meant: str) -> None:
        options = read_step_options(request(network=given))
        assert (options.network, options.allowed) == (meant, frozenset())

    def test_the_hosts_network_for_all_brings_its_right(self) -> None:
        options = read_step_options(request(network="host", allow=("security.insecure",)))
        assert options.network == "host"
        assert options.allowed == {"network.host", "security.insecure"}

    def test_rights(self) -> None:
        options = read_step_options(request(allow=("network.host", "network.host")))
        assert options.allowed == {"network.host"}

    @pytest.mark.parametrize(
        ("options", "what", "hint"),
        [
            ({"network": "nonne"}, "--network does not know 'nonne'", "did you mean 'none'?"),
            ({"network": "my-bridge"}, "--network does not know", "one of: default, none, host"),
            ({"allow": ("network.hots",)}, "--allow does not know", "did you mean 'network.host'?"),
            ({"allow": ("",)}, "--allow does not know ''", "one of: network.host"),
            ({"allow": ("device",)}, "--allow device is not in this release", "network.host"),
            ({"allow": ("device=v/d=0",)}, "is not in this release", "network.host"),
            ({"on_error": "shel"}, "--on-error does not know 'shel'", "did you mean 'shell'?"),
        ],
    )
    def test_mistakes(self, options: dict[str, Any], what: str, hint: str) -> None:
        with pytest.raises(UsageError) as raised:
            read_step_options(request(**options))
        assert what in raised.value.what
        assert hint in raised.value.hint

    def test_a_shell_on_error(self) -> None:
        assert read_step_options(request(on_error="shell")).on_error == "shell"


class TestCertificates:
    def test_all_files_in_one(self, tmp_path: Path) -> None:
        one = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"
        (tmp_path / "a.pem").write_text(one)
        (tmp_path / "b.pem").write_text(f"{one}\n")
        options = read_step_options(request(tmp_path, ca=("a.pem", f"{tmp_path}/b.pem")))
        assert options.certificates == f"{one}\n{one}\n".encode()

    def test_mistakes(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("text")
        with pytest.raises(SeveralErrors) as raised:
            read_step_options(request(tmp_path, ca=("text", "nothing", ".")))
        whats = [(error.what, error.why) for error in raised.value.errors]
        assert whats == [
            (f"the CA file {tmp_path}/text cannot be used", "it holds no PEM certificate"),
            (f"the CA file {tmp_path}/nothing cannot be read", "No such file or directory"),
            (f"the CA file {tmp_path}/. cannot be read", "Is a directory"),
        ]


class TestAgents:
    def test_they_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "key").touch()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "sock"))
            env = {"SSH_AUTH_SOCK": str(tmp_path / "sock")}
            options = read_step_options(request(tmp_path, env, ssh=("default", "team=key")))
        assert [(agent.id, agent.socket, agent.keys) for agent in options.agents] == [
            ("default", str(tmp_path / "sock"), ()),
            ("team", "", (str(tmp_path / "key"),)),
        ]

    def test_a_name_is_there_once(self, tmp_path: Path) -> None:
        (tmp_path / "key").touch()
        with pytest.raises(UsageError, match="--ssh team is there twice"):
            read_step_options(request(tmp_path, ssh=("team=key", "team=key")))


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    wrong = request(
        tmp_path,
        secrets=("id=a", "src=b"),
        ssh=("default",),
        network="bridge",
        allow=("x",),
        add_hosts=("db",),
        shm_size="much",
        ulimits=("nofile",),
        ca=("nothing.pem",),
        on_error="stop",
    )
    with pytest.raises(SeveralErrors) as raised:
        read_step_options(wrong)
    flags = ("--secret", "--secret", "--ssh", "--network", "--allow", "--add-host", "--shm-size",
             "--ulimit", "CA file", "--on-error")  # fmt: skip
    told = str(raised.value).split("\nhint:")
    assert len(raised.value.errors) == len(flags)
    for flag, error in zip(flags, raised.value.errors, strict=True):
        assert flag in str(error)
        assert "hint: " in str(error)
    assert len(told) == len(flags) + 1
    assert raised.value.code == 2


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"secrets": ("id=a",)}, "--secret"),
        ({"ssh": ("default",)}, "--ssh"),
        ({"network": "none"}, "--network"),
        ({"allow": ("network.host",)}, "--allow"),
        ({"add_hosts": ("db=::1",)}, "--add-host"),
        ({"shm_size": "1g"}, "--shm-size"),
        ({"ulimits": ("core=0",)}, "--ulimit"),
        ({"on_error": "shell"}, "--on-error"),
    ],
)
def test_go_modules_run_no_steps(tmp_path: Path, options: dict[str, Any], flag: str) -> None:
    (tmp_path / "go.mod").write_text("module m\n")
    with pytest.raises(UsageError) as raised:
        check_request(request(tmp_path, **options))
    assert raised.value.what == f"{flag} is for Dockerfiles, and this builds a Go module"
    assert raised.value.hint
    (tmp_path / "Dockerfile").touch()
    (tmp_path / "a").touch()
    agent = {"SSH_AUTH_SOCK": str(tmp_path / "a")}
    asked = request(tmp_path, **options)
    assert check_request(asked._replace(env={**asked.env, **agent})) == "dockerfile"


def test_mistakes_are_told_before_anything_is_looked_up(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    with pytest.raises(UsageError, match="no file"):
        check_request(request(tmp_path, secrets=("id=a",)))


def test_reading_starts_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    asked = request(tmp_path, ssh=("team=key",), ulimits=("nofile=1",))
    assert read_step_options(asked) == read_step_options(asked)
    assert os.listdir(tmp_path) == ["key"]
