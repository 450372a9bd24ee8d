# SPDX-License-Identifier: Apache-2.0
"""The lines of go.sum, and Go's hash of a module's files.

A line gives a module's hash `h1:…`: the sha256 of a list of its files with their own sha256.
Sources: the Go Modules Reference, section "go.sum files", and the documentation of
golang.org/x/mod/sumdb/dirhash (Hash1).
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable

_H1 = re.compile(r"h1:[A-Za-z0-9+/]{43}=")
_LINE_WORDS = 3


def read_sums(texts: Iterable[str]) -> dict[tuple[str, str], frozenset[str]]:
    """The hashes by (path, version) of the texts of go.sum and go.work.sum together.

    A version that ends in `/go.mod` stands for the go.mod alone.
    """
    found: dict[tuple[str, str], set[str]] = {}
    for text in texts:
        for line in text.splitlines():
            words = line.split()
            if len(words) == _LINE_WORDS and _H1.fullmatch(words[2]):
                found.setdefault((words[0], words[1]), set()).add(words[2])
    return {module: frozenset(sums) for module, sums in found.items()}


def hash_files(digests: Iterable[tuple[str, str]]) -> str:
    """Go's Hash1 of files: pairs of a name and the sha256 of its content as hex.

    Raises `ValueError` for a name with a newline in it, as Go refuses it: such a name could say
    what other files say together.
    """
    hasher = hashlib.sha256()
    for name, digest in sorted((os.fsencode(name), digest) for name, digest in digests):
        if b"\n" in name:
            raise ValueError("a file's name has a newline in it")
        hasher.update(digest.encode("ascii") + b"  " + name + b"\n")
    return "h1:" + base64.b64encode(hasher.digest()).decode("ascii")
