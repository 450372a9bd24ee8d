# SPDX-License-Identifier: Apache-2.0
"""`examples/movies/Dockerfile.broken`: all its errors are found and mended, and its image runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from check_bases import tag_go, tag_small
from wherry.advice.reading.base_ends import GO_RELEASES

MOVIES = Path(__file__).parents[2] / "examples" / "movies"
MACHINE_LACKS = 3
IGNORED = "*.log\ngo.mod\n"
# What people did wrong, by the words that the findings point at.
ERRORS = {
    ("GO306", "golang:latest"), ("GO306", "alpine:latest"), ("GO001", "COPY . ."),
    ("GO207", "COPY . ."), ("GO227", "EXPOSE 8000"), ("GO226", "nonroot"), ("GO221", "/app/server"),
}  # fmt: skip

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


class Place(NamedTuple):
    """A copy of the example in a repository of git, and a store with its bases."""

    root: Path
    env: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wherry", *words], cwd=self.root, env=self.env, check=False,
            capture_output=True, text=True, timeout=280,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, go_caches: dict[str, str]) -> Place:
    work = tmp_path_factory.mktemp("broken")
    root, store = work / "movies", work / "store"
    shutil.copytree(MOVIES, root)
    wanted = ("PATH", "GOPROXY", "PYTHONPATH")
    kept = {name: os.environ[name] for name in wanted if name in os.environ}
    home = {"HOME": str(work), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    env = {**kept, **home, **go_caches, "WHERRY_STORE": str(store)}
    subprocess.run(("git", "init", "-q"), cwd=root, env=env, check=True)
    release = f"golang:{GO_RELEASES[-1]}"
    tag_go(store, "golang:1.26", release, "golang:latest", modules=_modules(work, root, env))
    tag_small(store, "alpine:3.24", "alpine:latest", "gcr.io/distroless/static-debian13:nonroot")
    return Place(root, env)


def _modules(work: Path, root: Path, env: dict[str, str]) -> Path:
    """What the example requires, as a GOPROXY has it."""
    path = Path("github.com/gorilla/mux")
    here = Path(env["GOMODCACHE"]) / "cache" / "download" / path
    if not here.is_dir():
        done = subprocess.run(("go", "mod", "download"), cwd=root, env=env, check=False)
        if done.returncode:
            pytest.skip("the Go module proxy cannot be reached")
    shutil.copytree(here, work / "modules" / path)
    return work / "modules"


@needs_git
def test_all_errors_are_found_and_mended_and_the_image_runs(place: Place, tmp_path: Path) -> None:
    broken = as_people_make_it(place)
    lines = broken.read_text().splitlines()
    found = json.loads(place.run("check", broken.name, "--format", "json").stdout)
    (report,) = found["files"]
    words = {
        (item["rule"], lines[item["line"] - 1][item["column"] - 1 : item["end_column"] - 1])
        for item in report["findings"]
    }
    assert words >= ERRORS
    assert all(item["fix"] for item in report["findings"])

    # The proof by builds is another test: it compiles all of net/http more often.
    done = place.run("check", "--fix", "--unsafe-fixes", broken.name)
    assert done.returncode == 0, done.stderr
    assert place.run("check", broken.name).stdout == ""
    assert (place.root / ".gitignore").read_text() == f"{IGNORED}!/go.mod\n"
    answers(place, broken.name, tmp_path)


@needs_git
@pytest.mark.soak
def test_the_proof_says_what_the_image_gets(place: Place) -> None:
    broken = as_people_make_it(place)
    fix = ("check", "--fix", "--unsafe-fixes", "--prove", "--format", "json", broken.name)
    done = place.run(*fix)
    assert done.returncode == 0, done.stderr
    (proof,) = json.loads(done.stdout)["prove"]
    assert {item["path"] for item in proof["files"]} == {"/app/movies"}
    assert {(item["instruction"], item["after"]) for item in proof["config"]} == {
        ("USER", "65532:65532"), ("CMD", '["/app/movies"]'), ("EXPOSE", "8000/tcp")
    }  # fmt: skip
    assert proof["after"]["size"] < proof["before"]["size"]


def as_people_make_it(place: Place) -> Path:
    # The example itself has to stay in git.
    (place.root / ".gitignore").write_text(IGNORED)
    broken = place.root / "Dockerfile.broken"
    broken.write_text((MOVIES / broken.name).read_text())
    return broken


def test_a_single_stage_is_split_and_the_image_runs(place: Place, tmp_path: Path) -> None:
    single = place.root / "Dockerfile.single"
    done = place.run("check", "--fix", "--unsafe-fixes", "--stage-split", single.name)
    assert done.returncode == 0, done.stderr
    text = single.read_text()
    assert text.count("\nFROM ") == 2
    assert "\nCOPY --from=build /usr/local/bin/movies /usr/local/bin/movies\n" in text
    # Only a digest would pin the new base.
    left = place.run("check", "--ignore", "GO207,GO306", single.name)
    assert (left.returncode, left.stdout) == (0, "")
    answers(place, single.name, tmp_path)


def answers(place: Place, dockerfile: str, tmp_path: Path) -> None:
    """Build, start, and ask for the movies."""
    done = place.run("build", "--quiet", "-f", dockerfile, "-t", "fixed", ".")
    assert done.returncode == 0, done.stderr
    with started(place, tmp_path / "log") as url:
        # No proxy of the machine's for what runs on loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/movies", timeout=20) as answer:
            assert len(json.load(answer)) == 3


@contextmanager
def started(place: Place, log: Path) -> Iterator[str]:
    argv = [sys.executable, "-m", "wherry", "run", "-e", "PORT=0", "--read-only", "fixed"]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(argv, env=place.env, stdin=subprocess.DEVNULL, stderr=stderr) as server,
    ):
        try:
            deadline = time.monotonic() + 30
            match = None
            while match is None and time.monotonic() < deadline and server.poll() is None:
                time.sleep(0.02)
                match = re.search(r"listening on \S*:(\d+)", log.read_text())
            if server.poll() == MACHINE_LACKS:
                pytest.skip(f"wherry run: {log.read_text().strip().splitlines()[0]}")
            assert match is not None, log.read_text()
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            server.kill()
