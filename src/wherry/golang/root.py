# SPDX-License-Identifier: Apache-2.0
"""Where a module begins. Alone here, as verbs that build nothing ask for it too."""

from __future__ import annotations

import os


def module_root(directory: str) -> str:
    """The nearest directory at or above with a go.mod; empty where there is none."""
    while not os.path.isfile(os.path.join(directory, "go.mod")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return ""
        directory = parent
    return directory
