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
from wherry.gocache.directory_place import DirectoryPlace
from wherry.gocache.importing import Holding
from wherry.golang.go_sum import hash_files
from wherry.process.cancel import CancelToken

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
look) ls "$mods/cache/download/$3/@v" 2>/dev/null | grep '^v' ; true ;;
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


def test_a_step_that_runs_no_go_says_nothing_of_its_caches(builds: StepBuilds) -> None:
    # The last one's text does not name it.
    by_script = "RUN printf '%s%s put y' g o > /script; sh /script\n"
    _, told = said(builds, f"{LOOK}RUN echo $V\n{by_script}", version=3)
    ends = [line for line in told.splitlines() if "] RUN " in line and " done " in line]
    assert ["(with Go caches)" in line for line in ends] == [True, False, True], told


def test_without_them_each_step_begins_with_nothing(builds: StepBuilds) -> None:
    assert said(builds, LOOK)[0] == "no"
    text, told = said(builds, LOOK, "--go-cache=off", version=2)
    assert text == "no"
    assert "(no Go caches: switched off)" in told
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
    mod = hash_files([("go.mod", digests[0][1])])
    lines = f"example.com/m v1.0.0 {h1}\nexample.com/m v1.0.0/go.mod {mod}\n"
    (builds.context / "sums").write_text(lines)
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


def test_what_a_step_removed_from_its_module_stays_removed(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    removed = f"go run x 'rm -f $mods/{MODULE}/a.go'\n"
    listed = f"ARG V\nRUN echo $V; go run x 'ls $mods/{MODULE}' >> /said\n"
    steps = FETCH.strip() + f"; {removed}" + listed
    assert said(builds, steps)[0].split() == ["fetched", "go.mod"]
    # Now another build has the whole module taken.
    assert said(builds, FETCH + USE)[0].split() == ["fetched", "package", "a"]
    assert said(builds, steps, version=2)[0].split() == ["fetched", "go.mod"]


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


def held(place: str, kind: str) -> dict[str, int]:
    """The rows of a place's packs of a kind, with their sizes."""
    holding = Holding(DirectoryPlace(place, place, CancelToken()), None, CancelToken())
    current = holding.load()
    packs = current.packs if current is not None else ()
    tables = holding.tables(pack for pack in packs if pack.kind == kind)
    return {row.key: row.size for table in tables.values() for row in table.rows}


def test_private_modules_and_what_is_compiled_of_them_stay(builds: StepBuilds) -> None:
    write_module(builds)
    put = "RUN echo $V; go put open; go put example.com/m@v1.0.0/a.go\n"
    for number, (env, fields, modules, entries) in enumerate(
        (
            ("ENV GOPRIVATE=example.com\n", "", 0, 1),
            ("", "", 3, 2),
            ("ENV GONOSUMDB=*\n", "", 0, 1),
            ("ENV GOPRIVATE=example.com\n", ",private=true", 3, 2),
            ("", ",modules=off", 0, 2),
        )
    ):
        forget(builds)
        place = str(builds.scratch / f"place-{os.urandom(4).hex()}")
        to = f"type=wherry,dest={place}{fields}"
        said(builds, env + FETCH + "ARG V\n" + put, "--cache-to", to, version=20 + number)
        assert len(held(place, "zips")) == modules, (env, fields)
        assert len(held(place, "build")) == entries, (env, fields)


def test_a_module_of_a_place_is_there_for_those_alone_whose_go_sum_names_it(
    builds: StepBuilds,
) -> None:
    write_module(builds)
    forget(builds)
    place, other = str(builds.scratch / f"place-{os.urandom(4).hex()}"), str(builds.store) + "-b"
    said(builds, FETCH + USE, "--cache-to", place)
    elsewhere = ("--store", other, "--cache-from", place, "--build-arg", "F=2")
    look = FETCH.replace("fetch", "look x example.com/m")
    text, _ = said(builds, look, *elsewhere, version=2)
    assert "v1.0.0.zip" in text.split()
    for sums in ("", f"example.com/m v1.0.0 h1:{'A' * 43}=\n"):
        (builds.context / "sums").write_text(sums)
        assert said(builds, look, *elsewhere, version=3)[0] == ""
    remove_tree(other)


def test_two_projects_with_one_dockerfile_keep_their_packs(builds: StepBuilds) -> None:
    place = str(builds.scratch / f"place-{os.urandom(4).hex()}")
    text = f"FROM base AS start\n{BUILDER}COPY name .\nARG V\n"
    text += f"RUN echo $V; touch /said; go put $(cat name)\n{IMAGE}"
    for version in (1, 2):
        for name in ("one", "two"):
            context = builds.scratch / f"{builds.marker}-services" / name
            if version == 1:
                shutil.copytree(builds.context, context)
            (context / "Dockerfile").write_text(text)
            (context / "name").write_text(name)
            command = [*builds.command()[:-1], "--cache-to", place]
            done = subprocess.run(
                [*command, "--build-arg", f"V={version}", str(context)],
                cwd=builds.runner.home, env=builds.env(), check=False, capture_output=True,
                text=True, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert len(held(place, "build")) == (1 if (name, version) == ("one", 1) else 2)
    shutil.rmtree(context.parent)


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


def test_what_is_copied_to_where_a_link_leads_lies_beside_the_modules(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    steps = (
        f"{FETCH}RUN go link x /m\nCOPY go /m/example.com/m@v1.0.0\n"
        "ARG V\nRUN echo $V; go run x 'ls $mods/example.com/m@v1.0.0' >> /said\n"
    )
    for version in (1, 2):
        text, told = said(builds, steps, version=version)
        assert text.split() == ["fetched", "a.go", "go", "go.mod"]
        assert "the steps run without them" in told


def test_a_copy_of_the_home_has_no_entries_of_others(builds: StepBuilds) -> None:
    said(builds, "RUN echo $V; for i in a b c; do go put $i; done; touch /said\n")
    steps = "RUN echo $V; go put own; cp -a ~ /copy; find /copy -name '*-a' | wc -l > /said\n"
    text, told = said(builds, steps, version=2)
    assert text == "1"
    assert "a step of this stage reads all of /root" in told


MODULE_HEAD = "ENV GOPATH=/go\nWORKDIR /w\nCOPY sum[s] ./go.sum\nCOPY mod /mod\nARG V\n"


@pytest.mark.parametrize("removed", ["$mods", "${mods%/*/*}"])
def test_what_comes_after_a_removal_is_there_for_later_steps(
    builds: StepBuilds, removed: str
) -> None:
    forget(builds)
    write_module(builds)
    first, then = f"go fetch > /said; go run x 'rm -rf {removed}'", "RUN go use >> /said\n"
    apart = f"RUN echo $V; {first}\nRUN go fetch >> /said\n{then}"
    together = f"RUN echo $V; {first}; go fetch >> /said\n{then}"
    # Other builds fill the cache meanwhile.
    for version, begun in ((1, "fetched"), (2, "had")):
        for steps in (apart, together):
            text, _ = said(builds, MODULE_HEAD + steps, version=version)
            assert text.split() == [begun, "fetched", "package", "a"]
        said(builds, MODULE_HEAD + "RUN echo other $V; go fetch > /said\n", version=version)


def test_entries_that_come_after_a_removal_are_there_for_later_steps(builds: StepBuilds) -> None:
    steps = (
        "RUN go put x; go run x 'rm -rf $cache/??'\nRUN echo $V; go put x\nRUN go has x > /said\n"
    )
    for version in (1, 2):
        assert said(builds, steps, version=version)[0] == "yes"
        said(builds, LOOK, version=version)


def test_a_user_removes_what_it_fetched(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    steps = (
        f"{MODULE_HEAD}RUN touch /said; chmod 666 /said\nUSER app\nRUN go fetch > /said\n"
        "RUN echo $V; go run x 'chmod -R u+w $mods/example.com && rm -rf $mods/example.com' "
        "&& echo gone >> /said\n"
    )
    for version in (1, 2):
        text, told = said(builds, steps, version=version)
        assert text.split()[1:] == ["gone"]
        assert "(with Go caches)" in told


def test_modules_belong_to_the_user_who_fetched_them(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    look = "go run x 'stat -c \"%u:%g:%a\" $mods $mods/example.com $mods/example.com/m*/a.go'"
    steps = (
        f"{MODULE_HEAD}RUN touch /said; chmod 666 /said\nUSER app\nRUN echo $V; go fetch > /said\n"
        f"USER root\nRUN {look} >> /said; go run x 'touch $mods/new'\n"
        f"USER app\nRUN go run x 'cat $mods/new'; {look} >> /said\n"
    )
    seen = ["1000:1000:755", "1000:1000:755", "1000:1000:444"]
    for version, first in ((1, "fetched"), (2, "had")):
        assert said(builds, steps, version=version)[0].split() == [first, *seen, *seen]
    # Those of root are other ones; Go has to write where it keeps them.
    steps = (
        f"{MODULE_HEAD}RUN touch /said; chmod 666 /said; echo $V; go fetch > /said\n"
        f"USER app\nRUN {look} >> /said; go use >> /said\n"
        "RUN go run x 'touch $mods/cache/download/example.com/m/@v/v1.0.0.lock' && "
        "echo ok >> /said\n"
    )
    seen = ["1000:1000:755", "1000:1000:755", "0:0:444", "package", "a", "ok"]
    for version, first in ((1, "fetched"), (2, "had")):
        assert said(builds, steps, version=version)[0].split() == [first, *seen]


def test_a_user_whose_id_is_another_one_here(builds: StepBuilds) -> None:
    steps = (
        "RUN touch /said; chmod 666 /said; mkdir -p /home/own; chown %d /home/own; "
        "echo own:x:%d:%d::/home/own:/bin/sh >> /etc/passwd\n"
        "USER own\nRUN echo $V; go has x >> /said; go put x && echo put >> /said\n"
    )
    one, two = (steps % (id, id, id) for id in (2000, 2001))
    assert said(builds, one)[0].split() == ["no", "put"]
    text, told = said(builds, two)
    assert text.split() == ["no", "put"]
    assert "belongs to 2000:2000" in told
    assert said(builds, one, version=2)[0].split() == ["yes", "put"]


def test_a_step_that_saw_no_module_is_not_run_again_for_any(builds: StepBuilds) -> None:
    steps = "RUN echo stable; echo a > /said\nARG V\nRUN echo $V; echo b >> /said\n"
    place, other = str(builds.scratch / f"place-{os.urandom(4).hex()}"), str(builds.store) + "-c"
    assert said(builds, steps, "--cache-to", place)[0].split() == ["a", "b"]
    forget(builds)
    elsewhere = ("--store", other, "--cache-from", place)
    for words in ((), elsewhere):
        _, told = said(builds, steps, *words, version=2)
        (line,) = [line for line in told.splitlines() if "stable" in line and "#" in line][-1:]
        assert "cached" in line
    remove_tree(other)


def test_what_a_step_fetched_without_go_sum_forbids_no_cache(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    steps = (
        "ENV GOPATH=/go\nWORKDIR /w\nCOPY mod /mod\nRUN go fetch > /said\n"
        "COPY sum[s] ./go.sum\nARG V\nRUN echo $V; go use >> /said\n"
    )
    text, told = said(builds, steps)
    assert text.split() == ["fetched", "package", "a"]
    assert "(with Go caches)" in told
    assert "but not all" not in told


def test_what_another_machine_fetched_without_go_sum_forbids_no_cache(builds: StepBuilds) -> None:
    forget(builds)
    write_module(builds)
    # What go.sum names comes after it, as with a tool that is installed at a version.
    fetch = "ENV GOPATH=/go\nWORKDIR /w\nCOPY mod /mod\nRUN go fetch > /said\n"
    steps = fetch + "COPY sum[s] ./go.sum\nARG V\nRUN echo $V; go use >> /said; go put x\n"
    place, stores = str(builds.scratch / f"place-{os.urandom(4).hex()}"), str(builds.store)
    _, told = said(builds, steps, "--cache-to", place)
    assert "(with Go caches)" in told
    # From machine to machine; on each the fetching step itself only arrives.
    for number in (2, 3):
        elsewhere = ("--store", f"{stores}-{number}", "--cache-from", place, "--cache-to", place)
        # In the end without the place: its own store has taken over what came from there.
        for version, words in enumerate((elsewhere, elsewhere, elsewhere[:2]), 10 * number):
            text, told = said(builds, steps, *words, version=version)
            assert text.split() == ["fetched", "package", "a"]
            assert "(with Go caches)" in told
            assert "but not all" not in told
            (line,) = [line for line in told.splitlines() if "RUN go fetch" in line][-1:]
            assert " cached" in line
    for number in (2, 3):
        remove_tree(f"{stores}-{number}")


def test_a_step_of_root_is_in_no_users_way(builds: StepBuilds) -> None:
    forget(builds)
    steps = (
        "ENV GOCACHE=/tmp/cache\nRUN echo $V; touch /said; chmod 666 /said\n"
        "USER app\nRUN go has x > /said; go put x && echo put >> /said\n"
    )
    for version, first in ((1, "no"), (2, "yes")):
        assert said(builds, steps, version=version)[0].split() == [first, "put"]
