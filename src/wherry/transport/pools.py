# SPDX-License-Identifier: Apache-2.0
"""The kept connections of a transport: a urllib3 manager for each kind of way to a host."""

from __future__ import annotations

import threading
from typing import Any

import urllib3
from urllib3.connectionpool import HTTPConnectionPool

from wherry.process.cancel import CancelToken
from wherry.transport.model import HostOptions, TransportOptions
from wherry.transport.origins import Origin, host_options
from wherry.transport.proxies import Proxy
from wherry.transport.slots import Slots
from wherry.transport.tls import Trust
from wherry.transport.wire import Wiring, pool_classes

_POOLS = 64

_Way = tuple[bool, Proxy | None, HostOptions, bool]


class Pools:
    """Managers and slots, made when first needed. Thread-safe."""

    def __init__(self, options: TransportOptions, wiring: Wiring, cancel: CancelToken) -> None:
        self._options = options
        self._wiring = wiring
        self._cancel = cancel
        self._trust = Trust(options)
        self._lock = threading.Lock()
        self._slots: dict[Origin, Slots] = {}
        self._managers: dict[_Way, urllib3.PoolManager] = {}
        self._made: list[HTTPConnectionPool] = []

    def slots(self, origin: Origin) -> Slots:
        """The slots of a host."""
        with self._lock:
            if origin not in self._slots:
                self._slots[origin] = Slots(self._options.per_host, self._cancel)
            return self._slots[origin]

    def manager(
        self, origin: Origin, proxy: Proxy | None, *, confidential: bool
    ) -> urllib3.PoolManager:
        """What sends requests to `origin`; `UsageError` for certificate files."""
        encrypted = origin.scheme == "https"
        # Without certificates of a project all requests share their connections.
        strict = confidential or not (encrypted and self._options.project_ca_files)
        way = (encrypted, proxy, host_options(origin, self._options), strict)
        with self._lock:
            if way not in self._managers:
                self._managers[way] = self._make(way)
            return self._managers[way]

    def close(self) -> None:
        """Close the connections that are not in use; others close when they are given back."""
        with self._lock:
            made, self._made = self._made, []
            self._managers.clear()
        for pool in made:
            pool.close()

    def _make(self, way: _Way) -> urllib3.PoolManager:
        encrypted, proxy, host, strict = way
        settings: dict[str, Any] = {
            "num_pools": _POOLS,
            "maxsize": self._options.per_host * 4,
            "timeout": urllib3.Timeout(
                connect=self._options.connect_timeout, read=self._options.read_timeout
            ),
        }
        # Reading the certificates takes a while, and a registry on this machine may need none.
        if encrypted:
            settings["ssl_context"] = self._trust.context(host, confidential=strict)
            settings["cert_reqs"] = "CERT_REQUIRED"
        manager = self._make_for(proxy, settings) if proxy else urllib3.PoolManager(**settings)
        classes: dict[str, Any] = pool_classes(self._wiring, self._made.append)
        manager.pool_classes_by_scheme = classes
        return manager

    def _make_for(self, proxy: Proxy, settings: dict[str, Any]) -> urllib3.ProxyManager:
        given = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        if proxy.url.startswith("https:"):
            # The client certificate is for the registry, not for the proxy.
            settings["proxy_ssl_context"] = self._trust.context(HostOptions())
        return urllib3.ProxyManager(proxy.url, proxy_headers=given, **settings)
