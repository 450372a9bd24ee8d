# SPDX-License-Identifier: Apache-2.0
"""Killed at every step boundary and at any time: the next build is right, and nothing is left."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from attacks import DEFAULT_SIGNALS, TerminalRun, descendants_alive, finish, spawn
from store_samples import faults
from wherry.store.store import open_store
from wherry_fixtures import Finished

Module = Callable[..., Path]
Wherry = Callable[..., Finished]
Env = dict[str, str]

DRIVER = Path(__file__).parents[1] / "kill_driver.py"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Every point of api, engine and store that a build passes, and how often it does so at least.
POINTS = (
    ("store-prepared", 1), ("go-asked", 1), ("main-found", 1), ("work-held", 1),
    ("closure-gathered", 1), ("go-built", 1), ("layer-stored", 1), ("image-stored", 1),
    ("record-unwritten", 1), ("record-written", 1), ("before-delivery", 1), ("exported", 1),
    ("tag-before", 1), ("tag-after", 1),
    ("blob-staged", 2), ("blob-synced", 1), ("blob-renamed", 3), ("record-before", 2),
    ("record-after", 1),
)  # fmt: skip
# The same of a build by Dockerfile, which passes fewer.
DOCKERFILE_POINTS = (
    ("lowered", 1), ("blob-staged", 1), ("blob-renamed", 2), ("record-after", 1),
    ("image-stored", 1),
)  # fmt: skip
# The same again for `make soak`, with each signal.
MORE = (*POINTS, ("blob-staged", 1), ("blob-staged", 3), ("blob-synced", 3), ("blob-synced", 4),
        ("blob-renamed", 1), ("blob-renamed", 2), ("record-before", 1), ("record-before", 3),
        ("record-after", 2), ("record-after", 3))  # fmt: skip


def program(text: str) -> str:
    return f'package main\n\nfunc main() {{ println("{text}") }}\n'


def digest_of(finished: Finished) -> str:
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip().rpartition("@")[2]


def gone(marker: str, seconds: float = 1.0) -> bool:
    """Whether no process of this test is alive; the kernel may take a moment to bury one."""
    end = time.monotonic() + seconds
    while descendants_alive(marker):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Place(NamedTuple):
    """A module that was built in `store` once, and the environment with a mark for processes."""

    root: Path
    store: Path
    env: Env
    marker: str


@pytest.fixture
def place(wherry: Wherry, module: Module, store: Path, go_env: Env) -> Place:
    marker = uuid.uuid4().hex
    root = module({"main.go": program("before")})
    env = {**go_env, "WHERRY_STORE": str(store), "TEST_MARKER": marker}
    digest_of(wherry("build", cwd=root))
    return Place(root, store, env, marker)


def leftovers(store: Path) -> int:
    with open_store(store) as opened:
        return opened.prune(dry_run=True).leftovers


def test_every_point_of_a_build_is_among_those_that_are_killed(place: Place) -> None:
    """A point that is added to the product must be added here."""
    source = Path(sys.modules["wherry"].__file__).parent
    found = set()
    for path in source.rglob("*.py"):
        for line in path.read_text().splitlines():
            _, call, rest = line.partition('trace("')
            if call:
                found.add(rest.partition('"')[0])
    # Points of trees and of prune are killed in the store's own tests, those of a push in the
    # registry's.
    own = ("prune-", "snapshot-", "mount-")
    elsewhere = {point for point in found if point.startswith(own)} | {"pushed"}
    killed = {point for point, _ in (*POINTS, *DOCKERFILE_POINTS)}
    assert found - elsewhere | {"store-prepared"} == killed


@pytest.mark.parametrize(("point", "occurrence"), POINTS)
def test_killed_at_a_step_boundary(
    place: Place, wherry: Wherry, tmp_path: Path, point: str, occurrence: int
) -> None:
    gently = (signal.SIGTERM, signal.SIGINT)[POINTS.index((point, occurrence)) % 2]
    kill_at(place, wherry, (point, occurrence), (signal.SIGKILL, gently))


@pytest.mark.parametrize(("point", "occurrence"), DOCKERFILE_POINTS)
def test_a_dockerfile_build_killed_at_a_step_boundary(
    wherry: Wherry, module: Module, store: Path, go_env: Env, point: str, occurrence: int
) -> None:
    text = "FROM scratch AS one\nCOPY . /all/\nFROM scratch\nCOPY --from=one /all/main.go /\n"
    root = module({"Dockerfile": text, "main.go": program("before")})
    marker = uuid.uuid4().hex
    env = {**go_env, "WHERRY_STORE": str(store), "TEST_MARKER": marker}
    digest_of(wherry("build", cwd=root))
    gently = (signal.SIGTERM, signal.SIGINT)[occurrence % 2]
    kill_at(Place(root, store, env, marker), wherry, (point, occurrence), (signal.SIGKILL, gently))


@pytest.mark.soak
@pytest.mark.parametrize(("point", "occurrence"), MORE)
def test_killed_at_a_step_boundary_by_every_signal(
    place: Place, wherry: Wherry, point: str, occurrence: int
) -> None:
    kill_at(place, wherry, (point, occurrence), SIGNALS)


def kill_at(
    place: Place, wherry: Wherry, where: tuple[str, int], signals: tuple[signal.Signals, ...]
) -> None:
    point, occurrence = where
    tmp_path = place.root.parent
    before = {path.name for path in place.store.glob("blobs/sha256/*")}
    (place.root / "main.go").write_text(program(f"{point} {occurrence} {uuid.uuid4()}"))
    for number in signals:
        store = tmp_path / f"store-{number}"
        if point.startswith(("blob", "record-b", "record-a")):
            # A new store: the points of the base are passed while the program is built.
            before = set()
        else:
            shutil.copytree(place.store, store)
        output = tmp_path / f"out-{number}" / "image.tar"
        output.parent.mkdir()
        words = [place.root, store, output, point, occurrence, int(number)]
        killed = subprocess.run(
            [*DEFAULT_SIGNALS, sys.executable, str(DRIVER), *map(str, words)],
            cwd=place.root,
            env=place.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "never reached" not in killed.stdout
        assert "Traceback" not in killed.stderr
        if number == signal.SIGKILL:
            assert killed.returncode == -signal.SIGKILL, killed.stderr
        else:
            # Too late to stop anything: then the build is whole.
            assert killed.returncode in (128 + number, 0), killed.stderr
            assert gone(place.marker), descendants_alive(place.marker)
            assert leftovers(store) == 0
            assert {path.name for path in output.parent.iterdir()} <= {"image.tar"}
        found = {path.name for path in store.glob("blobs/sha256/*")}
        assert before <= found, "a blob is lost"
        assert faults(store) == []
        again = wherry("build", "--store", store, cwd=place.root)
        right = digest_of(wherry("build", "--store", tmp_path / "undisturbed", cwd=place.root))
        assert digest_of(again) == right
        if output.exists():
            assert right.removeprefix("sha256:").encode() in output.read_bytes()
        with open_store(store) as opened:
            opened.prune()
        assert faults(store) == []
        assert not list((store / "tmp").iterdir())


@pytest.fixture
def held(tmp_path: Path, place: Place) -> tuple[Path, Env]:
    """A file that holds every tool that Go starts while it is there, and the environment."""
    hold, script = tmp_path / "hold", tmp_path / "toolexec"
    script.write_text(
        "#!/bin/sh\n"
        'case "$*" in *-V=full*) exec "$@";; esac\n'
        f'echo x >>"{tmp_path}/held"\n'
        f'while [ -e "{hold}" ]; do sleep 0.05; done\n'
        'exec "$@"\n'
    )
    script.chmod(0o755)
    hold.write_text("")
    (place.root / "main.go").write_text(program(f"held {uuid.uuid4()}"))
    return hold, {**place.env, "GOFLAGS": f"-toolexec={script}"}


def await_held(hold: Path) -> None:
    end = time.monotonic() + 60
    while not (hold.parent / "held").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_go_compiles_ends_go_and_all_its_children(
    place: Place, held: tuple[Path, Env], wherry: Wherry, tmp_path: Path, number: signal.Signals
) -> None:
    hold, env = held
    process = spawn("build", "-t", "new", cwd=place.root, env=env)
    await_held(hold)
    process.send_signal(number)
    finished = finish(process, timeout=10)
    assert finished.returncode == 128 + number
    assert not finished.stdout
    assert finished.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in finished.stderr
    assert gone(place.marker), descendants_alive(place.marker)
    assert leftovers(place.store) == 0
    assert "new" not in wherry("images", cwd=place.root).stdout
    hold.unlink()
    again = digest_of(wherry("build", cwd=place.root))
    assert again == digest_of(wherry("build", "--store", tmp_path / "other", cwd=place.root))


def test_the_same_signal_twice_at_once_is_one(place: Place, held: tuple[Path, Env]) -> None:
    """As `timeout` sends it: to the process, then to its group."""
    hold, env = held
    process = spawn("build", cwd=place.root, env=env)
    await_held(hold)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    finished = finish(process, timeout=10)
    assert finished.returncode == 143
    assert finished.stderr.splitlines()[-1] == "interrupted"
    assert gone(place.marker), descendants_alive(place.marker)


def test_a_tool_that_ignores_sigterm_is_ended_after_a_grace(
    place: Place, held: tuple[Path, Env]
) -> None:
    hold, env = held
    script = hold.parent / "toolexec"
    script.write_text(script.read_text().replace("#!/bin/sh\n", "#!/bin/sh\ntrap '' TERM\n"))
    process = spawn("build", cwd=place.root, env=env)
    await_held(hold)
    process.send_signal(signal.SIGTERM)
    assert finish(process, timeout=10).returncode == 143
    assert gone(place.marker), descendants_alive(place.marker)


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(
    place: Place, held: tuple[Path, Env]
) -> None:
    hold, env = held
    process = spawn("build", cwd=place.root, env=env,
                    prefix=["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"])  # fmt: skip
    await_held(hold)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    hold.unlink()
    digest_of(finish(process))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_as_it_was_after_a_signal(
    place: Place, held: tuple[Path, Env], number: signal.Signals
) -> None:
    hold, env = held
    run = TerminalRun("build", cwd=place.root, env=env)
    await_held(hold)
    run.wait_for("\x1b[?25l")
    run.process.send_signal(number)
    finished, screen = run.finish()
    assert finished.returncode == 128 + number
    assert "Traceback" not in screen
    assert "interrupted" in screen.splitlines()[-1]
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")


def test_the_cursor_is_back_also_when_the_user_does_not_wait(
    place: Place, held: tuple[Path, Env]
) -> None:
    hold, env = held
    script = hold.parent / "toolexec"
    script.write_text(script.read_text().replace("#!/bin/sh\n", "#!/bin/sh\ntrap '' TERM\n"))
    run = TerminalRun("build", cwd=place.root, env=env)
    await_held(hold)
    run.wait_for("\x1b[?25l")
    began = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    run.process.send_signal(signal.SIGINT)
    run.process.wait(timeout=10)
    assert time.monotonic() - began < 1.8, "it waited for the grace of the first signal"
    hold.unlink()
    finished, screen = run.finish()
    assert finished.returncode == 130
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")


def test_after_sigkill_the_next_build_waits_for_the_go_that_was_left(
    place: Place, held: tuple[Path, Env], tmp_path: Path, wherry: Wherry
) -> None:
    hold, env = held
    process = spawn("build", cwd=place.root, env=env)
    await_held(hold)
    process.kill()
    process.communicate(timeout=10)
    assert descendants_alive(place.marker), "Go should still be there"
    waiting = spawn("build", cwd=place.root, env=place.env)
    time.sleep(1)
    assert waiting.poll() is None, "two Gos write one file"
    hold.unlink()
    right = digest_of(wherry("build", "--store", tmp_path / "other", cwd=place.root))
    assert digest_of(finish(waiting)) == right
    assert faults(place.store) == []
    assert gone(place.marker), descendants_alive(place.marker)


def test_a_program_that_go_copied_in_part_is_not_taken_for_whole(
    place: Place, wherry: Wherry, tmp_path: Path
) -> None:
    """Go believes the build ID at the beginning of its output, however short the file is."""
    real = shutil.which("go", path=place.env["PATH"])
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "go").write_text(
        "#!/bin/sh\n"
        f'[ "$1" = build ] || exec {real} "$@"\n'
        f'{real} "$@" && truncate -s 100000 "$4" && kill -9 $PPID && kill -9 $$\n'
    )
    (shim / "go").chmod(0o755)
    (place.root / "main.go").write_text(program(f"cut short {uuid.uuid4()}"))
    env = {**place.env, "PATH": f"{shim}:{place.env['PATH']}"}
    killed = finish(spawn("build", cwd=place.root, env=env))
    assert killed.returncode == -signal.SIGKILL
    cut = [path for path in place.store.glob("work/*/m") if path.stat().st_size == 100_000]
    assert len(cut) == 1, "the test's own trick did not work"
    again = digest_of(wherry("build", cwd=place.root))
    assert again == digest_of(wherry("build", "--store", tmp_path / "other", cwd=place.root))


def kill_at_random(place: Place, wherry: Wherry, seed: int) -> str:
    """One build killed at a random moment; returns the exit code's name after all checks."""
    choice = random.Random(seed)
    number = choice.choice(SIGNALS)
    (place.root / "main.go").write_text(program(f"random {uuid.uuid4()}"))
    words = ("build", "--progress", "plain", "-o", f"type=oci,dest={place.root.parent}/x.tar")
    before = leftovers(place.store)
    process = spawn(*words, cwd=place.root, env=place.env)
    time.sleep(choice.random() * 0.6)
    process.send_signal(number)
    killed = finish(process)
    # While Python itself is still starting, nothing of ours has run: its traceback is not ours.
    starting = number == signal.SIGINT and "Traceback" in killed.stderr
    assert "in main" not in killed.stderr, killed.stderr
    if not starting:
        assert "Traceback" not in killed.stderr, killed.stderr
        expected = {signal.SIGKILL: (-9,), signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2)}
        assert killed.returncode in (0, *expected[number]), killed.stderr
    if number != signal.SIGKILL:
        assert gone(place.marker), descendants_alive(place.marker)
        assert leftovers(place.store) == before
    assert not (place.store / "state.db").exists() or faults(place.store) == []
    again = wherry("build", cwd=place.root)
    right = wherry("build", "--store", place.root.parent / "undisturbed", cwd=place.root)
    assert digest_of(again) == digest_of(right)
    return f"{number.name} {killed.returncode}"


def test_killed_at_any_time(place: Place, wherry: Wherry) -> None:
    for seed in range(12):
        kill_at_random(place, wherry, seed)
    assert wherry("cache", "prune").returncode == 0
    assert not list((place.store / "tmp").iterdir())


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_at_any_time_very_often(place: Place, wherry: Wherry) -> None:
    counts: dict[str, int] = {}
    for seed in range(int(os.environ.get("WHERRY_SOAK_KILLS", "300"))):
        ended = kill_at_random(place, wherry, 1000 + seed)
        counts[ended] = counts.get(ended, 0) + 1
    print(counts)
    assert wherry("cache", "prune").returncode == 0
    assert not list((place.store / "tmp").iterdir())
    assert faults(place.store) == []
