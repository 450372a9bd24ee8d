# SPDX-License-Identifier: Apache-2.0
"""The main process's end of the namespace worker: starts it, numbers requests, hands out answers.

One thread reads the socket and wakes whoever waits for the answer that came. Requests are sent by
the thread that asks. A cancellation may come from a signal handler in the middle of anything, so it
is only noted there; the reading thread has it sent.
"""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import queue
import selectors
import socket
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wherry import __version__
from wherry.errors import (
    BuildError,
    InternalError,
    MachineError,
    NetworkError,
    UsageError,
    WherryError,
)
from wherry.process.cancel import Cancelled, CancelToken
from wherry.sandbox import mapping as mappings
from wherry.sandbox.blob_files import zstd_packages
from wherry.sandbox.exchange import Exchange, Message, Place
from wherry.sandbox.host_facts import HostFacts
from wherry.sandbox.process import SpawnedWorker
from wherry.sandbox.request import CannotExecute, ProgramNotFound, RunError
from wherry.sandbox.runtime_probe import Found, installed_runtimes
from wherry.sandbox.serving_facts import facts_json

if TYPE_CHECKING:
    from wherry.sandbox.namespace import NamespaceOptions

_ERRORS: Final[dict[str, type[WherryError]]] = {
    kind.__name__: kind
    for kind in (
        BuildError, CannotExecute, InternalError, MachineError, NetworkError, ProgramNotFound,
        RunError, UsageError,
    )
}  # fmt: skip
_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
_BOOT: Final = "/proc/sys/kernel/random/boot_id"


class Started(NamedTuple):
    """A worker that proved its rights, and what it found out.

    `reasons` tell why better mappings were refused.
    """

    link: Link
    place: Place
    facts: HostFacts
    found: Found
    own_proc: bool
    reasons: tuple[str, ...]


class _Waiting:
    """Somebody waits for an answer."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.done = threading.Event()
        self.answer: Message | None = None


class Link:
    """A running worker; safe for threads."""

    def __init__(self, worker: SpawnedWorker) -> None:
        self._worker = worker
        self._exchange = Exchange(worker.end)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._lock = threading.Lock()
        self._ended = False
        self._fault = ""
        self._cancelled: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._reader = threading.Thread(target=self._read, name="namespace", daemon=True)
        self._reader.start()

    def ask(self, kind: str, fields: dict[str, Any], descriptors: tuple[int, ...] = ()) -> _Waiting:
        """Send a request; its answer is `wait`ed for. The descriptors stay the caller's."""
        waiting = _Waiting(next(self._numbers))
        with self._lock:
            if self._ended:
                waiting.done.set()
            else:
                self._waiting[waiting.number] = waiting
        self._exchange.send(Message(waiting.number, kind, fields, descriptors))
        return waiting

    def wait(self, waiting: _Waiting, what: str, cancel: CancelToken | None = None) -> Message:
        """The answer, once it is there; raises what it failed with, as the failure to do `what`.

        `cancel` ends the work itself: then, too, the answer is waited for, so that nothing of it
        goes on.
        """
        if cancel is None:
            waiting.done.wait()
        else:
            with cancel.on_cancel(lambda: self._cancel(waiting.number)):
                waiting.done.wait()
        if waiting.answer is None:
            if cancel is not None:
                cancel.check()
            if self._fault:
                raise InternalError(f"cannot {what}: reading its answer failed", why=self._fault)
            raise MachineError(
                f"cannot {what}",
                why=f"the namespace worker ended unexpectedly: {self._worker.last_words()}",
                hint="if the machine ran out of memory, run fewer steps at once (--jobs)",
            )
        return checked(waiting.answer, what)

    def close(self) -> None:
        """End the worker and wait for its end."""
        self._exchange.shut()
        self._reader.join()
        self._exchange.close()
        self._woken.close()
        self._wake.close()
        self._worker.__exit__(None, None, None)

    def _cancel(self, number: int) -> None:
        self._cancelled.put(number)
        # Full means that it wakes anyway; closed, that all of it has ended.
        with suppress(OSError):
            self._wake.send(b"\0")

    def _read(self) -> None:
        try:
            self._pass_all_on()
        except Exception as error:  # noqa: BLE001 - a thread's boundary: whoever waits decides
            # The words of an unexpected error might be a secret's.
            lines = "".join(traceback.format_tb(error.__traceback__))
            self._fault = f"{lines}{type(error).__name__}"
        finally:
            # Nobody would read what the worker still has to say.
            self._exchange.shut()
            with self._lock:
                self._ended = True
                left = list(self._waiting.values())
                self._waiting.clear()
            for waiting in left:
                waiting.done.set()

    def _pass_all_on(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._exchange, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while self._pass_on(selector):
                pass

    def _pass_on(self, selector: selectors.BaseSelector) -> bool:
        for key, _ in () if self._exchange.has_more() else selector.select():
            if key.fileobj is self._woken:
                self._woken.recv(4096)
                while not self._cancelled.empty():
                    message = Message(0, "cancel", {"request": self._cancelled.get()})
                    # This thread never waits for room: the worker may be waiting for it to read.
                    send = functools.partial(self._exchange.send, message)
                    threading.Thread(target=send, daemon=True).start()
                return True
        answer = self._exchange.receive()
        if answer is None:
            return False
        with self._lock:
            waiting = self._waiting.pop(answer.number, None)
        if waiting is None:
            for descriptor in answer.descriptors:
                os.close(descriptor)
        else:
            waiting.answer = answer
            waiting.done.set()
        return True


def checked(answer: Message, what: str) -> Message:
    """The answer itself, or raises what it says went wrong with doing `what`."""
    fields = answer.fields
    match answer.kind:
        case "done":
            return answer
        case "cancelled":
            raise Cancelled
        case "failed":
            kind = _ERRORS.get(fields["class"])
            if kind is None:
                codes = {item.exit_code: item for item in _ERRORS.values()}
                kind = codes.get(fields["code"], InternalError)
            raise kind(fields["what"], why=fields["why"], hint=fields["hint"])
        case "refused":
            raise _refused(fields, what)
        case _:
            raise InternalError(f"cannot {what}: the namespace worker failed", why=fields["why"])


def _refused(fields: dict[str, Any], what: str) -> WherryError:
    if fields["errno"] == errno.E2BIG:
        return MachineError(
            f"cannot {what}",
            why="too many layers",
            hint="put several instructions into one, or choose a base with fewer layers",
        )
    why = f"{fields['why']}: {fields['path']}" if fields["path"] else fields["why"]
    hint = "check the rights and the free space of the store"
    return MachineError(f"cannot {what}", why=why, hint=hint if fields["errno"] in _ROOM else "")


def start_link(options: NamespaceOptions) -> Started:
    """Start a worker with the best mapping that works here.

    Raises `MachineError` with the remedy where none does.
    """
    facts = mappings.read_facts(options.search_path)
    reasons: list[str] = []
    for mapping in mappings.candidates(facts) if facts.unshare else ():
        started = _try_mapping(options, facts, mapping, reasons)
        if started is not None:
            return started
    why = "\n".join(reasons) or "there is no program `unshare`"
    raise mappings.refusal(facts, why, mappings.Purpose.STEPS)


def _try_mapping(
    options: NamespaceOptions, facts: HostFacts, mapping: mappings.Mapping, reasons: list[str]
) -> Started | None:
    covered = mappings.is_proc_covered(mapping, facts)
    for alone in (False, True) if covered else (True,):
        started = _try_worker(options, facts, mapping, reasons, alone=alone)
        # What stands in for a runtime needs a pid namespace that is the worker's own.
        if started is None or alone or started.found.runtime:
            return started
        started.link.close()
    return None


def _try_worker(
    options: NamespaceOptions,
    facts: HostFacts,
    mapping: mappings.Mapping,
    reasons: list[str],
    *,
    alone: bool,
) -> Started | None:
    """A worker in a pid namespace of its own (`alone`), or without."""
    runtimes = installed_runtimes(options.search_path)
    known = _Known(options, facts, f"{mapping}, alone: {alone}", runtimes)
    fields = {
        "directory": os.path.join(options.directory, mapping.name.lower()),
        "mapping": mapping.value,
        "facts": facts_json(facts),
        "overlay": options.overlay,
        "runtimes": runtimes,
        "known": known.load(),
        "packages": zstd_packages(),
    }
    words = mappings.namespace_command(mapping, facts.unshare, own_processes=alone)
    worker = SpawnedWorker("namespace_worker", words, options.search_path, options.lock)
    link = Link(worker)
    try:
        answer = link.wait(link.ask("begin", fields), "start the namespace worker")
    except MachineError as error:
        reasons.append(f"{mapping}: {error.why or error.what}")
        link.close()
        return None
    except BaseException:
        link.close()
        raise
    if not alone:
        worker.guard_namespace()
    rows = answer.fields
    found = Found(rows["runtime"], rows["seccomp"], tuple(rows["problems"]))
    known.save(found)
    place = Place(rows["kind"], mapping, rows["users"], rows["groups"])
    return Started(link, place, facts, found, rows["own_proc"], tuple(reasons))


class _Known:
    """The runtime that was proved before, in the same boot and under the same conditions."""

    def __init__(
        self,
        options: NamespaceOptions,
        facts: HostFacts,
        mode: str,
        runtimes: tuple[str, ...],
    ) -> None:
        self._memory = options.probed
        self._runtimes = runtimes
        facts_text, stamps = facts_json(facts), [_stamp(path) for path in runtimes]
        conditions = [__version__, _boot(), mode, facts_text, options.search_path, stamps]
        self._key = json.dumps(conditions)
        self._known = False

    def load(self) -> dict[str, Any] | None:
        """The fields of `Found`, None where nothing is known."""
        if self._memory is None:
            return None
        try:
            saved = json.loads(self._memory.load() or "{}")
            if saved.get("key") != self._key:
                return None
            found = Found(*saved["found"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        if not self._is_lasting(found):
            return None
        self._known = True
        return found._asdict()

    def save(self, found: Found) -> None:
        """Remember `found`, unless it is a failure: that may have been a moment's."""
        if self._memory is not None and not self._known and self._is_lasting(found):
            self._memory.save(json.dumps({"key": self._key, "found": found}))

    def _is_lasting(self, found: Found) -> bool:
        return bool(found.runtime) or not self._runtimes


def _boot() -> str:
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        # Without it nothing proves that the kernel is still the same.
        return os.urandom(8).hex()


def _stamp(path: str) -> tuple[str, int, int]:
    status = os.stat(path)
    return path, status.st_size, status.st_mtime_ns
