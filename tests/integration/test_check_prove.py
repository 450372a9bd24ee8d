# SPDX-License-Identifier: Apache-2.0
"""`wherry check --prove`: what it says of the images before and after, and what it leaves alone.

The programs are never compiled: their sources are copied, which is all that the proofs look at.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from check_bases import tag_small
from step_builds import Finished
from wherry.oci.reference import parse_reference
from wherry.store.store import open_store

HEAD = "FROM alpine:latest\nCOPY go.mod main.go /src/\n"
LISTED = "GO226,GO306"


class Place(NamedTuple):
    """A module `root` with a store that has bases."""

    root: Path
    store: Path
    env: dict[str, str]

    def check(self, *words: str, code: int) -> Finished:
        """Check by two rules alone, unless `words` name others; the exit code is looked at."""
        only = () if "--only" in words else ("--only", LISTED)
        done = subprocess.run(
            [sys.executable, "-m", "wherry", "check", *only, *words], cwd=self.root, check=False,
            env={**self.env, "WHERRY_STORE": str(self.store)}, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def digest(self) -> str:
        """Everything below the root, with modes and times."""
        lines = [
            f"{path} {path.stat().st_mode} {path.stat().st_mtime_ns} "
            f"{hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''}"
            for path in sorted(self.root.rglob("*"))
        ]
        return "\n".join(lines)


@pytest.fixture
def place(tmp_path: Path, go_env: dict[str, str]) -> Callable[..., Place]:
    def make(dockerfile: str, **files: str) -> Place:
        root, store = tmp_path / "app", tmp_path / "store"
        root.mkdir()
        tag_small(store, "alpine:latest", "alpine:3.24")
        (root / "Dockerfile").write_text(dockerfile)
        (root / "go.mod").write_text("module app\n\ngo 1.26\n")
        (root / "main.go").write_text("package main\n\nfunc main() {}\n")
        for name, text in files.items():
            (root / name).write_text(text)
        # The very wherry that is tested here.
        around = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return Place(root, store, {**go_env, **around})

    return make


def test_the_same_image_and_nothing_left_behind(place: Callable[..., Place]) -> None:
    made = place(f"{HEAD}RUN wc -c < /src/main.go > /sum\n")
    with open_store(str(made.store)) as store:
        found = store.images.resolve("alpine:latest")
        assert found is not None
        for name, age in (("wherry-proof:dead", 48 * 3600), ("wherry-proof:other", 60)):
            store.images.tag(parse_reference(name), found, time.time() - age)
    before = made.digest()
    done = made.check("--diff", "--unsafe-fixes", "--prove", code=1)
    assert done.stdout.startswith("--- a/Dockerfile\n")
    told = done.stderr.splitlines()
    assert told[0] == "Dockerfile was built before and after:"
    assert told[1].startswith("  before: ")
    assert " unpacked, rebuilt in " in told[2]
    assert told[3:6] == [
        "  (rebuilt after a change of one line in main.go)",
        "  files: the same",
        "  configuration: the same",
    ]
    assert made.digest() == before
    images = subprocess.run(
        [sys.executable, "-m", "wherry", "images", "--store", str(made.store)], env=made.env,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = sorted(line.split()[0] for line in images.stdout.splitlines()[1:])
    # Another proof may be under way; one that was killed is not.
    assert names == ["alpine:3.24", "alpine:latest", "wherry-proof:other"]


def test_what_differs_is_told_by_size(place: Callable[..., Place]) -> None:
    made = place(f"{HEAD}RUN echo a > /data/changed\nUSER nobody2\n")
    # The release has other files than the newest image.
    tag_small(made.store, "alpine:3.24", more={"opt/new/a": b"x" * 2000, "opt/new/b": b"y"})
    done = made.check("--fix", "--unsafe-fixes", "--prove", "--format", "json", code=0)
    (proof,) = json.loads(done.stdout)["prove"]
    assert proof["path"] == "Dockerfile"
    assert proof["edited"] == "main.go"
    assert proof["same_files"] is False
    assert proof["files"] == [
        {"path": "/opt/", "in": "after", "what": [], "before": None, "after": 2001, "files": 2}
    ]
    assert proof["config"] == [{"instruction": "USER", "before": "nobody2", "after": "65532:65532"}]
    assert proof["after"]["unpacked"] - proof["before"]["unpacked"] == 2001
    assert proof["after"]["rebuild_seconds"] > 0
    mended = (made.root / "Dockerfile").read_text()
    assert mended.startswith("FROM alpine:3.24\n")
    assert mended.endswith("USER 65532:65532\n")


def test_what_did_not_build_before(place: Callable[..., Place]) -> None:
    made = place(HEAD, **{".dockerignore": "go.mod\n"})
    done = made.check(
        "--fix", "--unsafe-fixes", "--prove", "--only", "GO206,GO306", code=0
    )  # fmt: skip
    told = done.stdout.splitlines()
    assert told[1].startswith("  before: it does not build: in line 2: ")
    assert "go.mod" in told[1]
    assert told[2].startswith("  after:  ")
    assert told[3] == "  (rebuilt after a change of one line in main.go)"
    assert len(told) == 4
    assert (made.root / ".dockerignore").read_text() == "go.mod\n!go.mod\n"


def test_what_does_not_build_afterwards_is_not_written(place: Callable[..., Place]) -> None:
    made = place(f"{HEAD}RUN test -e /data/kept\nUSER nobody2\n")
    tag_small(made.store, "alpine:3.24", without="data/kept")
    before = made.digest()
    done = made.check("--fix", "--unsafe-fixes", "--prove", code=1)
    assert done.stdout == ""
    assert "Dockerfile does not build once it is mended; nothing was written" in done.stderr
    assert "\nin line 3 of the mended text: " in done.stderr
    assert "hint: leave these fixes out: --ignore GO306" in done.stderr
    assert made.digest() == before


def test_what_builds_neither_way(place: Callable[..., Place]) -> None:
    made = place(f"{HEAD}RUN echo 'no, no' && false\n")
    before = made.digest()
    done = made.check("--fix", "--unsafe-fixes", "--prove", code=1)
    assert done.stderr.startswith(
        "error: Dockerfile:3: Dockerfile builds neither as it is nor mended; nothing was written\n"
        "the command failed with exit code 1: no, no\n"
    )
    assert made.digest() == before


def test_without_go_nothing_is_rebuilt(place: Callable[..., Place]) -> None:
    made = place(HEAD.replace(" main.go", ""))
    (made.root / "main.go").unlink()
    done = made.check("--fix", "--unsafe-fixes", "--prove", code=0)
    assert "  no rebuild was timed: no Go file of the program can be told" in done.stdout


def test_what_is_not_mended_is_not_built(place: Callable[..., Place]) -> None:
    made = place("FROM alpine:3.24\nRUN false\n")
    done = made.check("--fix", "--unsafe-fixes", "--prove", "--format", "json", code=0)
    assert json.loads(done.stdout)["prove"] == []


def test_a_base_that_cannot_be_had(place: Callable[..., Place]) -> None:
    made = place("FROM alpine:latest AS a\nFROM no-such-host.invalid/b:1\nCOPY --from=a /etc /\n")
    before = made.digest()
    done = made.check("--fix", "--unsafe-fixes", "--prove", code=4)
    assert done.stderr.startswith("error: Dockerfile:2: ")
    assert made.digest() == before
