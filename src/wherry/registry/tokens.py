# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens, asked of the token server that a registry names.

Two protocols: Docker's token authentication specification (GET with the scopes in the query and
Basic credentials, or none) and its OAuth variant (POST with an identity token). Servers differ in
what they fill in; an answer is read up to 1 MiB and used only if its token can stand in a header.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from wherry.errors import NetworkError
from wherry.registry.credential import Credential
from wherry.registry.model import Scope
from wherry.registry.problems import host_of
from wherry.registry.secret import SecretBytes, SecretText
from wherry.transport.errors import BodyCut, BodyTooLarge
from wherry.transport.model import Request

if TYPE_CHECKING:
    from wherry.transport.http import Response

CLIENT_ID = "wherry"
ANSWER_LIMIT = 1 << 20
# "Token Response Fields": without expires_in a token is good for 60 seconds.
DEFAULT_LIFE = 60.0
_LONGEST_LIFE = 7 * 86400.0
_TOKEN = re.compile(r"[!-~]{1,65536}")


class BearerService(NamedTuple):
    """The token server of a registry, as its challenge names it: URL and service name."""

    realm: str
    service: str


class Token(NamedTuple):
    """A bearer token and how many seconds it is good for, counted from before it was asked for."""

    text: str
    life: float

    def __repr__(self) -> str:
        return f"Token(life={self.life})"


def scopes_of(scope: Scope) -> tuple[str, ...]:
    """The scope strings of Docker's "Token Scope Documentation"; none for a registry as such."""
    if not scope.repository:
        return ()
    wanted = [f"repository:{scope.repository}:{','.join(sorted(set(scope.actions)))}"]
    if scope.mounted_from and scope.mounted_from != scope.repository:
        wanted.append(f"repository:{scope.mounted_from}:pull")
    return tuple(wanted)


def get_request(service: BearerService, scope: Scope, credential: Credential | None) -> Request:
    """The GET flow; anonymous without credentials."""
    parts = urlsplit(service.realm)
    query = parse_qsl(parts.query, keep_blank_values=True)
    query += [("service", service.service)] if service.service else []
    query += [("scope", text) for text in scopes_of(scope)]
    headers: tuple[tuple[str, str], ...] = (("Accept", "application/json"),)
    if credential is not None:
        query += [("account", credential.username)] if credential.username else []
        headers += (("Authorization", SecretText(f"Basic {credential.basic()}")),)
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
    return Request("GET", url, headers, confidential=credential is not None)


def post_request(service: BearerService, scope: Scope, credential: Credential) -> Request:
    """The OAuth flow with an identity token; not redirected, for its body is the secret."""
    form = {
        "grant_type": "refresh_token",
        "service": service.service,
        "client_id": CLIENT_ID,
        "refresh_token": credential.identity_token,
    }
    scopes = scopes_of(scope)
    if scopes:
        form["scope"] = " ".join(scopes)
    headers = (
        ("Accept", "application/json"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    )
    body = SecretBytes(urlencode(form).encode())
    return Request("POST", service.realm, headers, body, follow=False, confidential=True)


def read_token(response: Response, now: float) -> Token:
    """The token in a successful answer, which is closed; `now` is the wall clock.

    Raises `NetworkError` if there is none that could be used.
    """
    with response:
        try:
            answer = json.loads(response.read(ANSWER_LIMIT))
        except BodyTooLarge:
            why = f"its answer is longer than {ANSWER_LIMIT >> 20} MiB"
            raise _useless(response, why) from None
        except BodyCut:
            raise _useless(response, "its answer broke off") from None
        # Not from the decoder's error: it carries the whole answer with it.
        except (ValueError, RecursionError):
            raise _useless(response, "its answer is not JSON") from None
        if not isinstance(answer, dict):
            raise _useless(response, "its answer is no JSON object")
        # `token` is Docker's name, `access_token` OAuth's; both are the same where both are there.
        text = answer.get("token") or answer.get("access_token")
        if not isinstance(text, str):
            raise _useless(response, "its answer holds no token")
        if not _TOKEN.fullmatch(text):
            raise _useless(response, "its token cannot stand in a header")
        return Token(SecretText(text), _life(answer, response.headers, now))


def _useless(response: Response, why: str) -> NetworkError:
    return NetworkError(
        f"the token server {host_of(response.url)} gives no usable token",
        why=why,
        hint="try again later; the fault is the server's",
    )


def _life(answer: Mapping[str, object], headers: Mapping[str, str], now: float) -> float:
    """How long a token is good for yet: `expires_in` from `issued_at` on, by the server's clock."""
    life = _seconds(answer.get("expires_in"))
    issued = _instant(answer.get("issued_at"))
    if issued is None:
        return life
    age = _date(headers.get("date", ""), now) - issued
    # Anything else tells of clocks that differ, not of an old token.
    return life - age if 0 < age < life else life


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return DEFAULT_LIFE
    if not value > 0:
        return DEFAULT_LIFE
    return _LONGEST_LIFE if value > _LONGEST_LIFE or math.isinf(value) else float(value)


def _instant(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value[:64])
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _date(header: str, default: float) -> float:
    try:
        return parsedate_to_datetime(header[:64]).timestamp()
    except (ValueError, OverflowError):
        return default
