# SPDX-License-Identifier: Apache-2.0
"""The platforms of one image, each once: an index has one manifest for each of them.

Two that were named apart may be one: GOAMD64=v3 makes `linux/amd64` what `linux/amd64/v3` is, and
images have no name for the variants of 386 and mips (OCI image specification, image-index.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from wherry.errors import UsageError
from wherry.golang.variants import image_platform, variant_setting
from wherry.oci.platform import Platform


def distinct_platforms(
    platforms: Iterable[Platform], variables_of: Callable[[Platform], Mapping[str, str]]
) -> tuple[Platform, ...]:
    """`platforms` without those that are built as one before them.

    `variables_of` is what `go env` says for a platform. Raises `UsageError` where two would be
    built in different ways, and images have one name for both; else as `image_platform`.
    """
    found: dict[Platform, tuple[Platform, str]] = {}
    for platform in platforms:
        variables = variables_of(platform)
        named = image_platform(platform, variables)
        setting = variant_setting(platform, variables)
        before, other = found.setdefault(named, (platform, setting))
        if other != setting:
            raise UsageError(
                f"{before} and {platform} are one platform to an image: {named}",
                why=f"one is built with {other}, one with {setting}",
                hint="leave one of them out, or build two images",
            )
    return tuple(platform for platform, _ in found.values())
