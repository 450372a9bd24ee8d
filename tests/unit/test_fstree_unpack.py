# SPDX-License-Identifier: Apache-2.0
"""Unpacking layers: whiteouts, links, modes, round trips of random trees."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import MachineError, UsageError
from wherry.fstree.tar import write_tar
from wherry.fstree.tree import (
    Directory,
    Entry,
    File,
    HardLink,
    Inline,
    Symlink,
    Tree,
    make_tree,
)
from wherry.fstree.unpack import Extras, Ownership, Skipped, unpack_layer
from wherry.process.cancel import Cancelled, CancelToken

MTIME = 1_600_000_000


def tar_of(tree: Tree) -> io.BytesIO:
    out = io.BytesIO()
    write_tar(tree, out.write, MTIME)
    out.seek(0)
    return out


def layer(*entries: tuple[str, str | bytes | None]) -> io.BytesIO:
    """A layer by hand: name and content, `-> target` for a link, None for a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.mtime = MTIME
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            elif isinstance(content, str):
                kind, _, member.linkname = content.partition(" ")
                member.type = tarfile.SYMTYPE if kind == "->" else tarfile.LNKTYPE
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    out.seek(0)
    return out


def listing(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def unpack(root: Path, *layers: io.BytesIO) -> None:
    for one in layers:
        assert unpack_layer(one, str(root), Ownership.IGNORE) == ()


def test_files_links_modes_and_times(tmp_path: Path) -> None:
    tree = make_tree(
        [
            Directory("d", 0o2750),
            File("d/x", Inline(b"hello"), 0o4711),
            HardLink("d/y", "d/x"),
            Symlink("d/z", "/d/x"),
            Directory("tmp", 0o1777),
        ]
    )
    unpack(tmp_path, tar_of(tree))
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o2750
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((tmp_path / "d/x").stat().st_mode) == 0o4711
    assert (tmp_path / "d/x").read_bytes() == b"hello"
    assert (tmp_path / "d/y").samefile(tmp_path / "d/x")
    assert str((tmp_path / "d/z").readlink()) == "/d/x"
    for name in ("d", "d/x", "d/z", "tmp"):
        assert (tmp_path / name).lstat().st_mtime == MTIME


def test_missing_parents_are_made_for_everybody(tmp_path: Path) -> None:
    unpack(tmp_path, layer(("a/b/c", b"")))
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o755


def test_the_root_itself_may_be_an_entry(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    unpack(root, layer(("./", None), ("./x", b"1")))
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    assert listing(root) == {"x"}


def test_a_later_layer_replaces_files_links_and_directories(tmp_path: Path) -> None:
    lower = layer(("file", b"1"), ("link", "-> file"), ("dir/x", b""), ("kept/x", b""))
    upper = layer(("file", None), ("link", b"2"), ("dir", b"3"), ("kept", None), ("kept/y", b""))
    unpack(tmp_path, lower, upper)
    assert (tmp_path / "file").is_dir()
    assert (tmp_path / "link").read_bytes() == b"2"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "dir").read_bytes() == b"3"
    assert listing(tmp_path / "kept") == {"x", "y"}


def test_an_entry_below_a_link_goes_where_the_link_leads_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    unpack(
        root,
        layer(("run", None), ("var", None), ("var/run", "-> /run"), ("deep/up", "-> ../../../run")),
        layer(("var/run/a", b""), ("deep/up/b", b"")),
    )
    assert listing(root / "run") == {"a", "b"}
    assert (root / "var/run").is_symlink()


def test_whiteouts_remove_what_lower_layers_put_there(tmp_path: Path) -> None:
    lower = layer(("a/x", b""), ("a/y/z", b""), ("b", b""), ("c", "-> a"))
    upper = layer(("a/.wh.y", b""), (".wh.b", b""), (".wh.c", b""), (".wh.never-there", b""),
                  ("no/such/.wh.directory", b""))  # fmt: skip
    unpack(tmp_path, lower, upper)
    assert listing(tmp_path) == {"a", "a/x"}


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_directory_keeps_only_its_own_layer(tmp_path: Path, first: bool) -> None:
    lower = layer(("d/old", b""), ("d/sub/old", b""), ("d/both", b"old"), ("other", b""))
    new: list[tuple[str, str | bytes | None]] = [
        ("d/new", b""),
        ("d/sub/new", b""),
        ("d/both", b"new"),
    ]
    opaque = ("d/.wh..wh..opq", b"")
    unpack(tmp_path, lower, layer(*([opaque, *new] if first else [*new, opaque])))
    assert listing(tmp_path) == {"other", "d", "d/new", "d/sub", "d/sub/new", "d/both"}
    assert (tmp_path / "d/both").read_bytes() == b"new"


def test_a_whiteout_spares_its_own_layer(tmp_path: Path) -> None:
    unpack(tmp_path, layer(("x", b"old")), layer(("x", b"new"), (".wh.x", b"")))
    assert (tmp_path / "x").read_bytes() == b"new"


def test_bookkeeping_of_aufs_is_ignored(tmp_path: Path) -> None:
    unpack(tmp_path, layer((".wh..wh.plnk", None), (".wh..wh.plnk/1.2", b""), ("x", b"")))
    assert listing(tmp_path) == {"x"}


def test_devices_are_left_out_and_told(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("null", tarfile.CHRTYPE), ("sda", tarfile.BLKTYPE), ("p", b"6")):
            member = tarfile.TarInfo(f"dev/{name}")
            member.type = kind
            archive.addfile(member)
    out.seek(0)
    skipped = unpack_layer(out, str(tmp_path), Ownership.IGNORE)
    assert [item.path for item in skipped] == ["dev/null", "dev/sda", "dev/p"]
    assert all(isinstance(item, Skipped) and "device" in item.why for item in skipped)
    assert listing(tmp_path) == {"dev"}


def nodes() -> io.BytesIO:
    """A pipe, a device, and the device that overlayfs takes for a removed file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, numbers in (
            ("pipe", tarfile.FIFOTYPE, (0, 0)),
            ("null", tarfile.CHRTYPE, (1, 3)),
            ("mark", tarfile.CHRTYPE, (0, 0)),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = kind, 0o640, 1_600_000_000
            member.devmajor, member.devminor = numbers
            archive.addfile(member)
    out.seek(0)
    return out


def test_pipes_and_devices_are_made_where_asked_for(tmp_path: Path) -> None:
    extras = Extras(nodes=True)
    skipped = {
        item.path: item.why
        for item in unpack_layer(nodes(), str(tmp_path), Ownership.IGNORE, extras=extras)
    }
    pipe = (tmp_path / "pipe").lstat()
    assert stat.S_ISFIFO(pipe.st_mode)
    assert (stat.S_IMODE(pipe.st_mode), pipe.st_mtime) == (0o640, 1_600_000_000)
    assert "overlayfs" in skipped.pop("mark")
    assert not (tmp_path / "mark").exists()
    if os.geteuid() == 0:
        null = (tmp_path / "null").lstat()
        assert stat.S_ISCHR(null.st_mode)
        assert null.st_rdev == os.makedev(1, 3)
        assert skipped == {}
    else:
        assert skipped == {"null": "only root may make devices"}


def test_attributes_of_directories_are_set_and_those_of_overlayfs_never(tmp_path: Path) -> None:
    xattrs = (("user.overlay.opaque", b"y"), ("user.test", b"1"), ("trusted.overlay.opaque", b"y"))
    tree = make_tree([Directory("d", xattrs=xattrs), File("d/x", Inline(b""), xattrs=xattrs)])
    skipped = unpack_layer(tar_of(tree), str(tmp_path), Ownership.IGNORE)
    for path in ("d", "d/x"):
        assert os.listxattr(tmp_path / path) == ["user.test"]
    assert skipped == ()


def test_attributes_are_set_or_told(tmp_path: Path) -> None:
    tree = make_tree([File("x", Inline(b""), xattrs=(("user.test", b"\x00\xff"),))])
    skipped = unpack_layer(tar_of(tree), str(tmp_path), Ownership.IGNORE)
    if skipped:
        assert "user.test" in skipped[0].why
    else:
        assert os.getxattr(tmp_path / "x", "user.test") == b"\x00\xff"


def maps_other_ids() -> bool:
    if os.geteuid() != 0:
        return False
    lines = Path("/proc/self/uid_map").read_text("ascii").splitlines()
    return any(int(line.split()[2]) > 70_000 or int(line.split()[0]) == 1 for line in lines)


@pytest.mark.skipif(not maps_other_ids(), reason="only root over several ids can give files away")
def test_owners_are_kept_when_asked(tmp_path: Path) -> None:
    tree = make_tree(
        [
            Directory("home", 0o700, 12, 13),
            File("home/x", Inline(b""), 0o6755, 12, 13),
            Symlink("l", "home", 12, 13),
        ]
    )
    unpack_layer(tar_of(tree), str(tmp_path), Ownership.KEEP)
    for name in ("home", "home/x", "l"):
        found = (tmp_path / name).lstat()
        assert (found.st_uid, found.st_gid) == (12, 13)
    assert stat.S_IMODE((tmp_path / "home/x").stat().st_mode) == 0o6755


def test_owners_are_ignored_else(tmp_path: Path) -> None:
    unpack(tmp_path, tar_of(make_tree([File("x", Inline(b""), uid=4711, gid=4711)])))
    assert (tmp_path / "x").stat().st_uid == os.geteuid()


def test_a_machine_that_refuses_is_told_apart_from_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chown(*_args: object, **_keywords: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "chown", chown)
    with pytest.raises(MachineError, match="cannot unpack layer 7") as caught:
        unpack_layer(layer(("x", b"")), str(tmp_path), Ownership.KEEP, name="layer 7")
    assert caught.value.why == "Invalid argument"
    with pytest.raises(MachineError):
        unpack_layer(layer(("x", b"")), str(tmp_path / "none"), Ownership.KEEP)


def test_cancelling_stops_between_entries(tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        unpack_layer(layer(("x", b"")), str(tmp_path), Ownership.IGNORE, cancel=cancel)
    assert listing(tmp_path) == set()


UNPRIVILEGED = """
import sys
from wherry.fstree.unpack import Ownership, remove_tree, unpack_layer
root = sys.argv[1]
for path in sys.argv[2:]:
    with open(path, "rb") as layer:
        unpack_layer(layer, root, Ownership.IGNORE)
"""


def test_closed_directories_stop_no_plain_user(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", UNPRIVILEGED]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed")
        # Root without the rights that make it pass every mode.
        drop = "--bounding-set=-dac_override,-dac_read_search,-fowner"
        argv = ["setpriv", drop, "--inh-caps=-all", *argv]
    lower = make_tree([Directory("shut", 0o000), File("shut/in/x", Inline(b"1"), 0o400)])
    upper = make_tree([File("shut/in/y", Inline(b"2"), 0o000), Directory("shut", 0o555)])
    again = make_tree([File("shut/in/x", Inline(b"3"))])
    root = tmp_path / "root"
    root.mkdir()
    paths = []
    for number, tree in enumerate((lower, upper, again)):
        paths.append(tmp_path / f"{number}.tar")
        paths[-1].write_bytes(tar_of(tree).read())
    done = subprocess.run(
        [*argv, str(root), *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((root / "shut").stat().st_mode) == 0o755
    assert listing(root) == {"shut", "shut/in", "shut/in/x", "shut/in/y"}
    assert (root / "shut/in/x").read_bytes() == b"3"


@pytest.mark.parametrize("cut", [0, 1, 100, 512, 600, 1024, 1100, 1536, 2048])
def test_a_cut_archive_is_refused_by_name(tmp_path: Path, cut: int) -> None:
    data = tar_of(make_tree([File("a", Inline(b"x" * 700)), File("b", Inline(b""))])).read()
    assert len(data) == 512 + 1024 + 512 + 1024
    with pytest.raises(UsageError, match="layer 7") as caught:
        unpack_layer(io.BytesIO(data[:cut]), str(tmp_path), Ownership.IGNORE, name="layer 7")
    assert caught.value.hint


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh.")
         and len(name.encode()) < 200)  # fmt: skip
RAW_NAMES = st.binary(min_size=1, max_size=40).map(
    lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_").decode("utf-8", "surrogateescape")
)
PATHS = st.lists(
    NAMES | RAW_NAMES.filter(lambda name: name not in (".", "..") and not name.startswith(".wh.")),
    min_size=1,
    max_size=5,
).map("/".join)
# Only root reads files of every mode back.
MODES = st.integers(0, 0o7777).map(lambda mode: mode if os.geteuid() == 0 else mode | 0o700)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    entries: dict[str, Entry] = {}
    for path in draw(st.lists(PATHS, max_size=12, unique=True)):
        entry: Entry = draw(
            st.builds(Directory, st.just(path), MODES)
            | st.builds(File, st.just(path), st.builds(Inline, st.binary(max_size=2000)), MODES)
            | st.builds(Symlink, st.just(path), PATHS | PATHS.map("/{}".format))
        )
        try:
            make_tree([*entries.values(), entry])
        except UsageError:
            continue
        entries[path] = entry
    for number, file in enumerate([item for item in entries.values() if isinstance(item, File)]):
        if draw(st.booleans()):
            # Sorts last, so that its target stands before it.
            link = HardLink(f"\U0010ffff{number}", file.path)
            entries[link.path] = link
    return make_tree(entries.values())


def scanned(root: str, tree: Tree) -> Tree:
    """What lies on disk, as a tree; hard links are told apart by inode, first name first."""
    first: dict[int, str] = {}
    found: list[Entry] = []
    for entry in tree.entries:
        raw = os.path.join(os.fsencode(root), entry.path.encode("utf-8", "surrogateescape"))
        status = os.lstat(raw)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            found.append(Directory(entry.path, mode))
        elif stat.S_ISLNK(status.st_mode):
            target = os.readlink(raw).decode("utf-8", "surrogateescape")
            found.append(Symlink(entry.path, target))
        elif status.st_ino in first:
            found.append(HardLink(entry.path, first[status.st_ino]))
        else:
            first[status.st_ino] = entry.path
            with open(raw, "rb") as file:
                found.append(File(entry.path, Inline(file.read()), mode))
    return make_tree(found)


@settings(max_examples=100, deadline=None)
@given(tree=trees())
def test_random_trees_come_back(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as root:
        assert unpack_layer(tar_of(tree), root, Ownership.IGNORE) == ()
        assert scanned(root, tree) == tree
        names = sum(len(directories) + len(files) for _, directories, files in os.walk(root))
        assert names == len(tree.entries)
