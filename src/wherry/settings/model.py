# SPDX-License-Identifier: Apache-2.0
"""The settings as frozen values: the one declaration of every key of `wherry.toml`.

A field's metadata hold its kind and its meaning; reading the file and the reference page both go
by them. None means that the file does not say, so that a flag or a default can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wherry.settings import file_entries, go_values, image_values, kinds, templated
from wherry.settings.cache import CacheSettings
from wherry.settings.declaration import Kind, setting
from wherry.settings.file_entries import FileEntry
from wherry.settings.files import FILE_NAME
from wherry.settings.registry import RegistrySettings
from wherry.settings.store import StoreSettings

if TYPE_CHECKING:
    from wherry.settings.check import CheckSettings
    from wherry.settings.lines import KeyPath

__all__ = [
    "FILE_NAME", "USER_FILE_NAME", "BuildSettings", "FileEntry", "ImageDefaults", "ImageSettings",
    "Settings",
]  # fmt: skip

USER_FILE_NAME = "config.toml"

# Fields of tables, which are merged entry by entry.
TABLES = ("env", "labels", "annotations")

_DEBIAN = '"docker.io/library/debian:12-slim"'
_TEXTS = "list of strings"
_TABLE = "table of strings"
ARGS = Kind(
    _TEXTS,
    templated.parse_templated_texts,
    '["serve", "--verbose"]',
    schema=templated.TEXTS,
)
PAIRS = Kind(_TABLE, templated.parse_templated_pairs, '{ team = "shop" }', schema=templated.PAIRS)
VARIABLES = Kind(
    _TABLE,
    image_values.parse_environment,
    '{ LOG_FORMAT = "json" }',
    schema=image_values.ENVIRONMENT,
)
PORTS = Kind(
    "list of ports", image_values.parse_ports, '[8000, "8125/udp"]', schema=image_values.PORTS
)
USER = Kind("string", image_values.parse_user, '"65532:65532"', schema=image_values.USER)
LINKER_FLAGS = Kind(
    _TEXTS,
    templated.parse_templated_texts,
    '["-X main.version={{.Version}}"]',
    schema=templated.TEXTS,
)
COMPILER_FLAGS = Kind(
    _TEXTS, templated.parse_templated_texts, '["all=-N -l"]', schema=templated.TEXTS
)
BASE = Kind(
    '"static", "scratch" or an image reference', kinds.parse_base, _DEBIAN, schema=kinds.BASE
)
LIBC_BASE = Kind("image reference", kinds.parse_libc_base, _DEBIAN, schema=kinds.LIBC_BASE)
PLATFORMS = Kind(
    "list of platforms",
    image_values.parse_platforms,
    '["linux/amd64", "linux/arm64"]',
    schema=image_values.PLATFORMS,
)
GO = Kind("string", go_values.parse_go_version, '"1.26.8"', schema=go_values.GO_VERSION)
FLAG = Kind("true or false", kinds.parse_flag, "true", schema=kinds.FLAG)
STAMP = Kind(
    '"off", "labels" or "full"',
    kinds.one_of(kinds.STAMPS),
    '"labels"',
    schema=kinds.choice_of(kinds.STAMPS),
)
BUILD_TAGS = Kind(
    _TEXTS, go_values.parse_build_tags, '["netgo", "osusergo"]', schema=go_values.BUILD_TAGS
)
COMPRESSION = Kind(
    '"gzip", "zstd" or "uncompressed"',
    kinds.one_of(kinds.COMPRESSIONS),
    '"zstd"',
    schema=kinds.choice_of(kinds.COMPRESSIONS),
)
LEVEL = Kind("number", image_values.parse_level, "6", schema=image_values.LEVEL)
PACKAGES = Kind(
    _TEXTS,
    go_values.parse_packages,
    '["./cmd/api", "./cmd/migrate"]',
    schema=go_values.PACKAGES,
)
TAGS = Kind(
    _TEXTS,
    image_values.parse_tags,
    '["registry.example.com/shop/api:{{.Version}}"]',
    schema=image_values.TAGS,
)
PATH = Kind("absolute path", image_values.parse_path, '"/srv"', schema=image_values.PATH)
PATHS = Kind(
    "list of absolute paths",
    image_values.parse_paths,
    '["/var/lib/shop"]',
    schema=kinds.list_of(image_values.PATH),
)
FILES = Kind(
    "list of `{ from, to, owner, mode }`",
    file_entries.parse_files,
    '[{ from = "web/dist", to = "/srv/www", owner = "65532:65532", mode = 0o640 }]',
    schema=file_entries.FILES,
)
CAPABILITIES = Kind(
    "list of capabilities",
    image_values.parse_capabilities,
    '["net_bind_service"]',
    schema=image_values.CAPABILITY_LIST,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDefaults:
    """What `[build]` says for every image and `[image.NAME]` for one.

    None is not said; an empty list is, and replaces what `[build]` says.
    """

    base: str | None = setting(
        BASE,
        "The base; without it the binary's own facts decide between `static` and `libc-base`",
        flag="--base",
    )
    libc_base: str | None = setting(
        LIBC_BASE, "The base of dynamically linked binaries, an image that holds their C library"
    )
    platforms: tuple[str, ...] | None = setting(
        PLATFORMS,
        "What to build for; without it linux on this machine's architecture",
        flag="--platform",
    )
    user: str | None = setting(
        USER,
        "The user that the program runs as, `user` or `user:group`; without it the base's own, or "
        "65532:65532",
    )
    env: tuple[tuple[str, str], ...] = setting(
        VARIABLES, "Environment variables of the program", ()
    )
    ports: tuple[str, ...] | None = setting(
        PORTS, "Ports that the program listens on: a number is TCP, or name the protocol"
    )
    volumes: tuple[str, ...] | None = setting(
        PATHS, "Directories whose contents belong to whoever runs the image"
    )
    workdir: str | None = setting(PATH, "The directory that the program starts in")
    args: tuple[str, ...] | None = setting(
        ARGS, "Arguments that the program gets where `run` names none"
    )
    labels: tuple[tuple[str, str], ...] = setting(PAIRS, "Labels of the image", (), flag="--label")
    annotations: tuple[tuple[str, str], ...] = setting(
        PAIRS, "Annotations of the image's manifest", (), flag="--annotation"
    )
    files: tuple[FileEntry, ...] | None = setting(
        FILES, "Files of the module's directory that lie in the image, too"
    )
    capabilities: tuple[str, ...] | None = setting(
        CAPABILITIES, "Linux capabilities that the program's file carries"
    )
    cgo: bool | None = setting(FLAG, "Whether cgo is on; without it `CGO_ENABLED=0`", unsaid=False)
    ldflags: tuple[str, ...] | None = setting(LINKER_FLAGS, "Flags for Go's linker")
    gcflags: tuple[str, ...] | None = setting(
        COMPILER_FLAGS, "Flags for Go's compiler; `PATTERN=` before some is for those packages"
    )
    build_tags: tuple[str, ...] | None = setting(BUILD_TAGS, "Go build tags")
    stamp: str | None = setting(
        STAMP,
        "Where version-control facts go: nowhere (the default), labels, or the binary too",
        flag="--stamp",
        unsaid="off",
    )
    compression: str | None = setting(
        COMPRESSION, "How layers are compressed; the default is gzip", unsaid="gzip"
    )
    compression_level: int | None = setting(
        LEVEL, "gzip: 0 to 9, the default is 1; zstd: 1 to 22; none where layers are uncompressed"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings(ImageDefaults):
    """The table `[build]`."""

    go: str | None = setting(
        GO, "The exact Go version; without it the Go on PATH, or a newer one where go.mod asks"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings(ImageDefaults):
    """A table `[image.NAME]`; `name` is its NAME."""

    name: str
    packages: tuple[str, ...] = setting(
        PACKAGES,
        "The main packages, each a binary of the image; the first is what it starts. Always needed",
        (),
    )
    tags: tuple[str, ...] = setting(
        TAGS, "References that the image gets; without them NAME:latest", (), flag="--tag"
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole `wherry.toml`; `path` is None where there is none.

    `lines` are the lines of its headers, keys and items, which are no part of what it says.
    """

    build: BuildSettings = BuildSettings()
    images: tuple[ImageSettings, ...] = ()
    path: str | None = None
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    # Builds do not ask for it: None where the file has no such table.
    check: CheckSettings | None = None
    lines: Mapping[KeyPath, int] = field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False
    )

    def resolved(self, image: ImageSettings) -> ImageSettings:
        """`image` with what `[build]` says for every image.

        Tables are merged, the image's own value winning; for anything else the image's own value
        stands where it says one.
        """
        merged: dict[str, Any] = {}
        for item in fields(ImageDefaults):
            own, common = getattr(image, item.name), getattr(self.build, item.name)
            if item.name in TABLES:
                merged[item.name] = tuple({**dict(common), **dict(own)}.items())
            else:
                merged[item.name] = common if own is None else own
        return replace(image, **merged)
