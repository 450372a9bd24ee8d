# SPDX-License-Identifier: Apache-2.0
"""What the bases of Dockerfiles hold: from wherry's store where they are in it, else by the table.

A name means there what it means to a build that asks nobody: a tag of the store, else what a
registry said last. The config is read each time; the files' names are in the layers' indexes, which
the store keeps, and what they come to is kept as a record of its own. With `pull` registries are
asked and what is missing is fetched, as `wherry build --pull` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from wherry.advice.reading.base_facts import BaseFacts, facts_of
from wherry.api.check_store import CheckStore
from wherry.errors import WherryError
from wherry.golang.root import module_root
from wherry.oci.reference import parse_reference
from wherry.settings.files import FILE_NAME

if TYPE_CHECKING:
    from wherry.advice.reading.base_contents import Contents
    from wherry.api.registries import Registries, RegistryAround
    from wherry.engines.local.layer_indexes import LayerIndexes
    from wherry.fstree.tree import File
    from wherry.oci.image import Image
    from wherry.oci.platform import Platform
    from wherry.oci.reference import Reference
    from wherry.store.store import Store

_CONTENTS: Final = "basefacts/1"
# What may be read through without being asked for it: a second of work.
_MOST_BYTES: Final = 40_000_000


class Bases:
    """Facts of images by name; each is looked at once.

    With `pull`, `errors` are those of bases that could not be had, by name; without it whatever is
    wrong with the store means the table, silently.
    """

    def __init__(
        self, store: CheckStore, around: RegistryAround, platform: Platform, *, pull: bool = False
    ) -> None:
        self.errors: list[tuple[str, WherryError]] = []
        self._store = store
        self._around = around
        self._platform = platform
        self._pull = pull
        self._known: dict[str, BaseFacts] = {}

    def facts_of(self, image: str) -> BaseFacts:
        """What is known of an image; raises nothing but `Cancelled`."""
        if image not in self._known:
            table = facts_of(image)
            self._known[image] = table if image in ("", "scratch") else self._better(image, table)
        return self._known[image]

    def _better(self, name: str, table: BaseFacts) -> BaseFacts:
        store = self._store.opened(create=self._pull)
        if store is None:
            return table
        try:
            return self._read(store, name, table)
        except (WherryError, OSError) as error:
            if self._pull and isinstance(error, WherryError):
                self.errors.append((name, error))
            return table

    def _read(self, store: Store, name: str, table: BaseFacts) -> BaseFacts:
        from wherry.advice.reading.base_contents import (  # noqa: PLC0415 - only with a store
            decoded,
            with_config,
            with_contents,
        )

        image = self._image(store, name)
        if image is None or image.config.run.on_build:
            # What its triggers do to an image is not known.
            return table
        facts = with_config(table, image.config.run)
        key = str(image.manifest.config.digest)
        kept = self._store.record(_CONTENTS, key)
        found = decoded(kept) if kept is not None else None
        if found is None:
            try:
                found = self._contents(store, image)
            except WherryError:
                if self._pull:
                    raise
            if found is None:
                return facts
            self._store.keep(_CONTENTS, key, found.encoded())
        return with_contents(facts, found)

    def _image(self, store: Store, name: str) -> Image | None:
        if self._pull:
            from wherry.api.bases import BasePolicy, find_base  # noqa: PLC0415 - only to fetch

            policy = BasePolicy(None, locked=False, pull=True, any_platform=True)
            with self._registries() as registries:
                return find_base(store, registries, policy, name, self._platform).image
        if not _may_have_settings(self._around):
            return _stored(store, parse_reference(name), self._platform)
        with self._registries() as registries:
            return _stored(store, registries.reference(name), self._platform)

    def _registries(self) -> Registries:
        from wherry.api.registries import Registries  # noqa: PLC0415 - not for every check

        return Registries(self._around)

    def _contents(self, store: Store, image: Image) -> Contents | None:
        """What the image's files come to; None where reading them would take too long."""
        from wherry.engines.local.layer_indexes import LayerIndexes  # noqa: PLC0415 - read once
        from wherry.fstree.limits import Limits  # noqa: PLC0415 - as above

        indexes = LayerIndexes(store, Limits())
        unread = (layer for layer in image.layers if not indexes.has(layer))
        if not self._pull and sum(layer.descriptor.size for layer in unread) > _MOST_BYTES:
            return None
        with self._registries() as registries:
            return _read_layers(store, registries, image, indexes, pull=self._pull)


def _may_have_settings(around: RegistryAround) -> bool:
    """Whether somebody may have said which registry names mean where they name none."""
    config = around.env.get("XDG_CONFIG_HOME") or f"{around.env.get('HOME', '')}/.config"
    if os.path.isdir(os.path.join(config, "wherry")):
        return True
    root = module_root(around.cwd) or around.cwd
    return any(os.path.lexists(os.path.join(root, name)) for name in (FILE_NAME, ".ko.yaml"))


def _stored(store: Store, reference: Reference, platform: Platform) -> Image | None:
    """The image that a name means here, None where it means none; nobody is asked."""
    from wherry.api.resolved import meaning_of  # noqa: PLC0415 - only with a store
    from wherry.oci.digest import parse_digest  # noqa: PLC0415 - as above

    digest = reference.digest
    if digest is None:
        meaning = meaning_of(store, reference)
        named = meaning.tagged or meaning.resolved
        digest = parse_digest(named) if named else None
    if digest is None or not store.blobs.has(digest):
        return None
    from wherry.oci.image import load_image, parse_index, parse_manifest  # noqa: PLC0415 - as above

    data = store.blobs.read(digest)
    if b'"manifests"' in data:
        from wherry.registry.choose import choose  # noqa: PLC0415 - only for an index

        chosen = choose(
            data, platform,
            open_index=lambda entry: parse_index(store.blobs.read(entry.digest)).manifests,
        )  # fmt: skip
        data = store.blobs.read(chosen.digest)
    return load_image(data, store.blobs.read(parse_manifest(data).config.digest))


def _read_layers(
    store: Store, registries: Registries, image: Image, indexes: LayerIndexes, *, pull: bool
) -> Contents:
    from wherry.advice.reading.base_reading import read_contents  # noqa: PLC0415 - read once
    from wherry.api.lazy import fetcher  # noqa: PLC0415 - as above
    from wherry.engines.local.roots import Roots  # noqa: PLC0415 - as above
    from wherry.fstree.tree import File  # noqa: PLC0415 - as above

    fetch = fetcher(store, registries, is_plan=not pull)
    roots = Roots(store, fetch, indexes, registries.around.cancel)
    view = roots.view(image.layers)

    def read(files: Iterable[File]) -> dict[str, bytes]:
        wanted = tuple(files)
        return {
            before.path: roots.read(after)
            for before, after in zip(wanted, roots.extracted(wanted), strict=True)
            if isinstance(after, File)
        }

    return read_contents(view, image.config.run, view.size, read)
