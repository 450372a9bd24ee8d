# SPDX-License-Identifier: Apache-2.0
"""What COPY does to a root. Every expected tree is what BuildKit v0.33.1 made of the same files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tree_samples import MemoryFiles, directory, file, link, tree
from wherry.errors import InternalError, UsageError
from wherry.fstree.copying import CopySpec, Target
from wherry.fstree.tree import Directory, Entry, File, HardLink, Inline, Special, Symlink, make_tree

_CONTEXT = tree(
    "a.txt",
    "b.txt",
    file("d/one", "1", 0o4711, inode=5),
    file("d/three", "1", 0o4711, inode=5),
    file("d/sub/four", "1", 0o4711, inode=5),
    file("d/sub/two", "22"),
    directory("d/sub", 0o750),
    link("d/sl", "one"),
    Special("d/pipe", "fifo"),
    link("al", "a.txt"),
    link("dl", "d"),
    "x/a.txt",
)

_ROOT = tree(
    directory("real", 0o711),
    file("real/file", "orig", inode=3),
    file("real/hard", "orig", inode=3),
    "real/inner/",
    link("abslink", "/real"),
    link("rellink", "real"),
    link("dst/updir", "../real/inner"),
    link("dst/one", "one"),
    "dst/sl/",
    link("dangling", "/nowhere/deep"),
    link("escape", "../../../../real"),
    link("loop1", "loop2"),
    link("loop2", "loop1"),
    link("flink", "/real/file"),
    file("etc/passwd", "joe:x:1000:1001::/:\n"),
    file("etc/group", "team:x:2000:joe\n"),
)


def _target(below: MemoryFiles | None = None, **how: bool) -> Target:
    def read(file: File) -> bytes:
        assert isinstance(file.content, Inline)
        return file.content.data

    return Target(below or tree(), read, **how)


def _copied(*specs: CopySpec, below: MemoryFiles | None = None) -> list[str]:
    target = _target(below)
    for spec in specs:
        target.copy(_CONTEXT, spec)
    assert target.whiteouts() == ()
    return _shown(target)


def _shown(target: Target) -> list[str]:
    """The changes as lines: kind, path, mode, owner, and what it holds or where it leads."""
    return [_line(entry) for entry in make_tree(target.changes()).entries]


def _line(entry: Entry) -> str:
    match entry:
        case HardLink():
            return f"h {entry.path} -> {entry.target}"
        case Symlink():
            return f"l {entry.path} {entry.uid}:{entry.gid} -> {entry.target}"
    start = f"{entry.path} {entry.mode:o} {entry.uid}:{entry.gid}"
    match entry:
        case File(content=Inline() as content):
            return f"f {start} {content.data.decode()}"
        case Directory():
            return f"d {start}"
        case _:
            return f"p {start}"


_D = [
    "f {}/one 4711 0:0 1",
    "p {}/pipe 644 0:0",
    "l {}/sl 0:0 -> one",
    "d {}/sub 750 0:0",
    "h {}/sub/four -> {}/one",
    "f {}/sub/two 644 0:0 22",
    "h {}/three -> {}/one",
]


def _contents_of_d(path: str) -> list[str]:
    return [line.replace("{}", path) for line in _D]


@pytest.mark.parametrize(
    ("path", "destination", "expected"),
    [
        ("/a.txt", "/x", ["f x 644 0:0 a.txt"]),
        ("/a.txt", "/", ["f a.txt 644 0:0 a.txt"]),
        ("/a.txt", "", ["f a.txt 644 0:0 a.txt"]),
        ("/a.txt", "/x/y/", ["d x 755 0:0", "d x/y 755 0:0", "f x/y/a.txt 644 0:0 a.txt"]),
        ("/a.txt", "/x/.", ["d x 755 0:0", "f x/a.txt 644 0:0 a.txt"]),
        ("/a.txt", "/x/../y", ["f y 644 0:0 a.txt"]),
        ("/a.txt/", "/x", ["f x 644 0:0 a.txt"]),
        ("/al", "/x", ["f x 644 0:0 a.txt"]),
        ("/al", "/x/", ["d x 755 0:0", "f x/al 644 0:0 a.txt"]),
        ("/dl/one", "/x", ["f x 4711 0:0 1"]),
        ("/d", "/x", ["d x 755 0:0", *_contents_of_d("x")]),
        ("/d", "/x/", ["d x 755 0:0", *_contents_of_d("x")]),
        ("/dl", "/x", ["d x 755 0:0", *_contents_of_d("x")]),
        ("/d/.", "/x", ["d x 755 0:0", *_contents_of_d("x")]),
        ("/a*.txt", "/x", ["f x 644 0:0 a.txt"]),
        ("/?.txt", "/x", ["f x 644 0:0 b.txt"]),
        ("/?.txt", "/x/", ["d x 755 0:0", "f x/a.txt 644 0:0 a.txt", "f x/b.txt 644 0:0 b.txt"]),
        ("/z*", "/x/", []),
    ],
)
def test_where_files_and_directories_go(path: str, destination: str, expected: list[str]) -> None:
    assert _copied(CopySpec(path, destination)) == expected


def test_several_sources_into_one_directory() -> None:
    specs = [CopySpec(path, "/x/") for path in ("/a.txt", "/z*", "/d")]
    assert _copied(*specs) == ["d x 755 0:0", "f x/a.txt 644 0:0 a.txt", *_contents_of_d("x")]


_UNDER_REAL = ["d real 711 0:0", "f real/a.txt 644 0:0 a.txt"]


@pytest.mark.parametrize(
    ("path", "destination", "expected"),
    [
        ("/a.txt", "/real", _UNDER_REAL),
        ("/a.txt", "/abslink", _UNDER_REAL),
        ("/a.txt", "/abslink/", _UNDER_REAL),
        ("/a.txt", "/escape/", _UNDER_REAL),
        (
            "/a.txt",
            "/abslink/new/x",
            ["d real 711 0:0", "d real/new 755 0:0", "f real/new/x 644 0:0 a.txt"],
        ),
        ("/d", "/rellink", ["d real 711 0:0", *_contents_of_d("real")]),
        (
            "/a.txt",
            "/dst/updir/",
            ["d real 711 0:0", "d real/inner 755 0:0", "f real/inner/a.txt 644 0:0 a.txt"],
        ),
        ("/a.txt", "/dangling", ["d nowhere 755 0:0", "f nowhere/deep 644 0:0 a.txt"]),
        (
            "/a.txt",
            "/dangling/",
            ["d nowhere 755 0:0", "d nowhere/deep 755 0:0", "f nowhere/deep/a.txt 644 0:0 a.txt"],
        ),
        (
            "/d",
            "/dangling",
            ["d nowhere 755 0:0", "d nowhere/deep 755 0:0", *_contents_of_d("nowhere/deep")],
        ),
        # The destination's link is followed, a link in the place of the copied file is replaced.
        ("/a.txt", "/flink", ["d real 711 0:0", "f real/file 644 0:0 a.txt"]),
        ("/d/one", "/dst/", ["d dst 755 0:0", "f dst/one 4711 0:0 1"]),
        ("/a.txt", "/real/file", ["d real 711 0:0", "f real/file 644 0:0 a.txt"]),
    ],
)
def test_links_of_the_root_are_followed_inside_it(
    path: str, destination: str, expected: list[str]
) -> None:
    assert _copied(CopySpec(path, destination), below=_ROOT) == expected


@pytest.mark.parametrize(
    ("source", "destination", "message"),
    [
        ("/a.txt", "/loop1", "cannot follow the links in /loop1"),
        ("/a.txt", "/flink/", "/real/file is a file"),
        ("/a.txt", "/flink/x", "/real/file is a file"),
        ("/d", "/flink", "a directory does not replace"),
        ("/d", "/dst", "a file does not replace"),
        ("/", "/e", "a directory does not replace"),
    ],
)
def test_what_is_in_the_way_is_refused(source: str, destination: str, message: str) -> None:
    below = MemoryFiles([*_ROOT.entries.values(), file("e/d", "file")])
    with pytest.raises(UsageError) as caught:
        _copied(CopySpec(source, destination), below=below)
    assert message in str(caught.value)


def test_a_directory_does_not_replace_a_link_to_a_directory() -> None:
    with pytest.raises(UsageError) as caught:
        _target(tree("real/", link("x", "/real"))).copy(_CONTEXT, CopySpec("/", "/"))
    assert caught.value.why == "there is a link to /real, which a directory does not replace"


def test_directories_merge_and_take_what_the_copied_ones_have() -> None:
    below = tree(
        directory("x", 0o700, uid=9, gid=9),
        directory("x/sub", 0o700, uid=9, gid=9),
        file("x/sub/old", "old", uid=9),
        file("x/one", "old", uid=9),
    )
    assert _copied(CopySpec("/d", "/x"), below=below) == ["d x 700 9:9", *_contents_of_d("x")]


def test_parents_give_directories_that_are_there_their_mode_only() -> None:
    below = tree(directory("x/d", 0o700, uid=9, gid=9), directory("x/d/sub", 0o700, uid=9, gid=9))
    spec = CopySpec("/d/sub/two", "/x", owner="3:4", mode="600", parents=True)
    assert _copied(spec, below=below) == [
        "d x 755 0:0",
        "d x/d 755 9:9",
        "d x/d/sub 750 9:9",
        "f x/d/sub/two 600 3:4 22",
    ]


def test_parents_that_are_missing_are_copied_too() -> None:
    spec = CopySpec("/d/sub/two", "/q/x", owner="3:4", mode="700", parents=True)
    assert _copied(spec) == [
        "d q 700 3:4",
        "d q/x 700 3:4",
        "d q/x/d 700 3:4",
        "d q/x/d/sub 700 3:4",
        "f q/x/d/sub/two 700 3:4 22",
    ]


def test_parents_with_wildcards_that_match_nothing_still_make_the_destination() -> None:
    assert _copied(CopySpec("/z*", "/x", parents=True)) == ["d x 755 0:0"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("600", ["d p 600 0:0", "d p/q 600 0:0", "f p/q/x 600 0:0 a.txt"]),
        ("4755", ["d p 755 0:0", "d p/q 755 0:0", "f p/q/x 4755 0:0 a.txt"]),
        ("u+s,go-r", ["d p 755 0:0", "d p/q 755 0:0", "f p/q/x 4600 0:0 a.txt"]),
    ],
)
def test_modes_of_files_and_of_directories_made_on_the_way(mode: str, expected: list[str]) -> None:
    assert _copied(CopySpec("/a.txt", "/p/q/x", mode=mode)) == expected


def test_modes_of_what_a_directory_holds() -> None:
    assert _copied(CopySpec("/d", "/x", mode="u+s,go-r", excludes=("three", "sub/four"))) == [
        "d x 755 0:0",
        "f x/one 4711 0:0 1",
        "p x/pipe 4600 0:0",
        "l x/sl 0:0 -> one",
        "d x/sub 4710 0:0",
        "f x/sub/two 4600 0:0 22",
    ]


@pytest.mark.parametrize(
    ("owner", "shown"),
    [("5", "5:5"), ("5:6", "5:6"), ("joe", "1000:1001"), ("joe:team", "1000:2000"), ("who", "0:0")],
)
def test_owners_of_files_and_of_directories_made_on_the_way(owner: str, shown: str) -> None:
    assert _copied(CopySpec("/a.txt", "/p/x", owner=owner), below=_ROOT) == [
        f"d p 755 {shown}",
        f"f p/x 644 {shown} a.txt",
    ]


def test_names_of_owners_are_those_of_the_root_before_the_op() -> None:
    target = _target(tree(link("etc", "/real"), file("real/passwd", "joe:x:7:8\n")))
    target.write_file("passwd", b"joe:x:1:1\n", "/real/")
    target.copy(_CONTEXT, CopySpec("/a.txt", "/x", owner="joe"))
    assert _shown(target)[-1] == "f x 644 7:8 a.txt"


def test_a_passwd_that_is_no_file_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        _target(tree("etc/passwd/")).copy(_CONTEXT, CopySpec("/a.txt", "/x", owner="joe"))
    assert caught.value.why == "/etc/passwd of the image is a directory"


def test_names_of_owners_need_a_root() -> None:
    target = _target(has_root=False)
    target.copy(_CONTEXT, CopySpec("/a.txt", "/x", owner="root:3"))
    with pytest.raises(UsageError, match="owner 'joe'"):
        target.copy(_CONTEXT, CopySpec("/a.txt", "/y", owner="joe"))
    assert _shown(target) == ["f x 644 0:3 a.txt"]


def test_owners_and_capabilities_come_along_from_other_trees() -> None:
    capability = ("security.capability", b"\1\0")
    source = tree(
        file("bin/ping", "p", 0o755, uid=5, gid=6, xattrs=(("user.x", b"1"), capability)),
        directory("bin", 0o700, uid=5, gid=6),
        link("bin/l", "ping", uid=7, gid=8),
    )
    target = _target()
    target.copy(source, CopySpec("/bin", "/x"))
    target.copy(source, CopySpec("/", "/y"))
    entries = {entry.path: entry for entry in target.changes()}
    assert entries["x"] == Directory("x")
    assert entries["y/bin"] == Directory("y/bin", 0o700, 5, 6)
    expected = replace(source.entries["bin/ping"], path="x/ping", xattrs=(capability,))
    assert entries["x/ping"] == expected
    assert entries["x/l"] == Symlink("x/l", "ping", 7, 8)


def test_minus_one_leaves_the_owner_of_a_directory_that_is_there() -> None:
    below = tree(directory("x/sub", uid=9, gid=8))
    lines = _copied(CopySpec("/d", "/x", owner="-1:4"), below=below)
    assert "d x/sub 750 9:4" in lines
    assert "f x/sub/two 644 0:4 22" in lines


def test_directories_made_below_one_with_the_group_bit_take_bit_and_group() -> None:
    below = tree(directory("g", 0o2755, uid=3, gid=7))
    assert _copied(CopySpec("/a.txt", "/g/n/m/"), below=below) == [
        "d g 2755 3:7",
        "d g/n 2755 0:7",
        "d g/n/m 2755 0:7",
        "f g/n/m/a.txt 644 0:0 a.txt",
    ]


def test_names_of_one_file_stay_so_within_one_source_only() -> None:
    together = _copied(CopySpec("/d", "/x", excludes=("s*", "pipe")))
    assert together == ["d x 755 0:0", "f x/one 4711 0:0 1", "h x/three -> x/one"]
    apart = _copied(CopySpec("/d/[ot]*", "/x/"))
    assert apart == ["d x 755 0:0", "f x/one 4711 0:0 1", "f x/three 4711 0:0 1"]
    assert _copied(CopySpec("/d/three", "/x")) == ["f x 4711 0:0 1"]


def test_a_name_that_is_replaced_leaves_the_others_together() -> None:
    lines = _copied(CopySpec("/d", "/x"), CopySpec("/a.txt", "/x/one"))
    assert "f x/one 644 0:0 a.txt" in lines
    assert "f x/sub/four 4711 0:0 1" in lines
    assert "h x/three -> x/sub/four" in lines


def test_hard_links_of_the_root_are_not_written_through() -> None:
    assert _copied(CopySpec("/a.txt", "/real/file"), below=_ROOT) == [
        "d real 711 0:0",
        "f real/file 644 0:0 a.txt",
    ]


def test_what_is_replaced_by_its_like_is_no_change() -> None:
    first = _target()
    first.copy(_CONTEXT, CopySpec("/", "/x", mtime=7))
    below = MemoryFiles(
        replace(_CONTEXT.entries[entry.target.removeprefix("x/")], path=entry.path)  # type: ignore[call-overload] # an entry
        if isinstance(entry, HardLink)
        else entry
        for entry in first.changes()
    )
    assert _copied(CopySpec("/", "/x", mtime=7), below=below) == []
    changed = MemoryFiles([*below.entries.values(), file("x/x/a.txt", "x/a.tx!")])
    assert _copied(CopySpec("/", "/x", mtime=7), below=changed) == [
        "d x 755 0:0",
        "d x/x 755 0:0",
        "f x/x/a.txt 644 0:0 x/a.txt",
    ]


def test_times_come_along_and_made_directories_take_the_given_one() -> None:
    source = tree(directory("d", mtime=4), file("d/f", "x", mtime=5), directory("d/e", mtime=6))
    target = _target()
    target.copy(source, CopySpec("/d", "/p/q", mtime=100))
    times = {entry.path: entry.mtime for entry in target.changes()}
    assert times == {"p": 100, "p/q": 4, "p/q/f": 5, "p/q/e": 6}


def test_a_literal_directory_is_copied_with_what_it_has() -> None:
    source = tree(file("f", "x", uid=1), directory("e", 0o700, uid=2))
    target = _target()
    target.copy(source, CopySpec("/", "/new/x", literal=True))
    target.copy(source, CopySpec("/f", "/bin/", literal=True, mode="755"))
    assert _shown(target) == [
        "d bin 755 0:0",
        "f bin/f 755 1:0 x",
        "d new 755 0:0",
        "d new/x 755 0:0",
        "d new/x/e 700 2:0",
        "f new/x/f 644 1:0 x",
    ]


def test_write_file_is_like_a_copied_file() -> None:
    target = _target(_ROOT)
    target.write_file("a", b"A", "/x/", owner="joe")
    target.write_file("b", b"B", "/x/", mode="+x")
    target.write_file("c", b"C", "/flink")
    with pytest.raises(UsageError, match="cannot copy"):
        target.write_file("etc", b"E", "/")
    assert _shown(target) == [
        "d real 711 0:0",
        "f real/file 644 0:0 C",
        "d x 755 1000:1001",
        "f x/a 644 1000:1001 A",
        "f x/b 755 0:0 B",
    ]


def test_make_directory_follows_links_and_leaves_what_is_there() -> None:
    target = _target(_ROOT)
    target.make_directory("/abslink/w/v", 0o750, "joe", mtime=3)
    target.make_directory("/abslink/w", 0o700)
    target.make_directory("/")
    assert _shown(target) == [
        "d real 711 0:0",
        "d real/w 750 1000:1001",
        "d real/w/v 750 1000:1001",
    ]
    with pytest.raises(UsageError) as caught:
        target.make_directory("/flink")
    assert caught.value.why == "/real/file is a file"


def test_a_bad_mode_changes_nothing() -> None:
    target = _target()
    with pytest.raises(UsageError, match="--chmod=9"):
        target.copy(_CONTEXT, CopySpec("/a.txt", "/x/", mode="9"))
    assert target.changes() == ()


def test_an_archive_needs_somebody_to_open_it() -> None:
    with pytest.raises(InternalError):
        _target().copy(_CONTEXT, CopySpec("/a.txt", "/x", unpack=True))


def test_what_is_no_archive_is_copied() -> None:
    target = _target()
    target.copy(_CONTEXT, CopySpec("/a.txt", "/x/", unpack=True), lambda file, tree: None)
    target.copy(_CONTEXT, CopySpec("/x", "/y", unpack=True), lambda file, tree: None)
    assert _shown(target) == [
        "d x 755 0:0",
        "f x/a.txt 644 0:0 a.txt",
        "d y 755 0:0",
        "f y/a.txt 644 0:0 x/a.txt",
    ]
