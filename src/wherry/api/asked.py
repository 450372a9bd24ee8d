# SPDX-License-Identifier: Apache-2.0
"""What a build is to be, once flags, settings file and defaults are put together.

Flags beat the file, the file beats the defaults; what `[image.NAME]` says beats `[build]`. Pure.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from wherry.api.epoch import source_date_epoch
from wherry.api.request import BuildRequest
from wherry.errors import UsageError, near
from wherry.graph.ops import ComposedBase
from wherry.oci.image import Pairs, RunConfig, pairs
from wherry.oci.platform import Platform, host_platform, parse_platforms
from wherry.settings.kinds import parse_base
from wherry.settings.model import FILE_NAME, FileEntry, ImageSettings, Settings

_GZIP = "gzip"


class Asked(NamedTuple):
    """One image, as asked for.

    `packages` are the settings file's words for its main packages, empty where the source names
    one. `settings_path` is where the settings file is or would be. `base` is a composed base or an
    image's reference; `libc_base` the reference of the base for a dynamically linked program, empty
    where none is named. `platforms` are what the image is built for, at least one.
    `compression_level` is None for the compression's usual one. `epoch` is SOURCE_DATE_EPOCH in
    seconds, None where it is not set.
    """

    packages: tuple[str, ...]
    name: str
    platforms: tuple[Platform, ...]
    base: ComposedBase | str
    libc_base: str
    stamp: str
    cgo: bool
    go_version: str
    ldflags: tuple[str, ...]
    gcflags: tuple[str, ...]
    build_tags: tuple[str, ...]
    compression: str
    compression_level: int | None
    run: RunConfig
    annotations: Pairs
    tags: tuple[str, ...]
    files: tuple[FileEntry, ...]
    capabilities: tuple[str, ...]
    settings_path: str
    settings_exist: bool
    epoch: int | None

    @property
    def root(self) -> str:
        """The directory that paths of the settings are seen from."""
        return os.path.dirname(self.settings_path)


def ask(request: BuildRequest, settings: Settings, root: str, image: ImageSettings) -> Asked:
    """Put flags, settings and defaults together for one image; raises `UsageError`.

    `image` has what `[build]` says already.
    """
    base = request.base or image.base or ComposedBase.STATIC
    labels = {**dict(image.labels), **dict(request.labels)}
    annotations = {**dict(image.annotations), **dict(request.annotations)}
    return Asked(
        packages=image.packages,
        name=image.name,
        platforms=_platforms(request, image),
        base=_base(base),
        # What the command line names is meant for this very program.
        libc_base="" if request.base else image.libc_base or "",
        stamp=request.stamp or image.stamp or "off",
        cgo=bool(image.cgo),
        go_version=settings.build.go or "",
        ldflags=image.ldflags or (),
        gcflags=image.gcflags or (),
        build_tags=image.build_tags or (),
        compression=image.compression or _GZIP,
        compression_level=image.compression_level,
        run=RunConfig(
            user=image.user or "",
            env=tuple(f"{name}={value}" for name, value in image.env),
            cmd=image.args or (),
            working_dir=image.workdir or "",
            exposed_ports=image.ports or (),
            volumes=image.volumes or (),
            labels=pairs(labels),
        ),
        annotations=pairs(annotations),
        tags=image.tags,
        files=image.files or (),
        capabilities=image.capabilities or (),
        settings_path=os.path.join(root, FILE_NAME),
        settings_exist=settings.path is not None,
        epoch=source_date_epoch(request.env),
    )


def targets(request: BuildRequest) -> tuple[str, ...]:
    """The names that `--target` gives, each once."""
    return tuple(dict.fromkeys(name for name in request.target.split(",") if name))


def chosen_images(settings: Settings, names: tuple[str, ...]) -> tuple[ImageSettings, ...]:
    """The images of these names, in their order; raises `UsageError` for one that is not there."""
    by_name = {image.name: image for image in settings.images}
    for name in names:
        if name not in by_name:
            known = tuple(by_name)
            hint = near(name, known) or f"it names: {', '.join(known) or 'none'}"
            raise UsageError(f"no image {name!r} in {FILE_NAME}", hint=hint)
    return tuple(by_name[name] for name in names)


def _platforms(request: BuildRequest, image: ImageSettings) -> tuple[Platform, ...]:
    texts = request.platform.split(",") if request.platform else image.platforms or ()
    return parse_platforms(texts) if texts else (host_platform(),)


def _base(text: str) -> ComposedBase | str:
    """A composed base, or the reference itself, which must be one; raises `UsageError`."""
    if text in tuple(ComposedBase):
        return ComposedBase(text)
    try:
        return parse_base(text)
    except UsageError as error:
        raise UsageError(f"--base {error.what}", why=error.why, hint=error.hint) from error
