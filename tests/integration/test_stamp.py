# SPDX-License-Identifier: Apache-2.0
"""`--stamp` with real repositories: what goes into labels and binary, and how it degrades.

GOFLAGS is empty here: an inherited -buildvcs=false would hide what `full` does.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from wherry_fixtures import Finished

Module = Callable[..., Path]
Wherry = Callable[..., Finished]

_PREFIX = "org.opencontainers.image."
_COMMITTED_AT = "2026-03-04T05:06:07+01:00"
_COMMITTED_AT_UTC = "2026-03-04T04:06:07Z"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git on PATH")


class Repository:
    """A repository with fixed authors and times, and git as its user would call it."""

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path = path
        self.env = {
            **env,
            "GIT_AUTHOR_NAME": "A U Thor",
            "GIT_AUTHOR_EMAIL": "author@example.com",
            "GIT_COMMITTER_NAME": "A U Thor",
            "GIT_COMMITTER_EMAIL": "author@example.com",
            "GIT_AUTHOR_DATE": _COMMITTED_AT,
            "GIT_COMMITTER_DATE": _COMMITTED_AT,
        }

    def git(self, *words: str | Path) -> str:
        argv = ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"]
        done = subprocess.run(
            [*argv, *map(str, words)], cwd=self.path, env=self.env, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    def commit(self, subject: str = "a change") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(module: Module, go_env: dict[str, str]) -> Repository:
    """A module that is committed and clean."""
    made = Repository(module(), go_env)
    made.git("init", "--quiet")
    made.commit("first")
    return made


class Image:
    """An image as wherry printed and exported it."""

    def __init__(self, finished: Finished, layout: Path) -> None:
        assert finished.returncode == 0, finished.stderr
        result = json.loads(finished.stdout)
        self.stderr = finished.stderr
        self.digest: str = result["digest"]
        self.reused: bool = result["reused"]
        manifest = _blob(layout, self.digest)
        config = _blob(layout, manifest["config"]["digest"])
        self.layers: list[str] = [layer["digest"] for layer in manifest["layers"]]
        self.annotations: dict[str, str] = manifest["annotations"]
        self.labels: dict[str, str] = config["config"]["Labels"]
        self.created: str = config["created"]

    def label(self, name: str) -> str:
        return self.labels.get(_PREFIX + name, "")


def _blob(layout: Path, digest: str) -> dict[str, object]:
    return json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())


@pytest.fixture
def build(wherry: Wherry, tmp_path: Path) -> Callable[..., Image]:
    """`build(directory, "labels")`: the image that `--stamp labels` gives there."""

    def start(directory: Path, stamp: str, **options: Mapping[str, str]) -> Image:
        layout = tmp_path / "layout"
        output = f"type=oci,tar=false,dest={layout}"
        words = ("--stamp", stamp, "--json", "--progress", "plain", "-o", output)
        return Image(wherry("build", *words, ".", cwd=directory, **options), layout)

    return start


Build = Callable[..., Image]


def build_info(directory: Path, wherry: Wherry, out: Path, stamp: str = "full") -> str:
    """What `go version -m` says of the image's binary."""
    finished = wherry("build", "--stamp", stamp, "-o", out, ".", cwd=directory)
    assert finished.returncode == 0, finished.stderr
    program = next((out / "app").iterdir())
    done = subprocess.run(
        ["go", "version", "-m", program], check=True, capture_output=True, text=True,
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )  # fmt: skip
    return done.stdout


def test_off_asks_git_nothing_and_a_commit_changes_no_image(
    repository: Repository, build: Build
) -> None:
    first = build(repository.path, "off")
    assert set(first.labels) == {_PREFIX + "title"}
    (repository.path / "NOTES").write_text("not code\n")
    repository.commit()
    second = build(repository.path, "off")
    assert second.digest == first.digest
    assert second.reused


def test_labels_change_config_and_manifest_but_no_layer_of_the_base(
    repository: Repository, build: Build
) -> None:
    repository.git("remote", "add", "origin", "https://user:hunter2@example.com/team/mod.git")
    plain = build(repository.path, "off")
    stamped = build(repository.path, "labels")
    revision = repository.git("rev-parse", "HEAD")
    assert stamped.label("revision") == revision
    assert stamped.label("created") == stamped.created == _COMMITTED_AT_UTC
    assert stamped.label("version") == f"v0.0.0-20260304040607-{revision[:12]}"
    assert stamped.label("source") == "https://example.com/team/mod.git"
    assert stamped.annotations[_PREFIX + "revision"] == revision
    assert stamped.layers[0] == plain.layers[0]
    assert stamped.digest != plain.digest


def test_a_commit_without_code_change_makes_a_new_stamped_image(
    repository: Repository, build: Build
) -> None:
    first = build(repository.path, "labels")
    assert build(repository.path, "labels").reused
    revision = repository.commit("nothing in it")
    second = build(repository.path, "labels")
    assert not second.reused
    assert second.label("revision") == revision
    # The commit's time is the same and the binary holds no revision: only config and manifest go.
    assert second.layers == first.layers
    assert build(repository.path, "labels").reused


@pytest.mark.parametrize("change", ["edited", "untracked", "staged"])
def test_a_dirty_tree_is_told(repository: Repository, build: Build, change: str) -> None:
    clean = build(repository.path, "labels")
    assert not clean.label("version").endswith("+dirty")
    (repository.path / "NOTES").write_text("one\n")
    if change != "untracked":
        repository.git("add", "NOTES")
    if change == "edited":
        repository.commit()
        (repository.path / "NOTES").write_text("two\n")
    dirty = build(repository.path, "labels")
    assert dirty.label("version").endswith("+dirty")
    assert not dirty.reused
    repository.git("reset", "--quiet", "--hard", "HEAD")
    repository.git("clean", "-qfd")
    assert not build(repository.path, "labels").label("version").endswith("+dirty")


def test_versions_at_a_tag_and_after_it_agree_with_the_binary(
    repository: Repository, build: Build, wherry: Wherry, tmp_path: Path
) -> None:
    repository.git("tag", "v1.2.3")
    assert build(repository.path, "labels").label("version") == "v1.2.3"
    assert "\tmod\texample.com/m\tv1.2.3\t" in build_info(repository.path, wherry, tmp_path / "at")
    revision = repository.commit()
    after = f"v1.2.4-0.20260304040607-{revision[:12]}"
    assert build(repository.path, "labels").label("version") == after
    assert f"\tmod\texample.com/m\t{after}" in build_info(repository.path, wherry, tmp_path / "on")


def test_a_tag_on_an_older_commit_is_an_input_of_a_stamped_build(
    repository: Repository, build: Build
) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.commit()
    assert build(repository.path, "full").label("version").startswith("v0.0.0-")
    repository.git("tag", "v1.0.0", first)
    moved = build(repository.path, "full")
    assert not moved.reused
    assert moved.label("version").startswith("v1.0.1-0.")


def test_full_goes_into_the_binary_and_labels_do_not(
    repository: Repository, wherry: Wherry, tmp_path: Path
) -> None:
    revision = repository.git("rev-parse", "HEAD")
    labelled = build_info(repository.path, wherry, tmp_path / "labels", "labels")
    assert "vcs" not in labelled.replace("-buildvcs", "")
    full = build_info(repository.path, wherry, tmp_path / "full")
    assert f"\tbuild\tvcs.revision={revision}\n" in full
    assert f"\tbuild\tvcs.time={_COMMITTED_AT_UTC}\n" in full
    assert "\tbuild\tvcs.modified=false\n" in full
    newer = repository.commit("nothing in it")
    again = build_info(repository.path, wherry, tmp_path / "again")
    assert f"\tbuild\tvcs.revision={newer}\n" in again


def test_full_of_a_module_in_a_subdirectory_uses_the_module_s_own_tags(
    go_env: dict[str, str], module: Module, build: Build
) -> None:
    root = module().parent
    repository = Repository(root / "mod", go_env)
    (root / "mod" / "api" / "cmd" / "serve").mkdir(parents=True)
    (root / "mod" / "api" / "go.mod").write_text("module example.com/m/api\n\ngo 1.21\n")
    program = root / "mod" / "api" / "cmd" / "serve" / "main.go"
    program.write_text("package main\n\nfunc main() { println(2) }\n")
    repository.git("init", "--quiet")
    repository.commit()
    repository.git("tag", "v9.0.0")
    repository.git("tag", "api/v1.5.0")
    image = build(program.parent, "labels")
    assert image.label("version") == "v1.5.0"
    assert build(program.parent, "labels").reused


def test_the_user_s_own_buildvcs_makes_git_an_input(
    repository: Repository, wherry: Wherry, tmp_path: Path
) -> None:
    more = {"GOFLAGS": "-buildvcs=true"}
    for number in range(2):
        revision = repository.commit("nothing in it")
        out = tmp_path / str(number)
        words = ("build", "-q", "-o", out, ".")
        assert wherry(*words, cwd=repository.path, more=more).returncode == 0
        assert revision.encode() in (out / "app" / "m").read_bytes()


def test_source_date_epoch_is_the_time_of_config_and_label_alike(
    repository: Repository, build: Build
) -> None:
    image = build(repository.path, "labels", more={"SOURCE_DATE_EPOCH": "86400"})
    assert image.created == image.label("created") == "1970-01-02T00:00:00Z"


def test_a_worktree_has_labels_and_go_s_silence_is_told(
    repository: Repository, build: Build, tmp_path: Path
) -> None:
    repository.git("worktree", "add", "--quiet", tmp_path / "tree")
    image = build(tmp_path / "tree", "full")
    assert image.label("revision") == repository.git("rev-parse", "HEAD")
    assert "only the labels" in _one_line_about(image, "Go does not stamp")


def test_a_submodule_tells_its_own_commit_and_never_that_of_the_repository_around_it(
    repository: Repository, build: Build, wherry: Wherry, tmp_path: Path, go_env: dict[str, str]
) -> None:
    outer = Repository(tmp_path / "outer", go_env)
    outer.path.mkdir()
    outer.git("init", "--quiet")
    outer.git("submodule", "--quiet", "add", repository.path, "inner")
    around = outer.commit()
    image = build(outer.path / "inner", "full")
    own = repository.git("rev-parse", "HEAD")
    assert image.label("revision") == own
    told = build_info(outer.path / "inner", wherry, tmp_path / "out")
    assert around not in told
    if _is_stamped_by_itself(told):
        assert own in told
    else:
        assert own not in told
        assert "the repository around this one" in _one_line_about(image, "only the labels")


def _is_stamped_by_itself(told: str) -> bool:
    """Whether the Go that made a program stamps worktrees and submodules with their own commit."""
    release = re.search(r"go1\.(\d+)", told)
    return release is not None and int(release[1]) >= 27


def test_a_shallow_clone_is_stamped_and_says_what_it_lacks(
    repository: Repository, build: Build, go_env: dict[str, str], tmp_path: Path
) -> None:
    revision = repository.commit()
    clone = Repository(tmp_path, go_env)
    clone.git("clone", "--quiet", "--depth=1", f"file://{repository.path}", "clone")
    image = build(tmp_path / "clone", "full")
    assert image.label("revision") == revision
    assert image.label("source") == ""
    _one_line_about(image, "a shallow clone may lack the tag")


@pytest.mark.parametrize("stamp", ["labels", "full"])
def test_no_repository_degrades_with_one_line(module: Module, build: Build, stamp: str) -> None:
    image = build(module(), stamp)
    assert set(image.labels) == {_PREFIX + "title"}
    assert "no git repository" in _one_line_about(image, "version-control")
    assert image.created == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("stamp", ["labels", "full"])
def test_no_git_on_the_path_degrades_with_one_line(
    repository: Repository, build: Build, go_env: dict[str, str], tmp_path: Path, stamp: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    go = shutil.which("go", path=go_env["PATH"])
    assert go is not None
    (programs / "go").symlink_to(go)
    plain = build(repository.path, "off")
    image = build(repository.path, stamp, more={"PATH": str(programs)})
    assert set(image.labels) == {_PREFIX + "title"}
    assert "git is not installed" in _one_line_about(image, "version-control")
    assert image.layers == plain.layers


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory to another user needs root")
@pytest.mark.parametrize("stamp", ["labels", "full"])
def test_a_repository_of_another_user_degrades_with_one_line(
    repository: Repository, build: Build, stamp: str
) -> None:
    plain = build(repository.path, "off")
    for path in (repository.path, *repository.path.rglob("*")):
        os.chown(path, 65532, 65532)
    image = build(repository.path, stamp)
    assert set(image.labels) == {_PREFIX + "title"}
    assert "safe.directory" in _one_line_about(image, "version-control")
    assert image.layers == plain.layers


def test_a_repository_without_a_commit_degrades_with_one_line(
    module: Module, build: Build, go_env: dict[str, str]
) -> None:
    repository = Repository(module(), go_env)
    repository.git("init", "--quiet")
    for stamp in ("labels", "full"):
        image = build(repository.path, stamp)
        assert "no commit yet" in _one_line_about(image, "version-control")


def _one_line_about(image: Image, word: str) -> str:
    lines = [line for line in image.stderr.splitlines() if word in line]
    assert len(lines) == 1, image.stderr
    return lines[0]
