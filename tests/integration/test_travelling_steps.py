# SPDX-License-Identifier: Apache-2.0
"""Steps of Dockerfiles from machine to machine: what runs, what is fetched, what is never believed.

Whoever begins from a cache gets the image that its builder got, or makes its own.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner

from fault_registry import FaultRegistry
from travelling_builds import (
    BASE_SIZE,
    COMPILE,
    DOWNLOAD,
    FILES,
    OF_SOURCES,
    Done,
    StepMachine,
    held,
    held_in,
    layers_of_runs,
    serve_base,
)
from wherry.api import cache_patience
from wherry.api.asked_caches import AskedCaches
from wherry.api.building import build_images
from wherry.api.cache_traffic import open_traffic
from wherry.api.cached_steps import CachedSteps, Used
from wherry.api.exported_steps import Given, StepExport
from wherry.api.registries import Registries, RegistryAround
from wherry.api.workers import Workers
from wherry.cli import cache as cache_verb
from wherry.engines.local import roots
from wherry.engines.local.results import NOTHING_SEEN, Built, Change, Outside
from wherry.engines.local.snapshot_files import LostChange
from wherry.engines.local.storage import CacheRecords, LayerSettings, Times
from wherry.errors import BuildError, MachineError, WherryError
from wherry.events import Event, Outcome, StepEnded
from wherry.fstree.compression import Compression
from wherry.gocache.directory_place import DirectoryPlace
from wherry.gocache.pack_index import encode_index, read_index
from wherry.gocache.pack_set import PackSet
from wherry.gocache.places import BytesBlob, Document
from wherry.gocache.spec import parse_cache_spec
from wherry.gocache.step_records import StepRecord, StepSet, merged_steps, record_key
from wherry.graph.keys import CacheKey
from wherry.oci.digest import parse_digest, sha256
from wherry.oci.image import LAYER_GZIP, Descriptor, Layer
from wherry.process.cancel import CancelToken
from wherry.store.store import open_store

_BLOBS = r"/blobs/sha256"
_EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
Machines = Callable[[], StepMachine]


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as served:
        yield served


@pytest.fixture
def base(registry: FaultRegistry) -> str:
    return serve_base(registry)


@pytest.fixture
def machines(tmp_path: Path, registry: FaultRegistry, base: str) -> Machines:
    numbers = itertools.count()
    return lambda: StepMachine(tmp_path / f"machine-{next(numbers)}", registry.host)


@pytest.fixture(params=["directory", "registry"])
def place(request: pytest.FixtureRequest, tmp_path: Path, registry: FaultRegistry) -> str:
    return str(tmp_path / "cache") if request.param == "directory" else f"{registry.host}/team/c:1"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetched(registry: FaultRegistry, repository: str = "") -> set[str]:
    """The digests of blobs that were asked for."""
    return {one.path.rpartition("/")[2].partition("?")[0]
            for one in registry.seen("GET", f"/{repository}.*{_BLOBS}")}  # fmt: skip


def received(registry: FaultRegistry) -> int:
    return sum(one.sent for one in registry.requests)


def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object) -> None:
        raise AssertionError("a namespace worker was started")

    monkeypatch.setattr(Workers, "start", refuse)


def text_of(machine: StepMachine, done: Done, place: object, path: str) -> str:
    """A file of the image, which a build gave that has `place` to begin from."""
    target = machine.root / f"out-{time.monotonic_ns()}"
    again = machine.build(place, cache_to=(), outputs=(f"type=local,dest={target}",))
    assert again.image.digest == done.image.digest
    return (target / path).read_text()


def test_a_fresh_machine_is_answered_and_one_line_runs_what_it_reaches(
    machines: Machines, registry: FaultRegistry, place: str, base: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first_machine = machines()
    first = first_machine.build(place)
    assert DOWNLOAD in first.ran
    registry.forget_requests()
    # Unchanged: no step, no worker, no base, next to nothing received.
    fresh = machines()
    with monkeypatch.context() as patched:
        no_worker(patched)
        second = fresh.build(place)
    assert second.ran == []
    assert second.image.digest == first.image.digest
    assert second.image.reused
    assert base not in fetched(registry)
    assert received(registry) < BASE_SIZE / 10
    assert registry.count("PUT") == registry.count("POST") == 0
    # The image is whole: what is not here comes when it is wanted.
    assert text_of(fresh, second, place, "out") == text_of(first_machine, first, place, "out")
    # One line: the download's result is built upon, and what it is not needed for stays away.
    registry.forget_requests()
    changed = machines()
    changed.write("main.txt", "second\n")
    third = changed.build(place)
    came = fetched(registry, "team/c")
    assert sorted(third.ran) == sorted(OF_SOURCES)
    before, after = (text_of(one, done, place, "out").split() for one, done in
                     ((first_machine, first), (changed, third)))  # fmt: skip
    assert (before[-1], after[-1]) == ("first", "second")
    assert before[:-1] == after[:-1]
    is_directory = place.startswith("/")
    found = held(Path(place)) if is_directory else held_in(registry, "team/c", "1")
    runs = layers_of_runs(found)
    if not is_directory:
        # The index; the layers of WORKDIR, COPY go.mod and the download.
        assert len(came) == 4
        assert len(came & {str(one.descriptor.digest) for one in runs}) == 1
    # What was compiled, here and there: of the other machine's nothing came.
    large = {str(one.descriptor.digest) for one in runs if one.descriptor.size > 100_000}
    assert len(large) == 2
    assert len(large & changed.blobs()) == 1
    # And what it made travels on.
    last = machines()
    last.write("main.txt", "second\n")
    assert last.build(place).ran == []


@pytest.mark.parametrize("place", ["registry"], indirect=True)
def test_a_change_behind_the_last_copy_runs_no_step_and_fetches_no_base(
    machines: Machines, registry: FaultRegistry, place: str, base: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    machines().build(place)
    registry.forget_requests()
    fresh = machines()
    fresh.edit("Dockerfile", "/out /out", "/out /out\nCOPY main.txt /\nLABEL a=b")
    no_worker(monkeypatch)
    done = fresh.build(place)
    assert done.ran == ["COPY main.txt /"]
    assert base not in fetched(registry)


@pytest.mark.parametrize("place", ["directory"], indirect=True)
def test_the_image_is_that_of_a_build_without_caches(
    machines: Machines, directory: Path, place: str
) -> None:
    """Where commands give the same each time, and times are those of the user."""
    text = (
        FILES["Dockerfile"]
        .replace("/proc/sys/kernel/random/uuid", "main.txt")
        .replace("head -c 300000 /dev/urandom > /objects", "true")
        .replace("COPY go.mod ./", "COPY . ./")
    )
    text += "COPY --from=build /src /src\n"

    def build(where: object, word: str) -> Done:
        machine = machines()
        host = (machine.checkout / "Dockerfile").read_text().split("/")[0].split()[1]
        machine.write("Dockerfile", text.replace("{host}", host))
        machine.write("main.txt", word)
        machine.env |= _EPOCH
        return machine.build(where)

    plain = build(None, "one")
    first, second = build(place, "one"), build(place, "one")
    assert second.ran == []
    assert plain.image.digest == first.image.digest == second.image.digest
    assert build(place, "two").image.digest == build(None, "two").image.digest


@pytest.mark.parametrize("place", ["registry"], indirect=True)
def test_a_result_of_run_is_an_image_too(
    machines: Machines, registry: FaultRegistry, place: str, base: str
) -> None:
    """One stage: its layers are those of the steps, with times cut off; later steps want whole
    ones."""

    def machine() -> StepMachine:
        found = machines()
        found.edit("Dockerfile", "FROM scratch\nCOPY --from=build /out /out\n", "")
        found.env |= _EPOCH
        return found

    first = machine().build(place)
    registry.forget_requests()
    fresh = machine()
    pushed = fresh.build(place, push=True, tags=(f"{registry.host}/team/app:1",))
    assert pushed.ran == []
    assert pushed.image.digest == first.image.digest
    assert base not in fetched(registry)
    assert registry.tags("team/app") == {"1": pushed.image.digest}
    changed = machine()
    changed.write("main.txt", "second\n")
    third = changed.build(place)
    assert sorted(third.ran) == sorted(OF_SOURCES[:2])
    with open_store(str(changed.store)) as store:
        manifest = json.loads(store.blobs.read(parse_digest(third.image.digest)))
    # The base's two, and one for each of WORKDIR, COPY, RUN, COPY and RUN.
    assert len(manifest["layers"]) == 7


@pytest.mark.parametrize("place", ["directory"], indirect=True)
def test_a_warm_machine_gives_all_its_steps_to_an_empty_place_once(
    machines: Machines, registry: FaultRegistry, place: str
) -> None:
    warm = machines()
    # No context: every step is found by its definition, and none below is looked up.
    warm.write(
        "Dockerfile", f"FROM {registry.host}/team/base:1\nRUN echo a > /a\nRUN echo b > /b\n"
    )
    first = warm.build()
    assert warm.build(place).ran == []
    registry.forget_requests()
    assert warm.build(place).image.digest == first.image.digest
    assert registry.count("PUT") == registry.count("POST") == 0
    fresh = machines()
    fresh.write("Dockerfile", (warm.checkout / "Dockerfile").read_text().replace("b >", "c >"))
    assert fresh.build(place).ran == ["RUN echo c > /b"]


def test_two_exporters_at_once_lose_nothing(machines: Machines, place: str) -> None:
    texts = ("one\n", "two\n", "three\n")
    done: dict[str, Done] = {}

    def run(text: str) -> None:
        machine = machines()
        machine.write("main.txt", text)
        machine.edit("go.mod", "/m", f"/{text.strip()}")
        done[text] = machine.build(place)

    threads = [threading.Thread(target=run, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(done) == sorted(texts)
    for text in texts:
        fresh = machines()
        fresh.write("main.txt", text)
        fresh.edit("go.mod", "/m", f"/{text.strip()}")
        found = fresh.build(place, cache_to=())
        assert found.ran == []
        assert found.image.digest == done[text].image.digest


def _command(machine: StepMachine, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "wherry", "build", ".", "--store", str(machine.store), *words],
        cwd=machine.checkout, env={**os.environ, **machine.env},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "request_", [pytest.param("POST", marks=pytest.mark.soak), "PUT .*/manifests/"]
)
def test_a_killed_export_leaves_what_was_there(
    machines: Machines, registry: FaultRegistry, request_: str
) -> None:
    place = f"{registry.host}/team/c:1"
    first = machines().build(place)
    doomed = machines()
    doomed.write("main.txt", "second\n")
    release = threading.Event()
    method, _, path = request_.partition(" ")
    rule = registry.rule(method, path or "/team/c/", hold=release)
    process = _command(doomed, "--cache-from", place, "--cache-to", place)
    try:
        deadline = time.monotonic() + 60
        while not rule.used:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    finally:
        if process.poll() is None:
            process.kill()
        registry.forget_rules()
        release.set()
    fresh = machines()
    again = fresh.build(place)
    assert again.ran == []
    assert again.image.digest == first.image.digest
    # What the killed one has made is in its store; it exports it now.
    assert doomed.build(place).ran == []
    last = machines()
    last.write("main.txt", "second\n")
    assert last.build(place).ran == []


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        pytest.param("POST|PUT|PATCH", {"status": 405}, id="read-only"),
        pytest.param("POST|PUT|PATCH", {"status": 507}, id="full"),
        pytest.param("", {"hang_up": True}, id="down", marks=pytest.mark.soak),
        pytest.param("PUT", {"status": 500}, id="failing", marks=pytest.mark.soak),
    ],
)
def test_a_place_that_cannot_be_written_costs_a_line(
    machines: Machines, registry: FaultRegistry, method: str, fault: dict[str, object]
) -> None:
    place = f"{registry.host}/team/c:1"
    registry.rule(method, "/team/c/", **fault)
    done = machines().build(place)
    assert DOWNLOAD in done.ran
    lines = [text for text in done.said if f"the cache {place} is not " in text]
    assert 1 <= len(lines) <= 2, done.said
    with pytest.raises(WherryError):
        machines().build(None, cache_to=(f"type=wherry,ref={place},ignore-error=false",))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 404}, id="gone"),
        pytest.param({"corrupt_at": 200}, id="broken", marks=pytest.mark.soak),
        pytest.param({"truncate": 50}, id="cut", marks=pytest.mark.soak),
    ],
)
def test_layers_that_do_not_come_are_made_anew(
    machines: Machines, registry: FaultRegistry, fault: dict[str, object]
) -> None:
    place = f"{registry.host}/team/c:1"
    machines().build(place)
    runs = layers_of_runs(held_in(registry, "team/c", "1"))
    large = max(runs, key=lambda layer: layer.descriptor.size)
    small = next(layer for layer in runs if layer is not large)
    fresh = machines()
    fresh.write("main.txt", "second\n")
    registry.rule("GET", f"/team/c/blobs/{small.descriptor.digest}", **fault)
    done = fresh.build(place, cache_to=())
    assert {DOWNLOAD, COMPILE} <= set(done.ran)
    (line,) = [text for text in done.said if "is not used any more" in text]
    assert place in line
    assert text_of(fresh, done, place, "out").split()[-1] == "second"


def test_a_blob_that_went_from_a_directory_runs_its_step(
    machines: Machines, directory: Path
) -> None:
    machines().build(directory)
    for layer in layers_of_runs(held(directory)):
        (directory / "blobs" / "sha256" / layer.descriptor.digest.hex).unlink()
    fresh = machines()
    fresh.write("main.txt", "second\n")
    done = fresh.build(directory, cache_to=())
    assert {DOWNLOAD, COMPILE} <= set(done.ran)
    # Nothing but them is missing where nothing changed.
    assert machines().build(directory, cache_to=()).ran == []


def test_a_broken_section_costs_a_line_and_the_steps(
    machines: Machines, registry: FaultRegistry
) -> None:
    place = f"{registry.host}/team/c:1"
    machines().build(place)
    index = encode_index(held_in(registry, "team/c", "1"))
    value = json.loads(index)
    value["steps"]["slabs"] = "none"
    _replace_index(registry, json.dumps(value).encode())
    done = machines().build(place)
    assert DOWNLOAD in done.ran
    (line,) = [text for text in done.said if "not all of the cache" in text]
    assert "the steps of a cache are malformed" in line
    # The export has put a good one in its place.
    assert machines().build(place).ran == []


def _doctored(registry: FaultRegistry, change: Callable[[dict[str, Any]], object]) -> None:
    """Let `change` loose on the steps of the cache's index."""
    value = json.loads(encode_index(held_in(registry, "team/c", "1")))
    change(value["steps"])
    _replace_index(registry, json.dumps(value).encode())


def _with_wrong_diff_ids(steps: dict[str, Any]) -> None:
    for number, slab in enumerate(steps["slabs"]):
        if slab.get("kept"):
            slab["layer"][3] = f"sha256:{number:064}"
        for row in slab.get("layers", ()):
            row[4] = f"sha256:{number:064}"


def test_a_layer_that_is_not_what_its_record_says_is_made_anew(
    machines: Machines, registry: FaultRegistry
) -> None:
    place = f"{registry.host}/team/c:1"
    machines().build(place)
    _doctored(registry, _with_wrong_diff_ids)
    fresh = machines()
    fresh.write("main.txt", "second\n")
    done = fresh.build(place)
    assert {DOWNLOAD, COMPILE} <= set(done.ran)
    (line,) = [text for text in done.said if "is not used any more" in text]
    assert place in line


def _with_a_wrong_image(steps: dict[str, Any]) -> None:
    """Wrong diff IDs of the layers that stand on nothing: the last stage's only one."""
    for _, _, _, stack in steps["records"].values():
        if len(stack) == 1:
            steps["slabs"][stack[0]]["layer"][3] = f"sha256:{0:064}"


def test_the_store_keeps_no_result_whose_layer_was_not_read(
    registry: FaultRegistry, tmp_path: Path
) -> None:
    """It has the digest that its record says, and is no layer at all."""
    data = gzip.compress(b"no layer")
    name = parse_digest(registry.put_blob("team/c", data))
    layer = Layer(Descriptor(LAYER_GZIP, name, len(data)), sha256(b"another tar"))
    settings = LayerSettings(Compression(), 1, "codec")
    key = sha256(b"step")
    record = StepRecord((layer,), 3, sha256(b"tree"), 1)
    steps = StepSet(
        1, {record_key(key, settings.written_by): record}, kept={name: layer.descriptor}
    )
    place = DirectoryPlace("c", str(tmp_path / "c"), CancelToken())
    place.put(BytesBlob(layer.descriptor, data))
    index = encode_index(PackSet(steps=steps))
    place.publish(lambda _found: Document(index, (layer.descriptor,)))
    place.close()
    around = RegistryAround(str(tmp_path / "store"), {"HOME": str(tmp_path)}, str(tmp_path), (),
                            lambda _event: None, CancelToken())  # fmt: skip
    spec = parse_cache_spec(str(tmp_path / "c"), "--cache-from", str(tmp_path))
    with open_store(around.store) as store, Registries(around) as registries:
        cached = CachedSteps(open_traffic(AskedCaches((spec,)), registries), store, settings)
        cached.hollow = True
        assert cached.lookup(key) is not None
        # As if another build had fetched it just now.
        store.blobs.put(data)
        cached.adopt()
        assert CacheRecords(store, settings).lookup(CacheKey(key, b"")) is None
        with pytest.raises(LostChange):
            cached.keep_image((layer,), bytes_wanted=True)


def test_what_a_step_left_beside_its_root_is_told_from_machine_to_machine(
    tmp_path: Path,
) -> None:
    """But not where that lay, nor what it saw; for what it does not need it is not run again."""
    nothing = Outside("modules", "/go/pkg/mod", "", "7", NOTHING_SEEN)
    outside = (Outside("build", "/root/.cache", "app", "8", str(sha256(b"used"))), nothing)
    there = (Outside("build", "/root/.cache", "app"), nothing._replace(pool=""))
    key, settings = sha256(b"step"), LayerSettings(Compression(), 1, "codec")
    spec = parse_cache_spec(str(tmp_path / "c"), "--cache-from", str(tmp_path))
    around = RegistryAround(str(tmp_path / "store"), {"HOME": str(tmp_path)}, str(tmp_path), (),
                            lambda _event: None, CancelToken())  # fmt: skip
    shared: Any = SimpleNamespace(settings=settings, times=Times(0, None))
    built = Built((), 5, change=Change(sha256(b"run"), "here", 5, True, outside))
    with open_store(around.store) as store, Registries(around) as registries:
        for _machine in range(2):
            given = Given(Used({key: built}, {}), sha256(b"image"), frozenset())
            nobody: Any = None
            change = StepExport(given, shared, nobody, nobody, nobody).offer(spec, None, nobody)
            steps = merged_steps(StepSet(), change.change, spec.max_size)
            index = encode_index(PackSet(steps=steps))
            place = DirectoryPlace("c", str(tmp_path / "c"), CancelToken())
            place.publish(lambda _found, index=index: Document(index, ()))
            place.close()
            cached = CachedSteps(open_traffic(AskedCaches((spec,)), registries), store, settings)
            found = cached.lookup(key)
            assert found is not None
            assert found.outside == there
            cached.adopt()
            # Its own result from then on, which goes on to others.
            kept = CacheRecords(store, settings).lookup(CacheKey(key, b""))
            assert isinstance(kept, Built)
            assert kept.outside == there
            built = kept


def test_what_no_index_can_say_is_given_to_no_place(tmp_path: Path) -> None:
    """A store took over what a hostile record said: nobody would read an index that repeats it."""

    def built(path: str) -> Built:
        outside = (Outside("build", path, ""),)
        return Built((), 5, change=Change(sha256(path.encode()), "", 5, True, outside))

    results = {sha256(path.encode()): built(path) for path in ("/root/.cache", "/../../home")}
    given = Given(Used(results, {}), sha256(b"image"), frozenset())
    unused: Any = None
    shared: Any = SimpleNamespace(
        settings=LayerSettings(Compression(), 1, "codec"), times=Times(0, None)
    )
    spec = parse_cache_spec(str(tmp_path / "c"), "--cache-to", str(tmp_path))
    export = StepExport(given, shared, unused, unused, unused)
    change = export.offer(spec, None, unused).change
    assert [run.outside for run in change.runs.values()] == [(("build", "/root/.cache", ""),)]
    assert len(change.records) == 1
    index = encode_index(PackSet(steps=merged_steps(StepSet(), change, spec.max_size)))
    assert read_index(index).faults == ()


def test_a_wrong_layer_of_an_unchanged_image_is_made_anew(
    machines: Machines, registry: FaultRegistry
) -> None:
    place = f"{registry.host}/team/c:1"
    machines().build(place)
    _doctored(registry, _with_a_wrong_image)
    fresh = machines()
    target = fresh.root / "out"
    done = fresh.build(place, cache_to=(), outputs=(f"type=local,dest={target}",))
    assert OF_SOURCES[-1] in done.ran
    (line,) = [text for text in done.said if "is not used any more" in text]
    assert place in line
    assert (target / "out").read_text().split()[-1] == "first"
    # And so is the next one, which asks nobody.
    assert fresh.build(outputs=(f"type=local,dest={fresh.root}/again",)).ran == []
    assert (fresh.root / "again/out").read_text() == (target / "out").read_text()


def test_a_layer_that_cannot_be_unpacked_is_made_anew(
    machines: Machines, registry: FaultRegistry
) -> None:
    """It is the one that its record says; the kernel refuses a device of such a number."""
    member = tarfile.TarInfo("device")
    member.type, member.devmajor, member.devminor = tarfile.CHRTYPE, 5000, 2_000_000
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    tar = packed.getvalue()
    place = f"{registry.host}/team/c:1"
    machines().build(place)
    blob = gzip.compress(tar)
    digest = registry.put_blob("team/c", blob)

    def change(steps: dict[str, Any]) -> None:
        for slab in steps["slabs"]:
            for row in slab.get("layers", ()):
                row[1:3] = digest, len(blob)
                row[4] = f"sha256:{hashlib.sha256(tar).hexdigest()}"

    _doctored(registry, change)
    fresh = machines()
    fresh.write("main.txt", "second\n")
    done = fresh.build(place)
    assert {DOWNLOAD, COMPILE} <= set(done.ran)
    (line,) = [text for text in done.said if "is not used any more" in text]
    assert place in line
    assert text_of(fresh, done, None, "out").split()[-1] == "second"


def _watched(machine: StepMachine, place: object, **asked: object) -> Done:
    """A build that is ended after a minute: it must not go on for ever."""
    events: list[Event] = []
    token = CancelToken()
    timer = threading.Timer(60, token.cancel)
    timer.start()
    try:
        return Done(build_images(machine.request(place, **asked), events.append, token), events)
    finally:
        timer.cancel()


def test_a_record_that_hides_what_is_copied_ends_no_build(
    machines: Machines, registry: FaultRegistry
) -> None:
    """It says that a Go cache lies beside the root where a COPY has to look: there is none.

    Steps that are offered caches have other keys without them; these never were.
    """
    place = f"{registry.host}/team/c:1"
    plain = {"cache_to": (), "go_cache": "off"}
    machines().build(place, go_cache="off")

    def change(steps: dict[str, Any]) -> None:
        steps["selections"] = {}
        for slab in steps["slabs"]:
            if "run" in slab:
                slab["outside"] = [["build", "/out", ""]]

    _doctored(registry, change)
    fresh = machines()
    fresh.edit("Dockerfile", "/out /out", "/out /other")
    done = _watched(fresh, place, **plain)
    assert {DOWNLOAD, COMPILE} <= set(done.ran)
    (line,) = [text for text in done.said if "is not used any more" in text]
    assert place in line
    # A store that took such a record over says so and runs the steps, too.
    poisoned = machines()
    poisoned.edit("Dockerfile", "/out /out", "/cache/mods /mods")
    assert _watched(poisoned, place, **plain).ran == ["COPY --from=build /cache/mods /mods"]
    poisoned.edit("Dockerfile", "/cache/mods /mods", "/out /other")
    anew = _watched(poisoned, None, **plain)
    assert {DOWNLOAD, COMPILE} <= set(anew.ran)
    assert [text for text in anew.said if "all steps run again" in text]
    # Once: what ran is what the store knows now.
    poisoned.edit("Dockerfile", "/out /other", "/out /third")
    assert _watched(poisoned, None, **plain).ran == ["COPY --from=build /out /third"]


def test_a_mistake_of_the_user_is_told_at_once(
    machines: Machines, registry: FaultRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers are looked through when they come, once, and not before an error is told."""
    place = f"{registry.host}/team/c:1"
    machines().build(place)
    fresh = machines()
    fresh.write("main.txt", "second\n")
    fresh.edit("Dockerfile", "/out /out", "/missing /out")
    events: list[Event] = []
    looked: list[tuple[str, bool]] = []
    check = roots.check_layer

    def counting(storage: Any, layer: Layer, cancel: CancelToken) -> None:
        failed = any(isinstance(one, StepEnded) and one.outcome is Outcome.FAILED
                     for one in events)  # fmt: skip
        looked.append((str(layer.descriptor.digest), failed))
        check(storage, layer, cancel)

    monkeypatch.setattr(roots, "check_layer", counting)
    with pytest.raises(WherryError, match="/missing"):
        build_images(fresh.request(place), events.append, CancelToken())
    assert any(isinstance(one, StepEnded) and one.outcome is Outcome.FAILED for one in events)
    assert looked
    assert not any(failed for _, failed in looked)
    assert len(set(looked)) == len(looked)


@pytest.mark.parametrize("kind", ["lazy", "offered"])
def test_a_layer_that_does_not_come_holds_no_export_up(
    machines: Machines, registry: FaultRegistry, directory: Path, kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It is on its way from one place to another, and nobody else needs it."""
    place = f"{registry.host}/team/c:1"
    first = machines()
    image = first.build(place).image
    found = held_in(registry, "team/c", "1")
    with open_store(str(first.store)) as store:
        manifest = json.loads(store.blobs.read(parse_digest(image.digest)))
    own = {layer["digest"] for layer in manifest["layers"]}
    runs = {str(layer.descriptor.digest) for layer in layers_of_runs(found)} - own
    monkeypatch.setattr(cache_patience, "_LEAST", 1.0)
    rule = registry.rule("GET", "|".join(own if kind == "lazy" else runs), trickle=(1, 0.4))
    fresh = machines()
    began = time.monotonic()
    done = fresh.build(None, cache_from=(place,), cache_to=(str(directory),))
    assert rule.used
    assert time.monotonic() - began < 20
    assert done.ran == []
    (line,) = [text for text in done.said if f"the cache {directory} is not written" in text]
    assert "the layer" in line
    assert bool([text for text in done.said if f"the cache {place} is not used any more" in text]) \
        == (kind == "offered")  # fmt: skip


def _replace_index(registry: FaultRegistry, index: bytes) -> None:
    manifest = json.loads(registry.manifest("team/c", "1"))
    digest = registry.put_blob("team/c", index)
    manifest["config"] |= {"digest": digest, "size": len(index)}
    data = json.dumps(manifest).encode()
    registry.put_manifest("team/c", "1", data, manifest["mediaType"])


def test_a_step_for_another_platform_is_another_step(
    machines: Machines, registry: FaultRegistry, directory: Path
) -> None:
    machines().build(directory)
    fresh = machines()
    other = "linux/s390x"
    # The same base for both, as it says for neither.
    try:
        done = fresh.build(directory, platform=other)
    except (BuildError, MachineError) as error:
        assert "s390x" in f"{error.what} {error.why}"
    else:
        assert DOWNLOAD in done.ran


def test_mode_min_answers_the_unchanged_and_runs_the_rest(
    machines: Machines, registry: FaultRegistry, directory: Path, base: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = f"type=wherry,dest={directory},mode=min"
    source = str(directory)

    def linking() -> StepMachine:
        machine = machines()
        machine.edit("Dockerfile", "COPY --from=build", "COPY --link main.txt /\nCOPY --from=build")
        return machine

    first = linking().build(None, cache_to=(place,))
    found = held(directory)
    assert len(found.steps.kept) == 2
    assert len(found.steps.hollow) == 2
    registry.forget_requests()
    fresh = linking()
    with monkeypatch.context() as patched:
        no_worker(patched)
        second = fresh.build(None, cache_from=(source,))
    assert second.ran == []
    assert second.image.digest == first.image.digest
    assert base not in fetched(registry)
    changed = linking()
    changed.write("main.txt", "second\n")
    third = changed.build(None, cache_from=(source,), cache_to=(place,))
    assert {DOWNLOAD, COMPILE} <= set(third.ran)
    assert not [text for text in third.said if "again" in text]


def test_what_does_not_fit_stays_here(
    machines: Machines, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.settings.store._LEAST", 1)
    place = f"type=wherry,dest={directory},max-size=100kB"
    machines().build(None, cache_to=(place,))
    found = held(directory)
    files = (path for path in (directory / "blobs").rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in files) < 120_000
    assert len(found.steps.hollow) == 1
    fresh = machines()
    fresh.write("main.txt", "second\n")
    # What was compiled was too large, and nobody needs it.
    assert sorted(fresh.build(None, cache_from=(str(directory),)).ran) == sorted(OF_SOURCES)


def test_only_what_the_key_signed_is_believed(
    machines: Machines, directory: Path, tmp_path: Path
) -> None:
    for name in ("mine", "other"):
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{name}.key"],
                       cwd=tmp_path, check=True, capture_output=True, timeout=30)  # fmt: skip
    mine, other = str(tmp_path / "mine.key"), str(tmp_path / "other.key")
    machines().build(directory, cache_key=mine)
    assert machines().build(directory, cache_to=(), cache_key=mine).ran == []
    done = machines().build(directory, cache_to=(), cache_key=other)
    assert DOWNLOAD in done.ran
    (line,) = [text for text in done.said if "is not used" in text]
    assert line.startswith(f"the cache {directory} is not used: it is signed by another key than ")


def test_no_secret_no_argument_and_no_place_of_the_machine_travels(
    machines: Machines, directory: Path, tmp_path: Path
) -> None:
    words = {"secret": "hidden-word-4711", "argument": "argument-word-4712", "place": str(tmp_path)}
    machine = machines()
    machine.edit("Dockerfile", "COPY . .",
                 "ARG TOKEN\nRUN --mount=type=secret,id=s test -s /run/secrets/s && "
                 'test -n "$TOKEN" && echo ok > /ok\nCOPY . .')  # fmt: skip
    machine.env["SECRET_WORD"] = words["secret"]
    asked = {"secrets": ("id=s,env=SECRET_WORD",), "build_args": (("TOKEN", words["argument"]),)}
    assert any("/run/secrets/s" in name for name in machine.build(directory, **asked).ran)
    for path in directory.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data += gzip.decompress(data)
        if data[:4] == b"\x28\xb5\x2f\xfd":
            data += zstandard.ZstdDecompressor().decompressobj().decompress(data)
        for name, word in words.items():
            assert word.encode() not in data, f"{name} in {path}"
    # Another argument is another step, and the secret's value is none.
    fresh = machines()
    fresh.write("Dockerfile", (machine.checkout / "Dockerfile").read_text())
    fresh.env["SECRET_WORD"] = "another"
    assert fresh.build(directory, cache_to=(), **asked).ran == []


def test_no_cache_asks_for_nothing_and_gives_what_it_made(
    machines: Machines, directory: Path
) -> None:
    machines().build(directory)
    anew = machines().build(directory, no_cache=True)
    assert DOWNLOAD in anew.ran
    after = machines().build(directory)
    assert after.ran == []
    assert after.image.digest == anew.image.digest


def test_what_came_from_elsewhere_stays_once_it_is_here(
    machines: Machines, directory: Path
) -> None:
    machines().build(directory)
    machine = machines()
    machine.write("main.txt", "second\n")
    machine.build(directory)
    # Without caches: what was fetched is known, what was not runs again.
    machine.write("main.txt", "third\n")
    assert sorted(machine.build().ran) == sorted(OF_SOURCES)


def test_inspect_counts_steps(machines: Machines, directory: Path) -> None:
    machines().build(directory)
    done = CliRunner().invoke(cache_verb.command, ["inspect", str(directory), "--json"])
    steps = json.loads(done.output)["steps"]
    assert (steps["results"], steps["images"], steps["layers"], steps["hollow"]) == (6, 1, 6, 0)
    assert steps["layers_size"] > 300_000
    text = CliRunner().invoke(cache_verb.command, ["inspect", str(directory)]).output
    assert "steps of Dockerfiles: 6 results of 1 images, 6 layers, " in text


# --- any row of builds ----------------------------------------------------------------------------

_STEPS = (
    "COPY a /a",
    "COPY d /d",
    "COPY --link b /linked",
    "COPY . /all",
    "RUN cat /a* > /one 2>/dev/null || true",
    "RUN rm -rf /d /data/removed",
    "RUN --mount=type=bind,target=/ctx cat /ctx/b > /two",
    "RUN true",
    "RUN chown 1000:1000 /data && chmod 0700 /data/deep",
    "WORKDIR /w",
    "ENV WORD=1",
    "ENV WORD=2",
    "RUN echo $WORD > /word",
    "RUN mkdir -p x && ln -sf /a x/link",
)


def _random_dockerfile(chance: random.Random, host: str) -> str:
    lines = []
    for stage in range(3):
        lines.append(f"FROM {host}/team/base:1 AS s{stage}" if stage < 2 else "FROM scratch AS s2")
        pool = [step for step in _STEPS if stage < 2 or not step.startswith("RUN")]
        lines += chance.sample(pool, chance.randint(1, 4))
        for below in range(stage):
            path = chance.choice(("/etc", "/data", "/bin/busybox"))
            lines.append(f"COPY --from=s{below} {path} /from{below}")
    return "\n".join(lines) + "\n"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_any_row_of_builds_gives_what_builds_without_caches_give(
    machines: Machines, registry: FaultRegistry, directory: Path, seed: int
) -> None:
    chance = random.Random(seed)
    plain = machines()
    places = (str(directory), f"type=wherry,dest={directory},mode=min", f"{registry.host}/team/c:1")
    texts = [_random_dockerfile(chance, registry.host) for _ in range(3)]
    kept: StepMachine | None = None
    said: list[str] = []
    for number in range(14):
        text = chance.choice(texts)
        if chance.random() < 0.4:
            lines = text.splitlines()
            at = chance.choice([n for n, line in enumerate(lines) if not line.startswith("FROM")])
            lines[at] = chance.choice([step for step in _STEPS if not step.startswith("RUN")])
            text = "\n".join(lines) + "\n"
        contents = {name: str(chance.randint(0, 1)) for name in ("a", "b", "d/c")}
        kept = kept if kept is not None and chance.random() < 0.3 else machines()
        digests = []
        for machine in (plain, kept):
            machine.env |= _EPOCH
            machine.write("Dockerfile", text)
            for name, content in contents.items():
                machine.write(name, content)
            asked = {} if machine is plain else {
                "cache_from": (str(directory), places[2]), "cache_to": (chance.choice(places),)
            }  # fmt: skip
            done = machine.build(**asked)
            said += done.said
            digests.append(done.image.digest)
        assert digests[0] == digests[1], f"build {number} of seed {seed}:\n{text}"
    assert sum("steps from elsewhere" in line for line in said) > 4
