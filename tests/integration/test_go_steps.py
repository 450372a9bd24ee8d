# SPDX-License-Identifier: Apache-2.0
"""Go steps by BuildKit and by wherry, cold and warm: a few at each `make test`, all in `make soak`.

A step that finds Go caches of earlier builds has to leave just what it would leave without them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import go_step_cases
from differential.answers import Answer
from differential.builders import Place, lay_out
from differential.compare import differences
from differential.model import Case
from differential.user import NoUser, User, ordinary_user
from differential.world import World, shared_world
from go_step_cases import ALL
from go_step_model import BUILD, CHANGED, DEP, DOWNLOAD, END, FILES, FROM, GoCase, lib
from go_step_runs import Expectations, Mode, Outcome, by_wherry, compare, states, why_not
from wherry.golang.toolchain import GoCommand

# The first who asks for the world builds BuildKit, and waits for a download where that is needed.
pytestmark = pytest.mark.timeout(1800)

QUICK = [name for name, case in ALL.items() if case.quick]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, go: GoCommand) -> Iterator[World]:
    """The world of the differential suite, shared with it; skipped where BuildKit cannot run."""
    with shared_world(tmp_path_factory) as world:
        yield world


@pytest.fixture(scope="session")
def expectations(world: World, tmp_path_factory: pytest.TempPathFactory) -> Expectations:
    """What BuildKit makes of the cases, built once for all modes of wherry."""
    return Expectations(world, tmp_path_factory.mktemp("go-steps"))


def _all(world: World, expectations: Expectations, work: Path,
         mode: Callable[[Path], Mode]) -> list[Outcome]:  # fmt: skip
    """Every case that can be built here, each in the mode that is made for its directory."""
    found = []
    for number, case in enumerate(ALL.values()):
        if reason := why_not(case, world):
            print(f"skipped {case.name}: {reason}")
            continue
        place = work / str(number)
        place.mkdir(parents=True)
        built = mode(place)
        if user := built.place.user:
            place.chmod(0o755)
            os.chown(place, *user.owner)
        outcome = compare(case, expectations.of(case), world, place, built)
        print(outcome.text, flush=True)
        found.append(outcome)
    return found


def _bad(outcomes: list[Outcome]) -> list[str]:
    assert len(outcomes) > len(ALL) / 2, "most cases could not be built here"
    return [outcome.text for outcome in outcomes if outcome.lines]


@pytest.mark.parametrize("name", QUICK)
def test_go_steps_leave_what_they_leave_in_buildkit(
    name: str, world: World, expectations: Expectations, tmp_path: Path
) -> None:
    case = ALL[name]
    if reason := why_not(case, world):
        pytest.skip(reason)
    place = tmp_path / "case"
    place.mkdir()
    outcome = compare(case, expectations.of(case), world, place, Mode(Place(place / "store")))
    assert not outcome.lines, outcome.text


def test_a_module_that_no_go_sum_names_keeps_no_cache_from_steps_of_another_machine(
    world: World, tmp_path: Path
) -> None:
    """What `go install TOOL@VERSION` fetches stays in the step's root, and travels with that."""
    fetch = f"RUN cd / && go mod download {DEP}@v1.1.0\n"
    made = GoCase("fetched-by-version", "", f"{FROM}{fetch}{DOWNLOAD}{BUILD}{END}", FILES,
                  after=CHANGED)  # fmt: skip
    if reason := why_not(made, world):
        pytest.skip(reason)
    first, second = states(made)
    place = str(tmp_path / "cache")

    def build(machine: str, state: Case, *words: str) -> tuple[Answer, list[str]]:
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        lay_out(state, work, world)
        return by_wherry(state, work, world, Mode(Place(tmp_path / machine), words=words))

    both = ("--cache-from", place, "--cache-to", place)
    build("one", first, "--cache-to", place)
    _, here = build("one", second)
    plain, _ = build("plain", second, "--go-cache=off")
    for machine in ("two", "three"):
        got, told = build(machine, second, *both)
        assert differences(plain, got) == []
        steps = [line for line in told if "RUN" in line]
        assert any("RUN go build" in line for line in steps) == (machine == "two")
        assert not any("RUN cd / && go mod download" in line for line in steps)
        assert not any("but not all" in line for line in (*here, *steps))
        third = second._replace(files={**second.files, "lib.go": lib(machine)})
        _, told = build(machine, third, *both)
        (line,) = [line for line in told if "RUN go build" in line]
        assert line.endswith("(with Go caches)")


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("go_cache", ["auto", "off"])
def test_all_go_steps(
    go_cache: str, world: World, expectations: Expectations, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with capsys.disabled():
        outcomes = _all(
            world, expectations, tmp_path, lambda place: Mode(Place(place / "store"), go_cache)
        )
    assert _bad(outcomes) == []


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_all_go_steps_in_one_store(
    world: World, expectations: Expectations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each finds the Go caches of all that were built before it."""
    mode = Mode(Place(tmp_path / "store"))
    with capsys.disabled():
        outcomes = _all(world, expectations, tmp_path / "cases", lambda place: mode)
    assert _bad(outcomes) == []


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_all_go_steps_as_an_ordinary_user(
    world: World, expectations: Expectations, capsys: pytest.CaptureFixture[str]
) -> None:
    def mode(place: Path, user: User) -> Mode:
        return Mode(Place(place / "store", user))

    try:
        with (
            ordinary_user() as user,
            # Every directory above the suite's own is open to root only.
            tempfile.TemporaryDirectory(prefix="wherry-go-steps-") as work,
            capsys.disabled(),
        ):
            Path(work).chmod(0o755)
            outcomes = _all(world, expectations, Path(work), lambda place: mode(place, user))
    except NoUser as reason:
        pytest.skip(str(reason))
    assert _bad(outcomes) == []


def test_there_are_enough_cases_and_each_changes_something() -> None:
    assert len(go_step_cases.CASES) >= 17
    assert len(ALL) >= 37
    assert 3 <= len(QUICK) <= 6
    same = [name for name, case in ALL.items() if states(case)[0] == states(case)[1]]
    assert same == []
    said = Counter(case.checks for case in ALL.values())
    assert [text for text, number in said.items() if number > 1] == []
