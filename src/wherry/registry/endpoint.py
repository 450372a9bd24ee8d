# SPDX-License-Identifier: Apache-2.0
"""One repository at one server: what its requests look like, and where they go.

A registry is known by the name in its references; Docker Hub is the one whose server has another
name. A mirror is a server with a name and credentials of its own, where a repository may lie below
a prefix. Distribution specification 1.1, "Endpoints".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit

from wherry.errors import NetworkError, UsageError
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.reference import DEFAULT_REGISTRY, parse_reference
from wherry.registry.model import Scope
from wherry.registry.problems import refused
from wherry.registry.schemes import Schemes
from wherry.transport.errors import BodyCut, BodyTooLarge, ConnectionFailed
from wherry.transport.model import Body, Request
from wherry.transport.origins import parse_origin

if TYPE_CHECKING:
    from wherry.transport.http import Response

_DOCKER_HUB = "registry-1.docker.io"
_READ = ("pull",)
_WRITE = ("pull", "push")
# How often a short document is asked for when its answers break off.
_TRIES = 4


class Wanted(NamedTuple):
    """A tag, or a digest where `digest` is set."""

    text: str
    digest: Digest | None = None

    @property
    def suffix(self) -> str:
        """What follows the repository's name in a reference."""
        return f"@{self.text}" if self.digest else f":{self.text}"


class Call(NamedTuple):
    """A request to a repository; `path` is what follows `/v2/NAME/`.

    `mounted_from` is a second repository that has to be readable for it. `retry` as in `Request`.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Body | None = None
    retry: bool = True
    mounted_from: str = ""


class Whole(NamedTuple):
    """An answer that was read to its end: 200 with its body, or 404 without."""

    found: bool
    headers: Mapping[str, str]
    url: str
    data: bytes = b""


@dataclass(frozen=True)
class Endpoint:
    """A repository at a server.

    `name` is the registry's or mirror's name for people and credentials, `repository` the name
    there. `scheme` is set where the user has written it down. `writes`: requests ask for the right
    to push. A mirror's requests are tried once: there is another server to ask.
    """

    name: str
    repository: str
    schemes: Schemes
    scheme: str = ""
    writes: bool = False
    is_mirror: bool = False

    def __post_init__(self) -> None:
        check_name(self.repository)

    @property
    def host(self) -> str:
        """The server's `host[:port]`."""
        return _DOCKER_HUB if self.name == DEFAULT_REGISTRY else self.name

    @property
    def full_name(self) -> str:
        """The name for people."""
        return f"{self.name}/{self.repository}"

    def send(self, call: Call, url: str = "") -> Response:
        """The answer of any status but 401 and 403; raises as `Authorizer.send` does.

        `url`, a location that the server gave, is taken in place of the call's path.
        """

        def make(origin: str) -> tuple[Request, Scope]:
            target = url or f"{origin}/v2/{self.repository}/{call.path}"
            scope = Scope(origin, self.name, self.repository, _WRITE if self.writes else _READ,
                          call.mounted_from)  # fmt: skip
            retry = call.retry and not self.is_mirror
            return Request(call.method, target, call.headers, call.body, retry), scope

        return self.schemes.send(self.host, make, self.scheme)

    def read(self, call: Call, what: str, limit: int, url: str = "") -> Whole:
        """A document of at most `limit` bytes; `what` says what could not be done without it.

        Raises `NetworkError` for a longer one and for any status but 200 and 404. An answer that
        breaks off is asked for again.
        """
        for left in reversed(range(_TRIES)):
            with self.send(call, url) as response:
                if response.status == 404:
                    return Whole(False, response.headers, response.url)
                if response.status != 200:
                    raise refused(what, response)
                try:
                    return Whole(True, response.headers, response.url, response.read(limit))
                except BodyTooLarge as error:
                    raise NetworkError(what, why=f"{self.name} sends more than {limit} bytes, "
                                       "the most that it may have",
                                       hint="it is damaged there, or the address is no "
                                            "registry's") from error  # fmt: skip
                except (BodyCut, ConnectionFailed):
                    if not left:
                        raise
        raise AssertionError("the last try returns or raises")

    def follow(self, base: str, location: str) -> str:
        """The absolute URL of a `Location` in the answer of `base`.

        Another origin is allowed; it gets no credentials. Raises `NetworkError` where there is no
        location, or one that would leave TLS.
        """
        if not location:
            raise NetworkError(f"{self.name} does not say where the upload goes on",
                               why="its answer has no Location header",
                               hint="the fault is the registry's")  # fmt: skip
        try:
            url = urldefrag(urljoin(base, location)).url
        except ValueError:
            url = ""
        there = parse_origin(url)
        if there.is_loopback and not parse_origin(base).is_loopback:
            raise NetworkError(f"{self.name} sends an upload to this machine itself",
                               hint="the fault is the registry's")  # fmt: skip
        if parse_origin(base).scheme == "https" and there.scheme == "http":
            raise NetworkError(f"{self.name} sends an upload from https to http",
                               why=f"it goes to {there.name}, unencrypted",
                               hint="a proxy before the registry may have to set "
                                    "X-Forwarded-Proto")  # fmt: skip
        return url


def with_query(url: str, query: str) -> str:
    """`url` with one more query parameter; those it has stay as they are."""
    return f"{url}{'&' if urlsplit(url).query else '?'}{query}"


def parse_wanted(text: str) -> Wanted:
    """A tag or digest; raises `UsageError` where it is neither, so that no URL is made of it."""
    if ":" in text:
        return Wanted(text, parse_digest(text))
    if parse_reference(f"registry.invalid/name:{text}").tag != text:
        raise UsageError(f"not a tag: {text!r}")
    return Wanted(text)


def is_host(text: str) -> bool:
    """Whether `text` is `host[:port]`; a single word is one here, other than in a reference."""
    full = text if set(text) & set(".:") or text == "localhost" else f"{text}.invalid"
    try:
        return parse_reference(f"{full}/name/name").registry == full
    except UsageError:
        return False


def check_name(repository: str) -> None:
    """Raise `UsageError` where it is no repository's name, so that no URL is made of it."""
    found = parse_reference(f"registry.invalid/{repository}:tag")
    if (found.repository, found.tag, found.digest) != (repository, "tag", None):
        raise UsageError(f"not a repository's name: {repository!r}")


def check_digest(digest: Digest) -> str:
    """The digest's text; raises `UsageError` where it is none, so that no URL is made of it."""
    parse_digest(str(digest))
    return str(digest)
