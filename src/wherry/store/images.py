# SPDX-License-Identifier: Apache-2.0
"""The store's images: descriptors under local tags.

An image is a record of kind "image" that pins its manifest, config and layers. Moving a tag leaves
the old image without one; it can be named by digest until it is pruned. Tagged images are never
pruned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import UsageError, near
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.reference import Reference, parse_reference
from wherry.store.blobs import Blobs
from wherry.store.database import Database
from wherry.store.records import Pinning, Records
from wherry.store.session import Session

if TYPE_CHECKING:
    from wherry.oci.image import Descriptor

KIND = "image"
_HEX_DIGITS = frozenset("0123456789abcdef")


class ImageRow(NamedTuple):
    """One tag: its reference, the image, and when the tag was set (seconds since 1970)."""

    reference: Reference
    descriptor: Descriptor
    created_at: float


class Images:
    """Local tags; safe for threads and processes."""

    def __init__(
        self, database: Database, blobs: Blobs, records: Records, session: Session
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._records = records
        self._session = session

    def tag(self, reference: Reference, descriptor: Descriptor, created: float) -> None:
        """Let `reference` mean the image.

        Manifests and configs must be in the store, layers there or have a source.
        """
        pinning = self._pinning(descriptor)
        self._session.trace("tag-before")
        with self._database.transaction():
            self._records.write(KIND, str(descriptor.digest), pinning)
            self._database.rows(
                "INSERT OR REPLACE INTO tags VALUES (?, ?, ?)",
                _name(reference), str(descriptor.digest), created,
            )  # fmt: skip
        self._session.trace("tag-after")

    def keep(self, descriptor: Descriptor) -> None:
        """Let the image be there by its digest, until it is pruned."""
        pinning = self._pinning(descriptor)
        with self._database.transaction():
            self._records.write(KIND, str(descriptor.digest), pinning)

    def untag(self, reference: Reference) -> Descriptor:
        """Remove a tag, and the image's record with its last tag; raises `UsageError`."""
        # Outside the transaction: reading marks the use, which may wait for the gate.
        found = self.get(reference)
        if found is None:
            raise self.unknown(reference.familiar)
        with self._database.transaction():
            self._database.rows("DELETE FROM tags WHERE name = ? AND digest = ?",
                                _name(reference), str(found.digest))  # fmt: skip
            if not self.tags_of(found.digest):
                self.forget(found.digest)
        return found

    def forget(self, digest: Digest) -> None:
        """Remove an image that has no tag (any more)."""
        self._records.delete(KIND, str(digest))

    def resolve(self, text: str) -> Descriptor | None:
        """The image that a user names: a tag, NAME@DIGEST, a digest or six digits of it.

        Raises `UsageError` for a text that is no reference or a short digest of several images.
        """
        digits = text.removeprefix("sha256:")
        is_short = 6 <= len(digits) <= 64 and _HEX_DIGITS.issuperset(digits)
        if not text.startswith("sha256:"):
            reference = parse_reference(text)
            if reference.digest is not None:
                return self._descriptor(str(reference.digest))
            found = self.get(reference)
            if found is not None or not is_short:
                return found
        return self._by_prefix(text, digits) if is_short else None

    def get(self, reference: Reference) -> Descriptor | None:
        """The image of a tag."""
        row = self._database.row("SELECT digest FROM tags WHERE name = ?", _name(reference))
        return self._descriptor(str(row[0])) if row else None

    def is_tagged(self, reference: Reference, digest: Digest) -> bool:
        """Whether the tag means this image: what a build in which nothing changed asks."""
        return self.digest_of(reference) == str(digest)

    def digest_of(self, reference: Reference) -> str:
        """The digest of a tag's image, or the empty string; marks no use."""
        row = self._database.row("SELECT digest FROM tags WHERE name = ?", _name(reference))
        return str(row[0]) if row else ""

    def tags_of(self, digest: Digest) -> tuple[Reference, ...]:
        """All tags of an image, by name."""
        rows = self._database.rows("SELECT name FROM tags WHERE digest = ? ORDER BY name",
                                   str(digest))  # fmt: skip
        return tuple(parse_reference(str(row[0])) for row in rows)

    def list(self) -> tuple[ImageRow, ...]:
        """All tags, the newest first."""
        rows = self._database.rows(
            "SELECT name, value, created_at FROM tags JOIN records"
            " ON kind = ? AND key = digest ORDER BY created_at DESC, name",
            KIND,
        )
        return tuple(
            ImageRow(parse_reference(str(name)), _decoded(value), float(str(created_at)))
            for name, value, created_at in rows
        )

    def unknown(self, text: str) -> UsageError:
        """The error for a name that means nothing here, with the nearest name that does."""
        names = tuple(row.reference.familiar for row in self.list())
        short = tuple(name.removesuffix(":latest") for name in names)
        return UsageError(f"there is no image {text!r} in the store",
                          hint=near(text, names + short)
                          or "`wherry images` lists what is there")  # fmt: skip

    def _pinning(self, descriptor: Descriptor) -> Pinning:
        from wherry.oci.canonical import Json, canonical_json  # noqa: PLC0415 - late, for speed

        pinned = self._reachable(descriptor.digest)
        stamp = self._session.now()
        self._blobs.keep(pinned, stamp)
        # Without platform and annotations: those are an index's words, and who names the image
        # next may have others.
        value: dict[str, Json] = {
            "mediaType": descriptor.media_type,
            "digest": str(descriptor.digest),
            "size": descriptor.size,
        }
        return Pinning(canonical_json(value), pinned, stamp)

    def _descriptor(self, digest: str) -> Descriptor | None:
        value = self._records.get(KIND, digest)
        return None if value is None else _decoded(value)

    def _by_prefix(self, text: str, digits: str) -> Descriptor | None:
        rows = self._database.rows(
            "SELECT key FROM records WHERE kind = ? AND key GLOB ? LIMIT 2",
            KIND, f"sha256:{digits}*",
        )  # fmt: skip
        if len(rows) > 1:
            raise UsageError(f"{text!r} is the beginning of several digests",
                             hint="write more digits of it")  # fmt: skip
        return self._descriptor(str(rows[0][0])) if rows else None

    def _reachable(self, digest: Digest) -> tuple[Digest, ...]:
        """The manifest or index and everything that it names."""
        import json  # noqa: PLC0415 - late, for speed

        from wherry.oci.media import is_index, is_manifest  # noqa: PLC0415 - as above

        value = json.loads(self._blobs.read(digest))
        named = [*value.get("layers", ()), *([value["config"]] if "config" in value else ())]
        found = [digest, *(parse_digest(item["digest"]) for item in named)]
        for child in value.get("manifests", ()):
            # What else an index may list is nobody's image, and was not pulled.
            if is_manifest(child["mediaType"]) or is_index(child["mediaType"]):
                found.extend(self._reachable(parse_digest(child["digest"])))
        return tuple(found)


def _name(reference: Reference) -> str:
    """The unabridged name: the short one can be read in two ways."""
    return f"{reference.registry}/{reference.repository}:{reference.tag or 'latest'}"


def _decoded(value: object) -> Descriptor:
    # Late, for speed: a build in which nothing changed asks for tags, never for descriptors.
    import json  # noqa: PLC0415

    from wherry.oci.image import parse_descriptor  # noqa: PLC0415

    return parse_descriptor(json.loads(value if isinstance(value, bytes) else b"null"))
