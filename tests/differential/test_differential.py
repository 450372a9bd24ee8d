# SPDX-License-Identifier: Apache-2.0
"""The cases by BuildKit and by wherry: a fixed sample at each `make test`, all in `make soak`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from differential import runs
from differential.answers import Answer, Tree, read_entries
from differential.cases import CASES
from differential.compare import differences
from differential.model import EPOCH, Sequence, directory, regular, tar_bytes
from differential.user import NoUser, ordinary_user
from differential.world import World, shared_world
from wherry.golang.toolchain import GoCommand

# The first who asks for the world builds BuildKit, and waits for a download where that is needed.
pytestmark = pytest.mark.timeout(1800)

SAMPLE = {name: case for name, case in CASES.items() if case.sample}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, go: GoCommand) -> Iterator[World]:
    """One world for all workers of pytest-xdist; skipped where BuildKit cannot run."""
    with shared_world(tmp_path_factory) as world:
        yield world


@pytest.mark.parametrize("name", SAMPLE)
def test_wherry_builds_what_buildkit_builds(name: str, world: World, tmp_path: Path) -> None:
    result = runs.run_one(name, SAMPLE[name], world, tmp_path / "case")
    assert not result.is_bad, runs.table([result])


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_all_cases(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = runs.run(CASES, world, tmp_path, jobs=2)
    with capsys.disabled():
        print("\n" + runs.table(results))
    assert [result.name for result in results if result.is_bad] == []


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_all_cases_with_run_as_an_ordinary_user(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {name: case for name, case in CASES.items() if case.runs}
    try:
        with (
            ordinary_user() as user,
            # Every directory above the suite's own is open to root only.
            tempfile.TemporaryDirectory(prefix="wherry-cases-") as work,
        ):
            results = runs.run(cases, world, Path(work, "cases"), jobs=2, user=user)
    except NoUser as reason:
        pytest.skip(str(reason))
    with capsys.disabled():
        print("\n" + runs.table(results))
    assert [result.name for result in results if result.is_bad] == []


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 200
    assert sum(case.runs for case in CASES.values()) >= 350
    assert len(SAMPLE) >= 120
    assert sum(case.runs for case in SAMPLE.values()) >= 55
    # The Debian base takes minutes to be made.
    topics = {case.topic for case in CASES.values()} - {"run_debian"}
    assert {case.topic for case in SAMPLE.values()} == topics


def test_a_sequence_says_what_each_of_its_builds_runs() -> None:
    sequences = [case for case in CASES.values() if isinstance(case, Sequence)]
    assert len(sequences) >= 60
    assert all(len(case.builds) > 1 and case.builds[0].ran for case in sequences)


def test_a_meant_difference_covers_no_other() -> None:
    case = CASES["stages/from-devices"]
    answer = Answer({"p": {}})
    meant = ("/dev/disk type: BuildKit char, wherry block",)
    other = ("/x mode: BuildKit 1, wherry 2",)
    assert not runs.Result("n", case, answer, answer, meant).is_bad
    assert runs.Result("n", case, answer, answer, meant + other).is_bad
    assert runs.Result("n", case, answer, answer).is_bad
    assert runs.Result("n", case._replace(meant=None), answer, answer, meant).is_bad
    for_user = case._replace(meant=None, as_user=case.meant)
    assert runs.Result("n", for_user, answer, answer, meant).is_bad
    assert not runs.Result("n", for_user, answer, answer, meant, as_user=True).is_bad


def test_an_opaque_directory_is_what_it_takes_away() -> None:
    tree = Tree()
    tree.apply(tar_bytes((("d", directory()), ("d/a", regular("")), ("d/b", regular("")))))
    again = tar_bytes((("d", directory()), ("d/.wh..wh..opq", regular("")), ("d/a", regular("x"))))
    assert tree.named(read_entries(again)) == {"/d/": EPOCH, "/d/.wh.b": 0, "/d/a": EPOCH}


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
    failed = [Answer({}, f"failed, exit code: {code}") for code in (1, 3, 127)]
    assert differences(failed[0], failed[1]) == ["exit code: BuildKit 1, wherry 3"]
    assert differences(failed[0], failed[2]) == []
    names = {"/f": 7, "/g": "now", "/mended/": "now", "/d/": 5}
    ran = {**image, "runs": [{"step": "RUN x", "names": names}]}
    others = {"/f": "now", "/g": "now", "/mended/": 5, "/d/": "now", "/h": 1}
    again = {**image, "runs": [{"step": "RUN x", "names": others}]}
    assert differences(Answer({"p": ran}), Answer({"p": again})) == [
        "layer of RUN 1, /d/: BuildKit 5, wherry now",
        "layer of RUN 1, /f: BuildKit 7, wherry now",
        "layer of RUN 1, /h: BuildKit none, wherry 1",
    ]
