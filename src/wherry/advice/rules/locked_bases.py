# SPDX-License-Identifier: Apache-2.0
"""The rule about bases that a lock file beside the Dockerfile does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Need, Rule, Severity
from wherry.advice.reading.lock_file import lock_of, locked
from wherry.advice.reading.word_places import base_place
from wherry.advice.rules.base_tags import images

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import StageView
    from wherry.oci.digest import Digest
    from wherry.oci.reference import Reference
    from wherry.settings.lock import LockedBase


def _unlocked(subject: Subject, rule: Rule) -> Iterator[Finding]:
    lock = lock_of(subject)
    if lock is None:
        return
    for stage, reference in images(subject):
        name, held = reference.familiar, locked(lock, reference)
        if held is None and reference.digest is None:
            yield rule.find(
                base_place(stage), f"wherry.lock does not hold {name}, and no digest says which",
                f"write its digest: {name}@sha256:...",
            )  # fmt: skip
        elif held is not None and reference.digest is not None and not _is_of(held, reference):
            yield rule.find(
                base_place(stage), f"wherry.lock holds another digest of {name}",
                f"write {held.digest}, or take the newest: wherry lock --update {name}",
                _same(stage, reference.digest, held),
            )  # fmt: skip


def _is_of(held: LockedBase, reference: Reference) -> bool:
    """Whether a digest is the locked index, or its manifest for a platform."""
    return reference.digest in (held.digest, *(digest for _, digest in held.platforms))


def _same(stage: StageView, written: Digest, held: LockedBase) -> Fix | None:
    place = base_place(stage)
    text = stage.subject.text.slice(place)
    if text != stage.stage.base.base or not text.endswith(f"@{written}"):
        return None
    new = text.removesuffix(str(written)) + str(held.digest)
    return Fix("take the digest of wherry.lock", (Edit(place, new),), safe=False)


RULES: Final = (
    Rule("GO307", "base-not-locked", Severity.INFO,
         "a base that wherry.lock does not hold, or holds by another digest", _unlocked,
         frozenset((Need.CONTEXT,)), mends=True),
)  # fmt: skip
