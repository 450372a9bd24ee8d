# SPDX-License-Identifier: Apache-2.0
"""The main process's end of the namespace worker; the other end is the test's."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from wherry.errors import InternalError, MachineError
from wherry.sandbox import syscalls
from wherry.sandbox.exchange import Exchange, Message
from wherry.sandbox.host_facts import HostFacts, read_facts
from wherry.sandbox.namespace import NamespaceOptions
from wherry.sandbox.namespace_link import Link, _Known, checked
from wherry.sandbox.namespace_worker import Worker
from wherry.sandbox.process import SpawnedWorker
from wherry.sandbox.runtime_probe import Found
from wherry.sandbox.serving import Serving


class FakeWorker:
    """A worker whose messages the test writes to `other`."""

    def __init__(self) -> None:
        self.end, self.other = socket.socketpair()

    def last_words(self) -> str:
        return "killed"

    def __exit__(self, *_error: object) -> None:
        self.other.close()


class Remembered:
    def __init__(self) -> None:
        self.text = ""

    def load(self) -> str:
        return self.text

    def save(self, text: str) -> None:
        self.text = text


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
def link(worker: FakeWorker) -> Iterator[Link]:
    link = Link(cast(SpawnedWorker, worker))
    yield link
    link.close()


@pytest.fixture(scope="module")
def facts() -> HostFacts:
    return read_facts("/usr/bin:/bin")


def packed(body: bytes) -> bytes:
    return struct.pack("<II", len(body), 0) + body


@pytest.mark.parametrize("body", [b"hunter2", b"[1, 2]", b"[[], 2, 3]"])
def test_a_broken_answer_hangs_nobody(worker: FakeWorker, link: Link, body: bytes) -> None:
    first, second = link.ask("open", {}), link.ask("open", {})
    worker.other.sendall(packed(body))
    for waiting in (first, second, link.ask("open", {})):
        assert waiting.done.wait(10), "nobody was woken"
        with pytest.raises(InternalError, match="cannot look") as failed:
            link.wait(waiting, "look")
        assert "hunter2" not in str(failed.value)
    # The worker is told to end.
    worker.other.settimeout(10)
    while worker.other.recv(4096):
        pass


def test_an_end_without_an_answer_is_told(worker: FakeWorker, link: Link) -> None:
    waiting = link.ask("open", {})
    worker.other.shutdown(socket.SHUT_RDWR)
    with pytest.raises(MachineError, match="killed"):
        link.wait(waiting, "look")


@pytest.mark.parametrize(
    ("found", "runtimes", "is_kept"),
    [
        (Found("/bin/sh", seccomp=True), ("/bin/sh",), True),
        (Found("/bin/sh", problems=("other: no",)), ("/bin/sh",), True),
        (Found(), (), True),
        (Found(problems=("sh: it does not answer",)), ("/bin/sh",), False),
    ],
)
def test_a_failed_probe_is_tried_again(
    facts: HostFacts, found: Found, runtimes: tuple[str, ...], is_kept: bool
) -> None:
    memory = Remembered()
    options = NamespaceOptions("/bin", "/nowhere", -1, probed=memory)

    def known() -> _Known:
        return _Known(options, facts, "mode", runtimes)

    known().save(found)
    loaded = known().load()
    assert (loaded is not None) == bool(memory.text) == is_kept
    assert loaded is None or Found(**{**loaded, "problems": tuple(loaded["problems"])}) == found
    # Nor is one believed that an older wherry wrote down.
    key = known()._key
    memory.save(json.dumps({"key": key, "found": found}))
    assert (known().load() is not None) == is_kept


@pytest.mark.parametrize(
    ("number", "words", "has_hint"),
    [
        (errno.ENOSPC, "No space left on device: /s", True),
        (errno.EDQUOT, "/s", True),
        (errno.EACCES, "/s", True),
        (errno.EROFS, "/s", True),
        (errno.EIO, "/s", False),
        (errno.ENOENT, "/s", False),
    ],
)
def test_the_hint_fits_the_refusal(number: int, words: str, has_hint: bool) -> None:
    with pytest.raises(MachineError) as refused:
        checked(refusal(number), "run the step")
    assert words in refused.value.why
    assert ("free space" in refused.value.hint) == has_hint


def test_too_many_layers_are_called_so() -> None:
    with pytest.raises(MachineError) as refused:
        checked(refusal(errno.E2BIG), "run the step")
    assert refused.value.why == "too many layers"
    assert "space" not in refused.value.hint


def refusal(number: int) -> Message:
    fields: dict[str, Any] = {"errno": number, "why": os.strerror(number), "path": "/s"}
    return Message(1, "refused", fields)


class Opening:
    """Stands for what serves requests; remembers the thread."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def open(self, fields: dict[str, Any]) -> Message:
        self.threads.append(threading.get_ident())
        return Message(0, "done", {"path": fields["path"]})


def test_files_are_opened_without_a_thread_and_mounts_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unshared: list[int] = []
    monkeypatch.setattr(syscalls, "unshare", unshared.append)
    ends = socket.socketpair()
    ours, theirs = (Exchange(end) for end in ends)
    worker, opening = Worker(theirs), Opening()
    worker._serving = cast(Serving, opening)
    for number in (1, 2):
        ours.send(Message(number, "open", {"path": "a"}))
    # Both were sent and nothing follows: the worker answers and ends.
    ends[0].shutdown(socket.SHUT_WR)
    worker.serve()
    assert [ours.receive(), ours.receive()] == [
        Message(number, "done", {"path": "a"}) for number in (1, 2)
    ]
    assert (opening.threads, unshared) == ([threading.get_ident()] * 2, [])
    ours.close()
    theirs.close()
