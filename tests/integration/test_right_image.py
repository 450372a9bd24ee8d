# SPDX-License-Identifier: Apache-2.0
"""The image is always the right one: what a plain `go build` makes now, whatever was built before.

Each test builds, changes one thing that a build may read, and builds again. The program in the
image is compared with the one that `go build` makes with the same flags.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.cli.errors import render_error
from wherry.errors import BuildError, UsageError, WherryError, code_of
from wherry.golang.toolchain import GoCommand
from wherry_fixtures import GO_MOD, MAIN, Finished, Project, write_module

Make = Callable[..., Project]

USES_LIB = 'package main\n\nimport "example.com/m/lib"\n\nfunc main() { println(lib.Word) }\n'
LIB = 'package lib\n\nconst Word = "one"\n'
USES_DEP = 'package main\n\nimport "example.com/dep"\n\nfunc main() { println(dep.Word) }\n'
DEP = 'package dep\n\nconst Word = "one"\n'
DEP_MOD = "module example.com/dep\n\ngo 1.21\n"
# Before Go 1.17 a module file named direct requirements only: others' files name the rest.
UNPRUNED = """module example.com/m

go 1.16

require (
	example.com/dep v0.0.0
	example.com/quiet v0.0.0
)

replace (
	example.com/deep => ../deep
	example.com/dep => ../dep
	example.com/quiet => ../quiet
)
"""
QUIET_MOD = "module example.com/quiet\n\ngo 1.16\n\nrequire example.com/deep v0.0.0\n"
REPLACED = f"{GO_MOD}\nrequire example.com/dep v0.0.0\n\nreplace example.com/dep => ../dep\n"
EMBEDS = """package main

import (
	"embed"
	"io/fs"
)

//go:embed %s
var files embed.FS

func main() {
	_ = fs.WalkDir(files, ".", func(path string, _ fs.DirEntry, _ error) error {
		println(path)
		return nil
	})
}
"""


def changed(project: Project, before: bytes) -> bytes:
    """After an edit that matters: another program, the right one, by go."""
    result = project.right()
    assert not result.reused
    program = project.program(result)
    assert program != before, "the edit was to change the program"
    return program


def same(project: Project, before: bytes) -> None:
    """After an edit that does not matter to the program: the same one."""
    assert project.program(project.right()) == before


def start(project: Project) -> bytes:
    return project.program(project.settled())


def test_a_touched_but_equal_file(project: Make) -> None:
    it = project()
    first = it.settled()
    os.utime(it.root / "main.go")
    (it.root / "main.go").write_text(MAIN)
    result = it.build()
    assert (result.reused, result.digest) == (True, first.digest)


def test_an_edit_that_keeps_size_and_time(project: Make) -> None:
    it = project()
    before = start(it)
    path = it.root / "main.go"
    status = path.stat()
    path.write_text(MAIN.replace('"x"', '"y"'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    changed(it, before)


def test_a_new_file_in_a_package_and_its_end(project: Make) -> None:
    it = project({"main.go": USES_LIB, "lib/lib.go": LIB})
    before = start(it)
    new = it.write("lib/more.go", 'package lib\n\nfunc init() { println("more") }\n')
    changed(it, before)
    new.unlink()
    result = it.right()
    assert result.reused, "a kept record answers for the state before"


def test_a_file_that_a_constraint_excludes(project: Make) -> None:
    it = project()
    before = start(it)
    new = it.write("other.go", "//go:build special\n\npackage main\n\nfunc init() { println(2) }\n")
    it.write("more_windows.go", "package main\n\nfunc init() { println(3) }\n")
    same(it, before)
    new.write_text(new.read_text().replace("special", "linux"))
    now = changed(it, before)
    new.write_text(new.read_text().replace("linux", "!linux"))
    same(it, before)
    assert now != before


def test_tests_and_other_files_change_nothing(project: Make) -> None:
    it = project()
    before = start(it)
    it.write("README.md", "hello")
    it.write("_draft.go", "nonsense")
    it.write(".hidden.go", "nonsense")
    it.write("testdata/x.go", "nonsense")
    assert it.build().reused
    it.write("main_test.go", "package main\n")
    same(it, before)
    it.write("main_test.go", "package main\n\nvar x = 1\n")
    same(it, before)


def test_embedded_files_come_and_go(project: Make) -> None:
    it = project({"main.go": EMBEDS % "static/*.txt", "static/a.txt": "a", "static/no.md": "n"})
    before = start(it)
    new = it.write("static/b.txt", "b")
    now = changed(it, before)
    new.write_text("c")
    changed(it, now)
    new.unlink()
    same(it, before)
    it.write("static/b.txt")
    changed(it, before)


def test_a_tree_below_an_embedded_directory(project: Make) -> None:
    it = project({"main.go": EMBEDS % "static", "static/a/b/one.txt": "1"})
    before = start(it)
    deep = it.write("static/a/b/c/d/two.txt", "2")
    now = changed(it, before)
    deep.rename(it.root / "static/a/three.txt")
    now = changed(it, now)
    # Hidden names are left out of an embedded directory.
    it.write("static/a/.hidden", "h")
    same(it, now)
    (it.root / "static/a/three.txt").unlink()
    same(it, before)


def test_a_wildcard_that_a_new_directory_matches(project: Make) -> None:
    it = project({"main.go": EMBEDS % "site/*/page", "site/one/page/x.txt": "1"})
    before = start(it)
    it.write("site/two/page/x.txt", "2")
    now = changed(it, before)
    it.write("site/two/page/deep/er/x.txt", "3")
    changed(it, now)


def test_an_embedded_file_becomes_a_link(project: Make) -> None:
    it = project({"main.go": EMBEDS % "static", "static/a.txt": "a", "elsewhere.txt": "a"})
    before = start(it)
    (it.root / "static/a.txt").unlink()
    (it.root / "static/a.txt").symlink_to("../elsewhere.txt")
    assert it.plain() is None
    with pytest.raises(BuildError):
        it.build()
    (it.root / "static/a.txt").unlink()
    it.write("static/a.txt", "a")
    same(it, before)


def test_a_module_begins_above_an_embedded_file(project: Make) -> None:
    it = project({"main.go": EMBEDS % "web/dist/a.txt", "web/dist/a.txt": "a"})
    before = start(it)
    nested = it.write("web/go.mod", "module example.com/web\n")
    assert it.plain() is None
    with pytest.raises(BuildError):
        it.build()
    nested.unlink()
    same(it, before)
    (it.root / "web").rename(it.root / "real")
    (it.root / "web").symlink_to("real")
    assert it.plain() is None
    with pytest.raises(BuildError):
        it.build()


def test_a_profile_comes_and_goes(project: Make) -> None:
    """An empty profile is one, and the program says that it was there; another text is none."""
    it = project()
    before = start(it)
    it.write("default.pgo", "")
    changed(it, before)
    it.write("default.pgo", "nonsense")
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()
    (it.root / "default.pgo").unlink()
    same(it, before)
    it.env["GOFLAGS"] = "-pgo=other.pgo"
    it.write("other.pgo", "")
    changed(it, before)
    assert it.build().reused
    it.write("other.pgo", "nonsense")
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()


def test_settings_of_go_env_w(project: Make, home: Path) -> None:
    it = project({"main.go": MAIN, "tagged.go": "//go:build extra\n\n" + MAIN_INIT})
    before = start(it)
    assert it.go("env", "-w", "GOFLAGS=-tags=extra").returncode == 0
    now = changed(it, before)
    assert it.go("env", "-u", "GOFLAGS").returncode == 0
    same(it, before)
    moved = home / "settings"
    moved.write_text("GOFLAGS=-tags=extra\n")
    it.env["GOENV"] = str(moved)
    same(it, now)
    it.env["GOENV"] = "off"
    same(it, before)


MAIN_INIT = 'package main\n\nfunc init() { println("extra") }\n'


def test_goflags(project: Make) -> None:
    it = project({"main.go": MAIN, "tagged.go": "//go:build extra\n\n" + MAIN_INIT})
    before = start(it)
    it.env["GOFLAGS"] = "-tags=extra"
    now = changed(it, before)
    it.env["GOFLAGS"] = ""
    same(it, before)
    # A flag of the user's replaces wherry's own.
    it.env["GOFLAGS"] = "-ldflags=-w"
    result = it.right(("-trimpath", "-buildvcs=false"))
    assert it.program(result) not in (before, now)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GOAMD64", "v3"),
        ("GOEXPERIMENT", "fieldtrack"),
        ("GOFIPS140", "latest"),
        ("GODEBUG", "panicnil=1"),
        ("GOCOMPILEDEBUG", "nil=0"),
    ],
)
def test_a_variable_that_go_reads(project: Make, name: str, value: str) -> None:
    it = project()
    start(it)
    it.env[name] = value
    result = it.right()
    assert not result.reused, f"{name} is no input"
    assert it.build().reused
    del it.env[name]
    assert it.right().reused, "the record of the build before it holds again"


def test_the_architecture_level_is_in_the_program(project: Make) -> None:
    it = project()
    before = start(it)
    if b"GOAMD64=v1" not in before:
        pytest.skip("this machine is no amd64")
    it.env["GOAMD64"] = "v3"
    assert b"GOAMD64=v3" in changed(it, before)


def test_a_workspace_begins_and_ends(project: Make, tmp_path: Path) -> None:
    it = project({"main.go": USES_DEP, "go.mod": REPLACED})
    write_module(tmp_path / "dep", {"go.mod": DEP_MOD, "dep.go": DEP})
    write_module(tmp_path / "fork", {"go.mod": DEP_MOD, "dep.go": DEP.replace("one", "fork")})
    before = start(it)
    work = tmp_path / "go.work"
    work.write_text("go 1.21\n\nuse (\n\t./mod\n\t./fork\n)\n")
    (it.root / "go.mod").write_text(REPLACED.split("\nreplace")[0])
    now = changed(it, before)
    # A workspace of its own nearer by.
    (it.root / "go.work").write_text("go 1.21\n\nuse (\n\t.\n\t../dep\n)\n")
    nearer = changed(it, now)
    (tmp_path / "dep" / "dep.go").write_text(DEP.replace("one", "two"))
    changed(it, nearer)
    it.env["GOWORK"] = str(work)
    same(it, now)
    assert it.build().reused, "a workspace that GOWORK passes by is no input"
    it.env["GOWORK"] = "off"
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()


def test_a_workspace_in_a_parent_with_a_module_of_its_own(project: Make, tmp_path: Path) -> None:
    it = project()
    before = start(it)
    (tmp_path / "go.work").write_text("go 1.21\n\nuse ./other\n")
    write_module(tmp_path / "other", {})
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()
    (tmp_path / "go.work").unlink()
    same(it, before)


def test_vendor_begins(project: Make, tmp_path: Path) -> None:
    it = project({"main.go": USES_DEP, "go.mod": REPLACED})
    write_module(tmp_path / "dep", {"go.mod": DEP_MOD, "dep.go": DEP})
    before = start(it)
    assert it.go("mod", "vendor").returncode == 0
    assert not it.right().reused
    assert it.build().reused
    vendored = it.root / "vendor/example.com/dep/dep.go"
    vendored.write_text(DEP.replace("one", "vendored"))
    now = changed(it, before)
    (it.root / "vendor/example.com/dep/more.go").write_text("package dep\n\nvar X = len(Word)\n")
    assert not it.right().reused
    it.env["GOFLAGS"] = "-mod=mod"
    same(it, before)
    it.env["GOFLAGS"] = ""
    (it.root / "vendor/modules.txt").unlink()
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()
    shutil.rmtree(it.root / "vendor")
    same(it, before)
    assert now != before


def test_a_replaced_module_is_edited(project: Make, tmp_path: Path) -> None:
    it = project({"main.go": USES_DEP, "go.mod": REPLACED})
    dep = write_module(tmp_path / "dep", {"go.mod": DEP_MOD, "dep.go": DEP})
    before = start(it)
    (dep / "dep.go").write_text(DEP.replace("one", "two"))
    now = changed(it, before)
    (dep / "more.go").write_text('package dep\n\nfunc init() { println("more") }\n')
    changed(it, now)
    (dep / "more.go").unlink()
    # The whole directory is another one now, and later the line in go.mod.
    dep.rename(tmp_path / "old")
    write_module(dep, {"go.mod": DEP_MOD, "dep.go": DEP})
    same(it, before)
    (it.root / "go.mod").write_text(REPLACED.replace("../dep", "../old"))
    assert it.program(it.right()) != before


def write_unpruned(place: Path) -> Path:
    """The modules of UNPRUNED; the directory of the one that only takes part."""
    dep = 'package dep\n\nimport "example.com/deep"\n\nconst Word = deep.Word\n'
    deep = 'package deep\n\nconst Word = "deep"\n'
    for name, text in (("dep", dep), ("deep", deep)):
        mod = f"module example.com/{name}\n\ngo 1.16\n"
        write_module(place / name, {"go.mod": mod, f"{name}.go": text})
    return write_module(place / "quiet", {"go.mod": QUIET_MOD})


def test_the_module_file_of_a_module_that_only_takes_part(project: Make, tmp_path: Path) -> None:
    """No package of it is imported, yet its requirements choose modules."""
    it = project({"main.go": USES_DEP, "go.mod": UNPRUNED})
    quiet = write_unpruned(tmp_path)
    before = start(it)
    (quiet / "go.mod").write_text(QUIET_MOD.partition("require")[0])
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()
    (quiet / "go.mod").write_text(QUIET_MOD)
    same(it, before)


def test_an_import_becomes_ambiguous(project: Make, tmp_path: Path) -> None:
    """A directory of the main module takes the path of another module's package."""
    mod = f"{GO_MOD}\nrequire example.com/m/dep v0.0.0\n\nreplace example.com/m/dep => ../dep\n"
    source = USES_DEP.replace("example.com/dep", "example.com/m/dep/words")
    source = source.replace("dep.Word", "words.Word")
    it = project({"main.go": source, "go.mod": mod})
    write_module(
        tmp_path / "dep",
        {"go.mod": "module example.com/m/dep\n\ngo 1.21\n",
         "words/w.go": 'package words\n\nconst Word = "one"\n'},
    )  # fmt: skip
    before = start(it)
    it.write("dep/words/w.go", 'package words\n\nconst Word = "two"\n')
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()
    shutil.rmtree(it.root / "dep")
    same(it, before)


@pytest.mark.parametrize("key", ["Replace", "replace"])
def test_an_overlay(project: Make, tmp_path: Path, key: str) -> None:
    it = project()
    before = start(it)
    target = tmp_path / "instead.go"
    target.write_text(MAIN.replace('"x"', '"over"'))
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({key: {str(it.root / "main.go"): str(target)}}))
    it.env["GOFLAGS"] = f"-overlay={overlay}"
    now = changed(it, before)
    assert it.build().reused
    target.write_text(MAIN.replace('"x"', '"more"'))
    changed(it, now)
    overlay.write_text("{}")
    same(it, before)
    # A relative target, seen from where go runs, and a file that is only in the overlay.
    (it.root / "beside.txt").write_text(MAIN_INIT)
    overlay.write_text(json.dumps({key: {str(it.root / "more.go"): "beside.txt"}}))
    now = changed(it, before)
    (it.root / "beside.txt").write_text(MAIN_INIT.replace("extra", "other"))
    changed(it, now)


def test_another_module_file(project: Make, tmp_path: Path) -> None:
    it = project({"main.go": USES_DEP, "go.mod": REPLACED})
    write_module(tmp_path / "dep", {"go.mod": DEP_MOD, "dep.go": DEP})
    fork = write_module(
        tmp_path / "fork", {"go.mod": DEP_MOD, "dep.go": DEP.replace("one", "fork")}
    )
    before = start(it)
    it.write("other.mod", REPLACED.replace("../dep", "../fork"))
    it.env["GOFLAGS"] = "-modfile=other.mod"
    now = changed(it, before)
    (fork / "dep.go").write_text(DEP.replace("one", "again"))
    now = changed(it, now)
    it.write("other.mod", REPLACED)
    same(it, before)
    assert now != before
    # A module that only takes part, named in the other file alone.
    quiet = write_unpruned(tmp_path)
    it.write("other.mod", UNPRUNED)
    it.right()
    assert it.build().reused
    (quiet / "go.mod").write_text(QUIET_MOD.partition("require")[0])
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()


def test_relative_paths_in_goflags_begin_where_go_runs(project: Make, tmp_path: Path) -> None:
    """One directory, built from two places: what GOFLAGS names is another file."""
    it = project({"cmd/api/main.go": MAIN})
    api = it.root / "cmd" / "api"
    for place, word in ((it.root, "root"), (api, "api")):
        (place / f"{word}.go.txt").write_text(MAIN.replace('"x"', f'"{word}"'))
        replaced = {str(api / "main.go"): str(place / f"{word}.go.txt")}
        (place / "overlay.json").write_text(json.dumps({"Replace": replaced}))
    it.env["GOFLAGS"] = "-overlay=overlay.json"
    it.source = "./cmd/api"
    first = it.program(it.right())
    it.root, it.source = api, "."
    second = it.program(it.right())
    assert first != second


def test_a_switched_branch_and_back(project: Make) -> None:
    it = project({"main.go": USES_LIB, "lib/lib.go": LIB})

    def git(*words: str) -> None:
        named = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "gc.auto=0")
        subprocess.run(
            ["git", *named, *words], cwd=it.root, env=it.env, check=True, capture_output=True
        )

    if shutil.which("git", path=it.env["PATH"]) is None:
        pytest.skip("git is not installed")
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    first = it.settled()
    before = it.program(first)
    git("switch", "-qc", "other")
    it.write("lib/lib.go", LIB.replace("one", "two"))
    it.write("lib/more.go", 'package lib\n\nfunc init() { println("more") }\n')
    git("add", ".")
    git("commit", "-qm", "two")
    changed(it, before)
    git("switch", "-q", "main")
    back = it.right()
    assert (back.reused, back.digest) == (True, first.digest)
    git("switch", "-q", "other")
    assert it.right().reused


def test_version_control_that_goflags_asks_for(project: Make) -> None:
    """GOFLAGS=-buildvcs=true puts the commit into the program: no record knows that."""
    it = project()
    it.env["GOFLAGS"] = "-buildvcs=true"
    run = {"cwd": it.root, "env": it.env, "check": True, "capture_output": True}
    if shutil.which("git", path=it.env["PATH"]) is None:
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "-q"], **run)
    named = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q"]
    subprocess.run([*named, "--allow-empty", "-m", "one"], **run)
    flags = ("-trimpath", "-ldflags=-s -w")
    first = it.program(it.right(flags))
    subprocess.run([*named, "--allow-empty", "-m", "two"], **run)
    assert it.program(it.right(flags)) != first


def test_a_symlinked_source_directory(project: Make, tmp_path: Path) -> None:
    it = project()
    write_module(tmp_path / "v2", {"main.go": MAIN.replace('"x"', '"v2"')})
    link = tmp_path / "current"
    link.symlink_to("mod")
    it.root = link
    before = start(it)
    link.unlink()
    link.symlink_to("v2")
    changed(it, before)
    link.unlink()
    link.symlink_to("mod")
    assert it.right().reused


def test_a_link_in_a_package_is_turned(project: Make) -> None:
    it = project({"main.go": USES_LIB, "a/lib.go": LIB, "b/lib.go": LIB.replace("one", "two")})
    (it.root / "lib").symlink_to("a")
    (it.root / "more.go").symlink_to("first.txt")
    it.write("first.txt", MAIN_INIT)
    it.write("second.txt", MAIN_INIT.replace("extra", "other"))
    before = start(it)
    (it.root / "lib").unlink()
    (it.root / "lib").symlink_to("b")
    now = changed(it, before)
    (it.root / "more.go").unlink()
    (it.root / "more.go").symlink_to("second.txt")
    now = changed(it, now)
    # A link to a directory is passed by, also where its name is a Go file's.
    (it.root / "some.go").symlink_to("a")
    same(it, now)
    (it.root / "some.go").unlink()
    (it.root / "some.go").symlink_to("first.txt")
    changed(it, now)


def test_the_store_lost_something(project: Make) -> None:
    it = project()
    first = it.settled()
    blobs = it.store / "blobs" / "sha256"
    for path in sorted(blobs.iterdir()):
        path.unlink()
        result = it.right()
        assert (result.reused, result.digest) == (False, first.digest)
        assert path.exists()
    for path in sorted(blobs.iterdir()):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1])
        result = it.right()
        assert (result.reused, result.digest) == (False, first.digest)


@pytest.mark.parametrize("harm", ["removed", "cut", "changed"])
def test_gos_output_in_the_store_was_harmed(project: Make, harm: str) -> None:
    """Go knows its output by the build id inside, which a copy that was cut short has, too."""
    it = project()
    it.settled()
    outputs = [path for path in (it.store / "work").glob("*/m") if path.is_file()]
    assert len(outputs) == 1
    content = outputs[0].read_bytes()
    if harm == "removed":
        outputs[0].unlink()
    elif harm == "cut":
        outputs[0].write_bytes(content[: len(content) // 2])
    else:
        outputs[0].write_bytes(content.replace(b"go1.", b"no1."))
    # Another label: a record would answer else, and go not run.
    result = it.right(labels=(("a", "b"),))
    assert not result.reused
    assert it.right(no_cache=True).digest == it.build().digest


def test_settings_begin_and_change(project: Make) -> None:
    it = project({"cmd/a/main.go": MAIN, "cmd/b/main.go": MAIN.replace('"x"', '"b"')})
    it.source = "./cmd/a"
    first = it.settled()
    settings = it.write("wherry.toml", '[image.a]\npackages = ["./cmd/a"]\nenv = { A = "1" }\n')
    second = it.build()
    assert not second.reused
    assert second.digest != first.digest
    assert it.build().reused
    settings.write_text('[image.a]\npackages = ["./cmd/a"]\nenv = { A = "2" }\n')
    third = it.build()
    assert third.digest not in (first.digest, second.digest)
    settings.unlink()
    assert it.build().digest == first.digest


def test_settings_name_another_package(project: Make) -> None:
    it = project({"cmd/a/main.go": MAIN, "cmd/b/main.go": MAIN.replace('"x"', '"b"')})
    settings = it.write("wherry.toml", '[image.a]\npackages = ["./cmd/a"]\n')
    assert it.build().binaries[0].name == "a"
    settings.write_text('[image.a]\npackages = ["./cmd/b"]\n')
    result = it.build()
    assert result.binaries[0].name == "b"
    it.source = "./cmd/b"
    assert it.program(result) == it.plain()


def test_settings_stand_in_a_module_that_begins_between(project: Make) -> None:
    it = project({"cmd/a/main.go": MAIN, "docs/x/note.txt": ""})
    it.write("wherry.toml", '[image.a]\npackages = ["./cmd/a"]\n')
    it.root = it.root / "docs" / "x"
    assert it.build().binaries[0].name == "a"
    it.write("../go.mod", "module example.com/docs\n")
    with pytest.raises(WherryError):
        it.build()


def test_a_dockerfile_begins(project: Make, wherry: Callable[..., Finished]) -> None:
    it = project()
    assert wherry("build", cwd=it.root).returncode == 0
    it.write("Dockerfile", "FROM scratch\n")
    assert wherry("build", cwd=it.root).stdout.startswith("mod:latest@")
    forced = wherry("build", "--frontend", "gomodule", cwd=it.root)
    assert forced.stdout.startswith("m:latest@"), forced.stderr


def test_a_module_begins_between_root_and_package(project: Make) -> None:
    it = project({"main.go": USES_LIB.replace("m/lib", "m/in/lib"), "in/lib/lib.go": LIB})
    before = start(it)
    nested = it.write("in/go.mod", "module example.com/m/in\n\ngo 1.21\n")
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()
    nested.unlink()
    same(it, before)


def test_the_main_package_gets_a_module_of_its_own(project: Make) -> None:
    it = project({"cmd/api/main.go": MAIN})
    it.source = "./cmd/api"
    before = start(it)
    it.root, it.source = it.root / "cmd" / "api", "."
    same(it, before)
    it.write("go.mod", "module example.com/own/thing\n\ngo 1.21\n")
    result = it.right()
    assert not result.reused
    assert result.binaries[0].name == "thing"


def test_go_mod_edits(project: Make) -> None:
    it = project({"main.go": USES_LIB, "lib/lib.go": LIB})
    before = start(it)
    it.write("go.mod", GO_MOD.replace("1.21", "1.20"))
    now = changed(it, before)
    it.write("go.mod", GO_MOD + "\n// a remark\n")
    same(it, before)
    # The module's own name is in the program, and main's import path follows.
    it.write("go.mod", GO_MOD.replace("example.com/m", "example.com/n"))
    it.write("main.go", USES_LIB.replace("example.com/m", "example.com/n"))
    result = it.right()
    assert result.binaries[0].name == "n"
    it.write("go.mod", "module example.com/n\n\ngo 1.99\n")
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()
    assert now != before


def test_go_sum_is_an_input(project: Make) -> None:
    it = project()
    before = start(it)
    sums = it.write("go.sum", "nonsense here\n")
    plain = it.plain()
    if plain is None:
        with pytest.raises(WherryError):
            it.build()
    else:
        assert not it.right().reused
    sums.unlink()
    same(it, before)


def test_a_file_is_removed(project: Make) -> None:
    it = project({"main.go": MAIN, "more.go": MAIN_INIT})
    before = start(it)
    (it.root / "more.go").unlink()
    now = changed(it, before)
    (it.root / "main.go").unlink()
    assert it.plain() is None
    with pytest.raises(UsageError):
        it.build()
    it.write("main.go", MAIN)
    same(it, now)


def test_a_failing_build_is_never_answered(project: Make) -> None:
    it = project()
    before = start(it)
    it.write("main.go", MAIN.replace("println", "printn"))
    for _ in range(2):
        with pytest.raises(BuildError):
            it.build()
    it.write("main.go", MAIN)
    same(it, before)


def test_equal_programs_of_two_packages(project: Make) -> None:
    it = project({"one/api/main.go": MAIN, "two/api/main.go": MAIN})
    it.source = "./one/api"
    one = it.settled()
    it.source = "./two/api"
    two = it.settled()
    assert it.program(one) == it.program(two) or one.digest != two.digest
    it.write("two/api/main.go", MAIN.replace('"x"', '"two"'))
    assert it.program(it.right()) != it.program(two)
    it.source = "./one/api"
    assert it.right().reused


def test_a_workspace_member_is_edited(project: Make, tmp_path: Path) -> None:
    mod = f"{GO_MOD}\nrequire example.com/dep v0.0.0\n"
    it = project({"main.go": USES_DEP, "go.mod": mod})
    dep = write_module(tmp_path / "dep", {"go.mod": DEP_MOD, "dep.go": DEP})
    (tmp_path / "go.work").write_text("go 1.21\n\nuse (\n\t./mod\n\t./dep\n)\n")
    before = start(it)
    (dep / "dep.go").write_text(DEP.replace("one", "two"))
    now = changed(it, before)
    fork = write_module(
        tmp_path / "fork", {"go.mod": DEP_MOD, "dep.go": DEP.replace("one", "fork")}
    )
    (tmp_path / "go.work").write_text("go 1.21\n\nuse (\n\t./mod\n\t./fork\n)\n")
    now = changed(it, now)
    (fork / "go.mod").write_text("module example.com/else\n")
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()


def test_a_workspace_file_of_another_name(project: Make, tmp_path: Path) -> None:
    it = project({"main.go": USES_DEP, "go.mod": f"{GO_MOD}\nrequire example.com/dep v0.0.0\n"})
    write_module(tmp_path / "dep", {"go.mod": DEP_MOD, "dep.go": DEP})
    fork = write_module(
        tmp_path / "fork", {"go.mod": DEP_MOD, "dep.go": DEP.replace("one", "fork")}
    )
    work = tmp_path / "other.work"
    # A directory that is used may be a bare word.
    work.write_text("go 1.21\n\nuse mod\n\nuse dep\n")
    it.env["GOWORK"] = str(work)
    before = start(it)
    work.write_text("go 1.21\n\nuse mod\n\nuse fork\n")
    now = changed(it, before)
    (fork / "dep.go").write_text(DEP.replace("one", "two"))
    now = changed(it, now)
    (fork / "go.mod").write_text("module example.com/else\n")
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()


def test_more_than_64_megabytes(project: Make) -> None:
    size = 70 << 20
    it = project({"main.go": EMBEDS % "big.bin zz.txt", "zz.txt": "a"})
    big = it.write("big.bin")
    os.truncate(big, size)
    # Within two seconds of an edit no time proves anything: then it is read as a whole.
    time.sleep(2.1)
    before = it.program(it.settled())
    status = big.stat()
    with big.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"here")
    os.utime(big, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert big.stat().st_size == size
    now = changed(it, before)
    it.write("zz.txt", "b")
    changed(it, now)


def test_the_time_that_files_get(project: Make) -> None:
    it = project()
    first = it.settled()
    it.env["SOURCE_DATE_EPOCH"] = "86400"
    second = it.right()
    assert (second.reused, second.digest == first.digest) == (False, False)
    created = json.loads(it.blob(second.config_digest))["created"]
    assert created == "1970-01-02T00:00:00Z"
    it.env["SOURCE_DATE_EPOCH"] = "0"
    assert it.right().digest == first.digest
    it.env["SOURCE_DATE_EPOCH"] = "soon"
    with pytest.raises(UsageError):
        it.build()


def test_labels_make_another_image_and_names_do_not(project: Make) -> None:
    it = project()
    first = it.settled()
    named = it.build(tags=("other:1",))
    assert (named.reused, named.digest, named.tags) == (True, first.digest, ("other:1",))
    labelled = it.right(labels=(("a", "b"),))
    assert not labelled.reused
    assert labelled.digest != first.digest
    assert json.loads(it.blob(labelled.config_digest))["config"]["Labels"]["a"] == "b"
    assert it.build().digest == first.digest
    noted = it.build(annotations=(("a", "b"),))
    assert (noted.reused, noted.digest == first.digest) == (False, False)


def test_an_unreadable_file(project: Make, wherry: Callable[..., Finished]) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    it = project({"main.go": MAIN, "more.go": MAIN_INIT})
    before = start(it)
    (it.root / "more.go").chmod(0)
    with pytest.raises(WherryError):
        it.build()
    assert wherry("build", cwd=it.root).returncode == 1
    (it.root / "more.go").chmod(0o644)
    same(it, before)


def another_root(go: GoCommand, tmp_path: Path, name: str, log: Path) -> Path:
    """A GOROOT made of links to the real one, whose `go` notes each call before it starts Go."""
    real = Path(go.real_path).parent.parent
    root = tmp_path / name
    (root / "bin").mkdir(parents=True)
    for entry in real.iterdir():
        if entry.name not in ("bin", "VERSION"):
            (root / entry.name).symlink_to(entry)
    shutil.copy(real / "VERSION", root / "VERSION")
    start_go = f'#!/bin/sh\necho "$*" >> "{log}"\nGOROOT="{root}" exec "{go.real_path}" "$@"\n'
    (root / "bin" / "go").write_text(start_go)
    (root / "bin" / "go").chmod(0o755)
    return root


def test_an_unchanged_build_starts_no_go(
    project: Make, go: GoCommand, tmp_path: Path, wherry: Callable[..., Finished]
) -> None:
    it = project()
    log = tmp_path / "calls"
    root = another_root(go, tmp_path, "goroot", log)
    env = {**it.env, "PATH": f"{root}/bin:{it.env['PATH']}"}
    first = wherry("build", cwd=it.root, env=env)
    assert first.returncode == 0, first.stderr
    assert any(line.startswith("build ") for line in log.read_text().splitlines())
    log.write_text("")
    second = wherry("build", cwd=it.root, env=env)
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert log.read_text() == "", "an unchanged build started go"
    it.write("main.go", MAIN.replace('"x"', '"y"'))
    assert wherry("build", cwd=it.root, env=env).returncode == 0
    assert log.read_text() != ""


def test_path_gives_another_go(project: Make, go: GoCommand, tmp_path: Path) -> None:
    it = project()
    start(it)
    logs = [tmp_path / "calls1", tmp_path / "calls2"]
    one, two = (another_root(go, tmp_path, f"root{n}", log) for n, log in enumerate(logs))
    it.env["PATH"] = f"{one}/bin:{it.env['PATH']}"
    assert not it.build().reused
    assert it.build().reused
    it.env["PATH"] = f"{two}/bin:{it.env['PATH']}"
    assert not it.build().reused
    assert it.build().reused
    # Another program or release in the same place.
    (two / "bin" / "go").write_text((two / "bin" / "go").read_text() + "#\n")
    assert not it.build().reused
    (two / "VERSION").write_text("go1.99.9\n")
    assert not it.build().reused
    (two / "go.env").unlink()
    (two / "go.env").write_text("GOPROXY=off\n")
    assert not it.build().reused
    assert it.build().reused


def test_a_go_that_is_a_shim_is_not_remembered(
    project: Make, go: GoCommand, tmp_path: Path
) -> None:
    """Version managers put a script on PATH, and files of their own decide what that starts."""
    it = project()
    log = tmp_path / "calls"
    root = another_root(go, tmp_path, "goroot", log)
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "go").write_text(f'#!/bin/sh\nexec "$(cat "{tmp_path}/choice")" "$@"\n')
    (shims / "go").chmod(0o755)
    (tmp_path / "choice").write_text(go.real_path)
    it.env["PATH"] = f"{shims}:{it.env['PATH']}"
    assert not it.right().reused
    (tmp_path / "choice").write_text(f"{root}/bin/go")
    assert not it.right().reused
    assert "build " in log.read_text()


def test_a_development_go_is_not_remembered(project: Make, go: GoCommand, tmp_path: Path) -> None:
    it = project()
    root = another_root(go, tmp_path, "goroot", tmp_path / "calls")
    (root / "VERSION").unlink()
    it.env["PATH"] = f"{root}/bin:{it.env['PATH']}"
    assert not it.right().reused
    assert not it.right().reused


SECOND_GO = "go1.25.5"


def test_another_go_version(project: Make) -> None:
    it = project()
    before = start(it)
    it.env["GOTOOLCHAIN"] = SECOND_GO
    asked = it.go("version")
    if asked.returncode != 0:
        last = asked.stderr.decode().strip().splitlines()[-1:]
        pytest.skip(f"{SECOND_GO} cannot be fetched from the Go module proxy: {last}")
    result = it.right()
    assert not result.reused
    assert result.binaries[0].go_version == SECOND_GO
    assert it.build().reused
    # By go.mod, where the user's own setting lets Go change.
    it.env["GOTOOLCHAIN"] = "local"
    same(it, before)


FORBIDDEN = {
    "rich", "urllib3", "asyncio", "ssl", "subprocess", "click", "yaml", "certifi", "tarfile",
    "wherry.api.making", "wherry.engines", "wherry.exporters", "wherry.process.spawn",
}  # fmt: skip


def test_an_unchanged_build_imports_little(project: Make, go_env: dict[str, str]) -> None:
    it = project()
    env = {**it.env, "WHERRY_STORE": str(it.store)}
    words = [sys.executable, "-X", "importtime", "-m", "wherry", "build"]
    runs = [
        subprocess.run(words, cwd=it.root, env=env, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    loaded = [
        {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if "|" in line}
        for run in runs
    ]
    assert {"subprocess", "wherry.api.making"} <= loaded[0]
    heavy = {name for name in loaded[1] if name in FORBIDDEN or name.split(".")[0] in FORBIDDEN}
    assert "wherry.api.unchanged" in loaded[1]
    assert heavy == set()


class Meddler:
    """Does something at a named point of a build, at most `times` times."""

    def __init__(self, point: str, act: Callable[[], object], times: int = 1) -> None:
        self.point = point
        self.act = act
        self.left = times

    def __call__(self, point: str) -> None:
        if point == self.point and self.left:
            self.left -= 1
            self.act()


POINTS = ("go-asked", "main-found", "closure-gathered", "go-built")


@pytest.mark.parametrize("local", [True, False], ids=["local", "network"])
@pytest.mark.parametrize("point", POINTS)
def test_a_file_changes_while_the_build_runs(
    project: Make, monkeypatch: pytest.MonkeyPatch, point: str, local: bool
) -> None:
    """On a network file system another clock stamps files, so that signatures alone must tell."""
    if not local:
        monkeypatch.setattr("wherry.engines.local.gobuild.is_local", lambda _directory: False)
    it = project({"main.go": USES_LIB, "lib/lib.go": LIB})
    old = it.program(it.right())
    it.write("main.go", USES_LIB + "\n")
    meddler = Meddler(point, lambda: it.write("lib/lib.go", LIB.replace("one", "two")))
    result = it.right(trace=meddler)
    assert meddler.left == 0
    assert it.program(result) != old
    after = it.right()
    assert (after.reused, after.digest) == (True, result.digest)


@pytest.mark.parametrize("local", [True, False], ids=["local", "network"])
@pytest.mark.parametrize("point", POINTS)
def test_a_file_appears_while_the_build_runs(
    project: Make, monkeypatch: pytest.MonkeyPatch, point: str, local: bool
) -> None:
    if not local:
        monkeypatch.setattr("wherry.engines.local.gobuild.is_local", lambda _directory: False)
    it = project({"main.go": EMBEDS % "static", "static/a.txt": "a"})

    def appear() -> None:
        it.write("more.go", MAIN_INIT)
        it.write("static/deep/b.txt", "b")

    result = it.right(trace=Meddler(point, appear))
    assert it.build().digest == result.digest
    it.write("static/deep/b.txt", "c")
    changed(it, it.program(result))
    it.write("more.go", MAIN_INIT.replace("extra", "other"))
    assert not it.right().reused


@pytest.mark.parametrize("point", ["layer-stored", "record-unwritten", "before-delivery"])
def test_a_file_changes_after_go_is_done(project: Make, point: str) -> None:
    it = project()
    old = it.plain()
    meddler = Meddler(point, lambda: it.write("main.go", MAIN.replace('"x"', '"y"')))
    result = it.build(trace=meddler)
    assert (meddler.left, it.program(result)) == (0, old)
    assert old is not None
    changed(it, old)


def test_a_workspace_begins_while_the_build_runs(project: Make, tmp_path: Path) -> None:
    it = project({"main.go": USES_DEP, "go.mod": REPLACED})
    write_module(tmp_path / "dep", {"go.mod": DEP_MOD, "dep.go": DEP})
    write_module(tmp_path / "fork", {"go.mod": DEP_MOD, "dep.go": DEP.replace("one", "fork")})
    text = "go 1.21\n\nuse (\n\t./mod\n\t./fork\n)\n\nreplace example.com/dep => ./fork\n"
    work = tmp_path / "go.work"
    for point in ("closure-gathered", "go-built"):
        with pytest.raises(BuildError):
            it.build(trace=Meddler(point, lambda: work.write_text(text)), no_cache=True)
        work.unlink()
    it.right()


def test_a_workspace_ends_while_the_build_begins(project: Make, tmp_path: Path) -> None:
    """Go then searches on above the place where it had found one."""
    it = project({"main.go": USES_DEP, "go.mod": REPLACED})
    write_module(tmp_path / "dep", {"go.mod": DEP_MOD, "dep.go": DEP})
    work = it.write("go.work", "go 1.21\n\nuse .\n")
    it.right(trace=Meddler("go-asked", work.unlink))
    (tmp_path / "go.work").write_text("go 1.21\n\nuse ./dep\n")
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()


def test_a_link_is_turned_while_the_build_runs(project: Make, tmp_path: Path) -> None:
    """The files behind it are old: no change time of theirs tells."""
    it = project()
    write_module(tmp_path / "v2", {"main.go": MAIN.replace('"x"', '"v2"')})
    link = tmp_path / "current"
    link.symlink_to("mod")
    it.root = link
    time.sleep(0.02)

    def turn() -> None:
        link.unlink()
        link.symlink_to("v2")

    for point in ("closure-gathered", "go-built"):
        it.right(trace=Meddler(point, turn), no_cache=True)
        it.right()
        link.unlink()
        link.symlink_to("mod")
        it.right()


def test_sources_that_never_hold_still(project: Make) -> None:
    it = project()
    words = iter(range(100))

    def edit() -> None:
        it.write("main.go", MAIN.replace('"x"', f'"{next(words)}"'))

    with pytest.raises(BuildError) as caught:
        it.build(trace=Meddler("go-built", edit, 100))
    text = render_error(caught.value, color=False)
    assert code_of(caught.value) == 1
    assert "main.go" in text
    assert next(words) == 2, "one retry, then an error"
    assert not it.right().reused


def test_names_that_go_ignores_never_hold_still(project: Make) -> None:
    """A program that runs beside, say a database with its journal: built, but not remembered."""
    it = project()
    numbers = iter(range(100))

    def journal() -> None:
        it.write(f"journal-{next(numbers)}", "x")

    result = it.right(trace=Meddler("go-built", journal, 100))
    assert not result.reused
    assert next(numbers) == 2
    assert not it.right().reused
    assert it.right().reused


@pytest.mark.parametrize("point", ["go-asked", "main-found"])
@pytest.mark.parametrize("what", ["settings", "flags"])
def test_settings_change_while_the_build_begins(
    project: Make, home: Path, point: str, what: str
) -> None:
    it = project({"main.go": MAIN, "tagged.go": "//go:build extra\n\n" + MAIN_INIT})
    it.write("wherry.toml", "")

    def edit() -> None:
        if what == "flags":
            (home / ".config/go/env").write_text("GOFLAGS=-ldflags=-X=main.x=1\n")
        else:
            it.write("wherry.toml", '[build]\nbuild-tags = ["extra"]\n')

    it.build(trace=Meddler(point, edit))
    flags = ("-trimpath", "-buildvcs=false")
    flags += ("-tags=extra", "-ldflags=-s -w") if what == "settings" else ()
    it.right(flags)


def test_a_part_on_a_network_file_system(
    project: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only the replaced module lies there: go builds once more, after the gathering."""
    it = project({"main.go": USES_DEP, "go.mod": REPLACED})
    dep = write_module(tmp_path / "dep", {"go.mod": DEP_MOD, "dep.go": DEP})
    monkeypatch.setattr(
        "wherry.engines.local.gobuild.Closure.places", lambda _closure: {"/proc/self"}
    )
    points: list[str] = []
    result = it.right(trace=points.append)
    assert points.count("closure-gathered") == 2
    (dep / "dep.go").write_text(DEP.replace("one", "two"))
    changed(it, it.program(result))


def proxy_with(root: Path, path: str, version: str, files: dict[str, str]) -> str:
    """A module proxy in a directory, as `go help goproxy` describes it; its URL."""
    place = root / path / "@v"
    place.mkdir(parents=True)
    mod = f"module {path}\n\ngo 1.21\n"
    (place / f"{version}.info").write_text(json.dumps({"Version": version}))
    (place / f"{version}.mod").write_text(mod)
    with zipfile.ZipFile(place / f"{version}.zip", "w") as archive:
        for name, text in {"go.mod": mod, **files}.items():
            archive.writestr(f"{path}@{version}/{name}", text)
    return root.as_uri()


@pytest.fixture
def fetched(project: Make, tmp_path: Path) -> Iterator[tuple[Project, Path]]:
    """A project with a module that Go fetches into a module cache of the test's own."""
    cache = tmp_path / "modules"
    it = project({"main.go": USES_DEP, "go.mod": f"{GO_MOD}\nrequire example.com/dep v1.0.0\n"})
    files = {"dep.go": DEP, "data/x.txt": "x"}
    it.env |= {
        "GOPROXY": proxy_with(tmp_path / "proxy", "example.com/dep", "v1.0.0", files),
        "GOSUMDB": "off",
        "GOMODCACHE": str(cache),
        "GOFLAGS": "-mod=mod",
    }
    yield it, cache / "example.com" / "dep@v1.0.0"
    for directory, _, _ in os.walk(cache):
        os.chmod(directory, 0o755)


def test_a_module_that_this_build_fetches(fetched: tuple[Project, Path]) -> None:
    it, _ = fetched
    # go.sum is written by go itself meanwhile.
    assert not it.build().reused
    assert it.right().reused, "a module that came with the build is no edited one"


def test_an_edited_module_cache(fetched: tuple[Project, Path]) -> None:
    it, place = fetched
    it.build()
    first = it.right()
    assert first.reused
    for path in (place, place / "dep.go"):
        path.chmod(0o755)
    status = (place / "dep.go").stat()
    (place / "dep.go").write_text(DEP.replace("one", "two"))
    os.utime(place / "dep.go", ns=(status.st_atime_ns, status.st_mtime_ns))
    changed(it, it.program(first))
    (place / "more.go").write_text("package dep\n")
    assert not it.right().reused
    for directory, _, _ in os.walk(place):
        os.chmod(directory, 0o755)
    shutil.rmtree(place)
    assert not it.right().reused


def test_a_directory_name_that_is_no_text(
    tmp_path: Path, go_env: dict[str, str], store: Path, go: GoCommand
) -> None:
    """Go's JSON cannot hold it, so that go list names files that are not there."""
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xff"))
    try:
        write_module(root, {"main.go": MAIN})
    except OSError:
        pytest.skip("the file system takes only names that are text")
    it = Project(root, go_env, store, go)
    before = it.program(it.right())
    it.write("main.go", MAIN.replace('"x"', '"y"'))
    changed(it, before)


def test_what_goes_workspace_search_passes_by(project: Make, home: Path, tmp_path: Path) -> None:
    it = project()
    (tmp_path / "go.work").mkdir()
    before = it.program(it.right())
    (tmp_path / "go.work").rmdir()
    (tmp_path / "go.work").write_text("go 1.21\n\nuse ./other\n")
    write_module(tmp_path / "other", {})
    assert it.plain() is None
    with pytest.raises(WherryError):
        it.build()
    # Passed by for good, where Go is told so.
    (home / ".config/go/env").write_text("GOWORK=off\n")
    same(it, before)
    assert it.build().reused


def test_cgo_brings_in_the_system(project: Make) -> None:
    """Not by the module's own packages only: with cgo on, the standard library uses it too."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    it = project({"main.go": 'package main\n\nimport _ "os/user"\n\nfunc main() {}\n'})
    linker = '["-linkmode external", "-extldflags=-static"]'
    it.write(
        "wherry.toml",
        f'[build]\ncgo = true\n\n[image.m]\npackages = ["."]\nldflags = {linker}\n',
    )
    assert not it.build().reused
    assert not it.build().reused


@pytest.mark.parametrize(
    ("flag", "remembered"),
    [
        ("-gcflags=-N", True),
        ("-gcflags=-pgoprofile=x", False),
        ("-asmflags=-I=../inc", False),
        ("-buildvcs=auto", False),
        ("-ldflags=-X=main.x=1", True),
        ("-toolexec=env", False),
    ],
)
def test_flags_that_bring_in_unknown_things(project: Make, flag: str, remembered: bool) -> None:
    it = project()
    it.env["GOFLAGS"] = flag
    try:
        it.build()
    except WherryError:
        assert not remembered
    else:
        assert it.build().reused == remembered


# The newest patch of each release, and what comes after the one that these tests were written with.
RELEASES = ("1.21.13", "1.22.12", "1.23.12", "1.24.11", "1.25.5", "1.26.8", "1.27.2")


@pytest.mark.soak
@pytest.mark.parametrize("version", RELEASES)
def test_every_release_since_go_1_21(project: Make, version: str) -> None:
    it = project({"main.go": USES_LIB, "lib/lib.go": LIB})
    it.env["GOTOOLCHAIN"] = f"go{version}"
    asked = it.go("version")
    if asked.returncode != 0:
        last = asked.stderr.decode().strip().splitlines()[-1:]
        pytest.skip(f"Go {version} cannot be fetched from the Go module proxy: {last}")
    result = it.settled()
    assert result.binaries[0].go_version == f"go{version}"
    before = it.program(result)
    it.write("lib/lib.go", LIB.replace("one", "two"))
    now = changed(it, before)
    it.write("lib/more.go", 'package lib\n\nfunc init() { println("more") }\n')
    changed(it, now)
    # By go.mod, which asks for that release or an older one than the Go on PATH.
    it.env["GOTOOLCHAIN"] = "auto"
    it.write("go.mod", f"module example.com/m\n\ngo {version}\n")
    in_force = it.go("env", "GOVERSION").stdout.decode().strip()
    assert it.right().binaries[0].go_version == in_force
