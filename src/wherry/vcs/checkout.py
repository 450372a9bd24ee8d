# SPDX-License-Identifier: Apache-2.0
"""A checked-out tree made independent of how it came about: modes, times, leftovers of git.

The tree belongs to this process alone, so that paths can be used; links are never followed.
"""

from __future__ import annotations

import os
import stat

from wherry.errors import BuildError, near


def settle(tree: str, directory: str, time: int, *, keeps_git: bool) -> str:
    """The path of `directory` in `tree`, all of it with settled modes and the time `time`.

    Modes are as git makes them under the umask 022. Unless `keeps_git`, the files are removed by
    which submodules name a repository that is not there any more. Raises `BuildError` where the
    path is not there, or does not consist of directories only.
    """
    root = _inside(tree, directory)
    todo, found = [root], []
    while todo:
        here = todo.pop()
        found.append(here)
        with os.scandir(here) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    todo.append(item.path)
                elif item.name == ".git" and not keeps_git:
                    os.unlink(item.path)
                else:
                    _settle_file(item, time)
    # What lies deeper comes first, for a change inside changes a directory's time.
    for path in reversed(found):
        _set_mode(path, os.lstat(path).st_mode)
        os.utime(path, (time, time))
    return root


def _inside(tree: str, directory: str) -> str:
    path = tree
    for name in directory.split("/") if directory else ():
        inner = os.path.join(path, name)
        try:
            kind = os.lstat(inner).st_mode
        except FileNotFoundError:
            raise BuildError(
                f"there is no directory {directory} in the git repository",
                hint=near(name, tuple(sorted(os.listdir(path)))),
            ) from None
        if not stat.S_ISDIR(kind):
            raise BuildError(
                f"{directory} in the git repository is not a directory",
                why=f"{name} is a link" if stat.S_ISLNK(kind) else f"{name} is a file",
            )
        path = inner
    return path


def _settle_file(item: os.DirEntry[str], time: int) -> None:
    mode = item.stat(follow_symlinks=False).st_mode
    if not stat.S_ISLNK(mode):
        _set_mode(item.path, mode)
    os.utime(item.path, (time, time), follow_symlinks=False)


def _set_mode(path: str, mode: int) -> None:
    owner = stat.S_IMODE(mode) >> 6 & 7
    os.chmod(path, owner << 6 | (owner & 5) << 3 | (owner & 5))
