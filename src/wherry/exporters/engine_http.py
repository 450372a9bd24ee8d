# SPDX-License-Identifier: Apache-2.0
"""Requests to an engine over its socket: HTTP/1.1 (RFC 9112), one connection for each.

Short questions have a time to be answered in. A long one is watched: while nothing moves, the
engine is asked now and then whether it lives, so that slow work is waited for and an engine that
hangs is not. Everything an engine says is bounded and printable before it is shown.
"""

from __future__ import annotations

import http.client
import json
import select
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from wherry.errors import MachineError
from wherry.exporters.engine_connection import EngineConnection, cut
from wherry.exporters.engine_endpoint import Endpoint
from wherry.exporters.engine_watch import PATIENCE, Patience, Silent, Watch
from wherry.process.cancel import CancelToken
from wherry.registry.problems import printable

__all__ = ["PATIENCE", "Answer", "EngineHttp", "Patience", "engine_words"]

_PIECE: Final = 1 << 18
_ANSWER_LIMIT: Final = 16 << 20
_LINE_LIMIT: Final = 1 << 20
_SHOWN: Final = 500
# Met while sending or while reading, as the moment has it. (RemoteDisconnected is a reset.)
_HUNG_UP: Final = (ConnectionResetError, BrokenPipeError, http.client.IncompleteRead)


class Answer(NamedTuple):
    """An answer's status and body."""

    status: int
    body: bytes

    def words(self) -> str:
        """What the engine says went wrong, in one printable line or a few."""
        return engine_words(self.body) or f"it answers {self.status}"


class EngineHttp:
    """Sends requests to one engine; safe for threads."""

    def __init__(
        self, endpoint: Endpoint, cancel: CancelToken, patience: Patience = PATIENCE
    ) -> None:
        self.endpoint = endpoint
        self._cancel = cancel
        self._patience = patience

    def ask(self, method: str, path: str, *, seconds: float | None = None) -> Answer:
        """One short question; raises `MachineError` where no answer comes, `Cancelled`."""
        limit = self._patience.answer if seconds is None else seconds
        with self._connected(limit) as connection:
            connection.request(method, path, headers={"Content-Length": "0"})
            response = connection.getresponse()
            body = response.read(_ANSWER_LIMIT + 1)
            if len(body) > _ANSWER_LIMIT:
                raise self._garbled("its answer does not end")
            return Answer(response.status, body)

    def lives(self) -> bool:
        """Whether it answers to the simplest question within a few seconds."""
        try:
            return self.ask("GET", "/_ping", seconds=min(10.0, self._patience.answer)).status == 200
        except MachineError:
            return False

    def send(
        self,
        path: str,
        produce: Callable[[Callable[[bytes], object]], None],
        on_line: Callable[[bytes], None],
    ) -> Answer:
        """POST a tar that `produce` writes, and give each line of the answer to `on_line`.

        The body of the result is that of an answer which is an error's. Raises `MachineError` where
        the engine goes away or gives no sign any more, `Cancelled`, and what `produce` raises.
        """
        with (
            self._connected(None) as connection,
            Watch(self.lives, connection, self._patience) as watch,
        ):
            connection.putrequest("POST", path)
            connection.putheader("Content-Type", "application/x-tar")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            body = _Chunks(connection, watch.moved)
            # An engine that refuses stops reading; its reason may be there all the same.
            with suppress(BrokenPipeError, ConnectionResetError, _Answered):
                produce(body.write)
                body.finish()
            response = connection.getresponse()
            watch.moved()
            if response.status != 200:
                return Answer(response.status, response.read(_LINE_LIMIT))
            while line := response.readline(_LINE_LIMIT + 1):
                watch.moved()
                if len(line) > _LINE_LIMIT:
                    raise self._garbled("a line of its answer does not end")
                if line.strip():
                    on_line(line)
            return Answer(200, b"")

    @contextmanager
    def _connected(self, seconds: float | None) -> Iterator[http.client.HTTPConnection]:
        """A connection whose failures are told; cancelling cuts it."""
        connection = EngineConnection(self.endpoint, min(self._patience.answer, seconds or 30.0))
        try:
            connection.connect()
            connection.sock.settimeout(seconds)
            with self._cancel.on_cancel(lambda: cut(connection)):
                yield connection
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._cancel.check()
            raise self._failed(error) from error
        finally:
            connection.close()

    def _failed(self, error: Exception) -> MachineError:
        if isinstance(error, TimeoutError):
            return MachineError(f"the engine at {self.endpoint} does not answer",
                                hint="see whether it hangs, or start it again")  # fmt: skip
        if isinstance(error, Silent):
            return MachineError(f"the engine at {self.endpoint} stopped answering",
                                why=str(error),
                                hint="see whether it hangs, or start it again")  # fmt: skip
        if isinstance(error, _HUNG_UP):
            return MachineError(f"the engine at {self.endpoint} hung up in the middle",
                                hint="look into its log, and try again")  # fmt: skip
        if isinstance(error, OSError):
            return MachineError(f"cannot talk to the engine at {self.endpoint}",
                                why=printable(error.strerror or str(error)),
                                hint=_hint(error))  # fmt: skip
        return self._garbled(f"{type(error).__name__}: {printable(str(error))[:_SHOWN]}")

    def _garbled(self, why: str) -> MachineError:
        return MachineError(
            f"what answers at {self.endpoint} is no Docker or Podman engine",
            why=why,
            hint="set DOCKER_HOST to an engine's socket",
        )


class _Answered(Exception):
    """The engine answers before it has got everything."""


class _Chunks:
    """A request's body in chunks (RFC 9112, section 7.1)."""

    def __init__(self, connection: http.client.HTTPConnection, moved: Callable[[], None]) -> None:
        self._connection = connection
        self._moved = moved
        self._pending = bytearray()
        self._poll = select.poll()
        # Of TLS, bytes may come that are no answer.
        if not isinstance(connection.sock, ssl.SSLSocket):
            self._poll.register(connection.sock, select.POLLIN)

    def write(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) >= _PIECE:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._connection.send(b"0\r\n\r\n")

    def _flush(self) -> None:
        if self._poll.poll(0):
            raise _Answered
        if self._pending:
            self._connection.send(b"%x\r\n%b\r\n" % (len(self._pending), bytes(self._pending)))
            self._pending.clear()
        self._moved()


def _hint(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "you may not use this socket: join its group (docker), or use a rootless engine"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "start it, or set DOCKER_HOST to the socket of one that runs"
    return "look into its log, and try again"


def engine_words(body: bytes) -> str:
    """The message of an engine's error, printable; as text where it is not in the usual form."""
    text = body[: 64 << 10].decode("utf-8", "replace").strip()
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            for key in ("message", "error", "cause"):
                if isinstance(value.get(key), str) and value[key]:
                    text = value[key]
                    break
    return "\n".join(printable(line) for line in text[:_SHOWN].splitlines())
