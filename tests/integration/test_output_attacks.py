# SPDX-License-Identifier: Apache-2.0
"""Outputs under attack: readers that stall or go, pipes nobody reads, kills at any moment.

An output is whole or as it was before; a signal ends the wait for any other side; what a killed
export leaves harms no later one.
"""

import hashlib
import io
import os
import random
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from attacks import descendants_alive, finish, spawn
from wherry_fixtures import Finished

Wherry = Callable[..., Finished]
BUILD = ("build", "--base", "scratch", ".")
# Larger than any pipe.
PAYLOAD = random.Random(7).randbytes(3 << 20)


@pytest.fixture
def built(
    module: Callable[..., Path], go_env: dict[str, str], store: Path, wherry: Wherry
) -> tuple[Path, dict[str, str]]:
    """A module whose image is in the store, and an environment that is known by a mark."""
    main = "package main\n\nfunc main() { println(1) }\n"
    root = module({"main.go": main, "kodata/large": PAYLOAD})
    env = {**go_env, "WHERRY_STORE": str(store), "ATTACK": str(root)}
    done = wherry(*BUILD, cwd=root, env=env)
    assert done.returncode == 0, done.stderr
    return root, env


def wait_until_ready(process: "subprocess.Popen[str]") -> None:
    """Wait until signals are listened to, which a thread of its own does, and a while longer."""
    end = time.monotonic() + 60
    while len(os.listdir(f"/proc/{process.pid}/task")) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1)
    assert process.poll() is None


def interrupted_in(process: "subprocess.Popen[str]", number: int) -> Finished:
    """What came of it once the signal was sent; in time."""
    began = time.monotonic()
    process.send_signal(number)
    done = finish(process, 20)
    assert time.monotonic() - began < 15
    assert done.returncode == 128 + number, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("form", "number"),
    [
        ("-o type=oci,dest=pipe", signal.SIGINT),
        ("--iidfile pipe", signal.SIGTERM),
        ("--metadata-file pipe", signal.SIGINT),
    ],
)
def test_a_pipe_that_nobody_reads_is_waited_for_until_a_signal(
    built: tuple[Path, dict[str, str]], form: str, number: int
) -> None:
    root, env = built
    os.mkfifo(root / "pipe")
    process = spawn(*BUILD, *form.split(), cwd=root, env=env)
    wait_until_ready(process)
    interrupted_in(process, number)
    assert not descendants_alive(str(root))


@pytest.mark.parametrize("form", ["type=oci,dest=-", "type=docker,dest=/dev/stdout"])
def test_a_reader_that_stalls_does_not_hold_a_signal_up(
    built: tuple[Path, dict[str, str]], form: str
) -> None:
    root, env = built
    reading, writing = os.pipe()
    try:
        process = spawn(*BUILD, "-o", form, cwd=root, env=env, stdout=writing)
        os.close(writing)
        assert os.read(reading, 512)
        wait_until_ready(process)
        interrupted_in(process, signal.SIGINT)
    finally:
        os.close(reading)


@pytest.mark.parametrize("form", ["type=tar", "type=docker,dest=/dev/stdout"])
def test_a_reader_that_goes_after_some_bytes(built: tuple[Path, dict[str, str]], form: str) -> None:
    root, env = built
    reading, writing = os.pipe()
    process = spawn(*BUILD, "-o", form, cwd=root, env=env, stdout=writing)
    os.close(writing)
    os.read(reading, 100)
    os.close(reading)
    done = finish(process)
    assert done.returncode == 3, done.stderr
    assert "Broken pipe" in done.stderr
    assert "Traceback" not in done.stderr


def test_pipes_and_what_shells_call_files_carry_a_whole_archive(
    built: tuple[Path, dict[str, str]],
) -> None:
    root, env = built
    os.mkfifo(root / "pipe")
    found: dict[str, bytes] = {}

    def read() -> None:
        found["pipe"] = (root / "pipe").read_bytes()

    reader = threading.Thread(target=read)
    reader.start()
    reading, writing = os.pipe()
    process = spawn(
        *BUILD, "-o", "type=oci,dest=pipe", "-o", f"type=docker,dest=/dev/fd/{writing}",
        cwd=root, env=env, pass_fds=(writing,),
    )  # fmt: skip
    os.close(writing)
    with open(reading, "rb") as file:
        found["fd"] = file.read()
    assert finish(process).returncode == 0
    reader.join(20)
    for data in found.values():
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            assert "index.json" in archive.getnames()


def state(directory: Path) -> dict[str, object]:
    """What lies below, hidden files too: kinds, modes, contents."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink() or path.is_dir():
            found[name] = (path.lstat().st_mode, os.readlink(path) if path.is_symlink() else "")
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = (path.lstat().st_mode, content)
    return found


def seen(found: dict[str, object]) -> dict[str, object]:
    """What is not hidden."""
    return {name: value for name, value in found.items() if not name.startswith(("out/.", "."))}


KINDS = {
    "local": ("-o", "type=local,dest={}"),
    "tar": ("-o", "type=tar,dest={}"),
    "oci": ("-o", "type=oci,dest={}"),
    "layout": ("-o", "type=oci,tar=false,dest={}"),
    "docker": ("-o", "type=docker,dest={}"),
    "metadata": ("--metadata-file", "{}"),
    "iidfile": ("--iidfile", "{}"),
}


class Killing:
    """Outputs of one kind, killed."""

    def __init__(self, kind: str, built: tuple[Path, dict[str, str]], place: Path) -> None:
        self._root, self._env = built
        self._place = place
        place.mkdir()
        self._words = tuple(word.format(place / "out") for word in KINDS[kind])
        self._is_layout = kind == "layout"
        self._change(1)
        self.seconds = self._whole()
        self._first = state(place)
        self._change(2)
        self._whole()
        self._second = state(place)

    def _change(self, number: int) -> None:
        text = f"package main\n\nfunc main() {{ println({number}) }}\n"
        (self._root / "main.go").write_text(text)

    def _whole(self) -> float:
        began = time.monotonic()
        done = finish(spawn(*BUILD, *self._words, cwd=self._root, env=self._env))
        assert done.returncode == 0, done.stderr
        return time.monotonic() - began

    def kill(self, number: int, delay: float) -> None:
        """End an output over an older one after `delay` seconds; then look at what there is."""
        self._change(1)
        self._whole()
        self._change(2)
        process = spawn(*BUILD, *self._words, cwd=self._root, env=self._env)
        time.sleep(delay)
        process.send_signal(number)
        finish(process)
        found = state(self._place)
        if self._is_layout:
            self._check_layout(found)
        else:
            assert seen(found) in (self._first, self._second)
        if number != signal.SIGKILL:
            assert found == seen(found)
        self._whole()
        after = state(self._place)
        if self._is_layout:
            assert after["out/index.json"] == self._second["out/index.json"]
            assert after.keys() == self._second.keys()
        else:
            assert after == self._second

    def _check_layout(self, found: dict[str, object]) -> None:
        # Blobs of the newer image may be there before the index names them.
        assert found["out/index.json"] in (
            self._first["out/index.json"],
            self._second["out/index.json"],
        )
        assert self._first.keys() <= found.keys() <= self._second.keys()
        for name, value in seen(found).items():
            assert value == self._second[name] or name == "out/index.json"


# One of each way to write: a tree, a layout, a file.
WAYS = ("local", "layout", "oci")


@pytest.mark.parametrize("kind", WAYS)
def test_an_output_is_killed(built: tuple[Path, dict[str, str]], tmp_path: Path, kind: str) -> None:
    killing = Killing(kind, built, tmp_path / "place")
    # Where outputs are written: at the end of a build.
    killing.kill(signal.SIGKILL, killing.seconds * 0.8)
    killing.kill(signal.SIGINT, killing.seconds * 0.7)


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", KINDS)
def test_an_output_is_killed_very_often(
    built: tuple[Path, dict[str, str]], tmp_path: Path, kind: str, number: int
) -> None:
    killing = Killing(kind, built, tmp_path / "place")
    moments = random.Random(kind)
    for _ in range(30):
        killing.kill(number, moments.uniform(0.05, killing.seconds))


@pytest.mark.parametrize(
    "kind", [kind if kind in WAYS else pytest.param(kind, marks=pytest.mark.soak) for kind in KINDS]
)
def test_many_builds_write_one_output_at_once(
    built: tuple[Path, dict[str, str]], tmp_path: Path, kind: str
) -> None:
    root, env = built
    place = tmp_path / "place"
    place.mkdir()
    words = tuple(word.format(place / "out") for word in KINDS[kind])
    processes = [spawn(*BUILD, *words, cwd=root, env=env) for _ in range(3)]
    for process in processes:
        done = finish(process)
        assert done.returncode == 0, done.stderr
    alone = tmp_path / "alone"
    alone.mkdir()
    done = finish(
        spawn(*BUILD, *(word.format(alone / "out") for word in KINDS[kind]), cwd=root, env=env)
    )
    assert done.returncode == 0, done.stderr
    assert state(place) == state(alone)
