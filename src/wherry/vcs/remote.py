# SPDX-License-Identifier: Apache-2.0
"""A remote's URL as it may be published: no credentials, no paths of this machine."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

# `git@example.com:team/repo`, git's short form of an ssh URL; an @ behind the colon could end a
# password, and is not published.
_SHORT = re.compile(r"(?:([^@:/\s]+)@)?([^@:/\s]+):(?!//)([^@\s]+)")
_WEB = ("http", "https")
_SHELL = ("ssh", "git+ssh", "git")


def public_url(url: str) -> str:
    """`url` without passwords, tokens, query and fragment; empty where others cannot use it.

    Over ssh the user's name stays, for without it the URL does not work; over http it goes, for a
    token may stand there. Directories and unknown transports give the empty string.
    """
    if "://" not in url:
        short = _SHORT.fullmatch(url)
        if short is None:
            return ""
        user = f"{short[1]}@" if short[1] else ""
        return f"ssh://{user}{short[2]}/{short[3].lstrip('/')}"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return ""
    scheme = parts.scheme.lower()
    if not host or scheme not in _WEB + _SHELL:
        return ""
    if ":" in host:
        host = f"[{host}]"
    user = f"{parts.username}@" if parts.username and scheme not in _WEB else ""
    return urlunsplit((scheme, f"{user}{host}{port}", parts.path, "", ""))
