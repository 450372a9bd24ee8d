# SPDX-License-Identifier: Apache-2.0
"""Build records of Dockerfiles: what one build depended on, so that the next need not lower it.

A record holds the digests of the files that say what is built, the state of what was selected of
each build context, and what the names of bases meant. If all are as they were, its image is the
answer, and neither the front end nor the engine is loaded. Builds that ask the network for more
than bases, or read stdin, have no record.

On the no-change path: json, hashlib, os and what looks at a directory.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry._version import __version__
from wherry.api.recorded import Output, codec, decode_output
from wherry.api.request import BuildRequest
from wherry.oci.digest import parse_digest
from wherry.settings.files import FILE_NAME, LOCK_NAME

if TYPE_CHECKING:
    from wherry.process.cancel import CancelToken
    from wherry.store.store import Store

KIND: Final = "dockerfile"
_FORMAT: Final = 1


class WatchedContext(NamedTuple):
    """A directory, its ignore rules, the paths that were selected from, and their state.

    Caches that the build left out of it are not named here: the next build leaves out its own, and
    the state says whether that comes to the same.
    """

    place: str
    rules: tuple[str, ...]
    prefixes: tuple[str, ...]
    state: str


class WatchedBase(NamedTuple):
    """A base's full name and what it meant: the store's tag, the registry's answer."""

    name: str
    tagged: str
    resolved: str


class Settled(NamedTuple):
    """One build: `files` maps paths to their digests; `output` is what it gave."""

    files: dict[str, str]
    contexts: tuple[WatchedContext, ...]
    bases: tuple[WatchedBase, ...]
    output: Output


def request_key(request: BuildRequest) -> str:
    """Key of everything in a request, and around it, that a Dockerfile's image depends on."""
    env = request.env
    arguments = [[name, env.get(name) if value is None else value]
                 for name, value in request.build_args]  # fmt: skip
    asked = [
        _FORMAT,
        __version__,
        codec(),
        sys.prefix,
        os.uname().machine,
        os.path.normpath(os.path.join(request.cwd, request.source)),
        os.path.join(request.cwd, request.file) if request.file else "",
        request.cwd,
        request.target,
        request.platform,
        arguments,
        request.labels,
        request.annotations,
        request.build_contexts,
        request.unpack_limit,
        request.locked,
        # Of RUN's options just those that its keys hold, and what decides whether it may run.
        request.network,
        request.allow,
        request.add_hosts,
        request.shm_size,
        request.ulimits,
        # Where bases are asked for.
        request.registries,
        # The user's own settings say what short names mean.
        *(env.get(name, "") for name in ("SOURCE_DATE_EPOCH", "XDG_CONFIG_HOME", "HOME")),
    ]
    return hashlib.sha256(json.dumps(asked).encode("utf-8", "surrogateescape")).hexdigest()


def may_have_record(request: BuildRequest) -> bool:
    """Whether a build of this kind can be answered from a record."""
    asks_more = request.no_cache or request.pull or request.no_cache_filter
    # A directory that was made for one build is never met again.
    is_elsewhere = request.foreign or "-" in (request.source, request.file)
    return not asks_more and not is_elsewhere


def settings_files(request: BuildRequest, place: str) -> tuple[str, ...]:
    """Files beside the Dockerfile that say what names mean."""
    from wherry.settings.user import user_settings_path  # noqa: PLC0415 - not for Go modules

    own = (os.path.join(place, LOCK_NAME), os.path.join(place, FILE_NAME))
    user = user_settings_path(request.env)
    return (*own, user) if user else own


def find_settled(request: BuildRequest, store: Store, cancel: CancelToken) -> Output | None:
    """The result of the recorded build, where everything it depended on is as it was.

    Raises `UsageError` or `SeveralErrors` for settings that cannot be read.
    """
    if not may_have_record(request):
        return None
    value = store.records.get(KIND, request_key(request))
    settled = _decode(value) if value is not None else None
    if settled is None or not _holds(settled, request, store, cancel):
        return None
    return settled.output


def write_settled(request: BuildRequest, store: Store, settled: Settled) -> None:
    """Record a build; it keeps the image's blobs."""
    blobs = (*settled.output.blobs, *settled.output.lazy)
    digests = tuple(parse_digest(digest) for digest, _ in blobs)
    value = json.dumps([_FORMAT, *settled]).encode("utf-8", "surrogateescape")
    store.records.put(KIND, request_key(request), value, digests)


def digests_of(paths: Iterable[str]) -> dict[str, str]:
    """Digest of each file's bytes; words for one that is not there or is no file."""
    return {path: _digest(path) for path in paths}


def _digest(path: str) -> str:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                # A pipe is read once, by the build: like nothing, so that no record holds.
                return f"no file {os.urandom(8).hex()}"
            return hashlib.sha256(file.read()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    except OSError as error:
        return f"error {error.errno}"


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _holds(settled: Settled, request: BuildRequest, store: Store, cancel: CancelToken) -> bool:
    if any(_digest(path) != digest for path, digest in settled.files.items()):
        return False
    if not _is_there(settled.output, store) or not _same_bases(settled.bases, store):
        return False
    from wherry.api.caches_in_context import (  # noqa: PLC0415 - not for Go modules
        cache_directories,
        paths_below,
    )
    from wherry.fstree.state import directory_state  # noqa: PLC0415 - as above

    caches = cache_directories(request)
    return all(
        directory_state(
            context.place,
            context.rules,
            context.prefixes,
            cancel,
            paths_below(context.place, caches),
        )
        == context.state
        for context in settled.contexts
    )


def _is_there(output: Output, store: Store) -> bool:
    blobs = store.blobs
    return all(blobs.has(parse_digest(digest), size) for digest, size in output.blobs) and all(
        blobs.known(parse_digest(digest), size) for digest, size in output.lazy
    )


def _same_bases(bases: tuple[WatchedBase, ...], store: Store) -> bool:
    if not bases:
        return True
    from wherry.api.resolved import meaning_of  # noqa: PLC0415 - not for scratch
    from wherry.oci.reference import parse_reference  # noqa: PLC0415 - as above

    return all(
        (base.tagged, base.resolved) == tuple(meaning_of(store, parse_reference(base.name)))
        for base in bases
    )


def _decode(value: bytes) -> Settled | None:
    try:
        form, files, contexts, bases, output = json.loads(value.decode("utf-8", "surrogateescape"))
        if form != _FORMAT:
            return None
        return Settled(
            files,
            tuple(WatchedContext(place, tuple(rules), tuple(prefixes), state)
                  for place, rules, prefixes, state in contexts),
            tuple(WatchedBase(*base) for base in bases),
            decode_output(output),
        )  # fmt: skip
    except (ValueError, TypeError):
        return None
