# SPDX-License-Identifier: Apache-2.0
"""What a downloaded file is called: by the user, by the server, by its URL; always one name."""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import unquote, urlsplit

_UNNAMED: Final = "__unnamed__"
_DOWNLOAD: Final = "download"


def name_in_url(url: str) -> str:
    """The last part of a URL's path, `__unnamed__` where there is none: what ADD calls the file."""
    try:
        path = unquote(urlsplit(url).path, errors="surrogateescape")
    except ValueError:
        path = ""
    name = posixpath.basename(path.rstrip("/"))
    return name if name not in ("", ".") else _UNNAMED


def safe_name(name: str) -> str:
    """`name` as one component that can be a file's; else `download`, as BuildKit has it."""
    name = posixpath.basename(name.strip().rstrip("/"))
    if name in ("", ".", "..") or re.search(r"[\x00-\x1f\x7f-\x9f]", name):
        return _DOWNLOAD
    return name


def given_name(disposition: str) -> str:
    """The file name of a Content-Disposition header (RFC 6266), or nothing."""
    if not disposition:
        return ""
    from email.message import Message  # noqa: PLC0415 - rarely needed

    message = Message()
    try:
        message["Content-Disposition"] = disposition
        name = message.get_filename("")
    except (ValueError, LookupError):
        return ""
    return "" if name.endswith("/") else name
