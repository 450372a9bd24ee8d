# SPDX-License-Identifier: Apache-2.0
"""A live directory as files: what is seen of it, contents, digests, the memo."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wherry.fstree.safe_open
import wherry.fstree.scan
from wherry.errors import BuildError, UsageError
from wherry.fstree.directory import DirectoryFiles
from wherry.fstree.ignore import IgnoreRules
from wherry.fstree.memo import Digests, FileMemo, NoMemo, state
from wherry.fstree.state import directory_state
from wherry.fstree.tree import Directory, File, Special, Symlink
from wherry.oci.digest import sha256
from wherry.process.cancel import Cancelled, CancelToken
from wherry.process.clock import RACY_NS, file_clock_ns, next_file_clock_ns

LONG_AGO = 3600


class Kept:
    """A memo in memory."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data
        self.saves = 0

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data
        self.saves += 1


@contextmanager
def seen(root: Path, *rules: str, memo: FileMemo | None = None) -> Iterator[DirectoryFiles]:
    with DirectoryFiles(str(root), IgnoreRules(rules), memo or NoMemo(), CancelToken()) as files:
        yield files


def paths(files: DirectoryFiles, directory: str = "") -> list[str]:
    found = []
    for name in files.names(directory):
        path = f"{directory}/{name}" if directory else name
        found += [path, *paths(files, path)]
    return found


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Look at files as if they had been written an hour ago, and on this machine's clock."""
    clock = wherry.fstree.scan.file_clock_ns
    monkeypatch.setattr(wherry.fstree.safe_open, "is_local", lambda _path: True)

    def move() -> None:
        monkeypatch.setattr(wherry.fstree.scan, "file_clock_ns", lambda: clock() + LONG_AGO * 10**9)

    return move


def test_entries_say_what_lies_there(tmp_path: Path) -> None:
    file = write(tmp_path / "dir" / "file", "hello")
    file.chmod(0o4751)
    os.utime(file, (1, 1_700_000_000.75))
    (tmp_path / "link").symlink_to("dir/file")
    (tmp_path / "dir").chmod(0o2770)
    with seen(tmp_path) as files:
        found = files.entry("dir/file")
        assert isinstance(found, File)
        assert (found.mode, found.uid, found.gid, found.mtime) == (0o4751, 0, 0, 1_700_000_000)
        assert (found.inode, found.xattrs, found.content.size) == (0, (), 5)
        assert files.digest(found) == found.content.digest == sha256(b"hello")
        directory = files.entry("dir")
        assert isinstance(directory, Directory)
        assert (directory.mode, directory.uid) == (0o2770, 0)
        link = files.entry("link")
        assert isinstance(link, Symlink)
        assert link.target == "dir/file"
        assert isinstance(files.entry(""), Directory)
        assert files.names("") == ("dir", "link")
        assert files.names("link") == files.names("dir/file") == files.names("none") == ()


ODD = ("none", "dir/none", "dir/file/x", "link/file", "../x", "dir//x", "dir/./file", "dir/../dir",
       "/dir", "a" * 5000, "x\0y")  # fmt: skip


@pytest.mark.parametrize("path", ODD)
def test_there_is_nothing_at_other_paths(tmp_path: Path, path: str) -> None:
    write(tmp_path / "dir" / "file")
    (tmp_path / "link").symlink_to("dir")
    with seen(tmp_path) as files:
        assert files.entry(path) is None


def test_hard_links_share_an_inode(tmp_path: Path) -> None:
    first = write(tmp_path / "a")
    os.link(first, tmp_path / "b")
    write(tmp_path / "c")
    with seen(tmp_path) as files:
        a, b, c = (files.entry(name) for name in "abc")
        assert isinstance(a, File)
        assert isinstance(b, File)
        assert isinstance(c, File)
        assert a.inode == b.inode != 0
        assert c.inode == 0


def test_pipes_and_sockets_are_as_buildkit_sends_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o640)
    (tmp_path / "pipe").chmod(0o640)
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(tmp_path, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/socket")
        finally:
            os.close(here)
    with seen(tmp_path) as files:
        pipe = files.entry("pipe")
        assert isinstance(pipe, Special)
        assert (pipe.kind, pipe.mode, pipe.major, pipe.minor) == ("fifo", 0o640, 0, 0)
        plug = files.entry("socket")
        assert isinstance(plug, File)
        assert (plug.content.size, plug.content.digest) == (0, sha256(b""))


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device node takes root")
def test_devices_keep_their_numbers(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("device nodes cannot be made here")
    with seen(tmp_path) as files:
        null = files.entry("null")
        assert isinstance(null, Special)
        assert (null.kind, null.major, null.minor) == ("char", 1, 3)


def test_names_that_are_not_utf8_come_through(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff\xfe"
    with open(raw, "wb") as file:
        file.write(b"odd")
    long = "n" * 255
    write(tmp_path / long)
    with seen(tmp_path) as files:
        assert files.names("") == (long, "\udcff\udcfe")
        found = files.entry("\udcff\udcfe")
        assert isinstance(found, File)
        assert found.content.digest == sha256(b"odd")


def test_ignored_files_are_not_there(tmp_path: Path) -> None:
    for path in ("keep", "a.log", "out/x", "out/deep/keep", "out/deep/y", "none/z"):
        write(tmp_path / path)
    with seen(tmp_path, "*.log", "out", "!out/deep/keep", "none") as files:
        assert paths(files) == ["keep", "out", "out/deep", "out/deep/keep"]
        assert isinstance(files.entry("out"), Directory)
        for path in ("a.log", "out/x", "out/deep/y", "none", "none/z"):
            assert files.entry(path) is None


def test_an_excluded_directory_without_exceptions_is_not_entered(tmp_path: Path) -> None:
    write(tmp_path / "secret" / "x")
    write(tmp_path / "seen" / "y")
    entered: list[str] = []
    with seen(tmp_path, "secret", "!seen/y") as files:
        real = os.scandir

        def scandir(place: int) -> object:
            entered.append(os.readlink(f"/proc/self/fd/{place}"))
            return real(place)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "scandir", scandir)
            assert paths(files) == ["seen", "seen/y"]
    assert sorted(entered) == [str(tmp_path), str(tmp_path / "seen")]


def test_a_missing_root_is_told(tmp_path: Path) -> None:
    write(tmp_path / "file")
    for name in ("none", "file", "n\0ul"):
        with pytest.raises(UsageError, match="cannot open the directory"), seen(tmp_path / name):
            pass


def test_contents_are_read_in_the_state_they_were_seen_in(tmp_path: Path) -> None:
    file = write(tmp_path / "file", "one")
    with seen(tmp_path) as files:
        found = files.entry("file")
        assert isinstance(found, File)
        with found.content.opener() as stream:  # type: ignore[union-attr] # of a live directory
            assert stream.read() == b"one"
        file.write_text("two")
        os.utime(file, (1, 1))
        with pytest.raises(BuildError, match="file changed while it was read"):
            _ = found.content.digest
        with pytest.raises(BuildError, match="file changed while it was read"):
            found.content.opener()  # type: ignore[union-attr] # of a live directory


def test_a_file_that_grows_while_it_is_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "file", "x" * (1 << 20))
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        with file.open("a") as out:
            out.write("more")
        return real(descriptor, size)

    with seen(tmp_path) as files:
        found = files.entry("file")
        assert isinstance(found, File)
        monkeypatch.setattr(os, "read", read)
        with pytest.raises(BuildError, match="file changed while it was read"):
            _ = found.content.digest


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "nothing", "other"])
def test_what_took_a_files_place_is_not_read(tmp_path: Path, kind: str) -> None:
    outside = write(tmp_path / "outside", "one")
    file = write(tmp_path / "root" / "file", "one")
    with seen(tmp_path / "root") as files:
        found = files.entry("file")
        assert isinstance(found, File)
        file.unlink()
        match kind:
            case "link":
                file.symlink_to(outside)
            case "pipe":
                os.mkfifo(file)
            case "directory":
                file.mkdir()
            case "other":
                outside.rename(file)
        with pytest.raises(BuildError, match="file changed while it was read"):
            _ = found.content.digest


def test_a_directory_that_becomes_a_link_leads_nowhere(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "file", "secret")
    inside = write(tmp_path / "root" / "dir" / "file", "plain").parent
    write(tmp_path / "root" / "other" / "file")
    with seen(tmp_path / "root") as files:
        found = files.entry("dir/file")
        assert isinstance(found, File)
        inside.rename(tmp_path / "root" / "was")
        (tmp_path / "root" / "dir").symlink_to(tmp_path / "outside")
        # The directory that was opened last stays open: what it held is still what was seen.
        assert found.content.digest == sha256(b"plain")
        assert files.names("other") == ("file",)
        with pytest.raises(BuildError, match="changed while it was read"):
            _ = found.content.digest
    with seen(tmp_path / "root") as files:
        assert isinstance(files.entry("dir"), Symlink)
        assert files.entry("dir/file") is None


SWAPPING = """
import os, sys
os.chdir(sys.argv[1])
while os.getppid() == int(sys.argv[2]):
    for old, new in (("dir", "spare"), ("link", "dir"), ("dir", "link"), ("spare", "dir")):
        os.rename(old, new)
"""


def test_a_race_of_links_never_leads_outside(tmp_path: Path) -> None:
    """Another process swaps a directory and a link to a secret all the time."""
    secret = write(tmp_path / "outside" / "file", "secret")
    root = write(tmp_path / "root" / "dir" / "file", "plain").parent.parent
    write(root / "other" / "file")
    (root / "link").symlink_to(secret.parent)
    contents: set[str] = set()
    command = [sys.executable, "-c", SWAPPING, str(root), str(os.getpid())]
    with subprocess.Popen(command) as swapping:
        try:
            tries = 0
            while tries < 400 or (not {PLAIN, "refused"} <= contents and tries < 20_000):
                tries += 1
                contents.add(_digest_in_a_race(root))
        finally:
            swapping.kill()
    assert PLAIN in contents
    assert contents <= {PLAIN, "refused", "nothing"}


PLAIN = sha256(b"plain").hex


def _digest_in_a_race(root: Path) -> str:
    with seen(root) as files:
        try:
            found = files.entry("dir/file")
            files.names("other")
            return found.content.digest.hex if isinstance(found, File) else "nothing"
        except BuildError:
            return "refused"


def test_an_unreadable_file_matters_only_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "closed", "x")
    write(tmp_path / "open", "y")
    real = os.open

    def refusing(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        # The tests may run as root, whom no mode keeps out.
        if path == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing)
    with seen(tmp_path) as files:
        closed, readable = files.entry("closed"), files.entry("open")
        assert isinstance(closed, File)
        assert isinstance(readable, File)
        assert readable.content.digest == sha256(b"y")
        with pytest.raises(BuildError, match="cannot read closed") as caught:
            _ = closed.content.digest
        assert caught.value.why == "Permission denied"
        assert ".dockerignore" in caught.value.hint


def test_very_deep_directories_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Really deep ones would be more than the tests' own cleaning up copes with.
    monkeypatch.setattr("wherry.fstree.safe_open._DEEPEST", 20)
    (tmp_path / "/".join("d" * 25)).mkdir(parents=True)
    with seen(tmp_path) as files:
        assert files.names("/".join("d" * 20)) == ("d",)
        with pytest.raises(BuildError, match="cannot read d/d/") as caught:
            files.names("/".join("d" * 21))
        assert "nested deeper" in caught.value.why


def test_a_few_hundred_levels_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "/".join("d" * 300)).mkdir(parents=True)
    write(tmp_path / "/".join("d" * 300) / "x")
    with seen(tmp_path, "d", "!**/x") as files:
        path = "/".join("d" * 300)
        assert files.names(path) == ("x",)
        assert isinstance(files.entry(f"{path}/x"), File)


def test_a_cancelled_build_reads_no_more(tmp_path: Path) -> None:
    write(tmp_path / "file")
    cancel = CancelToken()
    with DirectoryFiles(str(tmp_path), IgnoreRules(()), NoMemo(), cancel) as files:
        found = files.entry("file")
        assert isinstance(found, File)
        cancel.cancel()
        with pytest.raises(Cancelled):
            files.digest(found)


def test_digests_are_remembered(tmp_path: Path, later: Callable[[], None]) -> None:
    file = write(tmp_path / "dir" / "file", "one")
    memo = Kept()
    later()
    with seen(tmp_path, memo=memo) as files:
        found = files.entry("dir/file")
        assert isinstance(found, File)
        first = files.digest(found)
    assert memo.saves == 1
    with seen(tmp_path, memo=memo) as files, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", lambda *_: pytest.fail("it was read again"))
        found = files.entry("dir/file")
        assert isinstance(found, File)
        assert files.digest(found) == first
    assert memo.saves == 1
    file.write_text("two")
    with seen(tmp_path, memo=memo) as files:
        found = files.entry("dir/file")
        assert isinstance(found, File)
        assert files.digest(found) == sha256(b"two")


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    write(tmp_path / "file", "one")
    memo = Kept()
    with seen(tmp_path, memo=memo) as files:
        found = files.entry("file")
        assert isinstance(found, File)
        files.digest(found)
    assert memo.saves == 0


def test_files_that_are_gone_are_forgotten(tmp_path: Path, later: Callable[[], None]) -> None:
    for path in ("gone", "there", "dir/other"):
        write(tmp_path / path)
    memo = Kept()
    later()
    with seen(tmp_path, memo=memo) as files:
        for path in ("gone", "there", "dir/other"):
            found = files.entry(path)
            assert isinstance(found, File)
            files.digest(found)
    (tmp_path / "gone").unlink()
    write(tmp_path / "new")
    with seen(tmp_path, memo=memo) as files:
        found = files.entry("new")
        assert isinstance(found, File)
        files.digest(found)
    # `dir` was not looked at, so what is known of it stays.
    data = memo.data or b""
    assert b"gone" not in data
    assert b"there" in data
    assert b"dir/other" in data


@pytest.mark.parametrize("damage", [b"", b"x", b"wherry-digests-1\n" + bytes(60)])
def test_a_damaged_memo_holds_nothing(damage: bytes) -> None:
    assert Digests(damage).encode(lambda _: True) == Digests().encode(lambda _: True)


def test_one_wrong_bit_voids_a_memo(tmp_path: Path) -> None:
    status = os.stat(write(tmp_path / "file"))
    digests = Digests()
    digests.put("file", state(status), sha256(b"x"))
    data = digests.encode(lambda _: True)
    assert Digests(data).get("file", state(status)) == sha256(b"x")
    for place in range(0, len(data), 7):
        broken = bytearray(data)
        broken[place] ^= 1
        assert Digests(bytes(broken)).get("file", state(status)) is None


def test_what_a_directory_is_without_is_not_there(tmp_path: Path) -> None:
    for path in ("kept", "out/x", "a/out/x", "a/outer", "a/out2/x"):
        write(tmp_path / path)
    without = ("a/out", "out", "none/at/all")
    # Not even a rule that takes back in what another one hides.
    for rules in ((), ("a", "!a/out*", "!a/out/x", "!a/outer", "!kept")):
        with DirectoryFiles(
            str(tmp_path), IgnoreRules(rules), NoMemo(), CancelToken(), without
        ) as files:
            assert paths(files) == ["a", "a/out2", "a/out2/x", "a/outer", "kept"]
            assert files.entry("out") is None and files.entry("a/out/x") is None
            assert files.names("a/out") == ()


def test_what_a_directory_is_without_has_no_part_in_its_state(tmp_path: Path) -> None:
    write(tmp_path / "kept")
    while file_clock_ns() - RACY_NS <= (tmp_path / "kept").stat().st_ctime_ns:
        next_file_clock_ns()

    def state_of(*without: str) -> str | None:
        looked = directory_state(str(tmp_path), (), ("",), CancelToken(), without)
        with DirectoryFiles(
            str(tmp_path), IgnoreRules(()), NoMemo(), CancelToken(), without
        ) as files:
            assert files.seen(("",)) == files.signature(("",)) == looked
        return looked

    before = state_of()
    assert before is not None and state_of("out") == before
    write(tmp_path / "out" / "x")
    assert state_of("out") == before and state_of() != before
