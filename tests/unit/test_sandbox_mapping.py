# SPDX-License-Identifier: Apache-2.0
"""Which mappings are tried, and what is said where none works."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from wherry.errors import MachineError
from wherry.sandbox.mapping import (
    HostFacts,
    Mapping,
    candidates,
    is_mapped,
    namespace_command,
    read_facts,
    refusal,
)


def facts(**changes: object) -> HostFacts:
    return HostFacts(uid=1000, unshare="/usr/bin/unshare")._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"uid": 0}, (Mapping.ROOT, Mapping.ONE)),
        ({"uid": 0, "ids": 1}, (Mapping.ONE,)),
        ({"ranges": 65536}, (Mapping.RANGES, Mapping.ONE)),
        ({}, (Mapping.ONE,)),
    ],
)
def test_best_mapping_first(changes: dict[str, int], expected: tuple[Mapping, ...]) -> None:
    assert candidates(facts(**changes)) == expected


@pytest.mark.parametrize(
    ("mapping", "ids", "expected"),
    [
        (Mapping.ROOT, {0, 70000}, True),
        (Mapping.RANGES, {65532}, True),
        (Mapping.RANGES, {65536}, False),
        (Mapping.ONE, {0}, True),
        (Mapping.ONE, {0, 65532}, False),
    ],
)
def test_which_ids_exist(mapping: Mapping, ids: set[int], expected: bool) -> None:
    assert is_mapped(frozenset(ids), mapping, facts(ranges=65536)) is expected


def test_a_namespaces_root_has_only_its_ids() -> None:
    inside = facts(uid=0, ids=65537)
    assert not inside.initial
    assert is_mapped(frozenset({65532}), Mapping.ROOT, inside)
    assert not is_mapped(frozenset({70000}), Mapping.ROOT, inside)


@pytest.mark.parametrize("mapping", list(Mapping))
def test_everything_dies_with_the_namespaces_first_process(mapping: Mapping) -> None:
    words = namespace_command(mapping, "unshare")
    assert {"--pid", "--fork", "--mount", "--kill-child=SIGKILL"} <= set(words)
    assert ("--user" in words) == (mapping is not Mapping.ROOT)
    assert ("--map-auto" in words) == (mapping is Mapping.RANGES)
    assert words[-1] == "--"


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"max_user_namespaces": 0}, "sysctl -w user.max_user_namespaces=15000"),
        ({"clone_refused": True}, "sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"apparmor_restricts": True}, "kernel.apparmor_restrict_unprivileged_userns=0"),
        ({"unshare": ""}, "install util-linux"),
        ({}, "outside a chroot or container"),
    ],
)
def test_refusal_names_the_remedy(changes: dict[str, object], remedy: str) -> None:
    error = refusal(facts(**changes), "unshare: Operation not permitted")
    assert isinstance(error, MachineError)
    assert error.exit_code == 3
    assert remedy in error.hint
    assert "-o type=local" in error.hint
    assert error.why == "unshare: Operation not permitted"


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


def test_facts_of_a_machine(tmp_path: Path) -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    root = machine(
        tmp_path,
        {
            "etc/subuid": f"other:1:2\n{name}:100000:65536\n",
            "etc/subgid": f"{os.geteuid()}:100000:1000\n",
            "proc/self/uid_map": "0 1000 1\n1 100000 65536\n",
            "proc/self/gid_map": "0 0 4294967295\n",
            "proc/sys/user/max_user_namespaces": "0\n",
            "proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
            "proc/sys/kernel/unprivileged_userns_clone": "0\n",
        },
    )
    path = tools(tmp_path / "bin", "unshare", "newuidmap", "newgidmap")
    found = read_facts(path, root)
    assert found == HostFacts(os.geteuid(), f"{path}/unshare", 65537, 1000, 0, True, True)


def test_facts_where_nothing_is_there(tmp_path: Path) -> None:
    found = read_facts(str(tmp_path), tmp_path)
    assert found == HostFacts(os.geteuid())
    assert found.initial


def test_ranges_need_their_tools(tmp_path: Path) -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    line = f"{name}:100000:65536\n"
    root = machine(tmp_path, {"etc/subuid": line, "etc/subgid": line})
    assert read_facts(tools(tmp_path / "half", "newuidmap"), root).ranges == 0
    both = tools(tmp_path / "both", "newuidmap", "newgidmap")
    assert read_facts(both, root).ranges == 65536


def test_another_system_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.sandbox.mapping.sys.platform", "darwin")
    with pytest.raises(MachineError, match="on this system"):
        read_facts("")
