# SPDX-License-Identifier: Apache-2.0
"""The WWW-Authenticate header (RFC 9110, sections 11.3, 11.4 and 11.6.1), as registries send it.

Several challenges may share one header, parameters are separated by the same commas as the
challenges. What cannot be read is passed over: a server that sends rubbish gets no credentials.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEADER_LIMIT = 64 << 10
_SEPARATORS = re.compile(r"[ \t\r\n,]*+")
_SPACES = re.compile(r"[ \t]*+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]++")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]++=*+[ \t]*+(?=,|$)")
_EQUALS = re.compile(r"[ \t]*+=[ \t]*+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# RFC 9110 wants tokens and quoted strings; some servers leave a URL unquoted.
_UNQUOTED = re.compile(r"[^ \t\r\n,\"]++")
_REST = re.compile(r"[^,]*+")


class Challenge(NamedTuple):
    """One way to authenticate: the scheme and the parameters' names in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...]

    def parameter(self, name: str) -> str:
        """The first value given for `name`, or the empty string."""
        return next((value for key, value in self.parameters if key == name), "")


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a header, in order; never raises, in time linear in the header's length.

    Only the first 64 KiB are read. A string that does not end ends the header.
    """
    return tuple(
        Challenge(scheme, tuple(parameters)) for scheme, parameters in _scan(header[:HEADER_LIMIT])
    )


def _scan(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    found: list[tuple[str, list[tuple[str, str]]]] = []
    at = _end(_SEPARATORS, text, 0)
    while at < len(text):
        word = _TOKEN.match(text, at)
        equals = _EQUALS.match(text, word.end()) if word else None
        if word is None:
            at = _end(_REST, text, at)
        elif equals is None:
            found.append((word[0].lower(), []))
            at = _after_scheme(text, word.end())
        else:
            value, at = _value(text, equals.end())
            if value is None:
                break
            if found:
                found[-1][1].append((word[0].lower(), value))
        at = _end(_SEPARATORS, text, at)
    return found


def _after_scheme(text: str, at: int) -> int:
    """Pass over a scheme's token68, such as Negotiate has."""
    start = _end(_SPACES, text, at)
    return _end(_TOKEN68, text, start) if start > at else at


def _value(text: str, at: int) -> tuple[str | None, int]:
    """A parameter's value and where it ends; None where its string never ends."""
    if text.startswith('"', at):
        quoted = _QUOTED.match(text, at)
        if quoted is None:
            return None, len(text)
        return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    plain = _UNQUOTED.match(text, at)
    return (plain[0], plain.end()) if plain else ("", at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
