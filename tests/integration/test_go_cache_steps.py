# SPDX-License-Identifier: Apache-2.0
"""Go caches of RUN steps, with a `go` that is a script: what later builds find, and what not.

The script writes entries as the compiler leaves them; modules are copied to where Go puts them.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from step_builds import StepBuilds, finish
from travelling_mounts import make_machines
from wherry.fstree.removal import remove_tree
from wherry.golang.go_sum import hash_files

CACHE = "/root/.cache/go-build"
MODULE = "example.com/m@v1.0.0"
DOWNLOAD = "cache/download/example.com/m/@v/v1.0.0"
# go put KEY: an entry of its own for each key. go has KEY: yes or no. go run X COMMAND: that, with
# the cache's place in $cache (a step that names it itself has none).
GO = r"""#!/bin/sh
cache=${GOCACHE:-$HOME/.cache/go-build}
mods=$GOPATH/pkg/mod
id=$(printf %s "$2" | sha256sum | cut -c1-64)
case $1 in
put)
  body="go object linux amd64 go1.26.8 $2"
  head=$(printf '%-16s%-12s%-6s%-6s%-8s%-10s`' __.PKGDEF 0 0 0 644 ${#body})
  printf '!<arch>\n%s\n%s' "$head" "$body" > /tmp/out
  out=$(sha256sum < /tmp/out | cut -c1-64)
  mkdir -p "$cache/$(printf %.2s $out)" "$cache/$(printf %.2s $id)"
  size=$(wc -c < /tmp/out)
  mv /tmp/out "$cache/$(printf %.2s $out)/$out-d"
  printf 'v1 %s %s %20d %20d\n' $id $out $size 1 > "$cache/$(printf %.2s $id)/$id-a"
  ;;
run) eval "$3" ;;
fetch)
  if [ -f "$mods/example.com/m@v1.0.0/a.go" ]; then echo had; else
    mkdir -p "$mods"; cp -a /mod/. "$mods/"; echo fetched
  fi
  ;;
use) cat "$mods/example.com/m@v1.0.0/a.go" ;;
link) ln -s "$mods" "$3" ;;
has) test -f "$cache/$(printf %.2s $id)/$id-a" && echo yes || echo no ;;
esac
"""
BUILDER = "FROM start AS b\nCOPY --chmod=755 go /usr/local/bin/go\n"
IMAGE = "FROM scratch\nCOPY --from=b /said /said\n"


@pytest.fixture(scope="module", params=["root", "ranges"])
def module_builds(request: pytest.FixtureRequest) -> Iterator[StepBuilds]:
    with make_machines(request.param) as made:
        yield made.builds


@pytest.fixture
def builds(module_builds: StepBuilds, request: pytest.FixtureRequest) -> StepBuilds:
    """Each test has a key of its own: the caches are one store's."""
    shutil.rmtree(module_builds.context / "mod", ignore_errors=True)
    (module_builds.context / "sums").unlink(missing_ok=True)
    module_builds.write("", go=GO.replace("$2", f"{request.node.name} $2"))
    return module_builds


def said(builds: StepBuilds, steps: str, *words: str, version: int = 1) -> tuple[str, str]:
    """What the steps left in /said, and what the build told."""
    text = steps if "ARG V" in steps else f"ARG V\n{steps}"
    builds.write(BUILDER + text + IMAGE)
    archive = builds.scratch / f"{os.urandom(8).hex()}.tar"
    told = builds.run(
        "-o", f"type=tar,dest={archive}", "--build-arg", f"V={version}", *words
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    with tarfile.open(archive) as found:
        file = found.extractfile("said")
        assert file is not None
        return file.read().decode().strip(), told.stderr


LOOK = "RUN echo $V; go has x > /said; go put x\n"


def test_the_next_build_finds_what_the_last_one_left(builds: StepBuilds) -> None:
    assert said(builds, LOOK)[0] == "no"
    text, told = said(builds, LOOK, version=2)
    assert text == "yes"
    assert "(with Go caches)" in told


def test_without_them_each_step_begins_with_nothing(builds: StepBuilds) -> None:
    assert said(builds, LOOK)[0] == "no"
    text, told = said(builds, LOOK, "--go-cache=off", version=2)
    assert text == "no"
    assert "Go caches" not in told
    assert said(builds, LOOK, version=3)[0] == "yes"


def test_the_image_holds_all_that_its_steps_left(builds: StepBuilds) -> None:
    steps = f"ARG V\n{LOOK}RUN go run x 'ls $cache | wc -l' >> /said\n"
    builds.write(BUILDER + steps)
    for version in (1, 2):
        archive = builds.scratch / "whole.tar"
        words = ("-o", f"type=tar,dest={archive}", "--build-arg", f"V={version}")
        told = builds.run(*words)
        assert told.returncode == 0, told.stderr
        assert "(no Go caches: the image is made of this stage)" in told.stderr
        with tarfile.open(archive) as found:
            file = found.extractfile("said")
            assert file is not None
            assert file.read().split()[0] == b"no"
            assert sum(name.endswith("-a") for name in found.getnames()) == 1


def test_what_is_removed_is_removed_for_the_stage_alone(builds: StepBuilds) -> None:
    said(builds, LOOK)
    steps = (
        "RUN echo $V; go run x 'rm -rf $cache'\n"
        "RUN go run x 'ls -d $cache' 2>/dev/null >/said; go has x >>/said\n"
    )
    assert said(builds, steps, version=2)[0] == "no"
    assert said(builds, LOOK, version=3)[0] == "yes"


def test_what_a_step_leaves_there_the_next_one_finds(builds: StepBuilds) -> None:
    steps = (
        "RUN go put x; go run x 'echo other > $cache/README'; echo $V\n"
        "RUN go has x > /said; go run x 'cat $cache/README' >> /said; go put y\n"
        "RUN go has y >> /said; echo $V\n"
    )
    for version in (1, 2):
        assert said(builds, steps, version=version)[0].split() == ["yes", "other", "yes"]


def test_garbage_reaches_nobody_else(builds: StepBuilds) -> None:
    said(builds, LOOK)
    steps = (
        "RUN echo $V; go put bad; go put x; "
        "go run x 'for i in $cache/*/*; do echo rubbish > $i; done'\n"
        "RUN go run x 'cat $cache/*/*-a' | head -n 1 > /said\n"
    )
    assert said(builds, steps, version=2)[0] == "rubbish"
    steps = (
        "RUN echo $V; go has x > /said; go has bad >> /said; "
        "go run x 'cat $cache/*/*' | grep -c rubbish >> /said; true\n"
    )
    assert said(builds, steps, version=3)[0].split() == ["yes", "no", "0"]


def test_another_owner_or_mode_is_the_stages_alone(builds: StepBuilds) -> None:
    said(builds, LOOK)
    steps = (
        "RUN echo $V; go run x 'chown -R 1000:1000 $cache; chmod -R a+rwx $cache'\n"
        "RUN go run x 'stat -c \"%u %a\" $cache/*/*-a' | sort -u > /said\n"
    )
    assert said(builds, steps, version=2)[0] == "1000 777"
    steps = "RUN echo $V; go run x 'stat -c \"%u %a\" $cache/*/*-a' | sort -u > /said\n"
    assert said(builds, steps, version=3)[0] == "0 644"


def test_a_preloaded_cache_is_the_images_own(builds: StepBuilds) -> None:
    said(builds, LOOK)
    steps = f"COPY go {CACHE}/own\nRUN echo $V; go has x > /said; go run x 'ls $cache' >> /said\n"
    text, told = said(builds, steps, version=2)
    assert text.split() == ["no", "own"]
    assert f"but not all: the image has files in {CACHE}" in told


def test_a_user_has_a_build_cache_of_its_own(builds: StepBuilds) -> None:
    said(builds, LOOK)
    steps = "RUN mkdir -p /home/app; chown app /home/app; touch /said; chmod 666 /said\nUSER app\n"
    steps += "RUN echo $V; go has x > /said; go put x; go run x 'stat -c %u $cache/..' >> /said\n"
    assert said(builds, steps, version=2)[0].split() == ["no", "1000"]
    assert said(builds, steps, version=3)[0].split() == ["yes", "1000"]


def test_settings_that_move_a_cache(builds: StepBuilds) -> None:
    steps = (
        "RUN mkdir -p /root/.config/go; echo GOPATH=/elsewhere > /root/.config/go/env\n"
        "RUN echo $V; go has x > /said; go put x\n"
    )
    assert said(builds, steps)[0] == "no"
    text, told = said(builds, steps, version=2)
    assert text == "no"
    assert "/root/.config/go/env changes Go's settings" in told


def test_a_step_that_names_a_cache_has_none(builds: StepBuilds) -> None:
    said(builds, LOOK)
    steps = "RUN echo $V; mkdir -p /root/.cache; go has x > /said; ls -A /root/.cache >> /said\n"
    text, told = said(builds, steps, version=2)
    assert text == "no"
    assert "a step of this stage says" in told


def test_a_root_without_go_is_told_nothing(builds: StepBuilds) -> None:
    builds.write("FROM start AS b\nRUN touch /said\n" + IMAGE)
    told = builds.run()
    assert told.returncode == 0, told.stderr
    assert "Go caches" not in told.stderr


def write_module(builds: StepBuilds) -> None:
    """A module cache with one module, in the context."""
    files = {"go.mod": b"module example.com/m\n", "a.go": b"package a\n"}
    top = builds.context / "mod"
    data = io.BytesIO()
    (top / MODULE).mkdir(parents=True)
    (top / DOWNLOAD).parent.mkdir(parents=True)
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{MODULE}/{name}", content)
            (top / MODULE / name).write_bytes(content)
            (top / MODULE / name).chmod(0o444)
    (top / MODULE).chmod(0o555)
    digests = [
        (f"{MODULE}/{name}", hashlib.sha256(text).hexdigest()) for name, text in files.items()
    ]
    h1 = hash_files(digests)
    (builds.context / "sums").write_text(f"example.com/m v1.0.0 {h1}\n")
    for ending, text in (
        ("zip", data.getvalue()),
        ("mod", files["go.mod"]),
        ("info", b'{"Version":"v1.0.0"}'),
        ("ziphash", h1.encode()),
    ):
        (top / f"{DOWNLOAD}.{ending}").write_bytes(text)


FETCH = (
    "ENV GOPATH=/go\nWORKDIR /w\nCOPY sum[s] ./go.sum\nCOPY mod /mod\nARG F\n"
    "RUN echo $F; go fetch >> /said\n"
)
USE = "ARG V\nRUN echo $V; go use >> /said\n"


def test_modules_are_found_by_later_steps_and_builds(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    assert said(builds, FETCH + USE)[0].split() == ["fetched", "package", "a"]
    assert said(builds, FETCH + USE, version=2)[0].split() == ["fetched", "package", "a"]
    text, _ = said(builds, FETCH + USE, "--build-arg", "F=2", version=3)
    assert text.split() == ["had", "package", "a"]


def test_a_module_that_go_sum_does_not_name_is_not_there(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    said(builds, FETCH + USE)
    sums = builds.context / "sums"
    for text in ("example.com/other v1.0.0 h1:x\n", sums.read_text().replace("h1:", "h1:A")):
        sums.write_text(text)
        found, _ = said(builds, FETCH + USE, "--build-arg", f"F={len(text)}", version=2)
        assert found.split() == ["fetched", "package", "a"]


def test_what_a_step_saw_the_next_one_sees_from_anywhere(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    said(builds, FETCH + USE)
    use = USE.replace("RUN", "WORKDIR /elsewhere\nRUN")
    assert said(builds, FETCH + use, version=2)[0].split() == ["fetched", "package", "a"]


def test_a_link_that_leads_into_a_cache_is_copied_as_it_is(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    said(builds, FETCH + USE)
    image = f"FROM scratch\nCOPY --from=b /link/example.com/{MODULE[12:]}/a.go /said\n"
    for version in (1, 2):
        archive = builds.scratch / "linked.tar"
        builds.write(f"{BUILDER}{FETCH}ARG V\nRUN echo $V; go link x /link\n{image}")
        told = builds.run(
            "-o", f"type=tar,dest={archive}", "--build-arg", f"V={version}"
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        assert "leads to Go caches that are not in it: the steps run without them" in told.stderr
        with tarfile.open(archive) as found:
            file = found.extractfile("said")
            assert file is not None
            assert file.read() == b"package a\n"


def test_a_step_runs_again_where_a_later_one_needs_what_was_pruned(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    said(builds, FETCH + USE)
    forget(builds)
    # What nobody needs is not asked for.
    assert " cached" in said(builds, FETCH + USE)[1]
    assert said(builds, FETCH + USE, version=2)[0].split() == ["fetched", "package", "a"]


def test_steps_without_network_see_what_the_stage_fetched(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    said(builds, FETCH + USE)
    use = USE.replace("RUN", "RUN --network=none")
    text, told = said(builds, FETCH + use, version=2)
    assert text.split() == ["fetched", "package", "a"]
    assert "but not all: a step of this stage has no network" in told


def forget(builds: StepBuilds) -> None:
    """Remove the Go caches of the store, as pruning does."""
    for path in (Path(builds.store) / "mounts").glob("*"):
        remove_tree(str(path))


def test_they_travel_with_the_steps(builds: StepBuilds) -> None:
    place, other = str(builds.scratch / f"place-{os.urandom(4).hex()}"), str(builds.store) + "-b"
    assert said(builds, LOOK, "--cache-to", place)[0] == "no"
    elsewhere = ("--store", other, "--cache-from", place, "--cache-to", place)
    # Nothing runs, so that nothing is filled.
    text, told = said(builds, LOOK, *elsewhere)
    assert text == "no"
    assert "Go cache from" not in told
    text, told = said(builds, LOOK, *elsewhere, version=2)
    assert text == "yes"
    assert "in 1 entries" in told
    # What came counts as used only where a step used it.
    assert said(builds, LOOK, *elsewhere, version=3)[0] == "yes"
    remove_tree(other)


def test_two_builds_may_fill_a_cache_at_once(builds: StepBuilds) -> None:
    contexts = []
    for name in ("one", "two"):
        context = builds.scratch / f"{builds.marker}-{name}"
        shutil.rmtree(context, ignore_errors=True)
        shutil.copytree(builds.context, context)
        puts = "; ".join(f"go put {name}{number}" for number in range(20))
        text = f"FROM base AS start\n{BUILDER}ARG V\nRUN echo $V; {puts}; touch /said\n{IMAGE}"
        (context / "Dockerfile").write_text(text)
        contexts.append(context)
    command = builds.command()[:-1]
    started = [
        subprocess.Popen(
            [*command, str(context)], cwd=builds.runner.home, env=builds.env(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for context in contexts
    ]  # fmt: skip
    for process in started:
        done = finish(process)
        assert done.returncode == 0, done.stderr
    steps = "RUN echo $V; for i in one two; do go has ${i}19; go has ${i}0; done > /said\n"
    assert said(builds, steps, version=2)[0].split() == ["yes"] * 4


def test_a_killed_build_leaves_whole_entries_alone(builds: StepBuilds) -> None:
    puts = "; ".join(f"go put {number}" for number in range(40))
    builds.write(f"{BUILDER}ARG V\nRUN echo $V; {puts}; sleep 30\n{IMAGE}")
    process = builds.start("--build-arg", "V=1")
    assert process.stderr is not None
    for line in process.stderr:
        if "RUN echo" in line:
            break
    process.kill()
    process.communicate()
    assert builds.strays() == []
    steps = "RUN echo $V; for i in $(seq 0 39); do go has $i; done | sort -u > /said; go put x\n"
    assert set(said(builds, steps, version=2)[0].split()) <= {"yes", "no"}
    pools = list((Path(builds.store) / "mounts").glob(f"*/fs{CACHE}"))
    for action in (path for pool in pools for path in pool.rglob("*-a")):
        output = action.read_text().split()[2]
        assert (action.parent.parent / output[:2] / f"{output}-d").exists()
