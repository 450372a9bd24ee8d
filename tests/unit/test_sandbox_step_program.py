# SPDX-License-Identifier: Apache-2.0
"""User, variables and directory of a step, by BuildKit's rules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.sandbox.request import RunError
from wherry.sandbox.step_program import environment, make_working_directory, step_program, step_user
from wherry.sandbox.step_spec import StepSpec
from wherry.sandbox.users import User

PASSWD = """root:x:0:0:root:/root:/bin/ash
toor:x:0:0::/toor:/bin/sh
bin:x:1:1:bin:/bin:/sbin/nologin
app:x:1000:1001::/home/app:/bin/sh
"""
GROUP = """root:x:0:root
bin:x:1:root,bin
wheel:x:10:root
app:x:1001:
staff:x:50:app
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "etc" / "group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "user"),
    [
        # Without a user root is looked up too, with all groups that it is in.
        ("", User(0, 0, (0, 1, 10), "/root")),
        ("0", User(0, 0, (0, 1, 10), "/root")),
        ("root", User(0, 0, (0, 1, 10), "/root")),
        # Two numbers are taken as they are; root counts as one.
        ("0:0", User(0, 0, (0,), "/root")),
        ("root:root", User(0, 0, (0,), "/root")),
        ("1000:7", User(1000, 7, (7,), "/home/app")),
        ("app", User(1000, 1001, (1001, 50), "/home/app")),
        ("1000", User(1000, 1001, (1001, 50), "/home/app")),
        ("app:staff", User(1000, 50, (50,), "/home/app")),
        ("app:0", User(1000, 0, (0,), "/home/app")),
        # HOME goes by the number: of two users with it, the first one's.
        ("toor", User(0, 0, (0,), "/root")),
        ("4242", User(4242, 0, (0,), "/")),
        ("4294967294:4294967294", User(4294967294, 4294967294, (4294967294,), "/")),
    ],
)
def test_users(root: Path, text: str, user: User) -> None:
    assert step_user(str(root), text) == user


@pytest.mark.parametrize("text", ["nobody", "app:nogroup", "99999999999", "nobody:0"])
def test_unknown_users(root: Path, text: str) -> None:
    with pytest.raises(RunError):
        step_user(str(root), text)


def test_users_of_a_root_without_files(tmp_path: Path) -> None:
    assert step_user(str(tmp_path), "") == User(0, 0, (0,), "/")
    assert step_user(str(tmp_path), "5:6") == User(5, 6, (6,), "/")
    with pytest.raises(RunError, match="unable to find user root"):
        step_user(str(tmp_path), "root")


def test_variables_in_their_order() -> None:
    step = StepSpec(
        ("x",),
        env=("A=1", "PATH=/p", "B=2", "A=3", "bare", "EMPTY="),
        proxy=(("http_proxy", "p"), ("B", "of the proxy")),
        secret_env=(("S", "s=ü".encode()), ("A", b"of a secret")),
    )
    assert environment(step, "/home") == (
        *("PATH=/p", "A=of a secret", "B=of the proxy", "EMPTY=", "http_proxy=p"),
        *("S=s=ü", "HOME=/home"),
    )
    assert environment(StepSpec(("x",), env=("HOME=/mine",)), "/home")[1:] == ("HOME=/mine",)
    assert environment(StepSpec(("x",), env=("HOME=",)), "/home")[1:] == ("HOME=/home",)


@pytest.mark.parametrize("value", [b"hunter\xff2", b"hunter\0002"])
def test_secrets_that_no_variable_can_hold_are_refused_by_name(value: bytes) -> None:
    step = StepSpec(("x",), secret_env=(("FINE", b"1"), ("TOKEN", value)))
    with pytest.raises(RunError, match="variable TOKEN") as refused:
        environment(step, "/")
    assert "mount it as a file" in refused.value.hint
    assert "hunter" not in str(refused.value)


def test_certificates_are_named_where_the_step_names_none() -> None:
    step = StepSpec(("x",), env=("SSL_CERT_FILE=/own", "CURL_CA_BUNDLE="), certificates=b"pem")
    seen = dict(item.split("=", 1) for item in environment(step, "/"))
    ours = "/dev/ca-certificates.pem"
    assert seen["SSL_CERT_FILE"] == "/own"
    assert seen["CURL_CA_BUNDLE"] == ""
    assert seen["GIT_SSL_CAINFO"] == seen["REQUESTS_CA_BUNDLE"] == ours
    assert seen["NODE_EXTRA_CA_CERTS"] == ours
    assert "GIT_SSL_CAINFO" not in "".join(environment(StepSpec(("x",)), "/"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_the_directory_is_made_for_the_user(root: Path) -> None:
    (root / "link").symlink_to("/etc")
    program = step_program(StepSpec(("x",), cwd="/link/a//b/../c", user="7:8"), str(root))
    assert program.cwd == "/link/a/c"
    make_working_directory(str(root), program)
    for name in ("etc/a", "etc/a/c"):
        made = (root / name).stat()
        assert (made.st_uid, made.st_gid, made.st_mode & 0o7777) == (7, 8, 0o755)
    assert (root / "etc").stat().st_uid == 0
    make_working_directory(str(root), program)


def test_a_file_in_the_way_of_the_directory(root: Path) -> None:
    program = step_program(StepSpec(("x",), cwd="/etc/passwd/x"), str(root))
    with pytest.raises(RunError, match="working directory /etc/passwd/x") as refused:
        make_working_directory(str(root), program)
    assert str(root) not in str(refused.value)


@pytest.mark.parametrize("cwd", ["/round/x", f"/{'n' * 300}"])
def test_directories_that_cannot_be(root: Path, cwd: str) -> None:
    (root / "round").symlink_to("round")
    program = step_program(StepSpec(("x",), cwd=cwd), str(root))
    with pytest.raises(RunError, match="cannot make the working directory") as refused:
        make_working_directory(str(root), program)
    assert str(root) not in str(refused.value)
