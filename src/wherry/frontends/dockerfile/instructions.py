# SPDX-License-Identifier: Apache-2.0
"""Typed instructions: what a Dockerfile's lines mean, before any variable is expanded.

Texts that the language expands are kept as written; `wherry.frontends.dockerfile.lower` expands
them. Everything else (numbers, durations, words of a closed set) is checked already.
"""

from __future__ import annotations

from typing import NamedTuple

from wherry.frontends.dockerfile.nodes import Heredoc
from wherry.frontends.dockerfile.source import Range


class NameValue(NamedTuple):
    """A name and what it is set to, both unexpanded."""

    name: str
    value: str


class Source(NamedTuple):
    """Where an instruction stands, and its text as the image's history shows it."""

    range: Range
    text: str


class From(NamedTuple):
    """`FROM [--platform=PLATFORM] BASE [AS NAME]`; `name` in lower case, empty without one."""

    source: Source
    base: str
    name: str
    platform: str
    comment: str = ""


class Arg(NamedTuple):
    """`ARG NAME[=DEFAULT] ...`: a default of None means none was given."""

    source: Source
    arguments: tuple[tuple[str, str | None], ...]
    comment: str = ""


class Env(NamedTuple):
    """`ENV NAME=VALUE ...`, or the old form `ENV NAME VALUE` (`old_form`)."""

    source: Source
    variables: tuple[NameValue, ...]
    old_form: bool


class Label(NamedTuple):
    """`LABEL NAME=VALUE ...`, or the old form `LABEL NAME VALUE`."""

    source: Source
    labels: tuple[NameValue, ...]
    old_form: bool


class Command(NamedTuple):
    """A command line: shell form is one word that a shell reads; exec form its words.

    `heredocs` belong to shell forms only.
    """

    words: tuple[str, ...]
    shell: bool
    heredocs: tuple[Heredoc, ...] = ()


class Mount(NamedTuple):
    """`RUN --mount=...`: all options, unexpanded where the language expands them.

    `type` is one of bind, cache, tmpfs, secret, ssh. `source`, `from_`, `target`, `id` and the
    like are empty where not given; `size` (bytes), `mode`, `uid` and `gid` are None then. `env` is
    the variable that a secret goes to. `sharing` is shared, private or locked, and empty where not
    given. `read_only` is None where neither `ro` nor `rw` is given.
    """

    type: str
    target: str = ""
    source: str = ""
    from_: str = ""
    id: str = ""
    read_only: bool | None = None
    sharing: str = ""
    required: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    env: str = ""


class Device(NamedTuple):
    """`RUN --device=...`: the name of a device, and whether the build needs it."""

    name: str
    required: bool


class Run(NamedTuple):
    """`RUN [OPTIONS] COMMAND`; `network` and `security` are empty where not given.

    Where a mount holds a variable (or a quote or escape), `mounts` is empty and `mount_texts` has
    what follows each `--mount=`, all of them in their order: `parse_mount` types them once
    variables have values. Otherwise `mount_texts` is empty.
    """

    source: Source
    command: Command
    mounts: tuple[Mount, ...] = ()
    mount_texts: tuple[str, ...] = ()
    network: str = ""
    security: str = ""
    devices: tuple[Device, ...] = ()


class Copy(NamedTuple):
    """`COPY` and `ADD`: sources and destination unexpanded.

    `heredocs` are files given in place, in the order in which `sources` name their markers: a
    source that is a heredoc stands there as `<<NAME`, and is found in `heredocs` by that name.
    `link`, `parents` and `unpack` are None where the flag is not given. `checksum` and
    `keep_git_dir` are for ADD.
    """

    source: Source
    add: bool
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    owner: str = ""
    mode: str = ""
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


class Workdir(NamedTuple):
    """`WORKDIR PATH`."""

    source: Source
    path: str


class User(NamedTuple):
    """`USER NAME[:GROUP]`."""

    source: Source
    user: str


class Cmd(NamedTuple):
    """`CMD`: an empty command resets it."""

    source: Source
    command: Command


class Entrypoint(NamedTuple):
    """`ENTRYPOINT`: an empty command resets it."""

    source: Source
    command: Command


class Expose(NamedTuple):
    """`EXPOSE PORT[/PROTOCOL] ...`, ranges too; unexpanded."""

    source: Source
    ports: tuple[str, ...]


class Volume(NamedTuple):
    """`VOLUME PATH ...`."""

    source: Source
    paths: tuple[str, ...]


class StopSignal(NamedTuple):
    """`STOPSIGNAL SIGNAL`."""

    source: Source
    signal: str


class Healthcheck(NamedTuple):
    """`HEALTHCHECK [OPTIONS] CMD COMMAND` or `HEALTHCHECK NONE` (`command` None).

    Durations are in nanoseconds, 0 where not given, as the image config has them.
    """

    source: Source
    command: Command | None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Shell(NamedTuple):
    """`SHELL ["program", "argument"]`."""

    source: Source
    words: tuple[str, ...]


class Onbuild(NamedTuple):
    """`ONBUILD INSTRUCTION`: `expression` is its text, heredoc bodies included."""

    source: Source
    expression: str


class Maintainer(NamedTuple):
    """`MAINTAINER NAME` (deprecated): the image's author."""

    source: Source
    name: str


Instruction = (
    Arg | Env | Label | Run | Copy | Workdir | User | Cmd | Entrypoint | Expose | Volume
    | StopSignal | Healthcheck | Shell | Onbuild | Maintainer
)  # fmt: skip


class Stage(NamedTuple):
    """A FROM and the instructions after it; `number` counts from 0."""

    number: int
    base: From
    instructions: tuple[Instruction, ...]


class Dockerfile(NamedTuple):
    """All stages, the ARGs before the first FROM, and what the user may want to hear."""

    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    escape: str
