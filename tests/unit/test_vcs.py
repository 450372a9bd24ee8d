# SPDX-License-Identifier: Apache-2.0
"""Git facts from real repositories, and what happens where there are none."""

import os
import shutil
from pathlib import Path

import pytest

from git_commands import ENV, git
from wherry.process.cancel import Cancelled, CancelToken
from wherry.vcs import Degraded, GitFacts, GoPlace, RefFacts, git_facts, go_place, ref_facts
from wherry.vcs.version import path_major

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def facts(directory: Path, **env: str) -> GitFacts | Degraded:
    return git_facts(str(directory), {**ENV, **env}, CancelToken())


def known(directory: Path, **env: str) -> GitFacts:
    found = facts(directory, **env)
    assert isinstance(found, GitFacts), found
    return found


def reason(directory: Path, **env: str) -> str:
    found = facts(directory, **env)
    assert isinstance(found, Degraded), found
    assert "\n" not in found.reason
    return found.reason


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    (path / "go.mod").write_text("module example.com/m\n")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "first")
    return path


def test_clean_commit(repository: Path):
    head = git(repository, "rev-parse", "HEAD")
    assert known(repository) == GitFacts(
        revision=head,
        time="2026-01-02T03:04:05Z",
        dirty=False,
        version=f"v0.0.0-20260102030405-{head[:12]}",
        source="",
        go_version=f"v0.0.0-20260102030405-{head[:12]}",
    )


def test_asking_changes_nothing_in_the_repository(repository: Path):
    os.utime(repository / "go.mod", (1, 1))  # git status would like to refresh its index
    before = (repository / ".git" / "index").stat()
    known(repository)
    after = (repository / ".git" / "index").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


@pytest.mark.parametrize("change", ["edited", "untracked", "staged", "deleted"])
def test_any_change_is_dirty_and_shows_in_the_version(repository: Path, change: str):
    git(repository, "tag", "v1.2.3")
    # A user's own setting must not hide untracked files.
    git(repository, "config", "status.showUntrackedFiles", "no")
    match change:
        case "edited":
            (repository / "go.mod").write_text("module example.com/other\n")
        case "untracked":
            (repository / "new.go").touch()
        case "staged":
            (repository / "new.go").touch()
            git(repository, "add", "new.go")
        case _:
            (repository / "go.mod").unlink()
    found = known(repository)
    assert found.dirty
    assert found.version == "v1.2.3+dirty"


def test_ignored_files_are_not_dirty(repository: Path):
    (repository / ".gitignore").write_text("*.log\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "ignore")
    (repository / "a.log").touch()
    assert not known(repository).dirty


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        (["v1.2.3"], "v1.2.3"),
        (["v1.9.0", "v1.10.0", "v1.10.0-rc.1", "zzz"], "v1.10.0"),
        (["v1.0.0-rc.2", "v1.0.0-rc.10"], "v1.0.0-rc.10"),
        (["1.2.3"], "1.2.3"),
        (["release-5", "api/v1.0.0"], "release-5"),
    ],
)
def test_tags_at_the_commit_name_the_version(repository: Path, tags: list[str], wanted: str):
    for tag in tags:
        git(repository, "tag", tag)
    git(repository, "tag", "-a", "-m", "annotated", "nightly")
    assert known(repository).version == wanted


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        (["v1.2.3", "v1.0.0"], "v1.2.4-0."),
        (["v1.1.0-rc.1", "v1.0.0"], "v1.1.0-rc.1.0."),
        # Go takes v2 for another module's, and people mean what Go means where both are there.
        (["v2.0.0-rc.1", "v1.9.0"], "v1.9.1-0."),
        (["v2.0.0-rc.1"], "v2.0.0-rc.1.0."),
        (["v1.2.3+linux"], "v1.2.4-0."),
        (["1.2.3"], "v1.2.4-0."),
        (["nightly", "api/v3.0.0"], "v0.0.0-"),
    ],
)
def test_tags_of_older_commits_are_the_base_of_the_version(
    repository: Path, tags: list[str], wanted: str
):
    for tag in tags:
        git(repository, "tag", "-a", "-m", "annotated", tag)
    git(repository, "tag", "of-a-tree", "HEAD^{tree}")
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    head = git(repository, "rev-parse", "HEAD")
    assert known(repository).version == f"{wanted}20260102030405-{head[:12]}"
    git(repository, "checkout", "-q", "--orphan", "other")
    git(repository, "commit", "-q", "--allow-empty", "-m", "unrelated")
    assert known(repository).version.startswith("v0.0.0-")


def test_module_in_a_subdirectory_has_its_own_tags(repository: Path):
    (repository / "api").mkdir()
    git(repository, "tag", "v9.0.0")
    git(repository, "tag", "api/v1.2.3")
    assert known(repository / "api").version == "v1.2.3"
    assert known(repository).version == "v9.0.0"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://example.com/a/b.git", "https://example.com/a/b.git"),
        ("https://user:secret@example.com/a/b", "https://example.com/a/b"),
        ("https://secret@example.com:8443/a?private_token=secret#x", "https://example.com:8443/a"),
        ("ssh://git@example.com:22/a/b", "ssh://git@example.com:22/a/b"),
        ("ssh://git:secret@[2001:db8::1]/a", "ssh://git@[2001:db8::1]/a"),
        ("git@example.com:a/b.git", "ssh://git@example.com/a/b.git"),
        ("example.com:a/b.git", "ssh://example.com/a/b.git"),
        ("user:secret@example.com:a/b", ""),
        ("/home/me/secret", ""),
        ("../secret", ""),
        ("file:///home/me/secret", ""),
        ("ext::sh -c secret", ""),
        ("https://[broken/secret", ""),
        ("https://example.com:secret/a", ""),
    ],
)
def test_source_is_the_remote_without_secrets_or_paths(repository: Path, url: str, wanted: str):
    git(repository, "config", "remote.origin.url", url)
    assert known(repository).source == wanted


def test_source_is_origin_or_the_only_remote(repository: Path):
    git(repository, "remote", "add", "upstream", "https://example.com/up")
    assert known(repository).source == "https://example.com/up"
    git(repository, "remote", "add", "fork", "https://example.com/fork")
    assert known(repository).source == ""
    git(repository, "remote", "add", "origin", "https://example.com/origin")
    assert known(repository).source == "https://example.com/origin"


def test_rewritten_urls_with_tokens_stay_out(repository: Path):
    git(repository, "remote", "add", "origin", "https://example.com/a")
    git(repository, "config", "url.https://token@example.com/.insteadOf", "https://example.com/")
    assert known(repository).source == "https://example.com/a"


def test_worktree_and_submodule_are_repositories(repository: Path, tmp_path: Path):
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "side")
    assert known(tmp_path / "tree").revision == git(repository, "rev-parse", "HEAD")
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add",
        str(repository), "sub")  # fmt: skip
    git(outer, "commit", "-q", "-m", "with submodule")
    assert known(outer / "sub").revision == git(repository, "rev-parse", "HEAD")
    assert known(outer).revision == git(outer, "rev-parse", "HEAD")
    (outer / "sub" / "new").touch()
    assert known(outer).dirty


def test_shallow_clone_says_that_a_tag_may_be_missing(repository: Path, tmp_path: Path):
    git(repository, "tag", "v1.0.0")
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "shallow")
    found = known(tmp_path / "shallow")
    assert found.revision == git(repository, "rev-parse", "HEAD")
    assert "shallow" in found.note
    assert "\n" not in found.note


def test_no_repository(tmp_path: Path):
    assert "no git repository" in reason(tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))


def test_bare_repository(repository: Path, tmp_path: Path):
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare")
    assert "bare" in reason(tmp_path / "bare")
    assert "bare" in reason(repository / ".git")


def test_repository_without_a_commit(tmp_path: Path):
    git(tmp_path, "init", "-q")
    assert "no commit" in reason(tmp_path)


def test_broken_repositories(repository: Path, tmp_path: Path):
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / ".git").write_text("gitdir: /nonexistent/worktrees/gone\n")
    assert "no git repository" in reason(tmp_path / "gone")
    (repository / ".git" / "config").write_text("[core\n")
    assert "git rev-parse failed" in reason(repository)


def test_missing_commit_object(repository: Path):
    shutil.rmtree(repository / ".git" / "objects")
    (repository / ".git" / "objects").mkdir()
    assert "no commit" in reason(repository)


def test_repository_of_another_user(repository: Path):
    words = reason(repository, GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert "belongs to another user" in words
    assert "safe.directory" in words


def test_no_git_on_path(repository: Path, tmp_path: Path):
    assert "not installed" in reason(repository, PATH=str(tmp_path))


def test_language_of_the_user_does_not_matter(tmp_path: Path):
    words = reason(
        tmp_path, LANG="de_DE.UTF-8", LANGUAGE="de", GIT_CEILING_DIRECTORIES=str(tmp_path.parent)
    )
    assert "no git repository" in words


def test_cancel_reaches_the_caller(repository: Path):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        git_facts(str(repository), ENV, token)


@pytest.mark.parametrize(
    ("path", "major"),
    [
        ("example.com/m", ""),
        ("example.com/m/v2", "v2"),
        ("example.com/m/v10", "v10"),
        ("example.com/m/v1", ""),
        ("example.com/m/v02", ""),
        ("gopkg.in/yaml.v3", "v3"),
        ("gopkg.in/yaml.v0", "v0"),
        ("example.com/yaml.v3", ""),
        ("v2", ""),
    ],
)
def test_major_version_of_a_path(path: str, major: str):
    assert path_major(path) == major


@pytest.mark.parametrize(
    ("tags", "major", "wanted"),
    [
        (["v1.2.3", "v1.2.4", "v2.0.0"], "", "v1.2.4"),
        (["v1.2.3", "v2.0.1", "v3.0.0"], "v2", "v2.0.1"),
        (["1.2.3", "release-5", "v1.2", "v01.2.3", "v1.2.3+meta", "api/v1.2.3"], "", ""),
        (["v1.2.3-rc.1"], "", "v1.2.3-rc.1"),
    ],
)
def test_go_takes_only_complete_versions_of_the_module_s_major(
    repository: Path, tags: list[str], major: str, wanted: str
):
    for tag in tags:
        git(repository, "tag", tag)
    found = git_facts(str(repository), ENV, CancelToken(), major)
    assert isinstance(found, GitFacts)
    head = git(repository, "rev-parse", "HEAD")
    base = "v1.2.4-0." if "v1.2.3+meta" in tags else f"{major or 'v0'}.0.0-"
    assert found.go_version == (wanted or f"{base}20260102030405-{head[:12]}")


def test_go_gives_no_version_where_the_root_is_no_module(repository: Path):
    (repository / "api").mkdir()
    git(repository, "mv", "go.mod", "api/go.mod")
    git(repository, "commit", "-q", "-m", "moved")
    assert known(repository / "api").go_version == ""
    assert known(repository / "api").version.startswith("v0.0.0-")


def test_files_that_the_user_s_git_hides_are_told(repository: Path):
    git(repository, "config", "status.showUntrackedFiles", "no")
    assert not known(repository).hidden
    (repository / "new.go").touch()
    assert known(repository).hidden
    git(repository, "config", "status.showUntrackedFiles", "all")
    assert not known(repository).hidden
    git(repository, "config", "status.showUntrackedFiles", "no")
    (repository / "go.mod").write_text("module example.com/other\n")
    assert not known(repository).hidden


def refs(directory: Path) -> RefFacts:
    found = ref_facts(str(directory), ENV, CancelToken())
    assert isinstance(found, RefFacts), found
    return found


def test_names_of_a_commit(repository: Path, tmp_path: Path):
    short = git(repository, "rev-parse", "--short", "HEAD")
    assert refs(repository) == RefFacts("main", "", short)
    git(repository, "tag", "v1.2.3")
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    git(repository, "checkout", "-q", "-b", "fix/1")
    assert refs(repository)[:2] == ("fix/1", "v1.2.3")
    git(repository, "checkout", "-q", "--detach")
    assert refs(repository).branch == "HEAD"
    missing = ref_facts(str(repository), {**ENV, "PATH": str(tmp_path)}, CancelToken())
    assert isinstance(missing, Degraded)
    assert "not installed" in missing.reason


def test_where_go_looks_for_a_repository(tmp_path: Path):
    inner = tmp_path / "outer" / "inner" / "module"
    inner.mkdir(parents=True)
    before = go_place(str(inner))
    (tmp_path / "outer" / "inner" / ".git").write_text("gitdir: elsewhere\n")
    assert go_place(str(inner)) == before._replace(found=True, linked=True)
    (tmp_path / "outer" / ".git").mkdir()
    assert go_place(str(inner)) == before._replace(found=True, linked=True, around=True)
    (inner / ".git").mkdir()
    assert go_place(str(inner)) == before._replace(found=True)
    (tmp_path / ".hg").mkdir()
    assert go_place(str(inner)) == GoPlace(found=True, foreign=".hg")
