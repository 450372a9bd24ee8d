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
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Reference(NamedTuple):
    """registry/repository:tag@digest; `tag` may be empty only where `digest` is set."""

    registry: str
    repository: str
    tag: str
    digest: Digest | None = None

    @property
    def familiar(self) -> str:
        """The short form that people type, without digest; read again, it means the same."""
        name = self.repository
        if self.registry != DEFAULT_REGISTRY or _is_registry(name.partition("/")[0], name):
            name = f"{self.registry}/{name}"
        elif name.count("/") == 1:
            name = name.removeprefix("library/")
        return f"{name}:{self.tag}" if self.tag else name

    def __str__(self) -> str:
        return f"{self.familiar}@{self.digest}" if self.digest else self.familiar


def parse_reference(text: str) -> Reference:
    """Parse a reference; no tag and no digest mean `latest`. Raises `UsageError`."""
    rest, _, digest_text = text.partition("@")
    digest = parse_digest(digest_text) if digest_text or text.endswith("@") else None
    head, _, tail = rest.partition("/")
    if _is_registry(head, rest):
        registry, path = head, tail
    else:
        registry, path = DEFAULT_REGISTRY, rest
    path, colon, tag = path.partition(":")
    problem = _problem(registry, path, tag, bool(colon))
    if problem:
        hint = "write it as name:tag or registry.example.com/team/name:tag"
        raise UsageError(f"not an image reference: {text!r}", why=problem, hint=hint)
    if registry in ("docker.io", "index.docker.io"):
        registry = DEFAULT_REGISTRY
        path = path if "/" in path else f"library/{path}"
    if not tag and digest is None:
        tag = "latest"
    return Reference(registry, path, tag, digest)


def _is_registry(head: str, name: str) -> bool:
    """Whether `head`, what stands before the first slash of `name`, is a host and no directory."""
    if head == name:
        return False
    return "." in head or ":" in head or head == "localhost" or head != head.lower()


def _problem(registry: str, path: str, tag: str, has_tag: bool) -> str:
    if _HOST.fullmatch(registry) is None:
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
