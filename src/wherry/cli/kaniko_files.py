# SPDX-License-Identifier: Apache-2.0
"""Files that tell what a kaniko call built: the digest, and names with it.

They are written as kaniko writes them: into the file that is there, which may be a pipe, or one
that Kubernetes has mounted (`/dev/termination-log`), with the directories that are missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from wherry.cli.kaniko_words import Given
from wherry.errors import UsageError
from wherry.exporters.staging import explained
from wherry.oci.reference import DEFAULT_REGISTRY, Reference, parse_reference

_HUB: Final = "index.docker.io"
_NAMES: Final = ("image-name-with-digest-file", "image-name-tag-with-digest-file")


class DigestFiles(NamedTuple):
    """Absolute paths, empty where there is no such file; `builder` lists what was pushed."""

    digest: str = ""
    names: str = ""
    tags: str = ""
    builder: str = ""

    def write(self, digest: str, destinations: Sequence[str]) -> None:
        """Write them, of names as the call has them; raises `MachineError` where that fails."""
        references = [parse_reference(name) for name in destinations]
        if self.digest:
            _write(self.digest, digest)
        if self.names:
            _write(self.names, "".join(f"{_named(one)}@{digest}\n" for one in references))
        if self.tags:
            _write(self.tags, "".join(f"{_named(one)}:{one.tag}@{digest}\n" for one in references))
        if self.builder:
            lines = (json.dumps({"name": name, "digest": digest}) for name in destinations)
            _write(self.builder, "".join(f"{line}\n" for line in lines))


def digest_files(given: Given, env: Mapping[str, str], cwd: str, *, is_pushed: bool) -> DigestFiles:
    """The files of a call; raises `UsageError` for one that can be none.

    BUILDER_OUTPUT is Google Cloud Build's variable: a directory that tells it what was pushed.
    """
    for name in _NAMES:
        if given.text(name) and not given.texts("destination"):
            raise UsageError(f"--{name} without a --destination", why="there is no name to write",
                             hint="name the image: --destination NAME:TAG")  # fmt: skip
    digest, names, tags = (_path(given, name, cwd) for name in ("digest-file", *_NAMES))
    output = env.get("BUILDER_OUTPUT", "") if is_pushed else ""
    return DigestFiles(digest, names, tags, os.path.join(cwd, output, "images") if output else "")


def _path(given: Given, name: str, cwd: str) -> str:
    text = given.text(name)
    if text.startswith("https://"):
        # Not the URL: it may be signed.
        raise UsageError(f"--{name} is a URL", why="wherry writes files",
                         hint="write a file, and send it: curl -T FILE URL")  # fmt: skip
    path = os.path.normpath(os.path.join(cwd, text)) if text else ""
    if path and os.path.isdir(path):
        raise UsageError(f"--{name} {path} is a directory", hint="name a file")
    return path


def _named(reference: Reference) -> str:
    """The repository as kaniko calls it, whose Docker Hub has its old name."""
    hub = reference.registry == DEFAULT_REGISTRY
    return f"{_HUB if hub else reference.registry}/{reference.repository}"


def _write(path: str, text: str) -> None:
    with explained(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
