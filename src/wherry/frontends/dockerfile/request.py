# SPDX-License-Identifier: Apache-2.0
"""What lowering a Dockerfile takes and gives, and what it asks of the world.

The world is a `Resolver`: it knows what base images hold and which further contexts the user named
(`--build-context`). Everything else comes in as values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from wherry.frontends.dockerfile.checks import Checks
from wherry.frontends.dockerfile.instructions import Dockerfile
from wherry.frontends.dockerfile.source import Problem
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.graph.build import BuildGraph
    from wherry.oci.digest import Digest
    from wherry.oci.image import Pairs, RunConfig

_NO_CHECKS: Final = Checks()


class BaseImage(NamedTuple):
    """An image that a stage begins with, or that files are copied from.

    `digest` is that of its manifest for one platform, `reference` its full name; `platform` is
    what its config says that it is for; `author` its author, `run` what it runs.
    """

    digest: Digest
    reference: str
    platform: Platform
    run: RunConfig
    author: str = ""


class NamedDirectory(NamedTuple):
    """A further context that is a directory (or an archive): its files, by its ignore rules."""

    name: str
    ignore: tuple[str, ...] = ()
    place: str = ""


class NamedImage(NamedTuple):
    """A further context that is an image; None: `docker-image://scratch`, which holds nothing."""

    base: BaseImage | None


class NamedGit(NamedTuple):
    """A further context that is a git repository; fields as `GitOp` has them."""

    remote: str
    ref: str = ""
    directory: str = ""
    keep_git_dir: bool = False
    checksum: str = ""
    submodules: bool = True
    fetch_by_commit: bool = False


class NamedHttp(NamedTuple):
    """A further context that is one file from a URL; the file is named `context`."""

    url: str


NamedContext = NamedDirectory | NamedImage | NamedGit | NamedHttp


class Resolver(Protocol):
    """What lowering asks of the world. Both may be asked the same twice."""

    def image(self, reference: str, platform: Platform) -> BaseImage:
        """The image that `reference`, as the user wrote it, names; raises `WherryError`."""

    def named(self, name: str, platform: Platform) -> NamedContext | None:
        """The further context of that name, None where the user gave none.

        Names are in familiar form (`familiar_name`), so `alpine` for `docker.io/library/alpine`;
        `NAME::linux/arm64`, a context for one platform, is asked for before `NAME`. An image among
        them is resolved for `platform`. Raises `WherryError`.
        """


class Request(NamedTuple):
    """One build of a Dockerfile, all but its bases known.

    `file` is what messages call the Dockerfile. `target` is a stage's name, empty for the last
    stage. `platform_given` says that the user asked for `platform`: otherwise the image is for the
    platform of its base. `ignore` are the rules of the main context, `context_place` where it is.
    `no_cache_filter` are stages made anew, `no_cache` stands for all. `created` is RFC 3339.
    `network` is the network of RUN where it names none (`default`, `none` or `host`), `hostname`
    the name of the machine that RUN sees. `extra_hosts` are names and addresses that RUN knows,
    `shm_size` the bytes of its /dev/shm (0: the default), `ulimits` its limits: name, soft, hard.
    `allowed` are what RUN may ask for besides: `network.host`, `security.insecure`. `checks` are
    the warnings that the file switches off. With `go_cache` Go steps may use the Go caches of
    earlier builds.
    """

    dockerfile: Dockerfile
    resolver: Resolver
    platform: Platform
    build_platform: Platform
    build_args: Mapping[str, str]
    target: str = ""
    labels: Pairs = ()
    annotations: Pairs = ()
    platform_given: bool = True
    ignore: tuple[str, ...] = ()
    context_place: str = ""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    created: str = ""
    network: str = "default"
    hostname: str = ""
    extra_hosts: Pairs = ()
    shm_size: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    allowed: frozenset[str] = frozenset()
    file: str = "Dockerfile"
    checks: Checks = _NO_CHECKS
    go_cache: bool = True


class Lowered(NamedTuple):
    """The graph, what the image runs, what the user may want to hear, and the stages in it."""

    graph: BuildGraph
    run: RunConfig
    warnings: tuple[Problem, ...]
    stages_used: tuple[str, ...]
