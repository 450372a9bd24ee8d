# SPDX-License-Identifier: Apache-2.0
"""Whether a file whose name says that it holds secrets does: `.env`, kubectl's configuration.

No value leaves this module.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import TYPE_CHECKING, Final

from wherry.advice.reading.file_contents import read_file

if TYPE_CHECKING:
    from wherry.advice.context import Context

_MOST_BYTES: Final = 1 << 16
_SETTING: Final = re.compile(
    r"^[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*[=:][ \t]*[\"']?([^\s\"'#][^\n]*)?", re.MULTILINE
)
# Names that bundlers write into what browsers get.
_PUBLIC: Final = re.compile(
    r"(?:VITE|EXPO_PUBLIC|REACT_APP|NEXT_PUBLIC|NUXT_PUBLIC|PUBLIC|VUE_APP|GATSBY)_"
)
_PRIVATE: Final = re.compile(
    r"pass|pwd|secret|token|key|cred|auth|dsn|salt|private|cert|ur[il](?:_|\Z)|conn|cookie|session|"
    r"webhook|jwt|hash",
    re.IGNORECASE,
)
_WITH_PASSWORD: Final = re.compile(r"[^\s/:@]+:[^\s/@]+@")
# Those of samples name servers, and users with made up tokens.
_LETS_IN: Final = re.compile(
    r"(?:client-key|token|password|exec|auth-provider|client-key-data):[ \t]*[\"']?"
    r"(?:[^\s\"']{16}|\n|/)"
)


def is_harmless(context: Context, path: str) -> bool:
    """Whether a file of the build context can be read and holds no secret, whatever its name says.

    A file that is not there, or is of another kind, may hold anything.
    """
    name = posixpath.basename(path)
    if not name.startswith(".env") and name != "kubeconfig":
        return False
    data = read_file(os.path.join(context.directory, path), _MOST_BYTES)
    if data is None:
        return False
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    if name == "kubeconfig":
        return "clusters:" in text and _LETS_IN.search(text) is None
    settings = [(found[1], found[2] or "") for found in _SETTING.finditer(text)]
    return bool(settings) and not any(_is_private(*setting) for setting in settings)


def _is_private(name: str, value: str) -> bool:
    if not value.strip() or _PUBLIC.match(name):
        return False
    return _PRIVATE.search(name) is not None or _WITH_PASSWORD.search(value) is not None
