# SPDX-License-Identifier: Apache-2.0
"""Steps in an index: what strangers write there, what exporters merge, what goes and what stays."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.gocache.directory_place import DirectoryPlace
from wherry.gocache.exporting import Exporter, Material, Offer, fitting_change
from wherry.gocache.importing import Holding
from wherry.gocache.pack_index import encode_index, read_index
from wherry.gocache.pack_set import PackSet, RecordBlob
from wherry.gocache.places import BytesBlob
from wherry.gocache.step_index import encode_steps, read_steps
from wherry.gocache.step_records import (
    Run,
    StepChange,
    StepRecord,
    StepSet,
    bounded_steps,
    has_all,
    is_result,
    merged_steps,
    record_key,
)
from wherry.gocache.table import BadPack, Row
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import LAYER_GZIP, Descriptor, Layer
from wherry.process.cancel import CancelToken

_MOST = 1 << 40


def digest(name: str) -> Digest:
    return sha256(name.encode())


def layer(name: str, size: int = 100) -> Layer:
    return Layer(Descriptor(LAYER_GZIP, digest(f"blob {name}"), size), digest(f"diff {name}"))


BASE = layer("base", 10_000)
UNNEEDED = (("modules", "/home/app/go/pkg/mod", "app"),)


def change(name: str, size: int = 100, *, steps: int = 3) -> StepChange:
    """A build of its own steps: RUN, COPY, RUN and so on, on one base."""
    records, runs, kept = {}, {}, {}
    stack: tuple[Layer | Digest, ...] = (BASE,)
    for number in range(steps):
        made = layer(f"{name} {number}", size + number)
        kept[made.descriptor.digest] = made.descriptor
        key = record_key(digest(f"{name} {number}"), "")
        if number % 2:
            stack = (*stack, made)
            records[key] = StepRecord(stack, 7, digest("tree"))
            continue
        run = digest(f"run {name} {number}")
        stack = (*stack, run)
        runs[run] = Run(size * 3, outside=(("modules", "/go/pkg/mod", ""),),
                        layers=((None, made),), unneeded=UNNEEDED)  # fmt: skip
        records[key] = StepRecord(stack)
    selections = {record_key(digest(f"{name} selects"), ""): digest("selected")}
    return StepChange(records, runs, selections, digest(f"image {name}"), kept)


def merged(current: StepSet, *changes: StepChange, most: int = _MOST) -> StepSet:
    for one in changes:
        current = merged_steps(current, one, most)
    return current


def used_keys(steps: StepSet, one: StepChange) -> set[str]:
    """The records of a change that can be used: all layers of their steps are kept."""
    return {
        key
        for key, record in steps.records.items()
        if key in one.records and not set(record.stack) & steps.hollow
    }


# --- JSON -----------------------------------------------------------------------------------------


def test_what_is_written_is_read() -> None:
    steps = merged(StepSet(), change("a"), change("b", steps=5))
    index = encode_index(PackSet(steps=steps))
    found = read_index(index)
    assert found.steps == steps
    assert found.faults == ()
    assert encode_index(found) == index
    assert set(found.blobs) == set(steps.kept.values())
    assert BASE.descriptor not in found.blobs
    assert b'"steps"' not in encode_index(PackSet())


Section = dict[str, Any]
Edit = Callable[[Section], object]
_EDITS: dict[str, Edit] = {
    "no exports": lambda v: v.pop("exports"),
    "negative": lambda v: v.update(exports=-1),
    "a text for a number": lambda v: v.update(exports="3"),
    "true for a number": lambda v: v.update(exports=True),
    "slabs are a text": lambda v: v.update(slabs="layer"),
    "a slab is a list": lambda v: v["slabs"].append([1]),
    "a slab is nothing": lambda v: v["slabs"].append({}),
    "many slabs": lambda v: v.update(slabs=v["slabs"] * 10_000),
    "many records": lambda v: v.update(records=dict.fromkeys(map(str, range(5000)))),
    "no slab of that number": lambda v: _record(v).__setitem__(3, [99]),
    "a slab before the first": lambda v: _record(v).__setitem__(3, [-1]),
    "an empty stack": lambda v: _record(v).__setitem__(3, []),
    "a deep stack": lambda v: _record(v).__setitem__(3, [0] * 1001),
    "a tree of a run": lambda v: _record(v).__setitem__(2, str(digest("x"))),
    "used in the future": lambda v: _record(v).__setitem__(0, 99),
    "a key of another kind": lambda v: v["records"].update({"../x": _record(v)}),
    "a selection of nothing": lambda v: v["selections"].update({"0" * 64: [0, ""]}),
    "sha512": lambda v: _layer(v).__setitem__(0, "sha512:" + "0" * 128),
    "a size that is none": lambda v: _layer(v).__setitem__(1, -5),
    "a huge size": lambda v: _layer(v).__setitem__(1, 1 << 60),
    "a size as a fraction": lambda v: _layer(v).__setitem__(1, 1.5),
    "no layer's type": lambda v: _layer(v).__setitem__(2, "text/html\r\nX: y"),
    "a type that is a list": lambda v: _layer(v).__setitem__(2, []),
    "a run that is there twice": lambda v: v["slabs"].append(_run(v)),
    "a run of 17 layers": lambda v: _run(v).update(layers=_run(v)["layers"] * 17),
    "outside of other kinds": lambda v: _run(v).update(outside=[["a"]]),
    "outside with NUL": lambda v: _run(v).update(outside=[["a", "b\0", "c"]]),
    "outside as texts": lambda v: _run(v).update(outside=["abc"]),
    "outside of no Go cache": lambda v: _beside(v, "other", "/go/pkg/mod"),
    "outside that leads out": lambda v: _beside(v, "build", "/../../home/user"),
    "outside through a dot": lambda v: _beside(v, "build", "/root/./.cache"),
    "outside with a slash at its end": lambda v: _beside(v, "modules", "/go/pkg/mod/"),
    "outside at no absolute path": lambda v: _beside(v, "build", "root/.cache"),
    "outside at no path": lambda v: _beside(v, "build", ""),
    "outside at the root": lambda v: _beside(v, "build", "/"),
    "outside at two slashes": lambda v: _beside(v, "build", "//"),
    "outside with half a letter": lambda v: _beside(v, "build", "/\ud800"),
    "unneeded with NUL": lambda v: _unneeded(v, "modules", "/a\0b"),
    "unneeded of builds": lambda v: _unneeded(v, "build", "/root/.cache"),
    "unneeded that leads out": lambda v: _unneeded(v, "modules", "/../../home/user"),
    "unneeded at the root": lambda v: _unneeded(v, "modules", "/"),
    "unneeded as texts": lambda v: _run(v).update(unneeded=["abc"]),
    "unneeded as null": lambda v: _run(v).update(unneeded=None),
    "unneeded of 17 places": lambda v: _run(v).update(unneeded=[["modules", "/a", ""]] * 17),
    "a result that is none": lambda v: v["results"].update({"x": 0}),
}


def _record(value: Section) -> list[Any]:
    return next(one for one in value["records"].values() if not one[2])


def _layer(value: Section) -> list[Any]:
    return next(one["layer"] for one in value["slabs"] if one.get("kept"))


def _run(value: Section) -> dict[str, Any]:
    return next(one for one in value["slabs"] if "run" in one)


def _beside(value: Section, kind: str, path: str) -> None:
    _run(value).update(outside=[[kind, path, ""]])


def _unneeded(value: Section, kind: str, path: str) -> None:
    _run(value).update(unneeded=[[kind, path, ""]])


@pytest.mark.parametrize("name", _EDITS)
def test_a_section_that_is_odd_is_dropped_alone(name: str) -> None:
    steps = merged(StepSet(), change("a"))
    value = json.loads(json.dumps(encode_steps(steps)))
    assert read_steps(value) == steps
    _EDITS[name](value)
    with pytest.raises(BadPack):
        read_steps(value)
    blob = Descriptor("x", digest("record"), 5)
    index = json.loads(encode_index(PackSet(records={"key": RecordBlob(blob, 1)})))
    found = read_index(json.dumps({**index, "steps": value}).encode())
    assert found.steps == StepSet()
    assert list(found.records) == ["key"]
    (fault,) = found.faults
    assert fault.startswith("the steps of a cache are malformed")
    assert b"steps" not in encode_index(found)


@pytest.mark.parametrize("value", [None, 1, "steps", [], [[]], {}, {"exports": 1}])
def test_what_is_no_section_is_none(value: object) -> None:
    with pytest.raises(BadPack):
        read_steps(value)


@given(st.data())
def test_no_edit_of_a_section_raises_anything_else(data: st.DataObject) -> None:
    value = json.loads(json.dumps(encode_steps(merged(StepSet(), change("a")))))
    target: Any = value
    while isinstance(target, dict | list) and target:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(target[key], dict | list) or data.draw(st.booleans()):
            target[key] = data.draw(
                st.none() | st.integers() | st.text(max_size=5) | st.just([]) | st.just({})
            )
            break
        target = target[key]
    try:
        found = read_steps(value)
    except BadPack:
        return
    # What is taken can be written, but for slabs that nothing stands on.
    again = read_steps(json.loads(json.dumps(encode_steps(found))))
    assert again.records == found.records
    assert again.kept.keys() <= found.kept.keys()


# --- merging --------------------------------------------------------------------------------------


def test_exporters_that_meet_lose_nothing() -> None:
    current = merged(StepSet(), change("before"))
    one, two = change("one"), change("two")
    both = merged(current, one, two)
    for build in (change("before"), one, two):
        assert used_keys(both, build) == build.records.keys()
        assert is_result(both, build.result)
        assert both.kept.keys() >= build.kept.keys()
    assert both.exports == 3


def test_a_build_that_is_known_changes_nothing() -> None:
    current = merged(StepSet(), change("a"), change("b"))
    assert merged_steps(current, change("a"), _MOST) is current
    assert has_all(current, change("a"))
    # Layers that the place has need not be offered again.
    assert has_all(current, change("a")._replace(kept={}))
    assert not has_all(current, change("c"))
    assert not has_all(StepSet(), change("a"))


def test_the_newest_result_of_a_step_counts_and_others_stay_reachable() -> None:
    first, second = change("a"), change("a")
    run = digest("run of another machine")
    key = next(iter(second.records))
    made = layer("another")
    second = second._replace(
        records={**second.records, key: StepRecord((BASE, run))},
        runs={run: Run(3, layers=((None, made),))},
        kept={made.descriptor.digest: made.descriptor},
    )
    both = merged(StepSet(), first, second)
    assert both.records[key].stack == (BASE, run)
    # What stands on the first one's result names it, and has its layers.
    assert used_keys(both, first) == first.records.keys()
    assert made.descriptor.digest in both.kept


def test_layers_that_two_have_written_of_one_run_are_both_kept() -> None:
    run, name = digest("run"), record_key(digest("key"), "")
    whole, cut = layer("whole"), layer("cut")
    changes = [
        StepChange({name: StepRecord((run,))}, {run: Run(3, layers=((latest, one),))}, {},
                   digest("image"), {one.descriptor.digest: one.descriptor})
        for latest, one in ((None, whole), (1700000000, cut))
    ]  # fmt: skip
    for order in (changes, changes[::-1]):
        found = merged(StepSet(), *order)
        assert found.runs[run].layers == ((None, whole), (1700000000, cut))
        assert found.hollow == frozenset()
        assert read_steps(json.loads(json.dumps(encode_steps(found)))) == found


def test_module_caches_of_which_a_run_saw_nothing_are_lost_by_no_exporter() -> None:
    known = change("a")
    plain = known._replace(
        runs={name: run._replace(unneeded=()) for name, run in known.runs.items()}
    )
    for order in ((known, plain), (plain, known)):
        found = merged(StepSet(), *order)
        assert [run.unneeded for run in found.runs.values()] == [UNNEEDED] * 2
        # Who does not know of them has nothing to add.
        assert has_all(found, plain)
    assert not has_all(merged(StepSet(), plain), known)


def test_runs_that_have_none_are_written_as_ever() -> None:
    known = change("a")
    plain = known._replace(
        runs={name: run._replace(unneeded=()) for name, run in known.runs.items()}
    )
    assert b"unneeded" not in encode_index(PackSet(steps=merged(StepSet(), plain)))
    assert b"unneeded" in encode_index(PackSet(steps=merged(StepSet(), known)))


def test_what_is_not_used_for_many_exports_goes() -> None:
    old = change("old")
    current = merged(StepSet(), old)
    for number in range(64):
        current = merged(current, change(f"b{number}", steps=1))
    assert used_keys(current, old) == old.records.keys()
    # Lately not used: its next build says so, and nothing else of it travels.
    assert not is_result(current, old.result)
    refreshed = merged(current, old._replace(kept={}))
    assert refreshed.exports == current.exports + 1
    assert is_result(refreshed, old.result)
    gone = merged(current, change("one more"))
    assert not used_keys(gone, old)
    assert not gone.kept.keys() & old.kept.keys()
    assert not gone.runs.keys() & old.runs.keys()
    assert old.result not in gone.results


def test_beyond_the_cap_the_least_recently_used_layers_go_first() -> None:
    first, second = change("first", 1000), change("second", 1000)
    room = second_size = sum(blob.size for blob in second.kept.values())
    current = merged(StepSet(), first, most=room)
    assert current.kept.keys() == first.kept.keys()
    current = merged(current, second, most=room)
    assert current.kept.keys() == second.kept.keys()
    assert current.size == second_size
    # Their records stay, for builds in which nothing changes.
    assert current.records.keys() == {*first.records, *second.records}
    assert current.hollow == set(first.runs)
    assert used_keys(current, second) == second.records.keys()


def test_of_a_build_beyond_the_cap_the_smaller_layers_travel() -> None:
    small, large = change("small", 10, steps=3), change("large", 1000, steps=1)
    both = StepChange(
        {**small.records, **large.records}, {**small.runs, **large.runs},
        {}, digest("image"), {**small.kept, **large.kept},
    )  # fmt: skip
    fitting = fitting_change(PackSet(), both, 500)
    assert fitting.kept == small.kept
    assert fitting.records == both.records
    current = merged(StepSet(), fitting, most=500)
    assert current.hollow == set(large.runs)
    # The next build sends nothing in vain.
    assert fitting_change(PackSet(steps=current), both, 500).kept == small.kept
    assert has_all(current, fitting)


def test_a_set_stays_within_what_is_read() -> None:
    current = StepSet()
    for number in range(9):
        current = merged(current, change(f"b{number}", steps=60))
    found = read_index(encode_index(PackSet(steps=current)))
    assert found.steps == current
    assert found.faults == ()
    assert len(current.kept) == 400
    assert used_keys(current, change("b8", steps=60)) == change("b8", steps=60).records.keys()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6)), min_size=1, max_size=30),
       st.integers(100, 3000))  # fmt: skip
def test_any_row_of_exports_gives_a_set_that_is_whole(
    builds: list[tuple[int, int]], most: int
) -> None:
    current = StepSet()
    for name, steps in builds:
        current = merged(current, change(str(name), 100, steps=steps), most=most)
        assert current.size <= most
        assert read_steps(json.loads(json.dumps(encode_steps(current)))) == current
        for run in current.runs.values():
            assert all(one.descriptor.digest in current.kept for _, one in run.layers)
    assert bounded_steps(current, 0).kept == {}


def test_keys_tell_codecs_apart() -> None:
    key = digest("key")
    names = {record_key(key, codec) for codec in ("", "gzip 1 zlib 1.3", "gzip 1 zlib-ng 2")}
    assert len(names) == 3
    assert record_key(digest("other"), "") not in names


# --- exporters ------------------------------------------------------------------------------------


def _holding(path: Path) -> Holding:
    return Holding(DirectoryPlace(str(path), str(path), CancelToken()), None, CancelToken())


def _blobs(name: str) -> tuple[StepChange, tuple[BytesBlob, ...]]:
    data = f"layer {name}".encode()
    made = Layer(Descriptor(LAYER_GZIP, sha256(data), len(data)), digest(name))
    run = digest(f"run {name}")
    asked = StepChange(
        {record_key(digest(name), ""): StepRecord((run,))}, {run: Run(9, layers=((None, made),))},
        {}, digest(f"image {name}"), {made.descriptor.digest: made.descriptor},
    )  # fmt: skip
    return asked, (BytesBlob(made.descriptor, data),)


def _export(path: Path, scratch: Path, offer: Offer) -> PackSet:
    scratch.mkdir()
    holding = _holding(path)
    Exporter(holding, offer, str(scratch), CancelToken()).run()
    found = _holding(path).load()
    assert found is not None
    return found


def test_steps_and_packs_leave_each_other_alone(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    data = b"output " * 100
    row = Row(digest("action").hex, sha256(data).hex, len(data))
    material = Material([row], lambda _row: io.BytesIO(data), lambda _row: True)
    first, blobs = _blobs("a")
    _export(place, tmp_path / "1", Offer("", {}, _MOST, steps=first, blobs=blobs))
    with_packs = _export(place, tmp_path / "2", Offer("user", {"build": material}, _MOST))
    assert [pack.kind for pack in with_packs.packs] == ["build"]
    assert with_packs.steps.kept == first.kept
    second, more = _blobs("b")
    both = _export(place, tmp_path / "3", Offer("", {}, _MOST, steps=second, blobs=more))
    assert both.packs == with_packs.packs
    assert both.users == with_packs.users
    assert both.steps.records.keys() == {*first.records, *second.records}
    for blob in both.steps.kept.values():
        with _holding(place).place.open(blob) as stream:
            assert stream.read().startswith(b"layer ")
    # The cap counts all: packs leave no room for layers of steps.
    small = sum(pack.blob.size + pack.table.size for pack in both.packs) + 5
    left = _export(place, tmp_path / "4", Offer("user", {"build": material}, small))
    assert left.packs == both.packs
    assert left.steps.kept == {}
    assert left.steps.records.keys() == both.steps.records.keys()


def test_an_export_of_what_is_there_writes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    asked, blobs = _blobs("a")
    offer = Offer("", {}, _MOST, steps=asked, blobs=blobs)
    _export(place, tmp_path / "1", offer)
    before = (place / "index.json").read_bytes()
    _export(place, tmp_path / "2", offer)
    assert (place / "index.json").read_bytes() == before


def test_a_layer_that_went_meanwhile_leaves_its_run_hollow() -> None:
    """Somebody thought that the place had it, and another exporter has dropped it since."""
    asked = change("a")
    found = merged(StepSet(), asked._replace(kept={}))
    assert found.hollow == set(asked.runs)
    assert found.kept == {}
    again = merged(found, copy.deepcopy(asked))
    assert again.hollow == frozenset()
