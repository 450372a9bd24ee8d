# SPDX-License-Identifier: Apache-2.0
"""What `wherry doctor` says about the way to Go modules: GOPROXY, entry by entry.

Of each proxy one list of versions is asked for, without credentials. Hosts and statuses are told,
never a URL: it may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from wherry.api.checks import Check, State
from wherry.api.limited import within
from wherry.errors import WherryError
from wherry.golang.module_paths import escape
from wherry.process.cancel import CancelToken
from wherry.transport.http import Transport
from wherry.transport.model import HostOptions, Request, TransportOptions

_SECONDS: Final = 5.0
_MOST: Final = 4
_NAME: Final = "Go module proxy"
_USUAL_MODULE: Final = "golang.org/x/text"
_REACH: Final = "check the network, HTTPS_PROXY and: go env GOPROXY"
_GOES_ON: Final = "builds whose modules are in the module cache go on without it"


class _Answer(NamedTuple):
    """What became of one entry."""

    state: State
    text: str
    remedy: str = ""


def proxy_check(
    goproxy: str,
    module: str,
    env: Mapping[str, str],
    logins: frozenset[str],
    cancel: CancelToken,
    reset: str = "",
) -> Check:
    """The entries of GOPROXY, each asked for `module` (a path, empty for a well-known one).

    `logins` are the hosts that the user's netrc has a login for; `reset` is the command after
    which GOPROXY is Go's own, empty where it is.
    """
    entries = [entry.strip() for entry in re.split("[,|]", goproxy) if entry.strip()]
    if not entries or entries == ["off"]:
        return Check(_NAME, State.LIMITED, "GOPROXY=off: Go downloads no modules", (_GOES_ON,),
                     f"for Go's own proxy: {reset or 'unset GOPROXY'}")  # fmt: skip
    # Nothing behind these two is ever asked.
    ends = [number for number, entry in enumerate(entries) if entry in ("direct", "off")]
    entries = entries[: min([*ends, _MOST]) + 1]
    path = module or _USUAL_MODULE
    with ThreadPoolExecutor(len(entries)) as threads:
        answers = tuple(threads.map(lambda entry: _ask(entry, path, env, logins, cancel), entries))
    first = answers[0]
    worst = State.LIMITED if first.state is not State.OK else State.OK
    remedies = dict.fromkeys(answer.remedy for answer in answers if answer.remedy)
    if worst is not State.OK and reset:
        remedies[f"or for Go's own proxy: {reset}"] = None
    details = [answer.text for answer in answers[1:]]
    if worst is not State.OK:
        details.append(_GOES_ON)
    return Check(_NAME, worst, first.text, tuple(details), "; ".join(remedies))


def _ask(
    entry: str, module: str, env: Mapping[str, str], logins: frozenset[str], cancel: CancelToken
) -> _Answer:
    if entry == "direct":
        return _Answer(State.OK, "direct: modules from their own repositories, by git")
    if entry == "off":
        return _Answer(State.OK, "off: nothing else is asked")
    if entry.startswith("file://"):
        return _Answer(State.OK, "a directory of this machine")
    try:
        parts = urlsplit(entry)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if not host or parts.scheme not in ("http", "https"):
        return _Answer(State.MISSING, "an entry of GOPROXY is no URL", "check: go env GOPROXY")
    place = f"[{host}]" if ":" in host else host
    place = place if port is None else f"{place}:{port}"
    path = f"{parts.path.rstrip('/')}/{quote(escape(module), safe='/!~')}/@v/list"
    url = f"{parts.scheme}://{place}{path}"
    try:
        status = within(_SECONDS, cancel, lambda token: _status(url, place, env, token))
    except WherryError as error:
        told = error.what if place in error.what else f"{place}: {error.what}"
        return _Answer(State.MISSING, told, error.hint or _REACH)
    if status is None:
        return _Answer(State.MISSING, f"{place}: no answer within {_SECONDS:.0f} seconds", _REACH)
    has_login = bool(parts.username) or host in logins
    return _judged(place, status, has_login=has_login)


def _judged(place: str, status: int, *, has_login: bool) -> _Answer:
    if status in (401, 403) and has_login:
        return _Answer(State.OK, f"{place} answers, and wants the login that Go will send")
    if status in (401, 403, 407):
        remedy = f"give Go a login for {place} in ~/.netrc: machine HOST login USER password TOKEN"
        return _Answer(State.LIMITED, f"{place} wants a login ({status})", remedy)
    # A proxy that has no such module, or takes it for none, says so, and is one that works.
    if status >= 400 and status not in (400, 404, 410):
        return _Answer(State.LIMITED, f"{place} answers with an error ({status})", _REACH)
    return _Answer(State.OK, f"{place} answers")


def _status(url: str, place: str, env: Mapping[str, str], token: CancelToken) -> int:
    options = TransportOptions(
        env=env,
        hosts={place: HostOptions(plain_http=True)},
        connect_timeout=_SECONDS,
        read_timeout=_SECONDS,
        retries=0,
    )
    with Transport(options, token) as transport:
        response = transport.send(Request("GET", url, retry=False))
        with response:
            return response.status
