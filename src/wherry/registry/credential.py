# SPDX-License-Identifier: Apache-2.0
"""Who a user is to a registry: a value that does not show its secrets."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus


@dataclass(frozen=True, slots=True)
class Credential:
    """A user's credentials for one registry, in one or several of three forms.

    `username` and `password`; an `identity_token`, which a token server takes instead of them
    (OAuth's refresh token); a `registry_token`, which the registry itself takes as a bearer token.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def usable(self) -> bool:
        """Whether there is anything in it to log in with."""
        return bool(self.password or self.identity_token or self.registry_token)

    @property
    def secrets(self) -> tuple[str, ...]:
        """All that must not be shown, also in the forms it is sent in; longest first."""
        plain = (self.password, self.identity_token, self.registry_token)
        found = {form(text) for text in filter(None, plain) for form in (str, _quoted, quote_plus)}
        if self.password or self.identity_token:
            found.add(self.basic())
        return tuple(sorted(found, key=len, reverse=True))

    def basic(self) -> str:
        """The credentials of HTTP's Basic scheme (RFC 7617), in UTF-8, without the scheme's name.

        Where there is an identity token and no password, the token takes its place.
        """
        secret = self.password or self.identity_token
        username = self.username or ("<token>" if not self.password else "")
        return base64.b64encode(f"{username}:{secret}".encode("utf-8", "replace")).decode()


def _quoted(text: str) -> str:
    return quote(text, safe="")
