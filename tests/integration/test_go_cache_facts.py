# SPDX-License-Identifier: Apache-2.0
"""Facts about Go's own build cache that wherry builds on, each tried with the real go.

Nothing here runs wherry. Where one of these fails with a new Go release, Go has changed, and what
`wherry.gocache` makes of that fact has to be looked at again; the names of the tests say the fact.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from go_caches import (
    HOUR,
    MARK_AGE,
    SMALL,
    Action,
    Project,
    actions,
    age,
    age_actions,
    age_all,
    entry_path,
    go_settings,
    graph_entries,
    is_fresh,
    output_bytes,
    prefix_of,
    restore,
    small_project,
    subkey,
    used,
)
from golang_support import needs_go, the_go, write_files

pytestmark = needs_go
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on PATH")
DAY = 24 * HOUR
INNER = "package inner\n\nfunc Add(a, b int) int { return %s }\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """SMALL, built once with -trimpath; tests work on copies of it.

    To spare seconds, the standard library's entries are copied out of the machine's own cache.
    """
    project = small_project(tmp_path_factory.mktemp("built"))
    asked = subprocess.run([the_go().path, "env", "GOCACHE"], capture_output=True, text=True)
    machine = Project(project.root, Path(asked.stdout.strip()))
    nodes = [n for n in machine.graph("-trimpath") if not str(n["Package"]).startswith("example")]
    restore(machine.cache, project.cache, graph_entries(machine.cache, nodes))
    assert project.build("-trimpath") == ["example.com/m/inner", "example.com/m"]
    return project


@pytest.fixture
def warm(built: Project, tmp_path: Path) -> Project:
    """A copy of `built`'s module and cache in a directory of its own, every file aged."""
    root = shutil.copytree(built.root, tmp_path / "m")
    cache = shutil.copytree(built.cache, tmp_path / "gocache")
    age_all(cache)
    return Project(root, cache)


def is_index(cache: Path, action: Action) -> bool:
    return output_bytes(cache, action).startswith(b"go index v")


def is_archive(cache: Path, action: Action) -> bool:
    return output_bytes(cache, action).startswith(b"!<arch>\n")


def compiled_as(project: Project, package: str, *flags: str) -> Action:
    """The entry of a package's compile, found by the action graph."""
    nodes = [n for n in project.graph("-trimpath", *flags) if n["Package"] == package]
    (node,) = (n for n in nodes if n["Mode"] == "build")
    prefix = prefix_of(str(node["ActionID"]))
    (found,) = (a for i, a in actions(project.cache).items() if i.startswith(prefix))
    return found


def program_says(project: Project) -> str:
    done = subprocess.run([project.root / "out.bin"], capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).strip()


# The form of entries.


def test_an_action_is_175_bytes_and_names_an_output_by_its_sha256(built: Project) -> None:
    found = actions(built.cache)
    assert len(found) > 50
    for action in found.values():
        assert entry_path(built.cache, action.id, "a").stat().st_size == 175
        content = output_bytes(built.cache, action)
        assert hashlib.sha256(content).hexdigest() == action.output
        assert len(content) == action.size
        assert 0 < action.made < time.time_ns()
    others = {p.name for p in built.cache.iterdir() if len(p.name) > 2}
    assert others <= {"README", "trim.txt", "testexpire.txt", "fuzz"}


Change = Callable[[bytes, Action], bytes]

HARMLESS: dict[str, Change] = {
    "empty": lambda raw, action: b"",
    "cut": lambda raw, action: raw[:100],
    "too long": lambda raw, action: raw + b"\n",
    "another id": lambda raw, action: raw.replace(action.id.encode(), b"0" * 64),
    "another version": lambda raw, action: raw.replace(b"v1 ", b"v2 "),
    "another size": lambda raw, action: raw[:133] + b"%20d" % (action.size + 1) + raw[153:],
    "negative size": lambda raw, action: raw[:133] + b"%20d" % -1 + raw[153:],
    "size not padded left": lambda raw, action: raw[:133] + b"%-20d" % action.size + raw[153:],
}


def test_an_ill_formed_action_is_a_miss_and_is_mended(warm: Project) -> None:
    action = compiled_as(warm, "example.com/m/inner")
    path = entry_path(warm.cache, action.id, "a")
    raw = path.read_bytes()
    for name, change in HARMLESS.items():
        path.write_bytes(change(raw, action))
        assert warm.build("-trimpath") == ["example.com/m/inner"], name
        assert path.read_bytes()[:153] == raw[:153], name


def test_a_missing_or_cut_output_is_a_miss_and_is_mended(warm: Project) -> None:
    path = entry_path(warm.cache, compiled_as(warm, "example.com/m/inner").output, "d")
    good = path.read_bytes()
    for broken in (b"", good[:-1], good + b"x", None):
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken)
        assert warm.build("-trimpath") == ["example.com/m/inner"], broken
        assert path.read_bytes() == good


def test_other_bytes_of_the_same_size_are_not_noticed(warm: Project) -> None:
    # So whoever puts an output into GOCACHE has to check its digest: Go never will.
    path = entry_path(warm.cache, compiled_as(warm, "example.com/m/inner").output, "d")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert warm.build("-trimpath") == []
    assert path.read_bytes() != good


def test_the_time_within_an_action_does_not_matter_to_a_build(warm: Project) -> None:
    path = entry_path(warm.cache, compiled_as(warm, "example.com/m/inner").id, "a")
    raw = path.read_bytes()
    path.write_bytes(raw[:154] + b"%20d" % 0 + raw[174:])
    assert warm.build("-trimpath") == []


# Times of files, and what a build makes of them.


@pytest.mark.parametrize(
    ("seconds", "touched"),
    [
        pytest.param(HOUR - 60, False, id="59 minutes"),
        pytest.param(HOUR + 5, True, id="an hour"),
        pytest.param(MARK_AGE, True, id="three hours"),
        pytest.param(4 * DAY, True, id="four days"),
        pytest.param(-2 * DAY, False, id="two days ahead"),
    ],
)
def test_an_entry_in_use_is_touched_once_it_is_an_hour_old(
    warm: Project, seconds: float, touched: bool
) -> None:
    action = compiled_as(warm, "example.com/m/inner")
    paths = [entry_path(warm.cache, action.id, "a"), entry_path(warm.cache, action.output, "d")]
    for path in paths:
        age(path, seconds)
    assert warm.build("-trimpath") == []
    for path in paths:
        now = time.time() - path.stat().st_mtime
        assert abs(now) < 300 if touched else abs(now - seconds) < 300


def test_times_of_whole_seconds_are_enough(warm: Project) -> None:
    # As on file systems that keep no fractions.
    then = int(time.time() - MARK_AGE)
    for path in warm.cache.glob("??/*-a"):
        os.utime(path, (then, then))
    assert warm.build("-trimpath") == []
    archives = {i for i, a in actions(warm.cache).items() if is_archive(warm.cache, a)}
    assert archives
    assert archives <= used(warm.cache).keys()


def test_a_build_to_a_new_place_touches_every_entry_that_a_replay_needs(
    warm: Project, tmp_path: Path
) -> None:
    age_actions(warm.cache)
    assert warm.build("-trimpath") == []
    needed = {i: a for i, a in used(warm.cache).items() if not is_index(warm.cache, a)}
    assert len(needed) < len(actions(warm.cache))
    fresh = Project(warm.root, tmp_path / "elsewhere")
    restore(warm.cache, fresh.cache, needed, seconds=30)
    assert fresh.build("-trimpath") == []


def test_an_up_to_date_binary_hides_the_main_package_from_the_marks(
    warm: Project, tmp_path: Path
) -> None:
    # Go answers for the main package by the binary's build id, and leaves its entry alone: what a
    # build without work has used must not replace what the build before it used.
    output = str(warm.root / "out.bin")
    assert warm.build("-trimpath", output=output) == []
    main = compiled_as(warm, "example.com/m")
    age_all(warm.cache)
    assert warm.build("-trimpath", output=output) == []
    needed = used(warm.cache)
    assert main.id not in needed
    fresh = Project(warm.root, tmp_path / "elsewhere")
    restore(warm.cache, fresh.cache, needed)
    assert fresh.build("-trimpath") == ["example.com/m"]


def test_the_time_of_an_equal_output_stays(warm: Project) -> None:
    # A comment: compiled again, with the same result. So times of `-d` files do not tell its use.
    (warm.root / "inner/inner.go").write_text("// A comment.\n" + SMALL["inner/inner.go"])
    assert "example.com/m/inner" in warm.build("-trimpath")
    assert any(
        not is_fresh(entry_path(warm.cache, action.output, "d"))
        for action in used(warm.cache).values()
    )


def test_a_change_compiles_just_what_depends_on_it(warm: Project, tmp_path: Path) -> None:
    warm.build("-trimpath")
    fresh = Project(warm.root, tmp_path / "elsewhere")
    restore(warm.cache, fresh.cache, used(warm.cache))
    (warm.root / "main.go").write_text(SMALL["main.go"] + "\nvar changed = 1\n")
    assert fresh.build("-trimpath") == ["example.com/m"]
    (warm.root / "inner/inner.go").write_text(INNER % "b + a + 1")
    assert fresh.build("-trimpath") == ["example.com/m/inner", "example.com/m"]


# What holds elsewhere.


def test_trimmed_entries_hold_in_other_directories_and_homes(warm: Project, tmp_path: Path) -> None:
    there = tmp_path / "another" / "place"
    other = Project(shutil.copytree(warm.root, there), warm.cache, home=tmp_path)
    assert other.build("-trimpath", GOMODCACHE=str(tmp_path / "mod")) == []


def test_without_trimpath_a_directory_is_part_of_the_keys(warm: Project, tmp_path: Path) -> None:
    def compile_inner(project: Project) -> list[str]:
        return project.run("build", "-v", "unicode/utf8", "./inner").stderr.split()

    before = set(actions(warm.cache))
    assert set(compile_inner(warm)) == {"unicode/utf8", "example.com/m/inner"}
    assert compile_inner(warm) == []
    new = [a for i, a in actions(warm.cache).items() if i not in before]
    contents = [output_bytes(warm.cache, action) for action in new]
    assert any(str(warm.root).encode() in c for c in contents if c.startswith(b"!<arch>\n"))
    other = Project(shutil.copytree(warm.root, tmp_path / "other"), warm.cache)
    assert compile_inner(other) == ["example.com/m/inner"]


def test_a_copy_of_the_go_root_uses_the_same_entries(warm: Project, tmp_path: Path) -> None:
    # A tree of links: Go takes GOROOT from the environment as it is written.
    goroot = Path(warm.run("env", "GOROOT").stdout.strip())
    other = tmp_path / "another-goroot"
    other.symlink_to(goroot)
    assert warm.build("-trimpath", GOROOT=str(other)) == []


@pytest.mark.parametrize(
    "packages",
    [
        pytest.param(("unicode/utf8", "./inner"), id="few packages"),
        pytest.param(("net/http", "."), id="net/http", marks=pytest.mark.soak),
    ],
)
def test_only_the_module_index_holds_paths_of_the_machine(
    tmp_path: Path, packages: tuple[str, ...]
) -> None:
    root = age_tree(write_files(tmp_path / "planted-checkout", SMALL), 600)
    home = tmp_path / "planted-home"
    home.mkdir()
    project = Project(root, tmp_path / "planted-gocache", home=home)
    project.run(
        "build", "-trimpath", *packages, USER="planted-user",
        GOMODCACHE=str(tmp_path / "planted-mod"), PLANTED="planted-value",
        TMPDIR=str(write_files(tmp_path / "planted-tmp", {})),
    )  # fmt: skip
    goroot = project.run("env", "GOROOT").stdout.strip()
    planted = [b"planted-", str(tmp_path).encode(), goroot.encode() + b"/"]
    if len(socket.gethostname()) > 5:
        planted.append(socket.gethostname().encode())
    holding = [
        action
        for action in actions(project.cache).values()
        if any(text in output_bytes(project.cache, action) for text in planted)
    ]
    assert holding
    assert all(is_index(project.cache, action) for action in holding)


def test_the_module_index_is_not_needed_and_not_written_on_demand(
    built: Project, tmp_path: Path
) -> None:
    without = {i: a for i, a in actions(built.cache).items() if not is_index(built.cache, a)}
    assert len(without) < len(actions(built.cache))
    fresh = Project(built.root, tmp_path / "gocache")
    restore(built.cache, fresh.cache, without)
    before = set(actions(fresh.cache))
    assert fresh.build("-trimpath", output=str(tmp_path / "bin"), GODEBUG="goindex=0") == []
    fresh.run("list", "-deps", "-json", "./...", GODEBUG="goindex=0")
    assert set(actions(fresh.cache)) == before
    fresh.run("list", "-deps", "./...")
    assert set(actions(fresh.cache)) > before


# The action graph names entries; what keys do not cover.


def test_the_action_graph_names_the_entries_of_each_package(warm: Project) -> None:
    found = actions(warm.cache)
    nodes = [node for node in warm.graph("-trimpath") if node["Mode"] == "build"]
    with_id = {str(n["Package"]): str(n["ActionID"]) for n in nodes if "ActionID" in n}
    assert {"example.com/m", "example.com/m/inner", "runtime"} <= with_id.keys()
    for package, action_id in with_id.items():
        assert len(action_id) == 20
        prefix = prefix_of(action_id)
        assert len([i for i in found if i.startswith(prefix)]) == 1, package
    inner = compiled_as(warm, "example.com/m/inner")
    assert {subkey(inner.id, "stdout"), subkey(inner.id, "srcfiles")} <= found.keys()
    main = compiled_as(warm, "example.com/m")
    assert subkey(main.id, "link-stdout") in found


def test_what_the_action_graph_names_is_all_that_a_replay_needs(
    warm: Project, tmp_path: Path
) -> None:
    entries = graph_entries(warm.cache, warm.graph("-trimpath"))
    assert not any(is_index(warm.cache, action) for action in entries.values())
    fresh = Project(warm.root, tmp_path / "elsewhere")
    restore(warm.cache, fresh.cache, entries)
    assert fresh.build("-trimpath") == []


def test_the_action_graph_names_the_same_entries_of_an_up_to_date_binary(warm: Project) -> None:
    whole = graph_entries(warm.cache, warm.graph("-trimpath"))
    file = warm.root.parent / "graph.json"
    flags = ("-trimpath", f"-debug-actiongraph={file}")
    assert warm.build(*flags, output=str(warm.root / "out.bin")) == []
    assert graph_entries(warm.cache, json.loads(file.read_text())) == whole


def test_the_action_graph_of_a_failing_build_names_what_was_compiled(warm: Project) -> None:
    whole = graph_entries(warm.cache, warm.graph("-trimpath"))
    (warm.root / "main.go").write_text("package main\n\nfunc main() { x }\n")
    file = warm.root.parent / "graph.json"
    done = warm.run("build", f"-debug-actiongraph={file}", "-trimpath", ".", check=False)
    assert done.returncode == 1
    left = graph_entries(warm.cache, json.loads(file.read_text()))
    assert "runtime" in {n["Package"] for n in json.loads(file.read_text()) if "ActionID" in n}
    assert len(whole) // 2 < len(left) < len(whole)


def test_marks_take_in_what_other_projects_use_and_the_action_graph_does_not(
    warm: Project, tmp_path: Path
) -> None:
    files = {
        name: text.replace("example.com", "private.example.com") for name, text in SMALL.items()
    }
    other = Project(write_files(tmp_path / "other", files), warm.cache)
    private = {a.id for a in (compiled_as(other, "private.example.com/m/inner"),)}
    age_actions(warm.cache)
    other.build("-trimpath")
    nodes = warm.graph("-trimpath")
    assert private <= used(warm.cache).keys()
    assert private.isdisjoint(graph_entries(warm.cache, nodes))


HEADER = "#define X %d\n"
SIBLING_C = {
    **SMALL,
    "inner/inner.go": (
        'package inner\n\n// #include "../inc/x.h"\n// static int x(void) { return X; }\n'
        'import "C"\n\nfunc Add(a, b int) int { return int(C.x()) }\n'
    ),
}
SIBLING_ASSEMBLY = {
    **SMALL,
    "inner/inner.go": "package inner\n\nfunc Add(a, b int) int\n",
    "inner/add_amd64.s": (
        '#include "../inc/x.h"\n#include "textflag.h"\nTEXT ·Add(SB),NOSPLIT,$0-24\n'
        "\tMOVQ $X, AX\n\tMOVQ AX, ret+16(FP)\n\tRET\n"
    ),
    "inner/add_arm64.s": (
        '#include "../inc/x.h"\n#include "textflag.h"\nTEXT ·Add(SB),NOSPLIT,$0-24\n'
        "\tMOVD $X, R0\n\tMOVD R0, ret+16(FP)\n\tRET\n"
    ),
}


def stale_here_and_elsewhere(project: Project, tmp_path: Path, files: dict[str, str]) -> None:
    project.build("-trimpath")
    assert program_says(project) == "2"
    (project.root / "inc/x.h").write_text(HEADER % 3)
    assert project.build("-trimpath") == []
    assert program_says(project) == "2", "Go notices headers of other directories now"
    other = write_files(tmp_path / "other", {**files, "inc/x.h": HEADER % 4})
    elsewhere = Project(other, project.cache, project.go, environment=project.environment)
    assert elsewhere.build("-trimpath") == []
    assert program_says(elsewhere) == "2"


@pytest.fixture(scope="module")
def cgo_built(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    place = tmp_path_factory.mktemp("cgo")
    cache = shutil.copytree(built.cache, place / "gocache")
    root = write_files(place / "planted-checkout", {**SIBLING_C, "inc/x.h": HEADER % 2})
    project = Project(root, cache, environment=(("CGO_ENABLED", "1"),))
    project.build("-trimpath")
    return project


@needs_cc
def test_a_header_of_another_directory_is_in_no_key_of_cgo(
    cgo_built: Project, tmp_path: Path
) -> None:
    root = shutil.copytree(cgo_built.root, tmp_path / "m")
    cache = shutil.copytree(cgo_built.cache, tmp_path / "gocache")
    project = Project(root, cache, environment=cgo_built.environment)
    stale_here_and_elsewhere(project, tmp_path, {**SIBLING_C, "inc/x.h": HEADER % 2})


@needs_cc
def test_cgo_leaves_paths_even_in_trimmed_entries(built: Project, cgo_built: Project) -> None:
    before = actions(built.cache).keys()
    found = actions(cgo_built.cache)
    new = [output_bytes(cgo_built.cache, a) for i, a in found.items() if i not in before]
    sources = [c for c in new if c.startswith(b"// Code generated by cmd/cgo")]
    assert any(b"planted-checkout" in content for content in sources)
    assert any(content[:1] == b"/" and b"\0stat " in content for content in new)
    for content in new:
        if b"planted-checkout" in content:
            assert content.startswith((b"go index v", b"// Code generated by cmd/cgo"))


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="no assembly for it")
def test_a_header_of_another_directory_is_in_no_key_of_assembly(
    built: Project, tmp_path: Path
) -> None:
    files = {**SIBLING_ASSEMBLY, "inc/x.h": HEADER % 2}
    cache = shutil.copytree(built.cache, tmp_path / "gocache")
    stale_here_and_elsewhere(Project(write_files(tmp_path / "m", files), cache), tmp_path, files)


# Results of tests, executables.

TESTS = {
    "plain/a.go": "package plain\n",
    "plain/a_test.go": (
        'package plain\n\nimport (\n\t"os"\n\t"testing"\n)\n\n'
        'func TestA(t *testing.T) { t.Log("saw", os.Getenv("PLANTED")) }\n'
    ),
    "reader/a.go": "package reader\n",
    "reader/a_test.go": (
        'package reader\n\nimport (\n\t"os"\n\t"testing"\n)\n\n'
        'func TestA(t *testing.T) { os.ReadFile("testdata/in.txt") }\n'
    ),
    "reader/testdata/in.txt": "in\n",
}


def age_tree(root: Path, seconds: float) -> Path:
    for path in root.rglob("*"):
        age(path, seconds)
    return root


def cached_tests(project: Project, *flags: str, **more: str) -> dict[str, bool]:
    """Which packages' results came from the cache."""
    done = project.run("test", "-vet=off", "-v", *flags, "./...", **more)
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.startswith("ok  \t")]
    return {words[1].rpartition("/")[2]: "(cached)" in words for words in lines}


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two packages with tests, run once with -trimpath and PLANTED set."""
    place = tmp_path_factory.mktemp("tested")
    cache = place / "gocache"
    root = age_tree(write_files(place / "m", {**SMALL, **TESTS}), 600)
    project = Project(root, cache, environment=(("PLANTED", "planted-value"),))
    assert cached_tests(project, "-trimpath") == {"plain": False, "reader": False}
    return project


@pytest.mark.soak
def test_results_of_tests_are_known_by_their_first_and_last_line(tested: Project) -> None:
    contents = {output_bytes(tested.cache, a) for a in actions(tested.cache).values()}
    logs = {c for c in contents if c.startswith(b"# test log\n")}
    results = {c for c in contents if c[c[:-1].rfind(b"\n") + 1 :].startswith(b"ok  \t")}
    assert {b"# test log\ngetenv PLANTED\n", b"# test log\nopen testdata/in.txt\n"} <= logs
    assert len(results) == 2
    holding = {c for c in contents if b"planted-value" in c}
    assert holding
    assert holding <= results, "a value of the environment lies in another kind of entry"


@pytest.mark.soak
def test_results_of_tests_travel_where_no_file_of_the_module_was_read(
    tested: Project, tmp_path: Path
) -> None:
    cache = shutil.copytree(tested.cache, tmp_path / "gocache")
    same = Project(tested.root, cache, environment=tested.environment)
    assert cached_tests(same, "-trimpath") == {"plain": True, "reader": True}
    root = age_tree(shutil.copytree(tested.root, tmp_path / "other"), 600)
    other = Project(root, cache, environment=tested.environment)
    assert cached_tests(other, "-trimpath") == {"plain": True, "reader": False}


@pytest.mark.soak
def test_another_time_of_a_file_or_value_of_a_variable_runs_a_test_again(
    tested: Project, tmp_path: Path
) -> None:
    project = Project(
        age_tree(shutil.copytree(tested.root, tmp_path / "m"), 600),
        shutil.copytree(tested.cache, tmp_path / "gocache"),
        environment=tested.environment,
    )
    cached_tests(project, "-trimpath")
    assert cached_tests(project, "-trimpath") == {"plain": True, "reader": True}
    age(project.root / "reader/testdata/in.txt", 300)
    assert cached_tests(project, "-trimpath") == {"plain": True, "reader": False}
    again = cached_tests(project, "-trimpath", PLANTED="another")
    assert again == {"plain": False, "reader": True}


@pytest.mark.soak
def test_go_clean_testcache_spares_no_result_that_is_older_than_it(
    tested: Project, tmp_path: Path
) -> None:
    # By the time within the action, not by the file's: a restored one has to keep it.
    cache = shutil.copytree(tested.cache, tmp_path / "gocache")
    project = Project(tested.root, cache, environment=tested.environment)
    project.run("clean", "-testcache")
    restore(tested.cache, cache, actions(tested.cache))
    assert cached_tests(project, "-trimpath") == {"plain": False, "reader": False}


def go_is_at_least(minor: int) -> bool:
    version = Project(Path("/"), Path("/proc/nonexistent")).run("env", "GOVERSION").stdout
    return int(version.split(".")[1]) >= minor


def test_the_output_of_go_run_is_a_directory_with_one_executable(
    warm: Project, tmp_path: Path
) -> None:
    if not go_is_at_least(24):
        pytest.skip("Go before 1.24 keeps no executables")
    before = set(actions(warm.cache))
    warm.run("run", "-trimpath", "-buildvcs=false", ".")
    new = {i: a for i, a in actions(warm.cache).items() if i not in before}
    (entry,) = (a for a in new.values() if entry_path(warm.cache, a.output, "d").is_dir())
    directory = entry_path(warm.cache, entry.output, "d")
    (program,) = directory.iterdir()
    assert program.name == "m"
    assert program.stat().st_mode & 0o111 == 0o111
    assert hashlib.sha256(program.read_bytes()).hexdigest() == entry.output

    fresh = Project(warm.root, tmp_path / "elsewhere")
    restore(warm.cache, fresh.cache, actions(warm.cache), seconds=MARK_AGE)
    listing = fresh.run("run", "-x", "-trimpath", "-buildvcs=false", ".").stderr
    assert "compile -o" not in listing
    assert "link -o" not in listing
    # Of its times, the directory's is set anew, not the program's.
    assert is_fresh(entry_path(fresh.cache, entry.id, "a"))
    assert is_fresh(entry_path(fresh.cache, entry.output, "d"))


def test_a_kept_executable_that_is_not_as_go_left_it_breaks_go_run(warm: Project) -> None:
    # So a restored one needs its mode and its directory: Go does not repair it.
    if not go_is_at_least(24):
        pytest.skip("Go before 1.24 keeps no executables")
    command = ("run", "-trimpath", "-buildvcs=false", ".")
    warm.run(*command)
    (directory,) = (p for p in warm.cache.glob("??/*-d") if p.is_dir())
    (program,) = directory.iterdir()
    content = program.read_bytes()
    program.chmod(0o644)
    assert "permission denied" in warm.run(*command, check=False).stderr
    shutil.rmtree(directory)
    directory.write_bytes(content)
    assert "permission denied" in warm.run(*command, check=False).stderr
    directory.unlink()
    assert warm.run(*command).returncode == 0


# Trimming.


def test_a_trim_takes_what_was_unused_for_five_days_and_leaves_three_hours(
    warm: Project, tmp_path: Path
) -> None:
    kept = actions(warm.cache)
    old = {i for i, a in kept.items() if is_index(warm.cache, a)}
    for ident in old:
        age(entry_path(warm.cache, ident, "a"), 6 * DAY)
    stray = warm.cache / "00" / "left-over.tmp"
    stray.write_bytes(b"x")
    age(stray, 30 * DAY)
    (warm.cache / "trim.txt").write_text(str(int(time.time() - 25 * HOUR)))
    warm.run("build", "-trimpath", "-o", str(tmp_path / "bin"), "./inner", GODEBUG="goindex=0")
    assert set(actions(warm.cache)) == kept.keys() - old
    assert stray.exists(), "Go removes other files of GOCACHE now"
    assert abs(int((warm.cache / "trim.txt").read_text()) - time.time()) < 300


def test_a_trim_runs_once_a_day_and_in_a_cache_without_trim_txt(warm: Project) -> None:
    (old,) = [a for a in actions(warm.cache).values() if a.size == 0][:1]
    path = entry_path(warm.cache, old.id, "a")
    age(path, 6 * DAY)
    (warm.cache / "trim.txt").write_text(str(int(time.time() - 23 * HOUR)))
    warm.run("list", "-find", "unsafe", GODEBUG="goindex=0")
    warm.run("build", "unsafe", GODEBUG="goindex=0")
    assert path.exists()
    (warm.cache / "trim.txt").unlink()
    warm.run("build", "unsafe", GODEBUG="goindex=0")
    assert not path.exists()


# Settings of GOCACHE.


def test_a_cache_program_leaves_gocache_without_entries(warm: Project, tmp_path: Path) -> None:
    if not go_is_at_least(24):
        pytest.skip("GOCACHEPROG came with Go 1.24")
    program = tmp_path / "cacheprog.py"
    program.write_text(CACHE_PROGRAM)
    fresh = Project(warm.root, tmp_path / "fresh", environment=warm.environment)
    store = tmp_path / "store"
    store.mkdir()
    command = f"{sys.executable} {program} {store}"
    done = fresh.run("build", "-v", "unicode/utf8", "./inner", GOCACHEPROG=command)
    assert set(done.stderr.split()) == {"unicode/utf8", "example.com/m/inner"}
    assert not list(fresh.cache.glob("??/*"))
    assert len(list(store.iterdir())) >= 4


CACHE_PROGRAM = """
import base64, json, sys
store = sys.argv[1]
out = sys.stdout
def say(**words):
    out.write(json.dumps(words) + "\\n")
    out.flush()
say(ID=0, KnownCommands=["get", "put", "close"])
lines = (line for line in sys.stdin if line.strip())
for line in lines:
    ask = json.loads(line)
    if ask["Command"] == "put":
        body = base64.b64decode(json.loads(next(lines))) if ask.get("BodySize") else b""
        path = store + "/" + base64.b64decode(ask["OutputID"]).hex()
        with open(path, "wb") as file:
            file.write(body)
        say(ID=ask["ID"], DiskPath=path)
    elif ask["Command"] == "get":
        say(ID=ask["ID"], Miss=True)
    else:
        say(ID=ask["ID"])
        break
"""


def test_go_builds_nothing_without_a_cache_it_may_write(warm: Project, tmp_path: Path) -> None:
    done = warm.run("build", ".", check=False, GOCACHE="off")
    assert done.returncode != 0
    assert "GOCACHE=off" in done.stderr
    file = tmp_path / "file"
    file.touch()
    assert warm.run("build", ".", check=False, GOCACHE=str(file)).returncode != 0


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that other users may pass (pytest's own are closed to them)."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "home").mkdir()
        (place / "home").chmod(0o777)
        yield place


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
def test_a_read_only_cache_serves_builds_only_without_the_module_index(
    built: Project, open_place: Path
) -> None:
    cache = shutil.copytree(built.cache, open_place / "gocache")
    age_all(cache)
    before = {p: p.stat().st_mtime_ns for p in cache.glob("??/*")}
    root = age_tree(shutil.copytree(built.root, open_place / "m"), 600)
    command = (
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(the_go().path),
        "build", "-v", "-trimpath", "-buildvcs=false", "-o", str(open_place / "home/bin"), ".",
    )  # fmt: skip

    def build(**more: str) -> subprocess.CompletedProcess[str]:
        env = go_settings(cache, open_place / "home") | more
        return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)

    refused = build()
    assert refused.returncode == 1
    assert "permission denied" in refused.stderr
    assert str(cache) in refused.stderr, "others cannot start this Go"
    (root / "main.go").write_text(SMALL["main.go"] + "\nvar changed = 1\n")
    done = build(GODEBUG="goindex=0")
    assert (done.returncode, done.stderr.split()) == (0, ["example.com/m"])
    assert {p: p.stat().st_mtime_ns for p in cache.glob("??/*")} == before


# At the same time as others.


def test_marking_while_a_build_runs_loses_marks_and_nothing_else(
    warm: Project, tmp_path: Path
) -> None:
    stop = threading.Event()

    def mark() -> None:
        while not stop.is_set():
            age_actions(warm.cache)

    other = threading.Thread(target=mark)
    other.start()
    try:
        assert warm.build("-trimpath") == []
        (warm.root / "inner/inner.go").write_text(INNER % "a + b + 2")
        assert warm.build("-trimpath") == ["example.com/m/inner", "example.com/m"]
        assert program_says(warm) == "5"
    finally:
        stop.set()
        other.join()
    age_actions(warm.cache)
    assert used(warm.cache) == {}
    assert warm.build("-trimpath") == []


def test_entries_written_while_builds_read_them_are_whole_or_missing(
    built: Project, tmp_path: Path
) -> None:
    # As wherry restores: outputs first, then actions, each made once and written from its start.
    fresh = Project(shutil.copytree(built.root, tmp_path / "m"), tmp_path / "gocache")
    wanted = actions(built.cache)
    failures: list[BaseException] = []

    def write(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return  # Go was faster
        try:
            for start in range(0, len(content), 4096):
                os.write(file, content[start : start + 4096])
                time.sleep(0.00002)
        finally:
            os.close(file)

    def place() -> None:
        try:
            for action in sorted(wanted.values()):
                write(
                    entry_path(fresh.cache, action.output, "d"), output_bytes(built.cache, action)
                )
                raw = entry_path(built.cache, action.id, "a").read_bytes()
                write(entry_path(fresh.cache, action.id, "a"), raw)
        except BaseException as error:  # noqa: BLE001 - shown by the main thread
            failures.append(error)

    restoring = threading.Thread(target=place)
    restoring.start()
    fresh.build("-trimpath")
    restoring.join()
    assert failures == []
    assert program_says(fresh) == "3"
    for action in actions(fresh.cache).values():
        content = output_bytes(fresh.cache, action)
        assert hashlib.sha256(content).hexdigest() == action.output
    assert fresh.build("-trimpath") == []


# Other releases of Go.

RELEASES = ("1.21.13", "1.22.12", "1.23.12", "1.24.13", "1.25.7", "1.26.8", "1.27.4")


def toolchain(version: str, place: Path) -> str:
    """The go of a release, from the module cache or the Go module proxy."""
    env = {n: v for n, v in os.environ.items() if n not in ("GOFLAGS", "GOENV")}
    done = subprocess.run(
        [str(the_go().path), "env", "GOROOT"], cwd=place, capture_output=True, text=True,
        env=env | {"GOTOOLCHAIN": f"go{version}", "GOWORK": "off"}, timeout=240,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no go{version} here: {done.stderr.strip()}")
    return f"{done.stdout.strip()}/bin/go"


@pytest.mark.soak
@needs_cc
@pytest.mark.parametrize("version", RELEASES)
def test_the_same_holds_for_each_release(version: str, tmp_path: Path) -> None:
    go = toolchain(version, tmp_path)
    first = small_project(tmp_path, go)
    first.build("-trimpath")
    entries = graph_entries(first.cache, first.graph("-trimpath"))
    found = actions(first.cache)
    assert any(is_index(first.cache, action) for action in found.values())
    assert set(entries) < set(found)
    goroot = first.run("env", "GOROOT").stdout.strip().encode()
    for action in found.values():
        content = output_bytes(first.cache, action)
        assert hashlib.sha256(content).hexdigest() == action.output
        holds = str(tmp_path).encode() in content or goroot + b"/" in content
        assert is_index(first.cache, action) or not holds

    age_all(first.cache)
    assert first.build("-trimpath") == []
    assert entries.keys() <= used(first.cache).keys()

    there = shutil.copytree(first.root, tmp_path / "another" / "place")
    elsewhere = Project(there, tmp_path / "elsewhere", go, home=tmp_path)
    restore(first.cache, elsewhere.cache, entries, seconds=MARK_AGE)
    assert elsewhere.build("-trimpath", GODEBUG="goindex=0") == []
    (there / "main.go").write_text(SMALL["main.go"] + "\nvar changed = 1\n")
    assert elsewhere.build("-trimpath", GODEBUG="goindex=0") == ["example.com/m"]
    assert not any(is_index(elsewhere.cache, a) for a in actions(elsewhere.cache).values())

    inner = compiled_as(first, "example.com/m/inner")
    path = entry_path(first.cache, inner.output, "d")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert first.build("-trimpath") == []
    path.write_bytes(good[:-1])
    assert first.build("-trimpath") == ["example.com/m/inner"]
    assert path.read_bytes() == good

    files = {**SIBLING_C, "inc/x.h": HEADER % 2}
    root = write_files(tmp_path / "sibling", files)
    sibling = Project(root, first.cache, go, environment=(("CGO_ENABLED", "1"),))
    stale_here_and_elsewhere(sibling, tmp_path, files)


@pytest.mark.soak
def test_entries_of_another_release_are_not_used(tmp_path: Path) -> None:
    older, newer = (toolchain(version, tmp_path) for version in ("1.25.7", "1.26.8"))
    first = small_project(tmp_path, older)
    count = len(first.build("-trimpath"))
    before = set(actions(first.cache))
    second = Project(first.root, first.cache, newer)
    assert len(second.build("-trimpath")) >= count
    assert first.build("-trimpath") == []
    assert before <= set(actions(first.cache))


@pytest.mark.soak
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system")
@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="no mkfs.ext4")
def test_a_file_system_with_times_of_whole_seconds(built: Project, tmp_path: Path) -> None:
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(200 << 20)
    mounted.mkdir()
    # Inodes of 128 bytes have no room for fractions of a second.
    subprocess.run(["mkfs.ext4", "-q", "-I", "128", image], check=True, capture_output=True)
    done = subprocess.run(["mount", "-o", "loop", image, mounted], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        project = Project(
            shutil.copytree(built.root, mounted / "m"),
            shutil.copytree(built.cache, mounted / "gocache"),
        )
        age_all(project.cache)
        assert {p.stat().st_mtime_ns % 10**9 for p in project.cache.glob("??/*-a")} == {0}
        entries = graph_entries(project.cache, project.graph("-trimpath"))
        assert entries.keys() <= used(project.cache).keys()
        assert project.build("-trimpath") == []
    finally:
        subprocess.run(["umount", mounted], check=True)
