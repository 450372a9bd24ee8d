# SPDX-License-Identifier: Apache-2.0
"""What `wherry init` takes from around a project: the Go that is here, digests, private hosts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from wherry.api.registries import Registries, RegistryAround
from wherry.errors import WherryError
from wherry.golang.environment import build_environment, overlay
from wherry.golang.facts import query_go
from wherry.golang.toolchain import find_go
from wherry.oci.media import is_index
from wherry.oci.platform import host_platform
from wherry.oci.reference import parse_reference
from wherry.store.store import open_store

if TYPE_CHECKING:
    from wherry.golang.toolchain import GoFacts
    from wherry.process.cancel import CancelToken
    from wherry.settings.lock import LockFile
    from wherry.settings.model import Settings

# Nothing is fetched to answer a question.
_OFFLINE = {"GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": ""}
_HOST = re.compile(r"(?:https?://)?([^/:]+\.[^/:]+)(?::\d+)?(?:/.*)?")
# Everybody's: no module from there is private because images are.
_PUBLIC = frozenset(
    ("docker.io", "registry-1.docker.io", "ghcr.io", "quay.io", "gcr.io", "github.com",
     "gitlab.com", "bitbucket.org", "golang.org", "public.ecr.aws")
)  # fmt: skip


def go_here(env: Mapping[str, str], cancel: CancelToken) -> GoFacts | None:
    """The Go that is here, with what `go env -w` says to it; None without one."""
    try:
        command = find_go(env)
        on_top = overlay(command, host_platform(), cgo=False)
        # Not in the module's directory: whether its go.mod wants a newer one is not asked.
        return query_go(command, "/", build_environment({**env, **_OFFLINE}, on_top, "/"), cancel)
    except WherryError:
        return None


def pin_of(
    directory: str, lock: LockFile | None, around: RegistryAround, *, ask: bool
) -> Callable[[str], str]:
    """What says the digest of a reference: the lock, else the registry where it may be asked, else
    the store; empty where none knows it.
    """

    def pin(text: str) -> str:
        reference = parse_reference(text)
        held = lock.base(reference) if lock is not None else None
        if held is not None:
            return str(held.digest)
        with Registries(around, directory) as registries:
            if ask:
                named = registries.of(reference).manifest(reference.tag)
                return str(named.descriptor.digest)
            return _stored(registries, text)

    return pin


def _stored(registries: Registries, text: str) -> str:
    """The digest of the store's image of that name, where it is for all platforms."""
    if not os.path.isdir(registries.around.store):
        return ""
    try:
        with open_store(registries.around.store) as store:
            known = registries.known(store, parse_reference(text).full)
    except WherryError:
        return ""
    return str(known.digest) if known is not None and is_index(known.media_type) else ""


def hosts_named(settings: Settings) -> tuple[str, ...]:
    """The hosts that wherry.toml names for images and that are not everybody's."""
    registry = settings.registry
    names = [registry.default or "", *registry.insecure]
    names += [mirror for _, mirrors in registry.mirrors for mirror in mirrors]
    found = (_HOST.fullmatch(name) for name in names)
    hosts = (match[1] for match in found if match is not None)
    return tuple(dict.fromkeys(host for host in hosts if host not in _PUBLIC))
