# SPDX-License-Identifier: Apache-2.0
"""git for tests, without anybody's configuration and at a fixed time."""

import os
import subprocess
from pathlib import Path

# The author's time differs from the committer's, so that a test sees which one is read.
ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "C",
    "GIT_COMMITTER_EMAIL": "c@example.com",
    "GIT_AUTHOR_DATE": "2001-01-01T00:00:00+0000",
    "GIT_COMMITTER_DATE": "2026-01-02T05:04:05+0200",
}


def git(directory: Path, *arguments: str) -> str:
    shown = subprocess.run(
        ["git", *arguments], cwd=directory, env=ENV, capture_output=True, text=True, check=True
    )
    return shown.stdout.strip()
