# SPDX-License-Identifier: Apache-2.0
"""Which Go caches a step is shown: what a record says of them may be a stranger's word."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wherry.sandbox.go_caches import Chosen, _trim, choose
from wherry.sandbox.step_spec import StepGoCache, StepSpec

BUILD = "/root/.cache/go-build"


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    for name in ("root", "scratch", "home/user", "store/mounts/7/fs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/user/trim.txt").write_text("the user's own\n")
    return tmp_path / "store/mounts/7"


def files(top: Path) -> dict[str, str]:
    return {str(path.relative_to(top)): path.read_text() if path.is_file() else ""
            for path in top.rglob("*")}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("build", "/../../../../home/user"),
        ("build", "/a/../../../../../home/user"),
        ("modules", "/../../../../home/user"),
        ("build", "/"),
        ("build", "//"),
        ("build", ""),
        ("build", "root/.cache"),
        ("build", "/a/./b"),
        ("build", "/a\0b"),
        ("other", "/a"),
    ],
)
def test_a_place_that_is_none_is_refused_and_nothing_is_made(
    tmp_path: Path, lower: Path, kind: str, path: str
) -> None:
    before = files(tmp_path)
    good = StepGoCache("build", BUILD, str(lower))
    bad = StepGoCache(kind, path, str(lower), left=True, shown=False)
    spec = StepSpec(("true",), go_caches=(bad,))
    chosen = choose(spec, str(tmp_path / "root"), str(tmp_path / "scratch"))
    assert chosen.caches == ()
    assert "no place of a Go cache" in chosen.refused
    assert files(tmp_path) == before
    # The others are not its business.
    both = choose(
        spec._replace(go_caches=(bad, good)), str(tmp_path / "root"), str(tmp_path / "scratch")
    )
    assert [cache.path for cache in both.caches] == [BUILD]
    assert len(os.listdir(f"{lower}/fs{BUILD}")) == 257


MODULES = "/go/pkg/mod"
OWN = f"{os.getuid()}:{os.getgid()}"


def chosen(tmp_path: Path, cache: StepGoCache, user: str = OWN) -> Chosen:
    scratch = tempfile.mkdtemp(dir=tmp_path / "scratch")
    spec = StepSpec(("true",), user=user, env=("HOME=/root",), go_caches=(cache,))
    return choose(spec, str(tmp_path / "root"), scratch)


def hide(snapshot: Path, how: str, path: str) -> None:
    """Have a snapshot hide what lower ones hold at a path."""
    here = Path(f"{snapshot}/fs{path}")
    here.parent.mkdir(parents=True)
    match how:
        case "removed":
            os.mknod(here, stat.S_IFCHR, 0)
        case "made anew":
            here.mkdir()
            os.setxattr(here, "user.overlay.opaque", b"y")
        case "link":
            here.symlink_to("/elsewhere")


HEADER = "pkg/include/textflag.h"


def put(top: Path, name: str, text: str = "") -> None:
    path = top / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def put_go(root: Path, place: str) -> None:
    for name in ("bin/go", "VERSION", HEADER):
        put(root, f"{place}/{name}", "go1.26.8\n" if name == "VERSION" else "")


@pytest.mark.parametrize(
    "script", ["/opt/go/bin/go build .", "export GOROOT=/opt/go; go build .",
               "PATH=$PATH:/opt/go/bin go build .", "'/opt/go/bin/'go build", "sh build.sh"],
)  # fmt: skip
def test_a_go_that_only_the_command_or_a_step_knows_is_looked_at(
    tmp_path: Path, lower: Path, script: str
) -> None:
    root = tmp_path / "root"
    for place in ("usr/local/go", "opt/go"):
        put_go(root, place)
    is_made = script == "sh build.sh"
    if is_made:
        put_go(tmp_path / "step/fs", "opt/go")
    cache = StepGoCache("build", BUILD, str(lower), changes=(str(tmp_path / "step"),))
    spec = StepSpec(("/bin/sh", "-c", script), user=OWN,
                    env=("HOME=/root", "PATH=/usr/local/go/bin"), go_caches=(cache,))  # fmt: skip
    for patched in (False, True):
        put(root, f"opt/go/{HEADER}", "#define AX DX" if patched else "")
        found = choose(spec, str(root), tempfile.mkdtemp(dir=tmp_path))
        assert found.refused == ("there is another go1.26.8 in /opt/go" if patched else "")


@pytest.mark.parametrize("changed", [False, True])
def test_a_step_on_a_patched_go_has_no_build_cache(
    tmp_path: Path, lower: Path, changed: bool
) -> None:
    root = tmp_path / "root"
    put_go(root, "usr/local/go")
    # What earlier steps of the root left only saves time.
    cache = StepGoCache("build", BUILD, str(lower), left=True)
    spec = StepSpec(("true",), user=OWN, env=("HOME=/root", "PATH=/usr/local/go/bin"),
                    go_caches=(cache,))  # fmt: skip
    first = choose(spec, str(root), tempfile.mkdtemp(dir=tmp_path))
    assert [cache.path for cache in first.filled] == [BUILD]
    if changed:
        put(root, f"usr/local/go/{HEADER}", "#define AX DX")
    found = choose(spec, str(root), tempfile.mkdtemp(dir=tmp_path))
    if changed:
        assert "are not those of earlier builds" in found.refused
        assert found.caches == ()
    else:
        assert found.refused == ""
        assert [cache.path for cache in found.filled] == [BUILD]


@pytest.mark.parametrize("how", ["removed", "made anew", "link"])
@pytest.mark.parametrize("path", ["/go", "/go/pkg", MODULES])
def test_a_cache_that_something_below_hides_takes_nothing(
    tmp_path: Path, lower: Path, how: str, path: str
) -> None:
    hide(tmp_path / "2", how, path)
    (tmp_path / "1/fs" / MODULES[1:]).mkdir(parents=True)
    snapshots = (str(tmp_path / "1"), str(tmp_path / "2"))
    cache = StepGoCache("modules", MODULES, str(lower), snapshots=snapshots)
    found = chosen(tmp_path, cache)
    assert found.caches == ()
    assert found.refused == f"{MODULES} was removed or replaced before"
    # What an earlier step left stays where it is; of this one nothing goes there.
    found = chosen(tmp_path, cache._replace(left=True))
    assert len(found.caches) == 1
    assert found.filled == ()
    # One that was removed beside it is nothing to it.
    (found,) = chosen(tmp_path, cache._replace(snapshots=snapshots[:1])).caches
    assert found.shown


@pytest.mark.parametrize(
    ("made_by_step", "who"), [(True, "an earlier step has left"), (False, "the image has")]
)
def test_it_is_told_whose_files_forbid_a_cache(
    tmp_path: Path, lower: Path, made_by_step: bool, who: str
) -> None:
    (tmp_path / "1/fs" / MODULES[1:] / "example.com").mkdir(parents=True)
    here = (str(tmp_path / "1"),)
    cache = StepGoCache(
        "modules", MODULES, str(lower), strangers=here, snapshots=here,
        changes=here if made_by_step else (),
    )  # fmt: skip
    found = chosen(tmp_path, cache)
    assert found.caches == ()
    assert found.refused == f"{who} files in {MODULES}"


@pytest.mark.parametrize(("kind", "path"), [("build", BUILD), ("modules", MODULES)])
def test_a_cache_of_another_user_is_no_place_for_this_one(
    tmp_path: Path, lower: Path, kind: str, path: str
) -> None:
    cache = StepGoCache(kind, path, str(lower))
    assert chosen(tmp_path, cache).filled
    found = chosen(tmp_path, cache, "12345:12345")
    assert found.caches == ()
    assert found.refused == f"the cache of {path} belongs to {OWN}"


def test_only_its_user_begins_a_cache(tmp_path: Path, lower: Path) -> None:
    cache = StepGoCache("build", BUILD, str(lower), left=True, shown=False)
    assert chosen(tmp_path, cache).filled == ()
    assert os.listdir(lower / "fs") == []


@pytest.mark.parametrize(("kind", "path"), [("build", BUILD), ("modules", MODULES)])
def test_the_directories_are_as_go_makes_them(
    tmp_path: Path, lower: Path, kind: str, path: str
) -> None:
    chosen(tmp_path, StepGoCache(kind, path, str(lower)))
    here = Path(f"{lower}/fs{path}")
    modes = {stat.S_IMODE(each.stat().st_mode) for each in (here, here.parent, *here.glob("??"))}
    assert modes == {0o755}


def put_module(lower: Path) -> Path:
    """A module in a cache of root's; the cache's directory."""
    top = Path(f"{lower}/fs{MODULES}")
    for name in ("example.com/!m@v1.0.0/a", "cache/download/example.com/!m/@v/v1.0.0.zip"):
        (top / name).parent.mkdir(parents=True)
        (top / name).touch()
    return top


def test_what_was_seen_has_files_in_the_cache(tmp_path: Path, lower: Path) -> None:
    names = ("M v1.0.0", "M v1.0.0/go.mod", "M v2.0.0", "m v1.0.0", "\0 v1.0.0", "M")
    lines = tuple(f"example.com/{name} h1:x" for name in names)
    cache = StepGoCache("modules", MODULES, str(lower), seen=lines)
    found = chosen(tmp_path, cache)
    assert found.caches[0].seen == tuple(sorted(lines))
    assert found.seen == ()
    # A step has left it.
    put_module(lower)
    assert set(found.seen) == set(lines[:2])


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_another_user_may_write_where_modules_are_kept(tmp_path: Path, lower: Path) -> None:
    put_module(lower)
    cache = StepGoCache("modules", MODULES, str(lower), left=True, shown=False)
    (mask,) = chosen(tmp_path, cache, "0:0").masks
    assert Path(f"{mask}/fs{MODULES}/example.com").stat().st_uid == 0
    (mask,) = chosen(tmp_path, cache, "1000:1000").masks
    names = (".", "example.com", "cache/download", "cache/download/example.com/!m/@v")
    for name in names:
        found = Path(f"{mask}/fs{MODULES}", name).stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1000, 1000, 0o755)
    assert not stat.S_ISDIR(Path(f"{mask}/fs{MODULES}/example.com/!m@v1.0.0").lstat().st_mode)


@pytest.fixture
def full(lower: Path) -> Path:
    """A build cache with entries that nobody has used for long."""
    top = Path(f"{lower}/fs{BUILD}")
    for number in range(256):
        (top / f"{number:02x}").mkdir(parents=True)
        for other in range(8):
            path = top / f"{number:02x}" / f"{number:02x}{other:062x}-a"
            path.write_bytes(b"x" * 175)
            os.utime(path, (1, 1))
    return top


def test_several_may_trim_a_cache_at_once(full: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(_trim, str(full)) for _ in range(4)]:
            done.result()
    assert list(full.rglob("*-a")) == []


def test_an_output_that_nobody_names_goes_unless_it_has_just_come(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = full / "00" / f"{0:064x}-d"
    output.write_bytes(b"x")
    os.utime(output, (1, 1))
    # The action that names it may be on its way.
    _trim(str(full))
    assert output.exists()
    later = time.time() + 2 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    _trim(str(full))
    assert not output.exists()
