# SPDX-License-Identifier: Apache-2.0
"""zstd (RFC 8878) whose bytes depend on the input, the level and the library, on nothing else.

The library cuts its input into jobs of a size that follows from the level alone, so that the bytes
are the same for any number of workers, as long as there is one; how the input was cut into writes
does not matter either.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from wherry.errors import MachineError


class ZstdWriter:
    """Compresses what it gets into `out`, as one frame with a checksum; a context manager.

    Leaving the block finishes the frame, leaving it by an exception drops it. Raises
    `MachineError` where the zstd library is missing.
    """

    def __init__(self, out: Callable[[bytes], object], *, level: int = 3, workers: int = 2) -> None:
        try:
            import zstandard  # noqa: PLC0415 - few layers are zstd, and it is a compiled library
        except ImportError as error:
            raise MachineError(
                "cannot write zstd data",
                why=f"the Python package zstandard cannot be imported: {error}",
                hint="install wherry together with its dependencies",
            ) from error
        compressor = zstandard.ZstdCompressor(
            level=level or 3, threads=max(workers, 1), write_checksum=True, write_content_size=False
        )
        self._out = out
        self._object = compressor.compressobj()

    def write(self, data: bytes) -> None:
        """Take the next bytes; may call `out`."""
        if piece := self._object.compress(data):
            self._out(piece)

    def close(self) -> None:
        """Finish the frame; nothing may be written afterwards."""
        if piece := self._object.flush():
            self._out(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()


def library() -> str:
    """The zstd that writes: its bytes differ between versions."""
    try:
        import zstandard  # noqa: PLC0415 - as above
    except ImportError:
        return "zstd none"
    return "zstd " + ".".join(str(part) for part in zstandard.ZSTD_VERSION)
