# SPDX-License-Identifier: Apache-2.0
"""Modules' paths and versions in file names and URLs.

Upper case is escaped (`!x` for `X`), so that they are the same where case is ignored. Source: the
Go Modules Reference, section "GOPROXY protocol".
"""

from __future__ import annotations

import re


def escape(text: str) -> str:
    """A module's path or version as part of a file name or URL."""
    return re.sub("[A-Z]", lambda match: f"!{match[0].lower()}", text)


def unescape(name: str) -> str:
    """The path or version that `escape` made a name of."""
    return re.sub("!([a-z])", lambda match: match[1].upper(), name)
