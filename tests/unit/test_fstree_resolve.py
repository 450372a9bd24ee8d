# SPDX-License-Identifier: Apache-2.0
"""Links followed inside a tree, as the kernel follows them in a root of its own."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_samples import directory, link, tree
from wherry.errors import UsageError
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import Directory, Entry, Symlink

FILES = tree(
    "usr/bin/tool",
    "etc/passwd",
    link("bin", "usr/bin"),
    link("abs", "/etc"),
    link("up", "../../../etc/./passwd"),
    link("usr/here", "bin/../bin"),
    link("chain", "abs"),
    link("gone", "no/such"),
    link("round", "circle"),
    link("circle", "/round"),
)


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("", ""),
        ("/", ""),
        ("..", ""),
        ("bin", "usr/bin"),
        ("/bin/tool", "usr/bin/tool"),
        ("bin/", "usr/bin"),
        ("bin/..", "usr"),
        ("abs/passwd", "etc/passwd"),
        ("chain/passwd", "etc/passwd"),
        ("up", "etc/passwd"),
        ("usr/here/tool", "usr/bin/tool"),
        ("bin/new/file", "usr/bin/new/file"),
        ("gone/x", "no/such/x"),
        ("a//b/./c", "a/b/c"),
        ("etc/passwd/x", "etc/passwd/x"),
    ],
)
def test_paths_lead_where_the_links_lead(path: str, real: str) -> None:
    assert resolve(FILES, path) == real


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("bin", "bin"),
        ("chain", "chain"),
        ("bin/tool", "usr/bin/tool"),
        ("round", "round"),
        ("", ""),
    ],
)
def test_a_link_in_the_last_place_may_stay(path: str, real: str) -> None:
    assert resolve(FILES, path, last=False) == real


@pytest.mark.parametrize("path", ["round", "circle/x", "usr/../round"])
def test_a_circle_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="cannot follow the links") as caught:
        resolve(FILES, path)
    assert "circle" in caught.value.why


def test_as_many_links_as_are_allowed() -> None:
    many = tree("l255", *(link(f"l{number}", f"l{number + 1}") for number in range(255)))
    assert resolve(many, "l0") == "l255"
    more = tree("l256", *(link(f"l{number}", f"l{number + 1}") for number in range(256)))
    with pytest.raises(UsageError):
        resolve(more, "l0")


def test_links_that_grow_end_soon() -> None:
    grows = tree(link("a", "x/" * 2000 + "../" * 2000 + "a"))
    with pytest.raises(UsageError):
        resolve(grows, "a")


NAMES = ("a", "b", "c")
TARGETS = st.lists(st.sampled_from((*NAMES, "..", ".", "")), min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    found: list[Entry] = []
    for top in NAMES:
        if draw(st.booleans()):
            found.append(link(top, draw(TARGETS.filter(bool))))
            continue
        found.append(directory(top))
        for name in NAMES:
            below = f"{top}/{name}"
            found.append(
                link(below, draw(TARGETS.filter(bool))) if draw(st.booleans()) else directory(below)
            )
    return found


@settings(max_examples=200, deadline=None)
@given(entries=trees(), path=TARGETS)
def test_existing_paths_are_those_of_the_kernel(entries: list[Entry], path: str) -> None:
    """Absolute targets are left out: the kernel would need a root of its own for them."""
    relative = [entry for entry in entries if not _is_absolute(entry)]
    with tempfile.TemporaryDirectory() as root:
        top = os.path.realpath(root)
        for entry in relative:
            full = os.path.join(top, entry.path)
            if isinstance(entry, Symlink):
                os.symlink(entry.target, full)
            elif isinstance(entry, Directory):
                os.mkdir(full)
        try:
            real = os.path.realpath(os.path.join(top, path.strip("/")), strict=True)
        except OSError:
            return
        if real != top and not real.startswith(f"{top}/"):
            return
        if _leaves(top, path):
            return
        assert resolve(tree(*relative), path.strip("/")) == os.path.relpath(real, top).strip(".")


def _is_absolute(entry: Entry) -> bool:
    return isinstance(entry, Symlink) and entry.target.startswith("/")


def _leaves(top: str, path: str) -> bool:
    """Whether the way leads above the root, where only the kernel goes on."""
    at = top
    todo = [part for part in reversed(path.split("/")) if part]
    for _ in range(500):
        if not todo:
            return False
        part = todo.pop()
        at = os.path.dirname(at) if part == ".." else os.path.join(at, part) if part != "." else at
        if os.path.islink(at):
            todo.extend(part for part in reversed(os.readlink(at).split("/")) if part)
            at = os.path.dirname(at)
        if len(at) < len(top):
            return True
    return True
