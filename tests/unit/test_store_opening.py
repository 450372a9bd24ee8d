# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import wherry
from store_samples import blobs_of, faults, put_image, stored
from wherry.errors import MachineError, UsageError
from wherry.events import Level, Message
from wherry.oci.digest import sha256
from wherry.oci.reference import parse_reference
from wherry.store.errors import machine_error
from wherry.store.locks import acquire, try_acquire
from wherry.store.store import open_store


def modes(root):
    return {
        path.relative_to(root).as_posix(): path.stat().st_mode & 0o777
        for path in [root, *root.iterdir()]
    }


def test_a_new_store_is_for_its_owner_alone(tmp_path):
    root = tmp_path / "a/store"
    with open_store(root) as store:
        assert store.path == str(root)
        assert (root / "version").read_text() == "1\n"
        assert (
            (root / "CACHEDIR.TAG")
            .read_bytes()
            .startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
        )
        found = modes(root)
    assert found["."] == 0o700
    assert found["state.db"] == found["state.db-wal"] == found["version"] == 0o600


def test_an_existing_empty_directory_becomes_a_store(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "lost+found").mkdir()
    open_store(tmp_path).close()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_directory_of_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    tmp_path.chmod(0o755)
    with pytest.raises(UsageError, match="no store") as caught:
        open_store(tmp_path)
    assert "thesis.tex" in caught.value.why
    assert os.listdir(tmp_path) == ["thesis.tex"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_relative_path_is_made_absolute_once(tmp_path):
    relative = os.path.relpath(tmp_path / "s")
    with open_store(relative) as store:
        assert store.path == str(tmp_path / "s")


def test_a_newer_store_is_refused_untouched(tmp_path):
    (tmp_path / "version").write_text("2\n")
    with pytest.raises(MachineError, match="newer wherry") as caught:
        open_store(tmp_path)
    assert "version is 2" in caught.value.why
    assert "update wherry" in caught.value.hint
    assert os.listdir(tmp_path) == ["version"]


@pytest.mark.parametrize("text", ["", "one\n", "\x00"])
def test_a_version_that_is_no_number_is_refused(tmp_path, text):
    (tmp_path / "version").write_text(text)
    with pytest.raises(MachineError, match="no version number"):
        open_store(tmp_path)


def test_a_store_of_another_user_is_refused(tmp_path, monkeypatch):
    open_store(tmp_path).close()
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(MachineError, match="another user"):
        open_store(tmp_path)


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(MachineError, match="cannot use") as caught:
        open_store(tmp_path / "store")
    assert str(tmp_path / "store") in caught.value.what


@pytest.mark.parametrize(
    ("number", "words"),
    [(28, "make room"), (122, "make room"), (13, "rights"), (30, "rights"), (5, "the disk")],
)
def test_machine_error_says_path_reason_and_remedy(number, words):
    error = machine_error(OSError(number, os.strerror(number)), "/some/path")
    assert "/some/path" in error.what
    assert error.why == os.strerror(number)
    assert words in error.hint
    assert error.exit_code == 3


def test_a_state_that_is_no_database_is_begun_anew(tmp_path):
    with open_store(tmp_path) as store:
        image = put_image(store, "a")
        store.images.tag(parse_reference("movies"), image.descriptor, 1.0)
    (tmp_path / "state.db").write_bytes(b"this is no database " * 500)
    heard = []
    with open_store(tmp_path, sink=heard.append) as store:
        assert store.images.list() == ()
        assert all(store.blobs.has(digest) for digest in blobs_of(image))
        store.images.tag(parse_reference("movies"), image.descriptor, 1.0)
    assert [type(event) for event in heard] == [Message]
    assert heard[0].level is Level.WARNING
    assert "state.db" in heard[0].text
    assert (tmp_path / "state.db.damaged").read_bytes().startswith(b"this is no database")
    assert (tmp_path / "state.db").stat().st_mode & 0o777 == 0o600
    with open_store(tmp_path, sink=heard.append) as store:
        assert store.images.resolve("movies") == stored(image)
    assert len(heard) == 1


def test_an_empty_state_is_begun_anew(tmp_path):
    with open_store(tmp_path) as store:
        store.records.put("k", "a", b"v", [])
    (tmp_path / "state.db").write_bytes(b"")
    with open_store(tmp_path) as store:
        assert store.records.get("k", "a") is None
        store.records.put("k", "a", b"w", [])
        assert store.records.get("k", "a") == b"w"


def test_damage_inside_the_state_is_told_and_mended_by_the_next_run(tmp_path):
    with open_store(tmp_path) as store:
        for number in range(200):
            store.records.put("k", str(number), b"v" * 500, [])
    data = bytearray((tmp_path / "state.db").read_bytes())
    # The header stays, so that opening succeeds.
    data[4096:] = b"\xff" * (len(data) - 4096)
    (tmp_path / "state.db").write_bytes(data)
    with open_store(tmp_path) as store, pytest.raises(MachineError, match="damaged") as caught:
        store.records.get("k", "5")
    assert "again" in caught.value.hint
    with open_store(tmp_path) as store:
        store.records.put("k", "5", b"w", [])
        assert store.records.get("k", "5") == b"w"
    assert faults(tmp_path) == []


def test_two_find_the_damage_and_one_new_state_comes_of_it(tmp_path):
    open_store(tmp_path).close()
    (tmp_path / "state.db").write_bytes(b"no database at all " * 500)
    failures = []

    def use(number):
        try:
            with open_store(tmp_path) as store:
                store.records.put("k", str(number), b"v", [])
        except MachineError as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with open_store(tmp_path) as store:
        assert [store.records.get("k", str(number)) for number in range(6)] == [b"v"] * 6


def test_one_store_serves_many_threads(tmp_path):
    failures = []

    def use(store, number):
        try:
            for turn in range(10):
                data = f"{number % 3}-{turn}".encode()
                digest = store.blobs.put(data)
                store.records.put("k", f"{number}-{turn}", data, [digest])
                assert store.blobs.read(digest) == data
                assert store.records.get("k", f"{number}-{turn}") == data
        except BaseException as error:
            failures.append(error)
            raise

    with open_store(tmp_path) as store:
        threads = [threading.Thread(target=use, args=(store, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert faults(tmp_path) == []


def test_opening_and_asking_imports_nothing_heavy(tmp_path):
    with open_store(tmp_path) as store:
        store.records.put("k", "a", b"v", [store.blobs.put(b"x")])
    script = """
import sys
from wherry.oci.digest import Digest
from wherry.oci.reference import parse_reference
from wherry.store.store import open_store
with open_store(sys.argv[1]) as store:
    assert store.records.get("k", "a") == b"v"
    assert store.blobs.has(Digest("sha256", sys.argv[2]), 1)
    store.images.is_tagged(parse_reference("movies"), Digest("sha256", sys.argv[2]))
heavy = "dataclasses json inspect shutil tempfile pathlib subprocess asyncio click rich".split()
print(*[name for name in heavy if name in sys.modules], *sorted(
    name for name in sys.modules if name.startswith("wherry.store.")))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, str(tmp_path), sha256(b"x").hex],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(wherry.__file__).parents[1])},
    )
    rooms = (
        "blobs",
        "database",
        "errors",
        "images",
        "layout",
        "locks",
        "records",
        "session",
        "sources",
        "store",
        "unsynced",
    )
    assert done.stdout.split() == [f"wherry.store.{name}" for name in rooms]


def test_who_finds_the_damage_late_leaves_the_new_state_alone(tmp_path):
    with open_store(tmp_path) as store:
        for number in range(200):
            store.records.put("k", str(number), b"v" * 500, [])
    data = bytearray((tmp_path / "state.db").read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    (tmp_path / "state.db").write_bytes(data)
    with open_store(tmp_path) as late:
        with open_store(tmp_path) as early, pytest.raises(MachineError, match="damaged"):
            early.records.get("k", "5")
        with open_store(tmp_path) as new:
            new.records.put("k", "5", b"new", [])
        with pytest.raises(MachineError, match="damaged"):
            late.records.get("k", "5")
    with open_store(tmp_path) as store:
        assert store.records.get("k", "5") == b"new"


def test_a_lock_whose_file_the_holder_deleted_is_taken_on_the_new_file(tmp_path):
    path = str(tmp_path / "lock")
    first, taken = acquire(path), []
    waiter = threading.Thread(target=lambda: taken.append(acquire(path)))
    waiter.start()
    time.sleep(0.1)
    os.unlink(path)
    os.close(first)
    waiter.join(10)
    assert len(taken) == 1
    assert try_acquire(path) is None
    os.close(taken[0])


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%41b", "a b", "//twice", "ü"])
def test_any_directory_name_holds_a_store(tmp_path, name):
    with open_store(tmp_path / name.strip("/")) as store:
        store.records.put("k", "a", b"v", [])
    with open_store(f"{tmp_path}/{name}") as store:
        assert store.records.get("k", "a") == b"v"


def test_what_a_killed_creation_leaves_does_not_reach_the_new_state(tmp_path):
    with open_store(tmp_path) as store:
        store.records.put("k", "old", b"v", [])
        # Copied while the log is open: what a killed process leaves.
        log = (tmp_path / "state.db-wal").read_bytes()
    (tmp_path / "state.db").unlink()
    (tmp_path / "state.db-wal").write_bytes(log)
    for leftover in ("state.db.new", "state.db.new-wal"):
        (tmp_path / leftover).write_bytes(b"half")
    with open_store(tmp_path) as store:
        assert store.records.get("k", "old") is None
        store.records.put("k", "new", b"w", [])
    with open_store(tmp_path) as store:
        assert store.records.get("k", "new") == b"w"
