# SPDX-License-Identifier: Apache-2.0
"""A digest of the data that composed bases are made from, the same on every machine that has it."""

from __future__ import annotations

import hashlib
import os

from wherry.bases.static import bundle_path, package_directory, static_data_versions


def base_data_digest() -> str:
    """One text for the CA bundle, the time zones and their versions, by content, as hex.

    Reads some six hundred small files. Raises `MachineError` where they cannot be found.
    """
    hasher = hashlib.sha256(repr(static_data_versions()).encode())
    zones = os.path.join(package_directory("tzdata"), "zoneinfo")
    files = [("", bundle_path())]
    for at, _, names in os.walk(zones):
        paths = (os.path.join(at, name) for name in names if not name.endswith((".py", ".pyc")))
        files += [(os.path.relpath(path, zones), path) for path in paths]
    for name, path in sorted(files):
        with open(path, "rb") as file:
            data = file.read()
        hasher.update(f"{name}\0{len(data)}\0".encode())
        hasher.update(data)
    return hasher.hexdigest()
