# SPDX-License-Identifier: Apache-2.0
"""A container engine that speaks Docker's Engine API: Docker's own, and Podman's service.

What is used of it is the same in all versions since 1.24: /version, /info, /images/json,
/images/NAME/json, /images/NAME/tag and /images/load. Paths carry no version, so that each engine
answers in its newest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import quote

from wherry.errors import MachineError, WherryError
from wherry.exporters.engine_endpoint import Endpoint
from wherry.exporters.engine_http import Answer, EngineHttp, engine_words
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.reference import Reference

# Enough to meet the last builds of the same program and what stands on the same base.
_LOOKED_AT: Final = 40
_SNAPSHOTTER: Final = "io.containerd.snapshotter.v1"
_OWN_PREFIX: Final = "localhost/"


class EngineFacts(NamedTuple):
    """What an engine is: its `name` for people, its architecture as Go calls it.

    `keeps_layers`: Docker's own image store, which looks layers up by their diff IDs, so that those
    it has need not be sent. The others, Podman and Docker with containerd's image store, want all.
    `keeps_indexes`: the last of them, which holds an image for several platforms as it is.
    """

    name: str
    architecture: str
    is_podman: bool
    keeps_layers: bool
    keeps_indexes: bool


class KnownImage(NamedTuple):
    """An image of the engine: its ID (a digest), its names, its layers' diff IDs."""

    id: str
    names: tuple[str, ...]
    diff_ids: tuple[str, ...]


class Engine:
    """One engine."""

    def __init__(self, http: EngineHttp) -> None:
        self._http = http
        self.facts = self._facts()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return self._http.endpoint

    def check(self) -> None:
        """Raise `MachineError` where it does not answer any more."""
        self._object(self._http.ask("GET", "/version"))

    def image(self, name: str) -> KnownImage | None:
        """The image of this name or ID; None where it has none."""
        answer = self._http.ask("GET", f"/images/{quote(name, safe='/:')}/json")
        if answer.status == 404:
            return None
        return self._known(self._object(answer))

    def images(self) -> tuple[KnownImage, ...]:
        """Its newest images."""
        answer = self._http.ask("GET", "/images/json")
        listed = self._checked(answer)
        if not isinstance(listed, list):
            raise self._garbled("its list of images is none")
        rows = [row for row in listed if isinstance(row, dict) and isinstance(row.get("Id"), str)]
        rows.sort(key=lambda row: _number(row.get("Created")), reverse=True)
        found = (self.image(row["Id"]) for row in rows[:_LOOKED_AT])
        return tuple(image for image in found if image is not None)

    def tag(self, image: str, reference: Reference) -> None:
        """Give the image another name."""
        repository = reference._replace(tag="", digest=None).familiar
        query = f"repo={quote(repository, safe='')}&tag={quote(reference.tag, safe='')}"
        answer = self._http.ask("POST", f"/images/{quote(image, safe=':')}/tag?{query}")
        if answer.status not in (200, 201):
            raise self._refused(f"call the image {reference.familiar}", answer.words())

    def load(self, title: str, produce: Callable[[Callable[[bytes], object]], None]) -> None:
        """Load the tar that `produce` writes; raises `MachineError` with what the engine says.

        Also where it goes away in the middle; it has then none of the image's names.
        """
        errors: list[str] = []

        def take(line: bytes) -> None:
            try:
                value = json.loads(line)
            except ValueError:
                raise self._garbled(f"it says {engine_words(line)!r}") from None
            if not isinstance(value, dict):
                raise self._garbled(f"it says {engine_words(line)!r}")
            if value.get("error") or value.get("errorDetail"):
                errors.append(_error_of(value))

        answer = self._http.send("/images/load?quiet=0", produce, take)
        if answer.status != 200:
            errors.append(answer.words())
        if errors:
            raise self._refused(f"load {title}", "\n".join(errors))

    def _facts(self) -> EngineFacts:
        value = self._object(self._http.ask("GET", "/version"))
        version, architecture = value.get("Version"), value.get("Arch")
        if not isinstance(version, str) or not isinstance(architecture, str):
            raise self._garbled("it has no version")
        components = value.get("Components")
        is_podman = any(
            isinstance(item, dict) and str(item.get("Name", "")).startswith("Podman")
            for item in (components if isinstance(components, list) else ())
        )
        is_containerds = not is_podman and self._is_containerds()
        keeps_layers = not is_podman and not is_containerds
        name = f"{'Podman' if is_podman else 'Docker'} {engine_words(version.encode())}"
        return EngineFacts(name, architecture, is_podman, keeps_layers, is_containerds)

    def _is_containerds(self) -> bool:
        """Whether images are containerd's: what /info says of the storage driver tells."""
        value = self._object(self._http.ask("GET", "/info"))
        return _SNAPSHOTTER in json.dumps(value.get("DriverStatus"))

    def _known(self, value: dict[str, object]) -> KnownImage:
        identity, names, root = value.get("Id"), value.get("RepoTags"), value.get("RootFS")
        if not isinstance(identity, str):
            raise self._garbled("an image of its has no ID")
        layers = root.get("Layers") if isinstance(root, dict) else None
        return KnownImage(identity, _texts(names), _texts(layers))

    def _object(self, answer: Answer) -> dict[str, object]:
        value = self._checked(answer)
        if not isinstance(value, dict):
            raise self._garbled("its answer is no object")
        return value

    def _checked(self, answer: Answer) -> object:
        if answer.status != 200:
            raise self._refused("answer", answer.words())
        try:
            value: object = json.loads(answer.body)
        except ValueError as error:
            raise self._garbled(f"its answer is not JSON: {error}") from error
        return value

    def _refused(self, what: str, why: str) -> MachineError:
        return MachineError(f"the engine at {self.endpoint} cannot {what}", why=why,
                            hint="see to what it says, or look into its log")  # fmt: skip

    def _garbled(self, why: str) -> MachineError:
        return MachineError(
            f"what answers at {self.endpoint} is no Docker or Podman engine",
            why=why,
            hint="set DOCKER_HOST to an engine's socket",
        )


def known_layers(engine: Engine, diff_ids: tuple[Digest, ...]) -> int:
    """How many of an image's lowest layers the engine has below an image of its own."""
    wanted = tuple(str(digest) for digest in diff_ids)
    most = 0
    for image in engine.images():
        count = 0
        for ours, theirs in zip(wanted, image.diff_ids, strict=False):
            if ours != theirs:
                break
            count += 1
        most = max(most, count)
        if most == len(wanted):
            break
    return most


def names_for(reference: Reference, facts: EngineFacts) -> tuple[str, ...]:
    """What the engine may call the image where we say `reference`.

    Podman gives names without a registry one, `docker.io` or `localhost`, as its version and the
    API that was used have it.
    """
    if not facts.is_podman:
        return (reference.familiar,)
    said = (reference.familiar, reference.full, f"{_OWN_PREFIX}{reference.familiar}")
    return tuple(dict.fromkeys(said))


def is_id(image: KnownImage, digests: frozenset[Digest]) -> bool:
    """Whether the engine's image is one of these: the digest of its config, manifest or index."""
    text = image.id if ":" in image.id else f"sha256:{image.id}"
    with suppress(WherryError):
        return parse_digest(text) in digests
    return False


def _error_of(value: dict[str, object]) -> str:
    detail = value.get("errorDetail")
    message = detail.get("message") if isinstance(detail, dict) else None
    text = message if isinstance(message, str) and message else value.get("error")
    return engine_words(str(text).encode())


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
