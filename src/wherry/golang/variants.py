# SPDX-License-Identifier: Apache-2.0
"""A platform's variant in Go's words, and Go's settings as a platform's variant.

A variant that the user named decides which instructions Go uses, whatever the environment says.
Without one Go's own setting counts, of the environment or of `go env -w`, and the image says so
where the specification has a name for it (OCI image specification, image-index.md, "Platform
Variants"): a machine that lacks these instructions then passes the image over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.oci.image import Pairs
    from wherry.oci.platform import Platform

# Each architecture's variable (`go help environment`).
_VARIABLES: Final = {
    "386": "GO386",
    "amd64": "GOAMD64",
    "arm": "GOARM",
    "arm64": "GOARM64",
    "mips": "GOMIPS",
    "mipsle": "GOMIPS",
    "mips64": "GOMIPS64",
    "mips64le": "GOMIPS64",
    "ppc64": "GOPPC64",
    "ppc64le": "GOPPC64",
    "riscv64": "GORISCV64",
}
# Architectures whose variants are Go's alone: an image has no name for them.
_NAMELESS: Final = ("386", "mips", "mipsle", "mips64", "mips64le")
_FULL_NAMES: Final = {("arm64", "v8"): "v8.0", ("arm64", "v9"): "v9.0"}


def variant_environment(platform: Platform) -> Pairs:
    """The variable that makes Go build for the platform's variant; none without a variant."""
    name = _VARIABLES.get(platform.architecture)
    if name is None or not platform.variant:
        return ()
    value = _FULL_NAMES.get((platform.architecture, platform.variant), platform.variant)
    return ((name, value.removeprefix("v") if name == "GOARM" else value),)


def variant_setting(platform: Platform, variables: Mapping[str, str]) -> str:
    """`GOAMD64=v3`: the setting by which Go builds for the platform; empty where there is none.

    `variables` are as for `image_platform`.
    """
    name = _VARIABLES.get(platform.architecture, "")
    return f"{name}={variables[name]}" if name in variables else ""


def image_platform(platform: Platform, variables: Mapping[str, str]) -> Platform:
    """What the image says it is for; `normal`.

    `platform` is what was asked for, `variables` what `go env` says for it (`GoFacts.all`). Raises
    `MachineError` where that Go does not know the variant's variable.
    """
    architecture = platform.architecture
    name = _VARIABLES.get(architecture, "")
    if platform.variant and name not in variables:
        raise MachineError(
            f"this Go cannot build for {platform}",
            why=f"{variables.get('GOVERSION', 'it')} does not know {name}",
            hint=f"use a newer Go, or build for linux/{architecture}",
        )
    variant = platform.variant or _variant_of(name, variables.get(name, ""))
    if architecture in _NAMELESS:
        variant = ""
    return platform._replace(variant=variant).normal


def _variant_of(name: str, value: str) -> str:
    """`v7` of `7,softfloat`, `v8.1` of `v8.1,crypto`: what follows the comma has no name."""
    variant = value.partition(",")[0]
    return f"v{variant}" if name == "GOARM" and variant else variant
