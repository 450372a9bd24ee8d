# SPDX-License-Identifier: Apache-2.0
"""Modules of travelling caches in a build: the tree that they come into, when it serves, what is
given back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from wherry.api.cache_patience import fetching
from wherry.api.cache_traffic import CacheTraffic, Place, megabytes
from wherry.api.transfer import transfer
from wherry.gocache.exporting import Material
from wherry.gocache.module_listing import Listings
from wherry.gocache.module_names import ModuleVersion
from wherry.gocache.module_sums import read_sums, sum_files
from wherry.gocache.module_tree import (
    ModuleTree,
    StagedTree,
    discard,
    open_tree,
    plan_tree,
    trees,
)
from wherry.gocache.module_use import Question, is_vendored, on_tree, refusal, unresolved
from wherry.gocache.modules import Choice, ModuleCache, choose, private_patterns
from wherry.gocache.spec import CacheSpec
from wherry.golang.command import GoTool
from wherry.golang.flags import flag_value, split_goflags
from wherry.golang.packages import Package
from wherry.golang.toolchain import GoFacts
from wherry.store.go_modules import LISTINGS, path_of, trees_of
from wherry.store.store import Store

# Trees that stay from build to build: fresh machines have one, and others need none.
_KEPT_TREES = 2


class ModuleRestore:
    """The modules of one build, in trees that `store` counts and prunes."""

    def __init__(self, traffic: CacheTraffic, store: Store) -> None:
        self.tree: ModuleTree | None = None
        self.proven = False
        """Whether a list of packages has shown that the tree holds all that is needed."""
        self.path = ""
        """The GOMODCACHE of the tree that is, or was, in force."""
        self.why = ""
        """What the tree lacks, where a list of packages has shown that."""
        self._traffic = traffic
        self._store = store
        self._root = trees_of(store.path)
        self._listings_path = path_of(store.path, LISTINGS)
        self._listings = Listings(self._listings_path)
        self._facts: GoFacts | None = None
        self._question: Question | None = None
        self._serves = False
        self._choices: dict[bool, Choice] = {}

    def applied(
        self, tool: GoTool, facts: GoFacts, patterns: Sequence[str]
    ) -> tuple[GoTool, GoFacts]:
        """How to run Go from now on: with the tree where it serves."""
        flags = _flags(facts)
        question = Question(tool.directory, flags, patterns)
        if self._question is None:
            self._facts, self._question = facts, question
            self._serves = not refusal(facts, question) and not is_vendored(facts, flags)
            if self._serves:
                self._restore(facts, question)
        if self.tree is None:
            return tool, facts
        run = on_tree(tool.go, facts, tool.env, self.tree.path)
        variables = MappingProxyType({**facts.all, "GOMODCACHE": self.tree.path})
        return (
            tool._replace(go=run.go, env={**tool.env, **dict(run.env)}),
            facts._replace(gomodcache=self.tree.path, all=variables),
        )

    def fault(self, packages: Sequence[Package]) -> str:
        """Why the build must go on without the tree; empty where all is well."""
        if self.tree is None or self._facts is None or self._question is None:
            return ""
        self.why = unresolved(packages, self.tree, self._facts, self._question)
        self.proven = not self.why
        return self.why

    def drop(self) -> None:
        """Use the tree no more."""
        if self.tree is not None:
            # Its listings spare reading the whole modules for those.
            self._listings = Listings(self._listings_path, (self.tree.path,))
            self.tree.close()
        self.tree = None
        self.path = ""

    def close(self) -> None:
        """End the use of the tree, and remove those that nobody used for longest."""
        if self.tree is not None:
            self.tree.close()
            self.tree = None
        for digest, _ in trees(self._root)[:-_KEPT_TREES]:
            with suppress(OSError):
                discard(self._root, digest)

    def material(self, packages: Iterable[Package], spec: CacheSpec) -> Mapping[str, Material]:
        """The modules that the build used, as what may be given to a place."""
        facts, question = self._facts, self._question
        if facts is None or question is None or not self._serves:
            return {}
        choice = self._choices.get(spec.private)
        if choice is None:
            cache = ModuleCache(
                self.path or facts.gomodcache,
                read_sums(sum_files(facts, question.flags, question.directory)),
                "" if spec.private else private_patterns(facts),
                self._listings,
            )
            cancel = self._traffic.registries.around.cancel
            choice = self._choices[spec.private] = choose(packages, cache, cancel)
            with suppress(OSError):
                # The store's size limit takes what was used least recently.
                os.utime(self._listings_path)
        return {"modules": Material(choice.rows, choice.open, choice.at_hand)}

    def _restore(self, facts: GoFacts, question: Question) -> None:
        for place in self._traffic.places:
            seconds = fetching(place.packs("modules"))
            with self._traffic.passing_over(place.spec, seconds=seconds):
                self.tree = self._tree_of(place, facts, question)
            if self.tree is not None:
                self.path = self.tree.path
                return

    def _tree_of(self, place: Place, facts: GoFacts, question: Question) -> ModuleTree | None:
        """The tree of a place's modules, where the user's module cache lacks any of them."""
        packs = place.packs("modules")
        if not packs:
            return None
        sums = read_sums(sum_files(facts, question.flags, question.directory))
        tables = place.holding.tables(packs)
        plan = plan_tree((row for table in tables.values() for row in table.rows), sums)
        if not plan.lacking(facts.gomodcache):
            return None
        known = open_tree(self._root, plan.digest)
        if known is not None:
            return known
        around = self._traffic.registries.around
        with (
            transfer(around.sink, f"modules from {place.spec.place}", plan.size) as moving,
            StagedTree(self._root, plan) as staged,
        ):
            place.holding.unpack(tables, plan.contents, staged.place)
            tree, refused = staged.finish()
            self._store.note_written(plan.size)
            moving.remark = f"{megabytes(plan.size)} in {len(plan.rows)} files"
        self._tell_refused(place, refused)
        return tree

    def _tell_refused(self, place: Place, refused: Mapping[ModuleVersion, str]) -> None:
        for module, why in sorted(refused.items())[:3]:
            self._traffic.warn(f"{module} of the Go cache {place.spec.place} is not used: {why}")


def _flags(facts: GoFacts) -> tuple[str, ...]:
    """The flags in force that say something of modules."""
    words = tuple(split_goflags(facts.goflags))
    # wherry's own, where GOFLAGS does not say otherwise.
    return words if flag_value(words, "trimpath") is not None else (*words, "-trimpath")
