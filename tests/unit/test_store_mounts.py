# SPDX-License-Identifier: Apache-2.0
"""Cache mounts: who gets which directory, and what stays in it."""

import os
import threading
import time
from pathlib import Path

import pytest

from wherry.store.store import open_store


class Stop(Exception):
    pass


def stop():
    raise Stop


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "store") as opened:
        yield opened


def test_what_is_written_is_there_the_next_time(store):
    with store.mounts.hold("go") as mount:
        assert mount.path == f"{store.path}/mounts/1/fs"
        assert os.listdir(mount.path) == []
        Path(mount.path, "file").write_text("x")
    for sharing in ("shared", "private", "locked"):
        with open_store(store.path) as other, other.mounts.hold("go", sharing) as mount:
            assert Path(mount.path, "file").read_text() == "x"
    with store.mounts.hold("other") as mount:
        assert os.listdir(mount.path) == []


def test_shared_users_have_the_same_directory_at_once(store):
    with open_store(store.path) as other:
        with store.mounts.hold("go") as one, other.mounts.hold("go") as two:
            assert one.path == two.path
        with store.mounts.hold("go") as again:
            assert again.path == one.path


def test_private_users_have_another_one_while_it_is_in_use(store):
    with store.mounts.hold("go", "private") as one, store.mounts.hold("go", "private") as two:
        assert one.path != two.path
        # Both are held by somebody who is alone with them.
        with store.mounts.hold("go", "shared") as three:
            assert three.path not in (one.path, two.path)
    with store.mounts.hold("go", "private") as again:
        assert again.path == one.path


def test_a_private_user_does_not_join_shared_ones(store):
    with store.mounts.hold("go") as one, store.mounts.hold("go", "private") as two:
        assert one.path != two.path
        # A shared user joins those that share, though the other one is older or free.
        with store.mounts.hold("go") as three:
            assert three.path == one.path
    with store.mounts.hold("go", "private"), store.mounts.hold("go") as second:
        assert second.path == two.path
        with store.mounts.hold("go") as joined:
            assert joined.path == second.path


@pytest.mark.parametrize("sharing", ["shared", "private", "locked"])
def test_locked_users_wait_for_whoever_has_it(store, sharing):
    with store.mounts.hold("go", sharing):
        with pytest.raises(Stop), store.mounts.hold("go", "locked", stop):
            pytest.fail("held twice")
        with store.mounts.hold("other", "locked", stop):
            pass
    with store.mounts.hold("go", "locked", stop) as mount:
        assert mount.path == f"{store.path}/mounts/1/fs"


def test_locked_users_follow_each_other(store):
    order = []

    def work(number):
        with store.mounts.hold("go", "locked") as mount:
            order.append((number, mount.path))
            time.sleep(0.02)
            order.append((number, mount.path))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order[::2] == order[1::2]
    assert {path for _, path in order} == {f"{store.path}/mounts/1/fs"}


def test_a_new_directory_is_prepared_before_anybody_else_sees_it(store):
    seen = []

    def prepare(path):
        assert os.listdir(path) == []
        threading.Thread(target=join).start()
        time.sleep(0.05)
        Path(path, "initial").write_text("x")
        os.chmod(path, 0o755)

    def join():
        with store.mounts.hold("go", prepare=prepare) as mount:
            seen.append(os.listdir(mount.path))

    with store.mounts.hold("go", prepare=prepare) as mount:
        assert os.listdir(mount.path) == ["initial"]
        end = time.monotonic() + 10
        while not seen and time.monotonic() < end:
            time.sleep(0.01)
    assert seen == [["initial"]]


def test_a_preparation_that_fails_leaves_nothing(store):
    def fail(path):
        Path(path, "half").write_text("x")
        raise Stop

    with pytest.raises(Stop), store.mounts.hold("go", prepare=fail):
        pytest.fail("not prepared")
    assert [name for _, _, names in os.walk(f"{store.path}/tmp") for name in names] == []
    with store.mounts.hold("go") as mount:
        assert os.listdir(mount.path) == []


def test_a_directory_that_was_taken_away_is_made_again(store):
    with store.mounts.hold("go", "locked"):
        pass
    os.rename(f"{store.path}/mounts/1", f"{store.path}/tmp/away")
    with store.mounts.hold("go", "locked", stop) as mount:
        assert mount.path == f"{store.path}/mounts/2/fs"


def test_any_bytes_can_be_an_id(store):
    for id in ("/root/.cache:a b", "\udcff", "x" * 5000):
        with store.mounts.hold(id) as mount:
            assert os.listdir(mount.path) == []
            Path(mount.path, "mine").touch()
        with store.mounts.hold(id) as mount:
            assert os.listdir(mount.path) == ["mine"]


def test_nobody_else_gets_into_a_directory(store):
    with store.mounts.hold("go") as mount:
        for path in (mount.path, os.path.dirname(mount.path)):
            assert os.stat(path).st_mode & 0o7777 == 0o700


def test_locks_do_not_pile_up(store):
    for number in range(5):
        with store.mounts.hold(f"m{number}"):
            pass
    store.prune(everything=True)
    assert [name for name in os.listdir(f"{store.path}/locks") if name.startswith("mount")] == []
    assert os.listdir(f"{store.path}/mounts") == []


def test_asking_whether_one_is_there_counts_as_a_use(store):
    with store.mounts.hold("go"):
        pass
    lock = Path(store.path, "locks/mount-1")
    os.utime(lock, (1, 1))
    assert store.mounts.there("1")
    assert lock.stat().st_mtime > 1
    for name in ("", "2", "01", "..", "../mounts/1", "1/fs"):
        assert not store.mounts.there(name)
