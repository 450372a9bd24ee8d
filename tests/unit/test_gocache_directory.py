# SPDX-License-Identifier: Apache-2.0
"""A directory as a cache place: other tools read it, others' files are safe, nothing is torn."""

import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from gocache_places import (
    adding,
    contents,
    directory_place,
    document,
    export,
    export_at_once,
    keeping,
    pack,
    packs_of,
)
from registry_tools import Crane, needs_skopeo, output_of
from wherry.errors import MachineError, UsageError, WherryError
from wherry.gocache import staging
from wherry.gocache.agreeing import Pace
from wherry.gocache.image_layout import LOCK, STAGING
from wherry.gocache.manifest import ARTIFACT_TYPE
from wherry.gocache.places import Damaged
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import MANIFEST, Descriptor
from wherry.process.cancel import Cancelled

DRIVER = Path(__file__).resolve().parents[1] / "gocache_kill_driver.py"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def filled(cache):
    export(directory_place(cache), pack("one"))
    return cache


def blob_file(cache: Path, data: bytes) -> Path:
    return cache / "blobs/sha256" / sha256(data).hex


def entry(cache: Path) -> dict[str, object]:
    return dict(json.loads((cache / "index.json").read_text())["manifests"][0])


def write_index(cache: Path, *entries: object) -> None:
    value = {"schemaVersion": 2, "manifests": list(entries)}
    (cache / "index.json").write_text(json.dumps(value))


def tree(path: Path) -> dict[str, bytes]:
    return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*")
            if one.is_file()}  # fmt: skip


# --- its form -------------------------------------------------------------------------------------


def test_it_is_an_oci_layout_with_one_manifest(filled) -> None:
    assert json.loads((filled / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert sorted(os.listdir(filled)) == [LOCK, "blobs", "index.json", "oci-layout"]
    found = entry(filled)
    assert found["artifactType"] == ARTIFACT_TYPE
    assert found["annotations"] == {"org.opencontainers.image.ref.name": "gocache"}
    # Manifest, index and pack, each under its digest.
    names = os.listdir(filled / "blobs/sha256")
    assert len(names) == 3
    for name in names:
        assert sha256((filled / "blobs/sha256" / name).read_bytes()).hex == name


@needs_skopeo
def test_skopeo_reads_it(filled) -> None:
    shown = json.loads(output_of("skopeo", "inspect", "--raw", f"oci:{filled}:gocache"))
    assert shown["artifactType"] == ARTIFACT_TYPE
    assert [layer["digest"] for layer in shown["layers"]] == [str(sha256(b"one"))]


def test_crane_copies_it_to_a_registry_where_it_is_a_cache(
    filled, crane, docker_registry, tmp_path, repository_name
) -> None:
    from gocache_places import registry_place

    Crane(crane, docker_registry, tmp_path).push(filled, f"{repository_name}:go")
    with registry_place(docker_registry.host, repository_name) as place:
        assert place.current() == directory_place(filled).current()
        assert contents(place) == {b"one"}


@needs_skopeo
def test_a_layout_that_skopeo_wrote_is_a_cache_to_read_and_write(filled, tmp_path) -> None:
    copy = tmp_path / "copy"
    output_of("skopeo", "copy", "--quiet", "--insecure-policy", f"oci:{filled}:gocache",
              f"oci:{copy}:gocache")  # fmt: skip
    place = directory_place(copy)
    assert place.current() == directory_place(filled).current()
    export(place, pack("two"))
    assert contents(place) == {b"one", b"two"}


def test_its_modes_suit_a_job_of_another_user_whatever_the_umask(tmp_path) -> None:
    program = (
        "import os, sys; os.umask(0o077)\n"
        "from pathlib import Path\n"
        "from gocache_places import directory_place, export, pack\n"
        "export(directory_place(Path(sys.argv[1])), pack('one'))\n"
    )
    cache = tmp_path / "cache"
    words = [sys.executable, "-c", program, str(cache)]
    done = subprocess.run(words, cwd=DRIVER.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for path in (cache, *cache.rglob("*")):
        expected = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_blobs_that_nobody_names_go_with_the_next_export(filled) -> None:
    stray = blob_file(filled, b"stray")
    stray.write_bytes(b"stray")
    other = filled / "blobs/sha256/notes.txt"
    other.write_text("of somebody else")
    place = directory_place(filled)
    place.put(pack("new"))
    place.publish(keeping(pack("new")))
    assert not stray.exists()
    assert not blob_file(filled, b"one").exists()
    assert other.read_text() == "of somebody else"
    assert len(os.listdir(filled / "blobs/sha256")) == 4


def test_a_file_that_is_open_stays_readable_when_its_blob_goes(filled) -> None:
    place = directory_place(filled)
    with place.open(pack("one").descriptor) as stream:
        other = directory_place(filled)
        other.put(pack("new"))
        other.publish(keeping(pack("new")))
        assert stream.read() == b"one"
    with pytest.raises(Damaged, match="damaged") as caught:
        place.open(pack("one").descriptor)
    assert "another export has removed it" in caught.value.why


# --- several at once ------------------------------------------------------------------------------


def test_what_was_put_survives_others_exports(cache) -> None:
    """Also what was there already, and is dropped by others before we name it."""
    one, two = pack("one"), pack("two" * 10_000)
    export(directory_place(cache), one)
    slow = directory_place(cache)
    assert [slow.put(one), slow.put(two)] == [0, 30_000]
    other = directory_place(cache)
    other.put(pack("new"))
    other.publish(keeping(pack("new")))
    assert not directory_place(cache).has(one.descriptor)
    assert slow.has(one.descriptor)
    slow.publish(adding(one, two))
    assert contents(slow) == {b"one", b"two" * 10_000, b"new"}
    assert not [name for name in os.listdir(cache) if name.startswith(STAGING)]


def test_without_hard_links_what_is_needed_is_copied(filled, monkeypatch) -> None:
    def refuse(*given, **more):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    slow, other = directory_place(filled), directory_place(filled)
    slow.put(pack("one"))
    other.put(pack("new"))
    other.publish(keeping(pack("new")))
    assert not directory_place(filled).has(pack("one").descriptor)
    slow.publish(adding(pack("one")))
    assert contents(slow) == {b"one", b"new"}


def test_a_document_that_names_what_is_gone_is_not_written(filled) -> None:
    before = tree(filled)
    gone = {**packs_of(directory_place(filled).current()), str(sha256(b"gone")): 4}
    with pytest.raises(MachineError, match="not written") as caught:
        directory_place(filled).publish(lambda found: document(gone))
    assert str(sha256(b"gone")) in caught.value.why
    assert tree(filled) == before


@pytest.mark.parametrize("locks", [True, False])
def test_exporters_and_readers_at_once(cache, monkeypatch, locks) -> None:
    if not locks:
        monkeypatch.setattr(staging, "try_lock", lambda descriptor: None)
    stop, problems = threading.Event(), []

    def read() -> None:
        reader = directory_place(cache)
        while not stop.is_set():
            try:
                found = reader.current()
                packs_of(found)
            except WherryError as error:
                problems.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    places = [directory_place(cache, Pace(least=0.3)) for _ in range(8)]
    results = export_at_once(places)
    stop.set()
    reading.join(30)
    assert [one for one in results if isinstance(one, Exception)] == []
    assert contents(places[0]) == {f"pack {number}".encode() for number in range(8)}
    # A reader may find that a manifest has gone since it read index.json, and nothing else.
    assert all(isinstance(one, Damaged) and "removed" in one.why for one in problems)
    assert len(packs_of(directory_place(cache).current())) == 8


def test_without_locks_nothing_young_is_removed(filled, monkeypatch) -> None:
    monkeypatch.setattr(staging, "try_lock", lambda descriptor: None)
    young, old = blob_file(filled, b"young"), blob_file(filled, b"old")
    for path in (young, old):
        path.write_bytes(b"x")
    real = os.stat

    def aged(path, *given, **more):
        found = real(path, *given, **more)
        if path == old.name:
            return os.stat_result([*found[:9], found.st_ctime - 4000])
        return found

    monkeypatch.setattr(staging.os, "stat", aged)
    export(directory_place(filled), pack("two"))
    assert (young.exists(), old.exists()) == (True, False)


def test_an_export_waits_for_the_lock_and_not_for_ever(filled, monkeypatch) -> None:
    monkeypatch.setattr(staging, "_PATIENCE", 0.2)
    with ExitStack() as stack:
        file = stack.enter_context((filled / LOCK).open("rb"))
        assert staging.try_lock(file.fileno())
        with pytest.raises(MachineError, match="cannot write") as caught:
            export(directory_place(filled), pack("two"))
        assert "another export" in caught.value.why
        assert contents(directory_place(filled)) == {b"one"}
        place = directory_place(filled)
        monkeypatch.setattr(staging, "_PATIENCE", 60.0)
        threading.Timer(0.2, place._cancel.cancel).start()
        began = time.monotonic()
        with pytest.raises(Cancelled):
            export(place, pack("two"))
        assert time.monotonic() - began < 20
    export(directory_place(filled), pack("two"))
    assert contents(directory_place(filled)) == {b"one", b"two"}


# --- ends of all kinds ----------------------------------------------------------------------------


def test_a_kill_at_any_point_leaves_the_cache_before_or_after(tmp_path) -> None:
    words = [sys.executable, str(DRIVER), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    points = [json.loads(line) for line in done.stdout.splitlines()]
    assert {point["call"] for point in points} >= {"mkdir", "open", "rename", "unlink", "fsync"}
    seen = set()
    for point in points:
        before = [point["begin"]] if point["begin"] else []
        after = ["new"] if point["replace"] else sorted([*before, "new"])
        assert point["found"] in (before, after), point
        seen.add((point["begin"], point["replace"], tuple(point["found"])))
        # The next export works, and leaves nothing over.
        assert point["after"] == sorted([*point["found"], "after"]), point
        assert point["names"] == [LOCK, "blobs", "index.json", "oci-layout"], point
        assert point["blobs"] == 2 + len(point["after"]), point
    assert len(seen) == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_at_any_point_leaves_the_cache_as_it_was(
    filled, monkeypatch, code
) -> None:
    expected, names = directory_place(filled).current(), tree(filled).keys()
    calls = ("mkdir", "open", "rename", "fsync")
    failed = 0
    for number in range(200):
        count = 0

        def wrapped(real, name, number=number):
            def call(*given, **more):
                nonlocal count
                if name != "open" or given[1] & os.O_CREAT:
                    count += 1
                    if count == number + 1:
                        raise OSError(code, os.strerror(code))
                return real(*given, **more)

            return call

        with monkeypatch.context() as patched:
            for name in calls:
                patched.setattr(staging.os, name, wrapped(getattr(os, name), name))
            place = directory_place(filled)
            try:
                export(place, pack("two"))
            except MachineError as error:
                place.close()
                failed += 1
                assert os.strerror(code) in error.why
                assert error.hint
                if directory_place(filled).current() != expected:
                    # Only the name of what is written already may not have reached the disk.
                    assert contents(directory_place(filled)) == {b"one", b"two"}
                    break
                assert tree(filled).keys() == names
            else:
                break
    assert failed > 8
    export(directory_place(filled), pack("two"))
    assert contents(directory_place(filled)) == {b"one", b"two"}


def test_what_was_put_and_not_published_goes_with_its_exporter(filled) -> None:
    names = tree(filled).keys()
    place = directory_place(filled)
    place.put(pack("never named"))
    assert tree(filled).keys() > names
    place.close()
    assert tree(filled).keys() == names
    other = directory_place(filled)
    other.put(pack("never named"))
    del other
    assert tree(filled).keys() == names


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(filled) -> None:
    dead = filled / f"{STAGING}dead"
    dead.mkdir()
    (dead / "alive").touch()
    (dead / ("0" * 64)).write_text("half")
    living = directory_place(filled)
    living.put(pack("waits"))
    export(directory_place(filled), pack("two"))
    assert not dead.exists()
    living.publish(adding(pack("waits")))
    assert contents(living) == {b"one", b"two", b"waits"}


@pytest.mark.parametrize("moment", ["mkdir", "open", "lock"])
def test_an_exporter_that_is_taken_for_dead_while_it_begins_begins_again(
    filled, monkeypatch, moment
) -> None:
    """Before the lock is held nothing shows that it lives."""
    real = {"mkdir": os.mkdir, "open": os.open, "lock": staging.try_lock}[moment]
    root = os.open(filled, os.O_RDONLY)
    swept = []

    def after(*given, **more):
        found = real(*given, **more) if moment != "lock" else None
        if not swept and (moment != "open" or given[0] == "alive"):
            swept.append(sorted(os.listdir(filled))[1])
            staging.sweep_stagings(root)
            assert swept[0] not in os.listdir(filled)
        return real(*given, **more) if moment == "lock" else found

    with monkeypatch.context() as patched:
        if moment == "lock":
            patched.setattr(staging, "try_lock", after)
        else:
            patched.setattr(os, moment, after)
        place = directory_place(filled)
        place.put(pack("two"))
    os.close(root)
    assert swept[0].startswith(STAGING)
    place.publish(adding(pack("two")))
    assert contents(place) == {b"one", b"two"}


def test_a_source_that_is_not_what_it_is_called(filled) -> None:
    names = tree(filled).keys()
    liar = pack("new")
    liar.data = b"old"
    place = directory_place(filled)
    with pytest.raises(MachineError, match="damaged or was changed"):
        place.put(liar)
    place.close()
    assert tree(filled).keys() == names


def test_a_directory_where_nothing_can_be_written_is_read(filled, monkeypatch) -> None:
    real = os.open

    def refuse(path, flags, *given, **more):
        if flags & os.O_CREAT or flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *given, **more)

    monkeypatch.setattr(os, "open", refuse)
    place = directory_place(filled)
    assert contents(place) == {b"one"}
    with pytest.raises(MachineError, match="cannot write") as caught:
        export(place, pack("two"))
    assert "may write" in caught.value.hint


# --- others' files --------------------------------------------------------------------------------


def test_a_directory_with_other_files_is_refused_and_stays_as_it_is(cache) -> None:
    (cache / "src").mkdir(parents=True)
    (cache / "src/main.go").write_text("package main")
    before = tree(cache)
    place = directory_place(cache)
    for act in (place.current, lambda: place.put(pack("one")), lambda: place.publish(keeping())):
        with pytest.raises(UsageError, match="not for a cache") as caught:
            act()
        assert "empty" in caught.value.hint
    assert tree(cache) == before
    assert os.listdir(cache) == ["src"]


def test_a_layout_with_other_images_is_refused_and_stays_as_it_is(filled) -> None:
    other = {"mediaType": MANIFEST, "digest": str(sha256(b"image")), "size": 5}
    write_index(filled, other, entry(filled))
    blob_file(filled, b"image").write_bytes(b"image")
    before = tree(filled)
    assert contents(directory_place(filled)) == {b"one"}
    with pytest.raises(UsageError, match="not for a cache") as caught:
        export(directory_place(filled), pack("two"))
    assert "other images" in caught.value.why
    assert tree(filled) == before


def test_a_layout_of_an_image_is_no_cache(cache) -> None:
    from registry_samples import image, layer

    sample = image([layer({"bin/app": b"program"})])
    (cache / "blobs/sha256").mkdir(parents=True)
    for data in (sample.data, *sample.blobs):
        blob_file(cache, data).write_bytes(data)
    (cache / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    write_index(cache, sample.descriptor)
    before = tree(cache)
    for act in (directory_place(cache).current, lambda: export(directory_place(cache), pack("a"))):
        with pytest.raises(UsageError, match="is an image, not a cache"):
            act()
    assert tree(cache) == before


def test_hidden_files_and_what_a_new_disk_has_are_no_obstacle(cache) -> None:
    (cache / "lost+found").mkdir(parents=True)
    (cache / ".gitkeep").touch()
    assert directory_place(cache).current() is None
    export(directory_place(cache), pack("one"))
    assert contents(directory_place(cache)) == {b"one"}
    assert (cache / ".gitkeep").exists()


def test_what_is_no_directory(cache, tmp_path) -> None:
    cache.write_text("a file")
    for act in (directory_place(cache).current, lambda: export(directory_place(cache), pack("a"))):
        with pytest.raises(UsageError, match="no directory"):
            act()
    below = directory_place(cache / "below")
    with pytest.raises(WherryError):
        export(below, pack("a"))
    deep = directory_place(tmp_path / "not/yet/there")
    assert deep.current() is None
    export(deep, pack("a"))
    assert contents(deep) == {b"a"}


def test_a_link_that_the_user_names_is_followed(filled, tmp_path) -> None:
    link = tmp_path / "link"
    link.symlink_to(filled)
    export(directory_place(link), pack("two"))
    assert contents(directory_place(filled)) == {b"one", b"two"}


# --- hostile directories --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"schemaVersion":2,"manifests":1}',
     b'{"schemaVersion":2,"manifests":[1]}', b'{"schemaVersion":2}', b" " * ((4 << 20) + 1)],
    ids=range(10),
)  # fmt: skip
def test_an_index_json_that_is_none_is_damage_to_ours_and_a_strangers_file_elsewhere(
    filled, data
) -> None:
    (filled / "index.json").write_bytes(data)
    with pytest.raises(Damaged):
        directory_place(filled).current()
    (filled / LOCK).unlink()
    before = tree(filled)
    with pytest.raises(UsageError, match="not for a cache"):
        export(directory_place(filled), pack("two"))
    assert tree(filled) == before
    (filled / LOCK).touch()
    export(directory_place(filled), pack("two"))
    assert contents(directory_place(filled)) == {b"two"}


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "sha256:../../../../etc/passwd"},
        {"digest": "sha256:" + "../" * 21 + "x"},
        {"digest": "sha256:" + "G" * 64},
        {"digest": "sha512:" + "0" * 128},
        {"digest": "../blobs:" + "0" * 64},
        {"digest": 1},
        {"digest": str(sha256(b"not there"))},
        {"size": 1},
        {"size": -1},
        {"size": 1 << 62},
        {"size": "1"},
        {"mediaType": "x\ny/z"},
    ],
    ids=str,
)
def test_an_entry_that_lies_is_damage(filled, changes) -> None:
    write_index(filled, {**entry(filled), **changes})
    with pytest.raises(Damaged):
        directory_place(filled).current()
    export(directory_place(filled), pack("two"))
    assert contents(directory_place(filled)) == {b"two"}


@pytest.mark.parametrize("kind", ["link", "directory link", "pipe", "directory", "socket"])
def test_what_is_no_file_is_not_read_and_not_waited_for(filled, tmp_path, kind) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"one")
    path = blob_file(filled, b"one")
    path.unlink()
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o644)
    else:
        real = filled / "blobs"
        real.rename(tmp_path / "blobs")
        blob_file(tmp_path, b"one").write_bytes(b"one")
        real.symlink_to(tmp_path / "blobs")
    place, blob = directory_place(filled), pack("one").descriptor
    with pytest.raises(WherryError):
        place.open(blob)
    if kind == "directory link":
        with pytest.raises(WherryError):
            export(place, pack("two"))
        assert blob_file(tmp_path, b"one").exists()
        return
    assert not place.has(blob)
    # An export that has the bytes puts them in its place; a directory there is not removed.
    if kind == "directory":
        path.rmdir()
    assert place.put(pack("one")) == 3
    place.publish(lambda found: document({str(sha256(b"one")): 3}, "again"))
    assert contents(place) == {b"one"}
    assert outside.read_bytes() == b"one"
    assert not path.is_symlink()


def test_links_in_place_of_our_own_files_are_not_followed(filled, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    for name in (LOCK, "index.json", "oci-layout"):
        saved = (filled / name).read_bytes()
        (filled / name).unlink()
        (filled / name).symlink_to(outside)
        with pytest.raises(WherryError):
            export(directory_place(filled), pack("two"))
        assert outside.read_bytes() == b"precious"
        (filled / name).unlink()
        (filled / name).write_bytes(saved)


@pytest.mark.parametrize("size", [0, 1, 3, 5000])
def test_a_blob_of_wrong_bytes_never_ends_well_and_is_put_again(filled, size) -> None:
    source = pack(b"good " * 1000)
    export(directory_place(filled), source)
    path = blob_file(filled, source.data)
    path.write_bytes(b"x" * size)
    place = directory_place(filled)
    assert place.has(source.descriptor) == (size == 5000)
    with pytest.raises(Damaged), place.open(source.descriptor) as stream:
        stream.read()
    assert place.put(source) == 5000
    place.publish(keeping(source))
    assert contents(place) == {source.data}


def test_a_blob_that_shrinks_while_it_is_read(filled) -> None:
    source = pack(bytes(4 << 20))
    export(directory_place(filled), source)
    with directory_place(filled).open(source.descriptor) as stream:
        assert len(stream.read(1 << 20)) == 1 << 20
        os.truncate(blob_file(filled, source.data), 2 << 20)
        with pytest.raises(Damaged):
            stream.read()


def test_no_more_is_read_than_a_piece_before_the_digest_is_known(filled) -> None:
    """Who reads in pieces gets all but the last of a damaged blob, and then the error."""
    source = pack(bytes(4 << 20))
    export(directory_place(filled), source)
    path = blob_file(filled, source.data)
    with path.open("r+b") as file:
        file.write(b"x")
    read = 0
    with directory_place(filled).open(source.descriptor) as stream, pytest.raises(Damaged):
        while piece := stream.read(1 << 16):
            read += len(piece)
    assert read < 4 << 20


def test_a_digest_by_another_algorithm_is_not_there(filled) -> None:
    blob = Descriptor("x/y", Digest("sha512", "0" * 128), 3)
    assert not directory_place(filled).has(blob)
    with pytest.raises(Damaged):
        directory_place(filled).open(blob)


def test_the_layout_of_another_version_is_left_alone(filled) -> None:
    for text in ('{"imageLayoutVersion":"2.0.0"}', "[]", "{"):
        (filled / "oci-layout").write_text(text)
        with pytest.raises(UsageError, match="not for a cache"):
            export(directory_place(filled), pack("two"), pack("three"))
