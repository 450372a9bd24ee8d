# SPDX-License-Identifier: Apache-2.0
"""From image config and request to the OCI runtime config, without starting anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from wherry.oci.canonical import canonical_json
from wherry.oci.image import RunConfig
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.mounts import Mount, bind, plan_mounts, system_mounts
from wherry.sandbox.request import RunError, RunRequest, Volume
from wherry.sandbox.spec import (
    DEFAULT_PATH,
    Program,
    command_line,
    environment,
    runtime_config,
    search_path,
    working_directory,
)
from wherry.sandbox.users import User

IMAGE = RunConfig(entrypoint=("/app/api",), cmd=("serve",), env=("A=1", "B=2"), working_dir="/w")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (RunRequest(), ("/app/api", "serve")),
        (RunRequest(args=("x", "-y")), ("/app/api", "x", "-y")),
        (RunRequest(entrypoint="sh"), ("sh",)),
        (RunRequest(entrypoint="sh", args=("-c", "id")), ("sh", "-c", "id")),
        (RunRequest(entrypoint="", args=("id",)), ("id",)),
    ],
)
def test_command_line(request_: RunRequest, expected: tuple[str, ...]) -> None:
    assert command_line(IMAGE, request_) == expected


def test_nothing_to_run_is_an_error() -> None:
    with pytest.raises(RunError, match="no command"):
        command_line(RunConfig(), RunRequest())


def variables(request: RunRequest, caller: dict[str, str]) -> dict[str, str]:
    items = environment(IMAGE, request, caller, "/home/app", "box")
    return dict(item.split("=", 1) for item in items)


def test_environment_in_dockers_order() -> None:
    found = variables(RunRequest(env=("A=9", "C", "B", "D=x=y")), {"C": "caller", "SECRET": "no"})
    assert found == {
        "PATH": DEFAULT_PATH,
        "HOSTNAME": "box",
        "A": "9",
        "C": "caller",
        "D": "x=y",
        "HOME": "/home/app",
    }


def test_home_and_term_can_be_set() -> None:
    assert variables(RunRequest(env=("HOME=/mine",)), {})["HOME"] == "/mine"
    assert variables(RunRequest(terminal=True), {})["TERM"] == "xterm"
    assert variables(RunRequest(terminal=True), {"TERM": "vt220"})["TERM"] == "vt220"
    assert "TERM" not in variables(RunRequest(), {"TERM": "vt220"})


def test_a_variable_needs_a_name() -> None:
    with pytest.raises(RunError, match="invalid environment variable"):
        variables(RunRequest(env=("=x",)), {})


def test_working_directory() -> None:
    assert working_directory(IMAGE, RunRequest()) == "/w"
    assert working_directory(RunConfig(), RunRequest()) == "/"
    assert working_directory(RunConfig(working_dir="w"), RunRequest()) == "/w"
    assert working_directory(IMAGE, RunRequest(working_dir="/x")) == "/x"
    with pytest.raises(RunError, match="not absolute"):
        working_directory(IMAGE, RunRequest(working_dir="x"))


def test_search_path() -> None:
    assert search_path(["A=1", "PATH=/app"]) == "/app"
    assert search_path([]) == DEFAULT_PATH


def config(uid: int, **changes: bool) -> dict[str, object]:
    program = Program(("/x",), ("A=1",), "/", User(uid, uid, (7,)), terminal=True)
    mounts = (Mount("/m", "bind", "/s", ("rbind",)),)
    return json.loads(canonical_json(runtime_config(program, mounts, **changes)))


def test_runtime_config_of_a_plain_user() -> None:
    found = config(65532)
    process = found["process"]
    assert process["user"] == {"uid": 65532, "gid": 65532, "additionalGids": [7]}
    assert process["capabilities"]["effective"] == process["capabilities"]["permitted"] == []
    assert len(process["capabilities"]["bounding"]) == 13
    assert (process["terminal"], process["noNewPrivileges"]) == (True, False)
    assert found["root"] == {"path": "rootfs", "readonly": False}
    assert found["mounts"] == [
        {"destination": "/m", "type": "bind", "source": "/s", "options": ["rbind"]}
    ]


def test_runtime_config_of_root() -> None:
    capabilities = config(0)["process"]["capabilities"]
    assert capabilities["effective"] == capabilities["bounding"]
    assert "CAP_MKNOD" not in capabilities["bounding"]
    assert "CAP_SYS_ADMIN" not in capabilities["bounding"]
    assert set(capabilities) == {"bounding", "effective", "permitted"}


def test_namespaces_leave_network_and_cgroup_alone() -> None:
    linux = config(0, readonly=True)["linux"]
    assert {item["type"] for item in linux["namespaces"]} == {"pid", "ipc", "uts", "mount"}
    assert "/proc/kcore" in linux["maskedPaths"]
    assert "/proc/sys" in linux["readonlyPaths"]
    assert "resources" not in linux
    assert config(0, readonly=True)["root"]["readonly"] is True


def by_target(mounts: tuple[Mount, ...]) -> dict[str, Mount]:
    return {mount.target: mount for mount in mounts}


def test_system_mounts_of_root_take_no_tree_below_sys() -> None:
    found = by_target(system_mounts(Mapping.ROOT, True, True))
    assert found["/proc"].kind == "proc"
    assert "bind" in found["/sys"].options
    assert "ro" in found["/sys"].options
    assert "gid=5" in found["/dev/pts"].options


@pytest.mark.parametrize(
    ("mapping", "initial"), [(Mapping.RANGES, True), (Mapping.ONE, True), (Mapping.ROOT, False)]
)
def test_system_mounts_in_a_user_namespace(mapping: Mapping, initial: bool) -> None:
    found = by_target(system_mounts(mapping, initial, own_proc=False))
    assert found["/proc"].options[0] == "rbind"
    assert {"rbind", "ro"} <= set(found["/sys"].options)
    assert ("gid=5" in found["/dev/pts"].options) == (mapping is not Mapping.ONE)


def test_volumes_come_last_and_replace_host_files(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("")
    request = RunRequest(volumes=(Volume(str(file), "/etc/hosts", True),))
    mounts = plan_mounts(request, Mapping.ONE, initial=True, own_proc=True)
    assert [mount.source for mount in mounts if mount.target == "/etc/hosts"] == [str(file)]
    assert mounts[-1].target == "/etc/hosts"
    assert {"rbind", "ro"} <= set(mounts[-1].options)


def test_a_volume_without_source_is_an_error(tmp_path: Path) -> None:
    request = RunRequest(volumes=(Volume(str(tmp_path / "no"), "/x"),))
    with pytest.raises(RunError, match="cannot mount") as caught:
        plan_mounts(request, Mapping.ONE, initial=True, own_proc=True)
    assert "mkdir" in caught.value.hint


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(0, ()), (os.ST_NOSUID, ("nosuid",)), (os.ST_NODEV | os.ST_NOEXEC, ("nodev", "noexec"))],
)
def test_bind_keeps_what_the_source_forbids(
    flags: int, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=flags))
    found = bind("/s", "/x", readonly=True).options
    assert found == ("bind", "rprivate", *expected, "ro")


def test_plans_describe_themselves() -> None:
    assert Mount("/m", "bind", "/s", ("rbind", "ro")).describe() == "mount bind /s on /m (rbind,ro)"
    assert Program(("/x",), (), "/w", User(1, 2)).describe() == "run ['/x'] as 1:2 in /w"
