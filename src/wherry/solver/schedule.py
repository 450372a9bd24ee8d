# SPDX-License-Identifier: Apache-2.0
"""The scheduler: walks tasks from the targets, runs what is needed, in parallel.

One thread, the caller's, owns all state; workers only take a task and hand its end back through a
queue, so that nothing here needs a lock. For each task: its definition key is looked up first and
a hit ends the walk there, its inputs never run; else the inputs are made, the content key is
looked up (early cutoff), and only then the operation runs. Tasks with equal keys share one run.
The first failure cancels everything still running and is raised once all of it has stopped; the
caller's own token is only listened to.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import Generic, NamedTuple

from wherry.errors import WherryError
from wherry.events import Outcome, Sink
from wherry.graph.keys import CacheKey
from wherry.oci.digest import Digest
from wherry.process.cancel import Cancelled, CancelToken
from wherry.solver.model import Cache, R, Step, Task


class _Limits(NamedTuple):
    """How many tasks run at once: those that work here, and those that wait for programs."""

    jobs: int
    programs: int


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
        # Tasks that wait for this one's end, and the number of ends this one waits for.
        self.users: list[_Node[R]] = []
        self.missing = 0


class _Ended(Generic[R]):
    """A worker's message: this task ended so."""

    def __init__(self, node: _Node[R], result: R | None, error: BaseException | None) -> None:
        self.node = node
        self.result = result
        self.error = error


class Solver(Generic[R]):
    """Solves task lists; `jobs` workers at once, beside `programs` (0: any number) that wait."""

    def __init__(
        self, cache: Cache[R], sink: Sink, cancel: CancelToken, jobs: int, programs: int = 0
    ) -> None:
        self._cache = cache
        self._sink = sink
        self._cancel = cancel
        self._limits = _Limits(max(1, jobs), programs or sys.maxsize)

    def solve(self, tasks: Sequence[Task[R]], targets: Sequence[int]) -> tuple[R, ...]:
        """Results of the targets, in their order.

        Raises the first failure (`WherryError` or a fault), or `Cancelled`. When it returns or
        raises, no worker of this call is running.
        """
        # A token of its own: a failure stops this solve, and not what else the caller does.
        stop = CancelToken()
        worker = _Worker(self._cache, self._sink, stop)
        with self._cancel.on_cancel(stop.cancel):
            results = _Solve(tasks, worker, self._cancel, self._limits).results(targets)
        self._cancel.check()
        return results


class _Worker(Generic[R]):
    """What threads do with one task; holds no state of a solve."""

    def __init__(self, cache: Cache[R], sink: Sink, stop: CancelToken) -> None:
        self.cache = cache
        self.stop = stop
        self._sink = sink

    def perform(self, node: _Node[R], inputs: tuple[R, ...]) -> R:
        """Run one task, with its events."""
        step = Step(node.number, node.task.name, self._sink, self.stop, node.task.lane)
        outcome = Outcome.FAILED
        try:
            self.stop.check()
            content = node.task.operation.content(inputs)
            known = content if not node.task.fresh else None
            found = self.cache.lookup(known) if known is not None else None
            result = found if found is not None else node.task.operation.run(inputs, step)
            for key in (node.definition, content if found is None else None):
                if key is not None:
                    self.cache.save(key, result)
            outcome = Outcome.DONE if found is None else Outcome.CACHED
        except Cancelled:
            outcome = Outcome.CANCELLED
            raise
        except WherryError as error:
            error.step = node.number
            raise
        finally:
            step.end(outcome)
        return result

    def announce_cached(self, node: _Node[R]) -> None:
        """Tell that a task was answered from the cache."""
        task = node.task
        Step(node.number, task.name, self._sink, self.stop, task.lane).end(Outcome.CACHED)


class _Solve(Generic[R]):
    """The state of one call of `solve`, owned by the thread that made it."""

    def __init__(
        self, tasks: Sequence[Task[R]], worker: _Worker[R], outer: CancelToken, limits: _Limits
    ) -> None:
        self._worker = worker
        self._outer = outer
        self._limits = limits
        self._nodes = [_Node(number, task) for number, task in enumerate(tasks)]
        self._by_key: dict[tuple[Digest, bool], _Node[R]] = {}
        # Those that wait for programs are in the second queue.
        self._ready: tuple[deque[_Node[R]], deque[_Node[R]]] = (deque(), deque())
        self._ended: queue.SimpleQueue[_Ended[R]] = queue.SimpleQueue()
        self._running = [0, 0]
        self._failure: BaseException | None = None

    def results(self, targets: Sequence[int]) -> tuple[R, ...]:
        self._set_definitions()
        for target in targets:
            self._want(self._nodes[target])
        for node in self._nodes:
            if node.state in (_State.WAITING, _State.READY) and node.task.require is not None:
                node.task.require()
        try:
            self._start_ready()
            while any(self._running):
                self._take(self._ended.get())
                self._start_ready()
        except BaseException:
            # Ctrl-C in the owner's thread, or no thread to be had: the workers stop first.
            self._worker.stop.cancel()
            while any(self._running):
                self._take(self._ended.get())
            raise
        if self._failure is not None:
            raise self._failure
        self._worker.stop.check()
        return tuple(self._result(self._nodes[target]) for target in targets)

    def _set_definitions(self) -> None:
        for node in self._nodes:
            inputs = [self._nodes[item] for item in node.task.inputs]
            keys = [None if item.task.fresh else item.definition for item in inputs]
            known = tuple(key.digest for key in keys if key is not None)
            if len(known) == len(keys):
                node.definition = node.task.operation.definition(known)

    def _want(self, wanted: _Node[R]) -> None:
        """Walk down from a task that is needed; iterative, graphs may be deep."""
        stack = [wanted]
        walked: list[_Node[R]] = []
        while stack:
            node = stack.pop()
            if node.state is not _State.UNSEEN:
                continue
            node.state = _State.WAITING
            if self._shares(node):
                continue
            known = node.definition if not node.task.fresh else None
            found = self._worker.cache.lookup(known) if known else None
            if found is not None:
                node.state, node.result = _State.DONE, found
                self._worker.announce_cached(node)
                continue
            walked.append(node)
            stack.extend(self._nodes[item] for item in node.task.inputs)
        for node in walked:
            self._wait_for_inputs(node)

    def _wait_for_inputs(self, node: _Node[R]) -> None:
        for item in node.task.inputs:
            source = self._nodes[item].leader or self._nodes[item]
            if source.state is not _State.DONE:
                source.users.append(node)
                node.missing += 1
        self._enqueue_if_ready(node)

    def _shares(self, node: _Node[R]) -> bool:
        if node.definition is None:
            return False
        # A fresh one is not answered by one that may come from the cache.
        key = (node.definition.digest, node.task.fresh)
        leader = self._by_key.setdefault(key, node)
        if leader is node:
            return False
        node.leader = leader
        return True

    def _enqueue_if_ready(self, node: _Node[R]) -> None:
        if node.missing == 0:
            node.state = _State.READY
            self._ready[node.task.waits].append(node)

    def _result(self, node: _Node[R]) -> R:
        result = (node.leader or node).result
        assert result is not None  # noqa: S101 - the state DONE promises it
        return result

    def _start_ready(self) -> None:
        for waits, (ready, limit) in enumerate(zip(self._ready, self._limits, strict=True)):
            if self._worker.stop.cancelled:
                ready.clear()
            while ready and self._running[waits] < limit:
                node = ready.popleft()
                node.state = _State.RUNNING
                inputs = tuple(self._result(self._nodes[item]) for item in node.task.inputs)
                threading.Thread(target=self._work, args=(node, inputs), daemon=True).start()
                self._running[waits] += 1

    def _work(self, node: _Node[R], inputs: tuple[R, ...]) -> None:
        try:
            ended = _Ended(node, self._worker.perform(node, inputs), None)
        except BaseException as error:  # noqa: BLE001 - a thread's border: the owner raises it
            ended = _Ended(node, None, error)
        self._ended.put(ended)

    def _take(self, ended: _Ended[R]) -> None:
        self._running[ended.node.task.waits] -= 1
        ended.node.state, ended.node.result = _State.DONE, ended.result
        if ended.error is None:
            for user in ended.node.users:
                user.missing -= 1
                self._enqueue_if_ready(user)
            return
        # A task that stopped because another failed says Cancelled: never the reason, unless the
        # caller's token was cancelled first.
        by_failure = isinstance(self._failure, Cancelled) and not self._outer.cancelled
        if self._failure is None or by_failure:
            self._failure = ended.error
            self._worker.stop.cancel()
