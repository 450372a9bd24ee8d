# SPDX-License-Identifier: Apache-2.0
"""What Go commands run with."""

import pytest

from wherry.golang.environment import build_environment, overlay
from wherry.golang.toolchain import GoCommand
from wherry.oci.platform import parse_exact, parse_platform

GO = GoCommand("/opt/go/bin/go", "/opt/go/bin/go")


def test_platform_and_cgo_beat_the_users_environment() -> None:
    user = {"GOOS": "windows", "GOARCH": "386", "CGO_ENABLED": "1", "LC_ALL": "de_DE.UTF-8"}
    env = build_environment(user, overlay(GO, parse_platform("linux/arm64")), "/src")
    assert env == {
        "GOOS": "linux",
        "GOARCH": "arm64",
        "CGO_ENABLED": "0",
        "LC_ALL": "de_DE.UTF-8",
        "PWD": "/src",
    }


def test_cgo_is_on_where_asked_for() -> None:
    assert dict(overlay(GO, parse_platform("amd64"), cgo=True))["CGO_ENABLED"] == "1"


@pytest.mark.parametrize(
    ("platform", "variable", "value"),
    [
        ("linux/amd64/v1", "GOAMD64", "v1"),
        ("linux/amd64/v3", "GOAMD64", "v3"),
        ("linux/arm64/v8", "GOARM64", "v8.0"),
        ("linux/arm64/v8.2", "GOARM64", "v8.2"),
        ("linux/386/softfloat", "GO386", "softfloat"),
        ("linux/riscv64/rva20u64", "GORISCV64", "rva20u64"),
        ("linux/arm/v5", "GOARM", "5"),
        ("linux/arm/v7", "GOARM", "7"),
        ("linux/arm64/v9", "GOARM64", "v9.0"),
    ],
)
def test_an_explicit_variant_beats_the_users_setting(
    platform: str, variable: str, value: str
) -> None:
    env = build_environment({variable: "other"}, overlay(GO, parse_exact(platform)), "/src")
    assert env[variable] == value


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm", "linux/arm64"])
def test_without_a_variant_the_users_setting_holds(platform: str) -> None:
    user = {"GOAMD64": "v2", "GOARM": "6", "GOARM64": "v8.4"}
    env = build_environment(user, overlay(GO, parse_exact(platform)), "/src")
    assert {name: env[name] for name in user} == user


def test_go_bins_goroot_and_a_wanted_toolchain_go_on_top() -> None:
    go = GO._replace(env=(("GOROOT", "/site/go"),))
    pairs = overlay(go, parse_platform("amd64"), toolchain=(("GOTOOLCHAIN", "go1.26.1"),))
    assert pairs == tuple(sorted(pairs))
    env = build_environment({"GOROOT": "/other", "GOTOOLCHAIN": "auto"}, pairs, "/src")
    assert (env["GOROOT"], env["GOTOOLCHAIN"]) == ("/site/go", "go1.26.1")
