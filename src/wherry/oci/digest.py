# SPDX-License-Identifier: Apache-2.0
"""Content digests (OCI image specification, descriptor.md, "Digests").

wherry writes sha256 only; reading accepts the registered algorithms.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from wherry.errors import UsageError

_LENGTHS = {"sha256": 64, "sha512": 128}
_FORM = re.compile(r"([a-z0-9]+(?:[.+_-][a-z0-9]+)*):([0-9a-f]+)")


class Digest(NamedTuple):
    """`algorithm:hex` of exact bytes."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def short(self) -> str:
        """Twelve digits, for people."""
        return self.hex[:12]


def sha256(data: bytes) -> Digest:
    """The sha256 digest of `data`."""
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def parse_digest(text: str) -> Digest:
    """Parse `algorithm:hex`; raises `UsageError` for an unknown algorithm or a wrong length."""
    match = _FORM.fullmatch(text)
    if match is None or _LENGTHS.get(match[1]) != len(match[2]):
        raise UsageError(f"not a digest: {text!r}", hint="write it as sha256: and 64 hex digits")
    return Digest(match[1], match[2])
