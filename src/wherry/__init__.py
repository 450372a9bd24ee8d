# SPDX-License-Identifier: Apache-2.0
"""wherry builds small, safe container images for Go programs, without a daemon and without root.

    import wherry
    result = wherry.build("./cmd/api", tags=["shop/api:1.2"])
    print(result.reference)

The names below are the public library; they are loaded when first used, so that importing a
single module of wherry stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry._version import __version__

if TYPE_CHECKING:
    from wherry.api.public import BuildRequest, BuildResult, Surroundings, build
    from wherry.errors import WherryError

__all__ = ["BuildRequest", "BuildResult", "Surroundings", "WherryError", "__version__", "build"]


def __getattr__(name: str) -> object:
    if name in ("BuildRequest", "BuildResult", "Surroundings", "build"):
        from wherry.api import public  # noqa: PLC0415 - loaded on first use

        return getattr(public, name)
    if name == "WherryError":
        from wherry.errors import WherryError  # noqa: PLC0415 - loaded on first use

        return WherryError
    raise AttributeError(f"module 'wherry' has no attribute {name!r}")
