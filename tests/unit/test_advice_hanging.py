# SPDX-License-Identifier: Apache-2.0
"""Checks of what never answers: pipes as module files, a Go and a git that hang, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wherry.advice.reading import go_lists
from wherry.advice.reading.go_lists import GoLists
from wherry.advice.search import find_dockerfiles
from wherry.cli.stopping import ending
from wherry.errors import Interrupted
from wherry.golang.modfile import module_path, replaced_modules
from wherry.golang.requirements import Requirements, read_requirements
from wherry.golang.toolchain import GoCommand

WAITS = "#!/bin/sh\nexec sleep 60\n"


@pytest.fixture
def waiting(tmp_path: Path) -> dict[str, str]:
    """An environment whose go and git never answer."""
    for name in ("go", "git"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(WAITS)
        path.chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}


def test_module_files_that_are_pipes_or_endless(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        path = str(tmp_path / name)
        assert read_requirements(path) == Requirements()
        assert replaced_modules(path) == ()
        assert module_path(path) == ""


def test_of_a_large_go_mod_the_beginning_counts(tmp_path: Path) -> None:
    path = tmp_path / "go.mod"
    lines = "// and so on\n" * 400_000
    path.write_text(f"module m\nrequire a v1.0.0\n{lines}require b v1.0.0\n")
    assert read_requirements(str(path)).modules == (("a", "v1.0.0"),)


def test_a_go_that_never_answers_is_asked_once(
    tmp_path: Path, waiting: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go_lists, "_MOST_SECONDS", 0.2)
    path = str(tmp_path / "bin/go")
    monkeypatch.setattr(go_lists, "find_go", lambda _env: GoCommand(path, path))
    lists = GoLists(str(tmp_path), waiting, lambda: ("./a", "./b", "./c"))
    said = "go list gave no answer within 0.2 seconds"
    assert lists.listed("./a", cgo=False, tags="", vendored=False) == said
    monkeypatch.setattr(go_lists, "_ask", lambda _: pytest.fail("asked again"))
    assert lists.listed("./b", cgo=False, tags="", vendored=False) == said


def test_a_git_that_never_answers_ignores_nothing(
    tmp_path: Path, waiting: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.advice.search._MOST_SECONDS", 0.2)
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    (project / "Dockerfile").write_text("FROM scratch\n")
    assert find_dockerfiles(str(project), waiting).paths == (str(project / "Dockerfile"),)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_takes_no_token(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as raised, ending():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert raised.value.code == 128 + number
    assert signal.getsignal(number) is before


def test_sigterm_leaves_no_go_behind(tmp_path: Path, waiting: dict[str, str]) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / ".git").mkdir()
    (project / "Dockerfile").write_text("FROM scratch\n")
    mark = tmp_path / "pid"
    (tmp_path / "bin/git").write_text(f"#!/bin/sh\necho $$ > {mark}.new\nmv {mark}.new {mark}\n"
                                      "exec sleep 60\n")  # fmt: skip
    env = {**os.environ, **waiting}
    words = (sys.executable, "-m", "wherry", "check")
    with subprocess.Popen(words, cwd=project, env=env, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 30
        while not mark.exists() and time.monotonic() < end:
            time.sleep(0.02)
        process.terminate()
        assert process.communicate(timeout=30)[1] == b"interrupted\n"
    assert process.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
