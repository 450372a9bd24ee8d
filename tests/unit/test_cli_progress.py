# SPDX-License-Identifier: Apache-2.0
"""Plain lines, JSON lines, silence, and which of them a stream gets."""

import io
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from wherry.api.request import (
    BinaryResult,
    BuildResult,
    ImageFailure,
    ImagesFailed,
    PartResult,
    PushResult,
)
from wherry.cli.progress import Part, Summary, make_sink, render_summaries, render_summary
from wherry.cli.progress.bars import render_parts
from wherry.cli.progress.jsonlines import ERROR, NAMES, VERSION, JsonLines
from wherry.cli.progress.live import LiveView
from wherry.cli.progress.output import printable
from wherry.cli.progress.plain import (
    ALIVE_SECONDS,
    HOLD_SECONDS,
    PROGRESS_SECONDS,
    SILENT_SECONDS,
    PlainLines,
)
from wherry.cli.progress.quiet import Quiet
from wherry.cli.progress.select import use_color
from wherry.cli.progress.summary import render_pushes
from wherry.cli.progress.units import (
    format_progress,
    format_seconds,
    format_size,
    widest_progress,
)
from wherry.errors import BuildError, Interrupted, MachineError, SeveralErrors, UsageError
from wherry.events import (
    Event,
    LaneEnded,
    Level,
    Message,
    Outcome,
    StepEnded,
    StepOutput,
    StepProgress,
    StepStarted,
)
from wherry.process.cancel import Cancelled

ROOT = Path(__file__).resolve().parents[2]

BUILD: list[Event] = [
    Message(Level.INFO, "building the Go module"),
    StepStarted("b", "base static"),
    StepStarted("c", "compile movies"),
    StepEnded("b", Outcome.CACHED, 0.0),
    StepOutput("c", "go: downloading example.com/x v1.0.0"),
    Message(Level.WARNING, "cgo is off"),
    StepEnded("c", Outcome.DONE, 1.24, "8.1 MB"),
    StepStarted("l", "layer app/movies"),
    StepEnded("l", Outcome.FAILED, 62.0, "disk full"),
]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="backslashreplace")

    def isatty(self) -> bool:
        return True


def test_plain_lines_of_a_build():
    stream = io.StringIO()
    with make_sink("plain", stream, {}) as sink:
        for event in BUILD:
            sink(event)
    assert stream.getvalue().splitlines() == [
        "building the Go module",
        # What ends at once has one line.
        "#1 base static ... cached",
        "#2 compile movies ...",
        "#2 | go: downloading example.com/x v1.0.0",
        "warning: cgo is off",
        "#2 compile movies ... done 1.2s (8.1 MB)",
        "#3 layer app/movies ... failed 1m02s (disk full)",
    ]


def test_plain_says_what_has_been_running_for_a_moment_once():
    stream = io.StringIO()
    with PlainLines(stream) as sink:
        sink(StepStarted("a", "quick"))
        sink(StepEnded("a", Outcome.DONE, 0.0))
        sink(StepStarted("b", "slow", "api"))
        deadline = time.monotonic() + 20
        while "slow" not in stream.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        sink(StepEnded("b", Outcome.DONE, 1.5))
        # One that is under way when all ends is known of.
        sink(StepStarted("c", "stopped"))
    assert stream.getvalue().splitlines() == [
        "#1 quick ... done 0.0s",
        "#2 api: slow ...",
        "#2 api: slow ... done 1.5s",
        "#3 stopped ...",
    ]


def test_plain_progress_is_told_every_few_seconds_for_each_step():
    stream, clock = io.StringIO(), Clock()
    sink = PlainLines(stream, clock)
    sink(StepStarted("a", "compile"))
    sink(StepStarted("b", "download"))
    for number in range(100):
        clock.now += PROGRESS_SECONDS / 10
        sink(StepProgress("a", number, 100, "packages"))
    sink(StepProgress("b", 12_300_000, 67_000_000, "bytes"))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "#1 compile ... 9 of 100 packages (5.0s)"
    assert lines[-1] == "#2 download ... 12.3 MB of 67.0 MB (50.0s)"
    assert len(lines) == 11


def test_plain_output_of_steps_side_by_side_stands_together():
    stream, clock = io.StringIO(), Clock()
    with PlainLines(stream, clock) as sink:
        sink(StepStarted("a", "[a 1/2] RUN make"))
        sink(StepStarted("b", "[b 1/2] RUN test"))
        for number in range(3):
            sink(StepOutput("b", f"b{number}"))
            sink(StepOutput("a", f"a{number}"))
        clock.now += HOLD_SECONDS
        sink(StepOutput("b", "b3"))
        sink(StepOutput("a", "a3"))
        sink(StepEnded("a", Outcome.DONE, 1.0))
        sink(StepOutput("b", "b4"))
    assert stream.getvalue().splitlines() == [
        "#2 [b 1/2] RUN test ...",
        "#2 | b0",
        # After a second the others have their turn.
        "#2 | b1",
        "#2 | b2",
        "#2 | b3",
        "#1 [a 1/2] RUN make ...",
        "#1 | a0",
        "#1 | a1",
        "#1 | a2",
        "#1 | a3",
        "#1 [a 1/2] RUN make ... done 1.0s",
        "#2 [b 1/2] RUN test ...",
        "#2 | b4",
    ]


def test_plain_output_waits_no_longer_than_a_moment():
    stream = io.StringIO()
    with PlainLines(stream) as sink:
        sink(StepStarted("a", "one"))
        sink(StepStarted("b", "two"))
        sink(StepOutput("b", "said by two"))
        sink(StepOutput("a", "said by one"))
        deadline = time.monotonic() + 20
        while "said by one" not in stream.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert stream.getvalue().endswith("#1 one ...\n#1 | said by one\n")


def test_plain_output_after_a_silence_says_how_long_the_step_has_run():
    stream, clock = io.StringIO(), Clock()
    sink = PlainLines(stream, clock)
    sink(StepStarted("a", "RUN make"))
    sink(StepOutput("a", "begins"))
    clock.now += SILENT_SECONDS + 2.5
    sink(StepOutput("a", "x" * 500))
    sink(StepOutput("a", "ends"))
    assert stream.getvalue().splitlines()[1:] == [
        "#1 | begins",
        f"#1 12.5s | {'x' * 500}",
        "#1 | ends",
    ]


class Timers:
    """Timers that fire as the clock is told to go on."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.waiting: list[FakeTimer] = []

    def __call__(self, seconds: float, function: Callable[[], None]) -> "FakeTimer":
        return FakeTimer(self, self.clock.now + seconds, function)

    def pass_by(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while due := sorted((one for one in self.waiting if one.at <= end), key=lambda one: one.at):
            self.clock.now = max(self.clock.now, due[0].at)
            self.waiting.remove(due[0])
            due[0].function()
        self.clock.now = end


class FakeTimer:
    daemon = False

    def __init__(self, timers: Timers, at: float, function: Callable[[], None]) -> None:
        self.timers, self.at, self.function = timers, at, function

    def start(self) -> None:
        assert self.daemon
        self.timers.waiting.append(self)

    def cancel(self) -> None:
        if self in self.timers.waiting:
            self.timers.waiting.remove(self)


def test_plain_says_of_a_silent_step_that_it_still_runs():
    stream, timers = io.StringIO(), Timers()
    with PlainLines(stream, timers.clock, timers) as sink:
        sink(StepStarted("a", "RUN make"))
        timers.pass_by(ALIVE_SECONDS * 2 + 1)
        sink(StepOutput("a", "half"))
        timers.pass_by(ALIVE_SECONDS - 1)
        sink(StepOutput("a", "more"))
        timers.pass_by(ALIVE_SECONDS - 1)
        # Another one comes between: then its name is told.
        sink(StepStarted("b", "RUN test"))
        sink(StepEnded("b", Outcome.DONE, 0.1))
        timers.pass_by(1)
        sink(StepEnded("a", Outcome.DONE, 121.0))
        timers.pass_by(ALIVE_SECONDS * 10)
    assert stream.getvalue().splitlines() == [
        "#1 RUN make ...",
        "#1 ... 30.0s",
        "#1 ... 1m00s",
        "#1 | half",
        "#1 1m30s | more",
        "#2 RUN test ... done 0.1s",
        "#1 RUN make ... 2m00s",
        "#1 RUN make ... done 2m01s",
    ]
    assert not timers.waiting


def test_plain_says_nothing_more_of_a_step_that_counts():
    stream, timers = io.StringIO(), Timers()
    with PlainLines(stream, timers.clock, timers) as sink:
        sink(StepStarted("a", "build"))
        for number in range(1, 14):
            timers.pass_by(PROGRESS_SECONDS)
            sink(StepProgress("a", number, 100, "packages"))
        sink(StepEnded("a", Outcome.DONE, 65.0))
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["#1 build ...", "#1 build ... 1 of 100 packages (5.0s)"]
    assert len(lines) == 15
    assert all("of 100 packages" in line for line in lines[1:-1])


def test_plain_says_of_each_silent_step_that_it_runs():
    stream, timers = io.StringIO(), Timers()
    with PlainLines(stream, timers.clock, timers) as sink:
        sink(StepStarted("a", "one", "api"))
        timers.pass_by(20)
        sink(StepStarted("b", "two"))
        timers.pass_by(35)
    assert stream.getvalue().splitlines() == [
        "#1 api: one ...",
        "#2 two ...",
        "#1 api: one ... 30.0s",
        "#2 two ... 30.0s",
    ]


def test_plain_leaves_the_terminal_to_others_until_it_comes_back():
    stream, timers = io.StringIO(), Timers()
    sink = PlainLines(stream, timers.clock, timers)
    sink(StepStarted("a", "RUN make"))
    timers.pass_by(2)
    sink.leave()
    timers.pass_by(ALIVE_SECONDS * 3)
    assert stream.getvalue() == "#1 RUN make ...\n"
    sink.come_back()
    timers.pass_by(1)
    assert stream.getvalue().splitlines()[1:] == ["#1 ... 1m32s"]


def test_plain_lines_of_several_images():
    stream = io.StringIO()
    with PlainLines(stream) as sink:
        sink(StepStarted("a", "layer app/api", "api"))
        sink(StepEnded("a", Outcome.DONE, 0.5, "8.1 MB"))
        sink(LaneEnded("api", Outcome.DONE, 3.0, 8_900_000))
        sink(LaneEnded("web", Outcome.FAILED, 3.0, detail="the Go code does not compile"))
    assert stream.getvalue().splitlines() == [
        "#1 api: layer app/api ... done 0.5s (8.1 MB)",
        # The summary tells of the others.
        "web ... failed 3.0s (the Go code does not compile)",
    ]


def test_control_characters_do_not_reach_a_terminal():
    stream = io.StringIO()
    sink = PlainLines(stream)
    sink(StepStarted("a", "na\x1b[2Jme\n"))
    sink(StepOutput("a", "\x1b[31mred\x1b[0m\tkept \x1b]0;title\x07\rend\x9b"))
    sink(StepEnded("a", Outcome.DONE, 0.0, "\x07"))
    assert stream.getvalue() == "#1 name ...\n#1 | red\tkept end\n#1 name ... done 0.0s\n"


@given(st.text(st.characters()))
def test_printable_text_is_one_line_that_utf8_can_hold(text: str):
    shown = printable(text)
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    shown.encode()


def documented() -> dict[str, set[str]]:
    """The fields of each event, as docs/progress.md has them, by the event's name."""
    page = (ROOT / "docs" / "progress.md").read_text()
    part = page[page.index("## JSON lines") : page.index("## Traces")]
    common, *sections = re.split(r"^### ", part[part.index("### Fields") + 4 :], flags=re.MULTILINE)
    shared = set(re.findall(r"^\| `(\w+)` \|", common, re.MULTILINE))
    named = (re.match(r"`(\w+)`\n(.*)", section, re.DOTALL) for section in sections)
    return {
        found[1]: shared | set(re.findall(r"^\| `(\w+)` \|", found[2], re.MULTILINE))
        for found in named
        if found
    }


def test_json_lines_are_the_documented_events():
    stream, clock = io.StringIO(), Clock()
    events = [
        *BUILD,
        StepProgress("c", 1, 2, "packages", "net/http"),
        LaneEnded("api", Outcome.DONE, 1.23456, 8_900_000),
    ]
    with pytest.raises(BuildError), JsonLines(stream, clock) as sink:
        clock.now += 1.23456
        for event in events:
            sink(event)
        raise BuildError("the Go code does not compile", where="main.go:3", why="x", hint="mend")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    fields = documented()
    assert {line["event"] for line in lines} == {*NAMES.values(), ERROR} == set(fields)
    for line in lines:
        assert set(line) == fields[line["event"]]
        assert line["version"] == VERSION == 1
        assert line["time"] == 1.235
    assert lines[3] == {
        "version": 1,
        "event": "step_ended",
        "time": 1.235,
        "id": "b",
        "outcome": "cached",
        "seconds": 0.0,
        "detail": "",
    }
    assert lines[-2]["seconds"] == 1.235
    assert (lines[-1]["code"], lines[-1]["where"]) == (1, "main.go:3")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), [(130, "interrupted")]),
        (Cancelled(), [(130, "interrupted")]),
        (Interrupted(15), [(143, "interrupted")]),
        (SeveralErrors((UsageError("a"), MachineError("b"))), [(2, "a"), (3, "b")]),
        (ZeroDivisionError("oops"), [(5, "ZeroDivisionError: oops")]),
    ],
)
def test_what_ends_a_verb_is_told_in_json(error: BaseException, told: list[tuple[int, str]]):
    stream = io.StringIO()
    with pytest.raises(type(error)), JsonLines(stream):
        raise error
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["code"], line["what"]) for line in lines] == told


def test_a_reason_that_images_share_is_one_event():
    stream = io.StringIO()
    broken = BuildError("it does not compile", why="# m/lib\nlib.go:3:1: undefined: x")
    own = BuildError("it does not compile", why="# m/web\nweb.go:3:1: undefined: y")
    failures = (
        ImageFailure("api", broken),
        ImageFailure("web", own),
        ImageFailure("mail", MachineError("the disk is full")),
    )
    with pytest.raises(ImagesFailed), JsonLines(stream):
        raise ImagesFailed(failures)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["images"], line["code"], line["what"]) for line in lines] == [
        (["api", "web"], 1, "it does not compile"),
        (["mail"], 3, "the disk is full"),
    ]
    assert lines[0]["why"] == f"{broken.why}\n{own.why}"


def test_json_keeps_text_as_it_is_on_one_ascii_line():
    stream = io.StringIO()
    line = "tab\t\x1b[31m caf\u00e9 \udcff"
    JsonLines(stream)(StepOutput("a", line))
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().isascii()
    assert json.loads(stream.getvalue())["line"] == line


def test_quiet_writes_nothing():
    stream = io.StringIO()
    with make_sink("quiet", stream, {}) as sink:
        for event in BUILD:
            sink(event)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("mode", "stream", "env", "wanted"),
    [
        ("auto", io.StringIO(), {"TERM": "xterm"}, PlainLines),
        ("auto", Terminal(), {"TERM": "xterm"}, LiveView),
        ("auto", Terminal(), {"TERM": "dumb"}, PlainLines),
        ("auto", Terminal("latin-1"), {"TERM": "xterm"}, PlainLines),
        ("auto", Terminal(), {"TERM": "xterm", "CI": "true"}, PlainLines),
        ("auto", Terminal(), {"TERM": "xterm", "CI": "false"}, LiveView),
        ("tty", Terminal(), {"TERM": "xterm", "CI": "true"}, LiveView),
        ("tty", Terminal(), {}, LiveView),
        ("tty", Terminal(), {"TERM": "dumb"}, PlainLines),
        ("tty", io.StringIO(), {}, PlainLines),
        ("plain", Terminal(), {"TERM": "xterm"}, PlainLines),
        ("json", Terminal(), {"TERM": "xterm"}, JsonLines),
        ("quiet", Terminal(), {"TERM": "xterm"}, Quiet),
    ],
)
def test_choice_of_renderer(mode, stream, env: dict[str, str], wanted: type):
    assert type(make_sink(mode, stream, env)) is wanted


def test_colour_needs_a_terminal_and_no_objection():
    assert use_color(Terminal(), {"TERM": "xterm", "NO_COLOR": ""})
    assert not use_color(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"})
    assert not use_color(Terminal(), {"TERM": "dumb"})
    assert not use_color(io.StringIO(), {})
    closed = io.StringIO()
    closed.close()
    assert not use_color(closed, {})


class Broken(io.StringIO):
    """A stream whose reader went away."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        raise BrokenPipeError


@pytest.mark.parametrize("kind", [PlainLines, JsonLines])
def test_broken_stream_silences_the_renderer(kind):
    stream = Broken()
    with kind(stream) as sink:
        for event in BUILD:
            sink(event)
    assert stream.writes == 1


@pytest.mark.parametrize("kind", [PlainLines, JsonLines])
def test_closed_stream_silences_the_renderer(kind):
    stream = io.StringIO()
    stream.close()
    with kind(stream) as sink:
        sink(BUILD[0])
    assert stream.closed


@pytest.mark.parametrize("kind", [PlainLines, JsonLines])
def test_events_out_of_order_do_not_raise(kind):
    stream = io.StringIO()
    with kind(stream) as sink:
        for event in reversed(BUILD):
            sink(event)
            sink(event)
    # Each event but for the second beginning of a step has a line, and what never ended one more.
    wanted = 2 * len(BUILD)
    assert stream.getvalue().count("\n") == (wanted if kind is JsonLines else wanted - 2)


@pytest.mark.parametrize("kind", [PlainLines, JsonLines])
def test_lines_of_threads_are_whole_and_complete(kind):
    stream = io.StringIO()
    threads, events = 8, 200
    with kind(stream) as sink:
        sink(StepStarted("s", "step"))

        def send(number: int) -> None:
            for count in range(events):
                sink(StepOutput("s", f"<{number}.{count}>"))

        workers = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    found = re.findall(r"^[^<\n]*<(\d+\.\d+)>[^<\n]*$", stream.getvalue(), re.MULTILINE)
    assert sorted(found) == sorted(f"{t}.{e}" for t in range(threads) for e in range(events))


def test_importing_progress_is_cheap():
    script = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'src')!r}];"
        "import wherry.events, re, typing; before = set(sys.modules);"
        "import wherry.cli.progress; after = {m.partition('.')[0] for m in sys.modules};"
        "print(sorted(after & {'rich', 'json', 'dataclasses', 'asyncio', 'ssl'}))"
    )
    shown = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[]\n"


def test_summary_says_name_digest_size_of_which_binary_and_time():
    digest = "sha256:" + "0" * 64
    built = Summary("movies:latest", digest, 8_900_000, "movies", 8_100_000, 1.23, True)
    assert render_summary(built, False).splitlines() == [
        "movies:latest  8.9 MB, of which 8.1 MB movies; built in 1.2s",
        digest,
    ]
    again = built._replace(seconds=0.09, fresh=False, outputs=("movies.tar", "out"))
    assert render_summary(again, False).splitlines() == [
        "movies:latest  8.9 MB, of which 8.1 MB movies; unchanged, 0.1s",
        digest,
        "written to movies.tar, out",
    ]
    assert re.sub(r"\x1b\[\d*m", "", render_summary(again, True)) == render_summary(again, False)


PARTS = (
    Part("base", 400_000, "base"),
    Part("files", 1_600_000, "files"),
    Part("api", 14_000_000),
    Part("工人", 4_000_000),
)


def test_summary_shows_what_takes_the_room_of_a_new_image():
    digest = "sha256:" + "0" * 64
    built = Summary("api:latest", digest, 20_000_000, "api", 14_000_000, 1.23, True, parts=PARTS)
    assert render_summary(built, False, 80).splitlines() == [
        "api:latest  20.0 MB; built in 1.2s",
        "  base   400.0 kB  █                                                     2%",
        "  files    1.6 MB  ████                                                  8%",
        "  api     14.0 MB  ███████████████████████████████████                  70%",
        "  工人     4.0 MB  ██████████                                           20%",
        digest,
    ]
    for width in (20, 40, 80, 120, 200):
        lines = render_summary(built, False, width).splitlines()[1:-1]
        assert all(cell_len(line) < width for line in lines)
        # A share is told even where there is no room for its bar.
        assert ("█" in lines[2]) == (width >= 40)
    # Nothing to look at where nothing changed, and no pictures in a log.
    again = built._replace(fresh=False)
    assert len(render_summary(again, False, 80).splitlines()) == 2
    assert render_summary(built, False).splitlines() == [
        "api:latest  20.0 MB: 400.0 kB base, 1.6 MB files, 14.0 MB api, 4.0 MB 工人; built in 1.2s",
        digest,
    ]


def test_summary_of_several_images_has_a_line_for_each():
    digest = "sha256:" + "0" * 64
    large = Summary("api:latest", digest, 20_000_000, "api", 18_000_000, 1.2, True, parts=PARTS)
    parts = (PARTS[0], Part("web", 4_600_000))
    small = large._replace(name="web:1.2", size=5_000_000, outputs=("web.tar",), parts=parts)
    assert render_summaries([large, small], ["worker"], 12.0, False, 60).splitlines() == [
        "✓ api:latest   20.0 MB  ░▒▒▒█████████████████████████████",
        "✓ web:1.2       5.0 MB  ░███████",
        "✗ worker        failed",
        "                        ░ base  ▒ files  █ programs",
        "written to web.tar",
        "2 of 3 images built in 12.0s",
    ]
    assert render_summaries([large, small], [], 12.0, False).splitlines() == [
        "✓ api:latest   20.0 MB",
        "✓ web:1.2       5.0 MB",
        "written to web.tar",
        "2 images built in 12.0s",
    ]


@given(st.lists(st.tuples(st.text(), st.integers(0, 10**12)), max_size=6), st.integers(20, 200))
def test_summaries_never_fill_the_width(parts: list[tuple[str, int]], width: int):
    found = tuple(Part(name, size) for name, size in parts)
    total = sum(part.size for part in found)
    summary = Summary("n", "d", total, "", 0, 1.0, True, parts=found)
    images = [summary, summary._replace(size=total // 2)]
    for line in render_summaries(images, ["x" * 300], 1.0, False, width).splitlines()[:-1]:
        assert cell_len(line) < width
    if len(found) > 1:
        for line in render_parts(found, width, False):
            assert cell_len(line) < width


def test_summary_of_a_base_that_was_not_fetched_says_that_its_size_is_compressed():
    digest = "sha256:" + "0" * 64
    pushed = (
        PushResult("localhost:5000/app:1", "", 3_100_000, 1, 2, False),
        PushResult("localhost:5000/app:2", "", 0, 0, 0, True),
    )
    lazy = Summary(
        "app:1", digest, 95_200_000, "app", 6_400_000, 1.2, True, compressed=True, pushed=pushed
    )
    assert render_summary(lazy, False).splitlines() == [
        "app:1  95.2 MB compressed, app 6.4 MB unpacked; built in 1.2s",
        digest,
        "pushed to localhost:5000/app:1 (3.1 MB sent, 1 blob mounted, 2 blobs there already)",
        "pushed to localhost:5000/app:2 (unchanged)",
    ]


def test_a_push_tells_what_it_took():
    digest = "sha256:" + "0" * 64
    pushes = (
        PushResult(f"localhost:5000/a:1@{digest}", "", 0, 0, 3, False),
        PushResult(f"localhost:5000/a:2@{digest}", "", 0, 0, 3, False),
        PushResult(f"localhost:5000/b:1@{digest}", "", 0, 0, 3, False),
        PushResult(f"c:1@{digest}", "", 5000, 0, 0, False),
    )
    assert render_pushes(pushes) == [
        "pushed to localhost:5000/a:1, localhost:5000/a:2 (0 B sent, 3 blobs there already)",
        "pushed to localhost:5000/b:1 (0 B sent, 3 blobs there already)",
        "pushed to c:1 (5.0 kB sent)",
    ]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"),
        (999_950, "1.0 MB"), (8_123_456, "8.1 MB"), (5 * 10**12, "5.0 TB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)  # fmt: skip
def test_sizes(size: int, text: str):
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0s"), (0.04, "0.0s"), (59.94, "59.9s"), (59.96, "1m00s"), (125, "2m05s"),
        (3599.6, "1h00m"), (3725, "1h02m"),
    ],
)  # fmt: skip
def test_times(seconds: float, text: str):
    assert format_seconds(seconds) == text


def test_counts():
    assert format_progress(StepProgress("a", 37, 1018, "packages")) == "37 of 1018 packages"
    assert format_progress(StepProgress("a", 37, 0, "files")) == "37 files"
    assert format_progress(StepProgress("a", 3_000_000, 0, "bytes")) == "3.0 MB"
    assert format_progress(StepProgress("a", 37, 1018, "packages"), short=True) == "3%"
    assert format_progress(StepProgress("a", 37, 0, "packages"), short=True) == "37 packages"


@given(st.integers(0, 10**11), st.data())
def test_no_count_of_bytes_is_wider_than_the_widest(total: int, data: st.DataObject):
    current = data.draw(st.integers(0, total))
    full = StepProgress("a", total, total, "bytes")
    for short in (False, True):
        text = format_progress(full._replace(current=current), short)
        assert len(text) <= widest_progress(full, short)


def test_plain_and_json_tell_transfers_in_bytes():
    name = "pull docker.io/library/debian:12-slim"
    events: list[Event] = [
        StepStarted(name, name),
        StepProgress(name, 12_300_000, 29_100_000, "bytes"),
        StepEnded(name, Outcome.DONE, 2.13, "29.1 MB"),
    ]
    plain, lines, clock = io.StringIO(), io.StringIO(), Clock()
    for sink in (PlainLines(plain, clock), JsonLines(lines, clock)):
        for event in events:
            clock.now += PROGRESS_SECONDS
            sink(event)
    assert plain.getvalue().splitlines() == [
        f"#1 {name} ... 12.3 MB of 29.1 MB (5.0s)",
        f"#1 {name} ... done 2.1s (29.1 MB)",
    ]
    moved = json.loads(lines.getvalue().splitlines()[1])
    assert (moved["current"], moved["total"], moved["unit"]) == (12_300_000, 29_100_000, "bytes")


def test_of_very_many_parts_the_largest_are_shown():
    parts = tuple(Part(f"[{n}] RUN make part{n}", 1000 * (n + 1), "files") for n in range(30))
    size = sum(part.size for part in parts)
    built = Summary("api:latest", "", size, "", 0, 1.2, True, parts=parts)
    lines = render_summary(built, False, 80).splitlines()
    assert len(lines) == 1 + 8
    assert [line.split("  ")[1] for line in lines[1:]] == [
        *(f"[{number}] RUN make part{number}" for number in range(23, 30)), "23 smaller ones",
    ]  # fmt: skip
    told = sum(1000 * (number + 1) for number in range(23))
    assert f"{told / 1000:.1f} kB" in lines[-1]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_images_have_bars_at_all_widths_whatever_their_names(width: int):
    built = Summary("a-very-" + "long-" * 12 + "name:latest", "", 20_000_000, "api", 14_000_000,
                    1.2, True, parts=PARTS)  # fmt: skip
    lines = render_summaries([built, built._replace(name="工人:1")], [], 1.0, False, width)
    for line in lines.splitlines()[:2]:
        assert cell_len(line) < width
        assert line.endswith("███")


def test_a_size_that_is_compressed_says_so_beside_its_bars():
    built = Summary("api:latest", "", 20_000_000, "api", 14_000_000, 1.2, True, parts=PARTS,
                    compressed=True)  # fmt: skip
    first = render_summary(built, False, 80).splitlines()[0]
    assert first == "api:latest  20.0 MB compressed; built in 1.2s"


def test_images_of_which_none_changed_have_no_bars_and_load_no_rich():
    script = (
        "import sys\n"
        "from wherry.cli.progress.summary import Summary, render_summaries\n"
        "one = Summary('api:1', '', 5, 'api', 4, 0.1, False)\n"
        "print(render_summaries([one, one], [], 0.1, False, 80))\n"
        "assert 'rich' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["✓ api:1       5 B"] * 2 + ["2 images unchanged, 0.1s"]


def test_the_documented_fields_of_a_result_are_those_that_there_are():
    page = (ROOT / "docs" / "progress.md").read_text()
    part = page[page.index("## The result as JSON") : page.index("## Traces")]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", part, re.MULTILINE))
    assert set(rows) == set(BuildResult._fields)
    for field, kind in (("binaries", BinaryResult), ("parts", PartResult), ("pushed", PushResult)):
        assert set(kind._fields) <= set(re.findall(r"`(\w+)`", rows[field]))
