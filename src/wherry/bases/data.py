# SPDX-License-Identifier: Apache-2.0
"""Which files tell that the data of a composed base changed."""

from __future__ import annotations

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
