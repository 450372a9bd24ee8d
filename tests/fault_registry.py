# SPDX-License-Identifier: Apache-2.0
"""An OCI registry in this process that tells the truth, until a test tells it to lie.

    with FaultRegistry() as registry:
        digest = registry.put_image("team/app", "1.0", [layer({"bin/app": b"..."})])
        registry.rule("GET", r"/blobs/", cut_after=1000, times=2)
        ...                                    # talk to http://{registry.host}
        assert registry.count("GET", r"/blobs/") == 3

Nothing is shared between registries: each has its own port, threads and memory, and a test may have
several (redirects to another origin, mirrors). All faults are in `Fault`; all requests are kept in
`registry.requests`, in the order they came. Authentication is a `TokenRealm` (`token_realm`) or a
user and a password. A bug in the server itself is raised when the block is left.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from fault_wire import Connection, Wire
from registry_samples import Sample, image, index
from registry_state import OCI_INDEX, Answer, Asked, Contents, digest_of
from token_realm import TokenRealm, basic_of


@dataclass(frozen=True)
class Fault:
    """One departure from the right answer. Fields can be combined; unset ones change nothing.

    Texts in `headers` and `redirect` may hold `{path}` (of the request, with its query),
    `{location}` (of the right answer) and `{host}` (this registry's).
    """

    # Instead of the right answer:
    status: int = 0  # answered without asking the registry; the request's body is read first
    body: bytes = (
        b'{"errors":[{"code":"UNKNOWN","message":"a fault of the test"}]}'  # with `status`
    )
    redirect: str = ""  # Location of a 307 (or `status`); "{path}" alone is a loop
    hang_up: bool = False  # close without a word
    raw: bytes = b""  # these bytes instead of status line, headers and body; then close
    mount_refused: bool = False  # a mount is answered by an upload session (202)
    ignore_range: bool = False  # 200 and the whole blob, whatever Range says
    # While the request's body comes in:
    early: bool = False  # with `status`: answer without reading the body, and close
    cut_upload_after: int = -1  # close after so many bytes of it; an upload keeps what came
    # In the right answer:
    headers: Mapping[str, str | None] = field(default_factory=dict)  # set, or None: dropped
    corrupt_at: int = -1  # flip the byte at this index of the body
    truncate: int = -1  # keep only so many bytes; Content-Length says the same
    append: bytes = b""  # more bytes at the end; Content-Length says the same
    content_length: int = -1  # say this length, send the body as it is, and close
    huge: int = 0  # a body of so many spaces instead, with its length
    endless: bool = False  # a chunked body that never ends
    cut_after: int = -1  # close after so many bytes of the body
    reset: bool = False  # with hang_up and the cuts: a TCP reset instead of an end
    close: bool = False  # "Connection: close", and close after the whole answer
    # In time:
    delay: float = 0.0  # seconds before the answer
    trickle: tuple[int, float] | None = None  # (bytes, seconds between them)
    hold: threading.Event | None = None  # answer when it is set
    before: Callable[[], object] | None = None  # called before the registry is asked


@dataclass
class Rule:
    """A fault for the requests that match; `used` counts them."""

    method: str
    path: re.Pattern[str]
    fault: Fault
    times: int | None
    skip: int
    used: int = 0
    matched: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether the fault applies to this request; counts it."""
        if not (re.fullmatch(self.method or ".*", method) and self.path.search(path)):
            return False
        self.matched += 1
        if self.matched <= self.skip or (self.times is not None and self.used >= self.times):
            return False
        self.used += 1
        return True


@dataclass
class Seen:
    """One request. `path` has its query; header names are in lower case; bytes are of bodies.

    `status` is 0 while there is no answer (or never one); `connection` numbers connections from 1.
    """

    method: str
    path: str
    headers: dict[str, str]
    connection: int
    received: int = 0
    sent: int = 0
    status: int = 0

    @property
    def authorized(self) -> bool:
        """Whether the request had an Authorization header."""
        return "authorization" in self.headers


class FaultRegistry:
    """A registry on a free port of 127.0.0.1, from `start()` (or `with`) until `close()`.

    `tls`: (certificate, key) files; `client_ca`: a file; then clients need a certificate of it.
    `basic`: (user, password) that every request needs. `bearer`: the realm whose tokens every
    request needs; its token server is this registry's /token unless the realm names another.
    Further options are those of `registry_state.Contents`.
    """

    def __init__(
        self,
        *,
        tls: tuple[str, str] | None = None,
        client_ca: str = "",
        basic: tuple[str, str] | None = None,
        bearer: TokenRealm | None = None,
        port: int = 0,
        **contents: bool | int,
    ) -> None:
        self.contents = Contents(**contents)  # type: ignore[arg-type]
        self.requests: list[Seen] = []
        self.most_at_once = 0
        self.errors: list[BaseException] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._active = 0
        self._basic = basic
        self._bearer = bearer
        self._wire = Wire(self._handle, self.errors, port, _context(tls, client_ca))
        self.scheme = "https" if tls else "http"

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Answer requests from now on."""
        self._wire.start()
        return self

    def close(self) -> None:
        """End all connections and threads, and free the port. May be called twice."""
        self._wire.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self.errors:
            raise self.errors[0]

    @property
    def port(self) -> int:
        return self._wire.port

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, as it stands in references."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """`http(s)://127.0.0.1:PORT`."""
        return f"{self.scheme}://{self.host}"

    # --- faults and what was seen ---------------------------------------------------------------

    def rule(
        self, method: str, path: str, *, times: int | None = None, skip: int = 0, **fault: object
    ) -> Rule:
        """Apply `Fault(**fault)` to requests whose method matches and whose path has `path`.

        Both are regular expressions; "" is any. `skip` requests are answered rightly first, then
        `times` (None: all) with the fault. Of several rules the oldest that still applies is taken.
        """
        made = Rule(method, re.compile(path), Fault(**fault), times, skip)  # type: ignore[arg-type]
        with self._lock:
            self._rules.append(made)
        return made

    def forget_rules(self) -> None:
        """Tell the truth from now on."""
        with self._lock:
            self._rules.clear()

    def forget_requests(self) -> None:
        """Start counting again."""
        with self._lock:
            self.requests.clear()
            self.most_at_once = 0

    def seen(self, method: str = "", path: str = "") -> list[Seen]:
        """The requests so far whose method matches and whose path has `path`."""
        with self._lock:
            kept = list(self.requests)
        return [
            one
            for one in kept
            if re.fullmatch(method or ".*", one.method) and re.search(path, one.path)
        ]

    def count(self, method: str = "", path: str = "") -> int:
        """How many of them."""
        return len(self.seen(method, path))

    @property
    def connections(self) -> int:
        """How many connections made a request."""
        return len({one.connection for one in self.seen()})

    # --- contents -------------------------------------------------------------------------------

    def put_blob(self, repository: str, data: bytes) -> str:
        """Give the repository a blob; returns its digest."""
        return self.contents.add_blob(repository, data)

    def put_manifest(
        self, repository: str, wanted: str, data: bytes, media_type: str = OCI_INDEX
    ) -> str:
        """Give it a manifest as it is, under a tag ("" for none); returns its digest."""
        return self.contents.add_manifest(repository, wanted, data, media_type)

    def put_sample(self, repository: str, wanted: str, sample: Sample) -> str:
        """Give it all that a sample of `registry_samples` consists of; returns its digest."""
        for blob in sample.blobs:
            self.put_blob(repository, blob)
        for child in sample.children:
            self.put_sample(repository, "", child)
        return self.put_manifest(repository, wanted, sample.data, sample.media_type)

    def put_image(
        self, repository: str, tag: str, layers: Sequence[bytes] = (), **asked: object
    ) -> str:
        """Give it `registry_samples.image(layers, **asked)`; returns the manifest's digest."""
        return self.put_sample(repository, tag, image(layers, **asked))  # type: ignore[arg-type]

    def put_index(
        self, repository: str, tag: str, images: Sequence[Sample], **asked: object
    ) -> str:
        """Give it `registry_samples.index(images, **asked)`; returns the index's digest."""
        return self.put_sample(repository, tag, index(images, **asked))  # type: ignore[arg-type]

    def blob(self, digest: str) -> bytes:
        """The bytes of a blob; KeyError if there is none."""
        return self.contents.blobs[digest]

    def manifest(self, repository: str, wanted: str) -> bytes:
        """The bytes of a manifest by tag or digest; KeyError if there is none."""
        held = self.contents.repositories[repository]
        return held.manifests[held.tags.get(wanted, wanted)][1]

    def tags(self, repository: str) -> dict[str, str]:
        """Tag: digest."""
        return dict(self.contents.repository(repository).tags)

    # --- one request ----------------------------------------------------------------------------

    def _handle(self, connection: Connection) -> None:
        seen = Seen(connection.command, connection.path, connection.lowered(), connection.number)
        with self._lock:
            self.requests.append(seen)
            rule = next((one for one in self._rules if one.takes(seen.method, seen.path)), None)
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
        try:
            self._answer(connection, seen, rule.fault if rule else Fault())
        finally:
            with self._lock:
                self._active -= 1

    def _answer(self, connection: Connection, seen: Seen, fault: Fault) -> None:
        if fault.before is not None:
            fault.before()
        body = connection.body(seen, fault.cut_upload_after, reset=fault.reset)
        answer = self._right_or_not(seen, fault, body)
        if not (fault.early and fault.status):
            for _ in body:
                pass
        connection.pause(fault.delay, fault.hold)
        if fault.hang_up:
            connection.hang_up(reset=fault.reset)
        if fault.raw:
            connection.wfile.write(fault.raw)
            connection.hang_up()
        location = answer.headers.get("Location", "")
        headers: dict[str, str | None] = {**answer.headers}
        for name, value in fault.headers.items():
            for old in [one for one in headers if one.lower() == name.lower()]:
                del headers[old]
            headers[name] = value if value is None else self._filled(value, seen, location)
        seen.status = answer.status
        connection.send(Answer(answer.status, {}, answer.body), headers, fault, seen)

    def _right_or_not(self, seen: Seen, fault: Fault, body: Iterator[bytes]) -> Answer:
        if fault.redirect:
            location = self._filled(fault.redirect, seen)
            return Answer(fault.status or 307, {"Location": location})
        if fault.status:
            return Answer(fault.status, {"Content-Type": "application/json"}, fault.body)
        path = seen.path
        if fault.mount_refused:
            path = re.sub(r"([?&])mount=[^&]*", r"\1", path)
        headers = dict(seen.headers)
        if fault.ignore_range:
            headers.pop("range", None)
        asked = Asked(seen.method, path, headers, body)
        if self._bearer is not None and path.startswith("/token"):
            return self._bearer.answer(asked)
        return self._refusal(asked) or self.contents.answer(asked)

    def _refusal(self, asked: Asked) -> Answer | None:
        if self._basic is not None and basic_of(asked) != self._basic:
            return _unauthorized('Basic realm="a registry of the tests"')
        if self._bearer is not None:
            challenge = self._bearer.challenge(asked, f"{self.url}/token")
            return _unauthorized(challenge) if challenge else None
        return None

    def _filled(self, text: str, seen: Seen, location: str = "") -> str:
        for name, value in (("path", seen.path), ("location", location), ("host", self.host)):
            text = text.replace("{" + name + "}", value)
        return text


def _unauthorized(challenge: str) -> Answer:
    body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
    return Answer(401, {"WWW-Authenticate": challenge, "Content-Type": "application/json"}, body)


def _context(tls: tuple[str, str] | None, client_ca: str) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on just now: connections to it are refused."""
    with suppress(OSError), socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
    raise AssertionError("no free port")


__all__ = ["Fault", "FaultRegistry", "Rule", "Seen", "TokenRealm", "digest_of", "free_port"]
