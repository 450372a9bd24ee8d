# SPDX-License-Identifier: Apache-2.0
"""No progress at all, for `--quiet`: errors are still told by the command line at the end."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from wherry.events import Event


class Quiet:
    """A renderer that drops every event."""

    def __call__(self, event: Event) -> None:
        """Drop `event`."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing was held back."""

    def leave(self) -> None:
        """Nothing is drawn."""

    def come_back(self) -> None:
        """Nothing was left."""
