# SPDX-License-Identifier: Apache-2.0
"""The scheduler with operations that only count, wait or fail."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from wherry.errors import BuildError
from wherry.events import Event, Outcome, StepEnded, StepOutput, StepStarted, discard
from wherry.graph.keys import CacheKey
from wherry.oci.digest import Digest, sha256
from wherry.process.cancel import Cancelled, CancelToken
from wherry.process.spawn import Command, run
from wherry.solver.model import Step, Task
from wherry.solver.schedule import Solver


def key(text: str) -> CacheKey:
    return CacheKey(sha256(text.encode()), text.encode())


class Records:
    """A cache in memory that remembers what it was asked."""

    def __init__(self) -> None:
        self.values: dict[Digest, str] = {}

    def lookup(self, wanted: CacheKey) -> str | None:
        return self.values.get(wanted.digest)

    def save(self, wanted: CacheKey, result: str) -> None:
        self.values[wanted.digest] = result


@dataclass
class Fake:
    """An operation: `name` makes its definition key, `work` its result."""

    name: str
    work: Callable[[tuple[str, ...], Step], str] | None = None
    keyed: bool = False
    by_content: bool = False
    runs: list[str] = field(default_factory=list)

    def definition(self, inputs: tuple[Digest, ...]) -> CacheKey | None:
        return key(f"{self.name} {inputs}") if self.keyed else None

    def content(self, inputs: tuple[str, ...]) -> CacheKey | None:
        return key(f"content {self.name} {inputs}") if self.by_content else None

    def run(self, inputs: tuple[str, ...], step: Step) -> str:
        self.runs.append(self.name)
        return self.work(inputs, step) if self.work else f"{self.name}({','.join(inputs)})"


class Log:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def ends(self) -> dict[str, list[Outcome]]:
        names = {item.id: item.name for item in self.events if isinstance(item, StepStarted)}
        found: dict[str, list[Outcome]] = {}
        for item in self.events:
            if isinstance(item, StepEnded):
                found.setdefault(names[item.id], []).append(item.outcome)
        return found


def solve(
    tasks: list[Task[str]],
    targets: list[int],
    *,
    jobs: int = 4,
    cache: Records | None = None,
    log: Log | None = None,
    cancel: CancelToken | None = None,
) -> tuple[str, ...]:
    solver = Solver(cache or Records(), log or discard, cancel or CancelToken(), jobs)
    return solver.solve(tasks, targets)


def task(operation: Fake, *inputs: int) -> Task[str]:
    return Task(operation, inputs, operation.name)


def test_results_come_in_the_order_of_the_targets_and_inputs_in_theirs() -> None:
    tasks = [task(Fake("a")), task(Fake("b")), task(Fake("c"), 1, 0, 1), task(Fake("unused"))]
    assert solve(tasks, [2, 0]) == ("c(b(),a(),b())", "a()")


def test_what_no_target_needs_does_not_run() -> None:
    unused = Fake("unused")
    solve([task(unused), task(Fake("a"))], [1])
    assert unused.runs == []


def test_independent_tasks_run_at_the_same_time() -> None:
    meeting = threading.Barrier(4, timeout=10)

    def meet(_inputs: tuple[str, ...], _step: Step) -> str:
        meeting.wait()
        return "met"

    tasks = [task(Fake(str(number), meet)) for number in range(4)]
    assert solve(tasks, [0, 1, 2, 3]) == ("met",) * 4


def test_no_more_than_jobs_run_at_the_same_time() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def count(_inputs: tuple[str, ...], _step: Step) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return ""

    solve([task(Fake(str(number), count)) for number in range(12)], list(range(12)), jobs=3)
    assert most == 3


def test_equal_requests_share_one_run_and_failures_do_too() -> None:
    first, second = Fake("same", keyed=True), Fake("same", keyed=True)
    user = Fake("user", keyed=True)
    tasks = [task(first), task(second), task(user, 0, 1)]
    assert solve(tasks, [2, 1]) == ("user(same(),same())", "same()")
    assert len(first.runs) + len(second.runs) == 1


def test_equal_subtrees_share_all_their_runs() -> None:
    parts = [Fake("leaf", keyed=True), Fake("leaf", keyed=True)]
    middles = [Fake("middle", keyed=True), Fake("middle", keyed=True)]
    tasks = [task(parts[0]), task(parts[1]), task(middles[0], 0), task(middles[1], 1)]
    assert solve(tasks, [3, 2]) == ("middle(leaf())",) * 2
    assert [len(item.runs) for item in (*parts, *middles)].count(1) == 2
    assert sum(len(item.runs) for item in (*parts, *middles)) == 2


def test_a_known_definition_spares_the_inputs() -> None:
    cache, leaf, top = Records(), Fake("leaf", keyed=True), Fake("top", keyed=True)
    tasks = [task(leaf), task(top, 0)]
    first = solve(tasks, [1], cache=cache)
    cache.values = {item: value for item, value in cache.values.items() if "top" in value}
    log = Log()
    assert solve(tasks, [1], cache=cache, log=log) == first
    assert (len(leaf.runs), len(top.runs)) == (1, 1)
    assert log.ends() == {"top": [Outcome.CACHED]}


def test_an_input_that_came_out_the_same_stops_the_rebuild() -> None:
    """Early cutoff: another definition, the same content."""
    cache = Records()
    top = Fake("top", keyed=True, by_content=True)

    def same(_inputs: tuple[str, ...], _step: Step) -> str:
        return "same bytes"

    solve([task(Fake("leaf-1", same, keyed=True)), task(top, 0)], [1], cache=cache)
    leaf, log = Fake("leaf-2", same, keyed=True), Log()
    assert solve([task(leaf), task(top, 0)], [1], cache=cache, log=log) == ("top(same bytes)",)
    assert (len(leaf.runs), len(top.runs)) == (1, 1)
    assert log.ends() == {"leaf-2": [Outcome.DONE], "top": [Outcome.CACHED]}
    # The new definition was remembered: next time not even the leaf is asked.
    cache.values = {item: value for item, value in cache.values.items() if "top" in value}
    solve([task(leaf), task(top, 0)], [1], cache=cache)
    assert (len(leaf.runs), len(top.runs)) == (1, 1)


def test_the_first_failure_stops_the_rest_and_is_told_once() -> None:
    log, stopped = Log(), threading.Event()

    def fail(_inputs: tuple[str, ...], _step: Step) -> str:
        raise BuildError("it broke")

    def wait(_inputs: tuple[str, ...], step: Step) -> str:
        with step.cancel.on_cancel(stopped.set):
            assert stopped.wait(10)
        step.cancel.check()
        return "too late"

    never, token = Fake("never"), CancelToken()
    tasks = [task(Fake("waits", wait)), task(Fake("fails", fail)), task(never, 0)]
    with pytest.raises(BuildError, match="it broke"):
        solve(tasks, [2, 1], log=log, cancel=token)
    assert log.ends() == {"waits": [Outcome.CANCELLED], "fails": [Outcome.FAILED]}
    assert never.runs == []
    assert not token.cancelled, "the caller's token is the caller's"


def test_of_two_failures_the_first_is_raised() -> None:
    second_may = threading.Event()

    def first(_inputs: tuple[str, ...], _step: Step) -> str:
        raise BuildError("first")

    def second(_inputs: tuple[str, ...], step: Step) -> str:
        with step.cancel.on_cancel(second_may.set):
            assert second_may.wait(10)
        raise BuildError("second")

    with pytest.raises(BuildError, match="first"):
        solve([task(Fake("b", second)), task(Fake("a", first))], [0, 1])


def test_a_failure_is_not_remembered() -> None:
    cache, broken = Records(), [True]

    def flaky(_inputs: tuple[str, ...], _step: Step) -> str:
        if broken:
            raise BuildError("not yet")
        return "fine"

    operation = Fake("flaky", flaky, keyed=True)
    with pytest.raises(BuildError):
        solve([task(operation)], [0], cache=cache)
    broken.clear()
    assert solve([task(operation)], [0], cache=cache) == ("fine",)


def test_a_fault_of_an_operation_is_raised_as_it_is() -> None:
    def fault(_inputs: tuple[str, ...], _step: Step) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        solve([task(Fake("a", fault))], [0])


def test_cancelled_before_it_began() -> None:
    token, operation = CancelToken(), Fake("a")
    token.cancel()
    with pytest.raises(Cancelled):
        solve([task(operation)], [0], cancel=token)
    assert operation.runs == []


def test_a_failure_after_the_user_said_stop_is_no_failure() -> None:
    token = CancelToken()

    def fail_when_stopped(_inputs: tuple[str, ...], step: Step) -> str:
        token.cancel()
        step.cancel.check()
        return ""

    def fail_late(_inputs: tuple[str, ...], _step: Step) -> str:
        while not token.cancelled:
            time.sleep(0.001)
        time.sleep(0.05)
        raise BuildError("because it was stopped")

    with pytest.raises(Cancelled):
        solve([task(Fake("a", fail_when_stopped)), task(Fake("b", fail_late))], [0, 1],
              cancel=token)  # fmt: skip


def _child(path: Path) -> Command:
    script = f"import time; open({str(path)!r}, 'w').close(); time.sleep(600)"
    return Command((sys.executable, "-c", script), "/", {})


def _await(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("by_failure", [False, True])
def test_stopping_kills_child_processes(tmp_path: Path, by_failure: bool) -> None:
    begun, token = tmp_path / "begun", CancelToken()

    def child(_inputs: tuple[str, ...], step: Step) -> str:
        run(_child(begun), step.cancel)
        return ""

    def stop(_inputs: tuple[str, ...], _step: Step) -> str:
        _await(begun)
        if by_failure:
            raise BuildError("it broke")
        token.cancel()
        return ""

    began = time.monotonic()
    with pytest.raises(BuildError if by_failure else Cancelled):
        solve([task(Fake("child", child)), task(Fake("stop", stop))], [0, 1], cancel=token)
    assert time.monotonic() - began < 30
    # Late: this module is also run as a program, without the other test modules.
    from process_table import command_lines

    assert not [line for line in command_lines() if str(begun) in line]


def test_a_deep_graph_takes_no_stack_and_no_square_time() -> None:
    depth = 5000
    tasks = [task(Fake("0", lambda _inputs, _step: "x", keyed=True))]
    tasks += [
        task(Fake(str(number), lambda inputs, _step: inputs[0], keyed=True), number - 1)
        for number in range(1, depth)
    ]
    began = time.monotonic()
    assert solve(tasks, [depth - 1]) == ("x",)
    assert time.monotonic() - began < 20


def test_a_wide_graph() -> None:
    tasks = [task(Fake(str(number))) for number in range(2000)]
    tasks.append(task(Fake("top", lambda inputs, _step: str(len(inputs))), *range(2000)))
    assert solve(tasks, [2000], jobs=8) == ("2000",)


def test_the_owner_s_ctrl_c_leaves_no_worker_behind(tmp_path: Path) -> None:
    """Library use: KeyboardInterrupt rises in the thread that solves."""
    script = tmp_path / "solves.py"
    script.write_text(
        "import sys, threading\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_solver import Fake, _child, solve, task\n"
        "from wherry.process.spawn import run\n"
        "from pathlib import Path\n"
        f"begun = Path({str(tmp_path / 'begun')!r})\n"
        "def child(inputs, step):\n"
        "    run(_child(begun), step.cancel)\n"
        "    return ''\n"
        "try:\n"
        "    solve([task(Fake('child', child))], [0])\n"
        "except KeyboardInterrupt:\n"
        "    print(threading.active_count())\n"
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    _await(tmp_path / "begun")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    # The killing timer of the child may still tick; the worker does not.
    assert int(output) <= 2
    # Late: this module is also run as a program, without the other test modules.
    from process_table import command_lines

    assert not [line for line in command_lines() if str(tmp_path / "begun") in line]


def test_output_of_a_step_goes_by_its_number() -> None:
    def talk(_inputs: tuple[str, ...], step: Step) -> str:
        step.output("a line")
        step.remark("remark")
        return ""

    log = Log()
    solve([task(Fake("a", talk))], [0], log=log)
    assert [type(event) for event in log.events] == [StepStarted, StepOutput, StepEnded]
    ended = log.events[-1]
    assert isinstance(ended, StepEnded)
    assert (ended.id, ended.detail) == ("0", "remark")


def test_events_say_which_image_a_step_is_for_cached_or_not() -> None:
    known = Fake("base", keyed=True)
    records, log = Records(), Log()
    solve([task(known)], [0], cache=records)
    tasks = [replace(task(known), lane="api"), replace(task(Fake("files")), lane="web")]
    solve([*tasks, task(Fake("shared"))], [0, 1, 2], cache=records, log=log)
    started = {item.name: item.lane for item in log.events if isinstance(item, StepStarted)}
    assert started == {"base": "api", "files": "web", "shared": ""}
    assert log.ends()["base"] == [Outcome.CACHED]


def test_a_step_that_falls_short_is_told_as_failed_and_has_its_result() -> None:
    def two_of_three(_inputs: tuple[str, ...], step: Step) -> str:
        step.remark("2 of 3")
        step.fall_short()
        return "two"

    log = Log()
    assert solve([task(Fake("three", two_of_three))], [0], log=log) == ("two",)
    assert log.ends() == {"three": [Outcome.FAILED]}
