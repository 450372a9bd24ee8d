# SPDX-License-Identifier: Apache-2.0
"""What the Dockerfile front end asks of the world: bases, and contexts that have a name."""

from __future__ import annotations

import os

from wherry.api.bases import Base, BasePolicy, find_base
from wherry.api.contexts import ContextReader
from wherry.api.registries import Registries
from wherry.api.request import BuildRequest
from wherry.api.settled import WatchedBase
from wherry.engines.local.results import Held
from wherry.errors import UsageError, near
from wherry.frontends.dockerfile.request import (
    BaseImage,
    NamedContext,
    NamedDirectory,
    NamedGit,
    NamedHttp,
    NamedImage,
)
from wherry.oci.image import Image
from wherry.oci.platform import Platform
from wherry.store.store import Store

_KINDS = ("docker-image://", "oci-layout://", "https://", "http://", "git://", "target:")


class Resolver:
    """Answers one build; each base is looked up once."""

    def __init__(
        self,
        request: BuildRequest,
        store: Store,
        registries: Registries,
        policy: BasePolicy,
        contexts: ContextReader,
    ) -> None:
        self._request = request
        self._store = store
        self._registries = registries
        self._policy = policy
        self._contexts = contexts
        self._found: dict[tuple[str, Platform], BaseImage] = {}
        self._named = dict(request.build_contexts)
        self._watched: dict[str, WatchedBase] = {}
        self.held: dict[str, Held] = {}
        self.asked: set[str] = set()

    def image(self, reference: str, platform: Platform) -> BaseImage:
        """The base `reference` for `platform`; raises what `find_base` raises."""
        key = (reference, platform)
        if key not in self._found:
            base = find_base(self._store, self._registries, self._policy, reference, platform)
            self._found[key] = _of_base(base)
            if base.watched is not None:
                name = base.reference.full
                self._watched[name] = WatchedBase(name, *base.watched)
        return self._found[key]

    def named(self, name: str, platform: Platform) -> NamedContext | None:
        """The context that `--build-context` gives the name, None where there is none."""
        place = self._named.get(name)
        if place is None:
            return None
        self.asked.add(name)
        if place.startswith("docker-image://"):
            reference = place.removeprefix("docker-image://")
            return NamedImage(None if reference == "scratch" else self.image(reference, platform))
        if place.startswith("oci-layout://"):
            return NamedImage(self._in_layout(name, place.removeprefix("oci-layout://"), platform))
        from wherry.vcs.git_url import parse_git_url  # noqa: PLC0415 - few builds ask git

        source = parse_git_url(place)
        if source is not None:
            return NamedGit(
                source.remote,
                source.ref,
                source.directory,
                bool(source.keep_git_dir),
                source.checksum,
                source.submodules is not False,
                source.fetch_by_commit,
            )
        if place.startswith(("https://", "http://")):
            return NamedHttp(place)
        if "://" in place:
            raise UsageError(
                f"--build-context {name}={place} is of no known kind",
                hint=near(place.partition("://")[0] + "://", _KINDS)
                or "name a directory, docker-image://REF, oci-layout://DIR or a URL",
            )
        path = os.path.normpath(os.path.join(self._request.cwd, place))
        self.held[name], rules = self._contexts.named_directory(name, path)
        return NamedDirectory(name, rules, path)

    def watched(self) -> tuple[WatchedBase, ...]:
        """What the names of bases meant, where a name is what was asked for."""
        return tuple(self._watched.values())

    def unused(self) -> tuple[str, ...]:
        """Named contexts that no instruction asked for."""
        return tuple(name for name in self._named if name not in self.asked)

    def _in_layout(self, name: str, place: str, platform: Platform) -> BaseImage:
        from wherry.api.oci_layouts import find_in_layout  # noqa: PLC0415 - hardly ever

        image = find_in_layout(self._store, self._request.cwd, place, platform)
        return _of_image(image, f"oci-layout://{name}")


def _of_base(base: Base) -> BaseImage:
    return _of_image(base.image, base.reference._replace(digest=None).full)


def _of_image(image: Image, reference: str) -> BaseImage:
    config = image.config
    return BaseImage(image.digest, reference, config.platform, config.run, config.author)
