# SPDX-License-Identifier: Apache-2.0
"""Where the command was called. On the no-change path: only os is imported."""

from __future__ import annotations

import os

from wherry.errors import UsageError


def working_directory() -> str:
    """The directory as the user's shell writes it: go looks for go.work along that path."""
    try:
        real = os.getcwd()
    except OSError as error:
        raise UsageError("the current directory is gone", hint="change to another one") from error
    logical = os.environ.get("PWD", "")
    try:
        if os.path.isabs(logical) and os.path.samefile(logical, real):
            return logical
    except OSError:
        return real
    return real
