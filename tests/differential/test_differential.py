# SPDX-License-Identifier: Apache-2.0
"""The cases by BuildKit and by wherry: a fixed sample at each `make test`, all in `make soak`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import buildkit
from differential import runs
from differential.answers import Answer
from differential.cases import CASES
from differential.compare import differences
from differential.world import World, entered
from wherry.golang.toolchain import GoCommand

# The first who asks for the world builds BuildKit, and waits for a download where that is needed.
pytestmark = pytest.mark.timeout(1800)

SAMPLE = {name: case for name, case in CASES.items() if case.sample}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, go: GoCommand) -> Iterator[World]:
    """One world for all workers of pytest-xdist; skipped where BuildKit cannot run."""
    if reason := buildkit.why_not():
        pytest.skip(reason)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base
    with entered(shared / "differential-world") as world:
        if world.buildkit is None:
            pytest.skip(world.why_not)
        yield world


@pytest.mark.parametrize("name", SAMPLE)
def test_wherry_builds_what_buildkit_builds(name: str, world: World, tmp_path: Path) -> None:
    result = runs.run_one(name, SAMPLE[name], world, tmp_path / "case")
    assert not result.is_bad, runs.table([result])


@pytest.mark.soak
def test_all_cases(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = runs.run(CASES, world, tmp_path, jobs=2)
    with capsys.disabled():
        print("\n" + runs.table(results))
    assert [result.name for result in results if result.is_bad] == []


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 200
    assert len(SAMPLE) >= 60
    assert {case.topic for case in SAMPLE.values()} == {case.topic for case in CASES.values()}


def test_a_meant_difference_covers_no_other() -> None:
    case = CASES["stages/from-devices"]
    answer = Answer({"p": {}})
    meant = ("/dev/disk type: BuildKit char, wherry block",)
    other = ("/x mode: BuildKit 1, wherry 2",)
    assert not runs.Result("n", case, answer, answer, meant).is_bad
    assert runs.Result("n", case, answer, answer, meant + other).is_bad
    assert runs.Result("n", case, answer, answer).is_bad
    assert runs.Result("n", case._replace(meant=None), answer, answer, meant).is_bad


def test_a_difference_is_seen() -> None:
    image = {
        "config": {"os": "linux", "config": {"Env": ["A=1"]}},
        "history": [{"created_by": "x"}],
        "layers": 1,
        "tree": {"/": {"type": "dir", "mode": "755"}, "/f": {"type": "file", "mode": "644"}},
    }
    other = {
        "config": {"os": "linux", "config": {"Env": ["A=2"]}},
        "history": [{"created_by": "x", "empty_layer": True}],
        "layers": 2,
        "tree": {"/": {"type": "dir", "mode": "755"}, "/f": {"type": "file", "mode": "600"}},
    }
    assert differences(Answer({"p": image}), Answer({"p": image})) == []
    assert differences(Answer({"p": image}), Answer({"p": other})) == [
        "config config Env: BuildKit ['A=1'], wherry ['A=2']",
        "number of layers: BuildKit 1, wherry 2",
        "history line 1 empty_layer: BuildKit None, wherry True",
        "/f mode: BuildKit 644, wherry 600",
    ]
    assert differences(Answer({}, "no"), Answer({"p": image})) == [
        "refusal: BuildKit refuses (no), wherry builds an image"
    ]
    assert differences(Answer({}, "no"), Answer({}, "nor I")) == []
