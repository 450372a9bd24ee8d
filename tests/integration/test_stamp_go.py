# SPDX-License-Identifier: Apache-2.0
"""What labels tell beside what Go itself puts into a binary, for every shape of repository.

The reference is the Go command: the binary of `go build -buildvcs=true` either tells the same
commit, version and state as the labels of a stamp for it, or the stamp says that it will not be
made, in one line.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from wherry.api.stamp import Stamp, check_binary, read_stamp
from wherry.errors import BuildError
from wherry.golang.buildinfo import BuildInfo, BuildModule, parse_module_text
from wherry.process.cancel import CancelToken


def _go_release() -> tuple[int, int]:
    """The Go on PATH, (0, 0) where there is none."""
    if shutil.which("go") is None:
        return 0, 0
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    told = subprocess.run(["go", "version"], env=env, capture_output=True, text=True).stdout
    found = re.search(r"go(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="no git on PATH"),
    pytest.mark.skipif(_go_release() < (1, 25), reason="no Go on PATH that is 1.25 or later"),
]

_TIME = "2026-03-04T05:06:07+01:00"
_PSEUDO = "20260304040607"
_PREFIX = "org.opencontainers.image."


class Tree:
    """A directory with a module, git's commands there, and Go's."""

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path = path
        self.env = dict(env)

    def write(self, directory: str = ".", module: str = "example.com/m") -> None:
        place = self.path / directory
        place.mkdir(parents=True, exist_ok=True)
        (place / "go.mod").write_text(f"module {module}\n\ngo 1.21\n")
        (place / "main.go").write_text("package main\n\nfunc main() {}\n")

    def git(self, *words: str | Path) -> str:
        argv = ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"]
        done = subprocess.run(
            [*argv, *map(str, words)], cwd=self.path, env=self.env, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")
        return self.git("rev-parse", "HEAD")

    def at(self, path: str | Path) -> "Tree":
        return Tree(self.path / path, self.env)

    def stamp(self) -> Stamp:
        return read_stamp(str(self.path), self.env, CancelToken())

    def built(self, out: Path) -> BuildInfo | str:
        """What `go version -m` says of the module's program, or what `go build` complains of."""
        argv = ["go", "build", "-buildvcs=true", "-o", str(out), "."]
        done = subprocess.run(argv, cwd=self.path, env=self.env, capture_output=True, text=True)
        if done.returncode:
            return done.stderr
        argv = ["go", "version", "-m", str(out)]
        told = subprocess.run(argv, env=self.env, check=True, capture_output=True, text=True).stdout
        lines = (line.removeprefix("\t") for line in told.splitlines()[1:])
        return parse_module_text(told.split()[1], "\n".join(lines))


@pytest.fixture
def tree(tmp_path: Path, go_env: dict[str, str]) -> Tree:
    """A committed module on the branch main."""
    env = {
        **go_env,
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_NAME": "A U Thor" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "author@example.com" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_DATE": _TIME for who in ("AUTHOR", "COMMITTER")},
    }
    made = Tree(tmp_path / "repository", env)
    made.write()
    made.git("init", "--quiet")
    made.commit()
    return made


def agreeing(tree: Tree, out: Path) -> tuple[Stamp, BuildInfo]:
    """The stamp for the Go at hand and its binary, which tell the same."""
    told = tree.built(out)
    assert isinstance(told, BuildInfo), told
    stamp = tree.stamp().for_binary(told.go_version)
    assert stamp.go_stamps, stamp.binary_note
    check_binary(told, stamp.labels, "m")
    labels = dict(stamp.labels)
    assert told.setting("vcs.revision") == labels[_PREFIX + "revision"]
    assert told.setting("vcs.time") == stamp.created
    assert (told.setting("vcs.modified") == "true") == labels[_PREFIX + "version"].endswith(
        "+dirty"
    )
    return stamp, told


def version_of(told: BuildInfo) -> str:
    assert told.main is not None
    return told.main.version


def _tag(*names: str) -> Callable[[Tree], None]:
    def make(tree: Tree) -> None:
        for name in names:
            tree.git("tag", name)

    return make


def _tag_and_four_commits(tree: Tree) -> None:
    tree.git("tag", "-a", "-m", "annotated", "v1.2.3")
    for _ in range(4):
        tree.commit()


def _major_two(tree: Tree) -> None:
    tree.write(module="example.com/m/v2")
    tree.commit()
    tree.git("tag", "v1.9.0")


def _major_two_tagged(tree: Tree) -> None:
    _major_two(tree)
    tree.git("tag", "v2.3.4")


def _edited(tree: Tree) -> None:
    tree.git("tag", "v1.2.3")
    (tree.path / "main.go").write_text("package main\n\nfunc main() { println() }\n")


def _untracked(tree: Tree) -> None:
    tree.git("tag", "v1.2.3")
    (tree.path / "new.txt").touch()


def _ignored(tree: Tree) -> None:
    (tree.path / ".gitignore").write_text("*.log\n")
    tree.commit()
    tree.git("tag", "v1.2.3")
    (tree.path / "a.log").touch()


@pytest.mark.parametrize(
    ("change", "version"),
    [
        (_tag(), f"v0.0.0-{_PSEUDO}-HEAD"),
        (_tag("v1.2.3", "v1.10.0", "v1.9.0"), "v1.10.0"),
        (_tag("v1.2.3-rc.1"), "v1.2.3-rc.1"),
        (_tag("v2.0.0", "1.2.3", "release-5", "other/v1.5.0"), f"v0.0.0-{_PSEUDO}-HEAD"),
        (_tag("v1.2.3+linux"), f"v1.2.4-0.{_PSEUDO}-HEAD"),
        (_tag_and_four_commits, f"v1.2.4-0.{_PSEUDO}-HEAD"),
        (_major_two, f"v2.0.0-{_PSEUDO}-HEAD"),
        (_major_two_tagged, "v2.3.4"),
        (_edited, "v1.2.3+dirty"),
        (_untracked, "v1.2.3+dirty"),
        (_ignored, "v1.2.3"),
    ],
)
def test_labels_have_the_version_that_go_puts_into_the_binary(
    tree: Tree, tmp_path: Path, change: Callable[[Tree], None], version: str
) -> None:
    change(tree)
    _, told = agreeing(tree, tmp_path / "m")
    assert version_of(told) == version.replace("HEAD", tree.git("rev-parse", "HEAD")[:12])


def test_a_tag_that_go_does_not_take_is_told_in_one_line(tree: Tree, tmp_path: Path) -> None:
    tree.git("tag", "1.2.3")
    assert tree.stamp().version == "1.2.3"
    stamp, told = agreeing(tree, tmp_path / "m")
    assert stamp.version == version_of(told) != "1.2.3"
    assert "not 1.2.3" in stamp.binary_note
    assert "\n" not in stamp.binary_note


def test_a_module_in_a_subdirectory_by_its_own_tags(tree: Tree, tmp_path: Path) -> None:
    tree.write("api", "example.com/m/api")
    tree.commit()
    tree.git("tag", "v9.0.0")
    tree.git("tag", "api/v1.2.3")
    _, told = agreeing(tree.at("api"), tmp_path / "m")
    assert version_of(told) == "v1.2.3"


def test_a_subdirectory_of_a_repository_that_is_no_module(tree: Tree, tmp_path: Path) -> None:
    tree.write("api", "example.com/api")
    (tree.path / "go.mod").unlink()
    tree.commit()
    tree.git("tag", "api/v1.2.3")
    stamp, told = agreeing(tree.at("api"), tmp_path / "m")
    assert version_of(told) == "(devel)"
    assert stamp.version == "v1.2.3"


def test_a_shallow_clone_has_the_version_of_what_it_knows(tree: Tree, tmp_path: Path) -> None:
    tree.git("tag", "v1.2.3")
    tree.commit()
    tree.git("clone", "--quiet", "--depth=1", f"file://{tree.path}", tmp_path / "clone")
    stamp, told = agreeing(tree.at(tmp_path / "clone"), tmp_path / "m")
    assert version_of(told).startswith("v0.0.0-")
    assert "shallow" in stamp.note


def test_worktrees_and_submodules_tell_their_own_commit_or_none(tree: Tree, tmp_path: Path) -> None:
    tree.git("worktree", "add", "--quiet", tmp_path / "worktree")
    outer = tree.at(tmp_path / "outer")
    outer.write(module="example.com/outer")
    outer.git("init", "--quiet")
    outer.git("submodule", "--quiet", "add", tree.path, "inner")
    outer.commit()
    own = tree.git("rev-parse", "HEAD")
    for linked in (tree.at(tmp_path / "worktree"), outer.at("inner")):
        told = linked.built(tmp_path / "m")
        assert isinstance(told, BuildInfo), told
        stamp = linked.stamp().for_binary(told.go_version)
        assert dict(stamp.labels)[_PREFIX + "revision"] == own
        # The Go here may be from before or after 1.27: a stamp is made where it tells the truth.
        if stamp.go_stamps:
            check_binary(told, stamp.labels, "m")
            assert told.setting("vcs.revision") == own
        else:
            assert told.setting("vcs.revision") != own
            assert "only the labels" in stamp.binary_note
        assert linked.stamp().for_binary("go1.27.2").go_stamps
        assert not linked.stamp().for_binary("go1.26.8").go_stamps


def test_files_that_git_hides_from_go_leave_the_binary_unstamped(
    tree: Tree, tmp_path: Path
) -> None:
    tree.git("config", "status.showUntrackedFiles", "no")
    agreeing(tree, tmp_path / "m")
    (tree.path / "extra.go").write_text("package main\n")
    told = tree.built(tmp_path / "m")
    assert isinstance(told, BuildInfo), told
    assert told.setting("vcs.modified") == "false"
    stamp = tree.stamp().for_binary(told.go_version)
    assert stamp.version.endswith("+dirty")
    assert not stamp.go_stamps
    assert "hides untracked files" in stamp.binary_note


@pytest.mark.parametrize("mark", [".hg", ".svn"])
def test_a_second_system_that_go_refuses(tree: Tree, tmp_path: Path, mark: str) -> None:
    (tree.path / mark).mkdir()
    told = tree.built(tmp_path / "m")
    assert isinstance(told, str)
    assert "multiple VCS" in told
    stamp = tree.stamp().for_binary("go1.26.8")
    assert not stamp.go_stamps
    assert mark in stamp.binary_note
    assert stamp.version


def _is_stamped(tree: Tree, out: Path, env: Mapping[str, str]) -> bool:
    told = Tree(tree.path, env).built(out)
    return isinstance(told, BuildInfo) and bool(told.setting("vcs.revision"))


def test_no_facts_are_one_line_and_nothing_is_asked_of_go(tree: Tree, tmp_path: Path) -> None:
    plain = tree.at(tmp_path / "plain")
    plain.write()
    bare = tree.at(tmp_path / "bare")
    tree.git("clone", "--quiet", "--bare", tree.path, bare.path)
    inside = bare.at("module")
    inside.write()
    empty = tree.at(tmp_path / "empty")
    empty.write()
    empty.git("init", "--quiet")
    programs = tmp_path / "programs"
    programs.mkdir()
    found = shutil.which("go", path=tree.env["PATH"])
    assert found is not None
    (programs / "go").symlink_to(found)
    no_git = {**tree.env, "PATH": str(programs)}
    foreign = {**tree.env, "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    for case, env, word in (
        (plain, tree.env, "no git repository"),
        (inside, tree.env, "bare repository"),
        (empty, tree.env, "no commit yet"),
        (tree, no_git, "git is not installed"),
        (tree, foreign, "safe.directory"),
    ):
        stamp = read_stamp(str(case.path), env, CancelToken()).for_binary("go1.26.8")
        assert (stamp.labels, stamp.created, stamp.go_stamps) == ((), "", False), word
        assert word in stamp.note
        assert "\n" not in stamp.note
        assert not _is_stamped(case, tmp_path / "m", env), word


def test_old_releases_put_no_version_into_the_binary(tree: Tree) -> None:
    tree.git("tag", "1.2.3")
    assert tree.stamp().for_binary("go1.23.12").version == "1.2.3"
    assert tree.stamp().for_binary("go1.24.0").version != "1.2.3"
    # Ran with 1.24.13: a tag of the root for a module below it, v0 for a module of v2.
    _major_two_tagged(tree)
    old = tree.stamp().for_binary("go1.24.13")
    assert not old.go_stamps
    assert "Go 1.24 gets the version wrong" in old.binary_note
    assert tree.stamp().for_binary("go1.25.0").go_stamps
    assert tree.stamp().for_binary("devel go1.28-abc").version != "1.2.3"


def test_a_binary_that_tells_another_commit_is_an_error() -> None:
    labels = ((_PREFIX + "revision", "aaa"), (_PREFIX + "version", "v1.2.3"))
    main = BuildModule("example.com/m", "v1.2.3")
    good = BuildInfo("go1.26.8", main=main, settings=(("vcs.revision", "aaa"),))
    check_binary(good, labels, "m")
    check_binary(BuildInfo("go1.26.8", main=main._replace(version="(devel)")), labels, "m")
    check_binary(good, (), "m")
    for wrong, word in (
        (good._replace(settings=(("vcs.revision", "bbb"),)), "commit"),
        (good._replace(main=main._replace(version="v1.2.4")), "version"),
    ):
        with pytest.raises(BuildError, match=f"another {word}"):
            check_binary(wrong, labels, "m")
