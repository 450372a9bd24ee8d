# SPDX-License-Identifier: Apache-2.0
"""Lower a Go module's main packages to a build graph: base, files, one layer for each program.

Pure: every fact of the world (module, toolchain, settings, version control) comes in as a value.
Layers are ordered by rate of change, slowest first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from wherry.errors import InternalError
from wherry.graph.build import BuildGraph, ImageOutput, LayerOutput, Vertex
from wherry.graph.ops import ComposedBase, FilesOp, GoBuildOp, ImageOp, Op, Parent, RegistryBase
from wherry.oci.image import Pairs, RunConfig, pairs
from wherry.oci.platform import Platform

BINARY_DIRECTORY = "app"
# Programs that are named one by one.
_FEW = 3
# OCI image specification, annotations.md: "Human-readable title of the image".
_TITLE = "org.opencontainers.image.title"
# As above: the image that the lowest layers are shared with, and the name it was found under.
_BASE_NAME = "org.opencontainers.image.base.name"
_BASE_DIGEST = "org.opencontainers.image.base.digest"


@dataclass(frozen=True, slots=True)
class Program:
    """A program: the import path of its main package, its file name, its file's capabilities."""

    import_path: str
    name: str
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of programs in an image, and those of its `parents` that are not as any."""

    path: str = BINARY_DIRECTORY
    parents: tuple[Parent, ...] = ()


@dataclass(frozen=True, slots=True)
class Compiling:
    """How programs are compiled: programs of which all of this is equal share one `go build`.

    `directory` is where Go runs, `flags` and `environment` are for `go build`, `mtime` is the time
    of the programs in their layers, `place` where they lie there.
    """

    directory: str
    platform: Platform
    flags: tuple[str, ...]
    environment: Pairs
    go_version: str
    dynamic_allowed: bool = False
    mtime: int = 0
    place: Place = field(default_factory=Place)


@dataclass(frozen=True, slots=True)
class GoImage:
    """One image of Go programs for one platform, all questions answered.

    The first of `programs` is what the image runs. `base_run` is what the base gives the image's
    run configuration, `run` what the user's settings say; `created` is RFC 3339. `title` is what
    people call the image, the first program's name where it is empty. `files` lie between the base
    and the programs, described by `files_note`. `lane` is what progress calls the image where the
    build makes several.
    """

    programs: tuple[Program, ...]
    compiling: Compiling
    base: ComposedBase | RegistryBase
    base_run: RunConfig
    data_versions: Pairs
    created: str
    run: RunConfig = field(default_factory=RunConfig)
    annotations: Pairs = ()
    title: str = ""
    files: FilesOp | None = None
    files_note: str = ""
    lane: str = ""

    @property
    def name(self) -> str:
        """The name of the program that it runs."""
        return self.programs[0].name

    @property
    def platform(self) -> Platform:
        """What it is for."""
        return self.compiling.platform


def lower(images: Sequence[GoImage]) -> BuildGraph:
    """The graph of these images: each base and program is made once."""
    vertices: list[Vertex] = []
    outputs: list[ImageOutput] = []
    builds = _shared_builds(images)
    numbers: dict[Op, int] = {}
    # What tells steps of one name apart.
    more: list[str] = []

    def vertex(op: Op, name: str, apart: str) -> int:
        if op not in numbers:
            numbers[op] = len(vertices)
            vertices.append(Vertex(op, (), name))
            more.append(apart)
        return numbers[op]

    for image in images:
        layers: list[LayerOutput] = []
        platform = f" for {image.platform}"
        if image.base is not ComposedBase.SCRATCH:
            op = ImageOp(image.base, image.data_versions, image.platform)
            versions = ", ".join(" ".join(pair) for pair in image.data_versions)
            name = _base_name(image.base)
            number = vertex(op, f"base {name}", platform)
            layers.append(LayerOutput(number, f"wherry base {name}", versions))
        if image.files is not None:
            number = vertex(image.files, f"files of {image.title or image.name}", platform)
            layers.append(LayerOutput(number, "wherry files", image.files_note))
        for program in image.programs:
            build = _build_of(program, image.compiling, builds)
            name = f"build {build.progress_name}{platform}"
            number = vertex(build, name, f" ({', '.join(build.packages[:_FEW])})")
            created_by = f"wherry go build {program.import_path}"
            layers.append(LayerOutput(number, created_by, image.compiling.go_version, program.name))
        outputs.append(
            ImageOutput(
                image.platform,
                tuple(layers),
                run_config(image),
                _annotations(image),
                image.created,
                lane=image.lane,
            )
        )
    graph = _told_apart(BuildGraph(tuple(vertices), tuple(outputs)), more)
    graph.validate()
    return graph


def _told_apart(graph: BuildGraph, more: Sequence[str]) -> BuildGraph:
    """The graph, its steps with `more` to their names where one lane has several of a name."""
    named = [
        # The lane says whose they are.
        (lane, "files" if lane and isinstance(vertex.op, FilesOp) else vertex.name)
        for lane, vertex in zip(graph.lanes(), graph.vertices, strict=True)
    ]
    counts = Counter(named)
    vertices = tuple(
        vertex._replace(name=both[1] + (apart if counts[both] > 1 else ""))
        for vertex, both, apart in zip(graph.vertices, named, more, strict=True)
    )
    return graph._replace(vertices=vertices)


_Builds = dict[Compiling, list[GoBuildOp]]


def _shared_builds(images: Sequence[GoImage]) -> _Builds:
    """All programs, with as few `go build` as file names allow, which do not have to differ."""
    groups: dict[Compiling, list[dict[str, Program]]] = {}
    for image in images:
        for program in image.programs:
            named = groups.setdefault(image.compiling, [])
            for group in named:
                if group.setdefault(program.name, program) == program:
                    break
            else:
                named.append({program.name: program})
    return {
        compiling: [_go_op(compiling, tuple(group.values())) for group in named]
        for compiling, named in groups.items()
    }


def _build_of(program: Program, compiling: Compiling, builds: _Builds) -> GoBuildOp:
    wanted = program.import_path, program.name, program.capabilities
    for op in builds[compiling]:
        if wanted in zip(op.packages, op.names, op.capabilities, strict=True):
            return op
    raise InternalError(f"nothing builds {program.import_path}")


def run_config(image: GoImage) -> RunConfig:
    """The base's run configuration with the program, and the user's settings on top.

    As in Docker, a new entrypoint drops the base's command.
    """
    base, own = image.base_run, image.run
    labels = {**dict(base.labels), _TITLE: image.title or image.name, **dict(own.labels)}
    return replace(
        base,
        user=own.user or base.user,
        env=_merged_env(base.env, own.env),
        entrypoint=own.entrypoint or (f"/{BINARY_DIRECTORY}/{image.name}",),
        cmd=own.cmd,
        working_dir=own.working_dir or base.working_dir,
        exposed_ports=tuple(dict.fromkeys((*base.exposed_ports, *own.exposed_ports))),
        volumes=tuple(dict.fromkeys((*base.volumes, *own.volumes))),
        labels=pairs(labels),
        stop_signal=own.stop_signal or base.stop_signal,
        on_build=(),
        args_escaped=False,
    )


def _base_name(base: ComposedBase | RegistryBase) -> str:
    return base.reference if isinstance(base, RegistryBase) else str(base)


def _go_op(compiling: Compiling, programs: tuple[Program, ...]) -> GoBuildOp:
    names = tuple(program.name for program in programs)
    shown = ", ".join(names) if len(names) <= _FEW else f"{len(names)} programs"
    return GoBuildOp(
        directory=compiling.directory,
        packages=tuple(program.import_path for program in programs),
        names=names,
        platform=compiling.platform,
        flags=compiling.flags,
        environment=compiling.environment,
        dynamic_allowed=compiling.dynamic_allowed,
        image_directory=compiling.place.path,
        capabilities=tuple(program.capabilities for program in programs),
        progress_name=shown,
        mtime=compiling.mtime,
        parents=compiling.place.parents,
    )


def _merged_env(base: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """Variables in the base's order, then the user's; PATH ends with the binaries' directory."""
    merged: dict[str, str] = {}
    for item in (*base, *own):
        name, _, value = item.partition("=")
        merged[name] = value
    path = [part for part in merged.get("PATH", "").split(":") if part]
    if f"/{BINARY_DIRECTORY}" not in path:
        path.append(f"/{BINARY_DIRECTORY}")
    merged["PATH"] = ":".join(path)
    return tuple(f"{name}={value}" for name, value in merged.items())


def _annotations(image: GoImage) -> Pairs:
    title = {_TITLE: image.title or image.name}
    return pairs({**title, **_base_annotations(image), **dict(image.annotations)})


def _base_annotations(image: GoImage) -> dict[str, str]:
    if isinstance(image.base, RegistryBase):
        return {_BASE_NAME: image.base.reference, _BASE_DIGEST: str(image.base.digest)}
    versions = {f"wherry.base.{name}": version for name, version in image.data_versions}
    return {"wherry.base": str(image.base), **versions}
