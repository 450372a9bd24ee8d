# SPDX-License-Identifier: Apache-2.0
"""What `wherry init` writes: checked with no finding, for all bases and kinds of projects."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from golang_support import needs_go, write_files
from init_projects import GO_MOD, KINDS, LIB, LIB_MOD, MAIN, USES_LIB
from wherry.advice.context import Context
from wherry.advice.reading.go_module import GoModule
from wherry.advice.run import Choice, advise
from wherry.advice.subject import Subject
from wherry.advice.writing.dockerfile import blocks, dockerfile
from wherry.advice.writing.explained import LANGUAGES, explained, words_of
from wherry.advice.writing.found import Found, read_project
from wherry.advice.writing.ignore_file import ignore_file, parts
from wherry.advice.writing.notes import notes_of
from wherry.advice.writing.plan import BASES, Plan, go_version, make_plan
from wherry.advice.writing.settings_file import entries, settings_file
from wherry.errors import UsageError
from wherry.settings.load import load_settings

pytestmark = needs_go

WITHOUT_C = ("static", "scratch")


class Project(NamedTuple):
    """A project that was read once for all tests."""

    directory: Path
    module: GoModule
    found: Found

    def plan(self, base: str = "", **go: str) -> Plan:
        return make_plan(self.found, base, go or {"installed": "1.27.1"}, lambda _: "")

    @property
    def ignored(self) -> list[str]:
        return ignore_file(self.found).splitlines()[1:]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Project]]:
    class Read(dict[str, Project]):
        def __missing__(self, kind: str) -> Project:
            self[kind] = read(tmp_path_factory.mktemp("project") / "m", KINDS[kind])
            return self[kind]

    yield Read()


def read(root: Path, files: dict[str, str], **more: str) -> Project:
    write_files(root, files)
    if files.get("go.mod") == "":
        (root / "go.mod").unlink()
    user = {name: value for name, value in os.environ.items() if not name.startswith("GO")}
    env = {**user, "GOENV": "off", "GOPRIVATE": "git.example.com,*.corp.example.com", **more}
    module = GoModule.found(str(root), env)
    assert module is not None
    return Project(root, module, read_project(module, env))


def findings(project: Project, plan: Plan) -> list[str]:
    (project.directory / ".dockerignore").write_text(ignore_file(plan.found))
    context = Context(str(project.directory), str(project.directory / "Dockerfile"))
    subject = Subject("Dockerfile", dockerfile(plan), context, project.module)
    assert subject.problems == ()
    return [f"{item.rule.id} {item.message}" for item in advise(subject, Choice()).findings]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_found_in_what_is_written(
    projects: Mapping[str, Project], kind: str, base: str
) -> None:
    project = projects[kind]
    if kind.startswith("cgo") and base in WITHOUT_C:
        with pytest.raises(UsageError, match="has no C library") as raised:
            project.plan(base)
        assert "--base slim" in (raised.value.hint or "")
        return
    plan = project.plan(base)
    assert findings(project, plan) == []


def test_the_checks_above_can_fail(projects: Mapping[str, Project]) -> None:
    project = projects["one main"]
    plan = project.plan("scratch")
    told = findings(project, plan._replace(wanted=(), user="", builder="golang"))
    assert {item.split()[0] for item in told} >= {"GO228", "GO229", "GO230", "GO301", "GO306"}


# --- what is read -------------------------------------------------------------------------------


def test_programs_and_their_needs(projects: Mapping[str, Project]) -> None:
    found = projects["one main"].found
    (program,) = found.programs
    assert (program.package, program.name, program.stage) == (".", "m", "m")
    assert program.listening.ports == (8080,)
    assert program.needs is not None and all(program.needs)
    assert found.tested == ("./...",)


def test_several_programs_the_main_one_is_last(projects: Mapping[str, Project]) -> None:
    found = projects["several mains"].found
    assert [item.package for item in found.programs] == ["./cmd/api", "./cmd/worker"]
    text = dockerfile(projects["several mains"].plan())
    assert re.findall(r"^FROM \S+/\S+ AS (\S+)", text, re.MULTILINE) == ["api", "worker"]
    assert "wherry build --target worker, or without a target" in text
    assert text.index("build-api") < text.index("build-worker")


def test_a_program_of_the_modules_name_is_the_main_one(tmp_path: Path) -> None:
    files = {f"cmd/{name}/main.go": MAIN for name in ("a", "m", "z")}
    found = read(tmp_path, files).found
    assert [item.name for item in found.programs] == ["a", "z", "m"]


def test_helpers_have_no_image(tmp_path: Path) -> None:
    files = {"cmd/api/main.go": MAIN, "internal/gen/main.go": MAIN, "hack/x/main.go": MAIN,
             "mocks.go": "package main\n\n//go:generate mockgen\n"}  # fmt: skip
    project = read(tmp_path, files)
    assert [item.name for item in project.found.programs] == ["api"]
    assert project.found.aside == ("hack/x", "internal/gen")
    notes = notes_of(project.plan())
    assert any("hack/x, internal/gen" in note for note in notes)


def test_programs_deep_among_the_code_are_helpers(tmp_path: Path) -> None:
    files = {f"{name}/main.go": MAIN for name in ("cmd/api", "store/cmd/migrate", "web")}
    project = read(tmp_path, files)
    assert [item.name for item in project.found.programs] == ["api", "web"]
    assert project.found.aside == ("store/cmd/migrate",)


@pytest.mark.parametrize(("names", "last"), [
    ({"mctl": "", "a": ":1"}, "mctl"), ({"a": ":8080", "b": ""}, "a"), ({"a": "", "b": ""}, "b"),
])  # fmt: skip
def test_the_main_program(tmp_path: Path, names: dict[str, str], last: str) -> None:
    text = 'package main\n\nimport "net/http"\n\nfunc main() {{ http.ListenAndServe("{}", nil) }}\n'
    files = {f"cmd/{name}/main.go": text.format(port) for name, port in names.items()}
    assert read(tmp_path, files).plan().main.name == last


def test_what_is_made_before_is_told_of(tmp_path: Path) -> None:
    embedding = 'package main\n\nimport _ "embed"\n\n//go:embed web/dist.js\nvar text string\n'
    files = {"main.go": f"{embedding}\n//go:generate npm run build\n\nfunc main() {{}}\n"}
    notes = " ".join(notes_of(read(tmp_path, files).plan()))
    assert "go generate is not run in the image" in notes
    assert "go:embed names web/dist.js, and no such file is there" in notes


def test_only_helpers_are_programs_after_all(tmp_path: Path) -> None:
    assert [item.name for item in read(tmp_path, {"tools/x/main.go": MAIN}).found.programs] == ["x"]


def test_stages_have_names_of_their_own(tmp_path: Path) -> None:
    names = ("Api", "9p", "source", "a/web", "b/web", "app-source", "build-x", "x")
    project = read(tmp_path, {f"cmd/{name}/main.go": MAIN for name in names})
    assert {item.package: item.stage for item in project.found.programs} == {
        "./cmd/Api": "api", "./cmd/9p": "app-9p", "./cmd/app-source": "app-source",
        "./cmd/source": "app-app-source", "./cmd/a/web": "cmd-a-web", "./cmd/b/web": "cmd-b-web",
        "./cmd/build-x": "build-x", "./cmd/x": "app-x",
    }  # fmt: skip
    assert findings(project, project.plan()) == []


def test_workspaces(projects: Mapping[str, Project]) -> None:
    found = projects["go.work without a module"].found
    assert [item.package for item in found.programs] == ["./api"]
    assert found.tested == ("./api/...", "./lib/...")
    assert dict(found.early) == {
        ".": ("go.work",), "api": ("go.mod",), "lib": ("go.mod",)
    }  # fmt: skip
    around = projects["go.work around a module"].found
    assert [item.package for item in around.programs] == ["./server", "."]
    assert set(around.tested) == {"./...", "./server/...", "./lib/..."}


def test_what_is_outside_is_refused(tmp_path: Path) -> None:
    text = GO_MOD + "\nrequire example.com/lib v0.0.0\n\nreplace example.com/lib => ../lib\n"
    with pytest.raises(UsageError, match=r"\.\./lib.*lies outside") as raised:
        read(tmp_path / "m", {"go.mod": text, "main.go": MAIN})
    assert raised.value.hint


def test_a_workspace_above_is_refused_where_it_counts(tmp_path: Path) -> None:
    write_files(tmp_path, {"go.mod": "", "go.work": "go 1.21\n\nuse (\n\t./api\n\t./lib\n)\n"})
    (tmp_path / "go.mod").unlink()
    write_files(tmp_path / "lib", {"go.mod": LIB_MOD, "lib.go": LIB})
    api = {"go.mod": KINDS["go.work without a module"]["api/go.mod"], "main.go": USES_LIB}
    with pytest.raises(UsageError, match=r"\.\./lib.*lies outside"):
        read(tmp_path / "api", api)
    assert read(tmp_path / "api", {**api, "main.go": MAIN}).found.programs


def test_no_program(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no program here"):
        read(tmp_path, {"lib.go": LIB})


def test_without_go_the_files_are_written_and_it_is_said(tmp_path: Path) -> None:
    project = read(tmp_path, KINDS["one main"], PATH="/nowhere", HOME="/nowhere")
    if project.found.unseen == ():
        pytest.skip("a Go is found beside PATH")
    plan = project.plan("scratch")
    # What is not known to be needless is there.
    assert plan.wanted == ("certificates", "zones", "temporary", "users")
    assert project.found.programs[0].listening.ports == (8080,)
    assert any("not known" in note for note in notes_of(plan))
    assert findings(project, plan) == []


def test_cgo_without_go_is_seen_in_the_sources(tmp_path: Path) -> None:
    files = {**KINDS["cgo"], "go.mod": GO_MOD + "\nrequire example.com/gone v1.0.0\n",
             "more.go": 'package main\n\nimport _ "example.com/gone"\n'}  # fmt: skip
    project = read(tmp_path, files)
    assert project.found.unseen
    assert project.plan().base == "slim"


def test_libraries_of_cgo_are_told(tmp_path: Path) -> None:
    text = (
        "package main\n\n/*\n#cgo LDFLAGS: -lm -lz -Wl,-x\n#cgo pkg-config: libpng\n"
        "#cgo freebsd LDFLAGS: -ldevstat\n#cgo !linux LDFLAGS: -lno\n#cgo linux LDFLAGS:\n"
        '#include <stdlib.h>\n*/\nimport "C"\n\nfunc main() {}\n'
    )
    other = 'package main\n\n// #cgo LDFLAGS: -lkvm\nimport "C"\n'
    project = read(tmp_path, {"main.go": text, "x_freebsd.go": other})
    assert project.found.libraries == ("-lz", "libpng")
    assert any("-lz, libpng" in note for note in notes_of(project.plan()))


def test_unreadable_files_are_told(tmp_path: Path) -> None:
    write_files(tmp_path, {"main.go": MAIN, "lib/lib.go": LIB})
    (tmp_path / "gone.go").symlink_to("nothing.go")
    found = read(tmp_path, {"main.go": MAIN}).found
    assert any("gone.go" in line for line in found.unseen)


# --- what is decided ----------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "exact", "installed", "tag"), [
    ("1.21", "", "1.26.8", "1.26.8"), ("1.27.0", "", "1.26.8", "1.27"),
    ("1.21", "", "", "1.27"), ("1.26.3", "", "", "1.26"), ("1.28rc1", "", "1.26.8", "1.28"),
    ("1.21", "", "1.24.3", "1.27"), ("1.21", "1.25.3", "1.26.8", "1.25.3"),
    ("", "", "1.26.8 X:nodwarf5", "1.27"), ("1.21", "", "devel", "1.27"),
])  # fmt: skip
def test_the_go_that_builds(wanted: str, exact: str, installed: str, tag: str) -> None:
    assert go_version(wanted, exact, installed) == tag


def test_the_base_by_default(projects: Mapping[str, Project]) -> None:
    assert projects["one main"].plan().image == "gcr.io/distroless/static-debian13:nonroot"
    plan = projects["cgo"].plan()
    assert (plan.base, plan.image, plan.builder, plan.reason) == (
        "slim", "debian:trixie-slim", "golang:1.27.1-trixie", "cgo",
    )  # fmt: skip
    assert "$BUILDPLATFORM" not in dockerfile(plan)
    assert any("cgo is on" in note for note in notes_of(plan))
    assert projects["cgo with C++"].plan("debug").image == (
        "gcr.io/distroless/cc-debian13:debug-nonroot"
    )
    alpine = projects["cgo"].plan("alpine")
    assert alpine.builder == "golang:1.27.1-alpine"
    assert "musl" in " ".join(notes_of(alpine))


def test_digests_are_written_where_they_are_known(projects: Mapping[str, Project]) -> None:
    digest = "sha256:" + "a" * 64
    project = projects["one main"]
    plan = make_plan(project.found, "", {}, lambda _: digest)
    text = dockerfile(plan)
    assert f"FROM gcr.io/distroless/static-debian13:nonroot@{digest}\n" in text
    assert f"golang:1.27@{digest} AS source" in text
    assert "ignore=GO306" not in text
    assert findings(project, plan) == []
    assert digest not in settings_file(make_plan(project.found, "slim", {}, lambda _: digest))


# --- what is written ----------------------------------------------------------------------------


def test_only_what_a_build_reads_is_let_through(projects: Mapping[str, Project]) -> None:
    several = projects["several mains"]
    assert several.ignored == [
        "*", "!go.mod", "!cmd/**/*.go", "!internal/**/*.go", "!internal/**/testdata",
    ]  # fmt: skip
    assert "!*.c" in projects["cgo"].ignored
    assert "!vendor" in projects["vendor"].ignored
    work = projects["go.work without a module"].ignored
    assert work == ["*", "!go.work", "!api/go.mod", "!lib/go.mod", "!api/*.go", "!lib/*.go"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_has_all_that_go_reads(projects: Mapping[str, Project], kind: str) -> None:
    """Every file of the closure gets in, by Go's own list; a secret beside them does not."""
    project = projects[kind]
    (project.directory / ".env").write_text("TOKEN=1")
    (project.directory / ".dockerignore").write_text(ignore_file(project.found))
    context = Context(str(project.directory))
    names = set(context.names)
    assert ".env" not in names
    wanted = {name for place, files in project.found.early for name in
              (os.path.normpath(os.path.join(place, file)) for file in files)}  # fmt: skip
    for program in project.found.programs:
        for package in project.module.packages(program.package, cgo=True):
            if package.dir.startswith(str(project.directory)):
                inside = os.path.relpath(package.dir, project.directory)
                wanted |= {os.path.normpath(os.path.join(inside, name))
                           for name in package.files()}  # fmt: skip
    assert wanted <= names


def test_hidden_and_foreign_files_are_embedded(projects: Mapping[str, Project]) -> None:
    project = projects["embed"]
    (project.directory / ".dockerignore").write_text(ignore_file(project.found))
    names = Context(str(project.directory)).names
    assert {"web/.hidden", "web/index.html", "a b", "t/x.html"} <= set(names)
    assert "t/x.css" not in names


def test_private_modules_have_a_secret(projects: Mapping[str, Project]) -> None:
    project = projects["private hosts"]
    assert project.found.private == ("git.example.com",)
    text = dockerfile(project.plan())
    assert "ENV GOPRIVATE=git.example.com\n" in text
    runs = [part for part in text.split("\nRUN ")[1:] if "go " in part]
    assert len(runs) == 2
    assert all("type=secret,id=netrc" in part for part in runs)
    assert any("--secret id=netrc" in note for note in notes_of(project.plan()))
    assert "netrc" not in dockerfile(projects["one main"].plan())


def test_modules_are_fetched_where_there_are_any(projects: Mapping[str, Project]) -> None:
    assert "go mod download" in dockerfile(projects["no go.sum"].plan())
    assert "COPY go.mod ./" in dockerfile(projects["no go.sum"].plan())
    for kind in ("one main", "vendor", "a local replace"):
        assert "go mod download" not in dockerfile(projects[kind].plan()), kind


def test_no_test_stage_without_tests(projects: Mapping[str, Project]) -> None:
    assert "AS test" in dockerfile(projects["one main"].plan())
    assert "AS test" not in dockerfile(projects["embed"].plan())


def test_settings_say_what_differs_only(projects: Mapping[str, Project], tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text(GO_MOD)
    assert settings_file(projects["embed"].plan()) == ""
    # Ports that are not those of all programs are no settings of all images.
    assert settings_file(projects["several mains"].plan()) == ""
    for plan in (projects["cgo"].plan(), projects["one main"].plan("alpine")):
        (tmp_path / "wherry.toml").write_text(settings_file(plan))
        build = load_settings(str(tmp_path)).build
        assert (build.cgo, build.libc_base or build.base) == (plan.cgo or None, plan.image)
    assert tomllib.loads(settings_file(projects["one main"].plan())) == {"build": {"ports": [8080]}}


@pytest.mark.parametrize(("before", "after"), [
    ("[store]\nsize = \"1GB\"\n", "[store]\nsize = \"1GB\"\n\n[build]\nbase = \"scratch\"\n"
                                  "ports = [8080]\n"),
    ("# mine\n[build]  # x\ngo = \"1.26.8\"\n",
     "# mine\n[build]  # x\nbase = \"scratch\"\nports = [8080]\ngo = \"1.26.8\"\n"),
    ("[build]\nports = [1]\nlibc-base = \"debian\"\n",
     "[build]\nports = [1]\nlibc-base = \"debian\"\n"),
    ("[build]", "[build]\nbase = \"scratch\"\nports = [8080]\n"),
    ("build = { go = \"1.26.8\" }\n", "build = { go = \"1.26.8\" }\n"),
    ("build.go = \"1.26.8\"\n",
     "build.base = \"scratch\"\nbuild.ports = [8080]\nbuild.go = \"1.26.8\"\n"),
])  # fmt: skip
def test_settings_that_are_there_stay(
    projects: Mapping[str, Project], before: str, after: str
) -> None:
    plan = projects["one main"].plan("scratch")
    assert settings_file(plan, before) == after
    assert tomllib.loads(after)
    assert settings_file(plan, after) == after


# --- what is explained --------------------------------------------------------------------------


def test_every_line_has_its_reason_in_both_languages(projects: Mapping[str, Project]) -> None:
    """All reasons of all kinds and bases: none is missing, none too many."""
    used: set[str] = set()
    for kind in KINDS:
        for base in BASES:
            if kind.startswith("cgo") and base in WITHOUT_C:
                continue
            plan = projects[kind].plan(base)
            used |= {block.reason for block in blocks(plan)} | {
                part.reason for part in parts(plan.found)} | {
                entry.reason for entry in entries(plan)}  # fmt: skip
            for language in LANGUAGES:
                text = explained(plan, language)
                for block in blocks(plan):
                    assert block.text in text
                for line in ignore_file(plan.found).splitlines()[1:]:
                    assert line in text
    for language in LANGUAGES:
        words = words_of(language)
        assert set(words["reasons"]) == used
        assert set(words["bases"]) == set(BASES)
        assert set(words["chosen"]) == {"default", "asked", "cgo"}


def test_chinese_is_chinese() -> None:
    words = words_of("zh")
    for text in (*words["reasons"].values(), *words["bases"].values(), words["when-one"]):
        assert re.search("[\u4e00-\u9fff]", text)
        # Marks of Chinese sentences are wide.
        assert not re.search("[\u4e00-\u9fff][,;:?]", text)
