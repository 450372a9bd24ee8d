# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store_samples import HOUR, Clock, age, blobs_of, faults, put_image, stored
from wherry.oci.digest import sha256
from wherry.oci.reference import parse_reference
from wherry.store.store import open_store


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    with open_store(tmp_path / "store", clock=clock) as opened:
        yield opened


def fill(store, clock, count, size=100_000):
    """Records k0, k1, ... an hour apart, each with a blob of its own."""
    digests = []
    for number in range(count):
        clock.time += HOUR
        with open_store(store.path, clock=clock) as opened:
            digests.append(opened.blobs.put(bytes([number]) * size))
            opened.records.put("layer", f"k{number}", b"v", [digests[-1]])
    return digests


def test_usage_counts_blocks_by_kind(store):
    before = store.usage()
    store.blobs.put(b"x" * 100_000)
    with store.work("w") as work:
        Path(work.path, "binary").write_bytes(b"y" * 50_000)
    after = store.usage()
    assert 100_000 <= after.blobs - before.blobs <= 110_000
    assert 50_000 <= after.work <= 60_000
    assert after.records > 0
    assert after.total == after.blobs + after.work + after.tmp + after.records


def test_the_least_recently_used_goes_first(store, clock):
    digests = fill(store, clock, 5)
    clock.time += HOUR
    with open_store(store.path, clock=clock) as other:
        assert other.records.get("layer", "k0") == b"v"
    target = store.usage().total - 150_000
    pruned = store.prune(target=target)
    assert (pruned.records, pruned.blobs) == (2, 2)
    assert pruned.remaining <= target
    assert [store.blobs.has(digest) for digest in digests] == [True, False, False, True, True]


def test_a_blob_of_two_records_goes_with_the_second(store, clock):
    digest = store.blobs.put(b"shared" * 10_000)
    store.records.put("layer", "old", b"v", [digest])
    clock.time += 2 * HOUR
    with open_store(store.path, clock=clock) as other:
        other.records.put("layer", "new", b"v", [digest])
    store.prune(target=store.usage().total - 1)
    assert store.records.get("layer", "old") is None
    assert store.blobs.has(digest)
    assert store.prune(everything=True).blobs == 1
    assert not store.blobs.has(digest)


def test_everything_spares_tagged_images_only(store):
    tagged, other = put_image(store, "a"), put_image(store, "b")
    store.images.tag(parse_reference("movies"), tagged.descriptor, 1.0)
    store.images.tag(parse_reference("old"), other.descriptor, 1.0)
    store.images.tag(parse_reference("old"), tagged.descriptor, 1.0)
    store.records.put("gobuild", "k", b"v", blobs_of(tagged))
    with store.work("w"):
        pass
    pruned = store.prune(everything=True)
    assert (pruned.records, pruned.images, pruned.work) == (1, 1, 1)
    assert all(store.blobs.has(digest) for digest in blobs_of(tagged))
    assert not any(store.blobs.has(digest) for digest in blobs_of(other))
    assert store.images.resolve("movies") == stored(tagged)
    assert not os.path.exists(f"{store.path}/work/w")


def test_without_words_only_garbage_goes(store):
    kept = put_image(store, "a")
    store.records.put("layer", "k", b"v", blobs_of(kept))
    orphan = store.blobs.put(b"orphan")
    pruned = store.prune()
    assert (pruned.records, pruned.images, pruned.work, pruned.blobs) == (0, 0, 0, 1)
    assert not store.blobs.has(orphan)
    assert store.records.get("layer", "k") == b"v"


def test_a_dry_run_tells_the_same_and_removes_nothing(store, clock):
    digests = fill(store, clock, 3)
    told = store.prune(everything=True, dry_run=True)
    assert all(store.blobs.has(digest) for digest in digests)
    done = store.prune(everything=True)
    assert told._replace(remaining=0) == done._replace(remaining=0)
    assert not any(store.blobs.has(digest) for digest in digests)


def test_what_another_open_store_uses_stays(store, clock):
    fill(store, clock, 3)
    clock.time += 5 * HOUR
    with open_store(store.path, clock=clock) as user:
        assert user.records.get("layer", "k1") == b"v"
        fresh = user.blobs.put(b"fresh, and not yet in a record")
        # The user's store stays open for long.
        clock.time += 20 * HOUR
        pruned = store.prune(everything=True)
        assert (pruned.records, pruned.blobs) == (2, 2)
        assert user.blobs.read(fresh)
        assert user.records.get("layer", "k1") == b"v"
    assert store.prune(everything=True).blobs == 2


def test_a_replaced_record_leaves_its_blob_to_whoever_read_it(store, clock):
    digest = fill(store, clock, 1)[0]
    clock.time += 5 * HOUR
    with open_store(store.path, clock=clock) as user:
        assert user.records.get("layer", "k0") == b"v"
        with open_store(store.path, clock=clock) as writer:
            writer.records.put("layer", "k0", b"new", [])
        store.prune(everything=True)
        assert user.blobs.read(digest)


def test_a_record_of_a_long_build_vouches_for_its_blobs(store, clock):
    with open_store(store.path, clock=clock) as long:
        digest = long.blobs.put(b"written early")
        clock.time += 5 * HOUR
        long.records.put("layer", "k", b"v", [digest])
    with open_store(store.path, clock=clock) as user:
        assert user.records.get("layer", "k") == b"v"
        store.records.delete("layer", "k")
        store.prune(everything=True)
        assert user.blobs.read(digest) == b"written early"


def test_what_is_pinned_after_the_plan_stays(tmp_path, clock):
    def build(point):
        if point == "prune-planned":
            with open_store(tmp_path, clock=clock) as other:
                other.records.put("layer", "k", b"v", [digest])
                other.images.tag(parse_reference("movies"), image.descriptor, 1.0)

    with open_store(tmp_path, clock=clock, hook=build) as store:
        digest = store.blobs.put(b"orphan")
        image = put_image(store, "a")
        pruned = store.prune()
        assert (pruned.blobs, pruned.records) == (0, 0)
        assert store.blobs.read(digest) == b"orphan"
        assert faults(tmp_path) == []


def test_an_orphan_found_by_has_stays_for_the_finder(store, clock):
    digest = store.blobs.put(b"orphan")
    clock.time += 5 * HOUR
    with open_store(store.path, clock=clock) as user:
        assert user.blobs.has(digest)
        assert store.prune(everything=True).blobs == 0
        user.records.put("layer", "k", b"v", [digest])
    assert store.blobs.has(digest)


def test_times_in_the_future_are_pruned_all_the_same(store, clock):
    fill(store, clock, 2)
    clock.time -= 1_000_000.0
    with open_store(store.path, clock=clock) as opened:
        assert opened.records.get("layer", "k0") == b"v"
    pruned = store.prune(everything=True)
    assert (pruned.records, pruned.blobs) == (2, 2)


def test_a_held_work_directory_stays(store, clock):
    with open_store(store.path, clock=clock) as other, other.work("held") as work:
        Path(work.path, "f").write_text("x")
        with store.work("free"):
            pass
        assert store.prune(everything=True).work == 1
        assert Path(work.path, "f").read_text() == "x"
    assert store.prune(everything=True).work == 1
    with store.work("held") as work:
        assert os.listdir(work.path) == []


def test_waiting_for_a_work_directory_can_be_ended(store, clock):
    class Stop(Exception):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) >= 3:
            raise Stop

    with open_store(store.path) as other, other.work("w"):
        with pytest.raises(Stop), store.work("w", check):
            pytest.fail("held twice")
        with pytest.raises(Stop), other.lock("x"), store.lock("x", check):
            pytest.fail("held twice")
    with store.work("w", check) as work:
        assert os.get_inheritable(work.fd) is False
        assert work.path == f"{store.path}/work/w"


def test_the_cap_is_held_after_builds(tmp_path, clock):
    with open_store(tmp_path / "s", size_limit=500_000, clock=clock) as store:
        for number in range(10):
            clock.time += HOUR
            with open_store(store.path, 500_000, clock=clock) as build:
                digest = build.blobs.put(bytes([number]) * 100_000)
                build.records.put("layer", f"k{number}", b"v", [digest])
            # A lone build prunes at its own end.
            store.blobs.put(bytes([number]))
            store.enforce_limit()
            assert store.usage().total <= 500_000 + 110_000
        assert store.records.get("layer", "k0") is None
        assert store.records.get("layer", "k9") == b"v"
        assert store.usage().total <= 500_000


def test_the_cap_looks_at_files_rarely(store, clock, monkeypatch):
    looks = []
    usage = store.usage
    monkeypatch.setattr(store, "usage", lambda: looks.append(1) or usage())
    for _ in range(5):
        store.blobs.put(os.urandom(10))
        store.enforce_limit()
    assert len(looks) == 1
    clock.time += 601
    store.enforce_limit()
    assert len(looks) == 2
    clock.time -= 5000
    store.enforce_limit()
    assert len(looks) == 3


def test_the_cap_never_takes_a_tagged_image(tmp_path):
    with open_store(tmp_path, size_limit=1000) as store:
        image = put_image(store, "a", 200_000)
        store.images.tag(parse_reference("movies"), image.descriptor, 1.0)
        store.enforce_limit()
        assert all(store.blobs.has(digest) for digest in blobs_of(image))


def test_the_default_cap_is_a_tenth_of_the_disk_within_bounds(store, monkeypatch):
    def disk(blocks):
        monkeypatch.setattr(
            os, "statvfs", lambda path: os.statvfs_result((4096, 4096, blocks) + (0,) * 7)
        )
        return store.size_limit

    assert disk(10**5) == 2 * 10**9
    assert disk(10**7) == 4_096_000_000
    assert disk(10**9) == 20 * 10**9


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(store):
    dead = Path(store.path, "tmp/999-dead")
    dead.mkdir()
    (dead / "blob-1").write_bytes(b"x" * 5000)
    with open_store(store.path) as living, living.blobs.writer() as writer:
        writer.write(b"alive")
        pruned = store.prune()
        assert pruned.leftovers == 1
        assert pruned.freed >= 5000
        assert not dead.exists()
        writer.commit(living.blobs.put(b"alive"), 5)
    assert os.listdir(f"{store.path}/tmp") == []


def test_lock_files_do_not_pile_up(tmp_path, clock):
    for _ in range(5):
        clock.time += HOUR
        with open_store(tmp_path, clock=clock) as store:
            store.blobs.put(b"x")
            with store.work("w"):
                pass
    with open_store(tmp_path, clock=clock) as store:
        store.prune(everything=True)
        names = sorted(os.listdir(tmp_path / "locks"))
    assert [name.split("-")[0] for name in names if "tmp" not in name] == [
        "database", "gate", "session",
    ]  # fmt: skip


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("image"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("record"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("untag"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("prune"), st.integers(0, 3), st.integers(0, 200_000)),
        st.tuples(st.just("wait"), st.integers(0, 3), st.just(0)),
    ),
    max_size=12,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ACTIONS)
def test_nothing_dangles_whatever_happens(tmp_path_factory, actions):
    clock = Clock()
    tags = {}
    with open_store(tmp_path_factory.mktemp("store"), clock=clock) as store:
        for kind, name, number in actions:
            reference = parse_reference(f"n{name}")
            if kind == "image":
                tags[reference] = put_image(store, str(number), 20_000)
                store.images.tag(reference, tags[reference].descriptor, 1.0)
            elif kind == "record":
                store.records.put("k", str(name), b"v", blobs_of(put_image(store, str(number))))
            elif kind == "untag" and reference in tags:
                store.images.untag(reference)
                del tags[reference]
            elif kind == "prune":
                store.prune(everything=name == 0, target=number if name > 1 else None)
            elif kind == "wait":
                clock.time += name * HOUR
            assert faults(store.path) == []
        assert {row.reference: row.descriptor for row in store.images.list()} == {
            reference: stored(image) for reference, image in tags.items()
        }
        if not tags:
            assert store.prune(everything=True).remaining <= 200_000
            assert store.usage().blobs == 0


def test_age_makes_things_old(store):
    digest = store.blobs.put(b"x")
    before = os.stat(store.blobs.path(digest)).st_mtime
    age(store, 100)
    assert os.stat(store.blobs.path(digest)).st_mtime == before - 100


def test_the_end_of_a_build_removes_what_the_dead_left_at_once(tmp_path):
    """A killed pull may leave gigabytes: they do not wait for the cap."""
    with open_store(tmp_path) as store:
        store.enforce_limit()
        dead = tmp_path / "tmp" / "999-dead"
        dead.mkdir()
        (dead / "blob-1").write_bytes(b"x" * 5000)
        with open_store(tmp_path) as living, living.blobs.writer() as writer:
            writer.write(b"alive")
            store.enforce_limit()
            assert not dead.exists()
            writer.commit(sha256(b"alive"), 5)
        assert store.blobs.has(sha256(b"alive"), 5)
