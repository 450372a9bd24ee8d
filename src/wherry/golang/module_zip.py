# SPDX-License-Identifier: Apache-2.0
"""The hash of a module's zip, as go.sum has it.

A zip can be written so that one reader finds other files in it than the next. Only plain ones have
a hash here: those of which every reader sees the same. Source: the documentation of
golang.org/x/mod/zip.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib

from wherry.golang.go_sum import hash_files

# What Go unpacks at most, for one module (golang.org/x/mod/zip, MaxZipFile).
_MOST_BYTES = 500 << 20
_MOST_FILES = 500_000
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_IS_UTF8, _IS_ENCRYPTED = 0x800, 0x1


def hash_zip(path: str, module: str) -> str:
    """The hash that go.sum has for `PATH@VERSION` with this zip; empty for what is no such zip.

    Only plain zips count: every reader has to see the same files in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if not _is_plain(archive, entries, f"{module}/"):
                return ""
            return hash_files((entry.filename, _digest(archive, entry)) for entry in entries)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, zlib.error):
        return ""


def _is_plain(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], prefix: str) -> bool:
    names = {entry.filename for entry in entries}
    return (
        len(entries) <= _MOST_FILES
        and len(names) == len(entries)
        and not archive.comment
        and sum(entry.file_size for entry in entries) <= _MOST_BYTES
        and all(
            entry.filename == entry.orig_filename
            and entry.filename.startswith(prefix)
            and entry.compress_type in _PLAIN
            and not entry.flag_bits & _IS_ENCRYPTED
            and (entry.filename.isascii() or bool(entry.flag_bits & _IS_UTF8))
            for entry in entries
        )
    )


def _digest(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    hasher = hashlib.sha256()
    with archive.open(entry) as file:
        while data := file.read(1 << 20):
            hasher.update(data)
    return hasher.hexdigest()
