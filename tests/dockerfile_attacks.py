# SPDX-License-Identifier: Apache-2.0
"""What the tests that attack Dockerfile builds share: a hostile context, and how a build is judged.

Beside the context lies a secret of the host. Whatever an attack does, the build ends in time with
an exit code that blames wherry for nothing, the store stays whole, and no blob holds the secret.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from attacks import DEFAULT_SIGNALS, WHERRY
from store_samples import faults
from wherry.store.store import open_store

SECRET = "a-secret-of-the-host-3f9c1e"
# 1 the build's fault, 2 the user's, 3 the machine's, 4 a server's.
_HONEST = (0, 1, 2, 3, 4)
_COMPRESSIONS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


class Outcome(NamedTuple):
    """A build that ended: its exit code, what it said, and the files of the image by path."""

    code: int
    stdout: str
    stderr: str
    files: Mapping[str, tarfile.TarInfo]
    contents: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        assert self.code == 0, self.stderr
        return self.stdout.strip().rpartition("@")[2]

    def refused(self, *words: str, code: int | None = None) -> None:
        """The build failed, by `code`, and its error holds `words`."""
        assert self.code != 0, f"it was built: {sorted(self.files)}"
        assert code is None or self.code == code, (self.code, self.stderr)
        for word in words:
            assert word in self.stderr, self.stderr


class Attack:
    """A context `root`, a secret in `outside` beside it, and builds into `store`."""

    def __init__(self, place: Path, env: Mapping[str, str]) -> None:
        self.place = place
        self.root = place / "context"
        self.outside = place / "outside"
        self.store = place / "store"
        self.env = {**env, "WHERRY_STORE": str(self.store)}
        self.root.mkdir()
        self.outside.mkdir()
        (self.outside / "secret").write_text(SECRET)

    def write(self, name: str, content: str | bytes = "") -> Path:
        """Write a file below the context."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def build(
        self,
        dockerfile: str | bytes | None = None,
        *words: str | Path,
        source: str = ".",
        stdin: bytes = b"",
        timeout: float = 20,
        prefix: Sequence[str] = (),
    ) -> Outcome:
        """Build, and judge what every attack is judged by.

        None for a Dockerfile that is there already, or that the source brings.
        """
        if dockerfile is not None:
            self.write("Dockerfile", dockerfile)
        is_named = source != "." or "-f" in words or "--frontend" in words
        chosen = () if is_named else ("-f", "Dockerfile")
        argv = [*prefix, *WHERRY, "build", "--progress", "plain", *chosen, *map(str, words), source]
        ran = subprocess.run(
            argv, cwd=self.root, env=self.env, input=stdin, capture_output=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        return self.judged(
            ran.returncode,
            ran.stdout.decode("utf-8", "surrogateescape"),
            ran.stderr.decode("utf-8", "surrogateescape"),
        )

    def judged(self, code: int, stdout: str, stderr: str) -> Outcome:
        """The outcome of a build that ended, after what holds for all of them."""
        assert "Traceback" not in stderr, stderr
        assert code in _HONEST, (code, stderr)
        if code:
            assert not stdout
            assert "error: " in stderr, stderr
        self.assert_whole()
        files: dict[str, tarfile.TarInfo] = {}
        contents: dict[str, bytes] = {}
        if code == 0:
            for blob in self._layers(stdout.strip().rpartition("@")[2]):
                _read_layer(blob, files, contents)
        return Outcome(code, stdout, stderr, files, contents)

    def assert_whole(self) -> None:
        """The store is sound, nothing half-made is in it, and nowhere is the secret."""
        if not (self.store / "state.db").exists():
            return
        with sqlite3.connect(self.store / "state.db", timeout=60) as database:
            known = [row[0] for row in database.execute("SELECT digest FROM sources")]
        database.close()
        # A base's layer may stay in its registry.
        lazy = {f"pinned blob {digest} is missing" for digest in known}
        assert set(faults(self.store)) <= lazy
        with open_store(self.store) as opened:
            assert opened.prune(dry_run=True).leftovers == 0
        for path in self.store.glob("blobs/sha256/*"):
            data = path.read_bytes()
            data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" and len(data) < 1e6 else data
            assert SECRET.encode() not in data, f"{path} holds what lies outside of the context"

    def blob(self, digest: str) -> bytes | None:
        """A blob of the store; None for one that was not fetched."""
        path = self.store / "blobs" / "sha256" / digest.removeprefix("sha256:")
        return path.read_bytes() if path.exists() else None

    def _layers(self, digest: str) -> Iterable[bytes]:
        manifest: dict[str, Any] = json.loads(self.blob(digest) or b"")
        for layer in manifest["layers"]:
            data = self.blob(layer["digest"])
            if data is not None:
                yield gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _read_layer(blob: bytes, files: dict[str, tarfile.TarInfo], contents: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(blob), errors="surrogateescape") as archive:
        for member in archive:
            files[member.name] = member
            if member.isfile():
                opened = archive.extractfile(member)
                assert opened is not None
                contents[member.name] = opened.read() if member.size < 1 << 20 else b""


class Member(NamedTuple):
    """An entry of a hostile archive."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""


def packed(members: Iterable[Member]) -> bytes:
    """A tar of these entries, whatever they say."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.size, info.type, info.linkname = len(member.content), member.kind, member.link
            info.mode = 0o755 if member.kind == tarfile.DIRTYPE else 0o644
            archive.addfile(info, io.BytesIO(member.content))
    return data.getvalue()


def many(count: int) -> bytes:
    """A tar of so many empty files, named alike in length."""
    info = tarfile.TarInfo("n0000000")
    whole = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    blank = sum(whole[:148]) + 8 * 32 + sum(whole[156:]) - sum(whole[1:8])
    pieces = []
    for number in range(count):
        digits = b"%07d" % number
        whole[1:8] = digits
        whole[148:156] = b"%06o\0 " % (blank + sum(digits))
        pieces.append(bytes(whole))
    return b"".join(pieces) + bytes(1024)


def compressed(data: bytes, compression: str) -> bytes:
    """The data in a compression that ADD unpacks."""
    return data if compression == "plain" else _COMPRESSIONS[compression](data)


def bomb(compression: str, size: int) -> bytes:
    """A compressed tar with one file of so many zeros."""
    info = tarfile.TarInfo("zeros")
    info.size = size
    head = info.tobuf(tarfile.USTAR_FORMAT)
    return compressed(head + bytes(size) + bytes(1024 + -size % 512), compression)


def without_rights() -> tuple[str, ...]:
    """A command's beginning that takes root's right to read every file."""
    caps = "-dac_override,-dac_read_search"
    return (*DEFAULT_SIGNALS, "setpriv", "--inh-caps=-all", f"--bounding-set={caps}", "--")
