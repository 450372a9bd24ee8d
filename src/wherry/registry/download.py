# SPDX-License-Identifier: Apache-2.0
"""Blobs on their way in (distribution specification 1.1, "Pulling blobs").

A blob is one stream whatever happens to the connections under it: where an answer breaks off, the
rest is asked for by Range. Nobody sees the end of a blob whose bytes are not the right ones: the
last piece is given away only once size and digest have been checked.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING, Any

from wherry.errors import NetworkError
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken
from wherry.registry.endpoint import Call, Endpoint, check_digest
from wherry.registry.mirrors import Sources
from wherry.registry.model import BlobStore, Progress
from wherry.registry.problems import printable, refused
from wherry.registry.transfer import Furthest, Patience
from wherry.transport.errors import BodyCut, ConnectionFailed

if TYPE_CHECKING:
    from wherry.transport.http import Response

_BUFFER = 1 << 20
_SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_HINT = "the blob is damaged there, or something changes it on its way; try again or push it again"


class WrongBytes(NetworkError):
    """What came is not the blob; `endpoint` sent its end."""

    def __init__(self, what: str, endpoint: Endpoint, why: str) -> None:
        super().__init__(what, why=why, hint=_HINT)
        self.endpoint = endpoint


class BlobStream(io.RawIOBase):
    """A blob's bytes from `offset` on, closed by the caller; used by one thread.

    Read from 0 it is verified: the read that would give the last bytes raises `WrongBytes`
    instead, where size or digest are wrong. `avoided` is a server that is not asked as long as
    there are others. Raises `NetworkError` also where no server has the blob, `Cancelled`.
    """

    def __init__(
        self,
        sources: Sources,
        descriptor: Descriptor,
        cancel: CancelToken,
        *,
        offset: int = 0,
        avoided: Endpoint | None = None,
    ) -> None:
        self._sources = sources
        self._descriptor = descriptor
        self._cancel = cancel
        self._patience = Patience(cancel)
        self._path = f"blobs/{check_digest(descriptor.digest)}"
        self._position = offset
        self._hash = hashlib.new(descriptor.digest.algorithm) if offset == 0 else None
        servers = [*sources.mirrors(), sources.itself]
        self._servers = [one for one in servers if one != avoided] or servers
        self._response: Response | None = None
        if descriptor.size <= offset:
            self._check_end()

    @property
    def at_end(self) -> bool:
        """Whether all bytes have been read."""
        return self._position >= self._descriptor.size

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any buffer, as typeshed has it
        """The next bytes: their number, 0 at the end."""
        left = max(0, self._descriptor.size - self._position)
        view = memoryview(buffer).cast("B")[:left]
        while view:
            response = self._response or self._connect()
            try:
                count = response.readinto(view)
            except (BodyCut, ConnectionFailed) as error:
                self._broke(error)
                continue
            if count:
                self._take(view[:count])
                return count
            self._broke(self._wrong(f"it ends after {self._position} bytes; there should be "
                                    f"{self._descriptor.size}"))  # fmt: skip
        return 0

    def close(self) -> None:
        """Give the connection back."""
        self._drop()
        super().close()

    @property
    def _server(self) -> Endpoint:
        return self._servers[0]

    @property
    def _what(self) -> str:
        return f"cannot get the blob {self._descriptor.digest} of {self._server.full_name}"

    def _wrong(self, why: str) -> WrongBytes:
        return WrongBytes(self._what, self._server, why)

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _take(self, piece: memoryview) -> None:
        if self._hash is not None:
            self._hash.update(piece)
        self._position += len(piece)
        self._patience.came(len(piece))
        if self.at_end:
            self._check_end()

    def _check_end(self) -> None:
        """All bytes have come: are there more, and are they the right ones?"""
        try:
            more = self._response.readinto(bytearray(1)) if self._response else 0
        except NetworkError:
            more = 0
        self._drop()
        expected = self._descriptor.digest
        if more:
            raise self._wrong(f"it has more than the {self._descriptor.size} bytes that it "
                              "should have")  # fmt: skip
        if self._hash is not None and self._hash.hexdigest() != expected.hex:
            found = Digest(expected.algorithm, self._hash.hexdigest())
            raise self._wrong(f"its bytes have the digest {found}")

    def _broke(self, error: NetworkError) -> None:
        """An answer ended early: wait before the next, ask another server, or give up."""
        self._drop()
        if self._patience.has_more:
            self._patience.wait()
        else:
            self._next_server(error)

    def _next_server(self, error: NetworkError) -> None:
        if len(self._servers) == 1:
            raise error
        self._sources.failed(self._servers.pop(0), error)
        self._patience = Patience(self._cancel)

    def _connect(self) -> Response:
        """An answer whose body goes on at the position."""
        while True:
            try:
                response = self._ask()
            except NetworkError as error:
                # The transport has had its own patience with connections.
                self._next_server(error)
                continue
            try:
                self._position_at(response)
            except (BodyCut, ConnectionFailed) as error:
                response.close()
                self._broke(error)
            except NetworkError as error:
                response.close()
                self._next_server(error)
            except BaseException:
                response.close()
                raise
            else:
                self._response = response
                return response

    def _ask(self) -> Response:
        start = self._position
        headers = (("range", f"bytes={start}-"),) if start else ()
        response = self._server.send(Call("GET", self._path, headers))
        if response.status == 404:
            response.close()
            raise NetworkError(f"there is no blob {self._descriptor.digest} in "
                               f"{self._server.full_name}",
                               hint="the image there is not whole: push it again")  # fmt: skip
        if response.status not in (200, 206, 416):
            raise refused(self._what, response)
        return response

    def _position_at(self, response: Response) -> None:
        """Check what the answer's headers say, and pass over what is here already."""
        size, start = self._descriptor.size, self._position
        length = response.headers.get("content-length", "")
        if response.status == 200:
            if length and length != str(size):
                raise self._wrong(f"it has {printable(length, most=30)} bytes; there should be "
                                  f"{size}")  # fmt: skip
            self._skip(response, start)
            return
        span = response.headers.get("content-range", "")
        found = _SPAN.fullmatch(span)
        fits = found is not None and int(found[1]) == start and found[3] in ("*", str(size))
        if response.status == 416 or not fits or not start:
            raise self._wrong(f"asked for the bytes from {start} of {size} on, it answers "
                              f"{response.status} {printable(span, most=60)}".rstrip())  # fmt: skip

    def _skip(self, response: Response, count: int) -> None:
        """Read what a server without Range sends once more."""
        view = memoryview(bytearray(min(_BUFFER, count)))
        while count:
            got = response.readinto(view[:count])
            if not got:
                raise BodyCut(self._what, why="the answer ended early", hint="try again")
            count -= got


def open_blob(
    sources: Sources, descriptor: Descriptor, cancel: CancelToken, offset: int
) -> io.BufferedReader:
    """The blob as a file; see `BlobStream`."""
    return io.BufferedReader(BlobStream(sources, descriptor, cancel, offset=offset), _BUFFER)


def fetch_blob(
    sources: Sources,
    descriptor: Descriptor,
    store: BlobStore,
    cancel: CancelToken,
    progress: Progress,
) -> None:
    """Put the blob into `store`, verified; one that came wrong is asked for a second time.

    Raises `NetworkError`, what the store's disk raises, `Cancelled`; then nothing is stored.
    """
    told = Furthest(progress)
    try:
        _receive(BlobStream(sources, descriptor, cancel), descriptor, store, told)
    except WrongBytes as error:
        if error.endpoint.is_mirror:
            sources.failed(error.endpoint, error)
        again = BlobStream(sources, descriptor, cancel, avoided=error.endpoint)
        _receive(again, descriptor, store, told)


def _receive(stream: BlobStream, descriptor: Descriptor, store: BlobStore, told: Furthest) -> None:
    view = memoryview(bytearray(min(_BUFFER, max(1, descriptor.size))))
    position = 0
    with stream, store.writer() as sink:
        while count := stream.readinto(view):
            sink.write(view[:count])
            position += count
            told.reached(position)
        sink.commit(descriptor.digest, descriptor.size)
