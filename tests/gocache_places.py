# SPDX-License-Identifier: Apache-2.0
"""Exporters of small pack sets, and cache places of every kind for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fake_repository import Source
from registry_clients import Keys, registry_client
from wherry.gocache.agreeing import Pace
from wherry.gocache.directory_place import DirectoryPlace
from wherry.gocache.places import CachePlace, Document, Found, Published
from wherry.gocache.registry_place import CacheRepository, RegistryPlace, Repositories
from wherry.oci.digest import parse_digest
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken
from wherry.registry.model import RegistryOptions

PACK = "application/vnd.wherry.gocache.pack.v1+zstd"
# No test waits longer than it has to where exporters come one after another.
QUICK = Pace(least=0.001, factor=1.0)


def pack(data: bytes | str) -> Source:
    """A pack with these bytes."""
    return Source(data.encode() if isinstance(data, str) else data, PACK)


def index_of(packs: dict[str, int]) -> bytes:
    return json.dumps(packs, sort_keys=True).encode()


def packs_of(found: Found | None) -> dict[str, int]:
    """Digest: size."""
    return dict(json.loads(found.index)) if found else {}


def document(packs: dict[str, int], signature: str = "") -> Document:
    blobs = (Descriptor(PACK, parse_digest(name), size) for name, size in packs.items())
    return Document(index_of(packs), tuple(blobs), signature)


def adding(*sources: Source) -> Callable[[Found | None], Document | None]:
    """A merge that adds these packs to what others have."""
    ours = {str(one.descriptor.digest): one.descriptor.size for one in sources}

    def merge(found: Found | None) -> Document | None:
        known = packs_of(found)
        return None if ours.keys() <= known.keys() else document({**known, **ours})

    return merge


def keeping(*sources: Source) -> Callable[[Found | None], Document]:
    """A merge that drops all others: a compaction."""
    ours = {str(one.descriptor.digest): one.descriptor.size for one in sources}
    return lambda _found: document(ours)


def export(place: CachePlace, *sources: Source) -> Published:
    """Put packs and publish them beside those of others."""
    for source in sources:
        place.put(source)
    return place.publish(adding(*sources))


def export_at_once(places: list[CachePlace]) -> list[Published | Exception]:
    """Each place's exporter adds a pack of its own, all starting together."""
    start = threading.Barrier(len(places))
    results: list[Published | Exception] = [AssertionError("not run")] * len(places)

    def run(number: int) -> None:
        try:
            start.wait(30)
            results[number] = export(places[number], pack(f"pack {number}"))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


def contents(place: CachePlace) -> set[bytes]:
    """The bytes of all packs that the place names, each read whole."""
    found = set()
    for name, size in packs_of(place.current()).items():
        with place.open(Descriptor(PACK, parse_digest(name), size)) as stream:
            found.add(stream.read())
    return found


def directory_place(path: Path, pace: Pace = QUICK) -> DirectoryPlace:
    return DirectoryPlace(f"./{path.name}", str(path), CancelToken(), pace)


Around = Callable[[CacheRepository], CacheRepository]


@contextmanager
def registry_place(
    host: str,
    name: str,
    pace: Pace = QUICK,
    *,
    around: Around = lambda repository: repository,
    mirror: str = "",
    keys: Keys | None = None,
) -> Iterator[RegistryPlace]:
    """A place at the tag `go`; `around` wraps the repository that is the registry's own."""
    mirrors = ((host, (f"http://{mirror}",)),) if mirror else ()
    with registry_client(RegistryOptions(mirrors=mirrors), keys=keys) as client:
        repository = client.repository(host, name)
        itself = around(repository.without_mirrors())
        repositories = Repositories(itself, repository if mirror else itself)
        yield RegistryPlace(f"{host}/{name}:go", repositories, "go", client.cancel, pace)
