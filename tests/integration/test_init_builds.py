# SPDX-License-Identifier: Apache-2.0
"""What `wherry init` writes, built: by wherry, by BuildKit, and by wherry without a Dockerfile.

The base with Go is made of this machine's own, under the name that the Dockerfile says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import go_step_bases
from differential.world import World, shared_world
from golang_support import write_files
from init_projects import KINDS
from wherry.golang.toolchain import GoCommand
from wherry_fixtures import Finished

# The first who asks for the world builds BuildKit, and waits for a download where that is needed.
pytestmark = pytest.mark.timeout(1800)

Wherry = Callable[..., Finished]

PROGRAM = """\
package main

import (
	"embed"
	"os"
	"os/user"

	"example.com/m/internal/text"
)

//go:embed web
var files embed.FS

func main() {
	me, err := user.Current()
	file, failed := os.CreateTemp("", "x")
	page, _ := files.ReadFile("web/page")
	println(text.Text, me, err, file, failed, string(page))
}
"""
FILES = {
    "cmd/api/main.go": PROGRAM, "cmd/api/web/page": "NAME api", "cmd/m/main.go": PROGRAM,
    "cmd/m/web/page": "NAME m", "internal/text/text.go": "package text\n\nconst Text = 1\n",
    "internal/text/text_test.go":
        'package text\n\nimport (\n\t"os"\n\t"testing"\n)\n\n'
        "func TestText(t *testing.T) {\n"
        '\tif _, err := os.Stat("testdata/a"); err != nil {\n\t\tt.Fatal(err)\n\t}\n}\n',
    "internal/text/testdata/a": "a", "README.md": "not for the build\n", ".env": "TOKEN=1\n",
}  # fmt: skip


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, go: GoCommand) -> Iterator[World]:
    """The world of the differential suite, shared with it; skipped where BuildKit cannot run."""
    with shared_world(tmp_path_factory) as world:
        yield world


@pytest.fixture
def wherry(wherry: Wherry, tmp_path_factory: pytest.TempPathFactory) -> Wherry:
    """The command with one store for all tests here: what one compiled the others take."""
    place = tmp_path_factory.getbasetemp() / "store-of-init"
    return partial(wherry, more={"WHERRY_STORE": str(place)})


def pushed(world: World, name: str) -> str:
    try:
        go_step_bases.push(name, world)
    except go_step_bases.NoBase as reason:
        pytest.skip(str(reason))
    return f"docker-image://{world.names['REGISTRY']}/{name}"


def started(wherry: Wherry, root: Path, *words: str) -> str:
    """Write the files; the Dockerfile's base with Go."""
    done = wherry("init", *words, cwd=root)
    assert done.returncode == 0, done.stderr
    found = re.search(r"golang:\S+", (root / "Dockerfile").read_text())
    assert found
    return found[0]


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Files and directories with their modes, as an image has them."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mode, path.read_bytes() if path.is_file() else b""
        )
        for path in root.rglob("*")
    }  # fmt: skip


def test_both_build_the_program_that_wherry_builds_without_a_dockerfile(
    wherry: Wherry, world: World, tmp_path: Path
) -> None:
    root = write_files(tmp_path / "m", FILES)
    base, place = started(wherry, root, "--base", "scratch"), pushed(world, "go-std")
    checked = wherry("check", "--fail-on", "info", cwd=root)
    assert checked.returncode == 0, checked.stdout
    context = f"{base}={place}"
    made = {}
    for target in ("api", "m"):
        ours = tmp_path / f"wherry-{target}"
        words = () if target == "m" else ("--target", target)
        done = wherry("build", "--build-context", context, *words,
                      "-o", f"type=local,dest={ours}", cwd=root)  # fmt: skip
        assert done.returncode == 0, done.stderr
        plain = tmp_path / f"plain-{target}"
        done = wherry("build", "--frontend", "gomodule", "-o", f"type=local,dest={plain}",
                      f"./cmd/{target}", cwd=root)  # fmt: skip
        assert done.returncode == 0, done.stderr
        made[target] = tree(ours)
        program = made[target][f"app/{target}"]
        assert program == tree(plain)[f"app/{target}"]
        assert program[1].startswith(b"\x7fELF")
    assert made["m"]["tmp"][0] & 0o7777 == 0o1777
    assert b"65532" in made["m"]["etc/passwd"][1]
    assert {name.split("/")[0] for name in made["m"]} == {"app", "tmp", "etc"}
    theirs = tmp_path / "buildkit"
    assert world.buildkit is not None
    built = world.buildkit.build(
        ["--local", f"context={root}", "--local", f"dockerfile={root}",
         "--opt", f"context:{base}={place}", "--output", f"type=local,dest={theirs}"], {},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert tree(theirs) == made["m"]


def test_the_tests_run_where_they_are_asked_for(
    wherry: Wherry, world: World, tmp_path: Path
) -> None:
    root = write_files(tmp_path / "m", FILES)
    context = f"{started(wherry, root)}={pushed(world, 'go-std')}"
    dockerfile = root / "Dockerfile"
    text = dockerfile.read_text()
    # vet looks at all of the standard library, for longer than all else here takes.
    assert "    go test ./..." in text
    dockerfile.write_text(text.replace("go test", "go test -vet=off"))
    words = ("build", "--build-context", context, "--target", "test")
    done = wherry(*words, cwd=root)
    assert done.returncode == 0, done.stderr
    (root / "internal/text/testdata/a").unlink()
    done = wherry(*words, cwd=root)
    assert done.returncode == 1
    assert "FAIL" in done.stderr


@pytest.mark.parametrize(("kind", "main"), [
    ("go.work without a module", "./api"), ("go.work around a module", "."),
    ("a local replace", "."), ("vendor", "."),
])  # fmt: skip
def test_modules_from_beside_are_built(
    wherry: Wherry, world: World, tmp_path: Path, kind: str, main: str
) -> None:
    root = write_files(tmp_path / "m", KINDS[kind])
    if not KINDS[kind].get("go.mod", "-"):
        (root / "go.mod").unlink()
    context = f"{started(wherry, root, '--base', 'scratch')}={pushed(world, 'go-std')}"
    ours, plain = tmp_path / "ours", tmp_path / "plain"
    for words in (("--build-context", context, "-o", f"type=local,dest={ours}", "."),
                  ("--frontend", "gomodule", "-o", f"type=local,dest={plain}", main)):  # fmt: skip
        done = wherry("build", *words, cwd=root)
        assert done.returncode == 0, done.stderr
    assert tree(ours / "app") == tree(plain / "app")
    assert tree(ours / "app")


def test_cgo_has_its_own_c_files(wherry: Wherry, world: World, tmp_path: Path) -> None:
    root = write_files(tmp_path / "m", KINDS["cgo"])
    place = pushed(world, "go-cgo")
    base = started(wherry, root)
    assert base.endswith("-trixie")
    built = tmp_path / "built"
    done = wherry(
        "build", "--build-context", f"{base}={place}", "--build-context",
        f"debian:trixie-slim={place}", "-o", f"type=local,dest={built}", cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert os.access(built / "app/m", os.X_OK)
    assert b"libc.so.6" in (built / "app/m").read_bytes()
