# SPDX-License-Identifier: Apache-2.0
"""Where a Docker or Podman engine listens, found as their own command lines find it.

What is named counts alone, in this order: an output's `context=`, DOCKER_HOST, DOCKER_CONTEXT,
CONTAINER_HOST (podman's), the current context of Docker's configuration (docker-context(1)). Where
nothing is named, the usual sockets are tried, Docker's first.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from wherry.errors import UsageError, near

_DEFAULT = "default"
_SYSTEM_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
_SECURE_PORT, _PLAIN_PORT = 2376, 2375


class Material(NamedTuple):
    """TLS files in PEM form, empty where there is none; `verify`: the engine proves itself."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


class Endpoint(NamedTuple):
    """An engine's address: a unix socket's `path`, or `host` and `port`, with TLS where given.

    `named_by` says who named it, for messages; empty for a usual place.
    """

    path: str = ""
    host: str = ""
    port: int = 0
    material: Material | None = None
    named_by: str = ""

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def endpoints(env: Mapping[str, str], user: int, context: str = "") -> tuple[Endpoint, ...]:
    """Where to look for an engine, best first: one where somebody named it.

    `user` is the user's number. Raises `UsageError` for an address or context that cannot be used.
    """
    configuration = env.get("DOCKER_CONFIG") or os.path.join(_home(env), ".docker")
    if context:
        return (_of_context(context, env, configuration, f"context={context}"),)
    if address := env.get("DOCKER_HOST", ""):
        return (_parse(address, _material(env, configuration), "DOCKER_HOST"),)
    if name := env.get("DOCKER_CONTEXT", ""):
        return (_of_context(name, env, configuration, "DOCKER_CONTEXT"),)
    if address := env.get("CONTAINER_HOST", ""):
        return (_parse(address, None, "CONTAINER_HOST"),)
    current = _current_context(configuration)
    if current not in ("", _DEFAULT):
        return (_of_context(current, env, configuration, f"Docker's current context, {current}"),)
    return tuple(Endpoint(path) for path in _usual(env, user))


def _usual(env: Mapping[str, str], user: int) -> tuple[str, ...]:
    docker, podman = _SYSTEM_SOCKETS
    runtime = env.get("XDG_RUNTIME_DIR") or f"/run/user/{user}"
    home = _home(env)
    own = (
        f"{runtime}/docker.sock",
        # Docker Desktop's, by its age.
        f"{home}/.docker/run/docker.sock",
        f"{home}/.docker/desktop/docker.sock",
        f"{runtime}/podman/podman.sock",
    )
    return (docker, *own, podman)


def _home(env: Mapping[str, str]) -> str:
    return env.get("HOME") or "/"


def _parse(address: str, material: Material | None, named_by: str) -> Endpoint:
    scheme, colon, rest = address.partition("://")
    if scheme == "unix" and rest:
        return Endpoint(path=rest if rest.startswith("/") else f"/{rest}", named_by=named_by)
    if scheme in ("tcp", "http", "https") and rest:
        try:
            parts = urlsplit(f"tcp://{rest}")
            host, port = parts.hostname or "localhost", parts.port
        except ValueError as error:
            raise _unusable(address, named_by, str(error)) from error
        if parts.username or parts.path not in ("", "/"):
            raise _unusable(address, named_by, "it is more than a host and a port")
        if scheme == "https" and material is None:
            material = Material()
        return Endpoint("", host, port or (_SECURE_PORT if material else _PLAIN_PORT), material,
                        named_by)  # fmt: skip
    if scheme == "ssh":
        raise UsageError(
            "wherry cannot reach an engine through ssh",
            why=f"{named_by} says {_shown(address)}",
            hint="have ssh forward its socket (ssh -L /tmp/engine.sock:/var/run/docker.sock HOST)"
            " and set DOCKER_HOST=unix:///tmp/engine.sock",
        )
    raise _unusable(address, named_by, "" if colon else "it has no scheme such as unix://")


def _unusable(address: str, named_by: str, why: str) -> UsageError:
    return UsageError(
        f"not an engine's address: {_shown(address)!r}, from {named_by}",
        why=why,
        hint="write it as unix:///var/run/docker.sock or tcp://HOST:PORT",
    )


def _shown(address: str) -> str:
    """The address without what may be a password."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"[:200]


def _material(env: Mapping[str, str], configuration: str) -> Material | None:
    if not env.get("DOCKER_TLS_VERIFY"):
        return None
    return _files_in(env.get("DOCKER_CERT_PATH") or configuration, verify=True)


def _files_in(directory: str, *, verify: bool) -> Material:
    found = (os.path.join(directory, name) for name in ("ca.pem", "cert.pem", "key.pem"))
    ca, certificate, key = (path if os.path.exists(path) else "" for path in found)
    return Material(ca, certificate, key, verify)


def _current_context(configuration: str) -> str:
    value = _read_json(os.path.join(configuration, "config.json"))
    name = value.get("currentContext")
    return name if isinstance(name, str) else ""


def _of_context(name: str, env: Mapping[str, str], configuration: str, named_by: str) -> Endpoint:
    if name == _DEFAULT:
        if address := env.get("DOCKER_HOST", ""):
            return _parse(address, _material(env, configuration), "DOCKER_HOST")
        return Endpoint(_SYSTEM_SOCKETS[0], named_by=named_by)
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    contexts = os.path.join(configuration, "contexts")
    value = _read_json(os.path.join(contexts, "meta", digest, "meta.json"))
    found = value.get("Endpoints")
    endpoint = found.get("docker") if isinstance(found, dict) else None
    host = endpoint.get("Host") if isinstance(endpoint, dict) else None
    if not isinstance(host, str) or not isinstance(endpoint, dict):
        known = _known_contexts(os.path.join(contexts, "meta"))
        raise UsageError(
            f"there is no docker context {name!r}",
            why=f"{named_by} asks for it, and {contexts} has none of that name",
            hint=near(name, known) or f"known are: {', '.join((_DEFAULT, *known))}",
        )
    material = None
    directory = os.path.join(contexts, "tls", digest, "docker")
    if os.path.isdir(directory):
        material = _files_in(directory, verify=endpoint.get("SkipTLSVerify") is not True)
    return _parse(host, material, named_by)


def _known_contexts(directory: str) -> tuple[str, ...]:
    try:
        entries = sorted(os.listdir(directory))
    except OSError:
        return ()
    values = (_read_json(os.path.join(directory, entry, "meta.json")) for entry in entries)
    names = (value.get("Name") for value in values)
    return tuple(sorted(name for name in names if isinstance(name, str)))


def _read_json(path: str) -> dict[str, object]:
    """The object in the file; none where there is no file, or nothing of this kind in it."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(1 << 20))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
