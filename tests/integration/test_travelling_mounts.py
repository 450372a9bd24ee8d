# SPDX-License-Identifier: Apache-2.0
"""Cache mounts from machine to machine: what arrives, what stays, what is never fetched."""

from __future__ import annotations

import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fault_registry import FaultRegistry
from travelling_mounts import (
    REPOSITORY,
    Machines,
    Member,
    Place,
    archive,
    make_machines,
    publish,
    stored,
)
from wherry.gocache.mount_records import mount_key

# Everything but the time of the mount's own directory.
SHOW = (
    "stat -c '%u:%g %a' /c && cd /c && find . -mindepth 1 ! -type p | sort | "
    "xargs stat -c '%N %u:%g %a %h %Y' && cat two prog deep/er/one"
)
FILL = """\
RUN --mount=type=cache,id=cc,target=/c --mount=type=cache,id=stays,target=/s <<END
set -e
cd /c
mkdir -p deep/er shut
echo one > deep/er/one
echo two > two
echo prog > prog
ln two deep/two
ln -s ../two deep/link
ln -s /etc/passwd out
chown 1000:1001 two prog
chmod 640 two
chmod 4755 prog
chmod 1777 deep
chown 7:8 shut
chmod 700 shut
mkfifo pipe
touch -d '2001-09-09 01:46:40' two deep/er
chown 33:44 .
chmod 2775 .
echo stays > /s/file
%s > /seen
END"""
LOOK = (
    "RUN --mount=type=cache,id=cc,target=/c --mount=type=cache,id=stays,target=/s "
    f"(ls /s; {SHOW}) > /seen"
)


@pytest.fixture(scope="module")
def roots() -> Iterator[Machines]:
    with make_machines("root") as made:
        yield made


@pytest.fixture(params=["root-registry", "ranges-directory"])
def around(request: pytest.FixtureRequest, roots: Machines) -> Iterator[tuple[Machines, Place]]:
    """A kind of user and a kind of place."""
    if request.param == "root-registry":
        with FaultRegistry() as registry:
            yield roots, Place(f"{registry.host}/{REPOSITORY}", registry, Path())
        return
    with make_machines("ranges") as machines:
        path = machines.builds.scratch / uuid.uuid4().hex
        yield machines, Place(str(path), None, path)


@pytest.fixture
def directory(roots: Machines) -> Place:
    """A place of root's."""
    path = roots.builds.scratch / uuid.uuid4().hex
    return Place(str(path), None, path)


def fresh() -> str:
    """The name of a machine that nobody has built on."""
    return uuid.uuid4().hex


def test_a_mount_arrives_as_it_was(around: tuple[Machines, Place]) -> None:
    machines, place = around
    named = ("--cache-mounts", "cc")
    machines.write(FILL % f"({SHOW})")
    before, done = machines.run(fresh(), *place.to, *named)
    assert "pack the cache mount cc" in done.stderr
    assert "1000:1001 4755" in before
    (record,) = place.mounts().values()
    assert (record.top.uid, record.top.gid, record.top.mode) == (33, 44, 0o2775)
    # Another machine: a step that has to run begins with it, and with nothing else of the first.
    second = fresh()
    machines.write(LOOK)
    after, done = machines.run(second, *place.from_, *place.to, *named)
    assert after == before
    # Nothing is packed or sent anew.
    assert "pack the cache mount" not in done.stderr
    (again,) = place.mounts().values()
    assert again == record
    if machines.builds.runner.kind != "root":
        return
    # A change is.
    machines.write(LOOK.replace("(ls /s", "(echo more > /c/two; ls /s"))
    changed, done = machines.run(second, *place.from_, *place.to, *named)
    (newer,) = place.mounts().values()
    assert newer.blob != record.blob
    assert "pack the cache mount" in done.stderr
    # Another command: the one before would be answered by its record.
    machines.write(LOOK.replace("(ls /s", "(ls -a /s > /dev/null"))
    arrived, _ = machines.run(fresh(), *place.from_, *named)
    assert arrived == changed
    assert "more" in arrived


def test_what_no_step_uses_is_not_fetched(roots: Machines) -> None:
    one = "RUN --mount=type=cache,id=a,target=/a echo x > /a/x"
    two = "RUN --mount=type=cache,id=b,target=/b touch /b/y; ls /b > /seen"
    with FaultRegistry() as registry:
        place = Place(f"{registry.host}/{REPOSITORY}", registry, Path())
        named = ("--cache-mounts", "a,b")
        roots.write(f"{one}\n{two}")
        roots.run(fresh(), *place.to, *named)
        unused = place.mounts()[mount_key("a")].blob.digest
        used = place.mounts()[mount_key("b")].blob.digest
        registry.forget_requests()
        # The first step is reused; the second one runs.
        roots.write(f"{one}\n{two.replace('ls', 'ls -l')}")
        seen, _ = roots.run(fresh(), *place.from_, *named)
        assert " y" in seen
        assert registry.count("GET", f"/blobs/{used}") == 1
        assert registry.count("GET", f"/blobs/{unused}") == 0


def test_a_mount_that_is_here_is_left_alone(roots: Machines, directory: Place) -> None:
    named = ("--cache-mounts", "cc")
    text = "RUN --mount=type=cache,id=cc,target=/c touch /c/{name}; ls /c > /seen"
    publish(directory.path, {mount_key("cc"): stored(archive(Member("theirs")), 1)})
    mine = fresh()
    roots.write(text.format(name="mine"))
    assert roots.run(mine)[0] == "mine\n"
    roots.write(text.format(name="more"))
    seen, done = roots.run(mine, *directory.from_, *named)
    assert seen == "mine\nmore\n"
    assert "cache mount cc from" not in done.stderr


def test_names_that_no_run_has_are_told(roots: Machines, directory: Place) -> None:
    roots.write("RUN --mount=type=cache,id=cargo,target=/c --mount=type=cache,target=/d ls > /seen")
    words = ("--cache-mounts", "carg,cargo", "--cache-mounts", "/d", "--cache-mounts", "zzz")
    _, done = roots.run(fresh(), *directory.to, *words)
    told = [line for line in done.stderr.splitlines() if "no RUN of this build" in line]
    assert len(told) == 2
    assert "carg:" in told[0]
    assert "did you mean 'cargo'?" in told[0]
    assert "did you mean" not in told[1]
    assert set(directory.mounts()) == {mount_key("cargo"), mount_key("/d")}


def test_a_namespace_of_caches_is_part_of_their_names(roots: Machines, directory: Place) -> None:
    def team(name: str) -> tuple[str, ...]:
        # Without an id the target is the name.
        return ("--build-arg", f"BUILDKIT_CACHE_MOUNT_NS={name}", "--cache-mounts", "/c")

    text = "RUN --mount=type=cache,target=/c touch /c/{name}; ls /c > /seen"
    roots.write(text.format(name="one"))
    _, done = roots.run(fresh(), *directory.to, *team("red"))
    assert "no RUN of this build" not in done.stderr
    roots.write(text.format(name="two"))
    assert roots.run(fresh(), *directory.from_, *team("red"))[0] == "one\ntwo\n"
    assert roots.run(fresh(), *directory.from_, *team("blue"))[0] == "two\n"
    # Nothing of a name is in the place.
    index = b"".join(path.read_bytes() for path in directory.path.glob("blobs/sha256/*"))
    assert b'"mounts"' in index
    assert b"red/" not in index


def test_two_private_mounts_of_one_name(roots: Machines) -> None:
    """Each of two steps at once has a directory of its own, and both begin with what came."""
    meet = (
        "--mount=type=cache,id=meet-{machine},target=/m RUN touch /m/{me}; for i in $(seq 200); do "
        "[ -e /m/{other} ] && break; sleep 0.1; done; [ -e /m/{other} ]"
    )
    private = "RUN --mount=type=cache,id=p,target=/p,sharing=private"
    with FaultRegistry() as registry:
        place = Place(f"{registry.host}/{REPOSITORY}", registry, Path())
        named = ("--cache-mounts", "p")
        roots.write(f"{private} echo content > /p/x; touch /seen")
        roots.run(fresh(), *place.to, *named)
        came = place.mounts()[mount_key("p")].blob.digest
        registry.forget_requests()
        machine = fresh()
        stages = []
        for me, other in (("a", "b"), ("b", "a")):
            mount, _, command = meet.format(machine=machine, me=me, other=other).partition(" RUN ")
            stages.append(f"{private} {mount} {command} && cat /p/x > /seen && touch /p/{me}")
        roots.write(*stages)
        seen, _ = roots.run(machine, *place.from_, *place.to, *named, stages=2)
        assert seen == "content\n" * 2
        assert roots.directories(machine) == 3
        # What had come was fetched once, and one of the two went back.
        assert registry.count("GET", f"/blobs/{came}") == 1
        assert place.mounts()[mount_key("p")].blob.digest != came


def test_what_is_broken_or_made_to_harm_leaves_an_empty_mount(
    roots: Machines, directory: Place, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    honest = archive(Member("f", b"text"))
    bomb = archive(*(Member(f"{number}") for number in range(20)))
    record, blob = stored(honest, 1)
    out, out_blob = stored(archive(Member(f"../../../../..{victim}", b"x")), 1)
    many, many_blob = stored(bomb, 20)
    text, text_blob = stored(b"no tar at all" * 200, 1)
    cut, cut_blob = stored(honest[:700], 1)
    mounts = {
        "out": (out, out_blob),
        "many": (many._replace(entries=3), many_blob),
        "large": (many._replace(tar=22 * 512), many_blob),
        "other": (record._replace(diff_id=record.tree), blob),
        "text": (text, text_blob),
        "cut": (cut._replace(tar=2000), cut_blob),
        "owner": (record._replace(tar=1 << 49), blob),
        "fine": stored(archive(Member("f", b"fine"), Member("dev", type=tarfile.CHRTYPE)), 2),
    }
    publish(directory.path, {mount_key(name): one for name, one in mounts.items()})
    gone, gone_blob = stored(archive(Member("gone", b"gone")), 1)
    broken, broken_blob = stored(archive(Member("broken", b"broken" * 50)), 1)
    mounts |= {"gone": (gone, gone_blob), "broken": (broken, broken_blob)}
    publish(directory.path, {mount_key(name): one for name, one in mounts.items()})
    directory.blob(str(gone.blob.digest)).unlink()
    file = directory.blob(str(broken.blob.digest))
    file.write_bytes(bytes(len(broken_blob.data)))
    names = sorted(mounts)
    words = " ".join(f"--mount=type=cache,id={name},target=/m/{name}" for name in names)
    roots.write(f"RUN {words} cd /m; find . -mindepth 2 > /seen; stat -c %a * >> /seen")
    seen, done = roots.run(fresh(), *directory.from_, "--cache-mounts", ",".join(names))
    assert seen == "./fine/f\n" + "755\n" * len(names)
    for name in names:
        told = [line for line in done.stderr.splitlines() if f"the cache mount {name} " in line]
        assert len(told) == 1, (name, done.stderr)
        assert ("lacks" if name == "fine" else "does not begin with") in told[0]
    assert not victim.exists()


def test_a_link_on_the_way_leads_nowhere_else(roots: Machines, directory: Place) -> None:
    name = f"wherry-{uuid.uuid4().hex}"
    tar = archive(
        Member("l", type=tarfile.SYMTYPE, link="/etc"),
        Member(f"l/{name}", b"x"),
        Member("h", type=tarfile.LNKTYPE, link="l/passwd"),
    )
    publish(directory.path, {mount_key("cc"): stored(tar, 3)})
    roots.write("RUN --mount=type=cache,id=cc,target=/c ls -A /c > /seen")
    seen, done = roots.run(fresh(), *directory.from_, "--cache-mounts", "cc")
    assert not Path(f"/etc/{name}").exists()
    assert seen == ""
    assert "does not begin with" in done.stderr


def test_a_place_that_cannot_be_used_fails_no_build(roots: Machines, directory: Place) -> None:
    blocked = roots.builds.scratch / "blocked"
    blocked.write_text("a file")
    roots.write("RUN --mount=type=cache,id=cc,target=/c touch /c/x; ls /c > /seen")
    seen, done = roots.run(
        fresh(), "--cache-to", str(blocked), "--cache-from", str(blocked), *directory.to,
        "--cache-mounts", "cc",
    )  # fmt: skip
    assert seen == "x\n"
    assert str(blocked) in done.stderr
    assert set(directory.mounts()) == {mount_key("cc")}


def test_a_mount_that_is_named_later_goes_though_no_step_runs(
    roots: Machines, directory: Place
) -> None:
    machine = fresh()
    roots.write("RUN --mount=type=cache,id=cc,target=/c touch /c/x; ls /c > /seen")
    roots.run(machine, *directory.to)
    assert directory.mounts() == {}
    _, done = roots.run(machine, *directory.to, "--cache-mounts", "cc")
    assert set(directory.mounts()) == {mount_key("cc")}
    assert "pack the cache mount cc" in done.stderr
