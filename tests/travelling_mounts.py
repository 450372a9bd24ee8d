# SPDX-License-Identifier: Apache-2.0
"""Machines that share a cache place: one user, a store for each, and archives made by hand."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import zstandard

from fault_registry import FaultRegistry
from step_builds import Finished, StepBuilds, make_builds
from wherry.gocache.directory_place import DirectoryPlace
from wherry.gocache.mount_records import MOUNT_TYPE, MountRecord, Top
from wherry.gocache.pack_index import encode_index, read_index
from wherry.gocache.pack_set import PackSet
from wherry.gocache.places import BytesBlob, Document
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken

REPOSITORY = "team/cache"


class Member(NamedTuple):
    """An entry of an archive made by hand."""

    name: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    link: str = ""


class Machines(NamedTuple):
    """One user's builds, each with the store of the machine that it is meant to be on."""

    builds: StepBuilds

    def write(self, *stages: str) -> None:
        """A Dockerfile whose image has what the stages leave as /seen*."""
        names = [f"stage{number}" for number in range(len(stages))]
        text = "".join(
            f"FROM start AS {name}\n{stage}\n" for name, stage in zip(names, stages, strict=True)
        )
        copies = "".join(f"COPY --from={name} /seen* /{name}/\n" for name in names)
        self.builds.write(f"{text}FROM scratch\n{copies}")

    def run(self, machine: str, *words: str, stages: int = 1) -> tuple[str, Finished]:
        """Build on a machine, which must succeed; what was seen there, and all that was said."""
        out = self.builds.scratch / uuid.uuid4().hex
        store = self.builds.runner.home / f"store-{machine}"
        done = self.builds.run("--store", str(store), "-o", f"type=local,dest={out}", *words)
        assert done.returncode == 0, done.stderr
        found = [path.read_text() for path in sorted(out.glob("stage*/seen*"))]
        assert len(found) == stages
        return "".join(found), done

    def directories(self, machine: str) -> int:
        """How many directories of cache mounts a machine has."""
        return len(list((self.builds.runner.home / f"store-{machine}" / "mounts").iterdir()))

    def own(self, path: Path) -> Path:
        """Give a directory to the user."""
        if self.builds.runner.user:
            subprocess.run(["chown", "-R", f"{self.builds.runner.user}:", path], check=True)
        return path


@contextmanager
def make_machines(kind: str) -> Iterator[Machines]:
    """Builds by a user of this kind; skips where that cannot be, or zstd cannot be had."""
    with make_builds(kind) as builds:
        runner = builds.runner
        # What an ordinary user's own Python may lack.
        copy = Path(runner.packages) / "zstandard"
        shutil.copytree(Path(zstandard.__file__).parent, copy)
        asked = subprocess.run(
            [*runner.words, runner.python, "-P", "-c", "import zstandard"],
            env=runner.env(), check=False, capture_output=True, text=True,
        )  # fmt: skip
        if asked.returncode != 0:
            pytest.skip(f"no zstandard for {runner.python}: {asked.stderr.splitlines()[-1:]}")
        yield Machines(builds)


class Place(NamedTuple):
    """A cache place: in a registry, or a directory."""

    written: str
    registry: FaultRegistry | None
    path: Path

    @property
    def to(self) -> tuple[str, str]:
        return ("--cache-to", self.written)

    @property
    def from_(self) -> tuple[str, str]:
        return ("--cache-from", self.written)

    def held(self) -> PackSet:
        """What the place holds."""
        if self.registry is not None:
            manifest = json.loads(self.registry.manifest(REPOSITORY, "gocache"))
            return read_index(self.registry.blob(manifest["config"]["digest"]))
        (entry,) = json.loads((self.path / "index.json").read_text())["manifests"]
        manifest = json.loads(self.blob(entry["digest"]).read_text())
        return read_index(self.blob(manifest["config"]["digest"]).read_bytes())

    def blob(self, digest: str) -> Path:
        """A blob's file, in a directory."""
        return self.path / "blobs" / digest.replace(":", "/")

    def mounts(self) -> dict[str, MountRecord]:
        """The mounts there, times left out."""
        return {key: record._replace(time=0) for key, record in self.held().mounts.items()}


def archive(*members: Member) -> bytes:
    """The tar with these entries."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type, info.linkname, info.size = member.type, member.link, len(member.data)
            info.devmajor, info.devminor = 1, 3
            tar.addfile(info, io.BytesIO(member.data))
    return packed.getvalue()


def stored(tar: bytes, entries: int) -> tuple[MountRecord, BytesBlob]:
    """An honest record of an archive, and its blob."""
    data = zstandard.ZstdCompressor().compress(tar)
    blob = Descriptor(MOUNT_TYPE, sha256(data), len(data))
    record = MountRecord(blob, sha256(tar), sha256(b"tree"), len(tar), entries, Top(), 1)
    return record, BytesBlob(blob, data)


def publish(path: Path, mounts: dict[str, tuple[MountRecord, BytesBlob]]) -> None:
    """Let a directory hold these mounts, whatever is in them."""
    place = DirectoryPlace(str(path), str(path), CancelToken())
    for _, blob in mounts.values():
        place.put(blob)
    current = PackSet(mounts={key: record for key, (record, _) in mounts.items()})
    place.publish(lambda _found: Document(encode_index(current), current.blobs))
