# SPDX-License-Identifier: Apache-2.0
"""Outputs through the whole command: what stdout carries, and what stays where one fails."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_engine import FakeEngine, engine
from registry_tools import needs_skopeo, output_of
from wherry_fixtures import Finished

__all__ = ["engine"]

Wherry = Callable[..., Finished]


def test_after_load_stdout_carries_the_engine_s_name(
    wherry: Wherry, module: Callable[..., Path], engine: FakeEngine, tmp_path: Path
) -> None:
    iid = tmp_path / "id"
    words = ("build", "--load", "-t", "hello:1", "--base", "scratch", "--iidfile", iid, ".")
    root = module()
    done = wherry(*words, cwd=root, more={"DOCKER_HOST": engine.address})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "hello:1\n"
    # Docker's own store knows the image by its configuration's digest.
    assert engine.named("hello:1") == iid.read_text()
    engine.fault = "refuse"
    (root / "main.go").write_text("package main\n\nfunc main() {}\n")
    failed = wherry(*words, cwd=root, more={"DOCKER_HOST": engine.address})
    assert failed.returncode == 3
    assert failed.stdout == ""
    assert "storage driver" in failed.stderr


@pytest.mark.parametrize("form", ["go", "dockerfile"])
def test_an_engine_that_is_not_there_is_told_before_the_work(
    wherry: Wherry, module: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    root = module()
    if form == "dockerfile":
        (root / "Dockerfile").write_text("FROM scratch\nCOPY go.mod /\n")
    done = wherry("build", "--load", root, more={"DOCKER_HOST": f"unix://{tmp_path}/none"})
    assert done.returncode == 3
    assert done.stderr.startswith("error: cannot talk to the engine at"), done.stderr


@pytest.mark.parametrize("form", ["type=docker,dest=-", "-"])
def test_an_archive_on_stdout_has_it_to_itself(
    module: Callable[..., Path], go_env: dict[str, str], store: Path, form: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wherry", "build", "--base", "scratch", "-t", "hello:1", "-o", form],
        cwd=module(), env={**go_env, "WHERRY_STORE": str(store)}, capture_output=True,
        timeout=240, check=True,
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        names = archive.getnames()
    assert ("manifest.json" in names) == (form != "-")
    assert ("app/m" in names) == (form == "-")
    assert b"hello:1@sha256:" in done.stderr


@needs_skopeo
def test_several_outputs_in_one_build(
    wherry: Wherry, module: Callable[..., Path], tmp_path: Path
) -> None:
    outputs = (
        "type=docker,dest=d.tar", "type=oci,dest=z.tar,compression=zstd", "type=tar,dest=r.tar",
        "type=oci,dest=layout,tar=false,compression=uncompressed", "files",
    )  # fmt: skip
    words = [word for output in outputs for word in ("-o", output)]
    done = wherry("build", "--base", "scratch", "-t", "hello:1", *words, module())
    assert done.returncode == 0, done.stderr
    digest = done.stdout.strip().partition("@")[2]
    assert f"{tmp_path}/z.tar (sha256:" in done.stderr
    seen = {}
    for name in ("docker-archive:d.tar:hello:1", "oci-archive:z.tar:1", "oci:layout:1"):
        kind, _, rest = name.partition(":")
        seen[kind] = output_of("skopeo", "inspect", "--raw", f"{kind}:{tmp_path / rest}")
    assert json.loads(seen["oci-archive"])["layers"][0]["mediaType"].endswith("tar+zstd")
    assert json.loads(seen["oci"])["layers"][0]["mediaType"].endswith("layer.v1.tar")
    configs = {json.loads(seen[kind])["config"]["digest"] for kind in seen}
    assert len(configs) == 1
    inside = output_of("skopeo", "inspect", f"oci-archive:{tmp_path}/d.tar:1")
    assert json.loads(inside)["Digest"] == digest
    program = (tmp_path / "files" / "app" / "m").read_bytes()
    with tarfile.open(tmp_path / "r.tar") as archive:
        file = archive.extractfile("app/m")
        assert file is not None
        assert file.read() == program


@pytest.mark.parametrize(
    ("outputs", "code", "words"),
    [
        (("type=oci,dest=a", "type=tar,dest=a"), 2, "two outputs want"),
        (("type=oci,dest=none/there.tar",), 3, "cannot write"),
        (('type=docker,"dest=new\nline/x.tar"',), 3, "cannot write"),
        (("type=oci,dest=a,compression=zst",), 2, "did you mean 'zstd'?"),
        (("type=docker,context=nobody",), 2, "there is no docker context 'nobody'"),
    ],
)
def test_what_fails_leaves_nothing(
    wherry: Wherry, module: Callable[..., Path], tmp_path: Path, outputs: tuple[str, ...],
    code: int, words: str,
) -> None:  # fmt: skip
    place = tmp_path / "place"
    place.mkdir()
    flags = [word for output in outputs for word in ("-o", output)]
    done = wherry("build", "--base", "scratch", *flags, module(), cwd=place)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert os.listdir(place) == []
