# SPDX-License-Identifier: Apache-2.0
"""The registry client of one call: settings and surroundings put together, connected when used.

Making the value costs nothing: HTTP is imported when a repository is first asked for, so that a
build which asks no registry does not pay for one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from wherry._version import __version__
from wherry.api.request import CallRegistries
from wherry.errors import UsageError
from wherry.events import Sink, discard
from wherry.oci.reference import DEFAULT_REGISTRY, Reference, parse_reference
from wherry.process.cancel import CancelToken
from wherry.transport.model import HostOptions, TransportOptions

if TYPE_CHECKING:
    from wherry.oci.image import Descriptor
    from wherry.registry.auth import Authorizer
    from wherry.registry.client import Registry, Repository
    from wherry.settings.registry import RegistrySettings
    from wherry.store.store import Store
    from wherry.transport.http import Transport

_PER_HOST = 4


class RegistryAround(NamedTuple):
    """What surrounds a call that asks registries: the store, environment, directory, listeners.

    `ca` are PEM files trusted besides the system's, seen from `cwd`; `said` is what the call says
    of registries besides.
    """

    store: str
    env: Mapping[str, str]
    cwd: str
    ca: tuple[str, ...]
    sink: Sink
    cancel: CancelToken
    said: CallRegistries = CallRegistries()


class Registries:
    """Repositories by name, under the call's, the project's and the user's settings.

    A context manager.

    `directory` is where the project is, the current directory where it is empty; its `wherry.toml`
    lies at the module's root. Without `project` that file has no say.
    """

    def __init__(
        self, around: RegistryAround, directory: str = "", *, project: bool = True
    ) -> None:
        self.around = around
        self._project = project
        self._directory = directory or around.cwd
        self._settings: RegistrySettings | None = None
        self._transport: Transport | None = None
        self._registry: Registry | None = None
        self._closing = ExitStack()
        self._retries = TransportOptions._field_defaults["retries"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()
        if self._transport is not None:
            self._transport.close()

    def beside(self, cancel: CancelToken, retries: int) -> Registries:
        """The same under another token, with connections of their own; closed with these.

        `retries` is how often a request is repeated at most.
        """
        around = self.around._replace(cancel=cancel)
        other = Registries(around, self._directory, project=self._project)
        other._settings = self._settings
        other._retries = retries
        return self._closing.enter_context(other)

    @property
    def settings(self) -> RegistrySettings:
        """The user's settings, the project's on top, the call's above all.

        Raises `UsageError` for a bad file.
        """
        if self._settings is None:
            from wherry.api.project_settings import settings_of  # noqa: PLC0415 - only where asked
            from wherry.settings.registry import merged  # noqa: PLC0415 - as above
            from wherry.settings.user import load_user_settings  # noqa: PLC0415 - as above

            self._settings = load_user_settings(self.around.env)
            if self._project:
                settings, _, _ = settings_of(self._directory, self.around.env)
                self._settings = merged(self._settings, settings.registry)
            self._settings = _called(self._settings, self.around.said)
        return self._settings

    def reference(self, text: str) -> Reference:
        """A reference as the user means it for a registry: the default one where none is named."""
        return parse_reference(text, self.settings.default or DEFAULT_REGISTRY)

    def known(self, store: Store, text: str) -> Descriptor | None:
        """The store's image that a user names: as the name stands, else in the default registry."""
        found = store.images.resolve(text)
        if found is not None or not self.settings.default or text.startswith("sha256:"):
            return found
        return store.images.resolve(self.reference(text).full)

    @property
    def concurrency(self) -> int:
        """How many transfers go on at once: as many as there are connections to one host.

        More would wait for each other: a stream from a registry to another holds one of each.
        """
        return self.settings.concurrency or _PER_HOST

    def of(self, reference: Reference) -> Repository:
        """The repository that a reference names."""
        return self.repository(reference.registry, reference.repository)

    def named(self, full_name: str) -> Repository:
        """A repository by `registry/name`, as the store's sources have it."""
        registry, _, name = full_name.partition("/")
        return self.repository(registry, name)

    def repository(self, registry: str, name: str) -> Repository:
        """The repository `name` of `registry`."""
        if self._registry is None:
            self._registry = self._connected()
        return self._registry.repository(registry, name)

    def authorizer(self) -> Authorizer:
        """Requests with the user's credentials, for what is no repository."""
        from wherry.registry.auth import Authorizer  # noqa: PLC0415 - HTTP is imported here
        from wherry.registry.credentials import Keyring  # noqa: PLC0415 - as above

        around, settings = self.around, self.settings
        return Authorizer(
            self.transport(),
            Keyring(around.env, around.cancel),
            plain_http_ok=frozenset(settings.insecure_by_user),
        )

    def transport(self) -> Transport:
        """HTTP under these settings; made once."""
        if self._transport is None:
            from wherry.transport.http import Transport  # noqa: PLC0415 - urllib3 is imported here

            around = self.around
            self._transport = Transport(self.options(), around.cancel, around.sink)
        return self._transport

    def _connected(self) -> Registry:
        from wherry.registry.client import Registry  # noqa: PLC0415 - HTTP is imported here
        from wherry.registry.model import RegistryOptions  # noqa: PLC0415 - as above

        settings, around = self.settings, self.around
        options = RegistryOptions(settings.mirrors, settings.insecure)
        return Registry(self.authorizer(), options, around.cancel, around.sink)

    def options(self) -> TransportOptions:
        """How requests are made under these settings."""
        settings, around = self.settings, self.around
        hosts = {name: HostOptions(plain_http=True) for name in settings.insecure}
        for name, certificate in settings.client_certificates:
            known = hosts.get(name, HostOptions())
            hosts[name] = known._replace(
                client_certificate=certificate.cert, client_key=certificate.key
            )
        given = tuple(os.path.join(around.cwd, path) for path in around.ca)
        for path in given:
            # Read only where TLS is spoken; a file that is not there is a mistake anyway.
            if not os.path.isfile(path):
                raise UsageError(f"--ca: there is no file {path}",
                                 hint="name a PEM file of certificates")  # fmt: skip
        return TransportOptions(
            env=around.env,
            ca_files=(*given, *settings.ca_by_user),
            project_ca_files=tuple(path for path in settings.ca if path not in settings.ca_by_user),
            hosts=hosts,
            per_host=self.concurrency,
            retries=self._retries,
            user_agent=f"wherry/{__version__}",
        )


def _called(settings: RegistrySettings, said: CallRegistries) -> RegistrySettings:
    """`settings` below what a call says, which is the user's own word."""
    if not any(said):
        return settings
    from dataclasses import replace  # noqa: PLC0415 - slow to import, and few calls say anything

    mirrors = dict(settings.mirrors)
    for registry, those in said.mirrors:
        mirrors[registry] = _each_once(those, mirrors.get(registry, ()))
    return replace(
        settings,
        insecure=_each_once(said.insecure, settings.insecure),
        insecure_by_user=_each_once(said.insecure, settings.insecure_by_user),
        mirrors=tuple(mirrors.items()),
        ca=_each_once(said.certificates, settings.ca),
        ca_by_user=_each_once(said.certificates, settings.ca_by_user),
        client_certificates=tuple(
            {**dict(settings.client_certificates), **dict(said.clients)}.items()
        ),
    )


def _each_once(first: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *more)))


def known_name(text: str, store: str, env: Mapping[str, str], cwd: str) -> str:
    """How the store at `store` knows the image that a user names.

    That is `text` itself, also where nothing goes by that name, unless only the default registry
    of the settings makes it the name of an image.
    """
    from wherry.store.store import open_store  # noqa: PLC0415 - a build has its store open already

    # A token that nobody cancels: settings are files.
    registries = Registries(RegistryAround(store, env, cwd, (), discard, CancelToken()))
    try:
        with open_store(store) as opened:
            if opened.images.resolve(text) or not registries.known(opened, text):
                return text
    except UsageError:
        # What asks next says what is wrong with the name.
        return text
    return registries.reference(text).full


def tag_named(text: str, default: str = DEFAULT_REGISTRY) -> Reference:
    """A reference to put an image under: with a tag, without a digest. Raises `UsageError`."""
    reference = parse_reference(text, default)
    if reference.digest is not None:
        raise UsageError(f"a tag has no digest: {text!r}", hint="leave out @sha256:...")
    return reference
