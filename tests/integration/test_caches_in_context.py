# SPDX-License-Identifier: Apache-2.0
"""Cache directories in a build context: no image holds them, and no build changes because of them.

Where nothing of a cache lies in the context, the caches that a build names change nothing at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerfile_builds import layer_files
from travelling_builds import Done
from wherry.api.building import build_images
from wherry.api.request import BuildRequest
from wherry.errors import BuildError
from wherry.events import Event, StepStarted
from wherry.process.cancel import CancelToken
from wherry.process.clock import RACY_NS, file_clock_ns, next_file_clock_ns

CACHES = {"cache_from": ("./go-cache",), "cache_to": ("./go-cache",)}
Build = Callable[..., Done]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "app"
    place.mkdir()
    (place / "Dockerfile").write_text(
        "FROM scratch AS all\nCOPY . .\nFROM scratch\nCOPY --from=all . .\n"
    )
    (place / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
    (place / "main.txt").write_text("first\n")
    return place


@pytest.fixture
def build(tmp_path: Path, context: Path) -> Build:
    """Builds the context in a store below `tmp_path`."""
    (tmp_path / "home").mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}

    def run(store: str = "store", **asked: object) -> Done:
        next_file_clock_ns()
        events: list[Event] = []
        request = BuildRequest(".", str(context), env, str(tmp_path / store))
        outcome = build_images(request._replace(**asked), events.append, CancelToken())  # type: ignore[arg-type]
        return Done(outcome, events)

    return run


def image_files(done: Done, store: Path) -> list[str]:
    """The files of the image, which has to be in the store."""
    blobs = store / "blobs" / "sha256"
    manifest = json.loads((blobs / done.image.digest.removeprefix("sha256:")).read_bytes())
    found: set[str] = set()
    for layer in manifest["layers"]:
        found |= set(layer_files((blobs / layer["digest"].removeprefix("sha256:")).read_bytes()))
    return sorted(found)


def steps(done: Done) -> list[str]:
    return [event.name for event in done.events if isinstance(event, StepStarted)]


def settle(*places: Path) -> None:
    """Wait until a later change of what lies there would show in its status."""
    latest = max(path.stat().st_ctime_ns for place in places for path in (place, *place.rglob("*")))
    while file_clock_ns() - RACY_NS <= latest:
        next_file_clock_ns()


def test_a_cache_in_the_context_is_not_part_of_it(
    tmp_path: Path, context: Path, build: Build
) -> None:
    alone = build("other")
    first = build(**CACHES)
    held = {path.name for path in (context / "go-cache").rglob("*")}
    assert "index.json" in held
    assert first.image.digest == alone.image.digest
    assert image_files(first, tmp_path / "store") == ["main.txt"]
    second = build(**CACHES)
    assert second.ran == [] and second.image.reused
    assert {path.name for path in (context / "go-cache").rglob("*")} == held
    fresh = build("fresh", **CACHES)
    assert fresh.ran == [] and fresh.image.reused
    assert fresh.image.digest == alone.image.digest


def test_every_way_to_name_a_directory_counts(tmp_path: Path, context: Path, build: Build) -> None:
    (context / ".dockerignore").write_text("*\n!main.txt\n!a\n!b*\n!c/here/x\n!d\n!linked\n")
    names = ("a", "b [!]*?", "c/here", "d", "real")
    for name in names:
        (context / name).mkdir(parents=True)
        (context / name / "x").write_text("x")
        (context / name / "index.json").write_text("{}")
    (context / "linked").symlink_to("real")
    (context / "wherry.toml").write_text('[cache]\nto = ["./d"]\n')
    done = build(
        cache_from=("type=wherry,src=a", str(context / "b [!]*?")),
        cache_to=("type=wherry,dest=./c/../c/here,mode=min", str(context / "linked")),
    )
    # What is no sound cache stays as it was.
    assert all((context / name / "x").read_text() == "x" for name in names)
    assert image_files(done, tmp_path / "store") == ["linked", "main.txt"]


def test_sources_that_are_named_by_mistake_are_built_from(
    tmp_path: Path, context: Path, build: Build
) -> None:
    (context / "src").mkdir()
    (context / "src/main.go").write_text("package main\n")
    done = build(cache_from=("./src",), cache_to=("./src",))
    assert image_files(done, tmp_path / "store") == ["main.txt", "src", "src/main.go"]


def test_a_cache_in_a_further_context_is_not_part_of_it(
    tmp_path: Path, context: Path, build: Build
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY --from=data . /data/\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "kept").write_text("k")
    caches = {"cache_from": ("../data/cache",), "cache_to": ("../data/cache",)}
    first = build(build_contexts=(("data", "../data"),), **caches)
    second = build(build_contexts=(("data", "../data"),), **caches)
    assert (data / "cache" / "index.json").is_file()
    assert image_files(second, tmp_path / "store") == ["data", "data/kept"]
    assert second.ran == [] and second.image.digest == first.image.digest


def test_a_cache_beside_or_around_the_context_hides_nothing(
    tmp_path: Path, context: Path, build: Build
) -> None:
    (context / "cache").write_text("a file")
    for place in (context, tmp_path, tmp_path / "cache", tmp_path / "ap"):
        done = build("of-" + place.name, cache_from=(str(place),))
        assert image_files(done, tmp_path / f"of-{place.name}") == ["cache", "main.txt"]


def test_a_record_answers_whatever_caches_are_named(context: Path, build: Build) -> None:
    settle(context)
    first = build()
    for caches in ((), ("./none",), ("../none",)):
        done = build(cache_from=caches)
        # Not one step was looked up: the record of the first build is what answered.
        assert done.image.reused and not steps(done), caches
        assert done.image.digest == first.image.digest


def test_a_record_does_not_answer_for_another_context(
    tmp_path: Path, context: Path, build: Build
) -> None:
    build(**CACHES)
    settle(context)
    hidden = build(cache_from=("./go-cache",))
    assert image_files(hidden, tmp_path / "store") == ["main.txt"]
    # Without the flag it is a directory as any other.
    shown = build()
    assert "go-cache/index.json" in image_files(shown, tmp_path / "store")
    settle(context)
    assert build().image.digest == shown.image.digest
    assert build(cache_from=("./go-cache",)).image.digest == hidden.image.digest


def test_who_copies_the_cache_is_told_why_it_is_not_there(context: Path, build: Build) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY go-cache /\n")
    (context / "go-cache").mkdir()
    with pytest.raises(BuildError) as caught:
        build(**CACHES)
    assert "/go-cache is not there to be copied" in str(caught.value)
    told = "/go-cache is a cache of this build, which leaves it out"
    assert caught.value.why.endswith(told)
    assert caught.value.hint == ""
