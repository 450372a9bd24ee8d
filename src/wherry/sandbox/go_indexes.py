# SPDX-License-Identifier: Apache-2.0
"""Go's indexes of modules in a build cache: which packages a module has, and what they import.

Go makes an index of each module that it looks into, which takes more than a second for a large
program, and finds it again by its own version and the module's directory, not by what is in there.
So an index stays in a cache only with the line of go.sum that vouches for what the directory held,
and a step sees it only where its own go.sum has that line and nobody can have changed a module in
its root. Source: `cmd/go/internal/modindex` and `cmd/go/internal/cache` of Go 1.21 to 1.27.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from wherry.sandbox.go_modules import read_start, tree_of
from wherry.sandbox.step_spec import StepGoCache

_RELEASE: Final = re.compile(r"go1\.\d+(?:\.\d+)?(?:(?:rc|beta)\d+)?")
_KEPT: Final = "indexes"
_LOCK: Final = "indexes.lock"


def index_ids(
    root: str, goroots: Iterable[str], modules: str, lines: Collection[str]
) -> dict[str, str]:
    """The lines of go.sum by the ids of the actions that are indexes of their modules.

    `goroots` are where `root` has Go's own trees, `modules` is the path of the module cache. Where
    Go is no release the ids are others, and there is none.
    """
    found = {}
    for goroot in goroots:
        words = read_start(f"{root}{goroot}/VERSION", 100).decode("ascii", "replace").split()
        version = words[0] if words and _RELEASE.fullmatch(words[0]) else ""
        for line in lines if version else ():
            tree = tree_of(line)
            if tree:
                text = f"{version}module index {version} go index v2 {modules}/{tree}\n"
                found[hashlib.sha256(text.encode()).hexdigest()] = line
    return found


def stale_indexes(cache: StepGoCache, lines: frozenset[str]) -> list[str]:
    """The names in a build cache of the indexes that none of these lines is kept with.

    Raises `OSError`.
    """
    kept = f"{cache.lower}/{_KEPT}"
    try:
        ids = sorted(os.listdir(kept))
    except FileNotFoundError:
        return []
    return [
        f"{one[:2]}/{one}-a"
        for one in ids
        if os.path.lexists(f"{cache.lower}/fs{cache.path}/{one[:2]}/{one}-a")
        and read_start(f"{kept}/{one}").decode("utf-8", "replace") not in lines
    ]


class KeptLines:
    """The lines of one build cache; whoever changes a line and its index does it `alone`."""

    def __init__(self, cache: StepGoCache) -> None:
        self._cache = cache

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Of all threads and processes. Raises `OSError`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(f"{self._cache.lower}/{_LOCK}", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def find(self, identity: str) -> str:
        """The line of an index, empty for none."""
        return read_start(f"{self._cache.lower}/{_KEPT}/{identity}").decode("utf-8", "replace")

    def keep(self, identity: str, line: str) -> None:
        """Note what an index was made of, before it comes into the cache. Raises `OSError`.

        An index of another line goes: whoever is killed leaves no index beside the wrong line.
        """
        lower = self._cache.lower
        if self.find(identity) not in ("", line):
            with suppress(FileNotFoundError):
                os.unlink(f"{lower}/fs{self._cache.path}/{identity[:2]}/{identity}-a")
        os.makedirs(f"{lower}/{_KEPT}", exist_ok=True)
        staged = f"{lower}/{identity}.{secrets.token_hex(4)}"
        with open(staged, "x", encoding="utf-8") as file:
            file.write(line)
        os.rename(staged, f"{lower}/{_KEPT}/{identity}")


def forget_lines(cache: StepGoCache) -> None:
    """Forget indexes that are no longer there. Raises `OSError`."""
    with suppress(FileNotFoundError), KeptLines(cache).alone():
        for one in os.listdir(f"{cache.lower}/{_KEPT}"):
            if not os.path.lexists(f"{cache.lower}/fs{cache.path}/{one[:2]}/{one}-a"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{cache.lower}/{_KEPT}/{one}")
