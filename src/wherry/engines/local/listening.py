# SPDX-License-Identifier: Apache-2.0
"""What a Go build tells to who keeps Go's caches, and waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wherry.errors import WherryError
from wherry.golang.packages import Package
from wherry.process.cancel import CancelToken


class PrunedModules(WherryError):
    """A build found its module cache pruned too far: it has to be done again with the whole one."""


class GoListener(Protocol):
    """Keeps Go's caches; called from the threads of steps."""

    @property
    def is_pruned(self) -> bool:
        """Whether the module cache in force holds parts of modules only."""

    def wait(self, cancel: CancelToken) -> None:
        """Return once Go's build cache holds what is being put into it; raises `Cancelled`."""

    def listed(self, packages: Sequence[Package]) -> None:
        """All packages of one build, as `go list -deps` gives them.

        Raises `PrunedModules` where one is not to be had from a pruned module cache.
        """

    def built(self, graph: bytes, flags: Sequence[str]) -> None:
        """The action graph of a `go build` with `flags` that ended well.

        See `wherry.golang.action_graph`.
        """
