# SPDX-License-Identifier: Apache-2.0
"""The Go caches that a step is offered, by what the steps below it have left beside their root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.engines.local import go_caches
from wherry.engines.local.go_caches import Given, Offered, fill_ahead, has_go, offer
from wherry.engines.local.results import NOTHING_SEEN, Change, Outside
from wherry.engines.local.snapshot_files import LostChange
from wherry.graph.ops import GoCachePlace
from wherry.oci.digest import sha256
from wherry.oci.image import LAYER_GZIP, Descriptor, Layer
from wherry.sandbox.exchange import Place
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.step_spec import Executed

BASE = Layer(Descriptor(LAYER_GZIP, sha256(b"layer"), 5), sha256(b"tar"))
BUILD = Outside("build", "/root/.cache/go-build", "", "")
MODULES = Outside("modules", "/go/pkg/mod", "", "7")
Asked = tuple[GoCachePlace, ...]
ELSEWHERE = GoCachePlace("modules", "/elsewhere")


def offered(
    directory: Path,
    kind: str,
    *outside: Outside,
    asked: Asked = (),
    user: str = "",
    held: list[str] | None = None,
    filled: list[str] | None = None,
    args: tuple[str, ...] = ("/bin/sh", "-c", "go build ."),
    ahead: bool = False,
    no_go_caches: str = "",
) -> Offered:
    """What a step is offered that asks for some places, on a base and one RUN.

    The names of the cache mounts that it holds go to `held`, the kinds of caches that it waits for
    to `filled`; with `ahead` those that are filled before.
    """
    names = [] if held is None else held

    class Source:
        def fill(self, cache: Outside, _directory: str, _sums: object) -> None:
            assert filled is not None
            filled.append(cache.kind)

    class Mounts:
        @contextmanager
        def hold(self, name: str, *_asked: object) -> Iterator[SimpleNamespace]:
            names.append(name)
            yield SimpleNamespace(path=str(directory / "7" / "fs"))

    namespace = SimpleNamespace(place=Place(kind, Mapping.ONE))
    running: Any = SimpleNamespace(
        namespace=lambda: namespace,
        storage=SimpleNamespace(mounts=Mounts(), blobs=None),
        go_source=None if filled is None else Source(),
        begin=lambda work, step: work(step),
    )
    op: Any = SimpleNamespace(
        go_caches=asked, no_go_caches=no_go_caches, env=(), user=user, args=args
    )
    step: Any = SimpleNamespace(cancel=SimpleNamespace(check=None))
    change = Change(sha256(b"run"), "", 5, outside=outside)
    # A whole tree is one directory, whatever it stands on.
    lowers = ("/base", "/run") if kind == "overlay" else ("/run",)
    with ExitStack() as stack:
        given = Given(op, (BASE, change), lowers, running, lambda: ())
        if ahead:
            fill_ahead(given, step)
            return Offered()
        return offer(given, step, stack)


def test_what_earlier_steps_left_is_shown(tmp_path: Path) -> None:
    found = offered(tmp_path, "overlay", BUILD, MODULES)
    assert [(cache.kind, cache.strangers) for cache in found.caches] == [
        ("build", ("/base",)), ("modules", ("/base",)),
    ]  # fmt: skip


PLACES = (GoCachePlace("build", BUILD.path), GoCachePlace("modules", MODULES.path))


def test_modules_come_first(tmp_path: Path) -> None:
    filled: list[str] = []
    offered(tmp_path, "overlay", asked=PLACES, filled=filled, ahead=True)
    assert filled == ["modules", "build"]


@pytest.mark.parametrize(
    "args",
    [("/bin/sh", "-c", "go mod download"), ("go", "mod", "download", "-x"),
     ("/bin/bash", "-c", "go mod download -x && go mod verify"),
     ("/bin/sh", "-c", "GOFLAGS=-x go mod download;"), ("/bin/sh", "-c", "go mod download\n")],
)  # fmt: skip
def test_who_fetches_modules_alone_waits_for_no_build_cache(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    filled: list[str] = []
    found = offered(tmp_path, "overlay", BUILD, asked=PLACES, filled=filled, args=args)
    assert filled == ["modules"]
    # It sees what is there by then.
    assert [cache.kind for cache in found.caches] == ["build", "modules"]


@pytest.mark.parametrize(
    "script",
    ["go build .", "go mod download && go build .", "go mod download & make", "make",
     "go mod download `make`", "go mod download || make", "go mod tidy", "go mod vendor"],
)  # fmt: skip
def test_who_may_compile_waits_for_both(tmp_path: Path, script: str) -> None:
    filled: list[str] = []
    args = ("/bin/sh", "-c", script)
    offered(tmp_path, "overlay", BUILD, asked=PLACES, filled=filled, args=args)
    assert filled == ["build", "modules"]


def test_a_build_cache_is_done_without_where_overlayfs_is_refused(tmp_path: Path) -> None:
    assert offered(tmp_path, "whole", BUILD) == Offered()


def test_modules_are_fetched_again_where_overlayfs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LostChange):
        offered(tmp_path, "whole", BUILD, MODULES)


@pytest.mark.parametrize(
    "hostile",
    [
        Outside("build", "/../../../../home/user", ""),
        Outside("other", "/root/.cache/go-build", ""),
        Outside("build", "/", ""),
    ],
)
def test_what_is_no_place_of_a_cache_is_nothing_to_a_step(tmp_path: Path, hostile: Outside) -> None:
    assert offered(tmp_path, "overlay", hostile) == Offered()
    found = offered(tmp_path, "overlay", hostile, BUILD)
    assert [cache.path for cache in found.outside] == [BUILD.path]


@pytest.mark.parametrize("kind", ["overlay", "whole"])
def test_why_a_step_has_none_is_told_wherever_it_runs(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go_caches, "has_go", lambda *_root: True)
    assert offered(tmp_path, kind, no_go_caches="the reason") == Offered(refused="the reason")


SAW = Executed(0, False, 1, outside=(BUILD.path,))
USED = SAW._replace(used=("1",))


@pytest.mark.parametrize(
    ("executed", "names_go", "refused", "wanted"),
    [
        (USED, False, "", "with Go caches"),
        # Modules may have been read: that leaves no trace.
        (SAW, True, "", "with Go caches"),
        (USED._replace(refused="b"), False, "a", "with Go caches, but not all: a, b"),
        (SAW, False, "", ""),
        (SAW, False, "a", ""),
        (SAW._replace(outside=()), True, "a", "no Go caches: a"),
        (SAW._replace(outside=()), True, "", ""),
    ],
)
def test_what_a_step_says_of_its_caches(
    executed: Executed, names_go: bool, refused: str, wanted: str
) -> None:
    assert Offered(refused=refused).remark(executed, names_go=names_go) == wanted


def test_modules_that_are_gone_are_fetched_again(tmp_path: Path) -> None:
    with pytest.raises(LostChange):
        offered(tmp_path, "overlay", MODULES._replace(pool="6"))


def test_a_root_has_modules_in_one_place(tmp_path: Path) -> None:
    found = offered(tmp_path, "overlay", MODULES, asked=(ELSEWHERE,))
    assert [(cache.path, cache.shown) for cache in found.caches] == [(MODULES.path, False)]
    assert found.refused == f"the modules of this root are in {MODULES.path}"


def test_modules_of_which_nothing_was_seen_are_missed_by_nobody(tmp_path: Path) -> None:
    nothing = MODULES._replace(seen=str(sha256(b"")))
    found = offered(tmp_path, "overlay", nothing, asked=(ELSEWHERE,))
    assert [(cache.path, cache.shown) for cache in found.caches] == [(ELSEWHERE.path, True)]
    assert found.refused == ""
    # Removed meanwhile, or not: a step that fetches some begins with what there is.
    place = GoCachePlace("modules", MODULES.path)
    found = offered(tmp_path, "overlay", nothing._replace(pool="6"), asked=(place,))
    assert [(cache.path, cache.left, cache.shown) for cache in found.caches] == [
        (MODULES.path, True, True)
    ]


def test_what_another_machines_step_fetched_is_no_strangers(tmp_path: Path) -> None:
    place = GoCachePlace("modules", MODULES.path)
    there = MODULES._replace(pool="", seen=NOTHING_SEEN)
    (cache,) = offered(tmp_path, "overlay", there, asked=(place,)).caches
    assert (cache.left, cache.shown, cache.strangers) == (True, True, ("/base",))
    assert cache.seen == ()
    # Of a record that does not tell, nothing is known.
    _, cache = offered(tmp_path, "overlay", BUILD, asked=(place,)).caches
    assert (cache.left, cache.strangers) == (False, ("/base", "/run"))


@pytest.mark.parametrize("told", [MODULES._replace(path="/etc"), MODULES._replace(owner="app")])
def test_what_was_seen_nowhere_opens_no_other_place(tmp_path: Path, told: Outside) -> None:
    """A record may lie: a place that no step asks for is shown to none."""
    place = GoCachePlace("modules", MODULES.path)
    there = told._replace(pool="", seen=NOTHING_SEEN)
    held: list[str] = []
    (cache,) = offered(tmp_path, "overlay", there, asked=(place,), held=held).caches
    assert (cache.path, cache.left) == (MODULES.path, False)
    assert len(held) == 1
    assert offered(tmp_path, "overlay", there).caches == ()


@pytest.mark.parametrize("left", [BUILD, MODULES])
def test_each_user_has_caches_of_its_own(tmp_path: Path, left: Outside) -> None:
    held: list[str] = []
    for path, owner in (("/a", ""), ("/a", "b"), ("/a b", ""), ("/a", "c")):
        offered(tmp_path, "overlay", left._replace(path=path, owner=owner), held=held)
    assert len(set(held)) == 4


PATH = ("PATH=/usr/local/go/bin",)


def snapshots(directory: Path, *numbers: int) -> tuple[str, ...]:
    for number in numbers:
        (directory / f"{number}/fs/usr/local").mkdir(parents=True)
    return tuple(str(directory / str(number)) for number in numbers)


def put_go(directory: Path) -> None:
    (directory / "bin").mkdir(parents=True)
    (directory / "bin/go").touch()


def test_a_link_leads_nowhere_on_this_machine(tmp_path: Path) -> None:
    lowers = snapshots(tmp_path, 1)
    put_go(tmp_path / "machine")
    link = tmp_path / "1/fs/usr/local/go"
    link.symlink_to(tmp_path / "machine")
    assert not has_go(lowers, PATH)
    link.unlink()
    link.symlink_to("../" * 20 + f"..{tmp_path}/machine")
    assert not has_go(lowers, PATH)


@pytest.mark.parametrize("target", ["/opt/go", "../../opt/go", "/usr/local/other"])
def test_a_link_leads_on_in_the_root(tmp_path: Path, target: str) -> None:
    lowers = snapshots(tmp_path, 1, 2)
    (tmp_path / "2/fs/usr/local/go").symlink_to(target)
    (tmp_path / "2/fs/usr/local/other").symlink_to("/opt/go")
    assert not has_go(lowers, PATH)
    put_go(tmp_path / "1/fs/opt/go")
    assert has_go(lowers, PATH)


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    lowers = snapshots(tmp_path, 1)
    (tmp_path / "1/fs/usr/local/go").symlink_to("go")
    assert not has_go(lowers, PATH)


@pytest.mark.parametrize("removed", ["usr/local/go/bin/go", "usr/local/go"])
def test_what_was_removed_is_not_there(tmp_path: Path, removed: str) -> None:
    lowers = snapshots(tmp_path, 1, 2)
    put_go(tmp_path / "1/fs/usr/local/go")
    assert has_go(lowers, PATH)
    gone = tmp_path / "2/fs" / removed
    gone.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(gone, stat.S_IFCHR, 0)
    assert not has_go(lowers, PATH)


def test_modules_that_one_user_left_another_sees(tmp_path: Path) -> None:
    place = GoCachePlace("modules", MODULES.path)
    (cache,) = offered(tmp_path, "overlay", MODULES, asked=(place,), user="app").caches
    assert (cache.left, cache.shown) == (True, False)


@pytest.mark.parametrize("left", [BUILD, MODULES._replace(seen=str(sha256(b"")))])
def test_what_nobody_needs_is_in_no_users_way(tmp_path: Path, left: Outside) -> None:
    place = GoCachePlace(left.kind, left.path)
    found = offered(tmp_path, "overlay", left, asked=(place,), user="app")
    assert [(cache.left, cache.shown) for cache in found.caches] == [(False, True)]
    assert [cache.owner for cache in found.outside] == ["app"]
