# SPDX-License-Identifier: Apache-2.0
"""Which go.work counts in a directory, as Go finds it (Go Modules Reference, "Workspaces")."""

from __future__ import annotations

import os

from wherry.golang.settings_file import GoSettings


def find_workspace(directory: str, settings: GoSettings) -> str | None:
    """The first go.work in `directory` or above; empty where none is.

    None where GOWORK turns the search off or names a file.
    """
    if settings.value("GOWORK") not in ("", "auto"):
        return None
    path = directory
    while True:
        file = os.path.join(path, "go.work")
        if os.path.lexists(file):
            return file
        parent = os.path.dirname(path)
        if parent == path:
            return ""
        path = parent
