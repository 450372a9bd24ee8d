# SPDX-License-Identifier: Apache-2.0
"""Image references as Docker writes them (distribution specification 1.1, "Pulling manifests").

`movies` means `docker.io/library/movies:latest`; the familiar short form is what people see.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wherry.errors import UsageError
from wherry.oci.digest import Digest, parse_digest

DEFAULT_REGISTRY = "docker.io"
_HUB_NAMES = (DEFAULT_REGISTRY, "index.docker.io")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[([0-9a-fA-F:.]+)\])(?::([0-9]{{1,5}}))?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Reference(NamedTuple):
    """registry/repository:tag@digest; `tag` may be empty only where `digest` is set."""

    registry: str
    repository: str
    tag: str
    digest: Digest | None = None

    @property
    def familiar(self) -> str:
        """The short form that people type, without digest.

        Read again without another default registry, it means the same.
        """
        name = self.repository
        if self.registry != DEFAULT_REGISTRY or _is_registry(name.partition("/")[0], name):
            name = f"{self.registry}/{name}"
        elif name.count("/") == 1:
            name = name.removeprefix("library/")
        return f"{name}:{self.tag}" if self.tag else name

    @property
    def full(self) -> str:
        """`docker.io/library/movies:latest[@digest]`: nothing left to guess, whatever the default.

        Read again with any default registry, it is this reference.
        """
        name = f"{self.registry}/{self.repository}"
        if self.tag:
            name += f":{self.tag}"
        return f"{name}@{self.digest}" if self.digest else name

    def __str__(self) -> str:
        return f"{self.familiar}@{self.digest}" if self.digest else self.familiar


def parse_reference(text: str, default: str = DEFAULT_REGISTRY) -> Reference:
    """Parse a reference; no tag and no digest mean `latest`. Raises `UsageError`.

    `default` is the `host[:port][/path]` that names without a registry are below; only Docker
    Hub's own name puts `library/` before a single word.
    """
    rest, at, digest_text = text.partition("@")
    if "://" in text or "@" in digest_text or "/" in digest_text:
        raise _address(text)
    digest = parse_digest(digest_text) if at else None
    registry, path = _split(rest, default)
    path, colon, tag = path.partition(":")
    problem = _problem(registry, path, tag, bool(colon))
    if problem:
        hint = "write it as name:tag or registry.example.com/team/name:tag"
        raise UsageError(f"not an image reference: {text!r}", why=problem, hint=hint)
    if registry in _HUB_NAMES:
        registry = DEFAULT_REGISTRY
        path = path if "/" in path else f"library/{path}"
    if not tag and digest is None:
        tag = "latest"
    return Reference(registry, path, tag, digest)


def parse_registry(text: str) -> tuple[str, str]:
    """`host[:port][/path]` -> host and path, for what `parse_reference` takes as `default`.

    Raises `UsageError` where the host could not be told from a directory in a reference.
    """
    host, _, path = text.partition("/")
    if not is_host(host) or not _looks_like_host(host):
        hint = "write it as registry.example.com/team; Docker Hub is docker.io"
        raise UsageError(f"{host!r} is not a registry", hint=hint)
    if path or text.endswith("/"):
        problem = _problem(host, path, "", has_tag=False)
        if problem:
            raise UsageError(f"{text!r} is no place for images", why=problem)
    return (DEFAULT_REGISTRY if host in _HUB_NAMES else host), path


def is_host(text: str) -> bool:
    """Whether `text` is `host[:port]`: a DNS name, an IPv4 address or an IPv6 one in brackets."""
    match = _HOST.fullmatch(text)
    if match is None or len(text) > 255:
        return False
    address, port = match.groups()
    if address is not None and not _is_ipv6(address):
        return False
    return port is None or 1 <= int(port) <= 65535


def is_repository(text: str) -> bool:
    """Whether `text` is a repository's name without registry and tag."""
    return _PATH.fullmatch(text) is not None and len(text) <= 255


def _is_ipv6(text: str) -> bool:
    import ipaddress  # noqa: PLC0415 - spares every other start its price

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _split(name: str, default: str) -> tuple[str, str]:
    """The registry, and the path with its tag."""
    head, _, tail = name.partition("/")
    if _is_registry(head, name):
        return head, tail
    registry, slash, path = default.partition("/")
    return registry, f"{path}{slash}{name}"


def _is_registry(head: str, name: str) -> bool:
    """Whether `head`, what stands before the first slash of `name`, is a host and no directory."""
    return head != name and _looks_like_host(head)


def _looks_like_host(head: str) -> bool:
    return "." in head or ":" in head or head == "localhost" or head != head.lower()


def _address(text: str) -> UsageError:
    # A password may stand before the last @: it is not told again.
    hint = "leave the scheme out, and user and password: `wherry login` keeps them"
    shown = text.rpartition("@")[2].partition("?")[0]
    return UsageError(f"not an image reference: {shown!r}", why="it is an address", hint=hint)


def _problem(registry: str, path: str, tag: str, has_tag: bool) -> str:
    if not is_host(registry):
        return f"{registry!r} is not a registry host"
    if _PATH.fullmatch(path) is None:
        if _PATH.fullmatch(path.lower()):
            return "a repository name is lower case"
        return f"{path!r} is not a repository name: lower-case letters, digits, '.', '_', '-', '/'"
    if len(path) > 255:
        return "a repository name has at most 255 characters"
    if has_tag and _TAG.fullmatch(tag) is None:
        return f"{tag!r} is not a tag: up to 128 letters, digits, '.', '_', '-'"
    return ""
