# SPDX-License-Identifier: Apache-2.0
"""Requests that prove who the user is, once the registry asks for it.

A registry answers 401 with a challenge: Basic wants the password itself, Bearer a token of a token
server that the registry names. What a registry asked for is remembered, so that later requests
carry their proof at once. Credentials are those kept for the scope's registry, never those kept
for another; but as with Docker, a registry chooses the server that its own credentials go to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wherry.errors import MachineError, NetworkError
from wherry.registry.challenge import Challenge, parse_challenges
from wherry.registry.credential import Credential
from wherry.registry.denial import denied, task
from wherry.registry.model import Scope
from wherry.registry.problems import Answered, Refused, printable, read_answer
from wherry.registry.secret import SecretText
from wherry.registry.token_cache import TokenCache, Wanted
from wherry.registry.tokens import BearerService, Token, get_request, post_request, read_token
from wherry.transport.errors import ConnectionFailed
from wherry.transport.model import Request
from wherry.transport.origins import Origin, parse_origin

if TYPE_CHECKING:
    from wherry.transport.http import Response

_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
# A server that loses all its tokens at once has given some that nobody has used yet.
_MOST_ENDED = 3
# How servers refuse to give a token for all of several scopes: without the right to read the other
# repository the registry does not mount, but everything else it does.
_REFUSED_WHOLE = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
# A server without the POST flow.
_NO_SUCH_FLOW = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


class Sender(Protocol):
    """Sends requests as they are: the transport."""

    def send(self, request: Request) -> Response:
        """The answer, of any status; `ConnectionFailed`, `Cancelled`."""


class Finder(Protocol):
    """Knows the user's credentials: a `Keyring`."""

    def find(self, registry: str, repository: str) -> Credential | None:
        """Those for a repository, None where there are none; `WherryError`."""


class BasicWay(NamedTuple):
    """The registry wants the password itself."""


Way = BasicWay | BearerService


class _Proof(NamedTuple):
    """What a request carries, and who that is; `failure` is why there are no credentials."""

    header: str = ""
    token: str = ""
    credential: Credential | None = None
    failure: MachineError | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        known = self.credential.secrets if self.credential else ()
        return (*known, self.token) if self.token else known


class Authorizer:
    """Sends requests to registries with what they ask for; thread-safe.

    `clock` is the wall clock, in seconds. Credentials go over plain HTTP only within this machine
    and to `plain_http_ok`, a set of `host[:port]`.
    """

    def __init__(
        self,
        sender: Sender,
        keyring: Finder,
        clock: Callable[[], float] = time.time,
        plain_http_ok: frozenset[str] = frozenset(),
    ) -> None:
        self._sender = sender
        self._keyring = keyring
        self._clock = clock
        self._plain_http_ok = plain_http_ok
        self._tokens = TokenCache(clock)
        # What each registry wants; written with what is true at any time, so without a lock.
        self._ways: dict[tuple[str, str], Way] = {}

    def send(self, request: Request, scope: Scope) -> Response:
        """The answer to a request that is for `scope`; of any status but 401 and 403.

        A request to another origin than the scope's, and one that was redirected there, proves
        nothing. Raises `Denied` where the user may not, `Refused` and other `NetworkError`s,
        `MachineError` and `UsageError` for stored credentials that cannot be read, `Cancelled`.
        """
        if parse_origin(request.url) != parse_origin(scope.origin):
            return self._let_through(self._sender.send(request), scope, _Proof())
        way = self._ways.get((scope.origin, scope.registry))
        proof = self._prove(way, scope, "") if way is not None else _Proof()
        response = self._sender.send(_carrying(request, proof))
        if response.status != HTTPStatus.UNAUTHORIZED or not _is_from(response, scope):
            return self._let_through(response, scope, proof)
        challenges = parse_challenges(response.headers.get("www-authenticate", ""))
        answer = read_answer(response, proof.secrets)
        way = self._way(challenges, scope, answer)
        again = self._prove(way, scope, proof.token)
        if not again.header:
            raise again.failure or denied(scope, again.credential, answer)
        self._ways[scope.origin, scope.registry] = way
        response = self._sender.send(_carrying(request, again))
        for _ in range(_MOST_ENDED):
            if not (_token_ended(response, scope) and again.token):
                break
            # It ended between the server's giving it and its use: that is no refusal.
            response.close()
            again = self._prove(way, scope, again.token)
            response = self._sender.send(_carrying(request, again))
        return self._let_through(response, scope, again)

    def _let_through(self, response: Response, scope: Scope, proof: _Proof) -> Response:
        if response.status not in _REFUSALS:
            response.secrets = proof.secrets
            return response
        is_from = _is_from(response, scope)
        answer = read_answer(response, proof.secrets)
        if is_from:
            raise proof.failure or denied(scope, proof.credential, answer)
        raise Refused(f"cannot {task(scope)}", answer,
                      hint=f"{scope.registry} sends clients there; try again later")  # fmt: skip

    def _way(self, challenges: tuple[Challenge, ...], scope: Scope, answer: Answered) -> Way:
        """The way that a registry asks for: a token rather than the password."""
        problem: NetworkError | None = None
        for challenge in challenges:
            if challenge.scheme == "bearer":
                try:
                    return self._service(challenge, scope)
                except NetworkError as error:
                    problem = problem or error
        if any(challenge.scheme == "basic" for challenge in challenges):
            return BasicWay()
        if problem is not None:
            raise problem
        if not challenges:
            raise denied(scope, None, answer)
        schemes = printable(", ".join(challenge.scheme for challenge in challenges), most=100)
        raise Refused(f"cannot {task(scope)}", answer, note=f"it asks for a login by {schemes}",
                      hint="wherry can log in by Basic and Bearer")  # fmt: skip

    def _service(self, challenge: Challenge, scope: Scope) -> BearerService:
        what = f"{scope.registry} names a token server that cannot be used"
        realm = challenge.parameter("realm")
        if not realm:
            raise NetworkError(what, why="it gives no realm", hint="the fault is the registry's")
        try:
            there, here = parse_origin(realm), parse_origin(scope.origin)
        except ConnectionFailed as error:
            raise NetworkError(what, why=error.why, hint="the fault is the registry's") from None
        # A registry elsewhere has no business with a server on this machine.
        near = there.is_loopback and (here.is_loopback or self._is_plain_ok(here))
        is_sound = there.scheme == "https" and (near or not there.is_loopback)
        if is_sound or near or there == here or self._is_plain_ok(there):
            return BearerService(realm, challenge.parameter("service"))
        raise NetworkError(
            what,
            why=f"{there.scheme}://{there.name} is "
            + ("on this machine, the registry is not" if there.is_loopback else "not encrypted"),
            hint=_insecure_hint(there),
        )

    def _prove(self, way: Way, scope: Scope, rejected: str) -> _Proof:
        credential, failure = self._find(way, scope)
        if credential is not None:
            self._check_secure(scope.origin, scope)
        if isinstance(way, BasicWay):
            if credential is None or not (credential.password or credential.identity_token):
                return _Proof("", "", credential, failure)
            return _Proof(SecretText(f"Basic {credential.basic()}"), "", credential, failure)
        if credential is not None and credential.registry_token:
            token = credential.registry_token
        else:
            user = credential.username or "<token>" if credential else ""
            wanted = Wanted(way, user, scope)
            token = self._tokens.get(
                wanted, rejected, lambda: self._fetch(way, scope, credential, failure)
            )
        return _Proof(SecretText(f"Bearer {token}"), SecretText(token), credential, failure)

    def _find(self, way: Way, scope: Scope) -> tuple[Credential | None, MachineError | None]:
        try:
            return self._keyring.find(scope.registry, scope.repository), None
        except MachineError as error:
            # As Docker does: a public image needs no credentials. Where it does need them after
            # all, this is the error that is told.
            if isinstance(way, BearerService) and set(scope.actions) == {"pull"}:
                return None, error
            raise

    def _fetch(
        self,
        service: BearerService,
        scope: Scope,
        credential: Credential | None,
        failure: MachineError | None,
    ) -> Token:
        if credential is not None:
            self._check_secure(service.realm, scope)
        response, refusals = None, set(_REFUSALS)
        if credential is not None and credential.identity_token:
            response = self._sender.send(post_request(service, scope, credential))
            refusals.add(HTTPStatus.BAD_REQUEST)  # RFC 6749, 5.2: invalid_grant
            if response.status in _NO_SUCH_FLOW:
                response.close()
                response = None
        if response is None:
            response = self._sender.send(get_request(service, scope, credential))
        if response.status == HTTPStatus.OK:
            return read_token(response, self._clock())
        answer = read_answer(response, credential.secrets if credential else ())
        if scope.mounted_from and answer.status in _REFUSED_WHOLE:
            return self._fetch(service, scope._replace(mounted_from=""), credential, failure)
        if answer.status in refusals:
            raise failure or denied(scope, credential, answer)
        raise Refused(f"cannot {task(scope)}: no token for it", answer)

    def _check_secure(self, url: str, scope: Scope) -> None:
        """Raise unless credentials may go to `url`: encrypted, this machine, or allowed."""
        origin = parse_origin(url)
        if origin.scheme == "https" or origin.is_loopback or self._is_plain_ok(origin):
            return
        raise NetworkError(
            f"the credentials for {scope.registry} are not sent to http://{origin.name}",
            why="it is not encrypted",
            hint=_insecure_hint(origin),
        )

    def _is_plain_ok(self, origin: Origin) -> bool:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        return bool(self._plain_http_ok & {origin.name, f"{host}:{origin.port}"})


def _insecure_hint(origin: Origin) -> str:
    """A project's file may not say who sees passwords, so that it must be the user's."""
    return (
        f'if you trust the network, add "{origin.name}" to `[registry] insecure` in your own '
        "config.toml"
    )


def _is_from(response: Response, scope: Scope) -> bool:
    return parse_origin(response.url) == parse_origin(scope.origin)


def _token_ended(response: Response, scope: Scope) -> bool:
    """Whether the registry calls the token invalid, not insufficient (RFC 6750, section 3.1)."""
    if response.status != HTTPStatus.UNAUTHORIZED or not _is_from(response, scope):
        return False
    challenges = parse_challenges(response.headers.get("www-authenticate", ""))
    return any(challenge.parameter("error") == "invalid_token" for challenge in challenges)


def _carrying(request: Request, proof: _Proof) -> Request:
    if not proof.header:
        return request
    headers = (*request.headers, ("Authorization", proof.header))
    # The token of somebody who did not sign in is no secret.
    return request._replace(headers=headers, confidential=proof.credential is not None)
