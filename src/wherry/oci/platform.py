# SPDX-License-Identifier: Apache-2.0
"""Platforms (OCI image specification, image-index.md, "platform").

The names are Go's own GOOS and GOARCH values; variants are those of the specification.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from wherry.errors import UsageError, near

_MACHINES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i386": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loong64",
    "mips64": "mips64",
}
_ARCHITECTURES = (
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le",
    "ppc64", "ppc64le", "riscv64", "s390x",
)  # fmt: skip
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_VARIANTS = {"arm": ("v5", "v6", "v7"), "arm64": ("v8", "v9"), "amd64": ("v1", "v2", "v3", "v4")}


class Platform(NamedTuple):
    """os/architecture[/variant]."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def parse_platform(text: str) -> Platform:
    """Parse `linux/arm64`, `linux/arm/v7` or a bare architecture; raises `UsageError`.

    As in Docker's tools, a bare architecture means linux, and x86_64 and aarch64 are understood.
    Only linux images exist here.
    """
    if "," in text:
        raise UsageError(f"several platforms: {text!r}",
                         why="an image for several platforms at once is not in this release",
                         hint="build for one: --platform linux/amd64")  # fmt: skip
    parts = text.strip().lower().split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    if len(parts) > 3 or not all(parts):
        raise UsageError(
            f"not a platform: {text!r}", hint="write it as linux/amd64 or linux/arm/v7"
        )
    system, architecture, variant = parts[0], _ALIASES.get(parts[1], parts[1]), "".join(parts[2:])
    if system != "linux":
        raise UsageError(f"unknown platform {text!r}", why="wherry builds linux images only",
                         hint=f"use linux/{architecture}")  # fmt: skip
    if architecture not in _ARCHITECTURES:
        raise UsageError(f"unknown platform {text!r}",
                         why=f"Go has no linux port for {architecture!r}",
                         hint=near(architecture, _ARCHITECTURES)
                         or f"choose one of {', '.join(_ARCHITECTURES)}")  # fmt: skip
    if variant and variant not in _VARIANTS.get(architecture, ()):
        known = ", ".join(_VARIANTS.get(architecture, ())) or "none"
        raise UsageError(f"unknown platform {text!r}", why=f"variants of {architecture}: {known}",
                         hint=f"use linux/{architecture}")  # fmt: skip
    # v8 and v1 are what arm64 and amd64 mean without a variant: one spelling, one digest.
    if (architecture, variant) in (("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    return Platform(system, architecture, variant)


def host_platform() -> Platform:
    """linux on this machine's architecture: what a build is for where nothing was asked."""
    machine = os.uname().machine
    architecture = _MACHINES.get(machine)
    if architecture is None:
        raise UsageError(f"this machine's architecture, {machine}, has no Go name here",
                         hint="name the platform with --platform")  # fmt: skip
    return Platform("linux", architecture, {"armv7l": "v7", "armv6l": "v6"}.get(machine, ""))
