# SPDX-License-Identifier: Apache-2.0
"""A call of kaniko's executor as what `wherry build` would be asked: flags to a `BuildRequest`.

Everything that can be wrong with the call itself is found here, before anything is fetched; what
cannot be done is told all together. What becomes of each flag says `wherry.cli.kaniko_flags`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from wherry.api.places import default_store
from wherry.api.request import BuildRequest, Pairs
from wherry.cli.kaniko_context import KanikoContext, read_context
from wherry.cli.kaniko_fates import ignored_flags
from wherry.cli.kaniko_files import DigestFiles, digest_files
from wherry.cli.kaniko_registries import registry_flags
from wherry.cli.kaniko_words import Given, read_switch
from wherry.cli.progress.select import Mode
from wherry.errors import UsageError
from wherry.oci.reference import Reference, parse_reference

# kaniko has a tag for each layer there; wherry's step cache is one image.
_CACHE_TAG: Final = "wherry"
_LAYOUT: Final = "oci:"
_EPOCH: Final = "SOURCE_DATE_EPOCH"
_QUIET: Final = ("error", "fatal", "panic")
_MODES: Final[Mapping[str, Mode]] = {"text": "plain", "json": "json", "color": "auto"}


class Translation(NamedTuple):
    """A call, read whole.

    `request` lacks its source and Dockerfile, which are known once `context` is placed.
    `destinations` are the image's names as they are written, `ignored` the flags that change
    nothing.
    """

    request: BuildRequest
    context: KanikoContext
    destinations: tuple[str, ...]
    files: DigestFiles
    ignored: tuple[str, ...]
    mode: Mode
    is_dry: bool


class _Cache(NamedTuple):
    """The step cache's place, in the form of `--cache-from`, and the image that it is, if any."""

    place: str = ""
    image: str = ""


def translate(given: Given, env: Mapping[str, str], cwd: str) -> Translation:
    """What the call asks for in the environment `env` and the absolute directory `cwd`.

    Raises `UsageError`, or `SeveralErrors` where several flags cannot be done.
    """
    destinations = given.texts("destination")
    is_pushed = _is_pushed(given, env)
    # kaniko has no default registry: a name without one means Docker Hub, whatever settings say.
    tags = tuple(_destination(name).full for name in destinations)
    cache = _cache(given, destinations, cwd)
    named = tuple(filter(None, (*tags, cache.image)))
    registries = registry_flags(given, env, cwd, named)
    request = _request(given, env, cwd, cache, is_pushed=is_pushed)
    return Translation(
        request._replace(tags=tags, registries=registries),
        read_context(given, env, cwd),
        destinations,
        digest_files(given, env, cwd, is_pushed=is_pushed),
        ignored_flags(given, registries),
        _mode(given),
        is_dry=bool(given.switch("dryrun")),
    )


def _request(
    given: Given, env: Mapping[str, str], cwd: str, cache: _Cache, *, is_pushed: bool
) -> BuildRequest:
    surrounding = _environment(given, env, cwd)
    # One empty text means none, whatever a wherry.toml says: only the call names places.
    places = (cache.place,)
    return BuildRequest(
        source="",
        cwd=cwd,
        env=surrounding,
        store=default_store(surrounding),
        frontend="dockerfile",
        target=_target(given),
        platform=_platform(given),
        labels=_pairs(given, "label"),
        annotations=_pairs(given, "annotation"),
        outputs=_outputs(given, cwd, is_pushed=is_pushed),
        # Where layers are to be compressed otherwise, an output pushes them.
        push=is_pushed and not _compression(given),
        no_cache=given.switch("cache") is False,
        build_args=_build_args(given, env),
        secrets=given.texts("secret"),
        go_cache="off" if given.switch("cache") is False else "",
        cache_from=places,
        cache_to=("",) if given.switch("no-push-cache") else places,
        # Named mounts travel to a place; without one the names would only be warned of.
        cache_mounts=() if cache.place else ("",),
    )


# --- names --------------------------------------------------------------------------------------


def _is_pushed(given: Given, env: Mapping[str, str]) -> bool:
    """KANIKO_NO_PUSH beats the flag. Raises `UsageError` where nobody says where to."""
    variable = env.get("KANIKO_NO_PUSH")
    stays = given.switch("no-push") if variable is None else read_switch("KANIKO_NO_PUSH", variable)
    if not stays and not given.texts("destination"):
        raise UsageError("there is no --destination to push to",
                         hint="name one: --destination registry.example.com/team/app:1.0; or say "
                              "--no-push")  # fmt: skip
    return not stays


def _destination(text: str) -> Reference:
    reference = parse_reference(text)
    if reference.digest is not None:
        raise UsageError(f"a destination has no digest: {text!r}", hint="leave out @sha256:...")
    return reference


def _cache(given: Given, destinations: tuple[str, ...], cwd: str) -> _Cache:
    """Where the step cache is: nowhere without --cache."""
    if not given.switch("cache"):
        return _Cache()
    repository = given.text("cache-repo")
    if repository.startswith(_LAYOUT):
        return _Cache(_csv(os.path.join(cwd, repository.removeprefix(_LAYOUT))))
    if not repository and not destinations:
        if given.switch("no-push-cache"):
            return _Cache()
        raise UsageError("--cache has no place",
                         why="without --cache-repo it is below the first --destination",
                         hint="name one: --cache-repo registry.example.com/team/cache")  # fmt: skip
    if not repository:
        first = _destination(destinations[0])
        repository = f"{first.registry}/{first.repository}/cache"
    if parse_reference(repository).tag != "latest" or repository.endswith(":latest"):
        raise UsageError(f"--cache-repo {repository} has a tag", why="kaniko takes a repository",
                         hint="leave the tag out")  # fmt: skip
    image = parse_reference(f"{repository}:{_CACHE_TAG}").full
    return _Cache(image, image)


# --- what is built ------------------------------------------------------------------------------


def _target(given: Given) -> str:
    """The stage; kaniko's living fork takes several, and builds all of them."""
    names = tuple(name for text in given.texts("target") for name in text.split(",") if name)
    if len(set(names)) > 1:
        raise UsageError(f"--target names several stages: {', '.join(names)}",
                         why="a build is of one stage, and of those that it needs",
                         hint="build the others by themselves: wherry kaniko --no-push --target "
                              f"{names[-1]}")  # fmt: skip
    return names[0] if names else ""


def _platform(given: Given) -> str:
    text = given.text("custom-platform")
    if "," in text:
        raise UsageError("--custom-platform names several platforms", why="kaniko builds for one",
                         hint=f"wherry build --platform {text}")  # fmt: skip
    return text


def _pairs(given: Given, name: str) -> Pairs:
    found = {}
    for text in given.texts(name):
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--{name} {text!r} is not KEY=VALUE",
                             hint=f"write it as --{name} team=shop")  # fmt: skip
        found[key] = value
    return tuple(sorted(found.items()))


def _build_args(given: Given, env: Mapping[str, str]) -> tuple[tuple[str, str | None], ...]:
    """The last of a name counts; one without a value is the variable's, or empty."""
    found: dict[str, str | None] = {}
    for text in given.texts("build-arg"):
        name, equals, value = text.partition("=")
        if not name:
            # Not the text: values of arguments may be secret.
            raise UsageError("a --build-arg has no name",
                             hint="write it as --build-arg VERSION=1.2")  # fmt: skip
        found[name] = value if equals else env.get(name, "")
    return tuple(sorted(found.items()))


def _environment(given: Given, env: Mapping[str, str], cwd: str) -> dict[str, str]:
    """`env`, and what kaniko's image sets or a flag means."""
    found = dict(env)
    directory = given.text("kaniko-dir") or env.get("KANIKO_DIR") or "/kaniko"
    credentials = os.path.join(cwd, directory, ".docker")
    if not env.get("DOCKER_CONFIG") and os.path.isfile(os.path.join(credentials, "config.json")):
        found["DOCKER_CONFIG"] = credentials
    if given.switch("reproducible") and not env.get(_EPOCH):
        found[_EPOCH] = "0"
    return found


# --- where it goes ------------------------------------------------------------------------------


def _outputs(given: Given, cwd: str, *, is_pushed: bool) -> tuple[str, ...]:
    """Outputs in the form of `wherry build --output`."""
    again = _compression(given)
    found = []
    if archive := given.text("tar-path"):
        if "zstd" in again:
            raise UsageError("--tar-path cannot have --compression=zstd",
                             why="docker archives hold no layers of zstd",
                             hint="write --oci-layout-path DIR")  # fmt: skip
        found.append(f"type=docker,{_dest(archive, cwd)}{again}")
    if layout := given.text("oci-layout-path"):
        found.append(f"type=oci,tar=false,{_dest(layout, cwd)}{again}")
    if is_pushed and again:
        found.append(f"type=registry{again}")
    return tuple(found)


def _compression(given: Given) -> str:
    """Attributes of an output; empty where layers stay as they are made."""
    kind = given.text("compression", "gzip").lower()
    text = given.text("compression-level", "0")
    level = int(text, 0) if text.lower().lstrip("+-").startswith(("0x", "0b")) else int(text)
    if kind == "gzip" and level <= 0:
        return ""
    return f",compression={kind}" + (f",compression-level={level}" if level > 0 else "")


def _dest(path: str, cwd: str) -> str:
    return _csv(f"dest={os.path.normpath(os.path.join(cwd, path))}")


def _csv(field: str) -> str:
    """One field of a CSV record (RFC 4180)."""
    if not any(mark in field for mark in ',"\r\n'):
        return field
    return '"' + field.replace('"', '""') + '"'


def _mode(given: Given) -> Mode:
    if given.text("verbosity").lower() in _QUIET:
        return "quiet"
    return _MODES[given.text("log-format", "color").lower()]
