# SPDX-License-Identifier: Apache-2.0
"""Many processes in one store, and processes killed at every step boundary."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wherry
from store_samples import blobs_of, faults, put_image, put_snapshot, stored
from wherry.errors import MachineError
from wherry.oci.reference import parse_reference
from wherry.store.store import POINTS, open_store

WORKER = Path(__file__).parents[1] / "store_worker.py"


def start(*arguments, prefix=()):
    source = Path(wherry.__file__).parents[1]
    return subprocess.Popen(
        [*prefix, sys.executable, str(WORKER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(source)},
    )


def finish(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_step_boundary(tmp_path, point):
    root = tmp_path / "store"
    with open_store(root) as store:
        old = put_image(store, "old")
        store.images.tag(parse_reference("movies"), old.descriptor, 1.0)
    killed = start("kill_at", root, point)
    _, errors = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, errors
    assert faults(root) == []
    trees = [path for path in root.glob("gocache/modules/*") if len(path.name) == 64]
    assert all(len(list(tree.glob("*/*/*.go"))) == 2 for tree in trees)
    with open_store(root) as store:
        tagged = store.images.resolve("movies")
        assert tagged is not None
        assert store.blobs.read(tagged.digest)
        if POINTS.index(point) < POINTS.index("tag-after"):
            assert tagged == stored(old)
        if POINTS.index(point) < POINTS.index("record-after"):
            assert store.records.get("gobuild", "new") is None
        # The next build is right, and nothing of the dead process is left.
        found = store.snapshots.find("place/new")
        committed = POINTS.index(point) >= POINTS.index("snapshot-committed")
        assert found is None or committed
        assert Path(put_snapshot(store, "place/new"), "fs/name").read_text() == "place/new"
        with store.mounts.hold("new") as mount:
            assert os.listdir(mount.path) == []
        new = put_image(store, "new")
        store.records.put("gobuild", "new", b"v", blobs_of(new))
        store.images.tag(parse_reference("movies"), new.descriptor, 1.0)
        store.prune(everything=True)
        assert store.images.resolve("movies") == stored(new)
        assert [row.descriptor for row in store.images.list()] == [stored(new)]
        assert {path.name for path in Path(root, "blobs/sha256").iterdir()} == {
            digest.hex for digest in blobs_of(new)
        }
        assert [name for _, _, names in os.walk(root / "tmp") for name in names] == []
        assert os.listdir(root / "snapshots") == os.listdir(root / "mounts") == []
        assert list(root.glob("gocache/modules/*")) == []
    assert os.listdir(root / "tmp") == []
    assert faults(root) == []


@pytest.mark.parametrize("builders", [2, 8])
def test_nothing_in_use_is_removed(tmp_path, builders):
    root = tmp_path / "store"
    began = time.time()
    pruners = [start("prune", root, began, 5) for _ in range(2)]
    rounds = 12 if builders > 2 else 25
    running = [start("build", root, began, seed, rounds) for seed in range(builders)]
    for process in running:
        finish(process)
    removed = sum(int(finish(process)) for process in pruners)
    assert removed > 0, "the pruners never had anything to remove"
    assert faults(root) == []
    assert os.listdir(root / "tmp") == []


def test_processes_that_make_the_same_snapshots(tmp_path):
    running = [start("commit", tmp_path, "place", 20) for _ in range(8)]
    paths = {finish(process) for process in running}
    assert len(paths) == 1, "each key has one snapshot, the same for all"
    names = paths.pop().split()
    assert len(set(names)) == 20
    assert sorted(os.listdir(tmp_path / "snapshots")) == sorted(map(os.path.basename, names))
    assert faults(tmp_path) == []
    assert os.listdir(tmp_path / "tmp") == []


def test_processes_that_create_the_store_at_once(tmp_path):
    root = tmp_path / "deep/er/store"
    running = [start("build", root, time.time(), seed, 1) for seed in range(8)]
    for process in running:
        finish(process)
    assert faults(root) == []


def test_a_dead_build_holds_its_work_directory_by_its_children(tmp_path):
    process = start("orphan", tmp_path)
    child = int(process.stdout.readline())
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL

    class Held(Exception):
        pass

    def check():
        raise Held

    with open_store(tmp_path) as store:
        try:
            with pytest.raises(Held), store.work("w", check):
                pytest.fail("the child still runs")
            assert store.prune(everything=True).work == 0
        finally:
            os.kill(child, signal.SIGKILL)
        with store.work("w"):
            assert os.path.isdir(tmp_path / "work/w")


def test_a_worker_that_outlives_its_build_keeps_what_is_staged(tmp_path):
    process = start("staging", tmp_path)
    staged, child = process.stdout.readline().strip(), int(process.stdout.readline())
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    with open_store(tmp_path) as store:
        try:
            assert store.prune(everything=True).leftovers == 0
            assert os.path.isdir(staged)
        finally:
            os.kill(child, signal.SIGKILL)
        end = time.monotonic() + 10
        while store.prune(everything=True).leftovers == 0 and time.monotonic() < end:
            time.sleep(0.01)
    assert not os.path.exists(staged)


@pytest.fixture
def small_disk(tmp_path):
    """A command prefix under which `tmp_path` is a file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not installed")
    script = 'mount -t tmpfs -o size=2m wherry-test "$0" && exec "$@"'
    flags = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]
    prefix = ["unshare", *flags, "sh", "-c", script, str(disk)]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no private mount namespace here: {tried.stderr.strip()}")
    return disk, prefix


def test_a_full_disk_is_told_and_leaves_nothing_half_written(small_disk):
    disk, prefix = small_disk
    output = finish(start("full", disk / "store", prefix=prefix))
    assert output.startswith("3 cannot write "), output
    assert "No space left on device" in output
    assert "wherry cache prune" in output
    assert "staged []" in output
    assert "stored on a full disk" not in output
    assert "record None None" in output
    assert "record b'y'" in output
    assert "commit 3 True\nfound None\nhold 3 True\n" in output
    assert "again True\nheld True\n" in output
    assert "freed True" in output


def test_a_full_disk_is_told_when_opening(small_disk):
    disk, prefix = small_disk
    output = finish(start("full_at_opening", disk / "store", prefix=prefix))
    assert output.startswith("3 cannot "), output
    assert str(disk / "store") in output


def test_a_blob_writer_of_a_read_only_place_is_told(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(30, "Read-only file system")

    with open_store(tmp_path) as store:
        monkeypatch.setattr(os, "makedirs", refuse)
        with pytest.raises(MachineError, match="cannot use") as caught:
            store.blobs.put(b"x")
    assert caught.value.why == "Read-only file system"
