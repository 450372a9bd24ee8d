# SPDX-License-Identifier: Apache-2.0
"""A registry client as `api` puts it together, without waits and with what it told written down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fake_repository import MemoryStore, Source
from fault_registry import FaultRegistry
from wherry.events import Event, Message
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken
from wherry.registry.auth import Authorizer
from wherry.registry.client import Registry, Repository
from wherry.registry.credential import Credential
from wherry.registry.model import RegistryOptions
from wherry.transport.http import Transport
from wherry.transport.model import HostOptions, TransportOptions


class Keys:
    """Credentials by registry."""

    def __init__(self, **known: tuple[str, str]) -> None:
        self.known = known

    def find(self, registry: str, repository: str) -> Credential | None:
        found = self.known.get(registry)
        return Credential(*found) if found else None


@dataclass
class Client:
    """A registry client, what it told, and how to stop it."""

    registry: Registry
    cancel: CancelToken
    events: list[Event] = field(default_factory=list)

    def repository(self, server: FaultRegistry | str, name: str = "team/app") -> Repository:
        host = server if isinstance(server, str) else server.host
        return self.registry.repository(host, name)

    @property
    def told(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Message)]


@contextmanager
def registry_client(
    options: RegistryOptions = RegistryOptions(),  # noqa: B008 - immutable
    *,
    keys: Keys | None = None,
    ca_files: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> Iterator[Client]:
    """For the time of the block."""
    cancel, events = CancelToken(), list[Event]()
    hosts = {host: HostOptions(plain_http=True) for host in options.insecure}
    settings = TransportOptions(
        env or {}, ca_files, hosts, connect_timeout=5, read_timeout=5, retries=2
    )
    with Transport(settings, cancel, events.append, sleep=lambda _seconds: None) as transport:
        authorizer = Authorizer(
            transport, keys or Keys(), plain_http_ok=frozenset(options.insecure)
        )
        yield Client(Registry(authorizer, options, cancel, events.append), cancel, events)


def described(data: bytes, digest: Digest | None = None) -> Descriptor:
    """A blob's descriptor."""
    return Descriptor(
        "application/octet-stream", digest or Source(data).descriptor.digest, len(data)
    )


def digest_in(text: str) -> Digest:
    return parse_digest(text)


__all__ = ["Client", "Keys", "MemoryStore", "Source", "described", "digest_in", "registry_client"]
