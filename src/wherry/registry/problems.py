# SPDX-License-Identifier: Apache-2.0
"""What a server says when it refuses, as an error for people.

Registries answer with the JSON of the distribution specification 1.1, "Error Codes"; token servers
with OAuth's (RFC 6749, section 5.2) or something of their own. The words come from elsewhere: they
are cut to a bounded length, control characters and whatever looks like a secret are taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_plus, urlsplit

from wherry.errors import NetworkError

if TYPE_CHECKING:
    from wherry.transport.http import Response

BODY_LIMIT = 64 << 10
_MOST_PROBLEMS = 5
_MOST_LETTERS = 300
_TOO_MANY = "TOOMANYREQUESTS"
# Greedy up to the last @ before the path: a password may itself hold one.
_USER_INFO = re.compile(r"(?<=://)[^/?#\s\"'<>]+@")
_QUERY = re.compile(r"(?<=://)([^?\s\"'<>]+)\?[^\s\"'<>]+")
_PAIRS = re.compile(r"\?[^\s\"'<>=]*=[^\s\"'<>]*")
_HEADER = re.compile(r"(?i)\b(bearer|basic)([\s:=]+)[\w.~+/=-]{8,}")
_JWT = re.compile(r"\beyJ[\w-]{4,}\.[\w.=-]+")
# Parameters of registries and token servers that anybody may see; others may be signatures.
_PLAIN_PARAMETERS = frozenset(
    {"account", "artifactType", "digest", "from", "last", "mount", "n", "scope", "service"}
)
_SHORTEST_SIGNATURE = 8
_LIMIT = re.compile(r"(\d{1,12})(?:;w=(\d{1,12}))?")


class Problem(NamedTuple):
    """One error of an answer; either part may be empty."""

    code: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


class Refused(NetworkError):
    """A server answered, and with an error: its HTTP `status` and the `codes` it gave."""

    def __init__(self, what: str, answer: Answered, *, hint: str = "", note: str = "") -> None:
        why = "\n".join(line for line in (note, answer.why) if line)
        super().__init__(what, why=why, hint=hint or _hint(answer))
        self.status = answer.status
        self.codes = tuple(problem.code for problem in answer.problems)


class Answered(NamedTuple):
    """An error answer, read: who said it, and what. `limit` tells about rates, and may be empty."""

    host: str
    status: int
    problems: tuple[Problem, ...]
    limit: str = ""

    @property
    def why(self) -> str:
        """The server's words in one or two lines."""
        line = f"{self.host} answers {self.status}{_phrase(self.status)}"
        words = "; ".join(str(problem) for problem in self.problems)
        said = f"{line}: {words}" if words else line
        return f"{said}\n{self.limit}" if self.limit else said


def refused(what: str, response: Response, *, hint: str = "") -> Refused:
    """The error for an answer that is none of those hoped for; closes `response`.

    `what` says in one line what failed: `cannot push a blob to localhost:5000/app`. At most 64 KiB
    of the body are read. Without `hint` the status gives one.
    """
    return Refused(what, read_answer(response, response.secrets), hint=hint)


def read_answer(response: Response, secrets: tuple[str, ...] = ()) -> Answered:
    """Read an error answer and close it.

    `secrets` and the signatures in its URL are taken out of its words.
    """
    secrets = (*secrets, *_signatures(response.url))
    with response:
        data = _beginning(response)
        return Answered(
            host_of(response.url),
            response.status,
            _problems(data, response.headers, secrets),
            _limit(response.status, response.headers),
        )


def printable(text: str, secrets: tuple[str, ...] = (), most: int = _MOST_LETTERS) -> str:
    """Foreign words in one line of at most `most` letters, without anything secret."""
    for secret in secrets:
        if len(secret) > 2:
            text = text.replace(secret, "xxxxx")
    # Short enough to search quickly, and ending with a whole word: half of a secret may not look
    # like one.
    if len(text) > 4 * most:
        text = text[: 4 * most].rsplit(None, 1)[0]
    text = _USER_INFO.sub("xxxxx@", text)
    text = _QUERY.sub(r"\1?xxxxx", text)
    text = _PAIRS.sub("?xxxxx", text)
    text = _HEADER.sub(r"\1\2xxxxx", text)
    text = _JWT.sub("xxxxx", text)
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def host_of(url: str) -> str:
    """`host[:port]` of a URL, without user and password; `the server` where there is none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "the server"
    except ValueError:
        return "the server"


def _signatures(url: str) -> tuple[str, ...]:
    """What in a URL's query may stand for a right, longest first."""
    found: set[str] = set()
    for pair in urlsplit(url).query.split("&"):
        name, equals, value = pair.partition("=")
        if name not in _PLAIN_PARAMETERS:
            value = value if equals else name
            found |= {value, unquote_plus(value)}
    kept = (text for text in found if len(text) >= _SHORTEST_SIGNATURE)
    return tuple(sorted(kept, key=len, reverse=True))


def _beginning(response: Response) -> bytes:
    buffer = bytearray(BODY_LIMIT)
    view = memoryview(buffer)
    length = 0
    try:
        while length < BODY_LIMIT:
            count = response.readinto(view[length:])
            if not count:
                break
            length += count
    except NetworkError:
        # The status alone says enough; a body that breaks off must not hide it.
        pass
    return bytes(buffer[:length])


def _problems(
    data: bytes, headers: Mapping[str, str], secrets: tuple[str, ...]
) -> tuple[Problem, ...]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        if not headers.get("content-type", "").startswith("text/plain"):
            return ()
        lines = data.decode("utf-8", "replace").strip().splitlines()
        return (Problem("", printable(lines[0], secrets)),) if lines else ()
    if not isinstance(found, dict):
        return ()
    errors = found.get("errors")
    entries = errors if isinstance(errors, list) else [found]
    problems = (_problem(entry, secrets) for entry in entries[:_MOST_PROBLEMS])
    return tuple(problem for problem in problems if any(problem))


def _problem(entry: object, secrets: tuple[str, ...]) -> Problem:
    if not isinstance(entry, dict):
        return Problem("", "")

    def text(*names: str) -> str:
        values = (entry.get(name) for name in names)
        found = next((value for value in values if isinstance(value, str) and value), "")
        return printable(found, secrets)

    code = text("code", "error")
    message = text("message", "error_description", "details", "detail")
    detail = text("detail")
    if detail and detail != message:
        message = f"{message} ({detail})"
    return Problem(code, message)


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase.lower()})"
    except ValueError:
        return ""


def _limit(status: int, headers: Mapping[str, str]) -> str:
    """What an answer says about rates: Retry-After (RFC 9110, 10.2.3) and Docker Hub's headers."""
    if status != HTTPStatus.TOO_MANY_REQUESTS:
        return ""
    parts = []
    allowed = _LIMIT.match(headers.get("ratelimit-limit", ""))
    if allowed:
        span = f" in {_span(int(allowed[2]))}" if allowed[2] else ""
        parts.append(f"it allows {allowed[1]} requests{span}")
    after = printable(headers.get("retry-after", ""), most=40)
    if after:
        is_number = after.isascii() and after.isdigit() and len(after) < 9
        parts.append(f"it says to wait {_span(int(after)) if is_number else f'until {after}'}")
    return "; ".join(parts)


def _span(seconds: int) -> str:
    if seconds >= 7200:
        return f"{seconds // 3600} h"
    return f"{seconds // 60} min" if seconds >= 120 else f"{seconds} s"


def _hint(answer: Answered) -> str:
    codes = {problem.code for problem in answer.problems}
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or _TOO_MANY in codes:
        if answer.host.endswith("docker.io"):
            return "wait, or `wherry login docker.io`: Docker Hub allows users who log in more"
        return f"wait, or `wherry login {answer.host}` if it allows users who log in more"
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"`wherry login {answer.host}` as a user who may"
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "try again later; the fault is the server's"
    return ""
