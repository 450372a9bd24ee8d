# SPDX-License-Identifier: Apache-2.0
"""When a step of a Dockerfile runs again, and that equal inputs make equal bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockerfile_builds import EPOCH, Builds, builds, layer_files, plain_env
from fault_registry import FaultRegistry
from git_server import GitServer, git, git_server
from registry_samples import layer
from transport_servers import Reply, Seen, answering
from wherry.oci.platform import host_platform

__all__ = ["builds", "plain_env"]

TWO_STAGES = """\
FROM scratch AS builder
COPY src /src
COPY conf /conf

FROM scratch
COPY --from=builder /src/a /a
COPY other /other
ENV DONE=yes
"""
STEPS = ["COPY src /src", "COPY conf /conf", "COPY --from=builder /src/a /a", "COPY other /other"]
FIRST, SECOND, FROM_BUILDER, LAST = STEPS


@pytest.fixture
def two_stages(builds: Builds) -> Builds:
    """A context with two stages, built once."""
    builds.files(Dockerfile=TWO_STAGES, conf="conf\n", other="other\n")
    builds.write("src/a", "a\n")
    builds.write("src/b", "b\n")
    builds.write("unselected", "1\n")
    assert builds.build().ran == STEPS
    return builds


# --- contexts ---------------------------------------------------------------------------------


def test_an_unchanged_build_runs_no_step(two_stages: Builds) -> None:
    first = two_stages.build()
    assert first.ran == []
    # No step at all where a record of the whole build answers.
    assert first.instructions in (STEPS, [])
    assert first.result["reused"] is True
    again = two_stages.build("--jobs", "1")
    assert (again.ran, again.digest) == ([], first.digest)


def test_what_no_copy_can_see_changes_nothing(two_stages: Builds) -> None:
    before = two_stages.build()
    two_stages.write("unselected", "2\n")
    two_stages.write("new/file", "new")
    (two_stages.root / "new").chmod(0o700)
    for path in (two_stages.root / "src/a", two_stages.root / "other", two_stages.root / "src"):
        os.utime(path, (1, 1))
    # Written again with the same bytes: another inode.
    two_stages.write("conf.new", "conf\n").rename(two_stages.root / "conf")
    after = two_stages.build()
    assert (after.ran, after.digest, after.result["reused"]) == ([], before.digest, True)


def test_what_is_seen_runs_its_steps_and_those_after(two_stages: Builds) -> None:
    root = two_stages.root
    two_stages.write("other", "changed\n")
    assert two_stages.build().ran == [LAST]
    two_stages.write("other", "other\n")
    assert two_stages.build().ran == [], "what was built before is still known"
    (root / "other").chmod(0o600)
    assert two_stages.build().ran == [LAST]
    two_stages.write("src/a", "changed\n")
    assert two_stages.build().ran == STEPS
    (root / "src/b").rename(root / "src/c")
    assert two_stages.build().ran == [FIRST, SECOND], "the final stage sees none of it"
    (root / "src/link").symlink_to("a")
    assert two_stages.build().ran == [FIRST, SECOND]
    (root / "src/link").unlink()
    (root / "src/link").symlink_to("c")
    assert two_stages.build().ran == [FIRST, SECOND]
    (root / "src/empty").mkdir()
    assert two_stages.build().ran == [FIRST, SECOND]
    two_stages.write("conf", "changed\n")
    assert two_stages.build().ran == [SECOND]


def test_a_change_that_keeps_size_and_time_is_seen(two_stages: Builds) -> None:
    path = two_stages.root / "other"
    status = path.stat()
    two_stages.write("other", "OTHER\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    ran = two_stages.build()
    assert ran.ran == [LAST]
    assert two_stages.text(ran, "other") == "OTHER\n"


def test_a_file_swapped_between_names_is_seen(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY d /d\n")
    builds.write("d/x", "one\n")
    builds.write("d/y", "two\n")
    first = builds.build()
    (builds.root / "d/x").rename(builds.root / "d/z")
    (builds.root / "d/y").rename(builds.root / "d/x")
    (builds.root / "d/z").rename(builds.root / "d/y")
    second = builds.build()
    assert builds.text(second, "d/x") == "two\n"
    assert second.digest != first.digest


def _same_size_and_time(builds: Builds) -> None:
    status = (builds.root / "d/f").stat()
    builds.write("d/f", "two\n")
    os.utime(builds.root / "d/f", ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: dict[str, tuple[Callable[[Builds], object], str]] = {
    "content": (_same_size_and_time, "COPY d /d"),
    "mode": (lambda it: (it.root / "d/f").chmod(0o755), "COPY d /d"),
    "new-file": (lambda it: it.write("d/deep/new", "x"), "COPY d /d"),
    "ignored": (lambda it: it.write(".dockerignore", "d/g\n"), "COPY d /d"),
    "own-rules": (lambda it: it.write("Dockerfile.dockerignore", "d/g\n"), "COPY d /d"),
    "dockerfile": (
        lambda it: it.files(Dockerfile="FROM scratch\nCOPY d /e\n"), "COPY d /e",
    ),
    "blob": (lambda it: [it.path_of(one).unlink() for one in it.layers(it.build())], ""),
}  # fmt: skip


def test_what_a_record_of_the_whole_build_must_see(builds: Builds, tmp_path: Path) -> None:
    """Once files are old enough, one look at their states answers: each change still counts."""
    places = {}
    for name in CHANGES:
        it = places[name] = Builds(tmp_path / name, tmp_path / "stores" / name, builds.env)
        it.files(Dockerfile="FROM scratch\nCOPY d /d\n")
        it.write("d/f", "one\n")
        it.write("d/g", "g\n")
    time.sleep(2.2)
    before = {name: it.build() for name, it in places.items()}
    for name, it in places.items():
        change, step = CHANGES[name]
        assert it.build().instructions == [], "no record answered"
        change(it)
        after = it.build()
        if step:
            assert after.ran == [step], name
            assert after.digest != before[name].digest, name
        else:
            assert after.digest == before[name].digest
            assert all(it.path_of(layer).exists() for layer in it.layers(after))


def test_ignore_rules_are_part_of_what_is_seen(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY . /all/\n", a="a", b="b")
    builds.write(".dockerignore", "b\nDockerfile\n.dockerignore\n")
    first = builds.build()
    assert sorted(builds.tree(first)) == ["all", "all/a"]
    builds.write("b", "changed, and hidden")
    assert builds.build().ran == []
    builds.write(".dockerignore", "b\nDockerfile\n.dockerignore\n# a comment\nnone\n")
    assert builds.build().digest == first.digest, "other rules, the same files"
    builds.write(".dockerignore", "a\nDockerfile\n.dockerignore\n")
    assert sorted(builds.tree(builds.build())) == ["all", "all/b"]


def test_a_wildcard_and_excludes_are_keyed_by_what_they_match(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY *.txt /t/\nCOPY --exclude=*.md docs /docs\n")
    builds.write("a.txt", "a")
    builds.write("docs/x.md", "x")
    builds.write("docs/y", "y")
    builds.build()
    builds.write("a.bin", "a")
    builds.write("docs/x.md", "changed")
    assert builds.build().ran == []
    builds.write("b.txt", "b")
    assert builds.build().ran == ["COPY *.txt /t/", "COPY --exclude=*.md docs /docs"]
    builds.write("docs/z", "z")
    assert builds.build().ran == ["COPY --exclude=*.md docs /docs"]


# --- the Dockerfile -----------------------------------------------------------------------------


def test_early_cutoff(builds: Builds) -> None:
    """A builder that changed and gives the same leaves what follows as it is."""
    builds.files(Dockerfile=TWO_STAGES, conf="1", other="o")
    builds.write("src/a", "a")
    builds.write("src/b", "b")
    first = builds.build()
    builds.write("src/b", "changed")
    builds.write("conf", "2")
    second = builds.build()
    assert second.ran == [FIRST, SECOND]
    assert second.digest == first.digest
    assert second.result["reused"] is True
    # The same file from a builder that is written in another way.
    builds.files(Dockerfile=TWO_STAGES.replace("COPY src /src", "COPY src/a /src/a"))
    third = builds.build()
    assert third.ran == ["COPY src/a /src/a", SECOND]
    assert third.digest == first.digest


def test_copy_from_sees_owners_and_modes(builds: Builds) -> None:
    text = "FROM scratch AS one\nCOPY {}f /f\nFROM scratch\nCOPY --from=one /f /f\n"
    builds.files(Dockerfile=text.format(""), f="f")
    builds.build()
    builds.files(Dockerfile=text.format("--chown=7:8 "))
    assert builds.build().ran == ["COPY --chown=7:8 f /f", "COPY --from=one /f /f"]
    builds.files(Dockerfile=text.format("--chmod=600 "))
    ran = builds.build()
    assert builds.tree(ran)["f"].mode == 0o600


def test_settings_change_the_image_and_no_files(two_stages: Builds) -> None:
    before = two_stages.build()
    two_stages.files(Dockerfile=TWO_STAGES.replace("DONE=yes", "DONE=no") + "LABEL a=b\n")
    after = two_stages.build()
    assert after.ran == []
    assert after.digest != before.digest
    assert after.result["reused"] is False
    assert two_stages.layers(after) == two_stages.layers(before)
    assert two_stages.config(after)["config"]["Labels"] == {"a": "b"}


def test_arguments_and_environment_change_what_they_are_used_in(builds: Builds) -> None:
    builds.files(
        Dockerfile="ARG WHAT=a\nFROM scratch\nARG WHAT\nARG UNUSED=1\nENV DIR=/d\n"
        "COPY $WHAT ${DIR}/\nCOPY b /b\n",
        a="a",
        b="b",
    )
    builds.build()
    assert builds.build("--build-arg", "UNUSED=2").ran == [], "files do not depend on it"
    assert builds.build("--build-arg", "WHAT=b").ran == ["COPY b /d/", "COPY b /b"]
    assert builds.build("--build-arg", "WHAT=a").ran == []


def test_a_heredoc_is_part_of_its_step(builds: Builds) -> None:
    text = "FROM scratch\nARG A=1\nCOPY <<EOF /f\n{}\nEOF\nCOPY f /g\n"
    builds.files(Dockerfile=text.format("$A"), f="f")
    first = builds.build()
    assert builds.text(first, "f") == "1\n"
    assert builds.build("--build-arg", "A=2").ran == ["COPY <<EOF /f", "COPY f /g"]
    builds.files(Dockerfile="# moved down\n\n" + text.format("$A"))
    assert builds.build().ran == [], "lines and comments are not part of it"
    builds.files(Dockerfile=text.format("1"))
    assert builds.build().digest == first.digest, "what it expands to counts"
    builds.files(Dockerfile=text.format("other"))
    assert builds.build().ran == ["COPY <<EOF /f", "COPY f /g"]


def test_equal_steps_of_two_files_are_shared(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch AS x\nCOPY f /f\n", f="f")
    builds.write("other.Dockerfile", "FROM scratch\nCOPY f /f\nCOPY f /g\n")
    builds.build()
    assert builds.build("-f", "other.Dockerfile").ran == ["COPY f /g"]


# --- without the cache --------------------------------------------------------------------------


def test_no_cache_runs_everything(two_stages: Builds) -> None:
    before = two_stages.build()
    after = two_stages.build("--no-cache")
    assert after.ran == STEPS
    # Times of files made anew are those of the files: nothing else can differ.
    assert two_stages.layers(after) == two_stages.layers(before)
    assert two_stages.build().ran == []


def test_no_cache_filter_runs_one_stage(two_stages: Builds) -> None:
    assert two_stages.build("--no-cache-filter", "builder").ran == [FIRST, SECOND]
    assert two_stages.build("--no-cache-filter", "BUILDER").ran == [FIRST, SECOND]
    two_stages.files(Dockerfile=TWO_STAGES.replace("FROM scratch\n", "FROM scratch AS last\n"))
    assert two_stages.build("--no-cache-filter", "last").ran == [FROM_BUILDER, LAST]
    assert two_stages.build("--no-cache-filter=builder,last").ran == STEPS
    again = ("--no-cache-filter", "last", "--no-cache-filter", "builder")
    assert two_stages.build(*again).ran == STEPS


def test_no_cache_filter_of_no_stage(two_stages: Builds) -> None:
    told = two_stages.start("--no-cache-filter", "bilder")
    assert told.returncode == 0, told.stderr
    assert "--no-cache-filter bilder" in told.stderr
    assert "did you mean 'builder'?" in told.stderr


# --- blobs that are gone ------------------------------------------------------------------------


def test_a_layer_that_was_removed_is_made_again(two_stages: Builds) -> None:
    before = two_stages.build()
    for digest in two_stages.layers(before):
        two_stages.path_of(digest).unlink()
        after = two_stages.build()
        assert after.digest == before.digest
        assert all(two_stages.path_of(layer).exists() for layer in two_stages.layers(after))


def test_everything_removed_by_hand(two_stages: Builds) -> None:
    before = two_stages.build()
    for blob in two_stages.store.glob("blobs/sha256/*"):
        blob.unlink()
    after = two_stages.build()
    assert after.digest == before.digest
    assert sorted(two_stages.tree(after)) == ["a", "other"]


def test_after_a_prune(two_stages: Builds) -> None:
    before = two_stages.build()
    assert two_stages.start("app:latest", verb="rmi").returncode == 0
    pruned = two_stages.start("prune", "--all", verb="cache")
    assert pruned.returncode == 0, pruned.stderr
    after = two_stages.build()
    assert after.digest == before.digest
    assert all(two_stages.path_of(layer).exists() for layer in two_stages.layers(after))
    assert two_stages.build().ran == []


def test_a_prune_of_what_a_tag_does_not_need(two_stages: Builds) -> None:
    """The image stays; what only its builder had is made again when it is asked for."""
    before = two_stages.build()
    pruned = two_stages.start("prune", "--all", verb="cache")
    assert pruned.returncode == 0, pruned.stderr
    assert all(two_stages.path_of(layer).exists() for layer in two_stages.layers(before))
    two_stages.write("src/a", "changed\n")
    after = two_stages.build()
    assert after.ran == STEPS
    assert two_stages.text(after, "a") == "changed\n"


# --- the same bytes -----------------------------------------------------------------------------

REPRODUCED = """\
FROM scratch AS one
COPY --chown=5:6 dir /dir
ADD packed.tar /packed/
COPY <<EOF /made/by/heredoc
text
EOF
WORKDIR /work/dir
FROM one
COPY --from=one --parents /dir/./sub /copied
COPY --link many /many
"""


def _reproduced(builds: Builds) -> None:
    builds.files(Dockerfile=REPRODUCED)
    builds.write("dir/a", "a\n")
    builds.write("dir/sub/b", "b\n", 0o600)
    builds.write("dir/run", "#!\n", 0o755)
    (builds.root / "dir/sub").chmod(0o750)
    (builds.root / "dir/link").symlink_to("a")
    for number in range(40):
        builds.write(f"many/{number}", "x" * number)
    for directory in ("dir", "many"):
        (builds.root / directory).chmod(0o755)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("x/y")
        member.size, member.mtime, member.uid = 3, 1234567890, 77
        archive.addfile(member, io.BytesIO(b"xyz"))
    builds.write("packed.tar", packed.getvalue())


def _elsewhere(builds: Builds, tmp_path: Path, name: str) -> Builds:
    other = Builds(tmp_path / name / "app", tmp_path / name / "store", builds.env)
    _reproduced(other)
    return other


def test_the_same_bytes_elsewhere_later_and_otherwise(builds: Builds, tmp_path: Path) -> None:
    """With SOURCE_DATE_EPOCH: another path, time, umask, number of jobs, and a store of its own."""
    _reproduced(builds)
    expected = builds.build("--jobs", "4", more=EPOCH)
    other = _elsewhere(builds, tmp_path, "a longer path")
    for number, path in enumerate(sorted(other.root.rglob("*"))):
        os.utime(path, (1_800_000_000 + number,) * 2, follow_symlinks=False)
    umask = ["sh", "-c", 'umask 077; exec "$@"', "-"]
    second = other.build("--jobs", "1", more=EPOCH, prefix=umask)
    assert second.digest == expected.digest
    times = {node.mtime for node in builds.tree(expected).values()}
    assert max(times) == int(EPOCH["SOURCE_DATE_EPOCH"])
    assert 1234567890 in times, "what is older than that keeps its time"


@pytest.mark.skipif(os.geteuid() != 0, reason="another user can be taken on by root only")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv on PATH")
def test_the_same_bytes_by_another_user(builds: Builds, tmp_path: Path) -> None:
    _reproduced(builds)
    expected = builds.build(more=EPOCH)
    other = _elsewhere(builds, tmp_path, "theirs")
    uid = 12345
    for path in [other.store.parent, *other.store.parent.rglob("*")]:
        os.chown(path, uid, uid, follow_symlinks=False)
    opened = []
    for path in (tmp_path, *tmp_path.parents):
        if not path.stat().st_mode & 0o001:
            opened.append((path, path.stat().st_mode))
            path.chmod(path.stat().st_mode | 0o001)
    try:
        user = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--"]
        home = {"HOME": str(other.store.parent)}
        can = other.start("--version", verb="images", prefix=user, more=home)
        if "Traceback" in can.stderr or "denied" in can.stderr:
            pytest.skip(f"another user cannot run this Python: {can.stderr.strip()[-200:]}")
        ran = other.build(more={**EPOCH, **home}, prefix=user)
    finally:
        for path, mode in opened:
            path.chmod(mode)
    assert ran.digest == expected.digest


def test_without_an_epoch_times_are_the_files(builds: Builds, tmp_path: Path) -> None:
    """Times of a context's files are in the layers, as with BuildKit; all else is 1970.

    So a second store gives another image if the files were written at another time; in the first
    one the step is cached, for times are not looked at.
    """
    builds.files(Dockerfile="FROM scratch\nCOPY f /d/f\n", f="f")
    os.utime(builds.root / "f", (1_600_000_000, 1_600_000_000))
    first = builds.build()
    tree = builds.tree(first)
    assert tree["d/f"].mtime == 1_600_000_000
    assert tree["d"].mtime == 0
    assert builds.config(first)["created"] == "1970-01-01T00:00:00Z"
    second = tmp_path / "second"
    assert builds.build(store=second).digest == first.digest
    os.utime(builds.root / "f", (1_700_000_000, 1_700_000_000))
    assert builds.build().digest == first.digest
    assert builds.build(store=tmp_path / "third").digest != first.digest


def test_the_epoch_as_build_argument_and_its_change(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\n", f="f")
    by_env = builds.build(more=EPOCH)
    by_arg = builds.build("--build-arg", "SOURCE_DATE_EPOCH=1700000000")
    assert by_arg.digest == by_env.digest
    assert builds.config(by_env)["created"] == "2023-11-14T22:13:20Z"
    earlier = builds.build(more={"SOURCE_DATE_EPOCH": "1000"})
    assert builds.tree(earlier)["f"].mtime == 1000


# --- bases --------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as served:
        yield served


def _put(registry: FaultRegistry, name: str, text: str, tag: str = "1") -> str:
    layers = [layer({"etc/name": text}), layer(size=200_000)]
    return registry.put_image(f"base/{name}", tag, layers, platform=str(host_platform()))


def test_only_needed_stages_and_bases_are_asked_for(
    builds: Builds, registry: FaultRegistry
) -> None:
    for name in ("used", "copied", "unused"):
        _put(registry, name, f"{name}\n")
    builds.files(
        Dockerfile=f"FROM {registry.host}/base/unused:1 AS unused\nCOPY missing /\n"
        f"FROM {registry.host}/base/copied:1 AS copied\n"
        f"FROM {registry.host}/base/used:1 AS wanted\n"
        "COPY --link --from=copied /etc/name /copied\nFROM unused\n",
    )
    ran = builds.build("--target", "wanted")
    assert registry.count("", "/base/unused/") == 0
    assert registry.count("", "/base/used/manifests/") >= 1
    # Nothing is looked up in the files of `used`, so only its config was fetched.
    assert registry.count("GET", "/base/used/blobs/") == 1
    assert registry.count("GET", "/base/copied/blobs/") == 3
    assert layer_files(builds.blob(builds.layers(ran)[-1]))["copied"].content == b"copied\n"
    registry.forget_requests()
    again = builds.build("--target", "wanted")
    assert again.digest == ran.digest
    assert registry.requests == [], "an unchanged build asks no registry"


def test_a_base_without_files_to_change_stays_where_it_is(
    builds: Builds, registry: FaultRegistry
) -> None:
    _put(registry, "lazy", "lazy\n")
    base = f"FROM {registry.host}/base/lazy:1\n"
    builds.files(Dockerfile=f'{base}ENV A=B\nCMD ["x"]\n')
    ran = builds.build()
    assert registry.count("GET", "/blobs/") == 1
    layers = json.loads(registry.manifest("base/lazy", "1"))["layers"]
    assert builds.manifest(ran)["layers"] == layers
    # --link needs nothing of what is below, either.
    builds.files(Dockerfile=f"{base}COPY --link f /f\n", f="f")
    linked = builds.build()
    assert registry.count("GET", "/blobs/") == 1
    assert len(builds.layers(linked)) == 3


def test_pull_asks_whether_the_base_moved(builds: Builds, registry: FaultRegistry) -> None:
    _put(registry, "moving", "one\n")
    builds.files(
        Dockerfile=f"FROM {registry.host}/base/moving:1 AS base\nFROM scratch\n"
        "COPY --from=base /etc/name /name\nCOPY f /f\n",
        f="f",
    )
    first = builds.build()
    assert builds.text(first, "name") == "one\n"
    _put(registry, "moving", "two\n")
    assert builds.build().digest == first.digest, "a base that is known is not asked for again"
    moved = builds.build("--pull")
    assert builds.text(moved, "name") == "two\n"
    assert builds.build().digest == moved.digest
    registry.forget_requests()
    assert builds.build("--pull").ran == []
    assert registry.count("GET", "/manifests/1") <= 1


def test_a_base_that_lost_its_blob_is_fetched_again(
    builds: Builds, registry: FaultRegistry
) -> None:
    _put(registry, "lost", "lost\n")
    builds.files(Dockerfile=f"FROM {registry.host}/base/lost:1\nCOPY f /etc/f\n", f="1")
    first = builds.build()
    for digest in builds.layers(first)[:2]:
        builds.path_of(digest).unlink(missing_ok=True)
    builds.files(f="2")
    second = builds.build("-o", "type=oci,dest=out.tar")
    assert layer_files(builds.blob(builds.layers(second)[-1]))["etc/f"].content == b"2"


# --- downloads ----------------------------------------------------------------------------------


class Shop:
    """One file by HTTP; `etag` "" sends none."""

    def __init__(self) -> None:
        self.body, self.etag, self.status = b"one\n", '"1"', 200
        self.sent: list[int] = []

    def __call__(self, seen: Seen) -> Reply:
        headers = (("ETag", self.etag),) if self.etag else ()
        if self.status != 200:
            self.sent.append(self.status)
            return Reply(self.status)
        if self.etag and seen.headers.get("if-none-match") == self.etag:
            self.sent.append(304)
            return Reply(304, headers)
        self.sent.append(200)
        return Reply(200, headers, self.body)


def test_a_download_is_asked_about_by_its_strong_etag(builds: Builds) -> None:
    shop = Shop()
    with answering(shop) as served:
        builds.files(Dockerfile=f"FROM scratch\nADD {served.url}/f /f\nCOPY g /g\n", g="g")
        first = builds.build()
        assert builds.tree(first)["f"][:4] == ("0", 0o600, (0, 0), b"one\n")
        again = builds.build()
        assert (shop.sent, again.ran, again.digest) == ([200, 304], [], first.digest)
        shop.body = b"two\n"
        assert builds.build().digest == first.digest, "a server that lies is believed"
        shop.etag = '"2"'
        moved = builds.build()
        assert builds.text(moved, "f") == "two\n"
        assert moved.ran == [f"ADD {served.url}/f /f", "COPY g /g"]
        shop.etag, shop.sent = '"3"', []
        assert (builds.build().ran, shop.sent) == ([], [200]), "other ETag, the same content"
        # The bytes are gone: the ETag is no use.
        for blob in builds.store.glob("blobs/sha256/*"):
            if blob.read_bytes() == b"two\n":
                blob.unlink()
        shop.sent = []
        assert builds.build().digest == moved.digest
        assert shop.sent == [200]


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_a_download_without_a_strong_etag_is_got_each_time(builds: Builds, etag: str) -> None:
    shop = Shop()
    shop.etag = etag
    with answering(shop) as served:
        builds.files(Dockerfile=f"FROM scratch\nADD {served.url}/f /f\n")
        first = builds.build()
        assert builds.build().ran == []
        shop.body = b"two\n"
        assert builds.build().digest != first.digest
        assert shop.sent == [200, 200, 200]


def test_a_download_with_a_checksum_that_is_held_asks_nobody(builds: Builds) -> None:
    shop = Shop()
    digest = f"sha256:{hashlib.sha256(shop.body).hexdigest()}"
    with answering(shop) as served:
        builds.files(Dockerfile=f"FROM scratch\nADD --checksum={digest} {served.url}/f /f\n")
        first = builds.build()
        shop.status = 500
        assert builds.build().digest == first.digest
        assert shop.sent == [200]


# --- git ----------------------------------------------------------------------------------------


@pytest.fixture
def git_place(tmp_path: Path) -> Iterator[tuple[GitServer, Path]]:
    """A server with /shop.git, and the work tree that it is pushed from."""
    if shutil.which("git") is None:
        pytest.skip("no git on PATH")
    work, served = tmp_path / "work", tmp_path / "served"
    work.mkdir()
    served.mkdir()
    git(work, "init", "--quiet")
    (work / "sub").mkdir()
    (work / "sub/f").write_text("one\n")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "1")
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(served / "shop.git"))
    git(work, "remote", "add", "origin", str(served / "shop.git"))
    with git_server(served) as server:
        yield server, work


def _commit(work: Path, name: str, text: str) -> None:
    (work / name).write_text(text)
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", text)
    git(work, "push", "--quiet", "origin", "main")


def test_a_git_branch_that_moves(builds: Builds, git_place: tuple[GitServer, Path]) -> None:
    server, work = git_place
    url = f"{server.url}/shop.git#main:sub"
    builds.files(Dockerfile=f"FROM scratch\nADD {url} /shop/\nCOPY g /g\n", g="g")
    first = builds.build()
    assert builds.text(first, "shop/f") == "one\n"
    fetching = len(server.authorizations)
    again = builds.build()
    assert (again.ran, again.digest) == ([], first.digest)
    asking = len(server.authorizations) - fetching
    assert asking < fetching, "the refs are asked for, the tree is not"
    _commit(work, "other", "beside")
    beside = builds.build()
    assert (beside.ran, beside.digest) == ([], first.digest), "another commit, the same tree"
    _commit(work, "sub/f", "two\n")
    moved = builds.build()
    assert moved.ran == [f"ADD {url} /shop/", "COPY g /g"]
    assert builds.text(moved, "shop/f") == "two\n"
