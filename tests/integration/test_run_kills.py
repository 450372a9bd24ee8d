# SPDX-License-Identifier: Apache-2.0
"""Builds with RUN steps that are killed, race, or meet a full or damaged disk.

Whatever happens to a build, the next one is right, and nothing of the first is left: no process,
no mount, nothing staged once the store is pruned.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from attacks import DEFAULT_SIGNALS, WHERRY, descendants_alive
from step_builds import (
    Facts,
    Finished,
    StepBuilds,
    base_layer,
    descendants,
    facts,
    finish,
    make_builds,
    replaced,
)
from store_samples import faults

DRIVER = Path(__file__).parents[1] / "dockerfile_kill_driver.py"
# `make test` has the ordinary user, `make soak` both.
KINDS = ("ranges", pytest.param("root", marks=pytest.mark.soak))
# Every point of the store that only a build with RUN passes.
POINTS = ("snapshot-staged", "snapshot-renamed", "snapshot-committed",
          "mount-held", "mount-prepared", "mount-renamed")  # fmt: skip
FIRST = "value-000000"  # all values are of this length
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

# Every kind of change and of mount; two stages beside each other, each of some steps.
WORK = """\
FROM start AS left
COPY value /value
RUN cp /value /data/changed && rm /data/removed
RUN --mount=type=cache,target=/cache,sharing=locked \\
    cat /value >>/cache/log && tail -n 1 /cache/log >/last
RUN rm -r /data/deep && mkdir /data/deep && cp /value /data/deep/b && sleep 0.2

FROM start AS right
RUN --mount=type=bind,source=value,target=/in --mount=type=tmpfs,target=/scratch <<TEXT
set -e
cp /in /scratch/copy
cp /scratch/copy /copy
sleep 0.2
TEXT
RUN --mount=type=bind,from=left,source=/data,target=/left,rw echo x >/left/x; cp /left/deep/b /b
USER app
RUN id -u >/tmp/who && chmod 0600 /tmp/who

FROM start
COPY --from=left /data /data
COPY --from=left /last /value /
COPY --from=right /copy /b /tmp/who /right/
RUN cat /last /right/copy >/both && ln /both /both-again
"""


@pytest.fixture(scope="module", params=KINDS)
def builds(request: pytest.FixtureRequest) -> Iterator[StepBuilds]:
    with make_builds(request.param) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test has a store of its own, and leaves nothing that lives."""
    yield
    if "builds" not in request.fixturenames:
        return
    builds: StepBuilds = request.getfixturevalue("builds")
    assert builds.strays() == []
    empty(builds)
    shutil.rmtree(builds.scratch)
    builds.scratch.mkdir()
    if builds.users:
        os.chown(builds.scratch, *2 * (builds.users[0][0],))


def empty(builds: StepBuilds) -> None:
    """Removes the store as root can, and its user may not need to."""
    shutil.rmtree(builds.store, ignore_errors=True)


def undisturbed(builds: StepBuilds) -> Facts:
    """What the work makes of FIRST, in a store that is then there, and pruned of nothing."""
    builds.write(WORK, value=FIRST + "\n")
    return builds.build()


def set_value(builds: StepBuilds, number: int) -> str:
    value = f"value-{number:06}"
    (builds.context / "value").write_text(value + "\n")
    return value


def assert_pruned_clean(builds: StepBuilds) -> None:
    """Prune finds what was left, removes it by its owner's rights alone, and the store is sound."""
    pruned = builds.run("prune", verb="cache")
    assert pruned.returncode == 0, pruned.stderr
    assert [path.name for path in (builds.store / "tmp").iterdir()] == []
    assert faults(builds.store) == []


def assert_no_crash(ended: Finished) -> None:
    # While Python itself is still starting, nothing of ours has run: its traceback is not ours.
    if "Traceback" in ended.stderr:
        assert ended.returncode in (-signal.SIGINT, 1), ended.stderr
        assert "in main" not in ended.stderr, ended.stderr
        assert "KeyboardInterrupt" in ended.stderr, ended.stderr


# --- killed -----------------------------------------------------------------------------------


def kill_one(builds: StepBuilds, right: Facts, seed: int, seconds: float) -> str:
    """One build killed at a random moment, and all checks; tells how it ended."""
    choice = random.Random(seed)
    number = choice.choice(SIGNALS)
    value = set_value(builds, seed)
    process = builds.start()
    time.sleep(choice.random() * seconds)
    process.send_signal(number)
    ended = finish(process, timeout=20)
    assert_no_crash(ended)
    assert builds.strays() == []
    expected = replaced(right, FIRST, value)
    assert builds.build() == expected, f"seed {seed}: {number.name} {ended.returncode}"
    return f"{number.name} {ended.returncode}"


def timed(builds: StepBuilds, number: int) -> float:
    """The seconds of an undisturbed build of a new value."""
    set_value(builds, number)
    begin = time.monotonic()
    assert builds.run().returncode == 0
    return time.monotonic() - begin


def test_killed_at_random_moments(builds: StepBuilds) -> None:
    right = undisturbed(builds)
    seconds = timed(builds, 1)
    for seed in range(100, 102):
        kill_one(builds, right, seed, seconds)
    assert_pruned_clean(builds)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_at_random_moments_very_often(builds: StepBuilds) -> None:
    right = undisturbed(builds)
    seconds = timed(builds, 1)
    counts: dict[str, int] = {}
    for seed in range(int(os.environ.get("WHERRY_SOAK_KILLS", "200"))):
        if seed % 20 == 0:  # bases are unpacked anew, too
            empty(builds)
        ended = kill_one(builds, right, 1000 + seed, seconds * 1.2)
        counts[ended] = counts.get(ended, 0) + 1
    print(counts)
    assert counts.get("SIGKILL -9", 0) > 20, "too few builds were killed while they ran"
    assert_pruned_clean(builds)


def await_sleep(process: subprocess.Popen[str], steps: int, seconds: float = 60) -> None:
    """Wait until so many steps sleep for long."""
    end = time.monotonic() + seconds
    while command_lines(process.pid).count("sleep 1234 ") < steps:
        if process.poll() is not None:
            raise AssertionError(f"it has ended: {finish(process).stderr}")
        assert time.monotonic() < end, "no step sleeps"
        time.sleep(0.02)


def command_lines(ancestor: int) -> list[str]:
    found = []
    for pid in descendants(ancestor):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


# A base that no registry and no further context has to give.
ALONE = """\
FROM scratch AS start
ADD base.tar /
FROM start AS one
RUN cp /etc/passwd /copy && rm /data/removed
RUN --mount=type=cache,target=/cache echo x >>/cache/log; cp /copy /again
FROM start
COPY --from=one /again /copy /
RUN rm -r /data && echo done >/done
"""


def test_every_point_of_a_build_with_run_is_among_those_that_are_killed() -> None:
    """A point that is added to the product must be added here."""
    source = Path(sys.modules["wherry"].__file__ or "").parent
    texts = "".join(path.read_text() for path in source.rglob("*.py"))
    found = {piece.partition('"')[0] for piece in texts.split('trace("')[1:]}
    assert {name for name in found if name.startswith(("snapshot-", "mount-"))} == {*POINTS}


class Alone(NamedTuple):
    """A context that the user of the tests builds, and what it makes of it undisturbed."""

    context: Path
    env: dict[str, str]
    right: Facts


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is missing: the base for RUN cannot be made")
    context = tmp_path_factory.mktemp("context")
    (context / "Dockerfile").write_text(ALONE)
    (context / "base.tar").write_bytes(base_layer(Path(busybox)))
    env = {**os.environ, "TEST_MARKER": uuid.uuid4().hex}
    return Alone(context, env, build_alone(context, tmp_path_factory.mktemp("alone") / "s", env))


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_of_the_store(alone: Alone, tmp_path: Path, point: str) -> None:
    kill_at(alone, tmp_path, point, (signal.SIGKILL,))


@pytest.mark.soak
@pytest.mark.parametrize("occurrence", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_of_the_store_by_every_signal(
    alone: Alone, tmp_path: Path, point: str, occurrence: int
) -> None:
    kill_at(alone, tmp_path, point, {*SIGNALS}, occurrence)


def kill_at(
    alone: Alone,
    tmp_path: Path,
    point: str,
    signals: Iterable[signal.Signals],
    occurrence: int = 1,
) -> None:
    """A build by whoever runs the tests, killed there; the next one is right and leaves nothing."""
    context, env, right = alone
    for number in signals:
        store = tmp_path / f"store-{number}"
        words = [context, store, point, occurrence, int(number)]
        killed = subprocess.run(
            [*DEFAULT_SIGNALS, sys.executable, DRIVER, *map(str, words)],
            cwd=context, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Traceback" not in killed.stderr, killed.stderr
        if "never reached" in killed.stdout:
            assert occurrence > 1, "no build passes this point"
            continue
        codes = (-number,) if number == signal.SIGKILL else (128 + number, 0)
        assert killed.returncode in codes, killed.stderr
        assert gone(env["TEST_MARKER"]) == []
        assert build_alone(context, store, env) == right
        pruned = subprocess.run(
            [*WHERRY, "cache", "prune", "--store", store],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert pruned.returncode == 0, pruned.stderr
        assert list((store / "tmp").iterdir()) == []
        assert faults(store) == []


def gone(marker: str, seconds: float = 3.0) -> list[str]:
    """What is alive after some time; the kernel may take a moment to bury one."""
    end = time.monotonic() + seconds
    while (found := descendants_alive(marker)) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def build_alone(context: Path, store: Path, env: dict[str, str]) -> Facts:
    archive = store.with_suffix(".tar")
    built = subprocess.run(
        [*WHERRY, "build", "--store", store, "-o", f"type=oci,dest={archive}", context],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if built.returncode == 3 and os.geteuid() != 0:
        pytest.skip(f"no RUN for this user here: {built.stderr}")
    assert built.returncode == 0, built.stderr
    return facts(archive)


SLEEPER = """\
FROM start AS slow
RUN echo one >/one
RUN cat /one >/two; cat /proc/sys/kernel/random/uuid >/unique
RUN sleep {seconds}; true
FROM start AS beside
RUN sleep {seconds}; echo beside >/beside
FROM slow
COPY --from=beside /beside /
"""


def test_sigkill_ends_all_steps_and_keeps_what_was_finished(builds: StepBuilds) -> None:
    builds.write(SLEEPER.format(seconds=1234))
    process = builds.start()
    await_sleep(process, 2)
    below = descendants(process.pid)
    assert len(below) > 1, "there should be a worker and steps"
    process.kill()
    finish(process)
    assert builds.strays() == []
    # What was finished is taken as it was: in a later build, and in the one after it.
    builds.write(SLEEPER.format(seconds=0))
    ran = outcomes(builds)
    assert ran["RUN echo one >/one"] == "cached"
    assert ran["RUN cat /one >/two; cat /proc/sys/kernel/random/uuid >/unique"] == "cached"
    assert ran["RUN sleep 0; true"] != "cached"
    assert builds.build()["tree"]["/two"]["content"] == repr("one\n")
    assert_pruned_clean(builds)


def outcomes(builds: StepBuilds) -> dict[str, str]:
    """The outcome of each step of a build, by its instruction."""
    done = builds.run("--progress", "json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    names = {event["id"]: event["name"] for event in events if event["event"] == "step_started"}
    return {
        names[event["id"]].partition("] ")[2]: event["outcome"]
        for event in events
        if event["event"] == "step_ended"
    }


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.soak),
        pytest.param(signal.SIGHUP, marks=pytest.mark.soak),
    ],
)
def test_a_signal_ends_a_build_with_steps_at_once(
    builds: StepBuilds, number: signal.Signals
) -> None:
    builds.write(SLEEPER.format(seconds=1234).replace("RUN sleep", "RUN trap '' TERM INT; sleep"))
    process = builds.start()
    await_sleep(process, 2)
    begin = time.monotonic()
    process.send_signal(number)
    ended = finish(process, timeout=20)
    assert time.monotonic() - begin < 5, "the steps should be killed, not waited for"
    assert ended.returncode == 128 + number
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in ended.stderr
    assert builds.strays() == []
    assert [path.name for path in (builds.store / "tmp").iterdir()] == []


def test_a_failing_step_ends_those_beside_it(builds: StepBuilds) -> None:
    builds.write(SLEEPER.format(seconds=1234).replace("RUN sleep 1234;", "RUN sleep 1; exit 3;", 1))
    begin = time.monotonic()
    ended = builds.run(timeout=60)
    assert time.monotonic() - begin < 30
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "3" in ended.stderr[ended.stderr.index("error: ") :]
    assert builds.strays() == []


def worker_of(process: subprocess.Popen[str]) -> int:
    """The namespace worker: of wherry's own processes below the command, the innermost."""
    program = os.readlink(f"/proc/{process.pid}/exe")
    found = []
    for pid in descendants(process.pid):
        try:
            if os.readlink(f"/proc/{pid}/exe") == program:
                status = Path(f"/proc/{pid}/status").read_text()
                depth = len(status.partition("\nNSpid:")[2].partition("\n")[0].split())
                found.append((depth, pid))
        except OSError:
            continue
    assert found, "there is no worker"
    return max(found)[1]


def test_a_killed_worker_ends_the_build_with_an_error(builds: StepBuilds) -> None:
    builds.write(SLEEPER.format(seconds=1234))
    process = builds.start()
    await_sleep(process, 2)
    os.kill(worker_of(process), signal.SIGKILL)
    ended = finish(process, timeout=20)
    assert ended.returncode in (1, 3), ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("error: ") == 1, ended.stderr
    assert builds.strays() == []
    builds.write(SLEEPER.format(seconds=0))
    assert builds.build()["tree"]["/beside"]["content"] == repr("beside\n")


# --- races ------------------------------------------------------------------------------------


class Running(NamedTuple):
    """A build under way, of a value, to an archive."""

    value: str
    archive: Path
    process: subprocess.Popen[str]


@contextmanager
def ended_at_last(running: list[Running]) -> Iterator[None]:
    """Nothing that the block started outlives it, whatever fails."""
    try:
        yield
    finally:
        for one in running:
            with one.process:
                one.process.kill()


def start_eight(builds: StepBuilds, values: Sequence[str]) -> list[Running]:
    """Builds of the work with each of the values, all at once, each from a context of its own."""
    place = builds.scratch / uuid.uuid4().hex
    running = []
    for number, value in enumerate(values):
        context, archive = place / f"context-{number}", place / f"{number}.tar"
        shutil.copytree(builds.context, context)
        (context / "value").write_text(value + "\n")
        if builds.users:
            os.chown(place, *2 * (builds.users[0][0],))
        process = builds._replace(context=context).start("-o", f"type=oci,dest={archive}")
        running.append(Running(value, archive, process))
    return running


def test_eight_equal_builds_at_once_run_each_step_once(builds: StepBuilds) -> None:
    builds.write(
        "FROM start\n"
        "RUN cat /proc/sys/kernel/random/uuid >/one; sleep 0.5\n"
        "RUN cat /proc/sys/kernel/random/uuid >/two\n"
    )
    running = [builds.start("-q") for _ in range(8)]
    ended = [finish(process) for process in running]
    for one in ended:
        assert one.returncode == 0, one.stderr
    assert len({one.stdout.strip().rpartition("@")[2] for one in ended}) == 1
    assert_pruned_clean(builds)


@pytest.mark.soak
def test_eight_different_builds_at_once(builds: StepBuilds) -> None:
    right = undisturbed(builds)
    empty(builds)
    running = start_eight(builds, [f"value-{number:06}" for number in range(8)])
    with ended_at_last(running):
        for one in running:
            ended = finish(one.process)
            assert ended.returncode == 0, ended.stderr
            assert facts(one.archive) == replaced(right, FIRST, one.value)
    assert_pruned_clean(builds)


@pytest.mark.soak
def test_builds_while_the_store_is_pruned(builds: StepBuilds) -> None:
    right = undisturbed(builds)
    for number in range(2):
        archive = builds.scratch / f"{number}.tar"
        set_value(builds, number)
        process = builds.start("-o", f"type=oci,dest={archive}")
        while process.poll() is None:
            pruned = builds.run("prune", "--all", verb="cache")
            assert pruned.returncode == 0, pruned.stderr
        ended = finish(process)
        assert ended.returncode == 0, ended.stderr
        assert facts(archive) == replaced(right, FIRST, f"value-{number:06}")
    assert_pruned_clean(builds)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_eight_builds_at_once_while_some_are_killed(builds: StepBuilds) -> None:
    right = undisturbed(builds)
    for seed in range(10):
        choice = random.Random(seed)
        values = [f"value-{seed:03}{number % 4:03}" for number in range(8)]
        running = start_eight(builds, values)
        with ended_at_last(running):
            time.sleep(choice.random() * 4)
            for one in running[::2]:
                one.process.send_signal(choice.choice(SIGNALS))
            for number, one in enumerate(running):
                ended = finish(one.process)
                assert_no_crash(ended)
                if number % 2:
                    assert ended.returncode == 0, f"seed {seed}: {ended.stderr}"
                    assert facts(one.archive) == replaced(right, FIRST, one.value)
        assert builds.strays() == [], f"seed {seed}"
    assert_pruned_clean(builds)


# --- disks ------------------------------------------------------------------------------------

# In a mount namespace of its own, the store on a disk of SIZE: a build, then one with room.
FULL_DISK = """\
set -e
mount -t tmpfs -o mode=0777,{limit} none "$WHERRY_STORE"
chown {owner}:{owner} "$WHERRY_STORE"; chmod 0700 "$WHERRY_STORE"
code=0
"$@" -o type=oci,dest={scratch}/first.tar 2>{scratch}/first.log || code=$?
echo $code >{scratch}/first.code
mount -o remount,size=1g,nr_inodes=1m "$WHERRY_STORE"
code=0
"$@" -o type=oci,dest={scratch}/second.tar 2>{scratch}/second.log || code=$?
echo $code >{scratch}/second.code
{prune} >{scratch}/prune.log 2>&1
ls -A "$WHERRY_STORE"/tmp >{scratch}/left
"""

# Each of its steps writes more than the one before.
GROWING = """\
FROM start AS one
RUN head -c 2000000 /dev/urandom >/noise && echo noise >/made
RUN head -c 3000000 /dev/zero >/zeros && rm -r /data
FROM start AS two
RUN --mount=type=cache,target=/cache head -c 1000000 /dev/urandom >/cache/noise; echo two >/two
FROM start
COPY --from=one /made /zeros /
COPY --from=two /two /
RUN cp /zeros /again && head -c 500000 /dev/urandom >/more && rm /more
"""


def fill_disk(builds: StepBuilds, limit: str) -> str:
    """A build on a small disk, then one with room, which must be right; how the first ended."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare (util-linux): no disk of the test's own")
    builds.store.mkdir(exist_ok=True)
    owner = builds.users[0][0] if builds.users else 0
    script = FULL_DISK.format(
        limit=limit, owner=owner, scratch=builds.scratch,
        prune=" ".join(f"'{word}'" for word in builds.command("prune", verb="cache")),
    )  # fmt: skip
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh",
         *builds.command()],
        cwd=builds.runner.home, env=builds.env(), capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = {path.name: path.read_text(errors="replace") for path in builds.scratch.glob("*.*og")}
    first, second = (int((builds.scratch / f"{n}.code").read_text()) for n in ("first", "second"))
    assert second == 0, told["second.log"]
    tree = facts(builds.scratch / "second.tar")["tree"]
    assert tree["/made"]["content"] == repr("noise\n")
    assert tree["/again"]["content"] == tree["/zeros"]["content"]
    assert "3000000 bytes" in tree["/again"]["content"]
    assert "/more" not in tree
    assert tree["/two"]["content"] == repr("two\n")
    assert (builds.scratch / "left").read_text() == "", told["prune.log"]
    assert "Traceback" not in told["first.log"], told["first.log"]
    assert builds.strays() == []
    if first == 0:
        return "whole"
    assert first in (1, 3), told["first.log"]
    # The smallest disks do not hold the store's own files: then it is the first line.
    message = f"\n{told['first.log']}".rpartition("\nerror: ")[2]
    # Where a step met the full disk, its own program says so, each in its way.
    in_step = ("the command failed" in message and "head: " in message) or "cp: " in message
    assert in_step or "space" in message.lower(), told["first.log"]
    return message.splitlines()[0]


def test_a_disk_that_is_full(builds: StepBuilds) -> None:
    builds.write(GROWING)
    assert fill_disk(builds, "size=7000k") != "whole"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_disk_that_is_full_in_each_step(builds: StepBuilds) -> None:
    builds.write(GROWING)
    limits = [f"size={size}k" for size in range(400, 20_000, 600)]
    limits += [f"size=1g,nr_inodes={count}" for count in range(10, 700, 60)]
    ended: dict[str, list[str]] = {}
    for limit in limits:
        ended.setdefault(fill_disk(builds, limit), []).append(limit)
    print(json.dumps(ended, indent=1))
    assert len(ended) > 3, "it always failed in the same place"
    assert "whole" in ended


def test_a_base_layer_that_is_damaged_on_disk_is_found(builds: StepBuilds) -> None:
    """Bytes change as a disk loses them: neither the size nor the time of the file tells."""
    # Without RUN the base is fetched, and nothing of it unpacked.
    builds.write("FROM start\nCOPY value /value\n", value="1\n")
    assert builds.run().returncode == 0
    index = json.loads((builds.layout / "index.json").read_text())
    manifest = json.loads(blob(builds.layout, index["manifests"][0]["digest"]).read_bytes())
    (layer,) = manifest["layers"]
    path = blob(builds.store, layer["digest"])
    assert path.exists(), "the base is not in the store: this test has nothing to damage"
    facts_before = path.stat()
    data = bytearray(path.read_bytes())
    plain = gzip.decompress(data)
    # Another content of one file, packed again and cut or filled to the old size.
    changed = bytearray(gzip.compress(plain.replace(b"base", b"BASE"), 1, mtime=0))
    changed = (changed + bytes(len(data)))[: len(data)]
    assert bytes(changed) != bytes(data)
    with path.open("r+b") as file:
        file.write(changed)
    os.utime(path, ns=(facts_before.st_atime_ns, facts_before.st_mtime_ns))
    builds.write("FROM start\nRUN cp /data/changed /copy\n")
    archive = builds.scratch / "damaged.tar"
    ended = builds.run("-o", f"type=oci,dest={archive}")
    if ended.returncode == 0:  # it may have been fetched again
        assert facts(archive)["tree"]["/copy"]["content"] == repr("base")
    else:
        assert ended.returncode in (1, 3), ended.stderr
        assert "Traceback" not in ended.stderr
        assert layer["digest"].removeprefix("sha256:")[:12] in ended.stderr, ended.stderr
        assert "\nhint: " in ended.stderr
        # Once the damaged blob is away, a build is right again.
        path.unlink()
        again = builds.build()
        assert again["tree"]["/copy"]["content"] == repr("base")


def blob(root: Path, digest: str) -> Path:
    return root / "blobs" / digest.replace(":", "/")
