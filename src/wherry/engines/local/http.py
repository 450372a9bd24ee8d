# SPDX-License-Identifier: Apache-2.0
"""Files from URLs: what ADD downloads.

A file is known by its content's digest. Validators (RFC 9110, 8.8) only answer whether it has to be
sent again: a strong ETag, or a Last-Modified that is old enough to be one. Name, mode and time are
BuildKit's: the name that is asked for, else that of the answer, else the URL's; 0600; the time of
Last-Modified, else 1970.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from wherry.engines.local.http_names import name_in_url, safe_name
from wherry.engines.local.http_record import UrlRecord
from wherry.engines.local.http_request import request_for
from wherry.errors import BuildError, MachineError, NetworkError, UsageError
from wherry.events import Sink, discard
from wherry.oci.digest import Digest, parse_digest
from wherry.process.cancel import CancelToken
from wherry.transport.errors import BodyCut
from wherry.transport.model import Request, TransportOptions
from wherry.vcs.remote import public_url

if TYPE_CHECKING:
    from wherry.transport.http import Transport
    from wherry.transport.response import Response

FILE_MODE: Final = 0o600
"""The mode of a downloaded file."""

_BLOCK: Final = 1 << 18
_TRIES: Final = 3
# zlib's number for a gzip header and the largest window.
_GZIP: Final = 31


class Wanted(NamedTuple):
    """A URL; the digest that its content must have, or empty; the file's name, or empty.

    ADD asks for the name in the URL (`http_names.name_in_url`); without one the server's counts.
    """

    url: str
    checksum: str = ""
    name: str = ""


class Fetched(NamedTuple):
    """A file: `mtime` is in seconds since 1970.

    `path` is where its bytes are, None if they were not sent again, since `holds` was true.
    """

    digest: Digest
    size: int
    name: str
    mtime: int
    path: str | None


class UrlMemo(Protocol):
    """Keeps small values between builds, by keys that tell nothing of the URL."""

    def load(self, key: str) -> bytes | None:
        """What was saved last, if anything."""

    def save(self, key: str, data: bytes) -> None:
        """Keep `data`."""


@dataclass(frozen=True, slots=True)
class HttpSource:
    """Downloads files.

    `holds` tells whether the bytes of a digest are still there. `limit` is the most bytes that a
    file may have, `limit_option` the option that raises it.
    """

    options: TransportOptions
    memo: UrlMemo
    holds: Callable[[Digest], bool]
    limit: int
    limit_option: str
    cancel: CancelToken
    sink: Sink = discard

    def fetch(self, wanted: Wanted, directory: str) -> Fetched:
        """Get the file into a new file in `directory`, unless its bytes are there already.

        Raises `BuildError` for a wrong checksum, `NetworkError`, `UsageError` for a URL that cannot
        be used and for a file over the limit, `MachineError` where the disk is full, `Cancelled`.
        """
        from wherry.transport.http import Transport  # noqa: PLC0415 - urllib3 is heavy

        checksum = parse_digest(wanted.checksum) if wanted.checksum else None
        key = hashlib.sha256(wanted.url.encode("utf-8", "surrogateescape")).hexdigest()
        known = UrlRecord.decode(self.memo.load(key))
        if known is not None and not self.holds(known.digest):
            known = None
        if checksum is not None and known is not None:
            if checksum == known.digest:
                return _fetched(known, wanted, None)
            known = None
        request, options = request_for(wanted.url, self.options)
        with Transport(options, self.cancel, self.sink) as transport:
            download = _Download(self, wanted, directory, transport)
            record, path = download.get(request, known, checksum)
        self.memo.save(key, record.encode())
        return _fetched(record, wanted, path)


def _fetched(record: UrlRecord, wanted: Wanted, path: str | None) -> Fetched:
    name = wanted.name or record.given_name or name_in_url(wanted.url)
    return Fetched(record.digest, record.size, safe_name(name), record.mtime, path)


class _Download(NamedTuple):
    source: HttpSource
    wanted: Wanted
    directory: str
    transport: Transport

    @property
    def shown(self) -> str:
        return public_url(self.wanted.url) or "the URL"

    def get(
        self, request: Request, known: UrlRecord | None, checksum: Digest | None
    ) -> tuple[UrlRecord, str | None]:
        """What is known of the URL now, and where its bytes are if they were sent."""
        for left in reversed(range(_TRIES)):
            try:
                return self._try(request, known, checksum)
            except BodyCut:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def _try(
        self, request: Request, known: UrlRecord | None, checksum: Digest | None
    ) -> tuple[UrlRecord, str | None]:
        if known is not None and known.conditions:
            conditional = request._replace(headers=(*request.headers, *known.conditions))
            with self.transport.send(conditional) as response:
                if known.holds_for(response):
                    return known, None
                if response.status != 304:
                    return self._save(response, checksum)
            # Not changed, but not what was asked about either: ask without a condition.
        with self.transport.send(request) as response:
            return self._save(response, checksum)

    def _check_status(self, response: Response) -> None:
        status = response.status
        if 200 <= status < 300:
            return
        if status in (404, 410):
            raise NetworkError(f"there is nothing at {self.shown}", why=f"the server says {status}",
                               hint="check the URL")  # fmt: skip
        raise NetworkError(f"cannot get {self.shown}", why=f"the server says {status}")

    def _save(self, response: Response, checksum: Digest | None) -> tuple[UrlRecord, str]:
        self._check_status(response)
        descriptor, path = self._create()
        try:
            with open(descriptor, "wb", buffering=0) as file:
                record = self._copy(response, file.fileno(), checksum)
        except BaseException:
            os.unlink(path)
            raise
        return record, path

    def _copy(self, response: Response, descriptor: int, checksum: Digest | None) -> UrlRecord:
        algorithms = {"sha256", checksum.algorithm if checksum else "sha256"}
        hashers = {algorithm: hashlib.new(algorithm) for algorithm in algorithms}
        size = 0
        for piece in self._pieces(response):
            size += len(piece)
            if size > self.source.limit:
                raise self._too_large()
            for hasher in hashers.values():
                hasher.update(piece)
            self._write(descriptor, piece)
        found = {name: Digest(name, hasher.hexdigest()) for name, hasher in hashers.items()}
        if checksum is not None and found[checksum.algorithm] != checksum:
            raise self._mismatch(checksum, found[checksum.algorithm])
        return UrlRecord.of(response, found["sha256"], size)

    def _write(self, descriptor: int, piece: bytes) -> None:
        view = memoryview(piece)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            raise self._disk_error(error) from None

    def _create(self) -> tuple[int, str]:
        try:
            return tempfile.mkstemp(prefix="download-", dir=self.directory)
        except OSError as error:
            raise self._disk_error(error) from None

    def _pieces(self, response: Response) -> Iterator[bytes]:
        """The content; a server that compresses it all the same is understood, as in BuildKit."""
        if response.headers.get("content-encoding", "").strip().lower() == "gzip":
            yield from self._unzipped(_raw_pieces(response))
        else:
            yield from _raw_pieces(response)

    def _unzipped(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        unzip = zlib.decompressobj(_GZIP)
        try:
            for piece in pieces:
                data = piece
                while data:
                    if unzip.eof:
                        unzip = zlib.decompressobj(_GZIP)
                    yield unzip.decompress(data, _BLOCK)
                    data = unzip.unconsumed_tail or unzip.unused_data
        except zlib.error:
            raise self._broken() from None
        yield unzip.flush()
        if not unzip.eof:
            raise self._broken()

    def _broken(self) -> NetworkError:
        return NetworkError(f"cannot get {self.shown}",
                            why="it is compressed by gzip, and damaged")  # fmt: skip

    def _too_large(self) -> UsageError:
        return UsageError(
            f"{self.shown} has more than the {self.source.limit} bytes that are allowed",
            hint=f"if it is meant to be so large, allow it with {self.source.limit_option}=SIZE",
        )

    def _disk_error(self, error: OSError) -> MachineError:
        why = error.strerror or str(error)
        return MachineError(f"cannot keep what {self.shown} sends", why=why)

    def _mismatch(self, wanted: Digest, found: Digest) -> BuildError:
        return BuildError(
            f"{self.shown} does not have the content that its checksum says",
            why=f"wanted {wanted}, found {found}",
            hint="if the change is wanted, write the new digest as the checksum",
        )


def _raw_pieces(response: Response) -> Iterator[bytes]:
    block = memoryview(bytearray(_BLOCK))
    while count := response.readinto(block):
        yield bytes(block[:count])
