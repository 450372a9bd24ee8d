# SPDX-License-Identifier: Apache-2.0
"""Removing trees that do not want to go."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.fstree.removal import remove_tree


def test_nothing_there_is_fine(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "none"))
    remove_tree(str(tmp_path / "none" / "below"))


def test_a_file_and_a_link_go_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").touch()
    (tmp_path / "link").symlink_to("kept")
    remove_tree(str(tmp_path / "link"))
    assert os.listdir(tmp_path) == ["kept"]
    remove_tree(str(tmp_path / "kept" / "x"))
    assert os.listdir(tmp_path / "kept") == []


def test_links_inside_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(outside)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == ["outside"]
    assert outside.stat().st_mode & 0o777 == 0o500


def test_read_only_and_closed_directories_go(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "x").touch(mode=0o000)
    for name, mode in (("a/b", 0o000), ("a", 0o555), ("", 0o400)):
        (tree / name).chmod(mode)
    argv = [sys.executable, "-c"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed")
        drop = "--bounding-set=-dac_override,-dac_read_search,-fowner"
        argv = ["setpriv", drop, "--inh-caps=-all", *argv]
    code = "import sys; from wherry.fstree.removal import remove_tree; remove_tree(sys.argv[1])"
    done = subprocess.run([*argv, code, str(tree)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == []


def test_depth_beyond_stack_and_descriptors(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    descriptor = os.dup(top)
    os.mkdir("tree", dir_fd=top)
    name = "tree"
    for _ in range(1500):
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor, name = below, "d"
        os.mkdir(name, dir_fd=descriptor)
        os.close(os.open("0", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    os.close(top)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []
