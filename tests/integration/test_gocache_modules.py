# SPDX-License-Identifier: Apache-2.0
"""Pruned modules on the real Go: what it does with them, and that no build notices."""

import io
import json
import os
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from golang_support import needs_go, the_go
from module_samples import (
    FLAGS,
    Machine,
    Proxy,
    contents_of,
    packed,
    remove,
    tree_state,
)
from wherry.gocache.module_listing import Listings
from wherry.gocache.module_names import ModuleVersion, Place
from wherry.gocache.module_trees import TreesIntoCache
from wherry.gocache.module_use import on_tree
from wherry.gocache.module_zips import ZipsIntoCache, choose_zips
from wherry.gocache.modules import Choice, choose
from wherry.gocache.pack import unpack
from wherry.gocache.table import Table
from wherry.golang.facts import query_go
from wherry.golang.packages import Package
from wherry.process.cancel import CancelToken

pytestmark = needs_go

LIB = "example.com/lib"
FILES = {
    "used/used.go": 'package used\n\nfunc Word() string { return "used" + platform() }\n',
    "used/used_linux.go": 'package used\n\nfunc platform() string { return "linux" }\n',
    "used/used_other.go": (
        '//go:build !linux\n\npackage used\n\nfunc platform() string { return "" }\n'
    ),
    "used/used_test.go": "package used\n",
    "used/notes.txt": "notes\n",
    "used/below/below.go": "package below\n",
    "unused/unused.go": 'package unused\n\nfunc Word() string { return "unused" }\n',
    "top.go": "package lib\n",
    "LICENSE": "free\n",
}
MAIN = 'package main\n\nimport "example.com/lib/{0}"\n\nfunc main() {{ println({0}.Word()) }}\n'
USES = {"main.go": MAIN.format("used")}


@pytest.fixture
def proxy(tmp_path: Path) -> Proxy:
    found = Proxy(tmp_path / "proxy")
    found.add(LIB, "v1.0.0", FILES)
    return found


@pytest.fixture
def first(tmp_path: Path, proxy: Proxy) -> Machine:
    """The machine that exports, with everything in its module cache."""
    machine = Machine(tmp_path / "first", proxy)
    machine.write(USES, [f"{LIB} v1.0.0"])
    return machine


@pytest.fixture
def second(tmp_path: Path, proxy: Proxy) -> Machine:
    """A fresh machine with the same sources."""
    machine = Machine(tmp_path / "second", proxy)
    machine.write(USES, [f"{LIB} v1.0.0"])
    return machine


def names(machine: Machine) -> set[str]:
    return {row.key for row in machine.chosen().rows}


# What Go does: the reasons for the rules.


def prune(modcache: Path) -> Path:
    """Take a package out of the module that Go unpacked."""
    unused = modcache / "example.com/lib@v1.0.0/unused"
    unused.parent.chmod(0o755)
    remove(unused)
    return unused


def listed(machine: Machine, tmp_path: Path, **more: str) -> str:
    """What `go list` says of the package that was pruned; its own GOCACHE, without a build."""
    env = machine.env(online=False, GOCACHE=str(tmp_path / "gocache"), **more)
    done = machine.go("list", "-e", "-f", "{{.Error}}", f"{LIB}/unused", env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_pruned_module_in_a_users_cache_breaks_later_builds_for_good(
    first: Machine, tmp_path: Path
) -> None:
    first.go("mod", "download")
    prune(first.modcache)
    assert "no required module provides package" in listed(first, tmp_path)
    # Go's own remedy does not help: the index in GOCACHE is by directory.
    remove(first.modcache)
    first.go("mod", "download")
    assert (first.modcache / "example.com/lib@v1.0.0/unused/unused.go").exists()
    assert "no required module provides package" in listed(first, tmp_path)


def test_without_the_index_and_in_a_directory_of_its_own_nothing_stays(
    first: Machine, tmp_path: Path
) -> None:
    first.go("mod", "download")
    own = tmp_path / "own"
    shutil.copytree(first.modcache, own)
    prune(own)
    pruned = listed(first, tmp_path, GOMODCACHE=str(own), GODEBUG="goindex=0")
    assert "no required module provides package" in pruned
    assert listed(first, tmp_path) == "<nil>"
    # Nor would it stay in the same directory, once it is whole.
    shutil.copytree(first.modcache, own, dirs_exist_ok=True)
    assert listed(first, tmp_path, GOMODCACHE=str(own), GODEBUG="goindex=0") == "<nil>"


def test_mod_mod_would_change_go_mod_where_a_package_is_missing(
    first: Machine, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.add(LIB, "v1.1.0", FILES)
    first.go("mod", "download")
    prune(first.modcache)
    env = first.env(GOCACHE=str(tmp_path / "gocache"), GODEBUG="goindex=0")
    (first.source / "main.go").write_text(MAIN.format("unused"))
    first.go("list", "-mod=mod", "-deps", ".", env=env)
    # Why `refusal` names it; with the whole module it would have stayed at v1.0.0.
    assert f"{LIB} v1.1.0" in (first.source / "go.mod").read_text()


def on_pruned(machine: Machine, tmp_path: Path, *, env: dict[str, str]) -> dict[str, str]:
    """`env`, with a copy of the module cache that lacks a package."""
    machine.go("mod", "download")
    own = tmp_path / "own"
    shutil.copytree(machine.modcache, own)
    prune(own)
    return {**env, "GOMODCACHE": str(own), "GODEBUG": "goindex=0"}


def test_a_program_without_trimpath_names_the_module_cache(first: Machine, tmp_path: Path) -> None:
    plain = first.env(online=False)
    pruned = on_pruned(first, tmp_path, env=plain)
    for env, root in ((plain, first.modcache), (pruned, tmp_path / "own")):
        assert str(root).encode() in first.build("program", env, "-trimpath=false")
        assert str(root).encode() not in first.build("program", env)


def test_an_overlay_of_the_users_module_cache_does_not_reach_a_tree(
    first: Machine, tmp_path: Path
) -> None:
    plain = first.env(online=False)
    pruned = on_pruned(first, tmp_path, env=plain)
    (tmp_path / "other.go").write_text("package used\n\nbroken\n")
    target = str(first.modcache / "example.com/lib@v1.0.0/used/used.go")
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"Replace": {target: str(tmp_path / "other.go")}}))
    flag = f"-overlay={overlay}"
    assert first.go("list", "-deps", flag, ".", env=plain).returncode != 0
    assert first.go("list", "-deps", flag, ".", env=pruned).returncode == 0


def test_a_pattern_finds_fewer_packages_on_a_tree(first: Machine, tmp_path: Path) -> None:
    plain = first.env(online=False)
    pruned = on_pruned(first, tmp_path, env=plain)
    found = [first.go("list", f"{LIB}/...", env=env).stdout.split() for env in (plain, pruned)]
    assert set(found[0]) - set(found[1]) == {f"{LIB}/unused"}


def test_a_fetched_toolchain_would_be_fetched_again_into_a_tree(
    first: Machine, second: Machine
) -> None:
    toolchain = newest(27)
    if toolchain is None:
        pytest.skip("no Go 1.27 in the module cache of this machine")
    pack = packed(first.chosen())
    version = toolchain.name.partition("-")[2].partition(".linux")[0]
    modcache = str(toolchain.parent.parent)
    second.more = {"GOTOOLCHAIN": version, "GOMODCACHE": modcache, "GOSUMDB": "sum.golang.org"}
    with second.restored(pack) as tree:
        env = {**second.env(online=False), "GOMODCACHE": tree.path}
        refused = second.go("version", env=env)
        assert refused.returncode != 0
        assert f"download {version}" in refused.stderr
        facts = query_go(the_go(), str(second.source), second.env(online=False), CancelToken())
        assert facts.goroot == str(toolchain)
        found = on_tree(the_go(), facts, {}, tree.path)
        done = subprocess.run(
            [found.go.path, "list", "-deps", "-f", "{{.ImportPath}}", "."],
            cwd=second.source, env={**env, **dict(found.env)}, capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        assert f"{LIB}/used" in done.stdout.split()


# Selection.


def test_of_a_used_package_the_directory_stays_without_tests_and_the_rest_goes(
    first: Machine,
) -> None:
    base = "cache/download/example.com/lib/@v/v1.0.0"
    assert names(first) == {
        f"{base}.info", f"{base}.mod", f"{base}.ziphash",
        "cache/wherry/example.com/lib/@v/v1.0.0.listing",
        "example.com/lib@v1.0.0/go.mod",
        "example.com/lib@v1.0.0/used/notes.txt",
        "example.com/lib@v1.0.0/used/used.go",
        "example.com/lib@v1.0.0/used/used_linux.go",
        "example.com/lib@v1.0.0/used/used_other.go",
    }  # fmt: skip


def test_go_lists_the_same_on_a_tree_but_for_ignored_tests(first: Machine, second: Machine) -> None:
    with second.restored(packed(first.chosen())) as tree:
        whole, pruned = first.packages(), second.packages(tree, online=False)

    def plain(package: object, root: str) -> str:
        return repr(package).replace(root, "CACHE").replace("/second/", "/first/")

    assert [plain(one, tree.path) for one in pruned] == [
        plain(one, str(first.modcache)) for one in whole
    ]


def test_upper_case_is_escaped(first: Machine, second: Machine, proxy: Proxy) -> None:
    proxy.add("example.com/Big/Lib", "v1.0.0-RC1", {"a.go": "package lib\n\nconst A = 1\n"})
    main = 'package main\n\nimport "example.com/Big/Lib"\n\nfunc main() { println(lib.A) }\n'
    for machine in (first, second):
        machine.write({"main.go": main}, ["example.com/Big/Lib v1.0.0-RC1"])
    assert "example.com/!big/!lib@v1.0.0-!r!c1/a.go" in names(first)
    with second.restored(packed(first.chosen())) as tree:
        packages = second.packages(tree, online=False)
        assert second.fault(packages, tree) == ""
        assert not any(package.errors for package in packages)


def test_private_modules_stay_out_unless_asked_for(first: Machine) -> None:
    first.packages()
    for name in ("GOPRIVATE", "GONOPROXY", "GONOSUMDB"):
        first.more = {name: "other.org,example.com/l*"}
        assert names(first) == set()
    assert len(first.chosen(private=True).rows) == 9
    first.more = {"GOPRIVATE": "example.com/lib/used,example.org"}
    assert len(names(first)) == 9


def test_modules_that_go_sum_does_not_name_stay_out(first: Machine, proxy: Proxy) -> None:
    packages = first.packages()
    line = f"{LIB} v1.0.0 {proxy.sums[LIB, 'v1.0.0']}\n"
    first.write({"go.sum": proxy.go_sum().replace(line, "")}, [f"{LIB} v1.0.0"])
    chosen = first.chosen(packages)
    assert [row.key for row in chosen.rows] == ["cache/download/example.com/lib/@v/v1.0.0.mod"]
    assert chosen.left_out == {ModuleVersion(LIB, "v1.0.0"): "go.sum does not name it"}


@pytest.mark.parametrize("seen_before", [False, True])
@pytest.mark.parametrize("name", ["used/used.go", "used/notes.txt", "go.mod"])
def test_an_edited_module_stays_out(first: Machine, name: str, seen_before: bool) -> None:
    packages = first.packages()
    if seen_before:
        assert not first.chosen(packages).left_out
    path = first.modcache / "example.com/lib@v1.0.0" / name
    path.chmod(0o644)
    path.write_text(path.read_text() + "\n")
    chosen = first.chosen(packages)
    assert list(chosen.left_out) == [ModuleVersion(LIB, "v1.0.0")]
    assert not any(row.key.startswith("example.com/") for row in chosen.rows)


def test_a_listing_of_a_tree_that_was_dropped_saves_reading_the_module(
    first: Machine, second: Machine
) -> None:
    with second.restored(packed(first.chosen())) as tree:
        pass
    second.go("mod", "download")
    # So that the whole module would not do.
    remove(second.modcache / "example.com/lib@v1.0.0/unused")
    cache = second.cache()._replace(listings=Listings(str(second.root / "none"), (tree.path,)))
    assert choose(second.packages(), cache, CancelToken()).left_out == {}
    cache = cache._replace(listings=Listings(str(second.root / "none")))
    assert len(choose(second.packages(), cache, CancelToken()).left_out) == 1


def test_a_build_on_a_tree_takes_its_listings_along(first: Machine, second: Machine) -> None:
    chosen = first.chosen()
    with second.restored(packed(chosen)) as tree:
        again = second.chosen(second.packages(tree, online=False), root=tree.path)
    assert again.rows == chosen.rows
    assert contents_of(again) == contents_of(chosen)


# Use.


def test_the_program_is_the_one_of_a_plain_build(first: Machine, second: Machine) -> None:
    plain = first.build("plain")
    with second.restored(packed(first.chosen())) as tree:
        assert second.build("pruned", second.tree_env(tree, online=False)) == plain
        assert second.fault(second.packages(tree, online=False), tree) == ""
    assert not second.modcache.exists()


@pytest.mark.parametrize("online", [True, False])
def test_a_new_import_of_a_pruned_module_is_found_out(
    first: Machine, second: Machine, online: bool
) -> None:
    with second.restored(packed(first.chosen())) as tree:
        for name in ("unused", "used/below"):
            text = MAIN.format("unused").replace("lib/unused", f"lib/{name}")
            (second.source / "main.go").write_text(text)
            fault = second.fault(second.packages(tree, online=online), tree)
            assert fault == f"{LIB}@v1.0.0 has files of {LIB}/{name}"
        # The build goes on, and the user's own caches know nothing of it.
        (second.source / "main.go").write_text(MAIN.format("unused"))
    for args in (["build", "."], ["vet", "."], ["test", "."], ["mod", "verify"]):
        done = second.go(*args)
        assert done.returncode == 0, done.stderr


def test_the_users_own_commands_before_and_after_see_nothing_of_a_tree(
    first: Machine, second: Machine
) -> None:
    second.go("mod", "download")
    before = tree_state(second.modcache)
    with second.restored(packed(first.chosen())) as tree:
        second.build("pruned", second.tree_env(tree))
        second.packages(tree)
    assert tree_state(second.modcache) == before
    (second.source / "main_test.go").write_text(
        'package main\n\nimport (\n\t"testing"\n\n\t"example.com/lib/unused"\n)\n\n'
        "func TestA(t *testing.T) { _ = unused.Word() }\n"
    )
    for args in (["build", "./..."], ["vet", "."], ["mod", "verify"], ["list", f"{LIB}/..."]):
        done = second.go(*args, env=second.env(online=False))
        assert done.returncode == 0, done.stderr
    done = second.go("list", f"{LIB}/...", env=second.env(online=False))
    assert done.stdout.split() == [LIB, f"{LIB}/unused", f"{LIB}/used", f"{LIB}/used/below"]


def test_a_bumped_module_is_fetched_into_the_tree(
    first: Machine, second: Machine, proxy: Proxy
) -> None:
    proxy.add("example.com/two", "v1.0.0", {"two.go": "package two\n\nconst Two = 2\n"})
    proxy.add("example.com/two", "v1.1.0", {"two.go": "package two\n\nconst Two = 22\n"})
    main = (
        'package main\n\nimport (\n\t"example.com/lib/used"\n\t"example.com/two"\n)\n\n'
        "func main() { println(used.Word(), two.Two) }\n"
    )
    first.write({"main.go": main}, [f"{LIB} v1.0.0", "example.com/two v1.0.0"])
    second.write({"main.go": main}, [f"{LIB} v1.0.0", "example.com/two v1.1.0"])
    pack = packed(first.chosen())
    with second.restored(pack) as tree:
        offline = second.packages(tree, online=False)
        assert "example.com/two" in second.fault(offline, tree)
        assert second.fault(second.packages(tree), tree) == ""
        built = second.build("bumped", second.tree_env(tree, online=False))
        assert built == second.build("plain")
        # What Go fetched is whole; it is packed pruned, and the tree's own part again.
        chosen = second.chosen(second.packages(tree), root=tree.path)
        assert not chosen.left_out
        assert "example.com/two@v1.1.0/two.go" in {row.key for row in chosen.rows}
        assert "example.com/lib@v1.0.0/used/used.go" in {row.key for row in chosen.rows}


@pytest.mark.parametrize(
    "text",
    [
        "package main\n\nfunc main() {\n",
        'package main\n\nimport "nosuch"\n\nfunc main() { nosuch.A() }\n',
        'package main\n\nimport "example.org/nosuch"\n\nfunc main() { nosuch.A() }\n',
        'package main\n\nimport "example.com/lib/nosuch"\n\nfunc main() { nosuch.A() }\n',
        'package main\n\nimport "example.com/m/nosuch"\n\nfunc main() { nosuch.A() }\n',
        'package main\n\nimport _ "embed"\n\n//go:embed nosuch\nvar a string\n\nfunc main() {}\n',
        "package main\n\nfunc main() { nosuch() }\n",
        "package other\n",
    ],
)
def test_a_mistake_of_the_users_own_is_not_the_trees(
    first: Machine, second: Machine, text: str
) -> None:
    with second.restored(packed(first.chosen())) as tree:
        (second.source / "more.go").write_text(text)
        packages = second.packages(tree, online=False)
        assert second.fault(packages, tree) == ""


def test_an_ambiguity_that_only_whole_modules_show_is_found_out(
    first: Machine, second: Machine, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.add("example.com/lib/deep", "v1.0.0", {"pkg/pkg.go": "package pkg\n\nconst A = 1\n"})
    proxy.add(LIB, "v1.5.0", {**FILES, "deep/pkg/pkg.go": "package pkg\n\nconst A = 2\n"})
    deep = 'package main\n\nimport "example.com/lib/deep/pkg"\n\nfunc main() { println(pkg.A) }\n'
    both = deep.replace("import ", 'import _ "example.com/lib/used"\n\nimport ')
    other = Machine(tmp_path / "other", proxy)
    first.write({}, [f"{LIB} v1.5.0"])
    other.write({"main.go": deep}, ["example.com/lib/deep v1.0.0"])
    second.write({"main.go": both}, [f"{LIB} v1.5.0", "example.com/lib/deep v1.0.0"])
    assert "ambiguous import" in second.go("list", "-deps", ".").stderr
    with second.restored(packed(first.chosen()), packed(other.chosen())) as tree:
        packages = second.packages(tree, online=False)
        assert not any(package.errors for package in packages)
        expected = f"{LIB}@v1.5.0 has files of example.com/lib/deep/pkg"
        assert second.fault(packages, tree) == expected


def test_a_module_that_go_looks_into_for_ambiguity_only_is_restored(
    first: Machine, second: Machine, proxy: Proxy
) -> None:
    proxy.add("example.com/lib/deep", "v1.0.0", {"pkg/pkg.go": "package pkg\n\nconst A = 1\n"})
    main = 'package main\n\nimport "example.com/lib/deep/pkg"\n\nfunc main() { println(pkg.A) }\n'
    for machine in (first, second):
        machine.write({"main.go": main}, [f"{LIB} v1.0.0", "example.com/lib/deep v1.0.0"])
    assert "example.com/lib@v1.0.0/go.mod" in names(first)
    with second.restored(packed(first.chosen())) as tree:
        packages = second.packages(tree, online=False)
        assert second.fault(packages, tree) == ""
        assert not any(package.errors for package in packages)


def test_a_pack_that_leaves_a_file_of_a_package_out_is_found_out(
    first: Machine, second: Machine
) -> None:
    for name in ("used_linux.go", "used_other.go", "notes.txt"):
        pack = packed(first.chosen(), lambda row, name=name: not row.key.endswith(name))
        with second.restored(pack) as tree:
            packages = second.packages(tree, online=False)
            assert second.fault(packages, tree) == f"{LIB}@v1.0.0 lacks used/{name}"


EMBEDS = {
    "e/e.go": 'package e\n\nimport _ "embed"\n\n//go:embed static/one.txt\nvar One string\n',
    "e/tags.go": (
        '//go:build more\n\npackage e\n\nimport "embed"\n\n//go:embed static all:static/h*\n'
        "var All embed.FS\n"
    ),
    "e/static/one.txt": "1", "e/static/two.txt": "2", "e/static/.three": "3",
    "e/static/hidden/.four": "4", "e/static/hidden/five": "5", "e/other/six": "6",
}  # fmt: skip


def test_embedded_files_stay_and_others_are_missed_under_other_tags(
    first: Machine, second: Machine, proxy: Proxy
) -> None:
    proxy.add("example.com/e", "v1.0.0", EMBEDS)
    main = 'package main\n\nimport "example.com/e/e"\n\nfunc main() { println(e.One) }\n'
    for machine in (first, second):
        machine.write({"main.go": main}, ["example.com/e v1.0.0"])
    assert {key for key in names(first) if "/static/" in key} == {
        "example.com/e@v1.0.0/e/static/one.txt"
    }
    more = (*FLAGS, "-tags=more")
    whole = first.packages(flags=more)
    tagged = packed(first.chosen(whole))
    with second.restored(packed(first.chosen())) as tree:
        assert second.fault(second.packages(tree, online=False), tree) == ""
    # A pack that keeps one of the directory's files: Go takes what it finds, and says nothing.
    half = packed(first.chosen(whole), lambda row: not row.key.endswith("two.txt"))
    with second.restored(half) as tree:
        packages = second.packages(tree, online=False, flags=more)
        found = next(one for one in packages if one.import_path == "example.com/e/e")
        assert not found.errors
        assert found.embed_files == ("static/hidden/.four", "static/hidden/five", "static/one.txt")
        assert second.fault(packages, tree) == "example.com/e@v1.0.0 lacks e/static/two.txt"
    with second.restored(tagged) as tree:
        for flags in (FLAGS, more):
            packages = second.packages(tree, online=False, flags=flags)
            assert second.fault(packages, tree) == ""
            assert not any(package.errors for package in packages)


ASSEMBLY = {
    "asm/asm.go": "package asm\n\nfunc Two() int\n",
    "asm/asm_amd64.s": (
        '#include "textflag.h"\n#include "../shared/values.h"\n\n'
        "TEXT ·Two(SB), NOSPLIT, $0-8\n\tMOVQ $VALUE, ret+0(FP)\n\tRET\n"
    ),
    # An included file's own path starts at the package, too.
    "shared/values.h": '#include "../deeper/inner.inc"\n',
    "deeper/inner.inc": "#define VALUE 2\n",
    "shared/unused.h": "#define VALUE 3\n",
}


def test_what_assembly_includes_by_a_path_stays(
    first: Machine, second: Machine, proxy: Proxy
) -> None:
    proxy.add("example.com/asm", "v1.0.0", ASSEMBLY)
    main = 'package main\n\nimport "example.com/asm/asm"\n\nfunc main() { println(asm.Two()) }\n'
    for machine in (first, second):
        machine.write({"main.go": main}, ["example.com/asm v1.0.0"])
    kept = {key.partition("/asm@v1.0.0/")[2] for key in names(first)} - {""}
    assert kept == {
        "go.mod", "asm/asm.go", "asm/asm_amd64.s", "shared/values.h", "deeper/inner.inc",
    }  # fmt: skip
    if os.uname().machine != "x86_64":
        return
    with second.restored(packed(first.chosen())) as tree:
        assert second.fault(second.packages(tree, online=False), tree) == ""
        assert second.build("pruned", second.tree_env(tree, online=False)) == first.build("plain")
    pack = packed(first.chosen(), lambda row: not row.key.endswith("inner.inc"))
    with second.restored(pack) as tree:
        fault = second.fault(second.packages(tree, online=False), tree)
        assert fault == "example.com/asm@v1.0.0 lacks deeper/inner.inc"


CGO = {
    "c/c.go": (
        "package c\n\n// #cgo CFLAGS: -I${SRCDIR}/../include\n"
        '// #include "../source/c.c"\n// #include <where.h>\nimport "C"\n\n'
        "func Two() int { return int(C.two()) }\n\n"
        "func Where() string { return C.GoString(C.where()) }\n"
    ),
    "c/plain.go": "//go:build !cgo\n\npackage c\n\nfunc Two() int { return 2 }\n\n"
    'func Where() string { return "" }\n',
    "source/c.c": "static int two(void) { return 2; }\n",
    "include/where.h": "static char *where(void) { return __FILE__; }\n",
    "other/other.go": "package other\n",
}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on PATH")
def test_modules_with_cgo_are_whole_and_give_the_same_program(
    first: Machine, second: Machine, proxy: Proxy
) -> None:
    proxy.add("example.com/c", "v1.0.0", CGO)
    main = (
        'package main\n\nimport "example.com/c/c"\n\nfunc main() { println(c.Two(), c.Where()) }\n'
    )
    for machine in (first, second):
        machine.write({"main.go": main}, ["example.com/c v1.0.0"])
        machine.cgo = True
    whole = first.chosen()
    assert {row.key.partition("@v1.0.0/")[2] for row in whole.rows} >= set(CGO)
    with second.restored(packed(whole)) as tree:
        assert tree.pruned() == {}
        assert second.fault(second.packages(tree, online=False), tree) == ""
        assert second.build("pruned", second.tree_env(tree, online=False)) == first.build("plain")
    # Pruned by a build without cgo, it is not enough for one with it.
    first.cgo = False
    with second.restored(packed(first.chosen())) as tree:
        assert "C compiler" in second.fault(second.packages(tree, online=False), tree)
        second.cgo = False
        assert second.fault(second.packages(tree, online=False), tree) == ""


def test_a_replacement_is_whole_and_packed_by_its_own_name(
    first: Machine, second: Machine, proxy: Proxy
) -> None:
    fork = "example.org/fork"
    proxy.add(fork, "v1.0.0", {**FILES, "go.mod": f"module {LIB}\n\ngo 1.21\n"})
    text = f"module example.com/m\n\ngo 1.21\n\nrequire {LIB} v1.0.0\n\nreplace {LIB} => {fork} v1.0.0\n"  # noqa: E501 - one file
    for machine in (first, second):
        machine.write({"go.mod": text})
    keys = names(first)
    assert f"{fork}@v1.0.0/unused/unused.go" in keys
    assert not any(key.startswith(f"{LIB}@") for key in keys)
    with second.restored(packed(first.chosen())) as tree:
        assert tree.pruned() == {}
        (second.source / "main.go").write_text(MAIN.format("unused"))
        packages = second.packages(tree, online=False)
        assert second.fault(packages, tree) == ""
        assert not any(package.errors for package in packages)


def test_a_replacement_that_another_service_uses_pruned_is_not_used(
    second: Machine, proxy: Proxy, tmp_path: Path
) -> None:
    fork = "example.org/fork"
    proxy.add(fork, "v1.0.0", FILES)
    other = Machine(tmp_path / "other", proxy)
    other.write({"main.go": USES["main.go"].replace(LIB, fork)}, [f"{fork} v1.0.0"])
    mod = (second.source / "go.mod").read_text() + f"\nreplace (\n\t{LIB} => {fork} v1.0.0\n)\n"
    second.write({"go.mod": mod})
    with second.restored(packed(other.chosen())) as tree:
        fault = second.fault(second.packages(tree, online=False), tree)
        assert fault == f"{fork}@v1.0.0 is pruned, and replaces another module here"


def test_a_workspace_has_the_sums_of_all_its_modules(tmp_path: Path, proxy: Proxy) -> None:
    main = 'package main\n\nimport "example.com/b"\n\nfunc main() { println(b.Word()) }\n'
    files = {
        "../go.work": "go 1.21\n\nuse (\n\t./src\n\t./b\n)\n",
        "go.mod": "module example.com/m\n\ngo 1.21\n",
        "go.sum": "",
        "main.go": main,
        "../b/go.mod": f"module example.com/b\n\ngo 1.21\n\nrequire {LIB} v1.0.0\n",
        "../b/b.go": USES["main.go"].replace("main", "b", 1).replace("main()", "Word() int")
        .replace("println(used.Word())", "return len(used.Word())"),
        "../b/go.sum": proxy.go_sum(),
    }  # fmt: skip
    first = Machine(tmp_path / "first", proxy)
    first.write(files)
    chosen = first.chosen()
    assert "example.com/lib@v1.0.0/used/used.go" in {row.key for row in chosen.rows}
    second = Machine(tmp_path / "second", proxy)
    second.write(files)
    with second.restored(packed(chosen)) as tree:
        packages = second.packages(tree, online=False)
        assert second.fault(packages, tree) == ""
        assert not any(package.errors for package in packages)


# Whole modules, in the user's own module cache.


def download(machine: Machine) -> Path:
    """The user's download cache with the library's zip, and nothing unpacked."""
    machine.go("mod", "download")
    remove(machine.modcache / "example.com")
    return machine.modcache / "cache/download/example.com/lib/@v/v1.0.0.zip"


def tamper(path: Path) -> None:
    """Give a zip other code."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    path.chmod(0o644)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data.replace(b'"used"', b'"evil"'))


def test_go_believes_a_zip_with_its_hash_beside_it_and_looks_at_one_without(
    first: Machine,
) -> None:
    path = download(first)
    tamper(path)
    env = first.env(online=False)
    assert first.go("list", "-deps", ".", env=env).returncode == 0
    code = first.modcache / "example.com/lib@v1.0.0/used/used.go"
    assert '"evil"' in code.read_text()
    remove(first.modcache / "example.com")
    path.with_suffix(".ziphash").unlink()
    refused = first.go("list", "-deps", ".", env=env)
    assert refused.returncode != 0
    assert "SECURITY ERROR" in refused.stderr
    # And it stays there, so that every later command fails, also with a network.
    assert path.exists()
    assert "SECURITY ERROR" in first.go("list", "-deps", ".").stderr


def test_go_takes_a_good_zip_without_its_hash_and_without_a_network(first: Machine) -> None:
    path = download(first)
    path.with_suffix(".ziphash").unlink()
    assert first.go("list", "-deps", ".", env=first.env(online=False)).returncode == 0
    assert path.with_suffix(".ziphash").exists()


def zips(machine: Machine) -> Choice:
    return choose_zips(machine.cache(), CancelToken())


def into_cache(machine: Machine, *packs: tuple[Table, bytes]) -> ZipsIntoCache:
    rows = [row for table, _ in packs for row in table.rows]
    found = ZipsIntoCache(str(machine.modcache), rows, machine.cache().sums)
    for table, data in packs:
        unpack(table, io.BytesIO(data), found.contents, found.place, CancelToken())
    return found


def with_trees(machine: Machine, *packs: tuple[Table, bytes]) -> TreesIntoCache:
    rows = [row for table, _ in packs for row in table.rows]
    scratch = machine.modcache.parent / "scratch"
    found = TreesIntoCache(str(machine.modcache), rows, machine.cache().sums, str(scratch))
    for table, data in packs:
        unpack(table, io.BytesIO(data), found.contents, found.place, CancelToken())
    assert not list(scratch.iterdir())
    return found


def directories(top: Path) -> dict[str, int]:
    """The modes of the directories of modules."""
    found = (path for path in top.rglob("*") if path.is_dir())
    return {str(path.relative_to(top)): path.stat().st_mode for path in found}


def test_modules_with_trees_are_as_go_leaves_them(first: Machine, second: Machine) -> None:
    first.go("mod", "download")
    with_trees(second, packed(zips(first)))
    tree = "example.com/lib@v1.0.0"
    assert directories(second.modcache / tree) == directories(first.modcache / tree)
    assert (second.modcache / tree).stat().st_mode == (first.modcache / tree).stat().st_mode
    # Versions that were asked for are no part of a module.
    its = {k: v for k, v in tree_state(first.modcache).items() if not k.endswith("/@v/list")}
    state = tree_state(second.modcache)
    assert state == its
    assert f"{tree}/used/used.go" in state
    # Go has nothing left to do, nor anything against it.
    env = second.env(online=False)
    for words in (["mod", "download"], ["mod", "verify"], ["vet", "."]):
        done = second.go(*words, env=env)
        assert done.returncode == 0, done.stderr
    assert tree_state(second.modcache) == state


def test_modules_with_trees_are_for_every_user(first: Machine, second: Machine) -> None:
    first.go("mod", "download")
    before = os.umask(0o077)
    try:
        with_trees(second, packed(zips(first)))
    finally:
        os.umask(before)
    own = tree_state(first.modcache)
    state = tree_state(second.modcache)
    assert {name: own[name] for name in state} == state


def test_other_code_leaves_no_tree(first: Machine, second: Machine) -> None:
    tamper(download(first))
    restored = with_trees(second, packed(zips(first)))
    assert restored.refused == {ModuleVersion(LIB, "v1.0.0"): "its zip is not the one of go.sum"}
    assert not list(second.modcache.rglob("*lib@*"))
    assert not list(second.modcache.rglob("*.zip*"))


def test_a_tree_that_is_there_stays(first: Machine, second: Machine) -> None:
    first.go("mod", "download")
    tree = second.modcache / "example.com/lib@v1.0.0"
    tree.mkdir(parents=True)
    (tree / "mine").write_text("mine")
    assert not any(".zip" in name for name in with_trees(second, packed(zips(first))).contents)
    assert [path.name for path in tree.iterdir()] == ["mine"]
    assert not list(second.modcache.rglob("*.zip*"))


def test_nothing_is_put_beside_the_hash_of_another_build(first: Machine, second: Machine) -> None:
    class Beaten(TreesIntoCache):
        """Another build, with another go.sum, claims the module just before this one."""

        is_late = False

        def _is_there(self, place: Place) -> bool:
            found = super()._is_there(place)
            if self.is_late and place.kind == "zip":
                assert not found
                hash_file.write_text("h1:another")
            return found

    first.go("mod", "download")
    table, data = packed(zips(first))
    hash_file = second.modcache / "cache/download/example.com/lib/@v/v1.0.0.ziphash"
    scratch = str(second.modcache.parent / "scratch")
    beaten = Beaten(str(second.modcache), table.rows, second.cache().sums, scratch)
    beaten.is_late = True
    unpack(table, io.BytesIO(data), beaten.contents, beaten.place, CancelToken())
    assert beaten.refused == {}
    assert hash_file.read_text() == "h1:another"
    assert not list(second.modcache.rglob("*lib@*"))
    assert not list(second.modcache.rglob("*.zip"))
    assert not list(second.modcache.rglob("*.tmp"))


def test_whole_modules_serve_any_go_command_offline(first: Machine, second: Machine) -> None:
    first.go("mod", "download")
    chosen = zips(first)
    base = "cache/download/example.com/lib/@v/v1.0.0"
    assert {row.key for row in chosen.rows} == {f"{base}.zip", f"{base}.mod", f"{base}.info"}
    restored = into_cache(second, packed(chosen))
    assert restored.refused == {}
    env = second.env(online=False)
    for args in (["vet", "."], ["list", f"{LIB}/..."], ["mod", "verify"]):
        done = second.go(*args, env=env)
        assert done.returncode == 0, done.stderr
    restored.settle()
    assert tree_state(second.modcache / "example.com") == tree_state(first.modcache / "example.com")
    assert (second.modcache / f"{base}.zip").exists()


def test_what_go_did_not_compare_is_taken_away_at_the_end(first: Machine, second: Machine) -> None:
    first.go("mod", "download")
    restored = into_cache(second, packed(zips(first)))
    path = second.modcache / "cache/download/example.com/lib/@v/v1.0.0.zip"
    assert path.exists()
    restored.settle()
    assert not path.exists()
    # What go.sum vouches for by itself may stay.
    assert path.with_suffix(".mod").exists()


def test_other_code_never_comes_into_the_users_cache(first: Machine, second: Machine) -> None:
    path = download(first)
    good = packed(zips(first))
    tamper(path)
    bad = packed(zips(first))
    restored = into_cache(second, bad)
    module = ModuleVersion(LIB, "v1.0.0")
    assert restored.refused == {module: "its zip is not the one of go.sum"}
    assert not list(second.modcache.rglob("*.zip*"))
    assert second.go("list", "-deps", ".").returncode == 0
    # What is there is not written again.
    before = tree_state(second.modcache)
    assert into_cache(second, good).contents == frozenset()
    assert tree_state(second.modcache) == before


def test_a_zip_is_not_put_beside_a_hash_that_would_vouch_for_it(
    first: Machine, second: Machine
) -> None:
    path = download(second)
    path.unlink()
    first.go("mod", "download")
    into_cache(second, packed(zips(first)))
    assert not path.exists()


# Toolchains.


def newest(minor: int) -> Path | None:
    """The newest toolchain of `1.MINOR` that Go fetched on this machine."""
    cache = subprocess.run(
        [the_go().path, "env", "GOMODCACHE"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = sorted(Path(cache).glob(f"golang.org/toolchain@v0.0.1-go1.{minor}.*.linux-*"))
    return found[-1] if found else None


@pytest.mark.parametrize("minor", [21, 22, 23, 24, 25, 27])
def test_every_go_since_1_21_reads_a_tree_and_verifies_zips(
    first: Machine, second: Machine, minor: int
) -> None:
    toolchain = newest(minor)
    if toolchain is None:
        pytest.skip(f"no Go 1.{minor} in the module cache of this machine")
    pack, whole = packed(first.chosen()), packed(zips(first))
    go = str(toolchain / "bin/go")
    with second.restored(pack) as tree:
        env = {**second.tree_env(tree, online=False), "GOROOT": str(toolchain)}
        done = subprocess.run(
            [go, "list", "-e", "-deps", "-f", "{{.ImportPath}} {{.Error}}", ".", f"{LIB}/unused"],
            cwd=second.source, env=env, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert lines[f"{LIB}/used"] == "<nil>"
    assert "no required module provides package" in done.stdout
    into_cache(second, whole)
    env = {**second.env(online=False), "GOROOT": str(toolchain)}
    subprocess.run([go, "list", "-deps", "."], cwd=second.source, env=env,
                   capture_output=True, timeout=60, check=True)  # fmt: skip
    assert list(second.modcache.rglob("*.ziphash"))


# Any imports, any edits: what is used gives what a plain build gives.


def random_module(chance: random.Random, path: str, packages: list[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for number in range(chance.randint(2, 5)):
        name = chance.choice(["a", "b", "c/d", "c", "deep/er"]) + str(number)
        imports = chance.sample(packages, min(len(packages), chance.randint(0, 2)))
        lines = "".join(f'import _ "{one}"\n' for one in imports)
        tag = chance.choice(["", "", "//go:build more\n\n"])
        files[f"{name}/{number}.go"] = f"package p\n\n{lines}"
        files[f"{name}/more.go"] = f"{tag}package p\n"
    return files


@pytest.mark.parametrize("seed", range(8))
def test_random_imports_give_what_a_plain_build_gives(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    proxy = Proxy(tmp_path / "proxy")
    packages: list[str] = []
    requires: list[str] = []
    for path in ("example.com/r", "example.com/r/c", "example.com/Other", "example.com/r/deep"):
        files = random_module(chance, path, packages)
        # A module that requires what it imports, as `go mod tidy` writes it.
        lines = "".join(f"require {line}\n" for line in requires)
        proxy.add(path, "v1.0.0", {**files, "go.mod": f"module {path}\n\ngo 1.21\n\n{lines}"})
        requires.append(f"{path} v1.0.0")
        packages += sorted({f"{path}/{name.rpartition('/')[0]}" for name in files})
    first, second = Machine(tmp_path / "first", proxy), Machine(tmp_path / "second", proxy)

    def edit(machine: Machine, imports: list[str]) -> None:
        text = "".join(f'import _ "{one}"\n' for one in imports)
        machine.write({"main.go": f"package main\n\n{text}\nfunc main() {{}}\n"}, requires)

    def answers(found: tuple[Package, ...], root: str) -> list[str]:
        return [
            repr((one.import_path, one.dir, one.go_files, bool(one.errors))).replace(root, "CACHE")
            for one in found
            if not one.standard and one.import_path != "example.com/m"
        ]

    outcomes: set[bool] = set()
    imports = chance.sample(packages, 2)
    edit(first, imports)
    while any(package.errors for package in first.packages()):
        imports = chance.sample(packages, 2)
        edit(first, imports)
    edit(second, imports)
    with second.restored(packed(first.chosen())) as tree:
        for _ in range(4):
            edit(first, imports)
            edit(second, imports)
            pruned = second.packages(tree, online=False)
            fault = second.fault(pruned, tree)
            outcomes.add(fault == "")
            if not fault:
                whole = first.packages()
                assert answers(pruned, tree.path) == answers(whole, str(first.modcache))
            imports = [*imports[: chance.randint(0, 2)], *chance.sample(packages, 1)]
    assert True in outcomes
