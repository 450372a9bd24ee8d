# SPDX-License-Identifier: Apache-2.0
"""File capabilities: rights of a program that need no root, kept in an extended attribute.

capabilities(7), "File capabilities"; the attribute's bytes are `struct vfs_cap_data` of the
kernel's uapi/linux/capability.h, revision 2. A layer holds them as data, so writing them needs no
right here; whoever unpacks the layer as root sets them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from wherry.errors import UsageError, near
from wherry.process.capabilities import NAMES

__all__ = ["NAMES", "XATTR", "parse", "read", "unusual", "xattr"]

XATTR: Final = "security.capability"
"""The extended attribute's name."""

# What both Docker and Podman leave a container unless told otherwise (Docker also net_raw, mknod,
# audit_write); the kernel refuses to start a program whose file has one that its container lacks.
_USUAL: Final = frozenset(
    ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
     "net_bind_service", "sys_chroot", "setfcap")
)  # fmt: skip
_PREFIX: Final = "cap_"
_REVISION_1, _REVISION_2, _REVISION_3 = 0x01000000, 0x02000000, 0x03000000
_REVISION_MASK, _EFFECTIVE = 0xFF000000, 0x000001
_SIZES: Final = {_REVISION_1: 12, _REVISION_2: 20, _REVISION_3: 24}


def parse(names: Iterable[str]) -> tuple[str, ...]:
    """The capabilities as in `NAMES`, each once and in their order.

    `net_bind_service`, `NET_BIND_SERVICE` and `CAP_NET_BIND_SERVICE` mean the same. Raises
    `UsageError` for an unknown one.
    """
    found = {_parse(name) for name in names}
    return tuple(name for name in NAMES if name in found)


def xattr(names: Iterable[str]) -> bytes:
    """The attribute that gives a program these capabilities, permitted and effective.

    `names` are as `parse` gives them.
    """
    mask = sum(1 << NAMES.index(name) for name in set(names))
    low, high = mask & 0xFFFFFFFF, mask >> 32
    return struct.pack("<5I", _REVISION_2 | _EFFECTIVE, low, 0, high, 0)


def read(data: bytes) -> tuple[str, ...]:
    """The permitted capabilities in such an attribute, of any revision.

    One without a name yet is `cap_N`. Raises `UsageError` for bytes that are no such attribute.
    """
    revision = int.from_bytes(data[:4], "little") & _REVISION_MASK
    if len(data) != _SIZES.get(revision):
        raise UsageError(f"not a {XATTR} attribute: {data.hex()}")
    words = struct.unpack(f"<{len(data) // 4}I", data)
    mask = words[1] if revision == _REVISION_1 else words[1] | words[3] << 32
    return tuple(
        NAMES[number] if number < len(NAMES) else f"{_PREFIX}{number}"
        for number in range(64)
        if mask >> number & 1
    )


def unusual(names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that many containers do not have unless they are started with them."""
    return tuple(name for name in names if name not in _USUAL)


def _parse(text: str) -> str:
    name = text.strip().lower().removeprefix(_PREFIX)
    if name in NAMES:
        return name
    if name == "all":
        raise UsageError(
            f"{text!r} is no capability",
            why="a program with all of them starts in no container that lacks one",
            hint="name those that the program needs",
        )
    why = "" if name else "it is empty"
    raise UsageError(
        f"{text!r} is no capability",
        why=why,
        hint=near(name, NAMES) or 'capabilities(7) names them, for example "net_bind_service"',
    )
