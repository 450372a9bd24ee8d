# SPDX-License-Identifier: Apache-2.0
"""ko as a reference: the program, and what is in the images of a layout, whoever wrote it."""

from __future__ import annotations

import fcntl
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from wherry.golang.toolchain import GoCommand

_KO = "github.com/google/ko@v0.19.1"
_UNREACHABLE = re.compile(r"dial tcp|i/o timeout|no such host|proxyconnect|disabled by GOPROXY")
_CAPABILITY = "SCHILY.xattr.security.capability"


class Image(NamedTuple):
    """An image's files by path with what they hold, all owners, and its configuration.

    `owners` has directories and links, too; `size` is the sum of its layers as they travel.
    """

    files: dict[str, bytes]
    modes: dict[str, int]
    config: dict[str, Any]
    capabilities: dict[str, str]
    owners: dict[str, tuple[int, int]]
    size: int

    def below(self, directory: str) -> dict[str, bytes]:
        """The files below a directory, by their path from there."""
        return {
            name.removeprefix(directory): data
            for name, data in self.files.items()
            if name.startswith(directory)
        }


@pytest.fixture(scope="session")
def ko(go: GoCommand) -> Path:
    """ko, built once from the Go module proxy and kept in the user's cache directory."""
    found = shutil.which("ko")
    if found is not None:
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "wherry-tests" / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, **dict(go.env), "GOBIN": str(directory), "GOFLAGS": "", "CGO_ENABLED": "0"}
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "ko").exists():
            done = subprocess.run(
                [go.path, "install", _KO], env=env, cwd=directory, capture_output=True, text=True,
                timeout=800,
            )  # fmt: skip
            if done.returncode != 0 and _UNREACHABLE.search(done.stderr):
                pytest.skip(f"ko cannot be had: {done.stderr.strip().splitlines()[-1]}")
            assert done.returncode == 0, done.stderr
    return directory / "ko"


def read_images(layout: Path) -> dict[str, Image]:
    """The images of a layout, flattened, by platform as their configurations have it."""

    def blob(descriptor: dict[str, str]) -> bytes:
        return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()

    images = {}
    found = json.loads((layout / "index.json").read_bytes())["manifests"]
    while found:
        manifest = json.loads(blob(found.pop()))
        found += manifest.get("manifests", [])
        if "config" in manifest:
            config = json.loads(blob(manifest["config"]))
            words = (config["os"], config["architecture"], config.get("variant"))
            size = sum(layer["size"] for layer in manifest["layers"])
            image = Image({}, {}, config["config"], {}, {}, size)
            for layer in manifest["layers"]:
                _add(image, blob(layer))
            images["/".join(filter(None, words))] = image
    return images


def _add(image: Image, data: bytes) -> None:
    plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        for member in archive:
            name = "/" + member.name.removeprefix("./").strip("/")
            image.owners[name] = (member.uid, member.gid)
            if member.isfile():
                opened = archive.extractfile(member)
                assert opened is not None
                image.files[name] = opened.read()
                image.modes[name] = member.mode
                if capability := member.pax_headers.get(_CAPABILITY):
                    image.capabilities[name] = capability
