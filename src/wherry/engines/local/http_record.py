# SPDX-License-Identifier: Apache-2.0
"""What is remembered of a URL, so that a file that did not change is not sent again.

Validators (RFC 9110, 8.8) are believed only where they are strong, and only for the place that
redirects led to: a digest of bytes that were once read there is all that ever comes of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from wherry.engines.local.http_names import given_name
from wherry.errors import UsageError
from wherry.oci.digest import Digest, parse_digest

if TYPE_CHECKING:
    from wherry.transport.response import Response

# RFC 9110, 8.8.2.2: a date is a strong validator if the answer was made this much later.
_STRONG_AFTER: Final = 60
_STRONG: Final = re.compile(r'"[^"]*"')


class UrlRecord(NamedTuple):
    """What is known of a URL.

    `etag` is empty unless strong; `modified` is the Last-Modified header, a validator only where
    `is_dated`. `given_name` is the server's name for the file. `place` is a digest of where
    redirects led, without the query.
    """

    digest: Digest
    size: int
    etag: str
    modified: str
    is_dated: bool
    given_name: str
    place: str

    @classmethod
    def of(cls, response: Response, digest: Digest, size: int) -> Self:
        """The record of an answer with this content."""
        headers = response.headers
        whole = response.status == 200
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        made, changed = _seconds(headers.get("date", "")), _seconds(modified)
        return cls(
            digest,
            size,
            etag=etag if whole and _STRONG.fullmatch(etag) else "",
            modified=modified,
            is_dated=whole and None not in (made, changed)
            and (made or 0) - (changed or 0) >= _STRONG_AFTER,
            given_name=given_name(headers.get("content-disposition", "")),
            place=_place(response.url),
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes | None) -> Self | None:
        """The record that `encode` wrote; None for anything else."""
        try:
            digest, size, etag, modified, is_dated, name, place = json.loads(data or b"null")
            return cls(parse_digest(digest), int(size), str(etag), str(modified), bool(is_dated),
                       str(name), str(place))  # fmt: skip
        except (ValueError, TypeError, UsageError):
            return None

    def encode(self) -> bytes:
        """The record as bytes."""
        return json.dumps([str(self.digest), *self[1:]]).encode()

    @property
    def mtime(self) -> int:
        """The file's time in seconds since 1970; 0 where the server tells none."""
        return max(0, _seconds(self.modified) or 0)

    @property
    def conditions(self) -> tuple[tuple[str, str], ...]:
        """Headers that make the server answer 304 if nothing changed; none without a validator."""
        if self.etag:
            return (("If-None-Match", self.etag),)
        return (("If-Modified-Since", self.modified),) if self.is_dated else ()

    def holds_for(self, response: Response) -> bool:
        """Whether the answer to a request with `conditions` says that the content is this one.

        Some servers send the whole again, under the same ETag.
        """
        if _place(response.url) != self.place or not self.conditions:
            return False
        etag = response.headers.get("etag", "")
        if response.status == 304:
            return not (etag and self.etag) or etag.removeprefix("W/") == self.etag
        return response.status == 200 and bool(self.etag) and etag == self.etag


def _place(url: str) -> str:
    """Validators hold for one resource; signatures in its query come and go."""
    return hashlib.sha256(url.partition("?")[0].encode()).hexdigest()


def _seconds(date: str) -> int | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - not on the way of other builds

    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None
