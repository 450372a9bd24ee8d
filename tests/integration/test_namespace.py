# SPDX-License-Identifier: Apache-2.0
"""The namespace worker, started for real: as root, as a user with id ranges, with one id."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layer_samples import Piece, descriptor, index_of, packed
from namespace_runs import Driven, Refused, Users, make_users
from process_table import command_lines
from sandbox_runs import compile_probe, descendants, wait_gone
from wherry.fstree.layer_index import decode_index
from wherry.fstree.limits import Limits
from wherry.sandbox.mapping import Mapping, namespace_command

KINDS = ("root", "ranges", "one")
MAPPINGS = {"root": Mapping.ROOT, "ranges": Mapping.RANGES, "one": Mapping.ONE}
NULL = "0" * 64
# user::rw-, user:1000:r--, group::r--, mask::r--, other::--- (linux/posix_acl_xattr.h).
_ENTRIES = ((1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 0, -1))
READERS = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in _ENTRIES)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module", params=KINDS)
def users(request: pytest.FixtureRequest) -> Iterator[Users]:
    with make_users(request.param) as users:
        yield users


@pytest.fixture(scope="module", params=("overlay", "whole"))
def worker(request: pytest.FixtureRequest, users: Users) -> Iterator[Driven]:
    with users.drive(request.param) as driven:
        yield driven


@pytest.fixture
def driven(request: pytest.FixtureRequest, worker: Driven) -> Iterator[Driven]:
    worker.prefix = f"{request.function.__name__}-"
    yield worker
    worker.prefix = ""
    worker.call("remove", names=os.listdir(worker.home / "snapshots"))
    assert os.listdir(worker.home / "snapshots") == []


@pytest.fixture(scope="module")
def root_users() -> Iterator[Users]:
    with make_users("root") as users:
        yield users


def test_the_place_tells_kind_mapping_and_first_id(users: Users, driven: Driven) -> None:
    place = driven.call("place")
    kind, mapping, *ids = place["name"].split("-")
    assert (kind, mapping) == (driven.kind, users.runner.kind)
    if mapping == "ranges":
        lines = [line.split(":") for line in Path("/etc/subuid").read_text().splitlines()]
        assert ids[0] in [line[1] for line in lines if line[0] == users.runner.user]
    else:
        assert ids == []
    assert place["said"] == []


def test_a_layer_is_unpacked_as_it_is(users: Users, driven: Driven) -> None:
    pieces = [
        Piece("etc/motd", data=b"hello", uid=7, gid=8, mode=0o640),
        Piece("bin/sudo", data=b"x", mode=0o4755, records=(("SCHILY.xattr.user.mark", "yes"),)),
        Piece("opt", "dir", mode=0o2750, uid=3, records=(("SCHILY.xattr.user.kind", "dir"),)),
        Piece("opt/link", "link", link="../etc/motd", uid=5),
        Piece("opt/hard", "hard", link="etc/motd"),
        Piece("run/pipe", "fifo", mode=0o600),
        Piece("dev/null", "char", mode=0o666),
    ]
    done = driven.unpack([], "a", pieces)
    rows = driven.scan("a")
    owners = users.runner.kind != "one"
    motd = rows["etc/motd"]
    assert (motd["mode"], motd["size"], motd["mtime"]) == (0o640, 5, pieces[0].mtime)
    assert (motd["uid"], motd["gid"]) == ((7, 8) if owners else (0, 0))
    assert motd["inode"] == rows["opt/hard"]["inode"] != 0
    assert rows["bin/sudo"]["mode"] == 0o4755
    assert rows["bin/sudo"]["xattrs"] == [["user.mark", b"yes".hex()]]
    assert (rows["opt"]["mode"], rows["opt"]["kind"]) == (0o2750, "directory")
    assert rows["opt"]["xattrs"] == [["user.kind", b"dir".hex()]]
    assert rows["opt/link"]["target"] == "../etc/motd"
    assert rows["opt/link"]["uid"] == (5 if owners else 0)
    assert (rows["run/pipe"]["kind"], rows["run/pipe"]["mode"]) == ("fifo", 0o600)
    # Implied directories are there, too.
    assert rows["etc"]["kind"] == rows["bin"]["kind"] == "directory"
    if users.runner.kind == "root":
        null = rows["dev/null"]
        assert (null["kind"], null["major"], null["minor"]) == ("char", 1, 3)
        assert done["skipped"] == []
    else:
        assert "dev/null" not in rows
        assert len(done["skipped"]) == 1
        assert done["skipped"][0].startswith("/dev/null: ")


def test_the_index_of_a_layer_is_made_as_it_is_unpacked(driven: Driven) -> None:
    pieces = [
        Piece("etc/passwd", data=b"root:x:0:0:root:/root:/bin/sh\n", uid=7, gid=8),
        Piece("etc/link", "link", link="passwd"),
        Piece("opt", "dir", mode=0o2750),
        Piece("opt/.wh.gone"),
        Piece("bin/tool", data=b"x" * 300_000, mode=0o4755),
    ]
    done = driven.unpack([], "a", pieces, limits=[*Limits()])
    index = decode_index(bytes.fromhex(done["index"]), descriptor(packed(pieces)))
    assert index == index_of(*pieces)
    # Where nobody asks for it, and where the layer holds more than an index may.
    assert driven.unpack([], "b", pieces)["index"] == ""
    few = Limits(entries=len(pieces) - 1)
    assert driven.unpack([], "c", pieces, limits=[*few])["index"] == ""
    assert driven.scan("c").keys() == driven.scan("a").keys()


def test_capabilities_are_kept(users: Users, driven: Driven) -> None:
    # Version 2 with CAP_NET_RAW, as layers hold it (linux/capability.h).
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    record = ("SCHILY.xattr.security.capability", value.decode("utf-8", "surrogateescape"))
    driven.unpack([], "a", [Piece("ping", data=b"x", mode=0o755, records=(record,))])
    xattrs = driven.scan("a")["ping"]["xattrs"]
    assert xattrs == [["security.capability", value.hex()]]


def test_what_belongs_to_this_machine_is_no_change(root_users: Users, probe: bytes) -> None:
    with root_users.drive("overlay") as driven:
        records = (("SCHILY.xattr.trusted.x", "1"), ("SCHILY.xattr.user.x", "1"))
        driven.unpack(
            [], "a", [Piece("f", records=records), Piece("probe", data=probe, mode=0o755)]
        )
        file = driven.path("a") / "fs" / "f"
        # As security modules label files.
        os.setxattr(file, "security.label", b"here")
        os.setxattr(file, "system.posix_acl_access", READERS)
        assert driven.scan("a")["f"]["xattrs"] == [["user.x", b"1".hex()]]
        driven.call("remove", names=["a"])


def test_whiteouts_and_opaque_directories_hide_what_is_below(driven: Driven) -> None:
    driven.unpack([], "a", [Piece("d/x", data=b"1"), Piece("d/y", data=b"2"), Piece("e/z")])
    driven.unpack(["a"], "b", [Piece("d/.wh.x"), Piece("e/.wh..wh..opq"), Piece("e/new")])
    for path, found in (("d/x", None), ("d/y", "2"), ("e/z", None), ("e/new", "")):
        assert driven.call("read", lowers=["a", "b"], path=path) == found
    rows = driven.scan("b")
    assert rows["d/x"]["kind"] == "whiteout"
    assert rows["e/z"]["kind"] == "whiteout" or rows["e"]["opaque"]
    assert "d/y" not in rows


def test_hard_links_reach_into_lower_layers(driven: Driven) -> None:
    driven.unpack([], "a", [Piece("bin/git", data=b"program", mode=0o755)])
    driven.unpack(["a"], "b", [Piece("bin/git-add", "hard", link="bin/git")])
    assert driven.call("read", lowers=["a", "b"], path="bin/git-add") == "program"
    assert driven.scan("b")["bin/git-add"]["mode"] == 0o755


def test_links_of_the_image_stay_inside(driven: Driven) -> None:
    driven.unpack(
        [], "a", [Piece("etc", "link", link="/usr/etc"), Piece("usr/etc/passwd", data=b"p")]
    )
    links = [Piece("out", "link", link="../../../../etc/passwd")]
    links.append(Piece("up", "link", link="../../../../etc"))
    driven.unpack(["a"], "b", links)
    assert driven.call("read", lowers=["a", "b"], path="/etc/passwd") == "p"
    assert driven.call("read", lowers=["a", "b"], path="up/passwd") == "p"
    with pytest.raises(Refused) as refused:
        driven.call("open", name="b", path="out")
    assert refused.value.kind in ("MachineError", "UsageError")
    assert driven.call("open", name="a", path="usr/etc/passwd") == "p"


def test_a_hundred_and_twenty_layers() -> None:
    # With ranges the mount's options are longest.
    names: list[str] = []
    with make_users("ranges") as users, users.drive("overlay") as driven:
        for number in range(120):
            driven.unpack(names, f"layer-{number}", [Piece(f"d/{number}", data=b"%d" % number)])
            names.append(f"layer-{number}")
        for number in (0, 60, 119):
            assert driven.call("read", lowers=names, path=f"d/{number}") == str(number)
        driven.call("remove", names=names)


def test_a_wrong_diff_id_is_refused(driven: Driven) -> None:
    with pytest.raises(Refused, match="diff ID") as refused:
        driven.unpack([], "a", [Piece("x")], diff_id=f"sha256:{NULL}")
    assert refused.value.kind == "UsageError"


def test_owners_that_do_not_exist_are_refused_with_a_hint(users: Users, driven: Driven) -> None:
    piece = Piece("x", uid=70_000)
    if users.runner.kind == "ranges":
        with pytest.raises(Refused, match="wherry doctor") as refused:
            driven.unpack([], "a", [piece])
        assert refused.value.kind == "MachineError"
    else:
        # Root has all ids; with one id nobody's owners are kept.
        driven.unpack([], "a", [piece])
        assert driven.scan("a")["x"]["uid"] == (70_000 if users.runner.kind == "root" else 0)


def test_a_layer_cannot_speak_to_overlayfs(driven: Driven) -> None:
    driven.unpack([], "a", [Piece("d/x", data=b"1"), Piece("f", data=b"1")])
    marks = (
        ("SCHILY.xattr.user.overlay.opaque", "y"),
        ("SCHILY.xattr.trusted.overlay.opaque", "y"),
    )
    driven.unpack(["a"], "b", [Piece("d", "dir", mode=0o755, records=marks)])
    assert driven.call("read", lowers=["a", "b"], path="d/x") == "1"


def test_a_cache_mount_begins_with_files_of_a_root(users: Users, driven: Driven) -> None:
    driven.unpack(
        [], "a", [Piece("go/pkg/x", data=b"1", uid=4, gid=4), Piece("go/l", "link", link="pkg")]
    )
    driven.call("copy_out", lowers=["a"], selector="/go", name="cache")
    assert driven.call("read", lowers=[], path="/nothing") is None
    target = driven.path("cache")
    assert target.stat().st_mode & 0o7777 == 0o750
    driven.call("make_directory", name="cache", uid=0, gid=0, mode=0o755)
    assert (target / "pkg" / "x").read_bytes() == b"1"
    assert os.readlink(target / "l") == "pkg"
    if users.runner.kind != "one":
        driven.call("make_directory", name="cache", uid=5, gid=6, mode=0o755)
        assert target.stat().st_uid not in (0, os.stat(driven.home).st_uid)
    with pytest.raises(Refused, match="no such directory"):
        driven.call("copy_out", lowers=["a"], selector="/absent", name="other")


def test_steps_run_and_leave_what_they_change(driven: Driven, probe: bytes) -> None:
    driven.unpack([], "a", [Piece("probe", data=probe, mode=0o755), Piece("d/x", data=b"1")])
    done = driven.call("execute", lowers=["a"], name="b", args=["/probe", "write", "/d/y"])
    assert done["code"] == 0
    rows = driven.scan("b")
    assert (rows["d/y"]["kind"], rows["d/y"]["size"]) == ("file", 7)
    assert "probe" not in rows
    done = driven.call("execute", lowers=["a", "b"], name="c", args=["/probe", "exit", "3"])
    assert done["code"] == 3
    assert driven.call("read", lowers=["a", "b", "c"], path="/d/y") == "written"


def test_steps_run_side_by_side(driven: Driven, probe: bytes) -> None:
    driven.unpack([], "a", [Piece("probe", data=probe, mode=0o755)])
    waits = [
        driven.start(
            "execute", lowers=["a"], name=f"w{number}", args=["/probe", "wait"], cancel=str(number)
        )
        for number in range(4)
    ]
    # They are all at work at once, and other requests are answered meanwhile.
    end = time.monotonic() + 30
    while not all(b"ready" in driven.output(f"w{number}") for number in range(4)):
        assert time.monotonic() < end, [call.answer for call in waits]
        time.sleep(0.01)
    assert driven.call("read", lowers=["a"], path="/absent") is None
    assert not any(call.done.is_set() for call in waits)
    for number, call in enumerate(waits):
        driven.call("cancel", cancel=str(number))
        with pytest.raises(Refused, match="Cancelled"):
            call.result()


def test_the_kill_of_wherry_leaves_no_process_and_no_mount(users: Users, probe: bytes) -> None:
    with users.directory() as home:
        driven = Driven(users.runner, home, "overlay")
        try:
            driven.unpack([], "a", [Piece("probe", data=probe, mode=0o755)])
            call = driven.start("execute", lowers=["a"], name="w", args=["/probe", "wait"])
            while b"ready" not in driven.output("w"):
                assert not call.done.is_set(), call.answer
                time.sleep(0.01)
            below = descendants(driven.process.pid)
            assert len(below) >= 3
            driven.process.kill()
            assert wait_gone(below) == []
        finally:
            driven.__exit__()
        assert not any(str(home) in line for line in command_lines())
        assert str(home) not in Path("/proc/self/mountinfo").read_text()
        # What it kept for itself is gone; the half-made snapshot is for the next one.
        assert os.listdir(home / "scratch") == []
        with Driven(users.runner, home, "overlay") as after:
            after.call("remove", names=["a", "w"])


def test_the_death_of_the_worker_is_told(root_users: Users, probe: bytes) -> None:
    with root_users.drive("overlay") as driven:
        driven.unpack([], "a", [Piece("probe", data=probe, mode=0o755)])
        call = driven.start("execute", lowers=["a"], name="w", args=["/probe", "wait"])
        while b"ready" not in driven.output("w"):
            assert not call.done.is_set(), call.answer
            time.sleep(0.01)
        worker = descendants(driven.process.pid)[1]
        os.kill(worker, 9)
        with pytest.raises(Refused, match="namespace worker ended unexpectedly") as refused:
            call.result()
        assert refused.value.kind == "MachineError"
        with pytest.raises(Refused, match="namespace worker ended unexpectedly"):
            driven.call("scan", name="a")


def test_the_runtime_is_proved_once_in_a_boot(root_users: Users) -> None:
    with root_users.directory() as home:
        with Driven(root_users.runner, home, "overlay") as first:
            place = first.call("place")
        if not place["runtime"]:
            pytest.skip("no OCI runtime works here: there is nothing to remember")
        proved = json.loads((home / "proved").read_text())
        # A second start believes what is written there, and only there.
        proved["found"][0] = "/remembered/runc"
        (home / "proved").write_text(json.dumps(proved))
        with Driven(root_users.runner, home, "overlay") as second:
            assert second.call("place")["runtime"] == "/remembered/runc"
        proved["key"] = "another boot"
        (home / "proved").write_text(json.dumps(proved))
        with Driven(root_users.runner, home, "overlay") as third:
            assert third.call("place")["runtime"] == place["runtime"]


def test_without_a_proc_of_its_own(users: Users, probe: bytes) -> None:
    # As in containers: parts of /proc are covered, so that the kernel lets nobody mount it anew.
    words = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs t /proc/fs; exec "$0" "$@"')
    runner = users.runner._replace(words=(*words, *(users.runner.words or ("env",))))
    with users.directory() as home, Driven(runner, home, "overlay") as driven:
        assert driven.call("place")["own_proc"] == (runner.kind == "root")
        driven.unpack([], "a", [Piece("probe", data=probe, mode=0o755)])
        done = driven.call("execute", lowers=["a"], name="b", args=["/probe", "write", "/new"])
        assert done["code"] == 0, driven.output("b")
        assert driven.call("read", lowers=["a", "b"], path="new") == "written"
        driven.call("remove", names=["a", "b"])


def test_a_full_disk_is_the_machines_fault(root_users: Users) -> None:
    with root_users.directory() as home:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", home], check=True)
        try:
            with Driven(root_users.runner, home, "overlay") as driven:
                tar = root_users.runner.home / "big.tar"
                tar.write_bytes(packed([Piece("big", data=bytes(4 << 20))]))
                with pytest.raises(Refused, match="No space left on device") as refused:
                    driven.call("unpack", lowers=[], name="a", tar=str(tar))
                assert refused.value.kind == "MachineError"
        finally:
            subprocess.run(["umount", home], check=True)


def test_both_kinds_see_the_same_changes(users: Users) -> None:
    mapping = MAPPINGS[users.runner.kind]
    script = str(users.runner.home / "trees_driver.py")
    owners = "0" if users.runner.kind == "one" else "1"
    with users.directory() as home:
        words = [*users.runner.words, *namespace_command(mapping, "unshare")]
        words += ["sh", "-c", 'mount -t proc proc /proc; exec "$0" "$@"']
        command = [*words, users.runner.python, "-P", script, str(home), "0", "15", owners]
        done = subprocess.run(
            command, env=users.runner.env(), capture_output=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    if "refused" in answer:
        pytest.skip("overlayfs is refused here: there is nothing to compare copies with")
    assert set(answer) == {"seen"}, answer
    wanted = {"file", "directory", "symlink", "fifo", "whiteout", "directory opaque", "linked"}
    assert wanted <= set(answer["seen"])
