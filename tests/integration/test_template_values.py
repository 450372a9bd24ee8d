# SPDX-License-Identifier: Apache-2.0
"""Values of templates from real repositories; what is an input, and what is missing."""

import shutil
from pathlib import Path

import pytest

from git_commands import ENV, git
from wherry.api.stamp import read_stamp
from wherry.api.template_values import TemplateFacts, TemplateInputs, inputs_of, template_facts
from wherry.errors import UsageError
from wherry.process.cancel import CancelToken
from wherry.settings.templates import GIT_NAMES, OWN_NAMES, parse

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    (path / "go.mod").write_text("module example.com/m\n")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "first")
    git(path, "tag", "v1.2.3")
    return path


def facts(directory: Path, *texts: str, **env: str) -> TemplateFacts:
    inputs = inputs_of(parse(text) for text in texts)
    return template_facts(inputs, str(directory), {**ENV, **env}, CancelToken())


def rendered(directory: Path, text: str, **env: str) -> str:
    return parse(text).render(facts(directory, text, **env).values)


def test_every_name_has_its_value(repository: Path) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    git(repository, "checkout", "-q", "-b", "fix/1")
    (repository / "new").touch()
    head = git(repository, "rev-parse", "HEAD")
    text = " ".join(f"{{{{.{name}}}}}" for name in (*OWN_NAMES, *GIT_NAMES))
    assert rendered(repository, text).split(" ") == [
        f"v1.2.4-0.20260102030405-{head[:12]}+dirty",
        head,
        "2026-01-02T03:04:05Z",
        "1767323045",
        "fix/1",
        "v1.2.3",
        git(repository, "rev-parse", "--short", "HEAD"),
        head,
        "2026-01-02T03:04:05Z",
        "1767323045",
        "true",
        "false",
        "dirty",
    ]
    (repository / "new").unlink()
    assert rendered(repository, "{{.Git.TreeState}} {{.Git.IsClean}}") == "clean true"


def test_a_date_is_source_date_epoch_or_the_commit_s_and_never_now(
    repository: Path, tmp_path: Path
) -> None:
    text = "{{.Date}} {{.Timestamp}}"
    assert rendered(repository, text, SOURCE_DATE_EPOCH="86400") == "1970-01-02T00:00:00Z 86400"
    # With it no git is needed, nor a repository.
    plain = tmp_path / "plain"
    plain.mkdir()
    assert rendered(plain, text, SOURCE_DATE_EPOCH="0", PATH="/nonexistent").endswith(" 0")
    with pytest.raises(UsageError) as caught:
        rendered(plain, text)
    assert "{{.Date}} has no value" in caught.value.what
    assert "no git repository" in caught.value.why
    assert "SOURCE_DATE_EPOCH" in caught.value.hint


@pytest.mark.parametrize("name", [*OWN_NAMES, *GIT_NAMES])
def test_without_git_each_name_is_an_error(repository: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        rendered(repository, f"x{{{{.{name}}}}}", PATH="/nonexistent")
    assert "git is not installed" in caught.value.why
    assert f"{{{{.{name}}}}}" in caught.value.what


def test_no_tag_is_an_error_that_says_so(repository: Path) -> None:
    git(repository, "tag", "-d", "v1.2.3")
    with pytest.raises(UsageError, match="no commit up to this one has a tag"):
        rendered(repository, "{{.Git.Tag}}")


def test_a_tag_that_a_shallow_clone_lacks(repository: Path, tmp_path: Path) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "shallow")
    with pytest.raises(UsageError, match="a shallow clone may lack the tag"):
        rendered(tmp_path / "shallow", "{{.Git.Tag}}")


def test_only_what_is_used_is_an_input(repository: Path) -> None:
    assert inputs_of([parse("plain")]) == TemplateInputs()
    assert facts(repository, "plain", PATH="/nonexistent").words == ""
    first = facts(repository, "{{.Version}} {{.Env.A}}", A="1", B="1").words
    git(repository, "checkout", "-q", "-b", "other")
    assert facts(repository, "{{.Version}} {{.Env.A}}", A="1", B="2").words == first
    for changed in ({"A": "2"}, {"A": ""}, {}):
        assert facts(repository, "{{.Version}} {{.Env.A}}", **changed).words != first
    assert "hunter2" not in facts(repository, "{{.Env.A}}", A="hunter2").words
    branch = facts(repository, "{{.Git.Branch}}").words
    git(repository, "checkout", "-q", "main")
    assert facts(repository, "{{.Git.Branch}}").words != branch
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    assert facts(repository, "{{.Version}} {{.Env.A}}", A="1").words != first


def test_a_variable_that_is_not_set(repository: Path) -> None:
    with pytest.raises(UsageError, match="NOT_SET is not set"):
        rendered(repository, "{{.Env.NOT_SET}}")
    assert rendered(repository, "[{{.Env.EMPTY}}]", EMPTY="") == "[]"
    # As for ko.
    assert rendered(repository, "[{{.Env.LDFLAGS}}]") == "[]"


def test_templates_tell_the_version_of_the_stamp(repository: Path) -> None:
    git(repository, "tag", "-d", "v1.2.3")
    git(repository, "tag", "1.2.3")
    stamp = read_stamp(str(repository), ENV, CancelToken()).for_binary("go1.26.8")
    inputs = inputs_of([parse("{{.Version}}")])
    told = template_facts(inputs, str(repository), ENV, CancelToken(), stamp)
    assert parse("{{.Version}}").render(told.values) == stamp.version != "1.2.3"
    assert rendered(repository, "{{.Version}}") == "1.2.3"
    assert facts(repository, "{{.Version}}").words == told.words
