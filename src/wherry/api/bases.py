# SPDX-License-Identifier: Apache-2.0
"""Bases by reference: from a name to the image for one platform, whose layers stay lazy.

The digest comes from the reference itself, else from `wherry.lock`, else from what this machine
remembers, else from the registry; with `pull` the registry is asked even where it is remembered.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from wherry.api.lazy import note_sources
from wherry.api.registries import Registries
from wherry.api.resolved import Meaning, meaning_of, remember
from wherry.api.transfer import transfer
from wherry.errors import BuildError, NetworkError, UsageError
from wherry.events import Level, Message, Sink
from wherry.oci.image import Image, load_image
from wherry.oci.platform import Platform
from wherry.oci.reference import Reference
from wherry.settings.files import LOCK_NAME
from wherry.store.store import Store

if TYPE_CHECKING:
    from wherry.registry.pull import Pulled
    from wherry.settings.lock import LockFile


class Base(NamedTuple):
    """An image to build on.

    `watched` is what its name meant, as a name may move without a file changing; None where the
    digest is pinned.
    """

    reference: Reference
    image: Image
    watched: Meaning | None


class BasePolicy(NamedTuple):
    """Where digests come from: the lock file (None without one), `--locked`, `--pull`.

    `any_platform`: an image that is for one platform alone is taken for another one too, with a
    warning, as Docker's tools do.
    """

    lock: LockFile | None
    locked: bool
    pull: bool
    any_platform: bool = False


def find_base(
    store: Store, registries: Registries, policy: BasePolicy, text: str, platform: Platform
) -> Base:
    """The base that `text` names, its manifest and config in the store.

    Raises `NetworkError` where the registry cannot say, `UsageError` where the image is not for
    the platform, `BuildError` where `--locked` finds it in no lock file.
    """
    finder = _Finder(store, registries, registries.reference(text), platform, policy.any_platform)
    reference = finder.reference
    pinned = _pinned(reference, policy)
    _tell_of_lock(reference, policy, registries.around.sink)
    if pinned:
        return Base(reference, finder.fetched(pinned, pinned=True)[0], None)
    meaning = meaning_of(store, reference)
    own = finder.tagged(meaning.tagged) if meaning.tagged else None
    if own is not None and not policy.pull:
        return Base(reference, own, meaning)
    try:
        image, resolved = finder.fetched("" if policy.pull else meaning.resolved)
    except NetworkError:
        # An image that was only ever made here, for another platform.
        misfit = finder.misfit(meaning.tagged) if meaning.tagged and own is None else None
        if misfit is None:
            raise
        return Base(reference, misfit, meaning)
    # Not asked of the store again: another build may have asked the registry meanwhile.
    meaning = meaning._replace(resolved=resolved)
    if own is not None:
        # As with Docker, the store's own tag follows: else the next build would go back to it.
        store.images.tag(reference, image.descriptor, time.time())
        meaning = meaning._replace(tagged=str(image.digest))
    return Base(reference, image, meaning)


def _pinned(reference: Reference, policy: BasePolicy) -> str:
    if reference.digest is not None:
        return str(reference.digest)
    entry = policy.lock.base(reference) if policy.lock is not None else None
    if entry is not None:
        return str(entry.digest)
    if policy.locked:
        raise BuildError(
            f"{LOCK_NAME} does not hold the base {reference.familiar}",
            why="--locked takes bases from the lock file only",
            hint="name it as `base` in wherry.toml and run `wherry lock`, or name it by digest",
        )
    return ""


def _tell_of_lock(reference: Reference, policy: BasePolicy, sink: Sink) -> None:
    """Say where the lock file and the flags do not do what one might think."""
    if policy.lock is None or reference.digest is not None:
        return
    if policy.lock.base(reference) is None:
        # The bases of Dockerfiles are not read by `wherry lock`.
        remedy = "name it by digest to pin it" if policy.any_platform else "`wherry lock` adds it"
        text = f"{LOCK_NAME} does not hold the base {reference.familiar}; {remedy}"
        sink(Message(Level.WARNING, text))
    elif policy.pull:
        text = f"--pull does not ask for {reference.familiar}: {LOCK_NAME} holds it"
        sink(Message(Level.INFO, text))


class _Finder:
    """Finds the image of one name for one platform."""

    def __init__(
        self,
        store: Store,
        registries: Registries,
        reference: Reference,
        platform: Platform,
        any_platform: bool,
    ) -> None:
        self.reference = reference
        self._store = store
        self._registries = registries
        self._platform = platform
        self._any_platform = any_platform

    def tagged(self, digest: str) -> Image | None:
        """The store's own image of that name, None where it is for another platform."""
        try:
            image, _ = self._pulled(digest)
        except UsageError:
            # An index without this platform.
            return None
        return image if self._fits(image) else None

    def misfit(self, digest: str) -> Image | None:
        """The store's own image for another platform, where that will do, with a warning."""
        if not self._any_platform:
            return None
        try:
            image, _ = self._pulled(digest)
        except UsageError:
            return None
        self._warn_of(image)
        return image

    def fetched(self, digest: str, *, pinned: bool = False) -> tuple[Image, str]:
        """The registry's image, by digest or by its tag where that is empty; the root's digest.

        `pinned`: the digest is not what the tag meant, but what the user wrote down.
        """
        reference, store = self.reference, self._store
        image, pulled = self._pulled(digest or reference.tag)
        note_sources(store, (image.manifest,), self._registries.of(reference).full_name)
        # What is pinned is kept under its digest, so that it need not be asked for again.
        held = reference._replace(digest=pulled.root.digest) if pinned else reference
        blobs = (pulled.root.digest, image.digest, image.manifest.config.digest)
        # Another build may have learned meanwhile that the tag moved: that is not to be undone.
        if not digest or pinned or meaning_of(store, reference).resolved == digest:
            remember(store, held, pulled.root, blobs)
        if not self._fits(image):
            found, wanted = image.config.platform, self._platform
            if self._any_platform:
                self._warn_of(image)
                return image, str(pulled.root.digest)
            raise UsageError(
                f"the base {reference.familiar} is not for {wanted}",
                why=f"it is an image for {found}" if str(found) else "it does not say for which",
                hint=f"name a base for {wanted}"
                + (f", or build with --platform {found}" if str(found) else ""),
            )
        return image, str(pulled.root.digest)

    def _warn_of(self, image: Image) -> None:
        found, wanted = image.config.platform, self._platform
        said = f"is an image for {found}, not" if str(found) else "does not say that it is"
        text = f"the base {self.reference.familiar} {said} for {wanted}"
        self._registries.around.sink(Message(Level.WARNING, text))

    def _pulled(self, wanted: str) -> tuple[Image, Pulled]:
        from wherry.registry.pull import pull_manifests  # noqa: PLC0415 - only for such bases

        around = self._registries.around
        repository = self._registries.of(self.reference)
        with transfer(around.sink, f"look up {self.reference.familiar}") as moving:
            pulled = pull_manifests(
                repository, wanted, self._platform, self._store.blobs, around.cancel
            )
            moving.remark = f"sha256:{pulled.root.digest.short}"
        found = pulled.images[0]
        return load_image(found.manifest.data, found.config), pulled

    def _fits(self, image: Image) -> bool:
        from wherry.registry.choose import can_run  # noqa: PLC0415 - only for such bases

        return can_run(image.config.platform, self._platform)
