# SPDX-License-Identifier: Apache-2.0
"""What the solver works on: tasks, their operations, the cache they share.

An *operation* is the executor of one op, bound by an engine; the solver knows no op kind. `R` is
the engine's own result type, opaque here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from wherry.events import Outcome, Sink, StepEnded, StepOutput, StepProgress, StepStarted
from wherry.graph.keys import CacheKey
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken

R = TypeVar("R")


class Operation(Protocol[R]):
    """Runs one op. Methods may be called from any thread, each at most once a solve."""

    def definition(self, inputs: tuple[Digest, ...]) -> CacheKey | None:
        """The key looked up before inputs are made; None where only a run can tell."""

    def content(self, inputs: tuple[R, ...]) -> CacheKey | None:
        """The key from the contents this op reads; None where only a run can tell."""

    def run(self, inputs: tuple[R, ...], step: Step) -> R:
        """Do the work. Raises `WherryError` for failures, `Cancelled` when told to stop."""


class Cache(Protocol[R]):
    """Cache records: results by key. A result that no longer exists is not returned."""

    def lookup(self, key: CacheKey) -> R | None:
        """The result recorded under `key`, checked to be whole."""

    def save(self, key: CacheKey, result: R) -> None:
        """Record `result` under `key`."""


@dataclass(frozen=True, slots=True)
class Task(Generic[R]):
    """An operation with the tasks (by number, all smaller than its own) that it takes.

    A `fresh` one runs even where its result is known; what stands on it is then looked up by
    contents alone, as its result may be another one. One that `waits` for a program of the user's
    takes no place from wherry's own work. `require` is called before anything runs, if the task
    may run: it raises what is wrong with that here. `lane` names the image that it is for, of
    several.
    """

    operation: Operation[R]
    inputs: tuple[int, ...]
    name: str
    fresh: bool = False
    waits: bool = False
    require: Callable[[], None] | None = None
    lane: str = ""


class Step:
    """What a running operation tells and hears: progress, output, the wish to stop."""

    def __init__(
        self, number: int, name: str, sink: Sink, cancel: CancelToken, lane: str = ""
    ) -> None:
        self.id = str(number)
        self.name = name
        self.cancel = cancel
        self._sink = sink
        self._began = time.monotonic()
        self._detail = ""
        self._fell_short = False
        sink(StepStarted(self.id, name, lane))

    def progress(self, current: int, total: int, unit: str, detail: str = "") -> None:
        """Say how far the step is."""
        self._sink(StepProgress(self.id, current, total, unit, detail))

    def output(self, line: str) -> None:
        """Pass on a line of the step's process."""
        self._sink(StepOutput(self.id, line))

    def remark(self, detail: str) -> None:
        """A short remark for the step's last line."""
        self._detail = detail

    def fall_short(self) -> None:
        """Some of what the step was to make failed: it is told as failed, and has a result."""
        self._fell_short = True

    def end(self, outcome: Outcome) -> None:
        """Say how the step ended; the solver's to call."""
        if self._fell_short and outcome is Outcome.DONE:
            outcome = Outcome.FAILED
        self._sink(StepEnded(self.id, outcome, time.monotonic() - self._began, self._detail))
