# SPDX-License-Identifier: Apache-2.0
"""Any imports, any edits, from machine to machine: an image holds what a plain `go build` makes.

Every step is a machine: fresh, or one that built before. It edits the module as the last one left
it, builds with a cache place that all share, and its program is compared with the one that go makes
by itself with whole modules.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from module_samples import Proxy, escaped
from travelling import Built, Machine
from wherry.errors import BuildError, NetworkError

PLAIN = ("-trimpath", "-ldflags=-s -w", "-buildvcs=false")
MODULES = ("example.com/dep", "example.com/dep/inner", "example.com/Other")


class World:
    """A module that changes, the modules it may require, and what go makes of it."""

    def __init__(self, root: Path, env: dict[str, str], seed: int) -> None:
        self.root = root
        self.chance = random.Random(seed)
        self.proxy = Proxy(root / "proxy")
        self.env = {**env, "GOPROXY": self.proxy.url, "GOSUMDB": "off"}
        self.place = root / "cache"
        self.packages: dict[str, list[str]] = {}
        self.numbers = itertools.count()
        for path in MODULES:
            for version in ("v1.0.0", "v1.1.0"):
                self.packages[path] = self._publish(path, version)
        self.versions = dict.fromkeys(MODULES, "v1.0.0")
        self.locals = {"one": 0, "two": 0}
        self.imports: list[str] = []
        self.edit()

    def _publish(self, path: str, version: str) -> list[str]:
        files = {}
        for name in ("a", "b/c", "b"):
            text = f"package p\n\nconst Word = {json.dumps(f'{path}/{name} {version}')}\n"
            files[f"{name}/p.go"] = text
            files[f"{name}/p_windows.go"] = "package p\n\nconst Windows = true\n"
            files[f"{name}/p_test.go"] = "package p\n"
        self.proxy.add(path, version, files)
        return sorted({f"{path}/{name.rpartition('/')[0]}" for name in files})

    def edit(self) -> None:
        """One random change."""
        chance = self.chance
        match chance.choice(["import", "import", "local", "bump", "drop", "new", "same"]):
            case "import":
                path = chance.choice(MODULES)
                self.imports = sorted({*self.imports, chance.choice(self.packages[path])})
            case "local":
                self.locals[chance.choice(sorted(self.locals))] += 1
            case "bump":
                path = chance.choice(MODULES)
                self.versions[path] = "v1.1.0" if self.versions[path] == "v1.0.0" else "v1.0.0"
            case "drop" if self.imports:
                self.imports.remove(chance.choice(self.imports))
            case "new":
                self.locals[f"new{next(self.numbers)}"] = 1
            case _:
                return

    def write(self, machine: Machine) -> None:
        """Check the module out."""
        named = {path: f"i{number}" for number, path in enumerate(self.imports)}
        own = {f"example.com/m/{name}": name for name in self.locals}
        lines = "".join(f'\t{name} "{path}"\n' for path, name in {**named, **own}.items())
        words = ", ".join(f"{name}.Word" for name in (*named.values(), *own.values()))
        machine.write(
            "main.go", f"package main\n\nimport (\n{lines})\n\nfunc main() {{ println({words}) }}\n"
        )
        for name, number in self.locals.items():
            machine.write(f"{name}/x.go", f'package {name}\n\nconst Word = "{name}{number}"\n')
        used = [path for path in MODULES
                if any(one in self.packages[path] for one in self.imports)]  # fmt: skip
        requires = "".join(f"require {path} {self.versions[path]}\n" for path in used)
        machine.write("go.mod", f"module example.com/m\n\ngo 1.21\n\n{requires}")
        sums = self.proxy.go_sum().splitlines(keepends=True)
        starts = tuple(f"{path} {self.versions[path]}" for path in used)
        wanted = [line for line in sums if line.startswith(starts)]
        machine.write("go.sum", "".join(wanted))

    def plain(self, warm: str) -> bytes | str:
        """What go makes on a machine of its own, or its words where it fails."""
        machine = Machine(self.root / f"plain-{next(self.numbers)}", self.env)
        self.write(machine)
        # As wherry does: for images, without C code.
        machine.env |= {"GOCACHE": warm, "CGO_ENABLED": "0"}
        out = machine.root / "out"
        done = machine.go("build", *PLAIN, "-o", str(out), ".")
        machine.go("clean", "-modcache")
        return out.read_bytes() if done.returncode == 0 else done.stderr


def program(machine: Machine, built: Built) -> bytes:
    """The program in the image."""
    blobs = machine.store / "blobs" / "sha256"
    manifest = json.loads((blobs / built.image.digest.removeprefix("sha256:")).read_bytes())
    digest = manifest["layers"][-1]["digest"].removeprefix("sha256:")
    layer = gzip.decompress((blobs / digest).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        (member,) = [one for one in archive.getmembers() if one.isfile()]
        file = archive.extractfile(member)
        assert file is not None
        return file.read()


def run_world(root: Path, env: dict[str, str], warm: str, seed: int, steps: int) -> set[str]:
    """Some steps of one world; what kinds of answers there were."""
    world = World(root, env, seed)
    machines: list[Machine] = []
    kinds: set[str] = set()
    for number in range(steps):
        for _ in range(world.chance.randint(0, 2)):
            world.edit()
        if machines and world.chance.random() < 0.4:
            machine = world.chance.choice(machines)
        else:
            machine = Machine(root / f"machine-{number}", world.env)
            machines.append(machine)
            if not number:
                machine.env["GOCACHE"] = warm
        world.write(machine)
        expected = world.plain(warm)
        # An image on a place of its own, so that its layers are made, not answered from afar.
        output = machine.root / "image.tar"
        try:
            built = machine.build(world.place, outputs=(f"type=oci,dest={output}",))
        except (BuildError, NetworkError) as error:
            assert isinstance(expected, str), (seed, number, error)
            kinds.add("failed")
            continue
        assert isinstance(expected, bytes), (seed, number, expected)
        assert program(machine, built) == expected, (seed, number)
        kinds.add("reused" if built.image.reused else "built")
        if built.step("modules from"):
            kinds.add("tree")
        # The user's own caches are as good as before.
        checked = subprocess.run(
            ["go", "mod", "verify"], cwd=machine.checkout, env={**os.environ, **machine.env},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert checked.returncode == 0, (seed, number, checked.stdout, checked.stderr)
    return kinds


@pytest.fixture
def around(go_env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in go_env.items() if not name.startswith("GO")} | {
        name: go_env[name] for name in ("GOTOOLCHAIN",) if name in go_env
    }


@pytest.mark.parametrize("seed", [1, 4])
def test_a_program_is_the_one_that_go_makes(
    tmp_path: Path, around: dict[str, str], go_caches: dict[str, str], seed: int
) -> None:
    kinds = run_world(tmp_path, around, go_caches["GOCACHE"], seed, 7)
    assert {"built", "tree"} <= kinds


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_programs_are_those_that_go_makes(
    tmp_path: Path, around: dict[str, str], go_caches: dict[str, str], seed: int
) -> None:
    assert "built" in run_world(tmp_path, around, go_caches["GOCACHE"], seed, 14)


def test_the_comparison_sees_a_difference(tmp_path: Path, around: dict[str, str],
                                          go_caches: dict[str, str]) -> None:  # fmt: skip
    world = World(tmp_path, around, 0)
    one = world.plain(go_caches["GOCACHE"])
    world.locals["one"] += 1
    assert one != world.plain(go_caches["GOCACHE"])


def test_a_mistake_of_the_users_own_is_told_without_fetching_modules(
    tmp_path: Path, around: dict[str, str], go_caches: dict[str, str]
) -> None:
    world = World(tmp_path, around, 0)
    world.imports = [world.packages["example.com/dep"][0]]
    first = Machine(tmp_path / "one", world.env)
    first.env["GOCACHE"] = go_caches["GOCACHE"]
    world.write(first)
    first.build(world.place)
    second = Machine(tmp_path / "two", world.env)
    world.write(second)
    second.write("one/x.go", "package one\n\nconst Word = missing\n")
    with pytest.raises(BuildError, match=r"one/x\.go:3"):
        second.build(world.place)
    assert not (tmp_path / "two" / "mod").exists()


def test_of_a_bumped_dependency_only_that_is_fetched(
    tmp_path: Path, around: dict[str, str], go_caches: dict[str, str]
) -> None:
    world = World(tmp_path, around, 0)
    world.imports = [world.packages[path][0] for path in MODULES]
    first = Machine(tmp_path / "one", world.env)
    first.env["GOCACHE"] = go_caches["GOCACHE"]
    world.write(first)
    first.build(world.place)
    world.versions["example.com/dep"] = "v1.1.0"
    second = Machine(tmp_path / "two", world.env)
    world.write(second)
    # As Go leaves it: go.sum names the old version, too.
    second.write("go.sum", world.proxy.go_sum())
    for path in MODULES[1:]:
        shutil.rmtree(world.proxy.root / escaped(path))
    built = second.build(world.place)
    assert built.step("modules from")
    assert not any("are not used" in text for text in built.said)
    assert built.compiled == {"example.com/m", "example.com/dep/a"}


def test_what_pruned_modules_lack_is_fetched(
    tmp_path: Path, around: dict[str, str], go_caches: dict[str, str]
) -> None:
    world = World(tmp_path, around, 0)
    one, other = world.packages["example.com/dep"][:2]
    world.imports = [one]
    first = Machine(tmp_path / "one", world.env)
    first.env["GOCACHE"] = go_caches["GOCACHE"]
    world.write(first)
    first.build(world.place)
    second = Machine(tmp_path / "two", world.env)
    world.imports = [one, other]
    world.write(second)
    built = second.build(world.place)
    assert built.step("modules from")
    assert any("the modules of the Go caches are not used" in text for text in built.said)
    assert built.compiled == {"example.com/m", other}
    # Offline that is told as go tells it.
    third = Machine(tmp_path / "three", {**world.env, "GOPROXY": "off"})
    world.imports = [one, "example.com/dep/unknown"]
    world.write(third)
    with pytest.raises((BuildError, NetworkError)):
        third.build(world.place)
    # What is needed has travelled meanwhile.
    fourth = Machine(tmp_path / "four", {**world.env, "GOPROXY": "off"})
    world.imports = [one, other]
    world.locals["one"] += 1
    world.write(fourth)
    assert fourth.build(world.place).compiled == {"example.com/m", "example.com/m/one"}
