# SPDX-License-Identifier: Apache-2.0
"""What images hold besides programs, and where programs lie: put on each image's base.

The base's own files decide on both. Those of a registry's base are in its layers, which are looked
into only where that can matter.
"""

from __future__ import annotations

from collections.abc import Callable

from wherry.api.base_files import BaseReader
from wherry.api.ground import Ground
from wherry.api.image_files import ImageFiles, choose_image_files
from wherry.api.planning import Wish
from wherry.api.program_place import program_place
from wherry.engines.local.chosen_files import tree_digest
from wherry.engines.local.dry import Unfetched
from wherry.errors import WherryError
from wherry.frontends.gomodule.lower import BINARY_DIRECTORY, Place
from wherry.fstree.resolve import resolve
from wherry.graph.ops import FilesOp, RegistryBase
from wherry.oci.platform import Platform


class Contents:
    """The contents of one build's images; `chosen` are the files of each, by image.

    `undecided` are steps of a plan that only a build can decide on, with the reason; `unfit` says
    why files cannot lie on an image's first base, where its programs may yet move to another one.
    """

    def __init__(self, bases: BaseReader, check: Callable[[], None]) -> None:
        self.bases = bases
        self.chosen: dict[Wish, ImageFiles] = {}
        self.undecided: dict[str, str] = {}
        self.unfit: dict[tuple[Wish, Platform], WherryError] = {}
        self._check = check

    def choose(self, wish: Wish) -> None:
        """Choose the files of an image; raises what `choose_image_files` raises."""
        asked = wish.asked
        mains = [main.dir for main in wish.mains]
        # Empty ones, too: a directory that is not there may come.
        self.chosen[wish] = choose_image_files(asked.files, asked.root, mains, self._check)

    def files(self, wish: Wish, ground: Ground, mtime: int) -> FilesOp | None:
        """The layer of an image's files on `ground`, None where it has none.

        Raises `UsageError` where they do not fit there, `NetworkError` where the base's layers
        cannot be had, `Unfetched` for a plan.
        """
        chosen = self.chosen[wish]
        if not chosen:
            return None
        base = self.bases.of(ground)
        place = resolve(base.files, BINARY_DIRECTORY)
        programs = tuple(f"{place}/{main.name}" for main in wish.mains)
        tree = chosen.tree(base.files, base.read, programs)
        return FilesOp(tree_digest(tree), mtime, tree)

    def first_files(
        self, wish: Wish, platform: Platform, ground: Ground, mtime: int
    ) -> FilesOp | None:
        """As `files`, on the base that the build begins with.

        Where the programs may yet move to another base, what this one does not know (an owner's
        name) is an error only once they stay.
        """
        try:
            return self.files(wish, ground, mtime)
        except Unfetched as error:
            self.undecided[f"files of {wish.name} for {platform}"] = error.what
            return None
        except WherryError as error:
            if ground.has_libc or not wish.asked.libc_base:
                raise
            self.unfit[wish, platform] = error
            return None

    def place(self, ground: Ground, files: FilesOp | None) -> Place:
        """Where programs lie; the base is looked into where files need that or it has /app."""
        base = ground.base
        if files is None and not (
            isinstance(base, RegistryBase) and self.bases.names_programs(base)
        ):
            return Place()
        try:
            below = self.bases.of(ground).files
        except Unfetched:
            # A plan without them: no step depends on it.
            return Place()
        return program_place(below, files.tree if files else None)
