# SPDX-License-Identifier: Apache-2.0
"""How tightly a program is held, as the OCI runtime is told."""

from __future__ import annotations

from typing import Any

from wherry.oci.canonical import Json
from wherry.sandbox.spec import Confinement, Device, Program, runtime_config
from wherry.sandbox.users import User


def test_a_confinement_goes_into_the_config() -> None:
    filtered: dict[str, Json] = {"defaultAction": "SCMP_ACT_ERRNO"}
    config: Any = runtime_config(
        Program(("/x",), (), "/", User(5, 6)),
        (),
        confinement=Confinement(
            root="/some/root",
            hostname="named",
            network=True,
            capabilities=("CAP_CHOWN",),
            ambient=True,
            masked=(),
            read_only=(),
            seccomp=filtered,
            limits=(("nofile", 5, -1),),
            devices=(Device("/dev/fuse", "c", 10, 229),),
        ),
    )
    assert config["root"] == {"path": "/some/root", "readonly": False}
    assert config["hostname"] == "named"
    assert {"type": "network"} in config["linux"]["namespaces"]
    assert config["linux"]["maskedPaths"] == config["linux"]["readonlyPaths"] == []
    assert config["linux"]["seccomp"] == filtered
    assert config["linux"]["devices"] == [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}
    ]
    assert config["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 5, "hard": (1 << 64) - 1}
    ]
    sets = config["process"]["capabilities"]
    assert set(sets) == {"bounding", "effective", "permitted", "inheritable", "ambient"}
    assert set(map(tuple, sets.values())) == {("CAP_CHOWN",)}


def test_a_run_is_confined_as_ever() -> None:
    config: Any = runtime_config(Program(("/x",), (), "/", User(5, 6)), ())
    assert {"hostname"}.isdisjoint(config)
    assert {"seccomp", "devices"}.isdisjoint(config["linux"])
    assert "rlimits" not in config["process"]
    assert {"type": "network"} not in config["linux"]["namespaces"]
    assert config["process"]["capabilities"]["effective"] == []
