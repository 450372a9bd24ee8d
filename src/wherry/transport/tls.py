# SPDX-License-Identifier: Apache-2.0
"""Which certificates are trusted, and which one is shown to a server that asks.

The machine's store is found as OpenSSL and Go find it: SSL_CERT_FILE and SSL_CERT_DIR where the
given environment sets them, each in place of its own half of the defaults, else the bundle and
directory of the system, else certifi's bundle. The user's CA files are trusted besides. There is
no way to turn verification off.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Mapping
from typing import Never

from wherry.errors import UsageError
from wherry.transport.model import HostOptions, TransportOptions

# Where distributions and macOS keep the bundle, for a Python whose OpenSSL was built elsewhere.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")

_Key = tuple[str, str, tuple[str, ...], tuple[str, ...]]


class Trust:
    """TLS contexts for one process's options, made when first needed and kept. Thread-safe."""

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._contexts: dict[_Key, ssl.SSLContext] = {}

    def context(self, host: HostOptions, *, confidential: bool = True) -> ssl.SSLContext:
        """The context for a host; `UsageError` names a certificate file that cannot be used.

        For a request that is not `confidential` the project's certificates count, too.
        """
        more = () if confidential else self._options.project_ca_files
        key = (host.client_certificate, host.client_key, host.ca_files, more)
        with self._lock:
            if key not in self._contexts:
                self._contexts[key] = self._make(host, more)
            return self._contexts[key]

    def _make(self, host: HostOptions, more: tuple[str, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False
        # A private registry's own certificate, given as CA file, is trusted as it stands.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.post_handshake_auth = True
        _load_system(context, self._options.env)
        for path in (*self._options.ca_files, *host.ca_files, *more):
            _load_file(context, path)
        if host.client_certificate:
            _load_client(context, host)
        return context


def _load_system(context: ssl.SSLContext, env: Mapping[str, str]) -> None:
    file = env.get("SSL_CERT_FILE") or _system_file()
    found = bool(file) and _try_load(context, file)
    given = env.get("SSL_CERT_DIR", "")
    # The compiled-in half of the answer only: the other half is this process's own environment.
    directories = given or ssl.get_default_verify_paths().openssl_capath
    for directory in filter(None, directories.split(os.pathsep)):
        found = _load_directory(context, directory, every=bool(given)) or found
    if not found:
        import certifi  # noqa: PLC0415 - only where the system has no certificates

        context.load_verify_locations(cafile=certifi.where())


def _system_file() -> str:
    compiled = ssl.get_default_verify_paths().openssl_cafile
    return next((path for path in (compiled, *_BUNDLES) if path and os.path.isfile(path)), "")


def _load_directory(context: ssl.SSLContext, directory: str, *, every: bool) -> bool:
    """OpenSSL looks names up by hash; a directory without such names is read whole, as Go does."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return False
    if any(_HASHED.fullmatch(name) for name in names):
        context.load_verify_locations(capath=directory)
        return True
    return every and any([_try_load(context, os.path.join(directory, name)) for name in names])


def _try_load(context: ssl.SSLContext, path: str) -> bool:
    try:
        context.load_verify_locations(cafile=path)
    except OSError:
        return False
    return True


def _load_file(context: ssl.SSLContext, path: str) -> None:
    hint = "a CA file holds certificates in PEM form (-----BEGIN CERTIFICATE-----)"
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise UsageError(
            f"the CA file {path} cannot be used", why="it holds no PEM certificate", hint=hint
        ) from None
    except OSError as error:
        raise UsageError(
            f"the CA file {path} cannot be read", why=error.strerror or str(error), hint=hint
        ) from None


def _load_client(context: ssl.SSLContext, host: HostOptions) -> None:
    certificate, key = host.client_certificate, host.client_key
    hint = "client certificate and key are PEM files, and the key is not encrypted"

    def refuse() -> Never:
        # Without this OpenSSL would ask on the terminal.
        raise UsageError(f"the key {key or certificate} is encrypted", hint=hint)

    try:
        context.load_cert_chain(certificate, key or None, password=refuse)
    except ssl.SSLError as error:
        raise UsageError(
            f"the client certificate {certificate} cannot be used",
            why=(error.reason or "").lower().replace("_", " ")
            or "it is no PEM certificate with its key",
            hint=hint,
        ) from None
    except OSError as error:
        files = certificate if not key else f"{certificate} or its key {key}"
        raise UsageError(
            f"the client certificate {files} cannot be read",
            why=error.strerror or str(error),
            hint=hint,
        ) from None
