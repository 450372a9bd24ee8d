# SPDX-License-Identifier: Apache-2.0
"""What an image weighs, read from its OCI layout with the standard library alone."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from bench.failure import BenchError

_Json = dict[str, Any]  # manifests as they come: nothing is checked, a flaw ends the run


@dataclass(frozen=True)
class Weight:
    """`files`: bytes of all files in all layers, hard links once. `transfer`: bytes to pull."""

    files: int
    transfer: int
    holds_binary: bool


class Content(NamedTuple):
    """What all layers of an image hold: the number of `files` and their bytes, hard links once."""

    files: int
    size: int


class _Layout(Protocol):
    def open(self, name: str) -> IO[bytes]:
        """A file of the layout, by its path."""


@dataclass(frozen=True)
class _Directory:
    path: Path

    def open(self, name: str) -> IO[bytes]:
        return (self.path / name).open("rb")


@dataclass(frozen=True)
class _Archive:
    archive: tarfile.TarFile

    def open(self, name: str) -> IO[bytes]:
        member = self.archive.extractfile(name)
        if member is None:
            raise BenchError(f"the image archive holds no file {name}")
        return member


def weigh(layout: Path, binary: Path) -> Weight:
    """Weighs the newest image in a layout; `holds_binary` where `binary` is in it, to the byte."""
    with _opened(layout) as blobs:
        manifest, transfer = _manifest(blobs)
        transfer += manifest["config"]["size"]
        files, found = 0, False
        expected = hashlib.sha256(binary.read_bytes()).digest()
        for layer in manifest["layers"]:
            transfer += layer["size"]
            for size, stream in _files(blobs, layer):
                files += size
                if size == binary.stat().st_size:
                    found = found or hashlib.sha256(stream.read()).digest() == expected
    return Weight(files=files, transfer=transfer, holds_binary=found)


def has_file(layers: Iterable[Path], file: Path) -> bool:
    """Whether one of the packed layers holds the bytes of `file`, under any name."""
    size, expected = file.stat().st_size, hashlib.sha256(file.read_bytes()).digest()
    for layer in layers:
        with tarfile.open(layer, "r|*") as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is None or member.size != size:
                    continue
                if hashlib.sha256(stream.read()).digest() == expected:
                    return True
    return False


def digest(layout: Path) -> str:
    """Of the newest image in a layout: what its index names."""
    with _opened(layout) as blobs, blobs.open("index.json") as stream:
        found: str = json.load(stream)["manifests"][-1]["digest"]
    return found


def content(layout: Path) -> Content:
    """Counts the files of the newest image in a layout."""
    with _opened(layout) as blobs:
        manifest, _ = _manifest(blobs)
        sizes = [size for layer in manifest["layers"] for size, _ in _files(blobs, layer)]
    return Content(len(sizes), sum(sizes))


@contextmanager
def _opened(layout: Path) -> Iterator[_Layout]:
    if layout.is_dir():
        yield _Directory(layout)
    else:
        with tarfile.open(layout, "r:") as archive:
            yield _Archive(archive)


def _manifest(blobs: _Layout) -> tuple[_Json, int]:
    with blobs.open("index.json") as stream:
        document = json.load(stream)
    size = 0
    while "manifests" in document:
        descriptor = document["manifests"][-1]
        size += descriptor["size"]
        with blobs.open(_blob(descriptor["digest"])) as stream:
            document = json.load(stream)
    return document, size


def _files(blobs: _Layout, layer: _Json) -> Iterator[tuple[int, IO[bytes]]]:
    with (
        blobs.open(_blob(layer["digest"])) as blob,
        tarfile.open(fileobj=blob, mode="r|*") as tar,
    ):
        for member in tar:
            if not member.isreg():
                continue
            stream = tar.extractfile(member)
            if stream is not None:
                yield member.size, stream


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")
