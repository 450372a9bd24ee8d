# SPDX-License-Identifier: Apache-2.0
"""Random changes to random roots of both kinds, inside the namespaces; run as the user to test.

`trees_driver.py DIRECTORY SEEDS OWNERS`: for each seed a stack of snapshots is made and changed
the same way as overlay and as copies. Printed is one JSON line with the first difference, or with
how often each kind of row was seen.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import socket
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from wherry.sandbox import syscalls
from wherry.sandbox.exchange import Scanned
from wherry.sandbox.scanning import scan_snapshot
from wherry.sandbox.tree_copy import copy_tree
from wherry.sandbox.trees import Trees, probe_overlay

OLD = 1_500_000_000
LINKED = 0o606  # the mode of files with several names
NAMES = "abcd"
Facts = dict[str, tuple[object, ...]]


class Changer:
    """Applies random changes to a root; two with the same seed do the same."""

    def __init__(self, root: str, seed: str, owners: bool) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.owners = owners
        self.count = itertools.count()
        self.kinds = [getattr(self, name) for name in sorted(vars(Changer)) if name[:3] == "do_"]

    def change(self, times: int) -> None:
        for _ in range(times):
            do = self.random.choice(self.kinds)
            path, other = self._path(), self._path()
            number = self.random.random()
            with suppress(OSError):
                do(path, other, number)

    def _path(self) -> str:
        depth = self.random.choice((1, 1, 2, 2, 3))
        return "/".join((self.root, *(self.random.choice(NAMES) for _ in range(depth))))

    def _is_shared(self, path: str) -> bool:
        # To change one of several names below splits them in overlayfs, and nowhere else.
        return stat.S_IMODE(os.lstat(path).st_mode) == LINKED

    def do_write(self, path: str, _other: str, number: float) -> None:
        with open(path, "x") as file:
            file.write(f"{number}")
        os.utime(path, (OLD, OLD))

    do_write_2 = do_write_3 = do_write

    def do_append(self, path: str, _other: str, number: float) -> None:
        if stat.S_ISREG(os.lstat(path).st_mode) and not self._is_shared(path):
            with open(path, "a") as file:
                file.write(f"{number}")

    def do_open_only(self, path: str, _other: str, _number: float) -> None:
        if stat.S_ISREG(os.lstat(path).st_mode):
            os.close(os.open(path, os.O_RDWR))

    def do_same_size(self, path: str, _other: str, number: float) -> None:
        """Other bytes, all else as before."""
        before = os.lstat(path)
        if stat.S_ISREG(before.st_mode) and not self._is_shared(path):
            with open(path, "r+") as file:
                file.write(f"{number}"[: before.st_size])
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def do_mkdir(self, path: str, _other: str, _number: float) -> None:
        os.mkdir(path)

    do_mkdir_2 = do_mkdir

    def do_chmod(self, path: str, _other: str, number: float) -> None:
        if not os.path.islink(path) and (os.path.isdir(path) or not self._is_shared(path)):
            os.chmod(path, 0o700 if number < 0.5 else 0o755)

    def do_chmod_back(self, path: str, _other: str, _number: float) -> None:
        if not os.path.islink(path) and (os.path.isdir(path) or not self._is_shared(path)):
            mode = stat.S_IMODE(os.lstat(path).st_mode)
            os.chmod(path, 0o711)
            os.chmod(path, mode)

    def do_chown(self, path: str, _other: str, number: float) -> None:
        if self.owners and (os.path.isdir(path) or not self._is_shared(path)):
            os.chown(path, int(number * 3), 7, follow_symlinks=False)

    def do_touch(self, path: str, _other: str, number: float) -> None:
        if os.path.isdir(path) or not self._is_shared(path):
            os.utime(path, (OLD, OLD + int(number * 3)), follow_symlinks=False)

    def do_attribute(self, path: str, _other: str, number: float) -> None:
        if not os.path.islink(path) and (os.path.isdir(path) or not self._is_shared(path)):
            os.setxattr(path, "user.test", f"{number}".encode())

    def do_remove(self, path: str, _other: str, _number: float) -> None:
        os.unlink(path)

    def do_remove_all(self, path: str, _other: str, _number: float) -> None:
        if os.path.isdir(path):
            shutil.rmtree(path)

    def do_again(self, path: str, _other: str, _number: float) -> None:
        if os.path.isdir(path):
            shutil.rmtree(path)
            os.mkdir(path)

    def do_instead(self, path: str, _other: str, number: float) -> None:
        """A directory becomes a file, a file a directory."""
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
            self.do_write(path, "", number)
        else:
            os.unlink(path)
            os.mkdir(path)

    def do_symlink(self, path: str, other: str, _number: float) -> None:
        os.symlink(os.path.relpath(other, self.root), path)
        os.utime(path, (OLD, OLD), follow_symlinks=False)

    def do_pipe(self, path: str, _other: str, _number: float) -> None:
        os.mkfifo(path)

    def do_link(self, path: str, other: str, number: float) -> None:
        self.do_write(path, other, number)
        os.chmod(path, LINKED)
        os.link(path, other)

    do_link_2 = do_link

    def do_socket(self, path: str, _other: str, number: float) -> None:
        if number < 0.5:
            os.unlink(path)
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path)

    def do_move(self, path: str, other: str, _number: float) -> None:
        """As mv(1) does it: where the kernel refuses, by copy and removal."""
        if os.path.isdir(path) and not os.path.islink(path):
            if other.startswith(path) or os.path.lexists(other):
                return
            try:
                os.rename(path, other)
            except OSError:
                os.mkdir(other)
                copy_tree(path, other)
                shutil.rmtree(path)
        else:
            os.rename(path, other)

    do_move_2 = do_move


def listing(root: str) -> Facts:
    """All that is in a tree, but for the times of directories and of what was made just now."""
    found: Facts = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISSOCK(status.st_mode):
                continue
            content = b""
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path).encode()
            names = os.listxattr(path, follow_symlinks=False)
            xattrs = tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in names)
            found[os.path.relpath(path, root)] = (
                stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid,
                status.st_gid, content, tuple(sorted(xattrs)), _time(status.st_mtime, name, status),
            )  # fmt: skip
    return found


def _time(mtime: float, _name: str, status: os.stat_result) -> int:
    if stat.S_ISDIR(status.st_mode) or mtime > OLD + 10:
        return 0
    return int(mtime)


def replayed(before: Facts, rows: list[Scanned], after: Facts) -> Facts:
    """`before` with the rows applied; contents are taken from `after`."""
    result = dict(before)
    for row in rows:
        below = f"{row.path}/"
        if row.kind != "directory" or row.opaque:
            for path in [path for path in result if path.startswith(below)]:
                del result[path]
        if row.kind == "whiteout":
            assert row.path in result, f"whiteout of nothing: {row.path}"
            del result[row.path]
        else:
            assert not row.opaque or row.path in before, f"opaque for nothing: {row.path}"
            result[row.path] = after[row.path]
    return result


def canonical(rows: list[Scanned]) -> list[Scanned]:
    """Rows that can be compared: inode numbers by first use, times without the present."""
    numbers: dict[int, int] = {0: 0}
    kept = []
    for row in rows:
        inode = numbers.setdefault(row.inode, len(numbers))
        is_now = row.kind == "directory" or row.mtime > OLD + 10
        kept.append(row._replace(inode=inode, mtime=0 if is_now else row.mtime))
    return kept


def check_needed(rows: list[Scanned], before: Facts, after: Facts) -> Iterator[str]:
    """Rows for what did not change at all."""
    paths = [row.path for row in rows]
    for row in rows:
        is_same = before.get(row.path) == after.get(row.path)
        holds = any(path.startswith(f"{row.path}/") for path in paths)
        if is_same and not holds and not row.opaque and row.kind == "directory":
            yield row.path


def build(trees: Trees, home: str, seed: int, owners: bool) -> tuple[tuple[str, ...], list[str]]:
    """Three snapshots, one on the other."""
    lowers: tuple[str, ...] = ()
    said = []
    for level in range(4):
        staged = os.path.join(home, str(level))
        os.mkdir(staged)
        with trees.root(lowers, staged) as root:
            before = listing(root)
            Changer(root, f"{seed}/{level}", owners).change(40 if level else 80)
            after = listing(root)
        change = trees.measure(lowers, staged)
        opaque = f"{trees.overlay.mark}opaque" if trees.overlay else ""
        rows = list(scan_snapshot(staged, opaque))
        assert change.empty == (not rows), (change, rows)
        lowers = (*lowers, staged)
        with trees.tree(lowers, writable=False) as root:
            now = listing(root)
        assert now == after, f"settling changed the tree: {_difference(now, after)}"
        assert replayed(before, rows, after) == after, _difference(
            replayed(before, rows, after), after
        )
        assert not list(check_needed(rows, before, after)), list(check_needed(rows, before, after))
        said.append(json.dumps([row._replace(xattrs=str(row.xattrs)) for row in canonical(rows)]))  # type: ignore[arg-type]
        seen.update(row.kind + (" opaque" if row.opaque else "") for row in rows)
        seen.update("linked" for row in rows if row.inode)
    return lowers, said


def _difference(one: Facts, two: Facts) -> str:
    paths = sorted(path for path in {*one, *two} if one.get(path) != two.get(path))
    return "; ".join(f"{path}: {one.get(path)} and {two.get(path)}" for path in paths)


seen: Counter[str] = Counter()


def main() -> None:
    home, first, count, owners = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"
    os.umask(0o022)
    memory = os.path.join(home, "memory")
    os.mkdir(memory)
    syscalls.mount("tmpfs", memory, "tmpfs")
    user = Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    overlay = probe_overlay(home, user=user)
    if overlay is None:
        print(json.dumps({"refused": "overlayfs"}))
        return
    kinds = {}
    for name, used in (("overlay", overlay), ("whole", None)):
        os.mkdir(f"{memory}/{name}")
        kinds[name] = Trees(used, f"{memory}/{name}", home)
    for seed in range(first, first + count):
        said = {}
        for name, trees in kinds.items():
            place = os.path.join(home, f"{name}-{seed}")
            os.mkdir(place)
            try:
                said[name] = build(trees, place, seed, owners)[1]
            except AssertionError as error:
                print(json.dumps({"seed": seed, "kind": name, "wrong": str(error)}))
                return
            shutil.rmtree(place)
        if said["overlay"] != said["whole"]:
            print(json.dumps({"seed": seed, **said}))
            return
    print(json.dumps({"seen": seen}))


if __name__ == "__main__":
    main()
