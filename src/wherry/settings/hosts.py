# SPDX-License-Identifier: Apache-2.0
"""What values about registries may be: hosts, mirrors, and files of certificates."""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple

from wherry.errors import UsageError, near
from wherry.oci.reference import is_host, is_repository, parse_registry
from wherry.settings.declaration import FilePlace
from wherry.settings.kinds import list_of, noun, parse_entries, parse_items, parse_text

Mirrors = tuple[tuple[str, tuple[str, ...]], ...]

_COMMENT = "wherry reads hosts, ports and paths"
_ADDRESS = "[A-Za-z0-9.:_\\[\\]/-]+"
REGISTRY: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": f"^{_ADDRESS}$",
    "$comment": _COMMENT,
}
MIRRORS: Final[dict[str, Any]] = {
    "type": "object",
    "propertyNames": {"pattern": f"^{_ADDRESS}$"},
    "additionalProperties": list_of({"type": "string", "pattern": f"^(?:https?://)?{_ADDRESS}$"}),
    "$comment": _COMMENT,
}
HOSTS: Final = list_of({"type": "string", "pattern": "^[A-Za-z0-9.:\\[\\]-]+$"}, _COMMENT)
FILES: Final = list_of({"type": "string", "pattern": "^[^\\u0000~][^\\u0000]*$"})
_PEM = {"type": "string", "pattern": "^[^\\u0000]+$"}
CERTIFICATES: Final[dict[str, Any]] = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z0-9.:\\[\\]-]+$"},
    "additionalProperties": {
        "type": "object",
        "required": ["cert"],
        "additionalProperties": False,
        "properties": {"cert": _PEM, "key": _PEM},
    },
    "$comment": _COMMENT,
}
CONCURRENCY: Final = {"type": "integer", "minimum": 1, "maximum": 64}

_SCHEMES = ("http://", "https://")
_MOST_REQUESTS = 64


class ClientCertificate(NamedTuple):
    """PEM files, by absolute path; `key` is empty where the certificate's file holds the key."""

    cert: str
    key: str = ""


def parse_default(value: object) -> str:
    """`host[:port][/path]`, which a reference could begin with."""
    text = parse_text(value)
    if _is_address(text):
        raise _address_error("write it as registry.example.com/team")
    host, path = parse_registry(text)
    return f"{host}/{path}" if path else host


def parse_mirrors(value: object) -> Mirrors:
    """A table: a registry's name -> a list of mirrors in the order that they are asked."""
    merged: dict[str, tuple[str, ...]] = {}
    for name, mirrors in parse_entries(value, _mirrors_of):
        registry = _registry_name(name)
        merged[registry] = tuple(dict.fromkeys((*merged.get(registry, ()), *mirrors)))
    return tuple(merged.items())


def parse_hosts(value: object) -> tuple[str, ...]:
    """A list of `host[:port]`."""
    return tuple(dict.fromkeys(parse_items(value, lambda item: _host(parse_text(item)))))


def parse_files(value: object) -> tuple[str, ...]:
    """A list of paths; `locate_files` makes them absolute."""
    return tuple(dict.fromkeys(parse_items(value, _file)))


def parse_certificates(value: object) -> tuple[tuple[str, ClientCertificate], ...]:
    """A table: `host[:port]` -> the files of a client certificate and its key."""
    found = {_host(name): files for name, files in parse_entries(value, _certificate_of)}
    return tuple(found.items())


def parse_concurrency(value: object) -> int:
    """A number of requests at once."""
    if type(value) is not int or not 1 <= value <= _MOST_REQUESTS:
        raise UsageError(f"wants a number from 1 to {_MOST_REQUESTS}, not {value!r}")
    return value


def locate_files(files: tuple[str, ...], place: FilePlace) -> tuple[str, ...]:
    """Absolute paths of `files`, which the file at `place` names."""
    return parse_items(list(files), lambda file: _absolute(parse_text(file), place))


def locate_certificates(
    certificates: tuple[tuple[str, ClientCertificate], ...], place: FilePlace
) -> tuple[tuple[str, ClientCertificate], ...]:
    """`certificates` with absolute paths."""
    return tuple(
        (host, ClientCertificate(*(path and _absolute(path, place) for path in files)))
        for host, files in certificates
    )


def _mirrors_of(name: str, value: object) -> tuple[str, ...]:
    _registry_name(name)
    return parse_items(value, lambda item: _mirror(parse_text(item)))


def _registry_name(name: str) -> str:
    if _is_address(name):
        raise _address_error("name the host alone, for example docker.io")
    registry, path = parse_registry(name)
    if path:
        raise UsageError(f"{name!r} is no registry", hint=f"name the host alone: {registry!r}")
    return registry.lower()


def _mirror(text: str) -> str:
    scheme = next((scheme for scheme in _SCHEMES if text.startswith(scheme)), "")
    name = text.removeprefix(scheme)
    if _is_address(name):
        raise _address_error(
            "write it as mirror.example.com, mirror:5000 or http://mirror:5000/hub"
        )
    host, slash, path = name.rstrip("/").partition("/")
    if not is_host(host):
        raise UsageError(f"{text!r} is no mirror", why=f"{host!r} is no host",
                         hint="write it as mirror.example.com or mirror:5000/hub")  # fmt: skip
    if slash and not is_repository(path):
        raise UsageError(f"{text!r} is no mirror", why=f"{path!r} is no path of repositories",
                         hint="lower-case letters, digits, '.', '_', '-', '/'")  # fmt: skip
    return f"{scheme}{host.lower()}{slash}{path}"


def _host(text: str) -> str:
    if _is_address(text):
        raise _address_error('write the host alone, for example "registry.example.com:5000"')
    if not is_host(text):
        hint = "leave everything from / out" if "/" in text else "write it as host or host:port"
        raise UsageError(f"{text!r} is no host", hint=hint)
    return text.lower()


def _is_address(text: str) -> bool:
    return "://" in text or "@" in text or "?" in text


def _address_error(hint: str) -> UsageError:
    # The value is not told: it may hold a password.
    return UsageError("wants a name, not an address with a scheme, user or query", hint=hint)


def _certificate_of(name: str, value: object) -> ClientCertificate:
    _host(name)
    if not isinstance(value, dict):
        raise UsageError(f"wants a table, not {noun(value)}",
                         hint='write { cert = "client.pem", key = "client.key" }')  # fmt: skip
    for key in value:
        if key not in ClientCertificate._fields:
            known = ClientCertificate._fields
            hint = near(key, known) or f"known here: {', '.join(known)}"
            raise UsageError(f"unknown key {key}", hint=hint)
    if "cert" not in value:
        raise UsageError("names no cert", hint='add cert = "client.pem"')
    return ClientCertificate(**{key: _file(path) for key, path in value.items()})


def _file(value: object) -> str:
    text = parse_text(value)
    if not text:
        raise UsageError("holds an empty path", hint="name a file")
    return text


def _absolute(path: str, place: FilePlace) -> str:
    if not path.startswith("~"):
        return os.path.join(os.path.abspath(place.directory), path)
    if place.home is None:
        raise UsageError(f"{path!r} is below a home directory",
                         why="everybody who builds this project has another one",
                         hint="name a file of the project, or do it in config.toml")  # fmt: skip
    if not path.startswith("~/"):
        raise UsageError(
            f"{path!r} is below somebody's home directory", hint="write the whole path"
        )
    if not place.home:
        raise UsageError(f"{path!r}: HOME is not set", hint="set it, or write the whole path")
    return os.path.join(place.home, path[2:].lstrip("/"))
