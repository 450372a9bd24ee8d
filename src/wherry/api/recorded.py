# SPDX-License-Identifier: Apache-2.0
"""Build records in the store: what was asked, what it depended on, what it gave.

A few records are kept for one request, newest first, so that going back to a branch is a build
that is already done. On the fast path: json, hashlib, os and no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zlib
from typing import Any, NamedTuple, Protocol

from wherry._version import __version__
from wherry.api.request import BinaryResult, BuildRequest, PartResult
from wherry.golang.record import FORMAT, Inputs

_KEPT = 4
# The inputs of a build whose closure is unclear: never stored, so never found to hold.
NO_INPUTS = Inputs({}, {}, {}, {}, [], {}, {}, {}, {})


class BaseName(NamedTuple):
    """A base's full name and what it meant: the store's tag, the registry's answer."""

    name: str
    tagged: str
    resolved: str


class Output(NamedTuple):
    """The result a record holds: manifest digest and size, config, blobs, facts for the user.

    `tags` are those of the settings file; `default_tag` is for a build that has none. `bases` are
    none for a composed base and for one whose digest is pinned. `blobs` are what the build made,
    which has to be here; `lazy` are the layers of a registry's base, which need not be. An image
    for several platforms is an index: `manifest` is the index's digest then, `config` is empty,
    `platform` names all, parted by commas. `parts` are what it is made of, as in `BuildResult`.
    """

    name: str
    tags: tuple[str, ...]
    default_tag: str
    bases: tuple[BaseName, ...]
    manifest: str
    manifest_size: int
    config: str
    blobs: tuple[tuple[str, int], ...]
    lazy: tuple[tuple[str, int], ...]
    size: int
    unpacked: int | None
    platform: str
    binaries: tuple[BinaryResult, ...]
    warnings: tuple[str, ...]
    parts: tuple[PartResult, ...]


class KnownMain(NamedTuple):
    """What a package pattern meant in `directory`: a hint for the next build of the request."""

    directory: str
    pattern: str
    import_path: str
    name: str
    path: str


class StampRecord(NamedTuple):
    """What version control said of the module at `root`, if it was asked, in words of its own."""

    root: str
    words: str


class TemplateRecord(NamedTuple):
    """What templates looked at in the module at `root`: names of facts and variables, as words.

    The words hold digests of the variables' values, with `salt`.
    """

    root: str
    facts: tuple[str, ...]
    env: tuple[str, ...]
    salt: str
    words: str


class BuildRecord(NamedTuple):
    """Inputs and outputs of one build, and what version control and templates were asked.

    `outputs` are its images, in their order; with `plural` there could have been more of them.
    """

    inputs: Inputs
    outputs: tuple[Output, ...]
    stamps: tuple[StampRecord, ...]
    templates: tuple[TemplateRecord, ...]
    mains: tuple[KnownMain, ...]
    plural: bool = False


class RecordStore(Protocol):
    """Values by kind and key."""

    def get(self, kind: str, key: str) -> bytes | None:
        """The value, or None."""


def codec() -> str:
    """The zlib that writes gzip layers: its bytes differ between families, not within one."""
    family = "zlib-ng" if hasattr(zlib, "ZLIBNG_VERSION") else "zlib"
    return f"{family} {zlib.ZLIB_RUNTIME_VERSION}"


def directory_of(request: BuildRequest) -> tuple[str, str]:
    """The directory that go runs in and the package pattern there.

    A source that is an existing directory is built in place; anything else is a package path, seen
    from the current directory. Paths stay as the user's shell writes them: where a symbolic link
    leads through, go looks for go.work above the link, as it would for the user.
    """
    path = os.path.normpath(os.path.join(request.cwd, request.source))
    if os.path.isdir(path):
        return path, "."
    return request.cwd, request.source


def request_key(request: BuildRequest) -> str:
    """Key of everything in a request that the image's bytes depend on."""
    directory, pattern = directory_of(request)
    # Go runs in the current directory where that holds the source: relative paths in GOFLAGS and
    # the search for go.work begin there.
    holds = f"{directory}/".startswith(f"{request.cwd.rstrip('/')}/")
    asked = [
        FORMAT,
        __version__,
        codec(),
        sys.prefix,
        os.uname().machine,
        directory,
        pattern,
        list(request.more_sources),
        request.cwd if holds or request.more_sources else "",
        *asked_values(request),
    ]
    text = json.dumps(asked, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def asked_values(request: BuildRequest) -> list[object]:
    """What a request says of the image itself, and no place."""
    return [
        request.frontend,
        request.target,
        request.platform,
        request.base,
        request.stamp,
        request.locked,
        request.pull,
        list(request.labels),
        list(request.annotations),
    ]


def load_records(store: RecordStore, key: str) -> list[bytes]:
    """The records of a request, newest first, still encoded: most often the first one holds."""
    data = store.get("gobuild", key)
    return data.split(b"\n") if data else []


def decode_record(line: bytes) -> BuildRecord | None:
    """A record from its line; an unreadable one is as good as none."""
    try:
        return _decode(json.loads(line))
    except (ValueError, TypeError, KeyError):
        return None


def kept_records(newest: BuildRecord, older: list[BuildRecord]) -> list[BuildRecord]:
    """The newest record and the most recent others with other inputs."""
    others = [record for record in older if record.inputs != newest.inputs]
    return [newest, *others[: _KEPT - 1]]


def encode_records(records: list[BuildRecord]) -> bytes:
    """The value to store: a line of JSON for each."""
    lines = (json.dumps(record, separators=(",", ":")) for record in records)
    return "\n".join(lines).encode("ascii")


def _decode(value: Any) -> BuildRecord:  # noqa: ANN401 - JSON of our own making, checked by use
    inputs, outputs, stamps, templates, mains, plural = value
    return BuildRecord(
        Inputs(*inputs),
        tuple(map(decode_output, outputs)),
        tuple(StampRecord(*stamp) for stamp in stamps),
        tuple(
            TemplateRecord(root, tuple(facts), tuple(env), *rest)
            for root, facts, env, *rest in templates
        ),
        tuple(KnownMain(*main) for main in mains),
        plural,
    )


def decode_output(value: Any) -> Output:  # noqa: ANN401 - as above
    """An `Output` from its JSON; raises whatever other JSON leads to."""
    name, tags, default_tag, bases, manifest, manifest_size, config, *held = value
    blobs, lazy, size, unpacked, platform, binaries, lines, parts = held
    return Output(
        name,
        tuple(tags),
        default_tag,
        tuple(BaseName(*base) for base in bases),
        manifest,
        manifest_size,
        config,
        tuple((digest, length) for digest, length in blobs),
        tuple((digest, length) for digest, length in lazy),
        size,
        unpacked,
        platform,
        tuple(BinaryResult(*item) for item in binaries),
        tuple(lines),
        tuple(PartResult(*item) for item in parts),
    )
