# SPDX-License-Identifier: Apache-2.0
"""Which manifest of an index a platform gets (OCI image specification 1.1, image-index.md).

Operating system and architecture have to be equal. A variant is a level of instructions: a machine
runs images of its own level and of lower ones, never of higher ones. Without a variant, arm64
means v8, amd64 means v1 and arm means v7, as containerd reads them. Attestations, which Docker's
builders list as platform `unknown/unknown`, are never chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from wherry.errors import UsageError
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor
from wherry.oci.media import is_index
from wherry.oci.platform import Platform
from wherry.registry.documents import media_type_of, parse_index, refuse
from wherry.registry.model import RawManifest
from wherry.registry.problems import printable

OpenIndex = Callable[[Descriptor], Sequence[Descriptor]]
"""Gives the entries of an index that another index lists."""

DEEPEST: Final = 3
_ATTESTATION = "vnd.docker.reference.type"
_LISTED = 20
_DEFAULT_LEVEL = {"arm": (7, 0), "arm64": (8, 0), "amd64": (1, 0)}
_LEVEL = re.compile(r"v([0-9]{1,2})(?:\.([0-9]{1,2}))?")


def choose(
    index: bytes | Sequence[Descriptor],
    wanted: Platform,
    *,
    name: str = "the index",
    open_index: OpenIndex | None = None,
) -> Descriptor:
    """The manifest of `index` (its bytes or its entries) that runs best on `wanted`.

    Of equally good entries the first is taken. An entry without a platform is taken only where it
    is the only one: its config then says what it is for. Indexes within the index are opened by
    `open_index` where their own platform allows, up to `DEEPEST` levels in all; without it they are
    passed over. Raises `UsageError`, which lists the platforms that there are, or `NetworkError`
    for bytes that are no index.
    """
    entries = _entries(index, name) if isinstance(index, bytes) else tuple(index)
    found = [
        entry
        for entry in _manifests(entries, wanted, name, open_index)
        if not is_attestation(entry)
    ]
    runnable = [
        entry for entry in found if entry.platform is not None and can_run(entry.platform, wanted)
    ]
    if runnable:
        return max(runnable, key=lambda entry: _goodness(entry.platform, wanted))
    if len(found) == 1 and found[0].platform is None:
        return found[0]
    raise _nothing(entries + tuple(found), wanted, name)


def can_run(image: Platform, machine: Platform) -> bool:
    """Whether an image for `image` runs on `machine`, so far as their names say."""
    if (image.os, image.architecture) != (machine.os, machine.architecture):
        return False
    if image.variant == machine.variant:
        return True
    needed, given = _level(image), _level(machine)
    if needed is None or given is None:
        # Variants without an order: none is the least that every machine of its kind runs.
        return not image.variant
    if image.architecture == "arm64" and (needed[0], given[0]) == (8, 9):
        return needed[1] <= given[1] + 5  # ARMv9.0 holds what ARMv8.5 does, and so on.
    if image.architecture == "arm64" and needed[0] != given[0]:
        return False
    return needed <= given


def is_attestation(entry: Descriptor) -> bool:
    """Whether an index lists `entry` as a statement about another image, not as an image."""
    if any(key == _ATTESTATION for key, _ in entry.annotations):
        return True
    platform = entry.platform
    return platform is not None and "unknown" in (platform.os, platform.architecture)


def _level(platform: Platform) -> tuple[int, int] | None:
    """A variant as a number, higher for more instructions; None where it has no known order."""
    default = _DEFAULT_LEVEL.get(platform.architecture)
    if default is None or not platform.variant:
        return default
    match = _LEVEL.fullmatch(platform.variant)
    return None if match is None else (int(match[1]), int(match[2] or 0))


def _goodness(image: Platform | None, wanted: Platform) -> tuple[bool, bool, tuple[int, int]]:
    """Greater for a better one: the same words, then the same level, then the highest level."""
    if image is None:
        return (False, False, (0, 0))
    level = _level(image)
    return (image == wanted, level == _level(wanted), level or (0, 0))


def _entries(data: bytes, name: str) -> tuple[Descriptor, ...]:
    media_type = media_type_of(data, name)
    if not is_index(media_type):
        refuse(name, f"it is not an index but {media_type}")
    return parse_index(RawManifest(Descriptor(media_type, sha256(data), len(data)), data), name)


def _manifests(
    entries: Sequence[Descriptor],
    wanted: Platform,
    name: str,
    open_index: OpenIndex | None,
    depth: int = 1,
) -> Iterator[Descriptor]:
    """The manifests of an index and of those within it that are not for another platform."""
    for entry in entries:
        if not is_index(entry.media_type):
            yield entry
        elif open_index is not None and (entry.platform is None or can_run(entry.platform, wanted)):
            if depth == DEEPEST:
                refuse(name, f"it holds indexes within indexes, more than {DEEPEST} deep")
            inner = [
                replace(item, platform=item.platform or entry.platform)
                for item in open_index(entry)
            ]
            yield from _manifests(inner, wanted, name, open_index, depth + 1)


def _nothing(entries: Sequence[Descriptor], wanted: Platform, name: str) -> UsageError:
    there = dict.fromkeys(
        printable(str(entry.platform))
        for entry in entries
        if entry.platform is not None and any(entry.platform) and not is_attestation(entry)
    )
    if not there:
        return UsageError(f"{name} has no image for {wanted}",
                          why="it does not say which platforms it is for",
                          hint="name one of its images by digest")  # fmt: skip
    more = ", ..." if len(there) > _LISTED else ""
    return UsageError(f"{name} has no image for {wanted}",
                      why=f"it has {', '.join(list(there)[:_LISTED])}{more}",
                      hint="choose one of these with --platform, or use another image")  # fmt: skip
