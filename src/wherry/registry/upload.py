# SPDX-License-Identifier: Apache-2.0
"""Blobs on their way out (distribution specification 1.1, "Pushing blobs").

Asked for first; then mounted from a repository of the same registry that is known to have it; then
uploaded, small ones in one request, large ones in chunks. After a break the registry is asked how
much it has, and the upload goes on from there; where it has forgotten the upload, a new one begins.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from wherry.errors import MachineError, NetworkError, UsageError
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken
from wherry.registry.endpoint import Call, Endpoint, check_digest, check_name, with_query
from wherry.registry.model import BlobSource, Progress, Sent
from wherry.registry.problems import Refused, refused
from wherry.registry.transfer import LONGEST_ASKED, Patience
from wherry.registry.upload_session import (
    Interrupted,
    Reading,
    Session,
    Stretch,
    received,
    session_of,
)
from wherry.transport.errors import ConnectionFailed
from wherry.transport.model import Body
from wherry.transport.retrying import RETRIED, parse_retry_after

if TYPE_CHECKING:
    from wherry.transport.http import Response

_MONOLITHIC: Final = 32 << 20
_CHUNK: Final = 64 << 20
_MOST_MOUNTS: Final = 3
_BUFFER: Final = 1 << 20
_TAKEN: Final = (200, 201, 202, 204)
_TOO_LARGE: Final = (
    f"let the registry, or the proxy before it, take requests of {_CHUNK >> 20} MiB "
    "(nginx calls it client_max_body_size)"
)
_FORGOTTEN: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_OCTETS: Final = ("content-type", "application/octet-stream")


def blob_exists(endpoint: Endpoint, digest: Digest) -> bool:
    """Whether the repository has the blob."""
    with endpoint.send(Call("HEAD", f"blobs/{check_digest(digest)}")) as response:
        if response.status == HTTPStatus.OK:
            return True
        if response.status == HTTPStatus.NOT_FOUND:
            return False
        raise refused(f"cannot find out whether {endpoint.full_name} has the blob {digest}",
                      response)  # fmt: skip


def push_blob(
    endpoint: Endpoint, source: BlobSource, cancel: CancelToken, progress: Progress
) -> Sent:
    """Have the blob in the repository, by the cheapest way.

    Raises `NetworkError`, `MachineError` where the source's bytes are not the blob's, whatever the
    source raises, and `Cancelled`.
    """
    if blob_exists(endpoint, source.descriptor.digest):
        return Sent.EXISTED
    upload = _Upload(endpoint, source, cancel, progress)
    if upload.mount():
        return Sent.MOUNTED
    with closing(upload.reading):
        upload.run()
    return Sent.UPLOADED


class _Upload:
    """One blob under way to one repository; used by one thread."""

    def __init__(
        self, endpoint: Endpoint, source: BlobSource, cancel: CancelToken, progress: Progress
    ) -> None:
        self._endpoint = endpoint
        self._source = source
        self._digest = source.descriptor.digest
        self._size = source.descriptor.size
        self._patience = Patience(cancel)
        self.reading = Reading(source, progress, self._patience, cancel)
        self._session: Session | None = None
        self._resumed = False

    @property
    def _what(self) -> str:
        return f"cannot push the blob {self._digest} to {self._endpoint.full_name}"

    # --- beginning ------------------------------------------------------------------------------

    def mount(self) -> bool:
        """Whether the registry has taken the blob from another of its repositories."""
        for repository in self._candidates():
            query = f"?mount={self._digest}&from={repository}"
            try:
                # Where the registry opens an upload instead, that is the one to go on with.
                return self._begin(query, repository)
            except Refused as error:
                # A repository that is gone, or not ours to read, is not needed for anything else.
                is_busy = error.status == HTTPStatus.TOO_MANY_REQUESTS
                if is_busy or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
        return False

    def _candidates(self) -> list[str]:
        """Other repositories of this registry that may have it."""
        found: dict[str, None] = {}
        for given in self._source.repositories:
            name = given.removeprefix(f"{self._endpoint.name}/")
            try:
                check_name(name)
            except UsageError:
                continue
            if name != self._endpoint.repository:
                found[name] = None
        return list(found)[:_MOST_MOUNTS]

    def _begin(self, query: str = "", mounted_from: str = "") -> bool:
        """Begin an upload; whether there is nothing left to do, which only a mount may bring."""
        call = Call("POST", f"blobs/uploads/{query}", body=b"", mounted_from=mounted_from)
        with self._endpoint.send(call) as response:
            if response.status == HTTPStatus.CREATED and query:
                return True
            if response.status != HTTPStatus.ACCEPTED:
                raise refused(self._what, response)
            self._session = session_of(self._endpoint, response, Session(""))
        return False

    # --- going on -------------------------------------------------------------------------------

    def run(self) -> None:
        """Upload to the end, over breaks."""
        while True:
            if self._session is None:
                self._begin()
            broken = self._send()
            if broken is None:
                return
            if not self._patience.has_more:
                raise broken.error
            self._patience.wait(broken.wait)
            # The last answer may have been lost when everything was done.
            if blob_exists(self._endpoint, self._digest):
                self.reading.reached(self._size)
                return
            if broken.forgotten:
                self._session = None
            self._find_again()

    def _send(self) -> Interrupted | None:
        """Bring what is missing; gives what came in between."""
        session = self._session or Session("")
        try:
            if session.offset == 0 and (self._size <= _MONOLITHIC or session.minimum > _CHUNK):
                # What a registry keeps of a broken PUT is its own affair: the next try begins anew.
                self._session = None
                self._finish(session, Stretch(self.reading, 0, self._size))
                return None
            while session.offset < self._size:
                session = self._session = self._append(session)
            self._finish(session, b"")
        except Interrupted as broken:
            return broken
        except ConnectionFailed as error:
            return Interrupted(error)
        return None

    def _append(self, session: Session) -> Session:
        """Bring one chunk."""
        start = session.offset
        size = min(_CHUNK, self._size - start)
        headers = (_OCTETS, ("content-range", f"{start}-{start + size - 1}"))
        body = Stretch(self.reading, start, size)
        call = Call("PATCH", "", headers, body, retry=False)
        with self._endpoint.send(call, session.url) as response:
            if response.status not in _TAKEN:
                raise self._unexpected(response)
            end = received(response) or start + size
            if not start < end <= start + size:
                raise Interrupted(
                    NetworkError(self._what, why=f"it says that it has {end} bytes after it was "
                                 f"sent those from {start} to {start + size}",
                                 hint="the fault is the registry's"),
                    forgotten=True)  # fmt: skip
            return session_of(self._endpoint, response, session._replace(offset=end))

    def _finish(self, session: Session, body: bytes | Body) -> None:
        url = with_query(session.url, f"digest={self._digest}")
        call = Call("PUT", "", (_OCTETS,), body, retry=False)
        with self._endpoint.send(call, url) as response:
            if response.status not in _TAKEN:
                raise self._unexpected(response)
            said = response.headers.get("docker-content-digest", str(self._digest))
            is_late = response.status == HTTPStatus.ACCEPTED
        if said != str(self._digest) or (is_late and not blob_exists(self._endpoint, self._digest)):
            raise NetworkError(self._what,
                               why=f"{self._endpoint.name} took its bytes for something else",
                               hint="the fault is the registry's")  # fmt: skip

    def _unexpected(self, response: Response) -> Exception:
        """What an answer that is none of those hoped for means for the upload."""
        wait = parse_retry_after(response.headers.get("retry-after", "")) or 0.0
        is_too_large = response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        error = refused(self._what, response, hint=_TOO_LARGE if is_too_large else "")
        if "DIGEST_INVALID" in error.codes:
            return self._not_the_blob(error)
        if error.status in _FORGOTTEN or "BLOB_UPLOAD_INVALID" in error.codes:
            return Interrupted(error, forgotten=True)
        if error.status in RETRIED and wait <= LONGEST_ASKED:
            return Interrupted(error, wait=wait)
        return error

    def _not_the_blob(self, error: Refused) -> Exception:
        """The registry has found another digest: whose fault is it?"""
        if self._resumed:
            self._resumed = False
            return Interrupted(error, forgotten=True)
        found = hashlib.new(self._digest.algorithm)
        with self._source.open(0) as file:
            while piece := file.read(_BUFFER):
                found.update(piece)
        if found.hexdigest() == self._digest.hex:
            return NetworkError(self._what,
                                why=f"{error.why}\nwherry sent the right bytes: something "
                                    "changed them on their way, or the registry is wrong",
                                hint="try again")  # fmt: skip
        return MachineError(f"the blob {self._digest} is damaged or was changed where it is kept",
                            why=f"its bytes have the digest {self._digest.algorithm}:"
                                f"{found.hexdigest()}; the registry refuses them",
                            hint="build or pull the image again")  # fmt: skip

    def _find_again(self) -> None:
        """Ask how much of a broken upload the registry has; no session if it has none."""
        session, self._session = self._session, None
        if session is None:
            return
        with self._endpoint.send(Call("GET", ""), session.url) as response:
            if response.status not in _TAKEN:
                return
            offset = received(response)
            # `0-0` is what some registries say of nothing, too.
            if offset is not None and 1 < offset <= self._size:
                known = session._replace(offset=offset)
                self._session = session_of(self._endpoint, response, known)
                self._resumed = True
