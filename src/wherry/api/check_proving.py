# SPDX-License-Identifier: Apache-2.0
"""The proof of what mending does: each Dockerfile is built as it was and as it will be.

The texts are in memory, the build context is the user's own, and nothing of it is written: for the
time of a rebuild a line is changed in a copy. Images are built into the user's store, with all that
is cached there, and lose their names at the end.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.api.check_mending import Allowed, Mending, mend_files
from wherry.api.compared_images import Comparison, ImageComparer
from wherry.api.proof_builds import (
    REPOSITORY,
    ProofBuilds,
    Rebuilds,
    Side,
    Texts,
    Ways,
    texts_of,
)
from wherry.api.registries import Registries, RegistryAround
from wherry.errors import BuildError
from wherry.events import discard
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken
from wherry.store.store import Store, open_store

if TYPE_CHECKING:
    from wherry.api.checking import Checked, CheckedFile, Checker, CheckRequest

__all__ = ["Proof", "Prover", "Side", "Ways"]

# So many builds at most look for the fix that breaks a build.
_MOST_TRIES: Final = 16
# No proof takes as long, in seconds: what has such a name then was left by one that was killed.
_LONGEST: Final = 24 * 3600


class Proof(NamedTuple):
    """What mending does to the image of one Dockerfile.

    `comparison` is None where there was no image before. `edited` is the file in which a line was
    changed for the rebuilds; `unmeasured` says why there were none.
    """

    path: str
    before: Side
    after: Side
    comparison: Comparison | None = None
    edited: str = ""
    unmeasured: str = ""


class Prover:
    """Proves the mending of what a checker found."""

    def __init__(self, checker: Checker, request: CheckRequest, ways: Ways) -> None:
        self._checker = checker
        self._request = request
        self._ways = ways

    def prove(self, checked: Checked, mending: Mending, wanted: Allowed) -> tuple[Proof, ...]:
        """Build what is mended, before and after.

        Raises `BuildError` where a mended Dockerfile does not build, with the rules to leave out,
        and what building raises for reasons that lie in neither text (network, machine).
        """
        found = []
        with open_store(self._ways.store) as store:
            _untag_old(store)
            for old, new in zip(checked.files, mending.files, strict=True):
                texts = texts_of(old, new, mending.changes)
                if texts is None:
                    continue
                builds = ProofBuilds(self._request, self._ways, store, old)
                try:
                    found.append(self._proof(store, builds, old, texts, wanted))
                finally:
                    _untag(store, builds.tags)
        return tuple(found)

    def _proof(
        self, store: Store, builds: ProofBuilds, old: CheckedFile, texts: Texts, wanted: Allowed
    ) -> Proof:
        before = builds.build(texts.before, texts.context, past=True)
        after = builds.build(texts.after, texts.context)
        if after.problem:
            raise self._unbuilt(builds, old, before, after, wanted)
        proof = self._compared(store, texts, Proof(old.path, before, after))
        return _timed(proof, builds.rebuild(texts, before, after))

    def _compared(self, store: Store, texts: Texts, proof: Proof) -> Proof:
        request, before, after = self._request, proof.before, proof.after
        around = RegistryAround(
            self._ways.store, request.env, request.cwd, (), discard, CancelToken()
        )
        with Registries(around, texts.context.directory) as registries:
            comparer = ImageComparer(store, registries)
            if before.problem:
                size = comparer.unpacked(after.digest)
                return proof._replace(after=replace(after, unpacked=size))
            found = comparer.compare(before.digest, after.digest)
        return proof._replace(
            before=replace(before, unpacked=found.unpacked[0]),
            after=replace(after, unpacked=found.unpacked[1]),
            comparison=found,
        )

    def _unbuilt(
        self, builds: ProofBuilds, old: CheckedFile, before: Side, after: Side, wanted: Allowed
    ) -> BuildError:
        """Why a mended Dockerfile does not build, and what to leave out of it."""
        if after.problem == before.problem:
            return BuildError(
                f"{old.path} builds neither as it is nor mended; nothing was written",
                why=before.problem, hint="mend that by hand, or leave out --prove",
                where=f"{old.path}:{before.line}" if before.line else "",
            )  # fmt: skip
        culprits = self._culprits(builds, old, wanted, was_built=not before.problem)
        hint = "look at --diff without --prove, and leave fixes out with --ignore"
        if culprits:
            hint = f"leave these fixes out: --ignore {','.join(culprits)}"
        what = f"{old.path} does not build once it is mended; nothing was written"
        line = f"in line {after.line} of the mended text: " if after.line else ""
        return BuildError(what, why=f"{line}{after.problem}", hint=hint)

    def _culprits(
        self, builds: ProofBuilds, old: CheckedFile, wanted: Allowed, *, was_built: bool
    ) -> list[str]:
        """The rules whose fixes break the build by themselves; else the one without which it works.

        Where the old text does not build, no fix can be tried by itself.
        """
        applied = self._mended(old, wanted).applied
        rules = sorted({finding.rule.id for _, finding in applied})[:_MOST_TRIES]
        if was_built:
            alone = (wanted._replace(just=frozenset((rule,))) for rule in rules)
            found = [rule for rule, choice in zip(rules, alone, strict=True)
                     if self._fails(builds, old, choice)]  # fmt: skip
            if found:
                return found
        for rule in rules if len(rules) > 1 else ():
            if not self._fails(builds, old, wanted._replace(without=frozenset((rule,)))):
                return [rule]
        return []

    def _mended(self, old: CheckedFile, wanted: Allowed) -> Mending:
        from wherry.api.checking import Checked  # noqa: PLC0415 - all rules are imported there

        return mend_files(self._checker, Checked((old,)), wanted)

    def _fails(self, builds: ProofBuilds, old: CheckedFile, wanted: Allowed) -> bool:
        mending = self._mended(old, wanted)
        texts = texts_of(old, mending.files[0], mending.changes)
        return texts is not None and bool(builds.build(texts.after, texts.context).problem)


def _timed(proof: Proof, rebuilds: Rebuilds) -> Proof:
    return proof._replace(
        before=replace(proof.before, rebuild=rebuilds.before),
        after=replace(proof.after, rebuild=rebuilds.after),
        edited=rebuilds.edited,
        unmeasured=rebuilds.unmeasured,
    )


def _untag(store: Store, tags: list[str]) -> None:
    for tag in tags:
        reference = parse_reference(tag)
        if store.images.get(reference) is not None:
            store.images.untag(reference)


def _untag_old(store: Store) -> None:
    for row in store.images.list():
        is_old = row.created_at < time.time() - _LONGEST
        if is_old and row.reference.familiar.startswith(f"{REPOSITORY}:"):
            store.images.untag(row.reference)
