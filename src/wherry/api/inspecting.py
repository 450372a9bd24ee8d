# SPDX-License-Identifier: Apache-2.0
"""Looking at an image where it is: the exact bytes of a manifest in a registry."""

from __future__ import annotations

from wherry.api.registries import Registries, RegistryAround
from wherry.oci.image import Descriptor, parse_index
from wherry.oci.media import is_index
from wherry.oci.platform import parse_platform
from wherry.registry.choose import choose
from wherry.registry.model import RawManifest


def raw_manifest(reference: str, around: RegistryAround, *, platform: str = "") -> RawManifest:
    """The manifest, index or artifact manifest that `reference` names, as the registry has it.

    With `platform` the manifest of an index for it. Raises `NetworkError`, `UsageError`.
    """
    with Registries(around) as registries:
        named = registries.reference(reference)
        repository = registries.of(named)
        raw = repository.manifest(str(named.digest) if named.digest is not None else named.tag)
        if platform and is_index(raw.descriptor.media_type):

            def open_index(entry: Descriptor) -> tuple[Descriptor, ...]:
                return parse_index(repository.manifest(str(entry.digest)).data).manifests

            wanted = parse_platform(platform)
            chosen = choose(raw.data, wanted, name=named.familiar, open_index=open_index)
            raw = repository.manifest(str(chosen.digest))
        return raw
