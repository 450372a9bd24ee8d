# SPDX-License-Identifier: Apache-2.0
"""What the tests of Dockerfile builds by the command line share: a context, a store, the answers.

Every build is a process of its own with an environment that holds next to nothing.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# `[builder 2/5] COPY a b`; sources have names of other forms.
_INSTRUCTION = re.compile(r"\[[^]]*\d+/\d+\] (.*)", re.DOTALL)
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}


class Ran(NamedTuple):
    """A build that was done: its JSON, the outcome of each step by name, the messages."""

    result: dict[str, Any]
    outcomes: dict[str, str]
    messages: list[str]

    @property
    def digest(self) -> str:
        return str(self.result["digest"])

    @property
    def ran(self) -> list[str]:
        """The instructions that were not cached, without their stages' names."""
        return [name for name in self.instructions if self._outcome(name) != "cached"]

    @property
    def instructions(self) -> list[str]:
        """All instructions that were looked up, cached or not."""
        return [match[1] for name in self.outcomes if (match := _INSTRUCTION.fullmatch(name))]

    def _outcome(self, instruction: str) -> str:
        (found,) = (
            outcome for name, outcome in self.outcomes.items() if name.endswith(f"] {instruction}")
        )
        return found


class Node(NamedTuple):
    """A file of an image: tarfile's kind, mode, owner, content or link target, time."""

    kind: str
    mode: int
    owner: tuple[int, int]
    content: bytes
    mtime: int


class Builds:
    """A context `root`, the `store`, and builds of it; `env` may be changed."""

    def __init__(self, root: Path, store: Path, env: Mapping[str, str]) -> None:
        self.root = root
        self.store = store
        self.env = dict(env)
        root.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        """Write a file below the context, with its directories."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def files(self, **contents: str) -> None:
        """Write several; `Dockerfile="..."`."""
        for name, content in contents.items():
            self.write(name, content)

    def start(
        self,
        *words: str | Path,
        verb: str = "build",
        source: str | Path = ".",
        cwd: Path | None = None,
        stdin: bytes = b"",
        store: Path | None = None,
        more: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        around = {"WHERRY_STORE": str(store or self.store), **self.env, **(more or {})}
        last = [str(source)] if verb == "build" else []
        ran = subprocess.run(
            [*prefix, sys.executable, "-m", "wherry", verb, *map(str, words), *last],
            cwd=cwd or self.root, env=around, input=stdin, capture_output=True, timeout=60,
            check=False,
        )  # fmt: skip
        return subprocess.CompletedProcess(
            ran.args,
            ran.returncode,
            ran.stdout.decode("utf-8", "surrogateescape"),
            ran.stderr.decode("utf-8", "surrogateescape"),
        )

    def build(self, *words: str | Path, **around: Any) -> Ran:
        """Build, which must succeed."""
        ran = self.start("--progress", "json", "--json", *words, **around)
        assert ran.returncode == 0, ran.stderr
        outcomes, messages = {}, []
        names: dict[str, str] = {}
        for line in ran.stderr.splitlines():
            event = json.loads(line)
            match event["event"]:
                case "step_started":
                    names[event["id"]] = event["name"]
                case "step_ended":
                    outcomes[names[event["id"]]] = event["outcome"]
                case "message":
                    messages.append(event["text"])
        return Ran(json.loads(ran.stdout), outcomes, messages)

    def refused(
        self, code: int, *words: str, args: Sequence[str | Path] = (), **around: Any
    ) -> str:
        """Build, which must fail with `code` and tell `words` in that order; what it told."""
        ran = self.start(*args, **around)
        assert ran.returncode == code, ran.stderr
        assert ran.stdout == ""
        assert "Traceback" not in ran.stderr
        told = ran.stderr[ran.stderr.index("error: ") :]
        at = 0
        for word in words:
            assert word in told[at:], f"{word!r} is not in (or not in this order):\n{told}"
            at = told.index(word, at) + len(word)
        return told

    # --- what was made --------------------------------------------------------------------------

    def blob(self, digest: str, store: Path | None = None) -> bytes:
        """The bytes of a blob of the store."""
        return self.path_of(digest, store).read_bytes()

    def path_of(self, digest: str, store: Path | None = None) -> Path:
        """Where a blob lies."""
        return (store or self.store) / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def manifest(self, ran: Ran, store: Path | None = None) -> dict[str, Any]:
        """An image's manifest."""
        return dict(json.loads(self.blob(ran.digest, store)))

    def config(self, ran: Ran) -> dict[str, Any]:
        """An image's configuration file."""
        return dict(json.loads(self.blob(self.manifest(ran)["config"]["digest"])))

    def layers(self, ran: Ran) -> list[str]:
        """The digests of an image's layers."""
        return [item["digest"] for item in self.manifest(ran)["layers"]]

    def tree(self, ran: Ran) -> dict[str, Node]:
        """The files of an image whose layers take nothing away."""
        found: dict[str, Node] = {}
        for digest in self.layers(ran):
            found |= layer_files(self.blob(digest))
        return found

    def text(self, ran: Ran, path: str) -> str:
        """A file of the image."""
        return self.tree(ran)[path].content.decode()


def layer_files(blob: bytes) -> dict[str, Node]:
    """What a layer's tar holds."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob))) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            content = file.read() if file else member.linkname.encode()
            owner = (member.uid, member.gid)
            found[member.name.strip("/")] = Node(
                member.type.decode(), member.mode, owner, content, int(member.mtime)
            )
    return found


@pytest.fixture
def plain_env(tmp_path: Path) -> dict[str, str]:
    """An environment with a HOME that is empty."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}


@pytest.fixture
def builds(tmp_path: Path, plain_env: dict[str, str]) -> Builds:
    """An empty context in tmp_path/"app" and a store."""
    return Builds(tmp_path / "app", tmp_path / "store", plain_env)
