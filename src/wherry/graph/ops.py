# SPDX-License-Identifier: Apache-2.0
"""Ops: frozen descriptions of one operation each (what, not how).

The union is closed; every engine has one executor for each kind. Cache keys come from *all*
fields of an op through one canonical encoder (`wherry.graph.keys`); a field that does not affect
the result is declared with `outside_key(reason)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from wherry.oci.digest import Digest
from wherry.oci.image import Pairs
from wherry.oci.platform import Platform


def outside_key(reason: str, default: Any = None) -> Any:  # noqa: ANN401 - stands for any field
    """Declare a dataclass field that stays out of cache keys, and why."""
    return field(default=default, metadata={"outside_key": reason})


class ComposedBase(StrEnum):
    """The bases that wherry composes offline."""

    STATIC = "static"
    SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class RegistryBase:
    """An image of a registry as a base: `digest` is its manifest's, for one platform."""

    digest: Digest
    reference: str = outside_key("the name it was found under; the digest says which it is")


@dataclass(frozen=True, slots=True)
class ImageOp:
    """A base: one that wherry composes, or an image by reference. Its result is its layers."""

    KIND: ClassVar[str] = "image/1"

    base: ComposedBase | RegistryBase
    # The versions of certifi's and tzdata's data that a composed tree is made from.
    data_versions: Pairs
    platform: Platform


@dataclass(frozen=True, slots=True)
class GoBuildOp:
    """Compile Go main packages; the result is a tree with the binaries.

    `directory` is the absolute path of the module (or workspace) directory that go runs in,
    `packages` are import paths or `./` patterns of exactly one main package each, `names` the
    binaries' file names in the same order. `flags` are the build flags in go's spelling,
    `environment` the variables that wherry sets on top of the user's.
    """

    KIND: ClassVar[str] = "gobuild/1"

    directory: str
    packages: tuple[str, ...]
    names: tuple[str, ...]
    platform: Platform
    flags: tuple[str, ...]
    environment: Pairs
    # What the binaries' base can run; a dynamic binary on a static base is an error.
    dynamic_allowed: bool
    # Directory of the image that holds the binaries, relative to its root.
    image_directory: str
    progress_name: str = outside_key("what the user reads in progress output", default="")


Op = ImageOp | GoBuildOp
