# SPDX-License-Identifier: Apache-2.0
"""Images in real engines: loaded by wherry, loaded by the engine itself, and started there."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import wherry
from real_engines import Docker, Podman, docker, podman
from wherry.errors import MachineError
from wherry_fixtures import write_module

__all__ = ["docker", "podman"]

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

PROGRAM = 'package main\n\nfunc main() { println("hello from NUMBER") }\n'
Build = Callable[..., wherry.BuildResult]


@pytest.fixture
def build(tmp_path: Path, go_env: dict[str, str], store: Path) -> Build:
    """`build(1, engine, ...)`: the program that says 1, with this engine in the environment."""

    def make(number: object, engine: Docker | Podman, **more: object) -> wherry.BuildResult:
        module = write_module(tmp_path / "mod", {"main.go": PROGRAM.replace("NUMBER", str(number))})
        env = {**go_env, "DOCKER_HOST": engine.address}
        around = wherry.Surroundings(cwd=str(tmp_path), env=env)
        return wherry.build(module, store=store, surroundings=around, **more)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_what_was_loaded_runs_by_the_name_that_is_told(
    kind: str, request: pytest.FixtureRequest, build: Build
) -> None:
    engine: Docker | Podman = request.getfixturevalue(kind)
    names = ["hello:1", "registry.example.com/shop/hello:1"]
    for number in (1, 2, 2):
        result = build(number, engine, tags=names, outputs=["type=docker"])
        assert len(result.loaded) == 2
        for name in result.loaded:
            assert engine.run(name) == f"hello from {number}\n"
    assert result.loaded[0].removeprefix("localhost/") == names[0]
    (shown,) = json.loads(engine("image", "inspect", result.loaded[0]))
    assert shown["Id"].removeprefix("sha256:") == result.config_digest.removeprefix("sha256:")


@pytest.mark.parametrize("kind", ["docker", "podman"])
@pytest.mark.parametrize(
    "more", ["", ",compression=uncompressed", ",compression=gzip,compression-level=9"]
)
def test_an_archive_is_loaded_by_the_engine_itself(
    kind: str, more: str, request: pytest.FixtureRequest, build: Build, tmp_path: Path
) -> None:
    engine: Docker | Podman = request.getfixturevalue(kind)
    archive, number = tmp_path / "d.tar", f"{kind} {more.partition('=')[2]}"
    names = ["archived:1", "registry.example.com/archived:2"]
    build(number, engine, tags=names, outputs=[f"type=docker,dest={archive}{more}"])
    said = engine("load", "-i", archive)
    for name in names:
        assert name in said
        known = name if kind == "docker" or "." in name.partition("/")[0] else f"localhost/{name}"
        assert engine.run(known) == f"hello from {number}\n"


def test_podman_loads_an_oci_archive_and_a_zstd_one(
    podman: Podman, build: Build, tmp_path: Path
) -> None:
    # Of an OCI archive podman takes short names for docker.io's, of a docker archive for its own.
    name = "registry.example.com/packed:1"
    for kind in ("oci", "docker"):
        archive = tmp_path / f"{kind}.tar"
        outputs = [f"type={kind},dest={archive},compression=zstd"]
        build(f"zstd {kind}", podman, tags=[name], outputs=outputs)
        podman("load", "-i", archive)
        assert podman.run(name) == f"hello from zstd {kind}\n"


def test_of_two_platforms_docker_gets_its_own(docker: Docker, build: Build) -> None:
    result = build(
        "here", docker, tags=["split:1"], outputs=["type=docker"],
        platform="linux/amd64,linux/arm64",
    )  # fmt: skip
    assert docker.run(result.loaded[0]) == "hello from here\n"
    architecture = docker("version", "--format", "{{.Server.Arch}}").strip()
    shown = docker("image", "inspect", "--format", "{{.Architecture}}", "split:1").strip()
    assert shown == architecture


def test_layers_that_docker_removed_meanwhile_come_again(docker: Docker, build: Build) -> None:
    build("a", docker, tags=["gone:1"], outputs=["type=docker"])
    docker("rmi", "-f", "gone:1")
    result = build("b", docker, tags=["gone:2"], outputs=["type=docker"])
    assert docker.run(result.loaded[0]) == "hello from b\n"


def test_an_engine_that_is_stopped_in_the_middle(
    docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Build
) -> None:
    from wherry.api import loading
    from wherry.exporters.engine_watch import Patience

    patience = Patience(answer=2.0, quiet=1.0, limit=20.0)
    original = loading.Engine.load

    def stop(self: object, title: str, produce: object) -> None:
        os.kill(docker.process.pid, signal.SIGSTOP)
        original(self, title, produce)  # type: ignore[arg-type]

    monkeypatch.setattr(loading.Engine, "load", stop)
    load_images = loading.load_images
    monkeypatch.setattr(
        loading, "load_images", lambda *words: load_images(*words, patience=patience)
    )
    try:
        with pytest.raises(MachineError, match=r"stopped answering|does not answer"):
            build("never", docker, tags=["never:1"], outputs=["type=docker"])
    finally:
        os.kill(docker.process.pid, signal.SIGCONT)
    assert "never" not in docker("images", "--format", "{{.Repository}}")
