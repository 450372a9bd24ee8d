# SPDX-License-Identifier: Apache-2.0
"""A token server and a registry that demands its tokens, both in threads of the test's process.

`TokenServer` speaks both flows of Docker's token authentication: GET with Basic credentials or
none, and POST with an identity token (refresh_token) or a password. Its attributes may be changed
between requests to make it answer late, wrongly, hugely or not at all. `Guard` stands before a
registry (`upstream`, any URL; a few built-in answers without one) and lets requests through that
carry a token of the server's for the repository, or the right Basic password.

    with TokenServer({"bob": "secret"}) as tokens, Guard(tokens) as registry:
        registry.origin            # http://127.0.0.1:PORT
        tokens.asked               # every token request, in order
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

_NAME = re.compile(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)(?:/|$)")
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}

Grants = dict[str, frozenset[str]]


class Asked(NamedTuple):
    """One request for a token. `user` is who proved to be, empty for nobody."""

    method: str
    user: str
    scopes: tuple[str, ...]
    service: str
    account: str
    grant_type: str
    path: str


class Granted(NamedTuple):
    """What a token is good for, and until when by the server's clock."""

    user: str
    rights: Grants
    until: float


class Raw(NamedTuple):
    """An answer as it is, whatever was asked."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        # Clients that hang up in the middle are what some tests want.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type] # a socket


class _Server:
    """An HTTP server on a free port of 127.0.0.1, in a thread."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = _Quiet(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.origin = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer's head and body are two writes, which Nagle's algorithm would hold apart.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def basic(self) -> tuple[str, str] | None:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        user, _, password = base64.b64decode(value).decode().partition(":")
        return user, password

    def answer(self, raw: Raw) -> None:
        try:
            self.send_response(raw.status)
            for name, value in raw.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(raw.body)
        except OSError:
            # Who asked does not want the rest: the bad answers of this server provoke that.
            self.close_connection = True


def error_body(code: str, message: str) -> bytes:
    """An error as the distribution specification has it."""
    return json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()


class TokenServer(_Server):
    """Grants tokens to `users` (name: password), and to nobody what `anonymous` allows.

    Behaviour, to be changed at will: `expires_in` (None: left out of the answer), `life` (how long
    a token really lives; None: as long as it says, 60 s without), `issued_at` (a text, None: left
    out), `field` (`token`, `access_token` or `both`), `post` (False: 404 for the OAuth flow),
    `raw` (answered to everything), `before` (called before each answer: to be slow), `allowed`
    (user, repository, action -> whether it is granted), `identity_tokens` (token: user), `clock`.
    """

    service = "tokens.test"

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        anonymous: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        server = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                server._get(self)

            def do_POST(self) -> None:
                server._post(self)

        super().__init__(Handler)
        self.users = dict(users or {})
        self.identity_tokens: dict[str, str] = {}
        self.anonymous = anonymous
        self.clock = clock
        self.expires_in: object = 300
        self.life: float | None = None
        self.issued_at: str | None = None
        self.field = "token"
        self.post = True
        self.raw: Raw | None = None
        self.before: Callable[[], None] = lambda: None
        self.allowed: Callable[[str, str, str], bool] = lambda user, name, action: (
            bool(user) or action == "pull"
        )
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        self._granted: dict[str, Granted] = {}

    @property
    def realm(self) -> str:
        """The URL that a registry's challenge names."""
        return f"{self.origin}/token"

    @property
    def challenge(self) -> str:
        """A registry's challenge that names this server."""
        return f'Bearer realm="{self.realm}",service="{self.service}"'

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens that were granted."""
        return tuple(self._granted)

    def revoke(self) -> None:
        """Make every token that was granted invalid."""
        with self._lock:
            self._granted = {
                token: granted._replace(until=0.0) for token, granted in self._granted.items()
            }

    def granted(self, token: str) -> Granted | None:
        """What a token is good for now; None where it is unknown or expired."""
        granted = self._granted.get(token)
        return granted if granted and granted.until > self.clock() else None

    def _get(self, handler: _Handler) -> None:
        query = parse_qs(urlsplit(handler.path).query)
        login = handler.basic()
        user = login[0] if login and self.users.get(login[0]) == login[1] else ""
        self._note(handler, "GET", user, query)
        if self._misbehaves(handler):
            return
        if login and not user:
            self._deny(handler, "incorrect username or password")
        elif not user and not self.anonymous:
            self._deny(handler, "authentication required")
        else:
            self._grant(handler, user, tuple(query.get("scope", ())))

    def _post(self, handler: _Handler) -> None:
        form = parse_qs(handler.body().decode())
        if not self.post:
            handler.answer(Raw(404, b"404 page not found"))
            return
        kind = form.get("grant_type", [""])[0]
        user = ""
        if kind == "refresh_token":
            user = self.identity_tokens.get(form.get("refresh_token", [""])[0], "")
        elif kind == "password":
            name = form.get("username", [""])[0]
            user = name if self.users.get(name) == form.get("password", [""])[0] else ""
        self._note(handler, "POST", user, form)
        if self._misbehaves(handler):
            return
        if not form.get("client_id"):
            handler.answer(Raw(400, b'{"error": "invalid_request"}'))
        elif not user:
            body = b'{"error": "invalid_grant", "error_description": "unknown identity token"}'
            handler.answer(Raw(400, body))
        else:
            self._grant(handler, user, tuple(form.get("scope", [""])[0].split()))

    def _note(
        self, handler: _Handler, method: str, user: str, given: Mapping[str, list[str]]
    ) -> None:
        scopes = tuple(text for value in given.get("scope", ()) for text in value.split())
        service, account, kind = (
            given.get(name, [""])[0] for name in ("service", "account", "grant_type")
        )
        with self._lock:
            self.asked.append(Asked(method, user, scopes, service, account, kind, handler.path))

    def _deny(self, handler: _Handler, details: str) -> None:
        handler.answer(Raw(401, json.dumps({"details": details}).encode()))

    def _misbehaves(self, handler: _Handler) -> bool:
        self.before()
        # Read once: the test takes it back as soon as it has the answer.
        raw = self.raw
        if raw is not None:
            handler.answer(raw)
        return raw is not None

    def _grant(self, handler: _Handler, user: str, scopes: tuple[str, ...]) -> None:
        rights: Grants = {}
        for scope in scopes:
            _, name, actions = scope.split(":")
            given = {action for action in actions.split(",") if self.allowed(user, name, action)}
            rights[name] = rights.get(name, frozenset()) | given
        said = self.expires_in if isinstance(self.expires_in, int | float) else 60
        life = said if self.life is None else self.life
        with self._lock:
            token = f"granted-token-{len(self._granted) + 1}"
            self._granted[token] = Granted(user, rights, self.clock() + life)
        answer: dict[str, object] = {"scope": " ".join(scopes)}
        for field in ("token", "access_token"):
            if self.field in (field, "both"):
                answer[field] = token
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        if self.issued_at is not None:
            answer["issued_at"] = self.issued_at
        handler.answer(Raw(200, json.dumps(answer).encode()))


class Seen(NamedTuple):
    """One request to a guarded registry, with the scheme it proved itself by (or nothing)."""

    method: str
    path: str
    scheme: str


class Guard(_Server):
    """A registry that lets only those in who hold a token, or know a password.

    `tokens` None means Basic with `users`. `upstream` is the URL of the registry behind;
    without one, `contents` (path: answer) and then an empty 200 are answered. `challenge` replaces
    the header of a 401, `raw` every answer behind the guard. `seen` are all requests in order.
    """

    _ACTIONS: ClassVar[Mapping[str, str]] = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}

    def __init__(
        self,
        tokens: TokenServer | None = None,
        *,
        users: Mapping[str, str] | None = None,
        upstream: str = "",
    ) -> None:
        guard = self

        class Handler(_Handler):
            def handle_any(self) -> None:
                guard._handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

        super().__init__(Handler)
        self.tokens = tokens
        self.users = dict(users or {})
        self.upstream = upstream
        self.contents: dict[str, Raw] = {}
        self.challenge: str | None = None
        self.raw: Raw | None = None
        self.seen: list[Seen] = []
        self.bodies: list[bytes] = []

    def _handle(self, handler: _Handler) -> None:
        body = handler.body()
        scheme, _, value = handler.headers.get("Authorization", "").partition(" ")
        self.seen.append(Seen(handler.command, handler.path, scheme))
        self.bodies.append(body)
        problem = self._problem(handler, value)
        if problem:
            header = self.challenge if self.challenge is not None else self._challenge(handler)
            headers = (("WWW-Authenticate", header), ("Content-Type", "application/json"))
            handler.answer(Raw(401, error_body("UNAUTHORIZED", problem), headers))
        elif self.raw is not None:
            handler.answer(self.raw)
        elif self.upstream:
            self._forward(handler, body)
        else:
            handler.answer(self.contents.get(handler.path, Raw(200, b"{}")))

    def _problem(self, handler: _Handler, value: str) -> str:
        if self.tokens is None:
            login = handler.basic()
            is_known = login is not None and self.users.get(login[0]) == login[1]
            return "" if is_known else "authentication required"
        granted = self.tokens.granted(value)
        if granted is None:
            return "authentication required"
        name, action = self._wanted(handler)
        if name and action not in granted.rights.get(name, ()):
            return "insufficient scope"
        return ""

    def _challenge(self, handler: _Handler) -> str:
        if self.tokens is None:
            return 'Basic realm="registry"'
        name, action = self._wanted(handler)
        scope = f',scope="repository:{name}:{action}"' if name else ""
        return f"{self.tokens.challenge}{scope}"

    def _wanted(self, handler: _Handler) -> tuple[str, str]:
        found = _NAME.match(urlsplit(handler.path).path)
        return (found[1] if found else "", self._ACTIONS.get(handler.command, "push"))

    def _forward(self, handler: _Handler, body: bytes) -> None:
        # With the Host that was asked for, so that the registry's Locations lead here again.
        passed = {
            name: ", ".join(handler.headers.get_all(name, ()))
            for name in handler.headers
            if name.lower() not in _HOP_BY_HOP | {"authorization", "content-length"}
        }
        if body or handler.command in ("PUT", "POST", "PATCH"):
            passed["Content-Length"] = str(len(body))
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=60)
        try:
            connection.request(handler.command, handler.path, body or None, passed)
            answer = connection.getresponse()
            handler.send_response(answer.status)
            length = answer.getheader("Content-Length")
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP | {"date", "server"}:
                    handler.send_header(name, value)
            if length is None and handler.command != "HEAD" and answer.status not in (204, 304):
                handler.send_header("Connection", "close")
            handler.end_headers()
            while block := answer.read(1 << 16):
                handler.wfile.write(block)
        except OSError:
            handler.close_connection = True
        finally:
            connection.close()
