# SPDX-License-Identifier: Apache-2.0
"""Keys, tokens and passwords in a text: where they stand, and the text without them.

A report is read by more people than the Dockerfile is (logs of CI, notes of a pull request), so
none of them shows a value that looks secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from wherry.frontends.dockerfile.advice import is_secret


class Secret(NamedTuple):
    """What it is, in words; where it begins and ends in the text."""

    what: str
    start: int
    end: int


_PRIVATE_KEY: Final = "a private key"
# What it is, and how it looks; `value` is the part that is secret, where it is not all.
_SECRETS: Final = tuple(
    (what, re.compile(pattern))
    for what, pattern in (
        ("an access key of AWS", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})\b"),
        ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
        ("a Slack token", r"\bxox[abprs]-[0-9]{8,}-[0-9A-Za-z-]{16,}"),
        ("an npm token", r"\bnpm_[A-Za-z0-9]{36}\b"),
        ("a Docker Hub token", r"\bdckr_pat_[A-Za-z0-9_-]{27}"),
        ("a Stripe key", r"\bsk_live_[0-9A-Za-z]{24,}"),
        (_PRIVATE_KEY, r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"
                        r"(?:[\s\"'\\]|(?<=\\)[nr])*[A-Za-z0-9+/]{16}"),
        ("a token in an address", r"https?://(?P<value>[0-9a-f]{40})(?::x-oauth-basic)?@"),
        ("a password in an address",
         r"https?://[^\s/:@'\"$`<>{*(]+:(?P<value>[^\s/:@'\"$`<>{*()]+)@(?=[A-Za-z0-9\[])"),
        ("a password of .netrc",
         r"\bmachine(?:\s|\\n)+[^\s\\]+(?:\s|\\n)+login(?:\s|\\n)+[^\s\\]+(?:\s|\\n)+password"
         r"(?:\s|\\n)+(?P<value>[^\s'\"\\$`<>{]{6,})(?=[\s'\"\\]|\Z)"),
    )
)  # fmt: skip
# What stands in examples, and for values that come later.
_PLACEHOLDER: Final = re.compile(
    r"example|change|your|placeholder|redacted|dummy|fake|test|token|secret|passw|oauth|user|admin"
    r"|\bpass\b|x{4}|\*|0{6}|1234",
    re.IGNORECASE,
)
# The rest of a key, of which `_SECRETS` asks for the begin only.
_KEY_BODY: Final = re.compile(r"[\s\"'\\A-Za-z0-9+/=]*")
# A value with a variable in it is none yet.
_VALUE: Final = (
    r"\"(?P<double>[^\"\n$]+)\"|'(?P<single>[^'\n]+)'"
    r"|(?P<bare>[^\s\"'$;&|]+)(?=[\s\"';&|]|\Z)"
)
_GIVEN: Final = re.compile(rf"(?<![\w$])(?P<name>[A-Za-z_]\w*)=(?:{_VALUE})")
_OLD_FORM: Final = re.compile(
    r"^[ \t]*ENV[ \t]+(?P<name>[A-Za-z_]\w*)[ \t]+(?P<bare>[^\n$=]+)$", re.MULTILINE | re.IGNORECASE
)


def secrets_in(text: str) -> Iterator[Secret]:
    """What looks like a secret by its form, whatever it is called; none twice."""
    taken = bytearray(len(text))
    for what, pattern in _SECRETS:
        for match in pattern.finditer(text):
            group: str | int = "value" if "value" in pattern.groupindex else 0
            start, end = match.span(group)
            value = match[group]
            if "PRIVATE" not in value and (_PLACEHOLDER.search(value) or len(set(value)) < 4):
                continue
            if any(taken[start:end]):
                continue
            taken[start:end] = b"\1" * (end - start)
            yield Secret(what, start, end)


def hidden(text: str) -> str:
    """The text with a star for each letter of a secret: by its form, or by the variable's name."""
    spans = [(found.start, _end(text, found)) for found in secrets_in(text)]
    for pattern in (_GIVEN, _OLD_FORM):
        for match in pattern.finditer(text):
            if is_secret(match["name"]):
                spans += [match.span(name) for name in pattern.groupindex
                          if name != "name" and match[name] is not None]  # fmt: skip
    if not spans:
        return text
    letters = list(text)
    for start, end in spans:
        letters[start:end] = (letter if letter.isspace() else "*" for letter in text[start:end])
    return "".join(letters)


def _end(text: str, found: Secret) -> int:
    if found.what != _PRIVATE_KEY:
        return found.end
    rest = _KEY_BODY.match(text, found.end)
    return rest.end() if rest else found.end
