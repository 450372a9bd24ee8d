# SPDX-License-Identifier: Apache-2.0
"""The library's front door: `wherry.build(...)`.

The process's environment and directory are read here, and only where the caller gives none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict, Unpack

from wherry.api.building import build_image
from wherry.api.places import default_store
from wherry.api.request import BuildRequest, BuildResult
from wherry.events import Sink, discard
from wherry.process.cancel import CancelToken

__all__ = ["BuildRequest", "BuildResult", "Surroundings", "build", "build_image"]


class Surroundings(NamedTuple):
    """What surrounds a build: where, with which whole environment, who listens, who may stop it.

    None means this process's own. `on_event` gets progress events, from any thread.
    """

    cwd: str = ""
    env: Mapping[str, str] | None = None
    on_event: Sink = discard
    cancel: CancelToken | None = None


class Options(TypedDict, total=False):
    """Fields of `BuildRequest` that `build` takes by name."""

    frontend: str
    target: str
    platform: str
    base: str
    stamp: str
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    metadata_file: str
    iidfile: str
    no_cache: bool
    push: bool
    pull: bool
    locked: bool
    ca: tuple[str, ...]
    jobs: int
    file: str
    build_args: tuple[tuple[str, str | None], ...]
    build_contexts: tuple[tuple[str, str], ...]
    no_cache_filter: tuple[str, ...]
    unpack_limit: int
    secrets: tuple[str, ...]
    ssh: tuple[str, ...]
    network: str
    allow: tuple[str, ...]
    add_hosts: tuple[str, ...]
    shm_size: str
    ulimits: tuple[str, ...]
    on_error: str
    go_cache: str
    cache_from: tuple[str, ...]
    cache_to: tuple[str, ...]
    cache_mounts: tuple[str, ...]
    cache_key: str


def build(
    source: str | os.PathLike[str] = ".",
    tags: str | Sequence[str] = (),
    outputs: Sequence[str] = (),
    *,
    store: str | os.PathLike[str] = "",
    surroundings: Surroundings | None = None,
    **options: Unpack[Options],
) -> BuildResult:
    """Build a Go module's main package, or a Dockerfile, into an image; as `wherry build` does.

    `source` is a directory, a Go package path or a git URL. `outputs` are in `--output`'s form.
    `options` are the fields of `BuildRequest` that `Options` names, with their meanings there.

    Raises `wherry.WherryError`, whose class says whose turn it is (see `wherry.errors`), and
    `wherry.process.cancel.Cancelled` where the token was cancelled. Safe to call from several
    threads.
    """
    around = surroundings or Surroundings()
    environment = dict(os.environ if around.env is None else around.env)
    wrong = sorted(options.keys() - Options.__annotations__.keys())
    if wrong:
        raise TypeError(f"build() got an unexpected keyword argument {wrong[0]!r}")
    request = BuildRequest(
        source=os.fspath(source),
        cwd=os.path.abspath(around.cwd or os.getcwd()),
        env=environment,
        store=os.fspath(store) or default_store(environment),
        tags=(tags,) if isinstance(tags, str) else tuple(tags),
        outputs=tuple(outputs),
    )
    return build_image(request._replace(**options), around.on_event, around.cancel or CancelToken())
