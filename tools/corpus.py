#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lay out the corpus on which `wherry check` is measured, out of sources that are on this machine.

`corpus.txt` names public Go programs, a line each: `OWNER/NAME COMMIT` for a git repository, of
which `--repositories` holds a copy as `OWNER+NAME/repo` (bare or not), or `MODULE VERSION` for a
module whose zip is in the module cache. Nothing is fetched: what is not there is counted, told
and left out. Each source that holds at least one Go Dockerfile is laid out below DIR as
`OWNER+NAME@COMMIT` or `MODULE@VERSION`, whole but for testdata, files above 1 MB and links that
lead out of it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from wherry.advice.search import find_dockerfiles

_LARGEST: Final = 1_000_000
_PASSED_BY: Final = frozenset((".git", "node_modules", "testdata"))
_GO: Final = re.compile(
    rb"^\s*FROM\s+(?:--\S+\s+)?(?:\S+/)?golang\b|\bgo\s+(?:build|install|test|mod)\b", re.M | re.I
)
_COPIES: Final = re.compile(rb"^\s*(?:COPY|ADD)\s", re.M | re.I)


class File(NamedTuple):
    """A file of a source: its path there, its bytes; where it is a link, those say where to."""

    name: str
    data: bytes
    is_link: bool = False


class Source(NamedTuple):
    """A line of the list."""

    name: str
    version: str

    @property
    def is_repository(self) -> bool:
        """A repository's name has one slash, a module's first word has a dot."""
        return "." not in self.name.partition("/")[0]

    @property
    def folder(self) -> str:
        """Its directory in the corpus."""
        name = self.name.replace("/", "+") if self.is_repository else self.name
        return f"{name}@{self.version[:12] if self.is_repository else self.version}"


def main() -> int:
    """Lay out what the list names; returns 1 where nothing was there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the corpus is laid out")
    parser.add_argument("--list", type=Path, default=Path(__file__).with_name("corpus.txt"))
    parser.add_argument("--repositories", type=Path, help="copies of git repositories")
    parser.add_argument("--cache", type=Path, help="a Go module cache")
    asked = parser.parse_args()
    sources = dockerfiles = 0
    absent = []
    for source in read_list(asked.list):
        if (asked.folder / source.folder).is_dir():
            found = go_dockerfiles(asked.folder / source.folder)
        elif (files := opened(source, asked.repositories, asked.cache)) is None:
            absent.append(source.name)
            continue
        else:
            found = lay_out(files, asked.folder, source.folder)
        sources += bool(found)
        dockerfiles += found
    for name in absent:
        sys.stderr.write(f"not here: {name}\n")
    sys.stdout.write(f"{sources} sources, {dockerfiles} Go Dockerfiles, {len(absent)} not here\n")
    return 0 if sources else 1


def read_list(path: Path) -> Iterator[Source]:
    """The list's lines but for comments."""
    for line in path.read_text().splitlines():
        words = line.partition("#")[0].split()
        if words:
            name, version = words
            yield Source(name, version)


def opened(source: Source, repositories: Path | None, cache: Path | None) -> Iterator[File] | None:
    """A source's files; None where the machine has it not."""
    if source.is_repository:
        place = repositories / source.name.replace("/", "+") / "repo" if repositories else None
        return _from_git(place, source.version) if place and _has(place, source.version) else None
    escaped = re.sub("[A-Z]", lambda match: f"!{match[0].lower()}", source.name)
    version = re.sub("[A-Z]", lambda match: f"!{match[0].lower()}", source.version)
    place = cache / "cache/download" / escaped / "@v" / f"{version}.zip" if cache else None
    return (
        _from_zip(place, f"{source.name}@{source.version}/") if place and place.is_file() else None
    )


def _has(repository: Path, commit: str) -> bool:
    command = ["git", "-C", str(repository), "cat-file", "-e", f"{commit}^{{commit}}"]
    if not repository.is_dir():
        return False
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def _from_git(repository: Path, commit: str) -> Iterator[File]:
    """The files of a commit; copies may lack the largest ones, which are passed by."""
    listed = _git(repository, "ls-tree", "-r", "-z", commit).decode(errors="surrogateescape")
    kept: list[tuple[str, File]] = []
    for line in listed.split("\0")[:-1]:
        facts, name = line.split("\t", 1)
        mode, _, blob = facts.split(" ")
        if mode[:3] in ("100", "120") and _is_kept(name):
            kept.append((blob, File(name, b"", mode[:3] == "120")))
    asked = "".join(f"{blob}\n" for blob, _ in kept).encode()
    sizes = _git(repository, "cat-file", "--batch-check=%(objectsize)", asked=asked).split(b"\n")
    small = [pair for pair, size in zip(kept, sizes, strict=False)
             if size.isdigit() and int(size) <= _LARGEST]  # fmt: skip
    asked = "".join(f"{blob}\n" for blob, _ in small).encode()
    data = _git(repository, "cat-file", "--batch=%(objectsize)", asked=asked)
    start = 0
    for _, file in small:
        begin = data.index(b"\n", start) + 1
        size = int(data[start:begin])
        yield file._replace(data=data[begin : begin + size])
        start = begin + size + 1


def _git(repository: Path, *words: str, asked: bytes = b"") -> bytes:
    environment = os.environ | {"GIT_NO_LAZY_FETCH": "1"}
    command = ["git", "-C", str(repository), *words]
    return subprocess.run(
        command, input=asked, stdout=subprocess.PIPE, env=environment, check=True
    ).stdout


def _from_zip(place: Path, prefix: str) -> Iterator[File]:
    with zipfile.ZipFile(place) as archive:
        for member in archive.infolist():
            name = member.filename.removeprefix(prefix)
            if not member.is_dir() and member.file_size <= _LARGEST and _is_kept(name):
                yield File(name, archive.read(member))


def _is_kept(name: str) -> bool:
    """Whether a path stays inside of the corpus and is of use for the rules."""
    parts = PurePosixPath(name).parts
    return not name.startswith("/") and ".." not in parts and not _PASSED_BY.intersection(parts)


def _stays_inside(link: File) -> bool:
    target = os.fsdecode(link.data)
    leads_to = os.path.normpath(os.path.join(os.path.dirname(link.name), target))
    return not target.startswith("/") and leads_to.partition("/")[0] != ".."


def lay_out(files: Iterator[File], top: Path, folder: str) -> int:
    """Write a source's files, where it has Go Dockerfiles; returns how many."""
    made = top / ".new"
    shutil.rmtree(made, ignore_errors=True)
    for file in files:
        place = made / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_link:
            place.write_bytes(file.data)
        elif _stays_inside(file):
            place.symlink_to(os.fsdecode(file.data))
    found = go_dockerfiles(made) if made.is_dir() else 0
    if found:
        (top / folder).parent.mkdir(parents=True, exist_ok=True)
        made.rename(top / folder)
    shutil.rmtree(made, ignore_errors=True)
    return found


def go_dockerfiles(folder: Path) -> int:
    """How many Dockerfiles there are that build Go, or copy a binary beside a module of Go."""
    found = 0
    for path in find_dockerfiles(str(folder.absolute()), os.environ).paths:
        text = Path(path).read_bytes()
        above = Path(path).relative_to(folder.absolute()).parents
        beside = any((folder / directory / "go.mod").is_file() for directory in above)
        found += bool(_GO.search(text) or (beside and _COPIES.search(text)))
    return found


if __name__ == "__main__":
    sys.exit(main())
