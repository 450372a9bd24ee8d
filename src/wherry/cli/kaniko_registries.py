# SPDX-License-Identifier: Apache-2.0
"""What a kaniko call says about registries: plain HTTP, mirrors, certificates.

In wherry these are settings of the user, in `config.toml`; for one call they stand in the request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final

from wherry.api.request import CallRegistries
from wherry.cli.kaniko_words import Given
from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.oci.reference import DEFAULT_REGISTRY, is_host, parse_reference
from wherry.settings.hosts import ClientCertificate, Mirrors, parse_mirrors

_HUB: Final = "index.docker.io"


def registry_flags(
    given: Given, env: Mapping[str, str], cwd: str, named: Iterable[str]
) -> CallRegistries:
    """What the flags and kaniko's variables say; `named` are the images that `--insecure` means.

    Raises `UsageError` for what is no host, mirror or pair.
    """
    insecure = [_host("--insecure-registry", text) for text in given.texts("insecure-registry")]
    if given.switch("insecure"):
        insecure += (parse_reference(name).registry for name in named)
    return CallRegistries(
        # Docker Hub's name stands for several servers; none of them speaks plain HTTP.
        tuple(dict.fromkeys(host for host in insecure if host != DEFAULT_REGISTRY)),
        _mirrors(given, env),
        tuple(
            os.path.join(cwd, path)
            for _, path in _pairs(given, "registry-certificate", "HOST=FILE")
        ),
        tuple(
            (host, _client(value, cwd))
            for host, value in _pairs(given, "registry-client-cert", "HOST=FILE,FILE")
        ),
    )


def _host(flag: str, text: str) -> str:
    if not is_host(text):
        raise UsageError(f"{flag} {_shown(text)} is no host", hint="write it as HOST or HOST:PORT")
    host = text.lower()
    return DEFAULT_REGISTRY if host == _HUB else host


def _shown(text: str) -> str:
    """The words of an address without what may be a password."""
    return repr(text.rpartition("@")[2].partition("?")[0])


def _pairs(given: Given, name: str, form: str) -> tuple[tuple[str, str], ...]:
    found = []
    for text in given.texts(name):
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--{name} {_shown(text)} is not {form}",
                             hint=f"write it as --{name} {form}")  # fmt: skip
        found.append((_host(f"--{name}", key), value))
    return tuple(dict(found).items())


def _client(value: str, cwd: str) -> ClientCertificate:
    files = value.split(",")
    if len(files) != 2 or not all(files):
        raise UsageError("--registry-client-cert needs a certificate and its key",
                         hint="write it as HOST=CERTIFICATE,KEY")  # fmt: skip
    certificate, key = (os.path.join(cwd, path) for path in files)
    return ClientCertificate(certificate, key)


def _mirrors(given: Given, env: Mapping[str, str]) -> Mirrors:
    """Mirrors by registry in kaniko's order: maps first, the variable's last of each."""
    maps = [("--registry-map", text) for text in given.texts("registry-map")]
    maps.append(("KANIKO_REGISTRY_MAP", env.get("KANIKO_REGISTRY_MAP", "")))
    found: dict[str, list[str]] = {}
    for flag, text in maps:
        for pair in filter(None, text.split(";")):
            registry, equals, mirror = pair.partition("=")
            if not (registry and equals and mirror):
                raise UsageError(f"{flag} {_shown(pair)} is not HOST=MIRROR",
                                 hint="write it as registry.example.com=mirror:5000")  # fmt: skip
            _add(found, flag, registry, mirror)
    own = [("--registry-mirror", text) for text in given.texts("registry-mirror")]
    if env.get("KANIKO_REGISTRY_MIRROR"):
        own.append(("KANIKO_REGISTRY_MIRROR", env["KANIKO_REGISTRY_MIRROR"]))
    for flag, mirror in own:
        _add(found, flag, DEFAULT_REGISTRY, mirror)
    return tuple((registry, tuple(dict.fromkeys(those))) for registry, those in found.items())


def _add(found: dict[str, list[str]], flag: str, registry: str, mirror: str) -> None:
    try:
        ((name, mirrors),) = parse_mirrors({registry: [mirror]})
    except WherryError as error:
        first = error.errors[0] if isinstance(error, SeveralErrors) else error
        raise UsageError(f"{flag}: {first.what}", why=first.why, hint=first.hint) from None
    found.setdefault(name, []).extend(mirrors)
