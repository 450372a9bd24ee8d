# SPDX-License-Identifier: Apache-2.0
"""How much an archive or a layer may hold before it counts as an attack.

Archives come from strangers. A few bytes can claim a million files or unpack to more than any disk
holds, so what is read is bounded by entries, by bytes and by how far it was compressed. Real images
stay far below: large ones have some 300,000 files, 30 GB and shrink to a quarter.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from wherry.errors import UsageError
from wherry.process.cancel import CancelToken

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

OPTION: Final = "--unpack-limit"
# Names, link targets and attributes stay in memory: whatever the limits, no more bytes than this.
MOST_METADATA: Final = 1 << 28
# Below this much output no ratio is suspicious: a file of zeros compresses a thousandfold.
_FREE: Final = 1 << 30
# Bytes of an archive for each entry, where only its size is limited.
_ENTRY_SHARE: Final = 10_000


class Limits(NamedTuple):
    """What one archive or layer may hold.

    `entries` is the number of its entries, `bytes` its size when uncompressed, `ratio` how many
    times larger than the compressed data that may be (counted above 1 GiB only; 0: any).
    """

    entries: int = 1_000_000
    bytes: int = 100_000_000_000
    ratio: int = 200

    def check(self, size: int, compressed: int) -> None:
        """Raise `UsageError` where so many bytes, made of so many, are more than is allowed."""
        if size > self.bytes:
            raise over(f"it unpacks to more than {self.bytes} bytes")
        if self.ratio and size > _FREE and size > self.ratio * compressed:
            raise over(f"it unpacks to more than {self.ratio} times its size")

    @classmethod
    def up_to(cls, size: int) -> Self:
        """What a user allows who says how many bytes an archive may have: that, at any ratio."""
        return cls(max(cls().entries, size // _ENTRY_SHARE), size, 0)


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


class Counted:
    """Counts what is read from `stream`."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes of the stream."""
        data = self._stream.read(size)
        self.count += len(data)
        return data


class Bounded(io.RawIOBase):
    """Uncompressed data; reading more of them than `limits` allow raises `UsageError`.

    `compressed` tells how many bytes they were made from so far. Raises `Cancelled` when `cancel`
    is, so that one huge file is no reason to wait.
    """

    def __init__(
        self,
        stream: Readable,
        limits: Limits,
        compressed: Callable[[], int],
        cancel: CancelToken | None = None,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._limits = limits
        self._compressed = compressed
        self._cancel = cancel
        self._count = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`."""
        if self._cancel is not None:
            self._cancel.check()
        view = memoryview(buffer).cast("B")
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self._count += len(data)
        self._limits.check(self._count, self._compressed())
        return len(data)


def over(why: str) -> UsageError:
    """The error for a limit that is exceeded."""
    return UsageError(
        "an archive or layer holds more than is allowed",
        why=why,
        hint=f"if it is meant to be so large, allow it with {OPTION}=SIZE",
    )
