# SPDX-License-Identifier: Apache-2.0
"""Which files are Dockerfiles, which are passed by, and what each is built from."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wherry.advice.search import (
    context_directory,
    find_dockerfiles,
    is_dockerfile,
    read_dockerfile,
)
from wherry.errors import UsageError

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def write(root: Path, *names: str, text: str = "FROM scratch\n") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def git(root: Path, *words: str) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(("git", *words), cwd=root, env=env, check=True, capture_output=True)


def found(root: Path) -> list[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(root)}
    return [os.path.relpath(path, root) for path in find_dockerfiles(str(root), env).paths]


@pytest.mark.parametrize(
    "name",
    ["Dockerfile", "dockerfile", "Containerfile", "Dockerfile.dev", "Containerfile.arm64",
     "api.Dockerfile", "api.dockerfile", "web.Containerfile", "Dockerfile.alpine-3.20"],
)  # fmt: skip
def test_names_of_dockerfiles(name: str) -> None:
    assert is_dockerfile(name)


@pytest.mark.parametrize(
    "name",
    ["Dockerfiles", "Dockerfile-old", "MyDockerfile", "Dockerfile.dockerignore", "dockerfile.go",
     ".dockerfile", ".Dockerfile.swp", "Dockerfile.tmpl", "Dockerfile.j2", "Dockerfile.p2",
     "Dockerfile.md", "Dockerfile.orig", "api.Dockerfile.dockerignore", "docker-compose.yml",
     "Dockerfile~"],
)  # fmt: skip
def test_names_of_others(name: str) -> None:
    assert not is_dockerfile(name)


def test_a_folder_is_searched_but_for_what_is_not_the_projects_own(tmp_path: Path) -> None:
    write(
        tmp_path, "Dockerfile", "services/b/Dockerfile", "services/a/Dockerfile.dev",
        "vendor/x/Dockerfile", "node_modules/y/Dockerfile", "testdata/Dockerfile",
        "a/testdata/b/Dockerfile", ".git/Dockerfile", ".cache/Dockerfile", "docs/notes.txt",
    )  # fmt: skip
    assert found(tmp_path) == ["Dockerfile", "services/a/Dockerfile.dev", "services/b/Dockerfile"]


def test_a_folder_that_is_passed_by_elsewhere_may_be_named_itself(tmp_path: Path) -> None:
    write(tmp_path, "vendor/Dockerfile")
    assert found(tmp_path) == []
    assert found(tmp_path / "vendor") == ["Dockerfile"]


def test_a_directory_and_a_dead_link_of_such_names_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").mkdir()
    (tmp_path / "Dockerfile.dead").symlink_to("nowhere")
    write(tmp_path, "Dockerfile/Dockerfile")
    assert found(tmp_path) == ["Dockerfile/Dockerfile"]


def test_a_file_of_two_names_comes_once(tmp_path: Path) -> None:
    write(tmp_path, "z/Dockerfile")
    (tmp_path / "Dockerfile").symlink_to("z/Dockerfile")
    assert found(tmp_path) == ["z/Dockerfile"]


@needs_git
def test_what_git_ignores_is_not_asked(tmp_path: Path) -> None:
    write(tmp_path, "Dockerfile", "out/Dockerfile", "kept/out/Dockerfile", "Dockerfile.local")
    (tmp_path / ".gitignore").write_text("/out/\nDockerfile.local\n")
    git(tmp_path, "init", "-q")
    assert found(tmp_path) == ["Dockerfile", "kept/out/Dockerfile"]
    # From a folder inside, too; what is tracked is nobody's rubbish.
    assert found(tmp_path / "kept") == ["out/Dockerfile"]
    git(tmp_path, "add", "-f", "Dockerfile.local")
    assert found(tmp_path) == ["Dockerfile", "Dockerfile.local", "kept/out/Dockerfile"]


@needs_git
def test_a_repository_inside_has_its_own_rules(tmp_path: Path) -> None:
    write(tmp_path, "lib/Dockerfile", "lib/Dockerfile.mine")
    (tmp_path / ".gitignore").write_text("nothing\n")
    (tmp_path / "lib" / ".gitignore").write_text("*.mine\n")
    git(tmp_path, "init", "-q")
    git(tmp_path / "lib", "init", "-q")
    assert found(tmp_path) == ["lib/Dockerfile"]


def test_without_git_nothing_is_ignored(tmp_path: Path) -> None:
    write(tmp_path, "Dockerfile")
    (tmp_path / ".gitignore").write_text("Dockerfile\n")
    (tmp_path / ".git").mkdir()
    assert find_dockerfiles(str(tmp_path), {"PATH": "/nowhere"}).paths


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    write(tmp_path, "Dockerfile", "closed/Dockerfile")
    (tmp_path / "closed").chmod(0)
    try:
        result = find_dockerfiles(str(tmp_path), {})
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert len(result.paths) == 1
    assert [os.path.basename(error.filename) for error in result.unreadable] == ["closed"]


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_bytes(b"FROM \xff\n")
    assert read_dockerfile(str(tmp_path / "Dockerfile"), "Dockerfile") == b"FROM \xff\n"


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read no/Dockerfile") as missing:
        read_dockerfile(str(tmp_path / "no"), "no/Dockerfile")
    assert missing.value.hint == "name a Dockerfile or a folder"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe is no file"):
        read_dockerfile(str(tmp_path / "pipe"), "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(UsageError, match="large is too large for a Dockerfile"):
        read_dockerfile(str(tmp_path / "large"), "large")


class TestContext:
    def of(self, root: Path, name: str, text: str, top: Path | None = None) -> str:
        place = context_directory(str(root / name), str(top or root), text.encode())
        return os.path.relpath(place, root)

    def test_its_own_directory(self, tmp_path: Path) -> None:
        write(tmp_path, "go.mod", "api/go.mod", "api/main.go", "build/run.sh")
        assert self.of(tmp_path, "Dockerfile", "COPY . .\n") == "."
        assert self.of(tmp_path, "api/Dockerfile", "COPY go.mod main.go ./\n") == "api"
        # All that it copies is beside it.
        assert self.of(tmp_path, "build/Dockerfile", "COPY run.sh /\n") == "build"
        # It copies nothing that would tell, and no Go runs in it.
        assert self.of(tmp_path, "build/Dockerfile", "COPY . .\nRUN make\n") == "build"

    def test_the_directory_above_with_the_module_that_it_copies(self, tmp_path: Path) -> None:
        write(tmp_path, "go.mod", "go.sum", "cmd/main.go", "build/run.sh")
        for text in (
            "COPY go.mod go.sum ./\n",
            'COPY ["go.mod", "./"]\n',
            "COPY go.* ./\n",
            "COPY /cmd/ build/run.sh ./\n",
            "ADD --chown=1 go.sum missing ./\n",
            "COPY . .\nRUN go build ./cmd\n",
        ):
            assert self.of(tmp_path, "build/docker/Dockerfile", text) == ".", text

    def test_nothing_is_looked_for_beyond_the_folder(self, tmp_path: Path) -> None:
        write(tmp_path, "go.mod", "a/build/x")
        text = "COPY go.mod ./\n"
        assert self.of(tmp_path, "a/build/Dockerfile", text, tmp_path / "a") == "a/build"
        assert self.of(tmp_path, "a/Dockerfile", text, tmp_path / "b") == "a"

    def test_a_module_of_a_workspace_that_is_built_from_its_top(self, tmp_path: Path) -> None:
        write(tmp_path, "go.work", "api/go.mod", "lib/go.mod")
        text = "COPY go.work ./\nCOPY api api\nCOPY lib lib\n"
        assert self.of(tmp_path, "api/Dockerfile", text) == "."
        # A name that is missing everywhere says nothing.
        assert self.of(tmp_path, "api/Dockerfile", "COPY go.mod dist/api ./\n") == "api"
        assert self.of(tmp_path, "api/Dockerfile", "COPY lib/go.mod dist/api ./\n") == "api"

    def test_what_comes_from_elsewhere_says_nothing(self, tmp_path: Path) -> None:
        write(tmp_path, "go.mod", "build/x")
        text = (
            "COPY --from=build /go.mod /\nCOPY $FILE /\nADD https://a.b/go.mod /\n"
            "ADD git@a.b:c/d /\nCOPY <<go.mod /\nx\ngo.mod\n"
        )
        assert self.of(tmp_path, "build/Dockerfile", text) == "build"
        assert self.of(tmp_path, "build/Dockerfile", "COPY go.mod\0 /\n") == "build"
