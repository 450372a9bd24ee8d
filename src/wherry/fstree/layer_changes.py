# SPDX-License-Identifier: Apache-2.0
"""A layer as the changes it makes to the layers below it.

OCI image specification, layer.md, "Applying Changesets": entries are added or replace what is
there, whiteouts take away what lower layers put there and spare what their own layer does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from wherry.fstree.tree import Entry


@dataclass(frozen=True, slots=True)
class LayerIndex:
    """One layer as it is applied.

    `entries` stand in the tar's order, under the names it gives: a path may pass through links of
    lower layers, or come twice, and the root's is empty. A `HardLink` may lead to a lower layer.
    `whiteouts` are the paths that lower layers lose, `opaque` directories whose lower content they
    lose. `order` says where these stood in the tar: for each whiteout, then for each opaque
    directory, its position among all three kinds together, rising in each; where it is empty they
    stood before the entries.
    """

    entries: tuple[Entry, ...]
    whiteouts: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()
    order: tuple[int, ...] = ()

    def changes(self) -> Iterator[Entry | Removal]:
        """Entries and removals in the order in which they are applied."""
        removals = [Removal(path) for path in self.whiteouts]
        removals += [Removal(path, only_below=True) for path in self.opaque]
        if not removals:
            yield from self.entries
            return
        at = dict(zip(self.order or range(len(removals)), removals, strict=True))
        entries = iter(self.entries)
        for position in range(len(self.entries) + len(removals)):
            yield at[position] if position in at else next(entries)


class Removal(NamedTuple):
    """What lower layers put at `path` is removed; with `only_below`, what they put below it."""

    path: str
    only_below: bool = False
