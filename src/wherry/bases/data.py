# SPDX-License-Identifier: Apache-2.0
"""Which files tell that the data of a composed base changed, and one text for all of them."""

from __future__ import annotations

import hashlib
import os

from wherry.bases.static import bundle_path, package_directory


def data_files() -> tuple[str, ...]:
    """Absolute paths whose signatures change when the data packages do."""
    tzdata = package_directory("tzdata")
    return (
        bundle_path(),
        os.path.join(package_directory("certifi"), "__init__.py"),
        os.path.join(tzdata, "__init__.py"),
        os.path.join(tzdata, "zoneinfo"),
        os.path.join(tzdata, "zoneinfo", "tzdata.zi"),
    )


def data_signature() -> str:
    """One text that changes with any file that the base is composed from, or that composes it.

    By size, change time and inode, as a build record compares the module cache: reading six hundred
    files would cost more than all the rest of an incremental build's own work.
    """
    hasher = hashlib.sha256()
    here = os.path.dirname(os.path.abspath(__file__))
    zones = os.path.join(package_directory("tzdata"), "zoneinfo")
    for directory in (here, *(path for path, _, _ in os.walk(zones))):
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_file():
                    _note(hasher, entry.path, entry.stat())
    for path in data_files():
        _note(hasher, path, os.stat(path))
    return hasher.hexdigest()


def _note(hasher: hashlib._Hash, path: str, status: os.stat_result) -> None:
    text = f"{path}\0{status.st_size}:{status.st_ctime_ns}:{status.st_ino}\n"
    hasher.update(os.fsencode(text))
