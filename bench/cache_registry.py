# SPDX-License-Identifier: Apache-2.0
"""A registry that is put back to a kept state, and tells what was moved.

It is Debian's docker-registry, on a port that stays the same. Between runs its storage is exchanged
for a copy of the kept one, so that each round meets the state that the first one met. What it sent
is read from its log, what it received is what lies in its storage and did not before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import servers
from bench.failure import BenchError
from bench.links import Link, free_port

_REQUEST = re.compile(r'"(?:GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1" \d+ (\d+) ')


class Traffic(NamedTuple):
    """Since the registry was last reset; bytes of bodies, not of headers.

    `uploaded` is of all repositories; `cached` of what only the one with the caches has.
    """

    requests: int
    received: int
    uploaded: int
    cached: int


class CacheRegistry:
    """A context manager; `host` answers between `reset` (or `begin`) and the end."""

    def __init__(self, work: Path, env: Mapping[str, str], link: Link, port: int = 0) -> None:
        self.port = port or free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._work = work
        self._env = env
        self._link = link
        self._running = ExitStack()
        work.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> CacheRegistry:
        self.begin()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._running.close()

    @property
    def _live(self) -> Path:
        return self._work / "live"

    @property
    def _kept(self) -> Path:
        return self._work / "kept"

    def begin(self) -> None:
        """Starts it, with what lies there."""
        self._running.close()
        port = self._running.enter_context(self._link.front(self.port))
        server = servers.kept_registry(self._live, self._work / "log", self._env, port)
        self._running.enter_context(server)

    def keep(self) -> None:
        """What it has now is what it goes back to."""
        self._running.close()
        _copy_storage(self._live, self._kept)
        self.begin()

    def reset(self) -> None:
        """Goes back to what was kept, and begins to count anew."""
        self._running.close()
        if self._kept.exists():
            _copy_storage(self._kept, self._live)
        self.begin()

    def traffic(self, caches: str) -> Traffic:
        """What was moved since the last reset; `caches` is the repository with the caches."""
        sent = [int(size) for _, size in _REQUEST.findall((self._work / "log").read_text())]
        blobs, before = _blobs(self._live), _blobs(self._kept)
        new = {name: size for name, size in blobs.items() if name not in before}
        of_images = set[str]().union(
            *(self._linked(one) for one in self._repositories() if one != caches)
        )
        cached = sum(size for name, size in new.items() if name in self._linked(caches) - of_images)
        return Traffic(len(sent), sum(sent), sum(new.values()), cached)

    def digest(self, repository: str, tag: str) -> str:
        """What a tag means."""
        link = self._repository(repository) / "_manifests" / "tags" / tag / "current" / "link"
        try:
            return link.read_text().strip()
        except FileNotFoundError:
            raise BenchError(f"the registry has no {repository}:{tag}") from None

    def manifest(self, repository: str, tag: str) -> dict[str, Any]:
        """The manifest of a tag; of an index the first that it names."""
        found: dict[str, Any] = json.loads(self.blob(self.digest(repository, tag)).read_bytes())
        while "manifests" in found:
            found = json.loads(self.blob(found["manifests"][0]["digest"]).read_bytes())
        return found

    def size(self, repository: str, tag: str) -> int:
        """The bytes of all blobs of a tag's manifest."""
        manifest = self.manifest(repository, tag)
        blobs = [manifest["config"], *manifest["layers"]]
        return sum({blob["digest"]: blob["size"] for blob in blobs}.values())

    def blob(self, digest: str) -> Path:
        """Where a blob lies."""
        _, _, name = digest.partition(":")
        return _root(self._live) / "blobs" / "sha256" / name[:2] / name / "data"

    def _repository(self, name: str) -> Path:
        return _root(self._live) / "repositories" / name

    def _repositories(self) -> list[str]:
        return [place.name for place in _root(self._live).glob("repositories/*")]

    def _linked(self, repository: str) -> set[str]:
        place = self._repository(repository)
        links = (*place.glob("_layers/sha256/*"), *place.glob("_manifests/revisions/sha256/*"))
        return {link.name for link in links}


def _root(storage: Path) -> Path:
    return storage / "docker" / "registry" / "v2"


def _blobs(storage: Path) -> dict[str, int]:
    found = _root(storage).glob("blobs/sha256/*/*/data")
    return {path.parent.name: path.stat().st_size for path in found}


def _copy_storage(source: Path, target: Path) -> None:
    """Blobs never change and are linked; the small files that name them are written in place."""

    def copy(one: str, other: str) -> None:
        if os.path.basename(one) == "data":
            os.link(one, other)
        else:
            shutil.copyfile(one, other)

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=copy)


@contextmanager
def holding(directory: Path) -> Iterator[Path]:
    """An empty directory for the time of the block."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
