# SPDX-License-Identifier: Apache-2.0
"""What a program stands on: a composed base or an image, and what it gives the configuration.

A statically linked program stands on the base that was asked for. A dynamically linked one needs a
C library: on a composed base it moves to the one that `libc-base` names, once its facts are known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from wherry.api.asked import Asked
from wherry.api.bases import Base, BasePolicy, find_base
from wherry.api.recorded import BaseName
from wherry.api.registries import Registries
from wherry.bases import compose
from wherry.bases.static import static_data_versions
from wherry.engines.local.engine import Solved
from wherry.graph.ops import ComposedBase, RegistryBase
from wherry.oci.image import Pairs, RunConfig
from wherry.oci.platform import Platform
from wherry.store.store import Store

_PLAIN = ComposedBase.SCRATCH


class Ground(NamedTuple):
    """A base as the front end wants it.

    `watched` is the name whose meaning an unchanged build compares; None for a composed base and
    for a pinned digest.
    """

    base: ComposedBase | RegistryBase
    run: RunConfig
    data_versions: Pairs = ()
    watched: BaseName | None = None

    @property
    def has_libc(self) -> bool:
        """Whether dynamically linked programs may stand on it: an image is taken at its word."""
        return isinstance(self.base, RegistryBase)


class Grounds:
    """Finds the grounds of one image for one platform."""

    def __init__(
        self,
        store: Store,
        registries: Registries,
        policy: BasePolicy,
        asked: Asked,
        platform: Platform,
    ) -> None:
        self._store = store
        self._registries = registries
        self._policy = policy
        self._asked = asked
        self._platform = platform

    def first(self) -> Ground:
        """What the build begins with; raises what `find_base` raises."""
        base = self._asked.base
        return composed(base) if isinstance(base, ComposedBase) else self._by_reference(base)

    def for_libc(self) -> Ground:
        """The base that `libc-base` names."""
        return self._by_reference(self._asked.libc_base)

    def _by_reference(self, text: str) -> Ground:
        found = find_base(self._store, self._registries, self._policy, text, self._platform)
        # As Docker's tools count: the name without digest is how people look for newer ones.
        name = found.reference._replace(digest=None).full
        return Ground(RegistryBase(found.image.digest, name), _run_of(found), (), _watched(found))


def composed(base: ComposedBase) -> Ground:
    """A composed base."""
    variables = compose.base_environment(base)
    run = RunConfig(
        user=compose.base_user(base),
        env=tuple(f"{name}={value}" for name, value in variables),
    )
    versions = static_data_versions() if base is ComposedBase.STATIC else ()
    return Ground(base, run, versions)


def needs_libc(solved: Solved, ground: Ground) -> bool:
    """Whether the program, now that it is built, cannot run on its ground."""
    return not ground.has_libc and any(
        item.dynamic for layer in solved.layers for item in layer.binaries
    )


def _run_of(found: Base) -> RunConfig:
    """The image's run configuration; a program runs as root only where that is asked for.

    Where an image sets no PATH its programs are found by the usual one, and have to be found when
    the binaries' directory comes to it.
    """
    run = found.image.config.run
    env = run.env
    if not any(item.startswith("PATH=") for item in env):
        usual = (f"{name}={value}" for name, value in compose.base_environment(_PLAIN))
        env = (*usual, *env)
    return replace(run, env=env, user=run.user or compose.base_user(_PLAIN))


def _watched(found: Base) -> BaseName | None:
    if found.watched is None:
        return None
    return BaseName(found.reference.full, found.watched.tagged, found.watched.resolved)
