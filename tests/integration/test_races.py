# SPDX-License-Identifier: Apache-2.0
"""Many builds at once in one store, while others prune it and take names away."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wherry as library
from attacks import WHERRY, assert_nothing_half_written, finish, spawn
from wherry_fixtures import Finished

Module = Callable[..., Path]
Wherry = Callable[..., Finished]
Env = dict[str, str]

NAMES = tuple("abcdefgh")


def program(text: str) -> str:
    return f'package main\n\nfunc main() {{ println("{text}") }}\n'


def digest_of(finished: Finished) -> str:
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    return finished.stdout.strip().rpartition("@")[2]


@pytest.fixture
def commands(module: Module) -> Path:
    """A module with eight programs."""
    return module({f"cmd/{name}/main.go": program(name) for name in NAMES})


@pytest.fixture
def env(go_env: Env, store: Path) -> Env:
    return {**go_env, "WHERRY_STORE": str(store)}


@contextmanager
def beside(env: Env, cwd: Path, *commands: tuple[str, ...]) -> Iterator[list[Finished]]:
    """Run each command again and again in a thread of its own while the block runs."""
    stop = threading.Event()
    ended: list[Finished] = []

    def loop(words: tuple[str, ...]) -> None:
        while not stop.is_set():
            ended.append(
                subprocess.run([*WHERRY, *words], cwd=cwd, env=env, capture_output=True,
                               text=True, check=False)
            )  # fmt: skip
            time.sleep(0.05)

    threads = [threading.Thread(target=loop, args=(words,)) for words in commands]
    for thread in threads:
        thread.start()
    try:
        yield ended
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("no_cache", [False, True], ids=["records", "no-cache"])
def test_the_same_program_many_times_at_once(
    module: Module, env: Env, wherry: Wherry, store: Path, count: int, no_cache: bool
) -> None:
    root = module()
    words = ["build", "-q", *(["--no-cache"] if no_cache else [])]
    running = [spawn(*words, cwd=root, env=env) for _ in range(count)]
    digests = {digest_of(finish(process)) for process in running}
    assert digests == {digest_of(wherry("build", "--store", store.parent / "alone", cwd=root))}
    assert_nothing_half_written(store, tags=["m:latest"])
    again = wherry("build", "--json", cwd=root)
    assert json.loads(again.stdout)["reused"] is True


@pytest.mark.parametrize("count", [2, 8])
def test_different_programs_at_once(
    commands: Path, env: Env, wherry: Wherry, store: Path, count: int
) -> None:
    names = NAMES[:count]
    running = [spawn("build", "-q", f"./cmd/{name}", cwd=commands, env=env) for name in names]
    digests = {name: digest_of(finish(item)) for name, item in zip(names, running, strict=True)}
    assert len(set(digests.values())) == count
    alone = store.parent / "alone"
    for name in names[:2]:
        right = wherry("build", "-q", "--store", alone, f"./cmd/{name}", cwd=commands)
        assert digests[name] == digest_of(right)
    images = json.loads(wherry("images", "--json").stdout)
    assert {image["name"]: image["digest"] for image in images} == {
        f"{name}:latest": digest for name, digest in digests.items()
    }
    assert_nothing_half_written(store, tags=[f"{name}:latest" for name in names])


def test_builds_while_the_store_is_pruned_and_names_are_removed(
    commands: Path, env: Env, wherry: Wherry, store: Path
) -> None:
    right = {}
    for name in NAMES[:4]:
        alone = wherry("build", "-q", "--store", store.parent / "alone", f"./cmd/{name}",
                       cwd=commands)  # fmt: skip
        right[name] = digest_of(alone)
    with beside(env, commands, ("cache", "prune", "--all"), ("rmi", "a"), ("images",)) as ended:
        for _ in range(2):
            running = [
                (name, spawn("build", "-q", f"./cmd/{name}", cwd=commands, env=env))
                for name in NAMES[:4]
            ]
            for name, process in running:
                assert digest_of(finish(process)) == right[name]
    assert {run.args[3] for run in ended} == {"cache", "rmi", "images"}
    for run in ended:
        # A name that is not there (any more) is a mistake of the caller, and nothing else is.
        allowed = (0, 2) if run.args[3] == "rmi" else (0,)
        assert run.returncode in allowed, run.stderr
        assert "Traceback" not in run.stderr
    tags = [f"{name}:latest" for name in NAMES[1:4]]
    assert digest_of(wherry("build", "-q", "./cmd/a", cwd=commands)) == right["a"]
    assert_nothing_half_written(store, tags=["a:latest", *tags])


def test_threads_of_one_process(commands: Path, go_env: Env, store: Path) -> None:
    surroundings = library.Surroundings(cwd=str(commands), env=go_env)
    results: dict[str, library.BuildResult] = {}
    faults: list[BaseException] = []

    def build(key: str, source: str) -> None:
        try:
            results[key] = library.build(
                source, [f"{key}:1"], store=store, surroundings=surroundings
            )
        except BaseException as error:  # noqa: BLE001 - a thread's border, asserted below
            faults.append(error)

    threads = [
        threading.Thread(target=build, args=arguments)
        for arguments in (("x", "./cmd/a"), ("y", "./cmd/a"), ("z", "./cmd/b"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert results["x"].digest == results["y"].digest != results["z"].digest
    assert_nothing_half_written(store, tags=["x:1", "y:1", "z:1"])


def test_a_failing_build_does_not_stop_another_in_the_process(
    module: Module, go_env: Env, store: Path
) -> None:
    """One token for both: a failure must not cancel what else it stands for."""
    from wherry.process.cancel import CancelToken

    good, bad = module(), module({"main.go": "package main\n\nfunc main() { x }\n"}, "bad")
    token = CancelToken()

    def build(root: Path) -> library.BuildResult:
        around = library.Surroundings(cwd=str(root), env=go_env, cancel=token)
        return library.build(".", store=store, surroundings=around)

    with pytest.raises(library.WherryError, match="does not compile"):
        build(bad)
    assert not token.cancelled
    assert build(good).digest.startswith("sha256:")
