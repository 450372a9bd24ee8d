# SPDX-License-Identifier: Apache-2.0
"""What the snapshots of a root hide of a Go cache below them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.sandbox.go_shadows import OPAQUE, Shadows

PLACE = "/go/pkg/mod"
Hiding = Callable[[Path], None]


@pytest.fixture
def tops(tmp_path: Path) -> list[Path]:
    """Three snapshots; the first has nothing in the cache's place."""
    tops = [tmp_path / name for name in "123"]
    for top in tops:
        (top / "go/pkg").mkdir(parents=True)
    for top in tops[1:]:
        (top / "go/pkg/mod").mkdir()
    return tops


def shadows(tops: list[Path]) -> Shadows:
    return Shadows(map(str, tops), PLACE)


def remove(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR, 0)


def make_anew(path: Path) -> None:
    path.mkdir(parents=True)
    os.setxattr(path, OPAQUE[1], b"y")


def test_directories_alone_hide_nothing(tops: list[Path]) -> None:
    (tops[1] / "go/pkg/mod/example.com").mkdir()
    found = shadows(tops)
    assert not found.hide_all
    assert not found.cover("example.com/m@v1.0.0")
    assert not found.hide("example.com/m@v1.0.0")


@pytest.mark.parametrize("hidden", [remove, make_anew])
def test_what_is_below_a_removed_directory_is_hidden(tops: list[Path], hidden: Hiding) -> None:
    hidden(tops[1] / "go/pkg/mod/example.com")
    found = shadows(tops)
    assert not found.hide_all
    for name in ("example.com", "example.com/m@v1.0.0", "example.com/a/b"):
        assert found.cover(name)
        assert found.hide(name)
    assert not found.cover("example.org/m@v1.0.0")


def test_what_a_snapshot_has_itself_is_not_seen_alone(tops: list[Path]) -> None:
    (tops[2] / "go/pkg/mod/m@v1.0.0").mkdir()
    (tops[2] / "go/pkg/mod/cache").mkdir()
    (tops[2] / "go/pkg/mod/cache/lock").touch()
    found = shadows(tops)
    assert found.cover("m@v1.0.0")
    assert not found.hide("m@v1.0.0")
    assert found.cover("cache/lock")


@pytest.mark.parametrize("hidden", [remove, make_anew])
@pytest.mark.parametrize("name", ["go", "go/pkg", "go/pkg/mod"])
def test_one_snapshot_hides_all(
    tops: list[Path], tmp_path: Path, hidden: Hiding, name: str
) -> None:
    hidden(tmp_path / "4" / name)
    assert not shadows(tops).hide_all
    assert shadows([*tops, tmp_path / "4"]).hide_all
    assert shadows([tmp_path / "4", *tops]).hide_all
