# SPDX-License-Identifier: Apache-2.0
"""The settings as frozen values: the one declaration of every key of `wherry.toml`.

A field's metadata hold its kind and its meaning; reading the file and the reference page both go
by them. None means that the file does not say, so that a flag or a default can.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from wherry.settings import kinds
from wherry.settings.declaration import Kind, setting
from wherry.settings.registry import RegistrySettings

FILE_NAME = "wherry.toml"
USER_FILE_NAME = "config.toml"

TEXTS = Kind("list of strings", kinds.parse_texts, '["serve", "--verbose"]')
PAIRS = Kind("table of strings", kinds.parse_pairs, '{ team = "shop" }')
VARIABLES = Kind("table of strings", kinds.parse_environment, '{ LOG_FORMAT = "json" }')
PORTS = Kind("list of ports", kinds.parse_ports, '[8000, "8125/udp"]')
USER = Kind("string", kinds.parse_user, '"65532:65532"')
LINKER_FLAGS = Kind("list of strings", kinds.parse_linker_flags, '["-X main.version=1.4.0"]')
BASE = Kind(
    '"static", "scratch" or an image reference',
    kinds.parse_base,
    '"docker.io/library/debian:12-slim"',
)
LIBC_BASE = Kind("image reference", kinds.parse_libc_base, '"docker.io/library/debian:12-slim"')
GO = Kind("string", kinds.parse_go_version, '"1.26.8"')
FLAG = Kind("true or false", kinds.parse_flag, "true")
STAMP = Kind('"off", "labels" or "full"', kinds.one_of(kinds.STAMPS), '"labels"')
BUILD_TAGS = Kind("list of strings", kinds.parse_build_tags, '["netgo", "osusergo"]')
LEVEL = Kind("number from 0 to 9", kinds.parse_level, "6")
PACKAGES = Kind("list of one string", kinds.parse_packages, '["./cmd/api"]')
TAGS = Kind("list of strings", kinds.parse_tags, '["registry.example.com/shop/api:1.4"]')
DIRECTORY = Kind("string", kinds.parse_directory, '"/srv"')


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDefaults:
    """What `[build]` says for every image and `[image.NAME]` for one."""

    user: str | None = setting(USER, "The user that the program runs as, `user` or `user:group`")
    env: tuple[tuple[str, str], ...] = setting(
        VARIABLES, "Environment variables of the program", ()
    )
    ports: tuple[str, ...] | None = setting(
        PORTS, "Ports that the program listens on: a number is TCP, or name the protocol"
    )
    labels: tuple[tuple[str, str], ...] = setting(PAIRS, "Labels of the image", ())
    annotations: tuple[tuple[str, str], ...] = setting(
        PAIRS, "Annotations of the image's manifest", ()
    )
    args: tuple[str, ...] | None = setting(
        TEXTS, "Arguments that the program gets where `run` names none"
    )
    ldflags: tuple[str, ...] | None = setting(LINKER_FLAGS, "Flags for Go's linker")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings(ImageDefaults):
    """The table `[build]`."""

    base: str | None = setting(BASE, "The base; without it the binary's own facts decide")
    libc_base: str | None = setting(
        LIBC_BASE, "The base of dynamically linked binaries, an image that holds their C library"
    )
    go: str | None = setting(
        GO, "The exact Go version; without it the Go on PATH, or a newer one where go.mod asks"
    )
    cgo: bool = setting(FLAG, "Whether cgo is on; without it `CGO_ENABLED=0`", False)
    stamp: str | None = setting(
        STAMP, "Where version-control facts go: nowhere (the default), labels, or the binary too"
    )
    build_tags: tuple[str, ...] = setting(BUILD_TAGS, "Go build tags", ())
    compression_level: int | None = setting(LEVEL, "The gzip level of layers; the default is 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings(ImageDefaults):
    """A table `[image.NAME]`; `name` is its NAME."""

    name: str
    packages: tuple[str, ...] = setting(
        PACKAGES, "The main package, exactly one in this release; always needed", ()
    )
    tags: tuple[str, ...] = setting(TAGS, "References that the image gets", ())
    workdir: str | None = setting(DIRECTORY, "The directory that the program starts in")


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole `wherry.toml`; `path` is None where there is none."""

    build: BuildSettings = BuildSettings()
    images: tuple[ImageSettings, ...] = ()
    path: str | None = None
    registry: RegistrySettings = field(default_factory=RegistrySettings)

    def resolved(self, image: ImageSettings) -> ImageSettings:
        """`image` with what `[build]` says for every image.

        Tables are merged, the image's own value winning; for anything else the image's own value
        stands where it says one.
        """
        merged: dict[str, Any] = {}
        for item in fields(ImageDefaults):
            own, common = getattr(image, item.name), getattr(self.build, item.name)
            if item.metadata["kind"] in (PAIRS, VARIABLES):
                merged[item.name] = tuple({**dict(common), **dict(own)}.items())
            else:
                merged[item.name] = common if own is None else own
        return replace(image, **merged)
