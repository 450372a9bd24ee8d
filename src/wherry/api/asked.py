# SPDX-License-Identifier: Apache-2.0
"""What a build is to be, once flags, settings file and defaults are put together.

Flags beat the file, the file beats the defaults. Pure but for reading `wherry.toml`.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from wherry.api.epoch import source_date_epoch
from wherry.api.request import BuildRequest
from wherry.errors import UsageError, near
from wherry.golang.root import module_root as nearest_module
from wherry.graph.ops import ComposedBase
from wherry.oci.image import Pairs, RunConfig, pairs
from wherry.oci.platform import Platform, host_platform, parse_platform
from wherry.settings.kinds import parse_base
from wherry.settings.load import load_settings
from wherry.settings.model import FILE_NAME, ImageSettings, Settings


class Asked(NamedTuple):
    """One image of one main package, as asked for.

    `package` is the settings file's word for it, empty where the source names it. `module_root`
    is the nearest directory with a go.mod, `settings_path` where the settings file is or would be.
    `base` is a composed base or an image's reference; `libc_base` the reference of the base for a
    dynamically linked program, empty where none is named.
    `epoch` is SOURCE_DATE_EPOCH in seconds, None where it is not set.
    """

    package: str
    name: str
    platform: Platform
    base: ComposedBase | str
    libc_base: str
    stamp: str
    cgo: bool
    go_version: str
    ldflags: tuple[str, ...]
    build_tags: tuple[str, ...]
    compression_level: int
    run: RunConfig
    annotations: Pairs
    tags: tuple[str, ...]
    settings_path: str
    settings_exist: bool
    epoch: int | None


def ask(request: BuildRequest, directory: str) -> Asked:
    """Put flags, settings and defaults together; raises `UsageError` or `SeveralErrors`."""
    root = module_root(directory)
    settings = load_settings(root)
    image = settings.resolved(_choose(settings, request.target))
    build = settings.build
    base = request.base or build.base or ComposedBase.STATIC
    labels = {**dict(image.labels), **dict(request.labels)}
    annotations = {**dict(image.annotations), **dict(request.annotations)}
    return Asked(
        package=image.packages[0] if image.packages else "",
        name=image.name,
        platform=parse_platform(request.platform) if request.platform else host_platform(),
        base=_base(base),
        # What the command line names is meant for this very program.
        libc_base="" if request.base else build.libc_base or "",
        stamp=request.stamp or build.stamp or "off",
        cgo=build.cgo,
        go_version=build.go or "",
        ldflags=image.ldflags or (),
        build_tags=build.build_tags,
        compression_level=1 if build.compression_level is None else build.compression_level,
        run=RunConfig(
            user=image.user or "",
            env=tuple(f"{name}={value}" for name, value in image.env),
            cmd=image.args or (),
            working_dir=image.workdir or "",
            exposed_ports=image.ports or (),
            labels=pairs(labels),
        ),
        annotations=pairs(annotations),
        tags=image.tags,
        settings_path=os.path.join(root, FILE_NAME),
        settings_exist=settings.path is not None,
        epoch=source_date_epoch(request.env),
    )


def module_root(directory: str) -> str:
    """The nearest directory at or above with a go.mod; `directory` itself where there is none."""
    return nearest_module(directory) or directory


def _choose(settings: Settings, target: str) -> ImageSettings:
    names = tuple(image.name for image in settings.images)
    if target:
        for image in settings.images:
            if image.name == target:
                return image
        hint = near(target, names) or f"it names: {', '.join(names) or 'none'}"
        raise UsageError(f"no image {target!r} in {FILE_NAME}", hint=hint)
    if len(settings.images) > 1:
        raise UsageError(f"{FILE_NAME} names {len(names)} images", why=", ".join(names),
                         hint=f"choose one: --target {names[0]}")  # fmt: skip
    return settings.images[0] if settings.images else ImageSettings(name="")


def _base(text: str) -> ComposedBase | str:
    """A composed base, or the reference itself, which must be one; raises `UsageError`."""
    if text in tuple(ComposedBase):
        return ComposedBase(text)
    try:
        return parse_base(text)
    except UsageError as error:
        raise UsageError(f"--base {error.what}", why=error.why, hint=error.hint) from error
