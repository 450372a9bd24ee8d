# SPDX-License-Identifier: Apache-2.0
"""What tests of faults look at: Go's build cache, cache directories, lines about a place."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import zstandard

from travelling import Built, Machine
from wherry.golang.build_entries import parse_action

# A program of one's own code in three packages, so that a change has something to leave alone.
FILES = {
    "main.go": 'package main\n\nimport "example.com/m/lib"\n\nfunc main() { println(lib.Word) }\n',
    "lib/lib.go": 'package lib\n\nimport "example.com/m/deep"\n\nvar Word = deep.Word + "!"\n',
    "deep/deep.go": 'package deep\n\nconst Word = "deep"\n',
}
MODULE = "example.com/m"
CHANGED = FILES["lib/lib.go"].replace("!", "?")
RECOMPILED = {MODULE, f"{MODULE}/lib"}


def lines_about(built: Built, place: object) -> list[str]:
    """The lines that say why a place is not used or written."""
    return [text for text in built.said if f"the Go cache {place} is not " in text]


def spoilt(gocache: str | Path) -> list[str]:
    """What is wrong in a GOCACHE: outputs that are not their names' digests, and left-overs.

    An action that is cut short is no harm, Go's own are so after a kill; one that is whole has to
    name an output that is there.
    """
    found: list[str] = []
    for path in Path(gocache).glob("??/*"):
        name = path.name
        if name.endswith("-d") and len(name) == 66:
            if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != name[:-2]:
                found.append(f"{name} holds other bytes")
        elif name.endswith("-a") and len(name) == 66:
            action = parse_action(name, path.read_bytes())
            output = path.parents[1] / action.output[:2] / f"{action.output}-d" if action else None
            if output is not None and not output.exists():
                found.append(f"{name} names nothing")
        else:
            found.append(f"{name} is left over")
    return found


def texts_of(place: Path) -> list[bytes]:
    """All that is in a cache directory, decompressed where it is compressed."""
    found = []
    for path in place.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if data[:4] == b"\x28\xb5\x2f\xfd":
                with zstandard.ZstdDecompressor().stream_reader(
                    data, read_across_frames=True
                ) as reader:
                    data = reader.read()
            found.append(data)
    return found


def command(
    machine: Machine, *words: str, source: str = ".", prefix: tuple[str, ...] = ()
) -> list[str]:
    """The words that build on a machine as a user would."""
    return [*prefix, sys.executable, "-m", "wherry", "build", source, "--base", "scratch",
            "--progress", "plain", "--store", str(machine.store), *words]  # fmt: skip


def start(
    machine: Machine, *words: str, source: str = ".", prefix: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Begin such a build, in a process group of its own."""
    return subprocess.Popen(
        command(machine, *words, source=source, prefix=prefix), cwd=machine.checkout, text=True,
        env={**os.environ, **machine.env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def on_tmpfs(name: str) -> Path | None:
    """A new directory on another device; None where there is none."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        return None
    made = shared / name
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    return made


def stored(machine: Machine) -> list[bytes]:
    """All files of a machine's store, and of its home."""
    roots = (machine.store, Path(machine.env["HOME"]))
    return [path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()]


def layers(machine: Machine) -> list[bytes]:
    """The layers in a machine's store, decompressed."""
    found = []
    for path in (machine.store / "blobs" / "sha256").iterdir():
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            found.append(gzip.decompress(data))
    return found
