# SPDX-License-Identifier: Apache-2.0
"""`.ko.yaml`, the settings of ko, read as wherry's own; what has no counterpart is a note each.

The meaning is that of ko's documentation, "Configuration", and of its version 0.19: an entry of
`builds` replaces the defaults of `defaultEnv`, `defaultFlags` and `defaultLdflags` where it says
one, and KO_DEFAULTBASEIMAGE and its like beat the file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from wherry.errors import SeveralErrors, UsageError
from wherry.oci.platform import parse_platform
from wherry.oci.reference import parse_reference
from wherry.settings import hosts, kinds
from wherry.settings.go_values import parse_packages
from wherry.settings.ko_builds import Build, Defaults, read_build, read_defaults
from wherry.settings.ko_words import BAD_VALUES, KoFile, words_of
from wherry.settings.model import BuildSettings, ImageSettings, Settings
from wherry.settings.registry import RegistrySettings
from wherry.settings.yaml_text import Table, Value, read_yaml

_LISTS: Final = ("defaultplatforms", "defaultenv", "defaultflags", "defaultldflags")
_KNOWN: Final = ("defaultbaseimage", "baseimageoverrides", "builds", *_LISTS)
_LOCAL: Final = ("ko.local", "kind.local")
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class KoPlace:
    """What the file's words mean where it lies.

    `module` is the module's path, empty where the directory is none; `env` the environment;
    `is_module` says of a directory below it, as `tools`, whether another module begins there.
    """

    module: str
    env: Mapping[str, str] = field(repr=False)
    is_module: Callable[[str], bool]


def parse_ko(text: str, shown: str, place: KoPlace) -> tuple[Settings, tuple[str, ...]]:
    """The settings that `text` amounts to, and a line for each thing that they cannot say.

    `shown` is what errors and notes call the file. Raises `UsageError`, or `SeveralErrors` for more
    than one, each with its line.
    """
    file = KoFile(shown)
    root = read_yaml(text, shown)
    tables = _top(file, root, place.env)
    defaults = read_defaults(file, tables, place.env)
    overrides = _overrides(file, tables.get("baseimageoverrides"))
    builds = _builds(file, tables.get("builds"), defaults)
    images = _images(file, builds, overrides, place)
    build = BuildSettings(
        base=_base(file, tables.get("defaultbaseimage")),
        platforms=_platforms(file, tables.get("defaultplatforms")) or None,
        go=defaults.go or None,
        cgo=defaults.cgo or None,
        ldflags=defaults.ldflags or None,
        gcflags=defaults.gcflags or None,
        build_tags=defaults.build_tags or None,
        stamp=None if defaults.stamp == "off" else defaults.stamp,
    )
    registry = RegistrySettings(default=_repository(file, place.env.get("KO_DOCKER_REPO", "")))
    _note_variables(file, place.env)
    errors = tuple(file.errors)
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralErrors(errors)
    settings = Settings(build=build, images=images, registry=registry)
    return settings, tuple(dict.fromkeys(file.notes))


def _top(file: KoFile, root: Value, env: Mapping[str, str]) -> dict[str, Value]:
    """The keys of the file in lower case, as ko compares them, and the variables that beat them."""
    found: dict[str, Value] = {}
    if isinstance(root, Table):
        for key, value in root.entries:
            if key.lower() in _KNOWN:
                found[key.lower()] = value
            else:
                file.note(value, f"{key} is no setting of ko's: left out")
    elif not file.is_null(root):
        file.wrong(root, UsageError("the file is no table", hint="write KEY: VALUE lines"))
    for key in ("defaultbaseimage", *_LISTS):
        variable = f"KO_{key.upper()}"
        if env.get(variable):
            found[key] = file.from_variable(variable, env[variable])
    return found


def _builds(file: KoFile, value: Value | None, defaults: Defaults) -> tuple[Build, ...]:
    found = []
    for item in file.items("builds", value):
        if isinstance(item, Table):
            found.append(read_build(file, item, defaults))
        else:
            file.wrong(item, UsageError("builds: an entry is no table", hint="write - id: NAME"))
    return tuple(found)


class _Override(NamedTuple):
    """A base, the import path that it is for as the file writes it, and where it stands."""

    base: str
    path: str
    source: Value


def _overrides(file: KoFile, value: Value | None) -> dict[str, _Override]:
    """By import path in lower case, as ko compares it."""
    if value is None or file.is_null(value):
        return {}
    if not isinstance(value, Table):
        error = UsageError("baseImageOverrides is no table", hint="write IMPORTPATH: IMAGE lines")
        file.wrong(value, error)
        return {}
    found: dict[str, _Override] = {}
    for key, image in value.entries:
        path, base = key.removeprefix("ko://"), _base(file, image)
        if base:
            found[path.lower()] = _Override(base, path, image)
    return found


def _images(
    file: KoFile, builds: tuple[Build, ...], overrides: dict[str, _Override], place: KoPlace
) -> tuple[ImageSettings, ...]:
    images: list[ImageSettings] = []
    taken: set[str] = set()
    for build in builds:
        if not _is_here(file, build, place):
            continue
        path = posixpath.normpath(posixpath.join(place.module, build.package))
        override = overrides.pop(path.lower(), None)
        name = _name((_last(path), build.name), taken)
        base = override.base if override else None
        images.append(replace(build.image, name=name, packages=_packages(file, build), base=base))
    for override in overrides.values():
        build = _overridden(override, place.module)
        inside = f"{override.path.lower()}/".startswith(f"{place.module.lower()}/")
        if place.module and inside and _is_here(file, build, place):
            name, packages = _name((_last(override.path),), taken), _packages(file, build)
            images.append(ImageSettings(name=name, packages=packages, base=override.base))
        elif not (place.module and inside):
            line = f"the base for {override.path} is left out: another module's package"
            file.note(override.source, line)
    return tuple(images)


def _overridden(override: _Override, module: str) -> Build:
    """The package of an override that no entry of `builds` names."""
    package = posixpath.normpath(override.path[len(module) :].lstrip("/") or ".")
    return Build("", package, ImageSettings(name=""), override.source)


def _packages(file: KoFile, build: Build) -> tuple[str, ...]:
    try:
        return parse_packages([build.package if build.package == "." else f"./{build.package}"])
    except BAD_VALUES as error:
        file.wrong(build.source, error)
        return ()


def _is_here(file: KoFile, build: Build, place: KoPlace) -> bool:
    """Whether the package belongs to the module at hand; a note says that it does not."""
    parts = [] if build.package == "." else build.package.split("/")
    shown = build.name or build.package
    if parts[:1] == [".."] or build.package.startswith("/"):
        file.note(build.source, f"{shown} is left out: it lies outside of this directory")
        return False
    for length in range(1, len(parts) + 1):
        directory = "/".join(parts[:length])
        if place.is_module(directory):
            line = f"{shown} is left out: {directory} is a module, with its own wherry.toml"
            file.note(build.source, line)
            return False
    return True


def _last(path: str) -> str:
    """The name of a program, as go gives it: a major version is none."""
    head, _, last = path.rpartition("/")
    return posixpath.basename(head) if head and re.fullmatch(r"v\d+", last) else last


def _name(wanted: tuple[str, ...], taken: set[str]) -> str:
    """A name for `[image.NAME]` that no other has: the first of `wanted` that is free.

    ko names an image by its program; where two fall together it has no trouble, and here the
    entry's id helps.
    """
    plain = [word for text in wanted if _NAME.fullmatch(word := _NO_NAME.sub("-", text))]
    # Some machines compare the names of files without case.
    name = next((word for word in plain if word.lower() not in taken), "")
    first, number = plain[0] if plain else "app", 1
    while not name or name.lower() in taken:
        name, number = first if number == 1 else f"{first}-{number}", number + 1
    taken.add(name.lower())
    return name


def _base(file: KoFile, value: Value | None) -> str | None:
    text = file.text("defaultBaseImage", value)
    if not text:
        return None
    if text.partition("/")[0] in _LOCAL:
        file.note(value, f"the base {text} is an engine's own image: name one of a registry")
        return None
    try:
        # For ko a name without a host is always Docker Hub's, and never a composed base.
        has_host = "/" in text and re.search(r"[.:]|^localhost$", text.partition("/")[0])
        return kinds.parse_base(text if has_host else parse_reference(text).full)
    except BAD_VALUES as error:
        file.wrong(value, error)
        return None


def _platforms(file: KoFile, value: Value | None) -> tuple[str, ...]:
    found: list[str] = []
    for word, place in words_of(file, "defaultPlatforms", value):
        for text in word.split(","):
            if not text:
                continue
            system, _, rest = text.partition("/")
            if text == "all" or (system == "linux" and not rest):
                file.note(place, f"the platform {text!r} means whatever a base has: name them")
            elif system != "linux":
                file.note(place, f"the platform {text} is left out: wherry builds for linux")
            else:
                _platform(file, text, place, found)
    return tuple(dict.fromkeys(found))


def _platform(file: KoFile, text: str, place: Value | None, found: list[str]) -> None:
    try:
        found.append(str(parse_platform(text)))
    except BAD_VALUES as error:
        file.wrong(place, error)


def _repository(file: KoFile, text: str) -> str | None:
    if not text:
        return None
    host = text.partition("/")[0]
    if host in _LOCAL:
        file.say(f"KO_DOCKER_REPO={host} means an engine on this machine: wherry build --load")
        return None
    if not re.search(r"[.:]|^localhost$", host):
        text = f"docker.io/{text}"
    try:
        return hosts.parse_default(text)
    except BAD_VALUES as error:
        file.wrong(file.from_variable("KO_DOCKER_REPO", text), error)
        return None


def _note_variables(file: KoFile, env: Mapping[str, str]) -> None:
    if env.get("KO_DATA_DATE_EPOCH"):
        file.say("KO_DATA_DATE_EPOCH is not read: SOURCE_DATE_EPOCH dates all files of an image")
    if env.get("KO_GO_PATH"):
        file.say("KO_GO_PATH is not read: put that go on PATH")
