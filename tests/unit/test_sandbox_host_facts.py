# SPDX-License-Identifier: Apache-2.0
"""What is read about a machine's namespaces, from trees made for it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from wherry.errors import MachineError
from wherry.sandbox.host_facts import Container, HostFacts, Range, read_facts

NAME = pwd.getpwuid(os.geteuid()).pw_name
MASKED = (
    "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
    "23 22 0:21 / /proc rw - proc proc rw\n"
    "24 23 0:22 / /proc/kcore rw - tmpfs tmpfs rw\n"
    "25 23 0:23 / /proc/sys/fs/binfmt_misc rw - binfmt_misc binfmt_misc rw\n"
    "26 23 0:22 / /proc/with\\040blank rw - tmpfs tmpfs rw\n"
)
STATUS = "Name:\tx\nCapEff:\t0000000000200000\nSeccomp:\t2\nNoNewPrivs:\t1\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def tools(directory: Path, *names: str) -> str:
    directory.mkdir()
    for name in names:
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    return str(directory)


def read(root: Path, **files: str) -> HostFacts:
    machine(root, {name.replace("__", "/"): text for name, text in files.items()})
    return read_facts(str(root / "no-tools"), root)


def test_facts_of_a_machine(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "etc/subuid": f"other:1:2\n{NAME}:100000:65536\n{NAME}:400000:9\n",
            "etc/subgid": f"{os.geteuid()}:100000:1000\n",
            "proc/self/uid_map": "0 1000 1\n1 100000 65536\n",
            "proc/self/gid_map": "0 0 4294967295\n",
            "proc/self/status": STATUS,
            "proc/self/mountinfo": MASKED,
            "proc/self/attr/apparmor/current": "docker-default (enforce)\n",
            "proc/sys/user/max_user_namespaces": "0\n",
            "proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
            "proc/sys/kernel/unprivileged_userns_clone": "0\n",
            ".dockerenv": "",
        },
    )
    path = tools(tmp_path / "bin", "unshare", "newuidmap", "newgidmap")
    found = read_facts(path, root)
    assert found == HostFacts(
        uid=os.geteuid(),
        name=NAME,
        unshare=f"{path}/unshare",
        ids=65537,
        ranges=1000,
        users=Range(100000, 65536),
        groups=Range(100000, 1000),
        free=Range(os.geteuid() + 1, 65536 - os.geteuid()),
        max_user_namespaces=0,
        apparmor_restricts=True,
        clone_refused=True,
        powerful=True,
        filtered=True,
        no_new_privileges=True,
        masked=("/proc/kcore", "/proc/with blank"),
        label="docker-default",
        container=Container.DOCKER,
    )
    assert (found.first_id, found.first_group) == (100000, 100000)
    assert not found.initial


def test_facts_where_nothing_is_there(tmp_path: Path) -> None:
    found = read_facts(str(tmp_path), tmp_path)
    missing = ("newuidmap", "newgidmap")
    assert found == HostFacts(os.geteuid(), NAME, missing_tools=missing)
    assert found.initial
    assert found.first_id == 0


def test_ranges_need_their_tools(tmp_path: Path) -> None:
    line = f"{NAME}:100000:65536\n"
    root = machine(tmp_path, {"etc/subuid": line, "etc/subgid": line})
    half = read_facts(tools(tmp_path / "half", "newuidmap"), root)
    assert (half.ranges, half.missing_tools) == (0, ("newgidmap",))
    both = tools(tmp_path / "both", "newuidmap", "newgidmap")
    assert read_facts(both, root).ranges == 65536


def test_free_range_is_nobody_elses(tmp_path: Path) -> None:
    taken = read(tmp_path, etc__subuid="a:100000:65536\n", etc__subgid="b:200000:10\nbroken\n")
    assert str(taken.free) == "200010-265545"
    own = "0 0 65536\n"
    small = read(tmp_path, proc__self__uid_map=own, proc__self__gid_map=own)
    assert small.free == Range(os.geteuid() + 1, 65535 - os.geteuid())


@pytest.mark.parametrize(
    ("file", "container"),
    [
        ("var/run/secrets/kubernetes.io/serviceaccount/token", Container.KUBERNETES),
        ("run/.containerenv", Container.PODMAN),
        (".dockerenv", Container.DOCKER),
        ("run/systemd/container", Container.OTHER),
        ("other", Container.NONE),
    ],
)
def test_containers_are_known_by_their_traces(
    tmp_path: Path, file: str, container: Container
) -> None:
    assert read_facts("", machine(tmp_path, {file: ""})).container is container


def test_a_chroot_has_no_mount_at_its_root(tmp_path: Path) -> None:
    assert read(tmp_path, proc__self__mountinfo=MASKED).rooted
    below = "24 23 0:22 / /proc rw - proc proc rw\n"
    assert not read(tmp_path, proc__self__mountinfo=below).rooted


def test_another_system_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.sandbox.host_facts.sys.platform", "darwin")
    with pytest.raises(MachineError, match="on this system"):
        read_facts("")
