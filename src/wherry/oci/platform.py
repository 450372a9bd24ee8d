# SPDX-License-Identifier: Apache-2.0
"""Platforms (OCI image specification, image-index.md, "platform").

The names are Go's own GOOS and GOARCH values; variants are those of the specification's table
"Platform Variants", and those that Go alone knows.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import SeveralErrors, UsageError, WherryError, near

if TYPE_CHECKING:
    from collections.abc import Iterable

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
# What Go builds for (`go help environment`), in the names of the specification's table where it has
# any; 386 and mips have names of Go's only.
_FLOATS = ("hardfloat", "softfloat")
_VARIANTS = {
    "386": ("sse2", "softfloat"),
    "amd64": ("v1", "v2", "v3", "v4"),
    "arm": ("v5", "v6", "v7"),
    "arm64": (
        "v8", *(f"v8.{minor}" for minor in range(10)), "v9", *(f"v9.{minor}" for minor in range(6)),
    ),
    **dict.fromkeys(("mips", "mipsle", "mips64", "mips64le"), _FLOATS),
    **dict.fromkeys(("ppc64", "ppc64le"), ("power8", "power9", "power10")),
    "riscv64": ("rva20u64", "rva22u64", "rva23u64"),
}  # fmt: skip
# What an architecture means without a variant, by all its names: one spelling, one digest.
_DEFAULTS = {
    "386": ("sse2",),
    "amd64": ("v1",),
    "arm64": ("v8", "v8.0"),
    **dict.fromkeys(("mips", "mipsle", "mips64", "mips64le"), ("hardfloat",)),
    **dict.fromkeys(("ppc64", "ppc64le"), ("power8",)),
    "riscv64": ("rva20u64",),
}
_OTHER_NAMES = {("arm64", "v9.0"): "v9"}


class Platform(NamedTuple):
    """os/architecture[/variant]."""

    os: str
    architecture: str
    variant: str = ""

    @property
    def normal(self) -> Platform:
        """The one spelling of this platform: no variant where it is the architecture's least."""
        if self.variant in _DEFAULTS.get(self.architecture, ()):
            return self._replace(variant="")
        name = _OTHER_NAMES.get((self.architecture, self.variant), self.variant)
        return self._replace(variant=name)

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def parse_platform(text: str) -> Platform:
    """Parse `linux/arm64`, `linux/arm/v7`, `arm/v7` or `arm64`; raises `UsageError`.

    As in Docker's tools, an architecture alone means linux, and x86_64 and aarch64 are understood.
    Only linux images exist here. The result is `normal`.
    """
    return parse_exact(text).normal


def parse_platforms(texts: Iterable[str]) -> tuple[Platform, ...]:
    """All platforms of some texts, each one or several behind commas, as `parse_exact` has them.

    In the order given; one that was named before, if in other words, is dropped. Whether one with
    and one without a variant are the same is for the builder to say. Raises `UsageError`, or
    `SeveralErrors` where several are wrong.
    """
    found: dict[Platform, None] = {}
    errors: list[WherryError] = []
    for text in ",".join(texts).split(","):
        try:
            found[parse_exact(text)] = None
        except UsageError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralErrors(tuple(errors))
    return tuple(found)


def parse_exact(text: str) -> Platform:
    """As `parse_platform`, with the variant as it was said, the least one too.

    A build needs that: a variant that was named beats the environment, `linux/amd64/v1` too.
    """
    if "," in text:
        raise UsageError(f"several platforms: {text!r}", why="one platform is meant here",
                         hint="name one, such as linux/amd64")  # fmt: skip
    parts = text.strip().lower().split("/")
    if len(parts) == 1 or (len(parts) == 2 and parts[0] in (*_ARCHITECTURES, *_ALIASES)):
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
    return Platform(system, architecture, _parse_variant(architecture, variant, text))


def _parse_variant(architecture: str, variant: str, text: str) -> str:
    known = _VARIANTS.get(architecture, ())
    # As Docker's tools: linux/arm/7 is linux/arm/v7.
    if variant[:1].isdecimal() and f"v{variant}" in known:
        variant = f"v{variant}"
    if variant and variant not in known:
        raise UsageError(f"unknown platform {text!r}",
                         why=f"variants of {architecture}: {', '.join(known) or 'none'}",
                         hint=near(variant, known) or f"use linux/{architecture}")  # fmt: skip
    return variant


def host_platform() -> Platform:
    """linux on this machine's architecture: what a build is for where nothing was asked."""
    machine = os.uname().machine
    architecture = _MACHINES.get(machine)
    if architecture is None:
        raise UsageError(f"this machine's architecture, {machine}, has no Go name here",
                         hint="name the platform with --platform")  # fmt: skip
    return Platform("linux", architecture, {"armv7l": "v7", "armv6l": "v6"}.get(machine, ""))
