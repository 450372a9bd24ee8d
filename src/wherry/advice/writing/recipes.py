# SPDX-License-Identifier: Apache-2.0
"""Recipes for CI: those of the documentation for the image of a Dockerfile, with the tests."""

from __future__ import annotations

import os
from typing import Final

GITHUB: Final = ".github/workflows/image.yml"
GITLAB: Final = ".gitlab-ci.yml"
GITLAB_BESIDE: Final = ".gitlab/ci/image.yml"
"""Where the recipe goes beside a .gitlab-ci.yml that is there; `include` names it."""

# What only a Dockerfile with a stage for tests has.
_TESTS: Final = (
    "      - name: Test\n        run: wherry build --target test\n",
    "    - wherry build --target test\n",
)


def recipe(kind: str, *, tested: bool) -> str:
    """The text of a recipe, `github` or `gitlab`; `tested` says that there is a test stage."""
    with open(os.path.join(os.path.dirname(__file__), f"{kind}.yml"), encoding="utf-8") as file:
        text = file.read()
    for lines in () if tested else _TESTS:
        text = text.replace(lines, "")
    return text
