# SPDX-License-Identifier: Apache-2.0
"""`wherry init` as users meet it: files that are there, what is printed, what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from ci_recipes import RECIPES
from golang_support import needs_go, write_files
from wherry.advice.writing.recipes import GITHUB, GITLAB, GITLAB_BESIDE, recipe
from wherry.api.registries import Registries
from wherry.cli.verbs import run_verb
from wherry.errors import MachineError, UsageError
from wherry.oci.digest import parse_digest
from wherry.oci.image import Descriptor
from wherry.oci.reference import Reference
from wherry.registry.model import RawManifest

pytestmark = needs_go

MAIN = 'package main\n\nimport "net/http"\n\nfunc main() { http.ListenAndServe(":8080", nil) }\n'
FILES = ("Dockerfile", ".dockerignore", "wherry.toml")
Init = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_files(tmp_path / "m", {"main.go": MAIN, "main_test.go": "package main\n"})


@pytest.fixture
def init(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Init:  # fmt: skip
    """`init(WORDS)` in the project: exit code, stdout, stderr."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("WHERRY_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("GOENV", "off")
    monkeypatch.delenv("GOPRIVATE", raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        code = run_verb(["init", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_files_are_written_once(init: Init, project: Path, tmp_path: Path) -> None:
    code, out, err = init()
    assert (code, out.splitlines()) == (0, [str(project / name) for name in FILES])
    assert "--ci" in err
    before = {name: (project / name).read_bytes() for name in FILES}
    times = [(project / name).stat().st_mtime_ns for name in FILES]
    assert run_verb(["check", "--fail-on", "info"]) == 0
    init("--print")
    code, out, err = init()
    assert (code, out) == (0, "")
    assert "already" in err
    assert {name: (project / name).read_bytes() for name in FILES} == before
    assert [(project / name).stat().st_mtime_ns for name in FILES] == times
    # No store is made to find that it knows nothing, and nothing lies beside the files.
    assert not (tmp_path / "store").exists()
    assert {path.name for path in project.iterdir()} == {*FILES, "go.mod", "main.go",
                                                        "main_test.go"}  # fmt: skip


def test_what_is_there_stays_and_the_difference_is_shown(init: Init, project: Path) -> None:
    own = project / "Dockerfile"
    own.write_text("FROM scratch\n")
    code, out, err = init()
    assert (code, own.read_text()) == (1, "FROM scratch\n")
    assert str(own) not in out
    # It would hide what the Dockerfile copies.
    assert not (project / ".dockerignore").exists()
    assert "no .dockerignore beside your own Dockerfile" in err
    assert (project / "wherry.toml").exists()
    assert "\n-FROM scratch\n" in err
    assert "\n+ENTRYPOINT" in err
    assert "--force" in err
    code, out, err = init("--force")
    assert (code, out) == (0, f"{own}\n{project / '.dockerignore'}\n")
    assert own.read_text().endswith('ENTRYPOINT ["/app/m"]\n')


def test_several_files_that_stay(init: Init, project: Path) -> None:
    assert init("--base", "static")[0] == 0
    err = init("--base", "alpine")[2]
    assert "left as they are: Dockerfile, wherry.toml; --force replaces them with" in err


def test_json(init: Init, project: Path) -> None:
    (project / ".dockerignore").write_text("*\n")
    code, out, _ = init("--json")
    told = json.loads(out)
    assert code == 1
    assert told["written"] == [str(project / name) for name in ("Dockerfile", "wherry.toml")]
    assert (told["same"], told["different"]) == ([], [str(project / ".dockerignore")])


def test_print_asks_for_no_place(init: Init, project: Path) -> None:
    (project / "Dockerfile").mkdir()
    code, out, _ = init("--print")
    assert (code, "==> Dockerfile <==" in out) == (0, True)


def test_print_writes_nothing(init: Init, project: Path) -> None:
    code, out, _ = init("--print", "--ci", "github")
    assert code == 0
    for name in (*FILES, GITHUB):
        assert f"==> {name} <==\n" in out
    assert not any((project / name).exists() for name in (*FILES, ".github"))


def test_explain_writes_nothing(init: Init, project: Path) -> None:
    code, english, _ = init("--explain")
    assert (code, "# Which base when" in english) == (0, True)
    code, chinese, _ = init("--explain", "--lang", "zh")
    assert (code, "基础镜像" in chinese) == (0, True)
    assert not any((project / name).exists() for name in FILES)


def test_another_directory(
    init: Init, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init("m")[0] == 0
    assert (project / "Dockerfile").exists()


# --- CI -----------------------------------------------------------------------------------------


def test_a_recipe_for_what_is_there(init: Init, project: Path) -> None:
    (project / ".github").mkdir()
    assert str(project / GITHUB) in init()[1]
    assert (project / GITHUB).read_text() == recipe("github", tested=True)


def test_a_pipeline_that_is_there_is_not_touched(init: Init, project: Path) -> None:
    (project / GITLAB).write_text("stages: [test]\n")
    code, out, err = init()
    assert (code, str(project / GITLAB_BESIDE) in out) == (0, True)
    assert f"include: [{{local: {GITLAB_BESIDE}}}]" in err
    assert (project / GITLAB).read_text() == "stages: [test]\n"


def test_a_pipeline_of_its_own_is_known_again(init: Init, project: Path) -> None:
    assert str(project / GITLAB) in init("--ci", "gitlab")[1]
    assert init()[:2] == (0, "")
    assert not (project / GITLAB_BESIDE).exists()


def test_both_or_none(init: Init, project: Path) -> None:
    (project / ".github").mkdir()
    (project / GITLAB).write_text("")
    assert "--ci says which" in init()[2]
    assert "CI" not in init("--ci", "none", "--force")[2]
    assert not (project / GITHUB).exists()


def test_a_recipe_lies_at_the_top_of_the_repository(init: Init, project: Path) -> None:
    (project / ".git").mkdir()
    write_files(project / "api", {"main.go": MAIN})
    code, _, err = init("--ci", "github", "api")
    assert (code, f"at the top of the repository, {project}\n" in err) == (0, True)
    assert not (project / "api/.github").exists()


def without_head(text: str) -> str:
    lines = text.splitlines()
    while lines and (lines[0].startswith("#") or not lines[0]):
        lines.pop(0)
    return "\n".join(lines)


@pytest.mark.parametrize(("kind", "page"), [
    ("github", "github-actions-dockerfile.yml"), ("gitlab", "gitlab-ci-dockerfile.yml"),
])  # fmt: skip
def test_recipes_are_those_of_the_documentation(kind: str, page: str) -> None:
    """All but the comment at the top."""
    documented = (RECIPES / page).read_text()
    assert without_head(recipe(kind, tested=False)) == without_head(documented)
    with_tests = recipe(kind, tested=True)
    assert with_tests.count("wherry build --target test\n") == 1
    assert yaml.safe_load(with_tests)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "what"), [
    (("gone",), "gone is no directory"), (("--lang", "zh"), "--lang"),
    (("--from-ko", "--print"), "--from-ko"),
    (("--from-ko", "--base", "slim"), "--from-ko"), (("--explain", "--json"), "--explain"),
    (("--explain", "--print"), "--explain and --print"), (("--base", "huge"), "huge"),
])  # fmt: skip
def test_wrong_words(init: Init, words: tuple[str, ...], what: str) -> None:
    with pytest.raises(UsageError, match=what) as raised:
        init(*words)
    assert raised.value.hint


def test_no_module(init: Init, project: Path) -> None:
    (project / "go.mod").unlink()
    with pytest.raises(UsageError, match=r"there is no go\.mod in \.") as raised:
        init()
    assert "go mod init" in (raised.value.hint or "")
    write_files(project / "api", {"main.go": MAIN})
    with pytest.raises(UsageError) as raised:
        init()
    assert raised.value.hint == "say: wherry init ./api"


def test_names_that_a_dockerfile_cannot_have(init: Init, project: Path) -> None:
    write_files(project, {"cmd/a b/main.go": MAIN})
    with pytest.raises(UsageError, match="a b"):
        init()


@pytest.mark.parametrize("way", ["a directory", "a link out", "a fifo"])
def test_what_is_no_file_is_left_alone(init: Init, project: Path, tmp_path: Path, way: str) -> None:
    place = project / "Dockerfile"
    if way == "a directory":
        place.mkdir()
    elif way == "a fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="Dockerfile"):
        init("--force")
    assert not (tmp_path / "elsewhere").exists()
    # Nothing was written before that was seen.
    assert not (project / ".dockerignore").exists()


def test_a_link_inside_stays_one(init: Init, project: Path) -> None:
    (project / "Dockerfile").symlink_to("image.Dockerfile")
    assert init()[0] == 0
    assert (project / "Dockerfile").is_symlink()
    assert "ENTRYPOINT" in (project / "image.Dockerfile").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_directory_that_cannot_be_written(init: Init, project: Path) -> None:
    project.chmod(0o555)
    try:
        with pytest.raises(MachineError, match="cannot write Dockerfile"):
            init()
    finally:
        project.chmod(0o755)


def test_a_failure_leaves_no_half_file(
    init: Init, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, target: str) -> None:
        if target.endswith("wherry.toml"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    rename = os.rename
    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(MachineError, match=r"cannot write wherry\.toml"):
        init()
    names = {path.name for path in project.iterdir()}
    assert names == {"Dockerfile", ".dockerignore", "go.mod", "main.go", "main_test.go"}


def test_a_file_in_the_way_of_a_directory(init: Init, project: Path) -> None:
    (project / ".github").write_text("")
    with pytest.raises((MachineError, UsageError), match=r"\.github/workflows/image\.yml"):
        init("--ci", "github")


def test_wrong_settings_are_told(init: Init, project: Path) -> None:
    (project / "wherry.toml").write_text("[build]\nbasis = 1\n")
    with pytest.raises(UsageError, match="basis"):
        init()


def test_digests_are_asked_for_with_pin_only(
    init: Init, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = parse_digest("sha256:" + "c" * 64)
    asked: list[str] = []

    class Repository(NamedTuple):
        name: str

        def manifest(self, tag: str) -> RawManifest:
            asked.append(f"{self.name}:{tag}")
            return RawManifest(Descriptor("application/vnd.oci.image.index.v1+json", digest, 2),
                               b"{}")  # fmt: skip

    def of(_: Registries, reference: Reference) -> Repository:
        return Repository(f"{reference.registry}/{reference.repository}")

    monkeypatch.setattr(Registries, "of", of)
    assert init()[0] == 0
    assert asked == []
    assert init("--pin", "--force")[0] == 0
    text = (project / "Dockerfile").read_text()
    assert asked[0] == "gcr.io/distroless/static-debian13:nonroot"
    assert asked[1].startswith("docker.io/library/golang:1.")
    assert text.count(f"@{digest}") == 2
    assert run_verb(["check", "--fail-on", "info"]) == 0


def test_settings_that_are_there_count(init: Init, project: Path) -> None:
    text = '[build]\nbase = "scratch"\ngo = "1.26.2"\nports = [1]\nbuild-tags = ["x"]\n'
    (project / "wherry.toml").write_text(text)
    code, out, err = init()
    assert (code, "wherry.toml" in out) == (0, False)
    assert "build-tags of wherry.toml is not in the Dockerfile" in err
    assert (project / "wherry.toml").read_text() == text
    written = (project / "Dockerfile").read_text()
    assert "golang:1.26.2 AS source" in written
    assert "\nFROM scratch\n" in written


def test_digests_of_the_lock(init: Init, project: Path) -> None:
    digest = "sha256:" + "b" * 64
    (project / "wherry.lock").write_text(
        'version = 1\ngo = "1.26.5"\n\n[data]\n\n[[base]]\n'
        'reference = "gcr.io/distroless/static-debian13:nonroot"\n'
        f'digest = "{digest}"\nmedia-type = "application/vnd.oci.image.index.v1+json"\nsize = 1\n'
        f'\n[base.platforms]\n"linux/amd64" = "{digest}"\n'
    )
    assert init()[0] == 0
    text = (project / "Dockerfile").read_text()
    assert f"FROM gcr.io/distroless/static-debian13:nonroot@{digest}\n" in text
    assert "golang:1.26.5 AS" in text


def test_the_base_of_the_settings_is_taken_again(init: Init, project: Path) -> None:
    assert init("--base", "alpine")[0] == 0
    assert init()[:2] == (0, "")
    (project / "wherry.toml").write_text(
        '[build]\nbase = "example.com/mine:1"\nenv = { A = "1" }\n'
    )
    assert "base, env of wherry.toml are not in the Dockerfile" in init("--print")[2]


def test_flags_of_the_machine_are_told(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-tags=x")
    assert "GOFLAGS of this machine is not in the Dockerfile" in init("--print")[2]


def test_private_hosts_of_go_env(
    init: Init, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "goenv").write_text("GOPRIVATE=git.example.com\n")
    monkeypatch.setenv("GOENV", str(tmp_path / "goenv"))
    (project / "go.mod").write_text(
        "module example.com/m\n\ngo 1.21\n\nrequire git.example.com/team/lib v1.0.0\n"
    )
    code, out, err = init("--print", "--ci", "github")
    assert (code, "ENV GOPRIVATE=git.example.com\n" in out) == (0, True)
    assert "has no login for private modules" in err


def test_other_dockerfiles_lose_no_files(init: Init, project: Path) -> None:
    (project / "dev.Dockerfile").write_text("FROM scratch\nCOPY README.md /\n")
    own = project / "Dockerfile.dockerignore"
    code, out, _ = init()
    assert (code, str(own) in out) == (0, True)
    assert not (project / ".dockerignore").exists()
    assert run_verb(["check", "--fail-on", "info", "Dockerfile"]) == 0
    (project / "dev.Dockerfile").unlink()
    assert init()[:2] == (0, "")


def test_rules_that_are_there_stay_the_ones(init: Init, project: Path) -> None:
    assert init()[0] == 0
    (project / "dev.Dockerfile").write_text("FROM scratch\n")
    assert init()[:2] == (0, "")
    assert not (project / "Dockerfile.dockerignore").exists()


def test_print_as_json(init: Init) -> None:
    code, out, _ = init("--print", "--json")
    told = json.loads(out)
    assert code == 0
    assert [item["path"] for item in told["files"]] == list(FILES)
    assert told["files"][0]["text"].startswith("# Written by `wherry init`")
    assert told["notes"]


def test_a_difference_shows_no_secret(init: Init, project: Path) -> None:
    (project / "Dockerfile").write_text("FROM scratch\nENV DB_PASSWORD=hunter22 \x1b[31m\n")
    err = init()[2]
    assert "-ENV DB_PASSWORD=******** \ufffd[31m\n" in err
