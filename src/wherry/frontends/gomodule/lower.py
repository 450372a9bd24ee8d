# SPDX-License-Identifier: Apache-2.0
"""Lower a Go module's main package to a build graph: base, then one layer for the binary.

Pure: every fact of the world (module, toolchain, settings, version control) comes in as a value.
Layers are ordered by rate of change, slowest first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from wherry.graph.build import BuildGraph, ImageOutput, LayerOutput, Vertex
from wherry.graph.ops import ComposedBase, GoBuildOp, ImageOp, RegistryBase
from wherry.oci.image import Pairs, RunConfig, pairs
from wherry.oci.platform import Platform

BINARY_DIRECTORY = "app"
# OCI image specification, annotations.md: "Human-readable title of the image".
_TITLE = "org.opencontainers.image.title"
# As above: the image that the lowest layers are shared with, and the name it was found under.
_BASE_NAME = "org.opencontainers.image.base.name"
_BASE_DIGEST = "org.opencontainers.image.base.digest"


@dataclass(frozen=True, slots=True)
class GoImage:
    """One image of one Go program, all questions answered.

    `import_path` is the main package, `name` its binary's file name. `flags` and `environment`
    are for `go build`. `base_run` is what the base gives the image's run configuration, `run` what
    the user's settings say; `created` is RFC 3339. `title` is what people call the image, the
    binary's name where it is empty.
    """

    name: str
    directory: str
    import_path: str
    platform: Platform
    flags: tuple[str, ...]
    environment: Pairs
    go_version: str
    base: ComposedBase | RegistryBase
    base_run: RunConfig
    data_versions: Pairs
    created: str
    dynamic_allowed: bool = False
    run: RunConfig = field(default_factory=RunConfig)
    annotations: Pairs = ()
    title: str = ""


def lower(image: GoImage) -> BuildGraph:
    """The graph whose image holds the program on its base."""
    vertices: list[Vertex] = []
    layers: list[LayerOutput] = []
    if image.base is not ComposedBase.SCRATCH:
        op = ImageOp(image.base, image.data_versions, image.platform)
        versions = ", ".join(" ".join(pair) for pair in image.data_versions)
        name = _base_name(image.base)
        vertices.append(Vertex(op, (), f"base {name}"))
        layers.append(LayerOutput(len(vertices) - 1, f"wherry base {name}", versions))
    vertices.append(Vertex(_go_op(image), (), f"build {image.name} for {image.platform}"))
    layers.append(
        LayerOutput(len(vertices) - 1, f"wherry go build {image.import_path}", image.go_version)
    )
    output = ImageOutput(
        image.platform, tuple(layers), run_config(image), _annotations(image), image.created
    )
    graph = BuildGraph(tuple(vertices), output)
    graph.validate()
    return graph


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


def _go_op(image: GoImage) -> GoBuildOp:
    return GoBuildOp(
        directory=image.directory,
        packages=(image.import_path,),
        names=(image.name,),
        platform=image.platform,
        flags=image.flags,
        environment=image.environment,
        dynamic_allowed=image.dynamic_allowed,
        image_directory=BINARY_DIRECTORY,
        progress_name=image.name,
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
