# SPDX-License-Identifier: Apache-2.0
"""The scheduler: walks tasks from the targets, runs what is needed, in parallel.

One thread, the caller's, owns all state; workers only take a task and hand its end back through a
queue, so that nothing here needs a lock. For each task: its definition key is looked up first and
a hit ends the walk there, its inputs never run; else the inputs are made, the content key is
looked up (early cutoff), and only then the operation runs. Tasks with equal keys share one run.
The first failure cancels everything still running and is raised once all of it has stopped.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import Generic

from wherry.events import Outcome, Sink
from wherry.graph.keys import CacheKey
from wherry.oci.digest import Digest
from wherry.process.cancel import Cancelled, CancelToken
from wherry.solver.model import Cache, R, Step, Task


class _State(Enum):
    UNSEEN = auto()
    WAITING = auto()
    READY = auto()
    RUNNING = auto()
    DONE = auto()


class _Node(Generic[R]):
    """What the scheduler knows of one task."""

    def __init__(self, number: int, task: Task[R]) -> None:
        self.number = number
        self.task = task
        self.state = _State.UNSEEN
        self.definition: CacheKey | None = None
        self.result: R | None = None
        # The task whose run this one shares, where their keys are equal.
        self.leader: _Node[R] | None = None


class _Ended(Generic[R]):
    """A worker's message: this task ended so."""

    def __init__(self, node: _Node[R], result: R | None, error: BaseException | None) -> None:
        self.node = node
        self.result = result
        self.error = error


class Solver(Generic[R]):
    """Solves task lists; `jobs` workers at once."""

    def __init__(self, cache: Cache[R], sink: Sink, cancel: CancelToken, jobs: int) -> None:
        self._cache = cache
        self._sink = sink
        self._cancel = cancel
        self._jobs = max(1, jobs)

    def solve(self, tasks: Sequence[Task[R]], targets: Sequence[int]) -> tuple[R, ...]:
        """Results of the targets, in their order.

        Raises the first failure (`WherryError` or a fault), or `Cancelled`. When it returns or
        raises, no worker of this call is running.
        """
        return _Solve(self, tasks).results(targets)

    # The parts below are used by `_Solve` only; they read no state of a solve.

    def lookup(self, key: CacheKey) -> R | None:
        """Ask the cache."""
        return self._cache.lookup(key)

    def perform(self, node: _Node[R], inputs: tuple[R, ...]) -> R:
        """Run one task in a worker thread, with its events."""
        step = Step(node.number, node.task.name, self._sink, self._cancel)
        outcome = Outcome.FAILED
        try:
            self._cancel.check()
            content = node.task.operation.content(inputs)
            found = self._cache.lookup(content) if content is not None else None
            result = found if found is not None else node.task.operation.run(inputs, step)
            for key in (node.definition, content if found is None else None):
                if key is not None:
                    self._cache.save(key, result)
            outcome = Outcome.DONE if found is None else Outcome.CACHED
        except Cancelled:
            outcome = Outcome.CANCELLED
            raise
        finally:
            step.end(outcome)
        return result

    def announce_cached(self, node: _Node[R]) -> None:
        """Tell that a task was answered from the cache."""
        Step(node.number, node.task.name, self._sink, self._cancel).end(Outcome.CACHED)

    @property
    def cancel(self) -> CancelToken:
        """The token that stops this solver's work."""
        return self._cancel

    @property
    def jobs(self) -> int:
        """How many tasks run at once."""
        return self._jobs


class _Solve(Generic[R]):
    """The state of one call of `solve`."""

    def __init__(self, solver: Solver[R], tasks: Sequence[Task[R]]) -> None:
        self._solver = solver
        self._nodes = [_Node(number, task) for number, task in enumerate(tasks)]
        self._by_key: dict[Digest, _Node[R]] = {}
        self._ready: deque[_Node[R]] = deque()
        self._ended: queue.SimpleQueue[_Ended[R]] = queue.SimpleQueue()
        self._running = 0
        self._failure: BaseException | None = None

    def results(self, targets: Sequence[int]) -> tuple[R, ...]:
        self._set_definitions()
        for target in targets:
            self._want(self._nodes[target])
        self._start_ready()
        while self._running:
            self._take(self._ended.get())
            self._start_ready()
        if self._failure is not None:
            raise self._failure
        self._solver.cancel.check()
        return tuple(self._result(self._nodes[target]) for target in targets)

    def _set_definitions(self) -> None:
        for node in self._nodes:
            keys = [self._nodes[item].definition for item in node.task.inputs]
            known = tuple(key.digest for key in keys if key is not None)
            if len(known) == len(keys):
                node.definition = node.task.operation.definition(known)

    def _want(self, wanted: _Node[R]) -> None:
        """Walk down from a task that is needed; iterative, graphs may be deep."""
        stack = [wanted]
        while stack:
            node = stack.pop()
            if node.state is not _State.UNSEEN:
                continue
            node.state = _State.WAITING
            if self._shares(node):
                continue
            found = self._solver.lookup(node.definition) if node.definition else None
            if found is not None:
                node.state, node.result = _State.DONE, found
                self._solver.announce_cached(node)
                continue
            stack.extend(self._nodes[item] for item in node.task.inputs)
        self._enqueue_ready()

    def _shares(self, node: _Node[R]) -> bool:
        if node.definition is None:
            return False
        leader = self._by_key.setdefault(node.definition.digest, node)
        if leader is node:
            return False
        node.leader = leader
        return True

    def _enqueue_ready(self) -> None:
        for node in self._nodes:
            if (
                node.state is _State.WAITING
                and node.leader is None
                and all(self._is_done(self._nodes[item]) for item in node.task.inputs)
            ):
                node.state = _State.READY
                self._ready.append(node)

    def _is_done(self, node: _Node[R]) -> bool:
        return (node.leader or node).state is _State.DONE

    def _result(self, node: _Node[R]) -> R:
        result = (node.leader or node).result
        assert result is not None  # noqa: S101 - the state DONE promises it
        return result

    def _start_ready(self) -> None:
        if self._failure is not None or self._solver.cancel.cancelled:
            self._ready.clear()
            return
        while self._ready and self._running < self._solver.jobs:
            node = self._ready.popleft()
            node.state = _State.RUNNING
            self._running += 1
            inputs = tuple(self._result(self._nodes[item]) for item in node.task.inputs)
            threading.Thread(target=self._work, args=(node, inputs), daemon=True).start()

    def _work(self, node: _Node[R], inputs: tuple[R, ...]) -> None:
        try:
            ended = _Ended(node, self._solver.perform(node, inputs), None)
        except BaseException as error:  # noqa: BLE001 - a thread's border: the owner raises it
            ended = _Ended(node, None, error)
        self._ended.put(ended)

    def _take(self, ended: _Ended[R]) -> None:
        self._running -= 1
        ended.node.state, ended.node.result = _State.DONE, ended.result
        if ended.error is None:
            self._enqueue_ready()
        elif self._failure is None or isinstance(self._failure, Cancelled):
            # A task that stopped because another failed says Cancelled: never the reason.
            self._failure = ended.error
            self._solver.cancel.cancel()
