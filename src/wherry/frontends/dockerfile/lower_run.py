# SPDX-License-Identifier: Apache-2.0
"""RUN to an exec op (Dockerfile reference, "RUN", "RUN --mount", "Here-Documents").

The command keeps its text: its variables are the shell's business. Heredocs reach it in one of
three ways: a single one is the script itself, or with `#!` a file that is run; others stay in the
command, for the shell to read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from wherry.frontends.dockerfile.building import Building
from wherry.frontends.dockerfile.instructions import Command, Mount, Run
from wherry.frontends.dockerfile.mounts import parse_mount
from wherry.frontends.dockerfile.paths import clean, join, source
from wherry.frontends.dockerfile.refusals import BadValue
from wherry.frontends.dockerfile.request import Request
from wherry.frontends.dockerfile.scope import proxies
from wherry.frontends.dockerfile.source import Problem, Problems
from wherry.graph.ops import ExecMount, ExecOp, MountKind
from wherry.oci.image import Pairs

# Where a heredoc that is run lies, and where BuildKit puts secrets and agents of their own.
_PIPES: Final = "/dev/pipes"
_SECRETS: Final = "/run/secrets"
_AGENTS: Final = "/run/buildkit/ssh_agent"
_AGENT_VARIABLE: Final = "SSH_AUTH_SOCK"
# Arguments that BuildKit's documentation gives a meaning ("BuildKit built-in build args").
_CACHE_NAMESPACE: Final = "BUILDKIT_CACHE_MOUNT_NS"
_HOSTNAME: Final = "BUILDKIT_SANDBOX_HOSTNAME"
_LEADING_TABS: Final = re.compile(r"^\t+", re.MULTILINE)
_MODES: Final = {MountKind.CACHE: 0o755, MountKind.SECRET: 0o400, MountKind.SSH: 0o600}


def lower_run(
    stage: Building, instruction: Run, request: Request, source_of: Callable[[str], int]
) -> None:
    """Add the vertex of a RUN to the stage; raises `BadValue`, `Problems`.

    `source_of` gives the vertex of what a mount names in `from=`, empty for the build context.
    """
    network, security = _network(instruction, request), instruction.security or "sandbox"
    _require_allowed(instruction, request, network, security)
    command = _command(instruction.command)
    words = command.words
    if not words and not instruction.command.shell:
        raise BadValue("RUN [] names no program", "name one, or remove the instruction")
    if instruction.command.shell:
        words = stage.config.shell_words(words)
    given = request.build_args
    mounting = _Mounting(stage, source_of, given.get(_CACHE_NAMESPACE, ""))
    mounts = mounting.mounts(_typed_mounts(stage, instruction))
    secrets = [mount.env for mount in mounts if mount.env]
    text = instruction.source.text + command.summary
    op = ExecOp(
        args=words,
        env=_environment(stage, mounts),
        cwd=stage.directory,
        user=stage.config.user,
        mounts=mounts,
        network=network,
        security=security,
        platform=stage.platform,
        heredocs=command.files,
        hostname=given.get(_HOSTNAME) or request.hostname,
        devices=instruction.devices,
        shm_size=request.shm_size,
        ulimits=request.ulimits,
        host_names=tuple(name for name, _ in request.extra_hosts),
        hosts=request.extra_hosts,
        proxy=proxies(given),
    )
    name = stage.step_name(text, raw=True, hidden=secrets)
    inputs = (stage.root_vertex(), *mounting.inputs)
    vertex = stage.add(op, inputs, name, instruction.source.range)
    stage.change(vertex, stage.mark(f"RUN {_history(stage, words)}"))


class _Commanded(NamedTuple):
    """A command with its heredocs worked in; `summary` is what its step's name adds."""

    words: tuple[str, ...]
    files: Pairs = ()
    summary: str = ""


def _command(command: Command) -> _Commanded:
    if not command.heredocs or not command.words:
        return _Commanded(command.words)
    from wherry.frontends.dockerfile.heredoc import parse_marker  # noqa: PLC0415 - few need it

    line = command.words[0]
    first = command.heredocs[0]
    if parse_marker(line) is None:
        bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in command.heredocs)
        return _Commanded((line + bodies,))
    content = _LEADING_TABS.sub("", first.content) if first.chomp else first.content
    summary = f" ({_summary(first.content)})"
    if content.startswith("#!"):
        return _Commanded((f"{_PIPES}/{first.name}",), ((first.name, content),), summary)
    return _Commanded((content,), (), summary)


def _summary(content: str) -> str:
    first, more, _ = content.strip().partition("\n")
    return first.rstrip("\r") + ("..." if more else "")


def _typed_mounts(stage: Building, instruction: Run) -> tuple[Mount, ...]:
    place = instruction.source.range
    if not instruction.mount_texts:
        return instruction.mounts
    return tuple(
        parse_mount(text, lambda word: stage.scope.expand(word, place), where=place)
        for text in instruction.mount_texts
    )


def _network(instruction: Run, request: Request) -> str:
    named = instruction.network
    return named if named not in ("", "default") else request.network or "default"


def _require_allowed(instruction: Run, request: Request, network: str, security: str) -> None:
    """Raise `Problems` for each right that the RUN takes and the user did not give."""
    place = instruction.source.range
    taken = []
    if network == "host":
        taken.append(("with the host's network", "network.host"))
    if security == "insecure":
        taken.append(("with --security=insecure", "security.insecure"))
    problems = tuple(
        Problem(f"RUN {how} is not allowed", place, f"if you trust it: --allow {right}")
        for how, right in taken
        if right not in request.allowed
    )
    if problems:
        raise Problems(problems)


def _environment(stage: Building, mounts: tuple[ExecMount, ...]) -> tuple[str, ...]:
    """The variables; of several agents the first is the one that ssh finds."""
    found = stage.scope.environment()
    if _AGENT_VARIABLE not in stage.scope.variables:
        for mount in mounts:
            if mount.kind is MountKind.SSH:
                return (*found, f"{_AGENT_VARIABLE}={mount.target}")
    return found


def _history(stage: Building, words: tuple[str, ...]) -> str:
    """The command, after the number and the values of the arguments that it could see."""
    scope = stage.scope
    if not scope.arguments:
        return " ".join(words)
    values = (
        f"{name}={scope.variables.get(name, value)}" for name, value in scope.arguments.items()
    )
    return " ".join((f"|{len(scope.arguments)}", *values, *words))


class _Mounting:
    """The mounts of one RUN, and the vertices that they come from."""

    def __init__(
        self, stage: Building, source_of: Callable[[str], int], cache_namespace: str
    ) -> None:
        self.inputs: list[int] = []
        self._stage = stage
        self._source_of = source_of
        self._cache_prefix = f"{cache_namespace}/" if cache_namespace else ""
        self._agents = 0

    def mounts(self, mounts: tuple[Mount, ...]) -> tuple[ExecMount, ...]:
        """Those of files by target, what lies in another after it; then secrets, then agents."""
        found = [_READERS[mount.type](self, mount) for mount in mounts]
        return tuple(sorted(found, key=_position))

    def bind(self, mount: Mount) -> ExecMount:
        """Files of a stage, an image or the build context; what is written there is lost."""
        target = self._target(mount)
        number = self._input(mount.from_)
        read_only = mount.read_only is not False
        selector = source(mount.source)
        return ExecMount(
            MountKind.BIND, target, number, selector.removesuffix("/"), read_only=read_only
        )

    def cache(self, mount: Mount) -> ExecMount:
        """A directory that outlives the build, named by its target where it has no `id`."""
        target = self._target(mount)
        _refuse_source(mount)
        uid, gid, mode = _owner(mount, MountKind.CACHE)
        given = (mount.uid, mount.gid, mount.mode) != (None, None, None)
        return ExecMount(
            MountKind.CACHE,
            target,
            self._input(mount.from_) if mount.from_ else -1,
            source(mount.source).removesuffix("/"),
            id=self._cache_prefix + (mount.id or clean(mount.target or ".")),
            read_only=bool(mount.read_only),
            sharing=mount.sharing or "shared",
            mode=mode if given else None,
            uid=uid,
            gid=gid,
        )

    def tmpfs(self, mount: Mount) -> ExecMount:
        """Memory."""
        target = self._target(mount)
        _refuse_source(mount)
        read_only = bool(mount.read_only)
        return ExecMount(MountKind.TMPFS, target, read_only=read_only, size=mount.size or 0)

    def secret(self, mount: Mount) -> ExecMount:
        """A file, or a variable, or both, with a value that no image keeps."""
        name = mount.source or mount.id or _last(mount.target)
        target = mount.target
        if not target and not mount.env:
            target = f"{_SECRETS}/{_last(name)}"
        uid, gid, mode = _owner(mount, MountKind.SECRET)
        return ExecMount(
            MountKind.SECRET,
            target,
            id=name,
            required=mount.required,
            mode=mode,
            uid=uid,
            gid=gid,
            env=mount.env,
        )

    def ssh(self, mount: Mount) -> ExecMount:
        """The socket of an agent."""
        if mount.source:
            raise BadValue("a mount of type ssh has no source", "remove source")
        target = mount.target or f"{_AGENTS}.{self._agents}"
        self._agents += 1
        uid, gid, mode = _owner(mount, MountKind.SSH)
        return ExecMount(
            MountKind.SSH,
            target,
            id=mount.id or "default",
            required=mount.required,
            mode=mode,
            uid=uid,
            gid=gid,
        )

    def _target(self, mount: Mount) -> str:
        written = mount.target
        directory = self._stage.directory
        target = clean(written) if written.startswith("/") else join(directory, written)
        if target == "/":
            raise BadValue(
                f"a mount of type {mount.type} would hide the whole root",
                "name a directory below it by target=",
            )
        return target

    def _input(self, name: str) -> int:
        vertex = self._source_of(name)
        if vertex not in self.inputs:
            self.inputs.append(vertex)
        return self.inputs.index(vertex) + 1


_READERS: Final[Mapping[str, Callable[[_Mounting, Mount], ExecMount]]] = {
    "bind": _Mounting.bind,
    "cache": _Mounting.cache,
    "tmpfs": _Mounting.tmpfs,
    "secret": _Mounting.secret,
    "ssh": _Mounting.ssh,
}


def _refuse_source(mount: Mount) -> None:
    if source(mount.source).strip("/") and not mount.from_:
        raise BadValue(
            f"source={mount.source} of a mount of type {mount.type} is nowhere",
            "say with from= what it is in, or remove it",
        )


def _last(path: str) -> str:
    """The last part of a path."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def _owner(mount: Mount, kind: MountKind) -> tuple[int, int, int]:
    """User, group and mode, with what each is where it is not given."""
    return mount.uid or 0, mount.gid or 0, _MODES[kind] if mount.mode is None else mount.mode


def _position(mount: ExecMount) -> tuple[int, str]:
    if mount.kind is MountKind.SECRET:
        return 1, ""
    return (2, "") if mount.kind is MountKind.SSH else (0, mount.target)
