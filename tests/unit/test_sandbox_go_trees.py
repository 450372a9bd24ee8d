# SPDX-License-Identifier: Apache-2.0
"""Whether the Go of a root has the headers that a build cache was made with, wherever it lies."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wherry.sandbox.go_trees import is_tree_of_go, made_trees, touches, why_no_build_cache
from wherry.sandbox.step_spec import StepGoCache, StepMount

GO = "/usr/local/go"
HEADERS = ("pkg/include/textflag.h", "src/runtime/cgo/abi_amd64.h", "src/runtime/go_tls.h")


class Ground:
    """A root, one of its trees, a step's change, and a build cache."""

    def __init__(self, top: Path) -> None:
        self.root, self.step = top / "root", top / "step/fs"
        for path in (self.root, self.step, top / "cache"):
            path.mkdir(parents=True)
        self.cache = StepGoCache("build", "/root/.cache/go-build", str(top / "cache"))

    def put(self, name: str, text: str = "", *, made: bool = False) -> None:
        """Put a file into the root, and into what a step has `made`."""
        for top in (self.root, self.step) if made else (self.root,):
            path = top / name.strip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def go(self, place: str = GO, version: str = "go1.26.8", *, made: bool = False) -> None:
        self.put(f"{place}/VERSION", f"{version}\ntime 2026-11-01\n", made=made)
        self.put(f"{place}/bin/go", made=made)
        for name in HEADERS:
            self.put(f"{place}/{name}", name, made=made)

    def why_not(self, *trees: str, mounts: tuple[StepMount, ...] = ()) -> str:
        return why_no_build_cache(self.cache, str(self.root), trees or (GO,), mounts)

    def made(self) -> tuple[str, ...]:
        return made_trees([str(self.step)])


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    ground = Ground(tmp_path)
    ground.go()
    return ground


@pytest.mark.parametrize("name", HEADERS)
def test_a_cache_is_for_the_headers_that_it_was_made_with(ground: Ground, name: str) -> None:
    assert ground.why_not() == ""
    ground.put(f"{GO}/src/math/exp.s", "other sources are in Go's keys")
    assert ground.why_not() == ""
    ground.put(f"{GO}/{name}", "#define AX DX")
    assert ground.why_not() == (
        "the headers of go1.26.8 in /usr/local/go are not those of earlier builds"
    )
    ground.put(f"{GO}/{name}", name)
    assert ground.why_not() == ""


def test_each_version_has_its_own(ground: Ground) -> None:
    assert ground.why_not() == ""
    ground.put(f"{GO}/VERSION", "go1.27.0\n")
    ground.put(f"{GO}/{HEADERS[0]}", "newer")
    assert ground.why_not() == ""
    ground.go("/opt/go")
    assert ground.why_not(GO, "/opt/go") == ""
    ground.put(f"/opt/go/{HEADERS[0]}", "newer")
    assert "go1.26.8" in ground.why_not(GO, "/opt/go")


def test_the_tree_that_is_told_of_is_the_one(ground: Ground) -> None:
    ground.go("/opt/go", "go1.27.0")
    assert ground.why_not(GO, "/opt/go") == ""
    ground.put(f"/opt/go/{HEADERS[0]}", "patched")
    assert ground.why_not(GO, "/opt/go") == (
        "the headers of go1.27.0 in /opt/go are not those of earlier builds"
    )


def test_a_header_that_cannot_be_read_hides_no_other(ground: Ground) -> None:
    ground.put(f"{GO}/pkg/include/a.h")
    (ground.root / "usr/local/go/pkg/include/a.h").unlink()
    (ground.root / "usr/local/go/pkg/include/a.h").symlink_to("a.h")
    assert ground.why_not() == ""
    ground.put(f"{GO}/{HEADERS[0]}", "patched")
    assert "are not those" in ground.why_not()


def test_two_of_one_version_must_be_alike(ground: Ground) -> None:
    ground.go("/opt/go")
    assert ground.why_not(GO, "/opt/go") == ""
    ground.put("/opt/go/pkg/include/new.h")
    assert ground.why_not(GO, "/opt/go") == "there is another go1.26.8 in /opt/go"


def test_a_part_of_a_tree_is_no_go(ground: Ground) -> None:
    ground.put("/root/sdk/pkg/include/textflag.h")
    assert ground.why_not(GO, "/root/sdk") == "there is a part of Go's own tree in /root/sdk"


def test_a_damaged_note_costs_nothing_but_the_note(ground: Ground, tmp_path: Path) -> None:
    note = tmp_path / "cache/headers"
    note.write_bytes(b"go1.26.8\n\xff\0\tx\nhalf a li")
    assert "are not those" in ground.why_not()
    note.write_bytes(b"half a li")
    assert ground.why_not() == ""
    assert note.read_text().startswith("go1.26.8\t")


@pytest.mark.parametrize(
    ("target", "changes"),
    [(GO, True), ("/usr/local/go/pkg/include", True), ("/usr/local", True),
     ("/usr/local/gone", False), ("/usr/local/src", False)],
)  # fmt: skip
def test_what_is_mounted_there_is_another_go(ground: Ground, target: str, changes: bool) -> None:
    assert ("mounted" in ground.why_not(mounts=(StepMount("cache", target),))) == changes


@pytest.mark.parametrize("inner", ["", "go", "usr/local/go"])
def test_a_go_that_is_mounted_elsewhere(ground: Ground, inner: str, tmp_path: Path) -> None:
    (tmp_path / "other/fs" / inner / "pkg/include").mkdir(parents=True)
    own = StepMount("bind", "/opt", (str(tmp_path / "other"),), selector=f"/{inner}")
    assert ground.why_not(mounts=(own,)) == "something of Go's is mounted at /opt"
    here = StepMount("bind", "/opt", directory=str(tmp_path / "other/fs"), selector=inner)
    assert ground.why_not(mounts=(here,)) == "something of Go's is mounted at /opt"
    assert ground.why_not(mounts=(StepMount("bind", "/opt", (str(tmp_path / "gone"),)),)) == ""


def test_what_steps_have_made_is_found(ground: Ground) -> None:
    assert ground.made() == ()
    ground.put("/src/pkg/include/other.h", made=True)
    ground.put("/src/src/runtime/my.go", made=True)
    # What is in a snapshot never changes, and is looked at once.
    other = Ground(ground.root.parent / "more")
    other.go("/opt/go", made=True)
    other.put("/sdk/src/runtime/cgo/abi_arm64.h", made=True)
    (other.step / "linked/pkg").mkdir(parents=True)
    (other.step / "linked/pkg/include").symlink_to("/elsewhere")
    assert other.made() == ("/linked", "/opt/go", "/sdk")
    assert ground.made() == ()


@pytest.mark.parametrize(
    "name", [f"{GO}/VERSION", f"{GO}/src/math/x.s", "/opt/go/pkg/include/textflag.h"]
)
def test_a_step_that_changes_a_go_is_noticed(ground: Ground, name: str) -> None:
    (ground.step / "usr/local/go/pkg").mkdir(parents=True)
    ground.put("/usr/local/bin/tool", made=True)
    assert not touches(str(ground.step), str(ground.root), [GO])
    ground.put(name, made=True)
    assert touches(str(ground.step), str(ground.root), [GO])


def test_a_directory_that_a_step_empties_is_noticed(ground: Ground) -> None:
    include = ground.step / "usr/local/go/pkg/include"
    include.mkdir(parents=True)
    assert not touches(str(ground.step), str(ground.root), [GO])
    os.setxattr(include, "user.overlay.opaque", b"y")
    assert touches(str(ground.step), str(ground.root), [GO])


def test_a_step_that_removes_or_replaces_one_is_noticed(ground: Ground) -> None:
    (ground.step / "usr/local").mkdir(parents=True)
    (ground.step / "usr/local/go").symlink_to("/opt/go")
    assert touches(str(ground.step), str(ground.root), [GO])
    (ground.step / "usr/local/go").unlink()
    if os.getuid() == 0:
        os.mknod(ground.step / "usr/local/go", stat.S_IFCHR, 0)
        assert touches(str(ground.step), str(ground.root), [GO])


def test_parts_behind_links_count(ground: Ground) -> None:
    """As in Debian's packages."""
    ground.go("/usr/share/go-1.26")
    (ground.root / "usr/lib/go-1.26").mkdir(parents=True)
    for part in ("src", "pkg"):
        (ground.root / "usr/lib/go-1.26" / part).symlink_to(f"../../share/go-1.26/{part}")
    ground.put("/usr/lib/go-1.26/VERSION", "go1.26.8\n")
    assert is_tree_of_go(str(ground.root), "/usr/lib/go-1.26")
    assert ground.why_not("/usr/lib/go-1.26") == ""
    ground.put(f"/usr/share/go-1.26/{HEADERS[0]}", "patched", made=True)
    assert ground.why_not("/usr/lib/go-1.26") != ""
    assert touches(str(ground.step), str(ground.root), ["/usr/lib/go-1.26"])


def test_no_link_leads_to_the_machines_own_files(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/textflag.h").write_text("of the machine")
    ground.put("/opt/go/VERSION", "go1.26.8\n")
    (ground.root / "opt/go/pkg").mkdir()
    (ground.root / "opt/go/pkg/include").symlink_to(tmp_path / "outside")
    assert ground.why_not("/opt/go") == ""
    (tmp_path / "outside/textflag.h").write_text("changed")
    assert ground.why_not("/opt/go") == ""


def test_links_in_a_circle_change_nothing(ground: Ground) -> None:
    assert ground.why_not() == ""
    for path in (ground.root / "usr/local/go/src/runtime").rglob("*.h"):
        path.unlink()
    (ground.root / "usr/local/go/src/runtime/cgo").rmdir()
    (ground.root / "usr/local/go/src/runtime").rmdir()
    (ground.root / "usr/local/go/src/runtime").symlink_to("runtime")
    assert "are not those" in ground.why_not()
    assert not touches(str(ground.step), str(ground.root), [GO])
