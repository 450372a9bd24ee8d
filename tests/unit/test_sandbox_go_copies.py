# SPDX-License-Identifier: Apache-2.0
"""Whether a module may have been compiled from elsewhere than the module cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.sandbox.go_copies import has_copies
from wherry.sandbox.step_spec import StepMount, StepSpec

CACHES = ("/go/pkg/mod", "/root/.cache/go-build")
BUILD = 'go build -trimpath -ldflags="-s -w" -o /out/app ./cmd/app'
MOD = "module example.com/m\n\ngo 1.24\n\nrequire example.com/lib v1.0.0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "root/src/go.mod", MOD)
    (tmp_path / "upper/out").mkdir(parents=True)
    return tmp_path / "root"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def asked(root: Path, script: str = BUILD, **more: object) -> bool:
    spec = StepSpec(("/bin/sh", "-c", script), cwd="/src")._replace(**more)  # type: ignore[arg-type]
    return has_copies(spec, str(root), str(root.parent / "upper"), CACHES)


def test_a_plain_module_has_none(root: Path) -> None:
    assert not asked(root)
    write(root / "src/go.mod", MOD + "replace example.com/lib => example.org/fork v1.2.3\n")
    assert not asked(root)
    assert not asked(root, env=("GOFLAGS=-trimpath", "GOWORK=off"))
    assert not asked(root, f"CGO_ENABLED=0 GOOS=linux {BUILD} && cp /out/app /app; rm -rf /tmp/x")
    assert not asked(root, args=("go", "build", "./..."))


@pytest.mark.parametrize(
    "line",
    ["replace example.com/lib => ./lib", "replace example.com/lib v1.0.0 => ../lib",
     "replace (\n\texample.com/lib => /other/lib\n)", 'replace example.com/lib => "./lib"'],
)  # fmt: skip
def test_a_directory_that_replaces_a_module_is_one(root: Path, line: str) -> None:
    write(root / "src/go.mod", f"{MOD}{line}\n")
    assert asked(root)


def test_a_module_above_and_its_vendored_ones_count(root: Path) -> None:
    assert not asked(root, cwd="/src/cmd/app")
    write(root / "src/vendor/modules.txt", "")
    assert asked(root)
    (root / "src/vendor/modules.txt").unlink()
    write(root / "src/go.mod", MOD + "replace example.com/lib => ./lib\n")
    (root / "src/cmd/app").mkdir(parents=True)
    assert asked(root, cwd="/src/cmd/app")


def test_inner_modules_count_where_they_may_be_built(root: Path) -> None:
    write(root / "src/examples/go.mod", "module x\n\nreplace example.com/m => ../\n")
    assert not asked(root)
    for script in (
        "cd examples && go build .", "make", "./build.sh", "go generate ./...", "go test ./...",
        "go run ./tools", "go build -o $(cd examples && go build .) .", "sh -c 'cd examples'",
        f"go -C examples build . && {BUILD}",
    ):  # fmt: skip
        assert asked(root, script), script
    write(root / "src/go.work", "go 1.24\n\nuse (\n\t.\n\t./examples\n)\n")
    assert asked(root)
    assert not asked(root, env=("GOWORK=off",))


@pytest.mark.parametrize(
    "script",
    ["cd /other && go build .", "cd ../other && go build .", 'cd "$HOME" && go build .',
     "go build -C /other .", "go build -C=../other .", "go build -modfile=x.mod .",
     "go build -overlay o.json .", "go build -mod=vendor .", "GOWORK=/w/go.work go build ."],
)  # fmt: skip
def test_other_places_are_never_known(root: Path, script: str) -> None:
    assert asked(root, script)


def test_what_cannot_be_seen_is_never_known(root: Path) -> None:
    assert asked(root, cwd="/")
    assert asked(root, env=("GOFLAGS=-modfile=/x.mod",))
    assert asked(root, mounts=(StepMount("bind", "/src"),))
    assert not asked(root, mounts=(StepMount("cache", "/tmp/x"), StepMount("secret", "/s")))
    assert asked(root, pipes=(("a", "cd /other && go build ."),))


def test_what_the_step_brings_counts(root: Path) -> None:
    upper = root.parent / "upper"
    write(upper / "go/pkg/mod/example.com/lib@v1.0.0/go.mod", "module example.com/lib\n")
    assert not asked(root)
    write(upper / "tmp/clone/go.mod", MOD)
    assert asked(root)
