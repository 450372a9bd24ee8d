# SPDX-License-Identifier: Apache-2.0
"""One RUN step as a value: what the main process asks of the namespace worker, and its answer.

Light to import and sent as JSON over the worker's socket: bytes travel as base64. Values of
secrets are in here, so that `repr` shows none of them, and nothing here is ever written to a disk.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, Protocol, Self

from wherry.oci.canonical import Json
from wherry.sandbox.mapping import HostFacts, Mapping

_CACHE_ROWS: Final = ("strangers", "seen", "snapshots", "changes")


class StepMount(NamedTuple):
    """One `RUN --mount`, in the words of the Dockerfile reference.

    `kind` is bind, cache, tmpfs, secret or ssh, `target` an absolute path in the root. What is
    mounted is one of: a root made of the snapshots `lowers`, lowest first; `directory`, a directory
    of this machine (a cache mount, or files of the build context); neither (an empty tree); or for
    a secret its `data`, for ssh an agent's `socket` here. `selector` is a path inside of it; `size`
    is a tmpfs's, in bytes, 0 for no limit. `mode`, `uid` and `gid` are those of a secret's file and
    of an agent's socket.
    """

    kind: str
    target: str
    lowers: tuple[str, ...] = ()
    directory: str = ""
    selector: str = ""
    read_only: bool = False
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    data: bytes = b""
    socket: str = ""

    def __repr__(self) -> str:
        """Without the secret."""
        return f"StepMount({self.kind!r}, {self.target!r})"

    def as_json(self) -> dict[str, Json]:
        """All fields, the bytes as base64."""
        return {**self._asdict(), "lowers": list(self.lowers), "data": _encode(self.data)}

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Self:
        """The mount whose `as_json` is `value`."""
        return cls(
            **{**value, "lowers": tuple(value["lowers"]), "data": _decode(value["data"])},
        )


class StepGoCache(NamedTuple):
    """A Go cache that the step may use: a directory at `path` in its root, kept in `lower`.

    `kind` is build or modules; `lower` is like a snapshot, whose `fs` holds the directory by its
    whole path. `home` is the home directory that the path was made of, empty where it was not.
    With `left` an earlier step of the root has left files there; `snapshots` are those of the root,
    `strangers` those of them that hold what no such step left. Where `shown` is False the step may
    see it only because of `left`, and leaves nothing. `seen` are the modules that earlier steps of
    the root saw there, each as a line of go.sum. `changes` are those of the snapshots that RUN
    steps have made.
    """

    kind: str
    path: str
    lower: str
    home: str = ""
    left: bool = False
    strangers: tuple[str, ...] = ()
    shown: bool = True
    seen: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Json]:
        """All fields."""
        fields = self._asdict()
        return {**fields, **{name: list(fields[name]) for name in _CACHE_ROWS}}

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Self:
        """The cache whose `as_json` is `value`."""
        rows = {name: tuple(value[name]) for name in _CACHE_ROWS}
        return cls(**{**value, **rows})


class StepSpec(NamedTuple):
    """Everything about one step but its root.

    `env` is in order, `NAME=VALUE` each, without the defaults, which are added by the rules of
    BuildKit. `user` is looked up in the root. `network` is default, none or host; `insecure` means
    `--security=insecure`. `hosts` are pairs of a name and an address; `shm_size` is in bytes, 0
    for the default; `ulimits` hold a name, the soft and the hard limit (-1: none). `pipes` are
    files of the shell forms' heredocs, a name below /dev/pipes and its text. `proxy` are variables
    for the process alone; `certificates` extra ones in PEM; `secret_env` variables that are
    secrets. With `terminal` the streams' first is a terminal to be the program's own. `go_caches`
    are directories that are kept beside the root.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    hostname: str = ""
    network: str = "default"
    insecure: bool = False
    mounts: tuple[StepMount, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    pipes: tuple[tuple[str, str], ...] = ()
    proxy: tuple[tuple[str, str], ...] = ()
    certificates: bytes = b""
    secret_env: tuple[tuple[str, bytes], ...] = ()
    terminal: bool = False
    go_caches: tuple[StepGoCache, ...] = ()

    def __repr__(self) -> str:
        """The command alone: proxies may hold passwords, and variables secrets."""
        return f"StepSpec({list(self.args)!r})"

    def as_json(self) -> dict[str, Json]:
        """All fields, the bytes as base64."""
        return {
            **self._asdict(),
            "args": list(self.args),
            "env": list(self.env),
            "mounts": [mount.as_json() for mount in self.mounts],
            "hosts": [list(pair) for pair in self.hosts],
            "ulimits": [list(limit) for limit in self.ulimits],
            "pipes": [list(pair) for pair in self.pipes],
            "proxy": [list(pair) for pair in self.proxy],
            "certificates": _encode(self.certificates),
            "secret_env": [[name, _encode(value)] for name, value in self.secret_env],
            "go_caches": [cache.as_json() for cache in self.go_caches],
        }

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Self:
        """The step whose `as_json` is `value`."""
        rows = ("args", "env", "hosts", "ulimits", "pipes", "proxy")
        fields = {
            **value,
            **{
                name: tuple(tuple(row) if isinstance(row, list) else row for row in value[name])
                for name in rows
            },
            "mounts": tuple(StepMount.parse(mount) for mount in value["mounts"]),
            "certificates": _decode(value["certificates"]),
            "secret_env": tuple((name, _decode(text)) for name, text in value["secret_env"]),
            "go_caches": tuple(StepGoCache.parse(cache) for cache in value["go_caches"]),
        }
        return cls(**fields)


class Executed(NamedTuple):
    """The step ended; `code` as a shell tells it.

    `empty` says that it changed no file, `size` how many bytes the change takes on the disk.
    `notes` are lines for the user. `outside` are the paths of the Go caches that it used, which the
    change does not hold; `refused` says why it was not given others; `seen` are the modules that it
    found there or may have left there, each as a line of go.sum; `used` the actions of Go's build
    cache that it used or made (`wherry.sandbox.go_harvest.Taken`).
    """

    code: int
    empty: bool
    size: int
    notes: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    refused: str = ""
    seen: tuple[str, ...] = ()
    used: tuple[str, ...] = ()


class Change(NamedTuple):
    """What a step left in `staged`: nothing at all, or so many bytes."""

    empty: bool
    size: int


class Trees(Protocol):
    """Root trees mounted in the worker's own mount namespace; all paths are the worker's.

    Every mount is nodev. Leaving a context unmounts it; nothing may be open in it any more.
    Raises `OSError`.
    """

    @property
    def opaque(self) -> str:
        """The attribute of directories that hide what lower ones hold; empty without overlay."""
        ...

    def root(self, lowers: tuple[str, ...], staged: str) -> AbstractContextManager[str]:
        """The writable root of a step; what is written becomes `staged`/fs when it is left."""
        ...

    def tree(self, lowers: tuple[str, ...], *, writable: bool) -> AbstractContextManager[str]:
        """The root of another stage or image; what is written there is lost.

        No `lowers` are an empty tree.
        """
        ...

    def measure(
        self, lowers: tuple[str, ...], staged: str, closed: Callable[[str], bool] | None = None
    ) -> Change:
        """What the step changed, asked after its root was left.

        Of new directories that are `closed`, by their paths, nothing of what lower ones may hold
        later is to be seen.
        """
        ...


class Surroundings(NamedTuple):
    """What a worker knows and lends to each step that it runs.

    `runtime` is the path of an OCI runtime, empty for none; `own_proc` says that /proc can be
    mounted anew, `seccomp` that the runtime can filter system calls. `bundles` is a directory on a
    tmpfs that only the worker sees: secrets and configs lie there while a step runs. `limits` are
    those that a step has unless it sets others, in the form of its `ulimits`.
    """

    runtime: str
    mapping: Mapping
    facts: HostFacts
    own_proc: bool
    seccomp: bool
    bundles: str
    trees: Trees
    limits: tuple[tuple[str, int, int], ...] = ()


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
