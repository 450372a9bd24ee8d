# SPDX-License-Identifier: Apache-2.0
"""What `go env` says, and toolchains that cannot be had."""

import subprocess
from pathlib import Path

import pytest

from golang_support import MAIN, go_env, needs_go, the_go, write_files
from wherry.errors import MachineError, NetworkError
from wherry.golang.facts import query_go, require_version
from wherry.golang.toolchain import GoCommand, GoFacts
from wherry.process.cancel import CancelToken

FACTS = GoFacts("go1.26.8", "", "", "", "", "", "", "auto", "", "", {})


def ask(directory: Path, on_line=None, **env: str) -> GoFacts:
    return query_go(the_go(), str(directory), go_env(directory, **env), CancelToken(), on_line)


@needs_go
def test_the_facts_are_those_of_go_env(tmp_path: Path) -> None:
    write_files(tmp_path, {"main.go": MAIN})
    facts = ask(tmp_path, GOFLAGS="-mod=mod")
    answer = subprocess.run(
        [the_go().path, "env", "GOVERSION", "GOROOT", "GOMODCACHE", "GOCACHE", "GOTOOLCHAIN"],
        cwd=tmp_path, env=go_env(tmp_path), capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    assert [facts.version, facts.goroot, facts.gomodcache, facts.gocache, facts.gotoolchain] == (
        answer[:5]
    )
    assert (facts.gomod, facts.gowork) == (str(tmp_path / "go.mod"), "")
    assert facts.goflags == "-mod=mod"
    assert facts.all["GOOS"] == "linux"


@needs_go
def test_no_module_has_no_gomod(tmp_path: Path) -> None:
    assert ask(tmp_path).gomod == ""


@needs_go
def test_a_workspace_is_seen(tmp_path: Path) -> None:
    write_files(tmp_path / "a", {"main.go": MAIN})
    (tmp_path / "go.work").write_text("go 1.21\n\nuse ./a\n")
    assert ask(tmp_path / "a").gowork == str(tmp_path / "go.work")
    assert ask(tmp_path / "a", GOWORK="off").gowork == ""


@needs_go
def test_an_unreachable_toolchain_is_a_network_error_and_its_download_is_shown(
    tmp_path: Path,
) -> None:
    write_files(tmp_path, {"go.mod": "module m\n\ngo 1.98.7\n"})
    lines: list[str] = []
    env = {"GOTOOLCHAIN": "auto", "GOPROXY": "http://127.0.0.1:1", "GOMODCACHE": f"{tmp_path}/mc"}
    with pytest.raises(NetworkError) as caught:
        ask(tmp_path, lines.append, **env)
    assert [line.split(" (")[0] for line in lines] == ["go: downloading go1.98.7"]
    assert "connection refused" in caught.value.why
    assert "downloading" not in caught.value.why


@needs_go
def test_a_gotoolchain_that_is_none_is_a_machine_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="GOTOOLCHAIN"):
        ask(tmp_path, GOTOOLCHAIN="nonsense")


def fake(path: Path, text: str) -> GoCommand:
    path.write_text(text)
    path.chmod(0o755)
    return GoCommand(str(path), str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot start"),
        ("#!/nowhere/sh\n", "cannot start"),
        ("#!/bin/sh\necho a board game\n", "does not answer as Go does"),
        ("#!/bin/sh\necho '[]'\n", "does not answer as Go does"),
        ('#!/bin/sh\necho \'{"GOVERSION": "go1.20.14"}\'\n', "too old"),
        ("#!/bin/sh\nkill -9 $$\n", "killed by signal 9"),
    ],
)
def test_a_broken_go_is_a_machine_error(tmp_path: Path, text: str, words: str) -> None:
    go = fake(tmp_path / "go", text)
    with pytest.raises(MachineError, match=words):
        query_go(go, str(tmp_path), {"PATH": "/usr/bin:/bin"}, CancelToken())


@pytest.mark.parametrize("version", ["go1.21.0", "go1.27rc1", "devel go1.28-1234 X:foo", "go2.0"])
def test_new_and_development_versions_are_taken(tmp_path: Path, version: str) -> None:
    go = fake(tmp_path / "go", f'#!/bin/sh\necho \'{{"GOVERSION": "{version}"}}\'\n')
    assert query_go(go, str(tmp_path), {}, CancelToken()).version == version


def test_an_exact_version() -> None:
    assert require_version(FACTS, "1.26.8") == ()
    assert require_version(FACTS, "go1.25.3") == (("GOTOOLCHAIN", "go1.25.3"),)
    local = FACTS._replace(gotoolchain="local")
    assert require_version(local, "1.26.8") == ()
    with pytest.raises(MachineError) as caught:
        require_version(local, "1.25.3")
    assert "GOTOOLCHAIN=local" in caught.value.why
