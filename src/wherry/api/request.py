# SPDX-License-Identifier: Apache-2.0
"""What a caller asks of a build, and what it gets: plain values, cheap to import.

Both the command line and the library make a `BuildRequest`; nothing below reads the process's
arguments or environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from wherry.errors import SeveralErrors, WherryError

if TYPE_CHECKING:
    from wherry.settings.hosts import ClientCertificate, Mirrors

FRONTENDS = ("auto", "gomodule", "dockerfile")
STAMPS = ("off", "labels", "full")

Pairs = tuple[tuple[str, str], ...]


# What makes a directory a Dockerfile's, in BuildKit's order.
DOCKERFILES = ("Dockerfile", "dockerfile")


def no_trace(_point: str) -> None:
    """The hook of builds that nobody interrupts on purpose."""


def is_remote(source: str, cwd: str) -> bool:
    """Whether SOURCE is a URL or git's short form of one; a directory of that name is none."""
    if os.path.isdir(os.path.join(cwd, source)):
        return False
    if "://" in source or source.startswith("github.com/"):
        return True
    return ":" in source and "@" in source.partition(":")[0]


class CallRegistries(NamedTuple):
    """What one call says of registries; it beats the user's settings and the project's.

    `insecure` are hosts that plain HTTP is spoken to, with passwords, too. `mirrors` are asked
    before those of the settings. `certificates` are PEM files to trust, `clients` those to sign in
    with, by host; paths are absolute.
    """

    insecure: tuple[str, ...] = ()
    mirrors: Mirrors = ()
    certificates: tuple[str, ...] = ()
    clients: tuple[tuple[str, ClientCertificate], ...] = ()


class BuildRequest(NamedTuple):
    """One build: of Go main packages, or of a Dockerfile.

    `source` is a directory, a Go package path or pattern, a git URL or `-`, seen from `cwd`
    (absolute); `more_sources` are further Go packages. `target` names images of the settings file,
    or a stage, `platform` platforms, both parted by commas. `env` is the whole environment; `store`
    the store's directory. Empty texts mean "not said": the settings file and then the default
    decide. `outputs` are in buildx's `--output` form. `jobs` 0 means the number of cores. `stdout`
    takes an archive whose `dest` is `-`. `trace` is called at named points.

    `push` sends the image to the registries of its tags; `load` hands it to the machine's engine;
    `pull` asks the registry again what a base's name means; `locked` fails where something would
    not come from `wherry.lock`; `ca` are PEM files that registries' certificates may be signed by;
    `registries` is what the call says of registries besides.

    For Dockerfiles: `file` is the Dockerfile (`-`: it comes from `stdin`), `target` the stage,
    `build_args` values for ARG (None: the environment's), `build_contexts` further contexts by
    name, `no_cache_filter` stages whose steps run anew, `go_cache` `off` for Go steps that begin
    with empty caches, `unpack_limit` the most bytes that archives may unpack to (0: the default).
    `foreign`: the directory `source` was filled from elsewhere, for this build. As in any context
    that comes from elsewhere, a `wherry.toml` in it has no say; the build has no record.

    For RUN, each in the form of its flag, read by `wherry.api.step_options`: `secrets`
    (`id=NAME[,src=FILE|env=VARIABLE][,type=file|env]`) and `ssh` (`ID[=SOCKET|KEY[,KEY]]`) are
    what steps may mount, never part of a key; `network` is `default`, `none` or `host` where RUN
    names none; `allow` are the rights `network.host` and `security.insecure`; `add_hosts`
    (`NAME=ADDRESS`), `shm_size` (`128m`) and `ulimits` (`NAME=SOFT[:HARD]`) are as docker has
    them. `cache_mounts` are caches of RUN that travel with `cache_from` and `cache_to`, each text
    a list with commas (`wherry.api.asked_mounts`). `on_error` `shell` opens a shell in the root of
    a step that failed: `shell` is called with what runs it on three streams; where it is None, the
    root is kept as an image.

    For both: `cache_from` are cache places to begin from, in the order in which they are
    asked, `cache_to` those to write to, each in the form of its flag, read by
    `wherry.gocache.spec.parse_cache_spec`; `cache_key` is the PEM file whose Ed25519 key signs
    what is written and checks what is read (empty: neither). `delivered` is called with the
    outcome once everything is delivered, before caches are written: what fails or takes long then
    is no longer the build's.
    """

    source: str
    cwd: str
    env: Mapping[str, str]
    store: str
    frontend: str = "auto"
    target: str = ""
    tags: tuple[str, ...] = ()
    platform: str = ""
    more_sources: tuple[str, ...] = ()
    base: str = ""
    stamp: str = ""
    labels: Pairs = ()
    annotations: Pairs = ()
    outputs: tuple[str, ...] = ()
    metadata_file: str = ""
    iidfile: str = ""
    no_cache: bool = False
    push: bool = False
    load: bool = False
    pull: bool = False
    locked: bool = False
    ca: tuple[str, ...] = ()
    jobs: int = 0
    file: str = ""
    build_args: tuple[tuple[str, str | None], ...] = ()
    build_contexts: Pairs = ()
    no_cache_filter: tuple[str, ...] = ()
    unpack_limit: int = 0
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    network: str = ""
    allow: tuple[str, ...] = ()
    add_hosts: tuple[str, ...] = ()
    shm_size: str = ""
    ulimits: tuple[str, ...] = ()
    on_error: str = ""
    shell: Callable[[Callable[[tuple[int, int, int]], int]], None] | None = None
    stdin: BinaryIO | None = None
    stdout: BinaryIO | None = None
    trace: Callable[[str], None] = no_trace
    go_cache: str = ""
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    cache_mounts: tuple[str, ...] = ()
    cache_key: str = ""
    delivered: Callable[[BuildOutcome], None] | None = None
    registries: CallRegistries = CallRegistries()
    foreign: bool = False


class BinaryResult(NamedTuple):
    """A binary of the image: file name, path in the image, size in bytes, Go version.

    `dynamic`: it needs a C library and a loader from its base. `platform` is what it runs on.
    """

    name: str
    path: str
    size: int
    go_version: str
    dynamic: bool = False
    platform: str = ""


class PartResult(NamedTuple):
    """What takes room in an image, in bytes; `kind` is `base`, `files` or `binary`."""

    name: str
    size: int
    kind: str


class PushResult(NamedTuple):
    """One tag of a pushed image.

    `uploaded` is in bytes, `mounted` and `existed` count blobs. All tags of a repository are pushed
    as one: the numbers are the repository's, the same on each of its tags. `unchanged`: the tags
    there meant this image already, nothing was sent.
    """

    reference: str
    digest: str
    uploaded: int
    mounted: int
    existed: int
    unchanged: bool


class BuildResult(NamedTuple):
    """An image in the store.

    `reference` is `name:tag@sha256:…`, as the first tag names it; `digest` the manifest's digest;
    `size` the bytes a registry would hold (manifest, config, layers); `unpacked` the sum of the
    file sizes, None on a base whose layers stayed in their registry. `reused` says that the build
    record answered and Go did not run; `reason` why it did run. `outputs` are the paths written
    besides the store, `pushed` the tags in registries, `loaded` names as an engine knows them,
    `converted` those outputs whose layers were compressed anew, with the digest that is theirs.
    `parts` are what the image is made of, in the order of its layers (of several platforms the
    largest one's), counted as `unpacked` where that is known, else compressed, as `size` is.
    """

    reference: str
    tags: tuple[str, ...]
    digest: str
    config_digest: str
    size: int
    unpacked: int | None
    platform: str
    binaries: tuple[BinaryResult, ...]
    reused: bool
    reason: str
    seconds: float
    warnings: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    pushed: tuple[PushResult, ...] = ()
    loaded: tuple[str, ...] = ()
    converted: tuple[tuple[str, str], ...] = ()
    parts: tuple[PartResult, ...] = ()


class ImageFailure(NamedTuple):
    """An image that could not be built, of several: its name, and why."""

    name: str
    error: WherryError


class ImagesFailed(SeveralErrors):
    """Images of several could not be built; `failures` say why, for each."""

    def __init__(self, failures: tuple[ImageFailure, ...]) -> None:
        super().__init__(tuple({str(one.error): one.error for one in failures}.values()))
        self.failures = failures
        count = len(failures)
        self.what = f"{count} images were not built" if count > 1 else "1 image was not built"


class BuildOutcome(NamedTuple):
    """All images of one build, and those that failed.

    `plural`: there could have been another number of images, by a pattern or the settings file.
    """

    images: tuple[BuildResult, ...]
    failures: tuple[ImageFailure, ...] = ()
    plural: bool = False
    seconds: float = 0.0
