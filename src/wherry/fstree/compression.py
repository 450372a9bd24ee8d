# SPDX-License-Identifier: Apache-2.0
"""How layer blobs are compressed, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wherry.errors import UsageError
from wherry.oci.media import LAYER_GZIP, LAYER_TAR


class CompressionKind(StrEnum):
    """How a layer blob is compressed; the names are those of buildx's `compression=`."""

    GZIP = "gzip"
    UNCOMPRESSED = "uncompressed"


@dataclass(frozen=True, slots=True)
class Compression:
    """Kind and level; `level` counts for gzip only, 0 to 9. Raises `UsageError`."""

    kind: CompressionKind = CompressionKind.GZIP
    level: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 9:
            raise UsageError(f"no gzip level: {self.level}", hint="use 0 to 9; 1 is the default")

    @property
    def media_type(self) -> str:
        """The layer media type of blobs compressed this way."""
        match self.kind:
            case CompressionKind.GZIP:
                return LAYER_GZIP
            case CompressionKind.UNCOMPRESSED:
                return LAYER_TAR
