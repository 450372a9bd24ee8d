# SPDX-License-Identifier: Apache-2.0
"""A token server as the distribution specification's authors describe it: Bearer by GET and POST.

A realm gives tokens and checks them. `FaultRegistry(bearer=realm)` does both, the first at /token;
`FaultRegistry(bearer=TokenRealm(realm="http://other/token"))` sends its clients elsewhere: there a
second registry with the same `TokenRealm` object answers.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from registry_state import Answer, Asked

_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


@dataclass(frozen=True)
class Grant:
    """What a token is good for: (repository, action) pairs, until `ends` (seconds of the clock)."""

    user: str
    access: frozenset[tuple[str, str]]
    ends: float


class TokenRealm:
    """Users, what they may do, and the tokens given so far.

    `users`: name: password. `identity_tokens`: refresh token: user, for POST. `anonymous`: actions
    that need no user. `may(user, repository, action)` decides (user "" is anonymous); by default
    users may do all. `lifetime`: seconds a token is good for, told as expires_in unless `tell` is
    false. `field_name`: "token" or "access_token". `realm`: the URL told in challenges, if it is
    not the registry's own /token. `post`: POST is supported, else 404 as old servers answer.
    `issues`: POST with a password and access_type=offline gives this refresh token.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        identity_tokens: Mapping[str, str] | None = None,
        anonymous: tuple[str, ...] = (),
        may: Callable[[str, str, str], bool] | None = None,
        lifetime: float = 300,
        tell: bool = True,
        field_name: str = "token",
        realm: str = "",
        service: str = "registry.test",
        post: bool = True,
        issues: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.users = dict(users or {})
        self.identity_tokens = dict(identity_tokens or {})
        self.lifetime = lifetime
        self.realm = realm
        self.service = service
        self.grants: dict[str, Grant] = {}
        self._anonymous = anonymous
        self._may = may or (lambda _user, _repository, _action: True)
        self._tell = tell
        self._field_name = field_name
        self._post = post
        self._issues = issues
        self._clock = clock
        self._lock = threading.Lock()

    def revoke(self) -> None:
        """Make every token given so far worthless."""
        with self._lock:
            self.grants.clear()

    # --- giving ---------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Answer:
        """The token server's answer to a request for /token."""
        if asked.method == "GET":
            fields = parse_qs(urlsplit(asked.path).query)
            user = self._basic_user(asked)
        elif asked.method == "POST" and self._post:
            fields = parse_qs(b"".join(asked.body).decode())
            user = self._posted_user({name: values[0] for name, values in fields.items()})
        else:
            return Answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        if user is None or fields.get("service", [self.service]) != [self.service]:
            body = {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect user or password"}]}
            return Answer(401, {"Content-Type": "application/json"}, json.dumps(body).encode())
        return self._give(user, fields)

    def _give(self, user: str, fields: Mapping[str, list[str]]) -> Answer:
        wanted = " ".join(fields.get("scope", [])).split()
        access = frozenset(
            (repository, action)
            for repository, action in _scopes(wanted)
            if self._allowed(user, repository, action)
        )
        token = secrets.token_hex(16)
        with self._lock:
            self.grants[token] = Grant(user, access, self._clock() + self.lifetime)
        told: dict[str, object] = {self._field_name: token}
        if self._tell:
            told["expires_in"] = int(self.lifetime)
        if self._issues and fields.get("access_type") == ["offline"]:
            told["refresh_token"] = self._issues
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(told).encode())

    def _allowed(self, user: str, repository: str, action: str) -> bool:
        if not user and action not in self._anonymous:
            return False
        return self._may(user, repository, action)

    def _basic_user(self, asked: Asked) -> str | None:
        pair = basic_of(asked)
        if pair is None:
            return "" if "authorization" not in asked.headers else None
        return pair[0] if self.users.get(pair[0]) == pair[1] else None

    def _posted_user(self, fields: Mapping[str, str]) -> str | None:
        if fields.get("grant_type") == "refresh_token":
            return self.identity_tokens.get(fields.get("refresh_token", ""))
        name = fields.get("username", "")
        good = name in self.users and self.users[name] == fields.get("password")
        return name if good and fields.get("grant_type") == "password" else None

    # --- checking -------------------------------------------------------------------------------

    def challenge(self, asked: Asked, own: str) -> str:
        """The WWW-Authenticate text for a request without the rights; "" where they suffice."""
        wanted = _needed(asked)
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        with self._lock:
            grant = self.grants.get(token) if scheme.lower() == "bearer" else None
        text = f'Bearer realm="{self.realm or own}",service="{self.service}"'
        if wanted:
            grouped: dict[str, list[str]] = {}
            for repository, action in wanted:
                grouped.setdefault(repository, []).append(action)
            scopes = [f"repository:{name}:{','.join(do)}" for name, do in grouped.items()]
            text += f',scope="{" ".join(scopes)}"'
        if grant is None:
            return text
        if grant.ends <= self._clock():
            return f'{text},error="invalid_token"'
        return "" if set(wanted) <= grant.access else f'{text},error="insufficient_scope"'


def basic_of(asked: Asked) -> tuple[str, str] | None:
    """(user, password) of a Basic Authorization header, None where there is none that is right."""
    scheme, _, value = asked.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return None
    return user, password


def _needed(asked: Asked) -> list[tuple[str, str]]:
    name = re.match(r"/v2/(.+?)/(?:manifests|blobs|tags|referrers)/", asked.path)
    if name is None:
        return []
    action = _ACTIONS.get(asked.method)
    needed = [(name[1], one) for one in ((action,) if action else ("pull", "push"))]
    if asked.query.get("mount") and asked.query.get("from"):
        needed.append((asked.query["from"], "pull"))  # as Docker's registry wants it
    return needed


def _scopes(wanted: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for scope in wanted:
        kind, _, rest = scope.partition(":")
        repository, _, actions = rest.rpartition(":")
        if kind == "repository":
            pairs += [(repository, action) for action in actions.split(",")]
    return pairs
