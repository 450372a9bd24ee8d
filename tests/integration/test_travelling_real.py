# SPDX-License-Identifier: Apache-2.0
"""Large programs on a fresh machine: one line changed, with caches that another machine filled.

The image is the one without caches; of the standard library and of modules nothing is compiled.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from travelling import Machine

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2400)]

# Module, version, package, a file to change, and what to set.
PROGRAMS = {
    "caddy": ("github.com/caddyserver/caddy/v2", "v2.11.9", "./cmd/caddy", "cmd/caddy/main.go", {}),
    "prometheus": (
        "github.com/prometheus/prometheus", "v0.315.0", "./cmd/prometheus",
        "cmd/prometheus/main.go", {"GOWORK": "off"},
    ),
    "gitea": ("code.gitea.io/gitea", "v1.26.1", ".", "main.go", {}),
}  # fmt: skip


def checked_out(module: str, version: str, env: dict[str, str], to: Path) -> Path:
    """A writable copy of a module of the Go module proxy."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{module}@{version}"], cwd=to.parent, env=env,
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"{module}@{version} cannot be had: {done.stdout}{done.stderr}")
    shutil.copytree(json.loads(done.stdout)["Dir"], to)
    for path in (to, *to.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    return to


def change(machine: Machine, name: str) -> None:
    path = machine.checkout / name
    path.write_text(path.read_text() + '\nfunc init() { println("changed") }\n')


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_fresh_machine_compiles_the_changed_package_alone(
    tmp_path: Path, go_env: dict[str, str], go_caches: dict[str, str], name: str
) -> None:
    module, version, package, changed, settings = PROGRAMS[name]
    env = {key: value for key, value in os.environ.items() if key != "GOFLAGS"}
    source = checked_out(module, version, env, tmp_path / "source")
    outside = {key: value for key, value in go_env.items() if key not in ("GOCACHE", "GOMODCACHE")}
    place = tmp_path / "cache"
    first = Machine(tmp_path / "first", {**outside, **settings}).clone(source)
    first.env |= go_caches
    filled = first.build(place, source=package, frontend="gomodule")
    fresh = Machine(tmp_path / "fresh", {**outside, **settings}).clone(source)
    assert (
        fresh.build(cache_from=(str(place),), source=package, frontend="gomodule").image.digest
        == filled.image.digest
    )
    change(fresh, changed)
    # Nothing is asked of the network: what was pruned is enough.
    fresh.env["GOPROXY"] = "off"
    built = fresh.build(place, source=package, frontend="gomodule")
    print(name, built.traffic, built.step("modules from"), built.step("Go cache from"))
    assert built.step("modules from")
    assert {one.removeprefix(module) for one in built.compiled} <= {package.removeprefix("."), ""}
    plain = Machine(tmp_path / "plain", {**outside, **settings}).clone(source)
    change(plain, changed)
    plain.env |= {**go_caches, "GOCACHE": fresh.env["GOCACHE"]}
    assert plain.build(source=package, frontend="gomodule").image.digest == built.image.digest
