# SPDX-License-Identifier: Apache-2.0
"""Names, sums, listings and trees of modules, without Go: above all what strangers could do."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from module_samples import Proxy, h1, pack_of, tree_state
from wherry.gocache.module_check import is_settled
from wherry.gocache.module_listing import (
    Listing,
    Listings,
    encode_listing,
    load_listing,
    read_listing,
)
from wherry.gocache.module_names import ModuleVersion, glob_expression, is_private, place_of
from wherry.gocache.module_sums import (
    Sums,
    agreed,
    hash_gomod,
    read_sums,
    source_modules,
    sum_files,
)
from wherry.gocache.module_tree import (
    StagedTree,
    TreePlan,
    discard,
    open_tree,
    plan_tree,
    sweep,
    trees,
)
from wherry.gocache.module_use import Question, embedded, is_vendored, on_tree, refusal
from wherry.gocache.module_zips import ZipsIntoCache, hash_zip
from wherry.gocache.modules import clean_info
from wherry.gocache.pack import unpack
from wherry.gocache.table import BadPack, Content, Row
from wherry.golang.module_zip import unpack_zip
from wherry.golang.toolchain import GoCommand, GoFacts
from wherry.process.cancel import CancelToken

LIB = ModuleVersion("example.com/Lib", "v1.0.0-RC1")
FILES = {
    "go.mod": b"module example.com/Lib\n",
    "a/a.go": b"package a\n",
    "a/b.txt": b"module example.com/Lib\n",
    "b/b.go": b"package b\n",
}
SUM = h1({f"{LIB}/{name}": data for name, data in FILES.items()})
SUMS: Sums = {
    LIB: frozenset((SUM,)),
    LIB._replace(version=f"{LIB.version}/go.mod"): frozenset((hash_gomod(FILES["go.mod"]),)),
}


def listing_bytes(files: dict[str, bytes] = FILES) -> bytes:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return encode_listing(Listing(digests))


def good() -> dict[str, bytes]:
    """What a pack holds of the library, by keys; package b is pruned away."""
    kept = {f"{LIB.directory}/{name}": data for name, data in FILES.items() if name[0] != "b"}
    return {
        **kept,
        LIB.listing: listing_bytes(),
        LIB.download("ziphash"): SUM.encode(),
        LIB.download("mod"): FILES["go.mod"],
        LIB.download("info"): b'{"Version":"v1.0.0-RC1","Time":"2024-01-02T03:04:05Z"}',
    }


def restore(root: Path, files: dict[str, bytes], sums: Sums = SUMS) -> tuple[Path, list[str]]:
    """The tree of a pack, and why modules were refused."""
    table, data = pack_of(files)
    plan = plan_tree(table.rows, sums)
    with StagedTree(str(root), plan) as staged:
        unpack(table, io.BytesIO(data), plan.contents, staged.place, CancelToken())
        tree, refused = staged.finish()
        tree.close()
        return Path(tree.path), list(refused.values())


# Names.


def test_keys_stand_for_places_below_the_module_cache() -> None:
    assert LIB.directory == "example.com/!lib@v1.0.0-!r!c1"
    for kind in ("mod", "info", "ziphash", "zip"):
        assert place_of(LIB.download(kind)) == (LIB, kind, "")
    assert place_of(LIB.listing) == (LIB, "listing", "")
    assert place_of(f"{LIB.directory}/a b/@x/ü.go") == (LIB, "file", "a b/@x/ü.go")
    incompatible = ModuleVersion(
        "gopkg.in/yaml.v2", "v2.0.0-20200101000000-abcdef012345+incompatible"
    )
    assert place_of(f"{incompatible.directory}/x").module == incompatible


HOSTILE = [
    "", "/", "/etc/passwd", "..", "../x", "a", "example.com/lib", "example.com/lib@v1.0.0",
    "example.com/lib@v1.0.0/", "example.com/lib@v1.0.0//x", "example.com/lib@v1.0.0/../x",
    "example.com/lib@v1.0.0/a/../../x", "example.com/lib@v1.0.0/./x", "example.com/lib@v1.0.0/x/",
    "example.com/lib@v1.0.0/x\0", "example.com/lib@v1.0.0/x\n", "example.com/lib@v1.0.0/a\\b",
    "example.com/lib@v1.0.0/" + "x" * 256, "example.com/lib@v1.0.0/" + "x/" * 3000 + "x",
    "example.com/lib@v1.0.0/\udcff", "example.com/Lib@v1.0.0/x", "example.com/lib@V1.0.0/x",
    "example.com/!Lib@v1.0.0/x", "example.com/li!@v1.0.0/x", "example.com/!!l@v1.0.0/x",
    "example.com/lib@latest/x", "example.com/lib@../x", "example.com/lib@v1/../../x",
    "../example.com/lib@v1.0.0/x", "example.com/../lib@v1.0.0/x", "./lib@v1.0.0/x",
    ".example.com/lib@v1.0.0/x", "example.com/.git@v1.0.0/x", "example.com/lib.@v1.0.0/x",
    "cache/x@v1.0.0/y", "lib@v1.0.0/x", "example.com//lib@v1.0.0/x",
    "cache/download/example.com/lib/@v/v1.0.0.lock", "cache/download/example.com/lib/@v/list",
    "cache/download/example.com/lib/@v/v1.0.0.partial", "cache/lock", "cache/vcs/x",
    "cache/download/../../x/@v/v1.0.0.mod", "cache/download/example.com/lib/@v/../v1.0.0.mod",
    "cache/download/example.com/lib/@v/v1.0.0/x.mod", "cache/wherry/checked",
    "cache/download/cache/download/sumdb/@v/v1.0.0.mod", "cache/download/sumdb/tile",
    "cache/wherry/example.com/lib/@v/v1.0.0.mod",
    "golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64/bin/go",
    "cache/download/golang.org/toolchain/@v/v0.0.1-go1.26.0.linux-amd64.zip",
]  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE, ids=lambda key: repr(key)[:60])
def test_other_names_are_refused_before_anything_is_written(tmp_path: Path, key: str) -> None:
    with pytest.raises(BadPack):
        place_of(key)
    row = Row(key, "0" * 64, 1)
    with pytest.raises(BadPack):
        plan_tree([row], SUMS)
    with pytest.raises(BadPack):
        ZipsIntoCache(str(tmp_path), [row], SUMS)


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="ab.@/!\\vV10-_ \0é\n", max_size=40),
    st.sampled_from(["", "cache/download/", "a.b/c@v1.0.0/"]),
)
def test_no_name_leads_out(text: str, start: str) -> None:
    try:
        place = place_of(start + text)
    except BadPack:
        return
    key = start + text
    assert os.path.normpath(os.path.join("/root", key)) == f"/root/{key}"
    assert place.module.path and place.module.version


def test_private_patterns_match_as_go_matches_them() -> None:
    assert is_private("example.com/a/b", "example.com/a")
    assert is_private("example.com/a/b", "x.org,*.com")
    assert is_private("example.com/a/b", "example.com/*/")
    assert is_private("git.corp.example.com/xyzzy", "*.corp.example.com")
    assert not is_private("corp.example.com/xyzzy", "*.corp.example.com")
    assert not is_private("example.com/a", "example.com/a/b")
    assert not is_private("example.com/ab", "example.com/a")
    assert not is_private("example.com/a", "none")
    assert not is_private("example.com/a", "")
    assert not is_private("example.com/a", ",/,")
    # What Go cannot read is kept back.
    assert is_private("example.com/a", "example.com/[")


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a*c", ["ac", "abc", "a*c"], ["abcd", "a/c", ""]),
        ("a?c", ["abc"], ["ac", "a/c"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[^a-c]x", ["dx", "-x"], ["ax"]),
        ("[\\]\\-x]", ["]", "-", "x"], ["\\"]),
        ("\\*", ["*"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_globs_mean_what_they_mean_to_go(pattern: str, yes: list[str], no: list[str]) -> None:
    expression = glob_expression(pattern)
    assert expression is not None
    assert all(expression.fullmatch(name) for name in yes)
    assert not any(expression.fullmatch(name) for name in no)


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "a\\", "[-a]", "[a-]"])
def test_malformed_globs_are_none(pattern: str) -> None:
    assert glob_expression(pattern) is None


# Sums and listings.


def test_sums_are_those_of_go(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path)
    proxy.add("example.com/Lib", "v1.0.0-RC1", {name: data for name, data in FILES.items()})
    file = tmp_path / "go.sum"
    file.write_text(proxy.go_sum() + "broken\nexample.com/x v1.0.0 h1:short=\na b c d\n")
    assert read_sums([str(file), str(tmp_path / "none")]) == SUMS
    assert source_modules(SUMS) == [LIB]
    # Two hashes for one module are none.
    file.write_text(f"{LIB.path} {LIB.version} {SUM}\n{LIB.path} {LIB.version} h1:{'A' * 43}=\n")
    assert agreed(read_sums([str(file)]), LIB) == ""


def facts(**more: str) -> GoFacts:
    values = {
        "version": "go1.26.0", "goroot": "/usr/local/go", "gomodcache": "/home/u/go/pkg/mod",
        "gocache": "", "goenv": "", "gomod": "/src/go.mod", "gowork": "", "gotoolchain": "auto",
        "goflags": "", "goproxy": "", **more,
    }  # fmt: skip
    return GoFacts(**values, all=MappingProxyType({}))


def test_the_files_of_sums_are_those_that_go_asks(tmp_path: Path) -> None:
    assert sum_files(facts(), (), "/src") == ("/src/go.sum",)
    assert sum_files(facts(), ("-modfile=other.mod",), "/src/a") == ("/src/a/other.sum",)
    assert sum_files(facts(gomod=""), (), "/src") == ()
    work = tmp_path / "go.work"
    work.write_text("use (\n\t./a\n\t../b\n)\n")
    assert sum_files(facts(gowork=str(work)), (), "/src") == (
        f"{work}.sum", f"{tmp_path}/a/go.sum", f"{tmp_path.parent}/b/go.sum",
    )  # fmt: skip


def test_a_listing_is_read_as_it_was_written() -> None:
    listing = read_listing(listing_bytes())
    assert listing.sum(LIB) == SUM
    assert listing.directories() == {"": ["go.mod"], "a": ["a.go", "b.txt"], "b": ["b.go"]}
    assert read_listing(encode_listing(Listing({}))) == Listing({})


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", listing_bytes()[:-1], listing_bytes() + b"\0", listing_bytes()[1:],
        b"wherry module listing 1\n", b"wherry module listing 1\na\na\n\n" + bytes(64),
        b"wherry module listing 1\n\xff\n\n" + bytes(32), bytes(17 << 20),
    ],
    ids=lambda data: repr(data[-12:]),
)  # fmt: skip
def test_other_bytes_are_no_listing(data: bytes) -> None:
    with pytest.raises(BadPack):
        read_listing(data)


def test_a_kept_listing_that_was_changed_is_not_used(tmp_path: Path) -> None:
    listings = Listings(str(tmp_path / "listings"))
    assert listings.get(LIB, SUM) is None
    listings.put(LIB, SUM, read_listing(listing_bytes()))
    assert listings.get(LIB, SUM) == read_listing(listing_bytes())
    (path,) = (tmp_path / "listings").iterdir()
    path.write_bytes(listing_bytes({**FILES, "a/a.go": b"package evil\n"}))
    assert listings.get(LIB, SUM) is None
    assert load_listing(str(tmp_path / "none"), LIB, SUM) is None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b'{"Version": "v2.0.0"}', b'{"Version": "v1.0.0-RC1", "Time": "<x>"}',
        b"[" * 100_000, b'{"Version": ["v1.0.0-RC1"]}',
    ],
    ids=lambda data: repr(data[:30]),
)  # fmt: skip
def test_an_info_of_another_version_is_none(data: bytes) -> None:
    assert clean_info(data, LIB) is None


def test_an_info_says_nothing_of_where_it_came_from() -> None:
    data = b'{"Version":"v1.0.0-RC1","Time":"2024-01-02T03:04:05Z","Origin":{"URL":"https://x"}}'
    assert clean_info(data, LIB) == b'{"Version":"v1.0.0-RC1","Time":"2024-01-02T03:04:05Z"}'


# Trees.


def test_a_tree_is_a_module_cache_as_go_makes_it(tmp_path: Path) -> None:
    path, refused = restore(tmp_path / "trees", good())
    assert refused == []
    assert path.parent == tmp_path / "trees"
    state = tree_state(path)
    assert state.keys() - good().keys() == {"cache/wherry/checked"}
    for key, data in good().items():
        mode, found = state[key]
        assert found == data
        assert mode & 0o111 == 0
        assert bool(mode & 0o222) == key.startswith("cache/")
    tree = open_tree(str(path.parent), path.name)
    assert tree is not None
    with tree:
        assert tree.pruned() == {LIB: read_listing(listing_bytes())}


def test_only_modules_of_go_sum_are_wanted(tmp_path: Path) -> None:
    table, _ = pack_of(good())
    assert plan_tree(table.rows, {}).rows == ()
    only_mod = {module: sums for module, sums in SUMS.items() if module != LIB}
    assert [row.key for row in plan_tree(table.rows, only_mod).rows] == [LIB.download("mod")]
    zipped, _ = pack_of({LIB.download("zip"): b"zip"})
    assert plan_tree(zipped.rows, SUMS).rows == ()


def test_the_name_depends_on_contents_and_on_go_sum() -> None:
    table, _ = pack_of(good())
    plan = plan_tree(table.rows, SUMS)
    assert plan_tree(reversed(table.rows), SUMS).digest == plan.digest
    other, _ = pack_of({**good(), f"{LIB.directory}/a/a.go": b"package b\n"})
    assert plan_tree(other.rows, SUMS).digest != plan.digest
    elsewhere = {**SUMS, LIB: frozenset((f"h1:{'A' * 43}=",))}
    assert plan_tree(table.rows, elsewhere).digest != plan.digest
    unrelated = {**SUMS, ModuleVersion("example.com/x", "v1.0.0"): frozenset(("h1:x",))}
    assert plan_tree(table.rows, unrelated).digest == plan.digest


DIRECTORY = LIB.directory
OTHER_SUM = f"h1:{'A' * 43}="


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({f"{DIRECTORY}/a/a.go": b"package evil\n"}, "file a/a.go is not"),
        ({f"{DIRECTORY}/a/evil.go": b"package a\n"}, "file a/evil.go is not"),
        ({f"{DIRECTORY}/go.mod": b"module evil\n"}, "file go.mod is not"),
        ({f"{DIRECTORY}/go.mod": None}, "go.mod is missing"),
        ({LIB.listing: listing_bytes({**FILES, "a/a.go": b"package evil\n"})}, "list of files"),
        ({LIB.listing: b"garbage"}, "list of files"),
        ({LIB.listing: None}, "list of files"),
        ({LIB.download("ziphash"): OTHER_SUM.encode()}, "hash is not"),
        ({LIB.download("ziphash"): None}, "hash is not"),
        ({key: None for key in good() if "example.com/!lib@" in key} | {LIB.listing: None}, "list"),
    ],
    ids=str,
)
def test_what_go_sum_does_not_vouch_for_is_taken_out(
    tmp_path: Path, change: dict[str, bytes | None], why: str
) -> None:
    files = {key: data for key, data in {**good(), **change}.items() if data is not None}
    path, refused = restore(tmp_path, files)
    assert len(refused) == 1
    assert why in refused[0]
    # Go then fetches the module, as nothing says that it is there.
    left = {key for key in tree_state(path) if "checked" not in key}
    assert left == {LIB.download("mod"), LIB.download("info")}
    assert not (path / LIB.directory).exists()


def test_notes_that_are_not_right_are_taken_out(tmp_path: Path) -> None:
    evil = {LIB.download("mod"): b"module evil\n", LIB.download("info"): b'{"Version":"v9.9.9"}'}
    path, refused = restore(tmp_path, {**good(), **evil})
    assert refused == []
    assert not any((path / key).exists() for key in evil)


def test_names_that_differ_in_case_or_in_kind_are_refused(tmp_path: Path) -> None:
    for key in (f"{DIRECTORY}/A/a.go", f"{DIRECTORY}/a/a.go/x", f"{DIRECTORY}/a"):
        with pytest.raises(BadPack):
            restore(tmp_path, {**good(), key: b"evil"})
    assert list(tmp_path.iterdir()) == []


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = [Row(f"{DIRECTORY}/{number}", f"{number:064x}", 1 << 28) for number in range(64)]
    with pytest.raises(BadPack, match="more module files"):
        plan_tree(huge, SUMS)
    with pytest.raises(BadPack, match="too large"):
        plan_tree([Row(LIB.listing, "0" * 64, 17 << 20)], SUMS)
    monkeypatch.setattr("wherry.gocache.module_tree._MOST_ROWS", 100)
    deep = Row(f"{DIRECTORY}/{'x/' * 200}x", "0" * 64, 1)
    with pytest.raises(BadPack, match="more directories"):
        plan_tree([deep], SUMS)
    with pytest.raises(BadPack, match="more module files"):
        plan_tree([Row(f"{DIRECTORY}/{number}", "0" * 64, 1) for number in range(101)], SUMS)


def test_a_pack_that_lacks_or_mislabels_contents_gives_no_tree(tmp_path: Path) -> None:
    table, data = pack_of(good())
    plan = plan_tree(table.rows, SUMS)
    with pytest.raises(BadPack, match="shorter"), StagedTree(str(tmp_path), plan) as staged:
        unpack(table, io.BytesIO(data[:-9]), plan.contents, staged.place, CancelToken())
    with pytest.raises(BadPack, match="lacks"), StagedTree(str(tmp_path), plan) as staged:
        staged.finish()
    wrong = plan._replace(rows=tuple(row._replace(size=row.size + 1) for row in plan.rows))
    with pytest.raises(BadPack, match="two sizes"), StagedTree(str(tmp_path), wrong) as staged:
        unpack(table, io.BytesIO(data), plan.contents, staged.place, CancelToken())
    assert list(tmp_path.iterdir()) == []


def test_what_one_pack_broke_off_another_may_give(tmp_path: Path) -> None:
    table, data = pack_of(good())
    plan = plan_tree(table.rows, SUMS)

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise BadPack("broken off")

    with StagedTree(str(tmp_path), plan) as staged:
        for row in plan.rows:
            with pytest.raises(BadPack):
                staged.place(Content(row.content, row.size), broken())
        unpack(table, io.BytesIO(data), plan.contents, staged.place, CancelToken())
        tree, refused = staged.finish()
        tree.close()
    assert refused == {}
    assert {key: tree_state(Path(tree.path))[key][1] for key in good()} == good()


def test_two_at_once_share_one_tree(tmp_path: Path) -> None:
    table, data = pack_of(good())
    plan = plan_tree(table.rows, SUMS)
    barrier = threading.Barrier(4)
    found: list[str] = []

    def one() -> None:
        with StagedTree(str(tmp_path), plan) as staged:
            unpack(table, io.BytesIO(data), plan.contents, staged.place, CancelToken())
            barrier.wait(20)
            with staged.finish()[0] as tree:
                found.append(tree.path)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [str(tmp_path / plan.digest)] * 4
    assert [path.name for path in tmp_path.iterdir()] == [plan.digest]


KILLED = """
import sys
sys.path[:0] = sys.argv[2:]
import test_gocache_modules as here
from wherry.gocache.table import Content
table, data = here.pack_of(here.good())
plan = here.plan_tree(table.rows, here.SUMS)
with here.StagedTree(sys.argv[1], plan) as staged:
    row = plan.rows[0]
    def endless():
        print("begun", flush=True)
        while True:
            yield b"x"
    staged.place(Content(row.content, row.size), endless())
"""


def test_what_a_killed_process_leaves_is_swept_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    here = Path(__file__).parent
    places = [str(here), str(here.parent)]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), *places], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"begun\n"
            process.send_signal(signal.SIGSTOP)
            sweep(str(tmp_path))
            assert len(list(tmp_path.iterdir())) == 1
        finally:
            process.kill()
        process.wait(20)
    path, _ = restore(tmp_path, good())
    assert list(tmp_path.iterdir()) == [path]


def test_a_tree_in_use_is_not_removed_and_the_oldest_comes_first(tmp_path: Path) -> None:
    path, _ = restore(tmp_path, good())
    kept = {key: data for key, data in good().items() if not key.endswith("b.txt")}
    newer, _ = restore(tmp_path, kept)
    os.utime(path, ns=(1, 1))
    os.utime(newer, ns=(2, 2))
    assert trees(str(tmp_path)) == [(path.name, 1), (newer.name, 2)]
    tree = open_tree(str(tmp_path), path.name)
    assert tree is not None
    with tree:
        # Used now.
        assert [name for name, _ in trees(str(tmp_path))] == [newer.name, path.name]
        assert not discard(str(tmp_path), path.name)
        assert path.exists()
    assert discard(str(tmp_path), path.name)
    assert discard(str(tmp_path), path.name)
    assert open_tree(str(tmp_path), path.name) is None
    assert list(tmp_path.iterdir()) == [newer]


@pytest.mark.parametrize("damage", ["none", "file", "listing", "note"])
def test_after_the_machine_was_started_anew_a_tree_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    path, _ = restore(tmp_path, good())
    boot = tmp_path.parent / f"{tmp_path.name}.boot"
    boot.write_text("another run\n")
    monkeypatch.setattr("wherry.gocache.module_check._BOOT", str(boot))
    keys = {"file": f"{DIRECTORY}/a/a.go", "listing": LIB.listing, "note": "cache/wherry/checked"}
    if damage != "none":
        (path / keys[damage]).chmod(0o644)
        (path / keys[damage]).write_bytes(b"")
    tree = open_tree(str(tmp_path), path.name)
    assert (tree is not None) == (damage == "none")
    if tree is not None:
        tree.close()
        # Not a second time.
        (path / keys["file"]).chmod(0o644)
        (path / keys["file"]).write_bytes(b"")
        assert is_settled(str(path))
    assert path.exists() == (damage == "none")


def test_what_the_users_own_cache_lacks(tmp_path: Path) -> None:
    table, _ = pack_of(good())
    plan: TreePlan = plan_tree(table.rows, SUMS)
    assert plan.lacking(str(tmp_path)) == (LIB,)
    (tmp_path / LIB.directory).mkdir(parents=True)
    assert plan.lacking(str(tmp_path)) == (LIB,)
    (tmp_path / LIB.download("ziphash")).parent.mkdir(parents=True)
    (tmp_path / LIB.download("ziphash")).write_text(SUM)
    assert plan.lacking(str(tmp_path)) == ()


# Use.


@pytest.mark.parametrize(
    ("flags", "patterns", "changes", "why"),
    [
        (["-trimpath"], ["."], {}, ""),
        (["-trimpath", "-mod=readonly"], ["./...", "example.com/x/cmd"], {}, ""),
        ([], ["."], {}, "trimpath"),
        (["-trimpath", "-trimpath=false"], ["."], {}, "trimpath"),
        (["-trimpath", "-mod=mod"], ["."], {}, "-mod=mod"),
        (["-trimpath", "-overlay=o.json"], ["."], {}, "-overlay"),
        (["-trimpath", "-compiler=gccgo"], ["."], {}, "-compiler"),
        (["-trimpath"], ["example.com/x/..."], {}, "pattern"),
        (["-trimpath"], ["all"], {}, "pattern"),
        (["-trimpath"], ["."], {"gomod": ""}, "no module"),
        (["-trimpath"], ["."], {"gomodcache": "/src"}, "module cache itself"),
    ],
)
def test_when_go_must_not_be_run_on_pruned_modules(
    flags: list[str], patterns: list[str], changes: dict[str, str], why: str
) -> None:
    found = refusal(facts(**changes), Question("/src/x", flags, patterns))
    assert (why in found) if why else (found == "")


def test_vendor_needs_no_modules(tmp_path: Path) -> None:
    here = facts(gomod=str(tmp_path / "go.mod"))
    assert not is_vendored(here, ())
    assert is_vendored(here, ("-mod=vendor",))
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor/modules.txt").write_text("")
    assert is_vendored(here, ())
    assert not is_vendored(here, ("-mod=readonly",))
    assert not is_vendored(facts(gomod="/other/go.mod"), ())
    assert is_vendored(facts(gomod="/x/go.mod", gowork=str(tmp_path / "go.work")), ())


def test_go_on_a_tree_has_no_index_and_keeps_its_toolchain() -> None:
    go = GoCommand("/usr/bin/go", "/usr/local/go/bin/go", (), "/usr/bin/go")
    plain = on_tree(go, facts(), {"GODEBUG": "http2client=0,goindex=1"}, "/trees/x")
    assert plain.go == go
    assert dict(plain.env) == {
        "GOMODCACHE": "/trees/x", "GODEBUG": "http2client=0,goindex=1,goindex=0",
    }  # fmt: skip
    root = "/home/u/go/pkg/mod/golang.org/toolchain@v0.0.1-go1.27.0.linux-amd64"
    fetched = on_tree(go, facts(goroot=root), {}, "/trees/x")
    assert fetched.go.path == f"{root}/bin/go"
    assert fetched.go.found == "/usr/bin/go"
    assert dict(fetched.env) == {
        "GOMODCACHE": "/trees/x", "GODEBUG": "goindex=0", "GOROOT": root, "GOTOOLCHAIN": "local",
    }  # fmt: skip


def test_embed_patterns_over_a_listing() -> None:
    names = ["p/a.txt", "p/s/b.txt", "p/s/.c", "p/s/_d/e", "p/s/f/g", "q/a.txt", "p/t[1]/h"]
    listing = Listing(dict.fromkeys(names, "0" * 64))
    assert embedded("a.txt", "p", listing) == {"p/a.txt"}
    assert embedded("s", "p", listing) == {"p/s/b.txt", "p/s/f/g"}
    assert embedded("all:s", "p", listing) == {"p/s/b.txt", "p/s/.c", "p/s/_d/e", "p/s/f/g"}
    assert embedded("s/*", "p", listing) == {"p/s/b.txt", "p/s/.c", "p/s/_d/e", "p/s/f/g"}
    assert embedded("*/b.txt", "p", listing) == {"p/s/b.txt"}
    assert embedded("*", "", listing) == {
        name for name in names if "/." not in name and "_" not in name
    }
    assert embedded("nosuch", "p", listing) == set()


# Zips.


def zip_of(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_a_zips_hash_is_that_of_go(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {f"{LIB}/{name}": data for name, data in FILES.items()})
    assert hash_zip(str(path), LIB) == SUM


def test_a_zip_that_readers_could_differ_about_is_none(tmp_path: Path) -> None:
    files = {f"{LIB}/{name}": data for name, data in FILES.items()}
    path = tmp_path / "x.zip"
    zip_of(path, {**files, "outside": b""})
    assert hash_zip(str(path), LIB) == ""
    zip_of(path, files, zipfile.ZIP_LZMA)
    assert hash_zip(str(path), LIB) == ""
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{LIB}/a", b"1")
        archive.writestr(f"{LIB}/a", b"2")
    assert hash_zip(str(path), LIB) == ""
    data = zip_of(path, files).read_bytes()
    for broken in (b"", data[:-30], data[:40] + b"\xff" * 20 + data[60:], b"MZ" + data[2:]):
        path.write_bytes(broken)
        assert hash_zip(str(path), LIB) == ""
    assert hash_zip(str(tmp_path / "none"), LIB) == ""


@pytest.mark.parametrize("name", ["../out", "/out", "a//b", "a/../../out", "./a", "a/", "b0c"])
def test_a_zip_unpacks_into_its_own_directory_only(tmp_path: Path, name: str) -> None:
    files = {f"{LIB}/{known}": data for known, data in FILES.items()}
    path = zip_of(tmp_path / "x.zip", {**files, f"{LIB}/{name.replace('b0c', 'bXc')}": b"evil"})
    path.write_bytes(path.read_bytes().replace(b"bXc", b"b\0c"))
    inside = tmp_path / "top/inside"
    inside.mkdir(parents=True)
    assert unpack_zip(str(path), str(LIB), str(inside / "tree")) == ""
    assert {item.name for item in tmp_path.iterdir()} == {"top", "x.zip"}
    assert [item.name for item in inside.iterdir()] == ["tree"]
    assert not list((inside / "tree").iterdir())


def test_a_zip_is_unpacked_with_the_modes_of_go(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {f"{LIB}/{name}": data for name, data in FILES.items()})
    tree = tmp_path / "tree"
    assert unpack_zip(str(path), str(LIB), str(tree)) == SUM
    found = {str(item.relative_to(tree)): item for item in tree.rglob("*") if item.is_file()}
    assert {name: item.read_bytes() for name, item in found.items()} == FILES
    assert {item.stat().st_mode & 0o777 for item in found.values()} == {0o444}
    assert {item.stat().st_mode & 0o777 for item in tree.rglob("*") if item.is_dir()} == {0o555}


def test_equal_contents_go_to_all_their_places(tmp_path: Path) -> None:
    second = ModuleVersion(LIB.path, "v1.0.1")
    sums = {
        **SUMS,
        second._replace(version="v1.0.1/go.mod"): frozenset((hash_gomod(FILES["go.mod"]),)),
    }
    table, data = pack_of(
        {LIB.download("mod"): FILES["go.mod"], second.download("mod"): FILES["go.mod"]}
    )
    target = ZipsIntoCache(str(tmp_path), table.rows, sums)
    unpack(table, io.BytesIO(data), target.contents, target.place, CancelToken())
    assert {path.name for path in tmp_path.rglob("*.*") if path.is_file()} == {
        "v1.0.0-!r!c1.mod", "v1.0.1.mod",
    }  # fmt: skip


def test_notes_of_another_module_do_not_come_into_the_users_cache(tmp_path: Path) -> None:
    evil = {LIB.download("mod"): b"module evil\n", LIB.download("info"): b'{"Version":"v9.9.9"}'}
    table, data = pack_of(evil)
    target = ZipsIntoCache(str(tmp_path), table.rows, SUMS)
    unpack(table, io.BytesIO(data), target.contents, target.place, CancelToken())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert set(target.refused) == {LIB}
