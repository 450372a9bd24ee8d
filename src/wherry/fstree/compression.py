# SPDX-License-Identifier: Apache-2.0
"""How layer blobs are compressed, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from wherry.errors import UsageError
from wherry.oci.media import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD


class CompressionKind(StrEnum):
    """How a layer blob is compressed; the names are those of buildx's `compression=`."""

    GZIP = "gzip"
    ZSTD = "zstd"
    UNCOMPRESSED = "uncompressed"


# The lowest and highest level, and the one where nobody names any; as buildx bounds them.
_LEVELS: Final = {
    CompressionKind.GZIP: (0, 9, 1),
    CompressionKind.ZSTD: (0, 22, 3),
}


@dataclass(frozen=True, slots=True)
class Compression:
    """Kind and level: 0 to 9 for gzip, 0 to 22 for zstd (0 is its own default, 3).

    The level does not count for uncompressed layers. Raises `UsageError`.
    """

    kind: CompressionKind = CompressionKind.GZIP
    level: int = 1

    def __post_init__(self) -> None:
        if self.kind not in _LEVELS:
            return
        lowest, highest, default = _LEVELS[self.kind]
        if not lowest <= self.level <= highest:
            raise UsageError(
                f"no {self.kind} level: {self.level}",
                hint=f"use {lowest} to {highest}; {default} is the default",
            )

    @property
    def media_type(self) -> str:
        """The layer media type of blobs compressed this way."""
        match self.kind:
            case CompressionKind.GZIP:
                return LAYER_GZIP
            case CompressionKind.ZSTD:
                return LAYER_ZSTD
            case CompressionKind.UNCOMPRESSED:
                return LAYER_TAR
            case _:
                assert_never(self.kind)


def compression(kind: CompressionKind, level: int | None = None) -> Compression:
    """`kind` at `level`, or at its default level; raises `UsageError` for a level it has not."""
    if level is None:
        level = _LEVELS[kind][2] if kind in _LEVELS else 0
    return Compression(kind, level)
