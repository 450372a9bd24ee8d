# SPDX-License-Identifier: Apache-2.0
"""Ops: frozen descriptions of one operation each (what, not how).

The union is closed; every engine has one executor for each kind. Cache keys come from *all*
fields of an op through one canonical encoder (`wherry.graph.keys`); a field that does not affect
the result is declared with `outside_key(reason)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from wherry.oci.digest import Digest
from wherry.oci.image import Pairs
from wherry.oci.platform import Platform


def outside_key(reason: str, default: Any = None) -> Any:  # noqa: ANN401 - stands for any field
    """Declare a dataclass field that stays out of cache keys, and why."""
    return field(default=default, metadata={"outside_key": reason})


class ComposedBase(StrEnum):
    """The bases that wherry composes offline."""

    STATIC = "static"
    SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class RegistryBase:
    """An image of a registry as a base: `digest` is its manifest's, for one platform."""

    digest: Digest
    reference: str = outside_key("the name it was found under; the digest says which it is")


@dataclass(frozen=True, slots=True)
class ImageOp:
    """A base: one that wherry composes, or an image by reference. Its result is its layers."""

    KIND: ClassVar[str] = "image/1"

    base: ComposedBase | RegistryBase
    # The versions of certifi's and tzdata's data that a composed tree is made from.
    data_versions: Pairs
    platform: Platform


@dataclass(frozen=True, slots=True)
class Parent:
    """A directory that a program lies in, by its path in the image: what it is like there."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class GoBuildOp:
    """Compile Go main packages, all with one command; each program becomes a layer of its own.

    `directory` is the absolute path of the module (or workspace) directory that go runs in,
    `packages` are import paths of exactly one main package each, `names` the programs' file names
    in the same order, no two alike. `flags` are the build flags in go's spelling, `environment` the
    variables that wherry sets on top of the user's. `capabilities` are file capabilities of each
    program (capabilities(7), lower case without CAP_), in the same order.
    """

    KIND: ClassVar[str] = "gobuild/2"

    directory: str
    packages: tuple[str, ...]
    names: tuple[str, ...]
    platform: Platform
    flags: tuple[str, ...]
    environment: Pairs
    # What the binaries' base can run; a dynamic binary on a static base is an error.
    dynamic_allowed: bool
    # Directory of the image that holds the binaries, relative to its root.
    image_directory: str
    capabilities: tuple[tuple[str, ...], ...] = ()
    progress_name: str = outside_key("what the user reads in progress output", default="")
    # The time of the programs in their layers, in seconds since 1970.
    mtime: int = outside_key(
        "no program depends on it, and no result is kept by the key", default=0
    )
    # The binaries' directory and those above it, where they are not as any (0755, root).
    parents: tuple[Parent, ...] = outside_key(
        "no program depends on them, and no result is kept by the key", default=()
    )


@dataclass(frozen=True, slots=True)
class FilesOp:
    """Files as they were chosen and read; the result is their layer.

    `digest` is that of the tree, `mtime` the time of its entries, in seconds since 1970.
    """

    KIND: ClassVar[str] = "files/1"

    digest: Digest
    mtime: int
    # A `wherry.fstree.tree.Tree`, which is of a room beside this one.
    tree: Any = field(
        default=None, compare=False, metadata={"outside_key": "its digest is the key"}
    )


@dataclass(frozen=True, slots=True)
class LocalOp:
    """Files of a build context: `name` is `context`, or a named context's.

    `ignore` are the rules of `.dockerignore`. Its result is read on demand, and has no key of its
    own: what reads from it is keyed by just what it selects.
    """

    KIND: ClassVar[str] = "local/1"

    name: str
    ignore: tuple[str, ...]
    # Where it is, for a directory; the contents count, not the place.
    place: str = outside_key("contents are the key", default="")


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy one source path or pattern of input `source` (1 and up; 0 is what the op changes).

    Paths are absolute inside their trees. `path` may hold wildcards as Go's `filepath.Match` has
    them (unless `literal`), and with `parents` a pivot `/./`. `destination` keeps its trailing
    slash. `owner` is as in `--chown`, names and numbers; empty: files keep the owner that their
    tree says, which for a build context is root. `mode` is octal or symbolic as in `--chmod`;
    empty: kept. `excludes` are patterns as in `.dockerignore`. `unpack` unpacks a source that is an
    archive.
    """

    source: int
    path: str
    destination: str
    owner: str = ""
    mode: str = ""
    parents: bool = False
    excludes: tuple[str, ...] = ()
    unpack: bool = False
    literal: bool = False


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write `data` to a file that is named `name` if `destination` is a directory."""

    name: str
    data: bytes
    destination: str
    owner: str = ""
    mode: str = ""


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """Make a directory and its parents, where they are missing; one that is there stays."""

    path: str
    mode: int = 0o755
    owner: str = ""


FileAction = Copy | WriteFile | MakeDirectory


@dataclass(frozen=True, slots=True)
class FileOp:
    """Change a root: the actions in order, all in one layer.

    Input 0 of the vertex is the root that is changed, the others are what is copied from. With
    `alone` (`COPY --link`) there is no such root: the layer is made on an empty one, and source 1
    is the vertex's input 0.
    """

    KIND: ClassVar[str] = "file/1"

    actions: tuple[FileAction, ...]
    alone: bool = False


@dataclass(frozen=True, slots=True)
class MergeOp:
    """Put the layer of input 1 on top of the root of input 0, as `COPY --link` does."""

    KIND: ClassVar[str] = "merge/1"


@dataclass(frozen=True, slots=True)
class HttpOp:
    """A file from a URL. Its result is a tree with that one file; the key is its content.

    `checksum` is a digest or empty. `name` is the file's name where the server tells none.
    """

    KIND: ClassVar[str] = "http/1"

    url: str
    checksum: str
    name: str


@dataclass(frozen=True, slots=True)
class GitOp:
    """A checked-out git tree: `remote` a URL, `ref` a branch, tag or commit (empty: HEAD).

    `directory` is the part of the tree that is taken; `checksum` a commit that `ref` must be. With
    `fetch_by_commit` the checksum's commit is fetched, and called `ref` without asking the remote.
    """

    KIND: ClassVar[str] = "git/1"

    remote: str
    ref: str
    directory: str
    keep_git_dir: bool
    checksum: str = ""
    submodules: bool = True
    fetch_by_commit: bool = False


class MountKind(StrEnum):
    """Kinds of a RUN's mounts."""

    BIND = "bind"
    CACHE = "cache"
    TMPFS = "tmpfs"
    SECRET = "secret"  # noqa: S105 - a kind of mount
    SSH = "ssh"


@dataclass(frozen=True, slots=True)
class ExecMount:
    """A mount of a RUN: `input` is the vertex's input that a bind or cache starts from (-1: none).

    `selector` is the path inside that input. Other fields as the language has them.
    """

    kind: MountKind
    target: str
    input: int = -1
    selector: str = ""
    id: str = ""
    read_only: bool = False
    sharing: str = ""
    required: bool = False
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size: int = 0
    env: str = ""


@dataclass(frozen=True, slots=True)
class GoCachePlace:
    """A directory of a RUN's root that may be kept beside it: a Go cache, by its absolute path.

    `kind` is `build` (GOCACHE) or `modules` (GOMODCACHE). `home` is the home directory of the
    step's user that the path was made of; empty where it was not.
    """

    kind: str
    path: str
    home: str = ""


@dataclass(frozen=True, slots=True)
class ExecOp:
    """Run a command in the root of input 0; its result is that root, changed.

    `shm_size` is the size of /dev/shm in bytes, 0 for the default. `ulimits` are name, soft and
    hard limit, -1 for none. `hosts` are lines of /etc/hosts, name and address, `host_names` their
    names alone: as in BuildKit an address that changed runs no step again. `go_caches` are the Go
    caches that its result need not hold, should it turn out to be a Go step.
    """

    KIND: ClassVar[str] = "exec/3"

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    mounts: tuple[ExecMount, ...]
    network: str
    security: str
    platform: Platform
    # Heredoc bodies that are fed as files or input: name and content.
    heredocs: Pairs = ()
    hostname: str = ""
    # Devices by their CDI names, and whether the step needs each.
    devices: tuple[tuple[str, bool], ...] = ()
    shm_size: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    host_names: tuple[str, ...] = ()
    go_caches: tuple[GoCachePlace, ...] = ()
    hosts: tuple[tuple[str, str], ...] = outside_key(
        "only the names count, which host_names holds", default=()
    )
    # Variables of the proxy: for the process, never for keys or the image.
    proxy: tuple[tuple[str, str], ...] = outside_key("a proxy changes no result", default=())
    # Why a Go step is given no Go caches, or not all.
    no_go_caches: str = field(
        default="", compare=False, metadata={"outside_key": "what the user reads"}
    )


Op = (
    ImageOp | GoBuildOp | FilesOp | LocalOp | FileOp | MergeOp | HttpOp | GitOp | ExecOp
)  # fmt: skip
