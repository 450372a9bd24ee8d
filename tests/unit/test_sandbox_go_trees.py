# SPDX-License-Identifier: Apache-2.0
"""Whether Go's own tree is as one slab brought it: by the root's own links, never by the host's."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.sandbox.go_trees import is_tree_of_go, settled

GO = "/usr/local/go"


class Ground:
    """A root and the trees that make it, the lowest first."""

    def __init__(self, top: Path) -> None:
        self.root = top / "root"
        self.base, self.step = top / "base", top / "step"
        for path in (self.root, self.base, self.step):
            path.mkdir()

    def put(self, name: str, *tops: Path) -> None:
        for top in (self.root, *tops):
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def link(self, name: str, target: str, *tops: Path) -> None:
        for top in (self.root, *tops):
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)

    def is_settled(self, goroot: str = GO) -> bool:
        return settled(str(self.root), [str(self.base), str(self.step)], [goroot]) == (goroot,)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_a_tree_of_one_slab_is_settled(ground: Ground) -> None:
    ground.put("usr/local/go/VERSION", ground.base)
    ground.put("usr/local/bin/tool", ground.step)
    (ground.step / "usr/local/go/pkg").mkdir(parents=True)
    assert ground.is_settled()
    assert is_tree_of_go(str(ground.root), GO)
    assert not is_tree_of_go(str(ground.root), "/usr/local")


@pytest.mark.parametrize("name", ["VERSION", "src/math/x.s", "pkg/include/textflag.h"])
def test_what_another_slab_adds_to_it_is_noticed(ground: Ground, name: str) -> None:
    ground.put("usr/local/go/VERSION", ground.base)
    ground.put(f"usr/local/go/{name}", ground.step)
    assert not ground.is_settled()


def test_a_link_in_its_place_is_a_change(ground: Ground) -> None:
    ground.put("usr/local/go/VERSION", ground.base)
    (ground.step / "usr/local").mkdir(parents=True)
    (ground.step / "usr/local/go").symlink_to("/elsewhere")
    assert not ground.is_settled()


def test_parts_behind_links_count(ground: Ground) -> None:
    """As in Debian's packages."""
    ground.put("usr/lib/go-1.26/VERSION", ground.base)
    ground.put("usr/share/go-1.26/src/math/x.s", ground.base)
    ground.link("usr/lib/go-1.26/src", "../../share/go-1.26/src", ground.base)
    assert ground.is_settled("/usr/lib/go-1.26")
    ground.put("usr/share/go-1.26/src/runtime/textflag.h", ground.step)
    assert not ground.is_settled("/usr/lib/go-1.26")


def test_no_link_leads_to_the_machines_own_files(ground: Ground, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    ground.put("opt/go/VERSION", ground.base)
    ground.link("usr/local/go", "/opt/go", ground.base)
    ground.link("opt/go/src", str(outside), ground.base)
    ground.put(f"{outside}/x".lstrip("/"), ground.step)
    # In the root the link leads to a directory of the step's.
    assert ground.is_settled()
    ground.put("opt/go/bin/go", ground.step)
    assert not ground.is_settled()


def test_links_in_a_circle_change_nothing(ground: Ground) -> None:
    ground.put("usr/local/go/VERSION", ground.base)
    ground.link("usr/local/go/src", "src", ground.base)
    assert ground.is_settled()
