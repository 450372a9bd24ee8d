# SPDX-License-Identifier: Apache-2.0
"""Inputs that are read before Go begins, or beside it: an image never mixes two states of them."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.bases import data, static
from wherry.errors import UsageError
from wherry_fixtures import MAIN, Project, write_module

Make = Callable[..., Project]

USES_DEP = 'package main\n\nimport "example.com/dep"\n\nfunc main() { println(dep.Word) }\n'
STAMPED = 'package main\n\nvar word = "none"\n\nfunc main() { println(word) }\n'


def run(program: bytes, where: Path) -> str:
    path = where / "program"
    path.write_bytes(program)
    path.chmod(0o755)
    return subprocess.run([path], capture_output=True, text=True, check=True).stderr.strip()


def dependency(root: Path, word: str) -> None:
    files = {"go.mod": "module example.com/dep\n\ngo 1.21\n"}
    write_module(root, {**files, "dep.go": f'package dep\n\nconst Word = "{word}"\n'})


@pytest.mark.parametrize("spelling", ["./{}", "{}"])
def test_a_workspace_file_of_any_name_is_an_input(
    project: Make, tmp_path: Path, spelling: str
) -> None:
    made = project({"main.go": USES_DEP})
    dependency(tmp_path / "one", "one")
    dependency(tmp_path / "two", "two")
    work = tmp_path / "my.work"

    def use(name: str) -> None:
        used = spelling.format(name)
        work.write_text(f"go 1.21\n\nuse (\n\t./mod\n\t{used}\n)\n")

    use("one")
    made.env["GOWORK"] = str(work)
    assert run(made.program(made.settled()), tmp_path) == "one"
    use("two")
    assert run(made.program(made.right()), tmp_path) == "two"


def test_a_workspace_member_that_nothing_imports_is_an_input(project: Make, tmp_path: Path) -> None:
    made = project({"main.go": MAIN})
    write_module(
        tmp_path / "b", {"go.mod": "module example.com/b\n\ngo 1.21\n", "b.go": "package b\n"}
    )
    (tmp_path / "go.work").write_text("go 1.21\n\nuse mod\nuse b\n")
    made.settled()
    (tmp_path / "b" / "go.mod").write_text("module example.com/b\n\nno such line\n")
    assert made.plain() is None
    with pytest.raises(Exception, match=r"."):
        made.build()


def test_settings_edited_before_go_begins_give_the_new_image(project: Make, tmp_path: Path) -> None:
    made = project({"main.go": STAMPED})
    made.write("wherry.toml", '[build]\nldflags = ["-X main.word=one"]\n')
    edits = []

    def edit(point: str) -> None:
        if point == "go-asked" and not edits:
            edits.append(point)
            made.write("wherry.toml", '[build]\nldflags = ["-X main.word=two"]\n')

    result = made.build(trace=edit)
    assert edits
    assert run(made.program(result), tmp_path) == "two"
    assert run(made.program(made.build()), tmp_path) == "two"


def test_settings_that_keep_changing_are_not_remembered(project: Make, tmp_path: Path) -> None:
    made = project({"main.go": STAMPED})
    number = iter(range(9))

    def edit(point: str) -> None:
        if point == "go-asked":
            made.write("wherry.toml", f'[build]\nldflags = ["-X main.word=w{next(number)}"]\n')

    made.build(trace=edit)
    result = made.build()
    assert not result.reused
    assert run(made.program(result), tmp_path) == "w1"


def test_a_tree_that_becomes_dirty_during_the_build_is_not_called_clean(
    project: Make, go_env: dict[str, str]
) -> None:
    made = project({"main.go": MAIN})
    env = {**go_env, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=made.root, env=env, check=True)
    edits = []

    def edit(point: str) -> None:
        if point == "main-found" and not edits:
            edits.append(point)
            made.write("main.go", MAIN.replace('"x"', '"y"'))

    result = made.build(trace=edit, stamp="labels")
    config = made.blob(result.config_digest).decode()
    assert "+dirty" in config


def test_a_certificate_that_an_administrator_adds_is_in_the_next_image(
    project: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "cacert.pem"
    bundle.write_bytes(Path(static.bundle_path()).read_bytes())
    for module in (static, data):
        monkeypatch.setattr(module, "bundle_path", lambda: str(bundle))
    made = project()
    first = made.build(base="static")
    with bundle.open("a") as file:
        file.write("\n# the company's own\n")
    # The record asks the installed bundle: another label makes the image anew.
    second = made.build(base="static", labels=(("a", "b"),))
    layers = [made_layers(made, result.digest)[0] for result in (first, second)]
    assert layers[0] != layers[1]


def made_layers(made: Project, digest: str) -> list[str]:
    return [layer["digest"] for layer in json.loads(made.blob(digest))["layers"]]


def test_no_cache_replaces_damaged_blobs(project: Make, tmp_path: Path) -> None:
    made = project()
    first = made.build(base="static")
    for blob in (made.store / "blobs" / "sha256").iterdir():
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
    again = made.build(base="static", no_cache=True, outputs=(f"type=local,dest={tmp_path}/out",))
    assert again.digest == first.digest
    assert (tmp_path / "out" / "app" / "m").read_bytes() == made.plain()


def test_a_slow_git_does_not_outlive_an_interrupt(
    project: Make, tmp_path: Path, go_env: dict[str, str]
) -> None:
    made = project()
    env = {**go_env, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=made.root, env=env, check=True)
    command = [sys.executable, "-m", "wherry", "build", "--stamp", "labels", "--base", "scratch",
               "--store", str(made.store)]  # fmt: skip
    subprocess.run(command, cwd=made.root, env=env, check=True, capture_output=True)
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\ntouch $0.began\nexec sleep 30\n")
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    env["PATH"] = f"{slow.parent}:{env['PATH']}"
    process = subprocess.Popen(command, cwd=made.root, env=env, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 20
    while not slow.with_name("git.began").exists():
        assert time.monotonic() < deadline, "git was not asked"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == b""


@pytest.mark.parametrize(
    "source",
    ["-", "https://example.com/shop.git", "git@example.com:shop/api.git", "ssh://example.com/x"],
)
def test_contexts_of_the_dockerfile_front_end_hold_no_go_module(project: Make, source: str) -> None:
    made = project()
    made.source = source
    with pytest.raises(UsageError) as caught:
        made.build(frontend="gomodule")
    assert source in caught.value.what
    with pytest.raises(UsageError, match="--base is for Go modules"):
        made.build(base="scratch")


def test_a_lower_case_dockerfile_counts(project: Make) -> None:
    made = project()
    made.build()
    made.write("dockerfile", "FROM scratch\n")
    assert made.build(base="").tags == ("mod:latest",)
    assert made.build(frontend="gomodule").tags == ("m:latest",)


def test_a_large_file_leaves_the_sources_to_be_read(project: Make) -> None:
    """Sources are compared by content also where a file beyond the limit comes before them."""
    head = 'package main\n\nimport _ "embed"\n\n//go:embed a.bin\nvar a []byte\n\n'
    made = project({"main.go": head + 'func main() { println(len(a), "x") }\n'})
    with (made.root / "a.bin").open("wb") as file:
        file.truncate(70 << 20)
    old = time.time() - 3600
    os.utime(made.root / "a.bin", (old, old))
    time.sleep(2.1)
    made.settled()
    made.write("lib.go", "package main\n")
    made.settled()
    path = made.root / "main.go"
    status = path.stat()
    path.write_text(path.read_text().replace('"x"', '"y"'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not made.right().reused


def test_a_shim_named_go_is_asked_each_time(project: Make, tmp_path: Path) -> None:
    """What a version manager's shim starts is decided by files that only it knows."""
    made = project()
    real = made._go.path
    shim = tmp_path / "shims" / "go"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    shim.chmod(0o755)
    made.env["PATH"] = f"{shim.parent}:{made.env['PATH']}"
    assert made.right().digest == made.right().digest
    assert not made.build().reused
