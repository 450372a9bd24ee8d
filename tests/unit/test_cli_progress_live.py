# SPDX-License-Identifier: Apache-2.0
"""The live view: what stays on the screen, what moves, and how wide it is."""

import io
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pseudo_terminal import HIDE, NO_WRAP, SHOW, WRAP, Screen, pty
from wherry.cli.progress import make_sink
from wherry.cli.progress.board import Board, LaneView, Running, View
from wherry.cli.progress.cells import Row, fit
from wherry.cli.progress.lines import INDENT, LineStyle
from wherry.cli.progress.output import LineStream
from wherry.cli.progress.painter import Painter
from wherry.cli.progress.rows import Frame, render_rows
from wherry.events import (
    LaneEnded,
    Level,
    Message,
    Outcome,
    StepEnded,
    StepOutput,
    StepProgress,
    StepStarted,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("env", [{"TERM": "xterm"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_finished_steps_stay_and_rows_go(env: dict[str, str]):
    with pty() as terminal:
        with make_sink("auto", terminal.stream, env) as sink:
            sink(Message(Level.INFO, "building the Go module"))
            sink(StepStarted("b", "base static"))
            sink(StepEnded("b", Outcome.CACHED, 0.0, "0.4 MB"))
            sink(StepStarted("c", "compile movies"))
            sink(StepProgress("c", 637, 1018, "packages", "net/http"))
            terminal.wait_for("637 of 1018 packages")
            sink(StepStarted("d", "list sources"))
            sink(StepOutput("c", "go: downloading example.com/x v1.0.0"))
            sink(Message(Level.WARNING, "cgo is off"))
            moving = terminal.wait_for("list sources")[-2:]
            sink(StepEnded("d", Outcome.FAILED, 0.4, "exit status 1"))
            sink(StepEnded("c", Outcome.DONE, 5.02, "8.1 MB"))
            sink(StepStarted("e", "never ends"))
        terminal.close()
        screen, text = terminal.screen, terminal.text
    assert "compile movies" in moving[0]
    assert "━" in moving[0]
    assert "637 of 1018 packages  net/http" in moving[0]
    assert "list sources" in moving[1]
    assert screen.shown == [
        "building the Go module",
        "✓ cached  base static  0.4 MB",
        "          compile movies │ go: downloading example.com/x v1.0.0",
        "warning: cgo is off",
        "✗   0.4s  list sources  failed: exit status 1",
        "✓   5.0s  compile movies  8.1 MB",
    ]
    assert text.count(SHOW) == 1
    assert text.rindex(SHOW) > text.rindex(HIDE)
    assert text.rindex(SHOW) > text.rindex("━")
    assert text.count(NO_WRAP) == text.count(WRAP)
    assert bool(re.search(r"\x1b\[\d*m", text)) == ("NO_COLOR" not in env)


def test_the_same_in_a_process_that_is_over_at_once_loads_no_rich():
    script = """
import os, sys
from wherry.cli.progress import make_sink
from wherry.events import *
with make_sink("auto", sys.stderr, {"TERM": "xterm"}) as sink:
    for name in ("base", "compile"):
        sink(StepStarted(name, name))
        sink(StepEnded(name, Outcome.CACHED, 0.0))
print(any(name.partition(".")[0] == "rich" for name in sys.modules))
"""
    with pty() as terminal:
        shown = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"},
            stdout=subprocess.PIPE,
            stderr=terminal.stream,
            text=True,
            check=True,
        )
        terminal.close()
        assert shown.stdout == "False\n"
        assert terminal.screen.shown == ["✓ cached  base", "✓ cached  compile"]
        assert HIDE not in terminal.text


def test_an_error_in_the_block_still_leaves_a_clean_terminal():
    with pty() as terminal:
        with (
            pytest.raises(KeyboardInterrupt),
            make_sink("tty", terminal.stream, {}) as sink,
        ):
            sink(StepStarted("c", "compile movies"))
            terminal.wait_for("compile movies")
            raise KeyboardInterrupt
        terminal.close()
        assert terminal.screen.shown == []
        assert terminal.text.rindex(SHOW) > terminal.text.rindex(HIDE)


class Terminal(io.StringIO):
    """A terminal whose writes are up to a function."""

    encoding = "utf-8"

    def __init__(self, on_write: Callable[[str], None]) -> None:
        super().__init__()
        self.on_write = on_write

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.on_write(text)
        return len(text)


def test_terminal_that_goes_away_silences_the_view_and_raises_nothing():
    written = threading.Event()

    def fail(_text: str) -> None:
        written.set()
        raise OSError(5, "Input/output error")

    with make_sink("tty", Terminal(fail), {}) as sink:
        sink(StepStarted("c", "compile"))
        assert written.wait(20)
        for number in range(100):
            sink(StepProgress("c", number, 100, "packages"))
        sink(StepEnded("c", Outcome.DONE, 1.0))


def test_sending_does_not_wait_for_a_slow_terminal():
    release = threading.Event()
    blocked = threading.Event()

    def block(_text: str) -> None:
        blocked.set()
        release.wait(20)

    try:
        with make_sink("tty", Terminal(block), {}) as sink:
            sink(StepStarted("c", "compile"))
            assert blocked.wait(20)
            began = time.monotonic()
            for number in range(1000):
                sink(StepProgress("c", number, 1000, "packages"))
            took = time.monotonic() - began
            release.set()
    finally:
        release.set()
    assert took < 5


PROGRESS = st.builds(
    StepProgress,
    id=st.just("a"),
    current=st.integers(0, 10**10),
    total=st.integers(0, 10**10),
    unit=st.sampled_from(["packages", "bytes", "files"]),
    detail=st.text(max_size=20),
)
STEP = st.builds(
    Running,
    name=st.text(max_size=60),
    since=st.floats(-100_000, 0),
    progress=st.none() | PROGRESS,
)


PLAIN = LineStyle(color=False)
LANE = st.builds(
    LaneView,
    name=st.text(max_size=40),
    since=st.floats(-100_000, 0),
    steps=st.lists(STEP, max_size=2).map(tuple),
)
VIEW = st.builds(
    View,
    steps=st.lists(STEP, max_size=6).map(tuple),
    lanes=st.lists(LANE, max_size=5).map(tuple),
)


def rows_of(steps: tuple[Running, ...], frame: Frame) -> list[str]:
    return render_rows(View(steps), frame, PLAIN)


def test_two_lines_hold_no_more_than_steps_and_their_count() -> None:
    step = Running("build", 0.0)
    lanes = (LaneView("a", 0.0, (step,)), LaneView("b", 0.0, (step,)), LaneView("c", 0.0, ()))
    two = render_rows(View((step,), lanes), Frame(40, 4, 1.0, 0), PLAIN)
    assert [row.split()[-1] for row in two] == ["build", "images"]
    waits = render_rows(View((step,), lanes[2:]), Frame(40, 4, 1.0, 0), PLAIN)
    assert [row.split()[-1] for row in waits] == ["build", "c"]


@given(VIEW, st.integers(10, 200), st.integers(3, 20), st.integers(0, 50), st.booleans())
def test_rows_never_fill_the_width_nor_the_height(
    view: View, width: int, height: int, tick: int, compact: bool
):
    rows = render_rows(view, Frame(width, height, 1.0, tick, compact), PLAIN)
    assert all(cell_len(row) < width for row in rows)
    assert all(row.isprintable() or "\n" not in row for row in rows)
    assert len(rows) <= max(height - 2, 2)
    assert bool(rows) == bool(view.steps or view.lanes)


@given(VIEW, st.integers(10, 200))
def test_colours_change_nothing_else(view: View, width: int):
    frame = Frame(width, 24, 1.0, 0)
    painted = render_rows(view, frame, LineStyle(color=True))
    plain = render_rows(view, frame, PLAIN)
    assert [re.sub(r"\x1b\[\d*m", "", row).rstrip(" ") for row in painted] == plain


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (40, ["compile movies", "35%"]),
        (80, ["compile movies", "━", "366 of 1018 packages"]),
        (120, ["compile movies", "━", "366 of 1018 packages", "net/http/httputil"]),
        (200, ["compile movies", "━", "366 of 1018 packages", "net/http/httputil"]),
    ],
)
def test_what_a_width_has_room_for(width: int, words: list[str]):
    progress = StepProgress("a", 366, 1018, "packages", "net/http/httputil")
    steps = (Running("compile movies", 0.0, progress), Running("list", 0.0))
    first, second = rows_of(steps, Frame(width, 24, 3.4, 0))
    assert all(word in first for word in words)
    assert "3.4s" in first
    assert second == f"{first[0]}   3.4s  list"


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("compile", 7, "compile"), ("compile", 6, "compi…"), ("compile", 1, "…"), ("x", 0, ""),
        ("工人工人", 8, "工人工人"), ("工人工人", 7, "工人工…"), ("工人工人", 6, "工人…"),
        ("e\u0301te\u0301", 3, "e\u0301te\u0301"), ("e\u0301te\u0301s", 3, "e\u0301t…"),
        ("🚢🚢🚢", 4, "🚢…"), ("👩\u200d🚒x", 3, "👩\u200d🚒x"), ("❤\ufe0f❤\ufe0f", 3, "❤\ufe0f…"),
    ],
)  # fmt: skip
def test_text_is_cut_by_the_cells_it_takes(text: str, width: int, cut: str):
    assert fit(text, width) == cut
    assert cell_len(fit(text, width)) <= width


@given(st.text(), st.integers(0, 40))
def test_a_row_is_as_wide_as_it_says(text: str, limit: int):
    row = Row(PLAIN, limit).add(text.replace("\t", " ").translate({n: "" for n in range(32)}))
    assert row.width <= limit
    assert cell_len(str(row)) <= row.width


def test_bars_stand_under_each_other_and_counts_keep_their_width():
    def rows(current: int) -> list[str]:
        steps = (
            Running("工人", 0.0, StepProgress("a", current, 1018, "packages")),
            Running("a longer name", 0.0, StepProgress("b", 9, 10, "packages")),
        )
        return rows_of(steps, Frame(100, 24, 1.0, 0))

    few, many = rows(1), rows(1018)
    bars = {
        cell_len(row[: min(row.index(sign) for sign in "━─" if sign in row)]) for row in few + many
    }
    assert len(bars) == 1
    assert len({cell_len(row) for row in few + many}) == 1


def test_counts_of_bytes_keep_their_width_from_the_first_to_the_last():
    total = 67_000_000
    steps = [0, 999, 999_900, 1_000_000, 12_300_000, total]
    name = "push registry.example.com/shop/api:1.2"
    rows = [
        rows_of(
            (Running(name, 0.0, StepProgress(name, current, total, "bytes")),),
            Frame(100, 24, 1.0, 0),
        )[0]
        for current in steps
    ]
    assert len({len(row) for row in rows}) == 1
    assert [row.rpartition("  ")[2].strip() for row in rows[-2:]] == [
        "12.3 MB of 67.0 MB",
        "67.0 MB of 67.0 MB",
    ]
    assert all(name in row for row in rows)


def test_steps_beyond_the_height_are_counted():
    steps = tuple(Running(f"step {number}", 0.0) for number in range(10))
    rows = rows_of(steps, Frame(80, 8, 1.0, 0))
    assert len(rows) == 6
    assert rows[-1].strip() == "and 5 more"


def several_images() -> Board:
    """A build of three images: one finished, one with a step under way, one between two steps."""
    board = Board(PLAIN)
    for event in (
        StepStarted("c", "compile 3 programs"),
        StepStarted("1", "base static", "api"),
        StepStarted("2", "base static", "工人"),
        StepEnded("1", Outcome.CACHED, 0.0, "0.4 MB"),
        StepStarted("3", "layer app/api", "api"),
        StepStarted("4", "base static", "web"),
        StepEnded("4", Outcome.DONE, 0.2),
        StepEnded("2", Outcome.DONE, 0.2),
        LaneEnded("工人", Outcome.DONE, 3.2, 8_900_000),
        StepOutput("3", "a line"),
        StepProgress("3", 1_200_000, 8_100_000, "bytes"),
    ):
        board.take(event, 0.0)
    return board


def test_images_have_lanes_while_steps_run_for_them():
    board = several_images()
    # That an image is there, and that a step of it was short, the summary tells, or nobody.
    assert board.drain() == ["          api: layer app/api │ a line"]
    assert render_rows(board.view(), Frame(80, 24, 1.0, 0), PLAIN) == [
        "⠋   1.0s  compile 3 programs",
        "api",
        "⠋   1.0s  layer app/api         ━────────────    1.2 MB of 8.1 MB",
        "          waiting: web",
    ]
    assert board.drain() == []
    # A step that took long enough to be missed leaves its line.
    board.take(StepStarted("5", "build web", "web"), 0.0)
    board.take(StepEnded("5", Outcome.DONE, 1.0, "8.1 MB"), 1.0)
    assert board.drain() == ["✓   1.0s  web: build web  8.1 MB"]
    # What never ended is told, with what failed in it.
    board.take(StepEnded("3", Outcome.FAILED, 0.4), 0.0)
    assert board.flush() == ["api", "✗   0.4s  layer app/api  failed", "not finished: api, web"]
    assert board.flush() == []


def test_images_beyond_the_height_have_a_row_each_and_are_counted():
    board = several_images()
    assert render_rows(board.view(), Frame(80, 6, 1.0, 0), PLAIN) == [
        "⠋   1.0s  compile 3 programs",
        "api",
        "⠋   1.0s  layer app/api         ━────────────    1.2 MB of 8.1 MB",
        "          waiting: web",
    ]
    assert render_rows(board.view(), Frame(80, 5, 1.0, 0), PLAIN) == [
        "⠋   1.0s  compile 3 programs",
        "⠋   1.0s  api: layer app/api    ━────────────    1.2 MB of 8.1 MB",
        "          waiting: web",
    ]
    for number in range(9):
        board.take(StepStarted(f"n{number}", "base static", f"more {number}"), 0.0)
    rows = render_rows(board.view(), Frame(80, 6, 1.0, 0), PLAIN)
    assert len(rows) == 4
    assert rows[-2].strip() == "and 9 more images"


def test_a_step_of_an_image_moves_once_it_has_run_for_a_moment():
    board = Board(PLAIN)
    board.take(StepStarted("1", "files", "api"), 10.0)
    assert board.view(10.1).lanes[0].steps == ()
    assert [step.name for step in board.view(10.3).lanes[0].steps] == ["files"]


def test_images_that_wait_share_a_row():
    lanes = tuple(LaneView(f"image-{number}", 0.0, ()) for number in range(20))
    frame = Frame(60, 24, 1.0, 0)
    rows = render_rows(View((Running("build", 0.0),), lanes), frame, PLAIN)
    assert rows == [
        "⠋   1.0s  build",
        "          waiting: image-0, image-1, image-2 and 17 more",
    ]
    assert render_rows(View((), lanes), Frame(40, 2, 1.0, 0), PLAIN) == [
        "          waiting: image-0 and 19 more"
    ]


def test_what_stands_there_already_is_not_written_again():
    writes: list[str] = []
    stream = Terminal(writes.append)
    painter = Painter(stream, PLAIN, LineStream(stream))
    lanes = (LaneView("an image", 0.0, (Running("files", 0.0),)), LaneView("another", 0.0, ()))
    for tick in range(11):
        painter.show([], View((), lanes), 1.0 + tick / 10)
    # But once a second, as keys that someone presses are shown, too.
    assert ["an image" in text for text in writes] == [True, *[False] * 9, True]
    screen = Screen()
    screen.feed("".join(writes))
    assert [line.lstrip("⠋ ") for line in screen.shown] == [
        "an image", "2.0s  files", "waiting: another",
    ]  # fmt: skip


def test_an_image_that_fails_says_in_which_step():
    board = Board(PLAIN)
    board.take(StepStarted("1", "compile web", "web"), 0.0)
    board.take(StepEnded("1", Outcome.FAILED, 1.0), 0.0)
    board.take(LaneEnded("web", Outcome.FAILED, 1.5), 0.0)
    board.take(LaneEnded("unheard of", Outcome.FAILED, 1.5, detail="no main package"), 0.0)
    assert board.drain() == [
        "✗   1.5s  web  failed: compile web",
        "✗   1.5s  unheard of  failed: no main package",
    ]
    assert board.view() == View()


def test_each_picture_is_one_write_and_nothing_is_blank_in_between():
    writes: list[str] = []
    stream = Terminal(writes.append)
    painter = Painter(stream, PLAIN, LineStream(stream))
    steps = (Running("compile", 0.0), Running("list", 0.0))
    painter.show([], View(steps), 1.0)
    painter.show([], View(steps), 1.1)
    painter.show(["✓ done"], View(steps[:1]), 1.2)
    painter.close()
    assert len(writes) == 4
    # Rows are written over, not erased first.
    assert "\x1b[2K" not in writes[1]
    assert "\x1b[J" not in writes[1].partition("list")[0]
    screen = Screen()
    screen.feed("".join(writes))
    assert screen.shown == ["✓ done"]
    assert writes[-1].endswith(SHOW)


@given(
    st.lists(
        st.tuples(st.integers(10, 120), st.integers(0, 12), st.integers(0, 2)),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_lines_stay_and_rows_go_whatever_the_terminal_does(pictures: list[tuple[int, int, int]]):
    """Wider, narrower, more rows, fewer: what is there to stay is there, whole and once."""
    writes: list[str] = []
    stream = Terminal(writes.append)
    painter = Painter(stream, PLAIN, LineStream(stream))
    screen, lasting = Screen(), []
    with mock.patch("wherry.cli.progress.painter.terminal_size") as size:
        # The terminal here does not wrap: rows get no wider than it ever was.
        narrowest = min(width for width, _, _ in pictures)
        for number, (_, count, lines) in enumerate(pictures):
            size.return_value = (narrowest, 24)
            said = [f"line {number}.{line}" for line in range(lines)]
            lasting += said
            steps = tuple(Running(f"step {step} " + "x" * 50, 0.0) for step in range(count))
            painter.show(said, View(steps), 1.0)
            screen.feed(writes.pop())
            assert len(screen.shown) == len(lasting) + count
        painter.close()
    screen.feed(writes.pop())
    assert screen.shown == lasting


def test_lasting_lines_begin_names_in_one_column():
    style = LineStyle(color=False)
    ended = style.ended("NAME", StepEnded("a", Outcome.DONE, 3725.0, "x"))
    cached = style.ended("NAME", StepEnded("a", Outcome.CACHED, 3.0))
    cancelled = style.ended("NAME", StepEnded("a", Outcome.CANCELLED, 3.0))
    assert {line.index("NAME") for line in (ended, cached, cancelled)} == {INDENT}
    assert cancelled == "-   3.0s  NAME  cancelled"
