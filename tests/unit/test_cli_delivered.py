# SPDX-License-Identifier: Apache-2.0
"""A build's result is told once it is delivered; what comes after it is told below."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pseudo_terminal import HIDE, SHOW, pty
from wherry.cli.progress.select import make_sink
from wherry.events import Level, Message, Outcome, StepEnded, StepProgress, StepStarted

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = "m:latest@sha256:0000"
LAST = "Go caches: 1.0 MB downloaded"

# A build that takes no time, and an export after it; `sys.argv` may say what goes wrong.
SCRIPT = """
import os, sys, time
from wherry.api.request import BuildOutcome, BuildResult, ImageFailure
from wherry.cli import builder
from wherry.cli.flags import BuildFlags
from wherry.errors import BuildError, WherryError
from wherry.events import Level, Message, Outcome, StepEnded, StepProgress, StepStarted

mode, wrong, *rest = sys.argv[1:]
result = BuildResult("m:latest@sha256:0000", ("m:latest",), "sha256:0000", "sha256:1", 10, 20,
                     "linux/amd64", (), False, "first build", 1.0)
failed = (ImageFailure("web", BuildError("web does not compile")),) if wrong == "failed" else ()

def build_images(request, sink, token):
    sink(StepStarted("1", "compile m"))
    sink(StepEnded("1", Outcome.DONE, 0.5))
    outcome = BuildOutcome((result,), failed, bool(failed), 1.0)
    if wrong != "silent":
        request.delivered(outcome)
    sink(StepStarted("2", "Go cache to there"))
    if wrong == "export":
        raise BuildError("the cache is full")
    for _ in range(3):
        sink(StepProgress("2", 1, 2, "bytes"))
        time.sleep(0.2 if mode == "tty" else 0)
    sink(StepEnded("2", Outcome.DONE, 0.2))
    sink(Message(Level.INFO, "Go caches: 1.0 MB downloaded"))
    return outcome

if mode == "kaniko":
    from wherry.cli import kaniko
    from wherry.cli.kaniko_words import read_words

    def after_files(request, sink, token):
        if wrong == "files":
            os.mkdir(rest[0] + "/digest")
        def delivered(outcome):
            request.delivered(outcome)
            sink(Message(Level.INFO, "digest file: " + open(rest[0] + "/digest").read()))
        return build_images(request._replace(delivered=delivered), sink, token)

    kaniko.build_images = after_files
    words = ["-c", rest[0], "-d", "m", "--no-push", "--digest-file", rest[0] + "/digest", *rest[1:]]
    if wrong == "full":
        class Full:
            def write(self, text):
                raise OSError(28, "No space left on device")
            def flush(self):
                pass
        sys.stdout = Full()
    try:
        code = kaniko.run_kaniko(read_words(words))
    except (WherryError, OSError) as error:
        print("error:", error, file=sys.stderr)
        code = 1
    sys.exit(code)
builder.build_images = build_images
flags = BuildFlags(progress="plain" if mode == "quiet" else mode, quiet=mode == "quiet",
                   as_json="json" in rest)
try:
    code = builder.run_build(flags)
except WherryError as error:
    print("error:", error, file=sys.stderr)
    code = 1
sys.exit(code)
"""


def run(*words: str, code: int = 0) -> list[str]:
    """The lines of stdout and stderr in the order in which they came."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        env={"PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout.splitlines()


def place(lines: list[str], words: str) -> int:
    (found,) = [number for number, line in enumerate(lines) if words in line]
    return found


def test_plain_lines_follow_the_result() -> None:
    lines = run("plain", "")
    order = [place(lines, words) for words in (
        "compile m ... done", "m:latest  20 B", REFERENCE, "Go cache to there ... done", LAST,
    )]  # fmt: skip
    assert order == sorted(order)


def test_events_follow_the_result() -> None:
    lines = run("json", "", "json")
    number = place(lines, '"reference"')
    events = [json.loads(line) for line in lines[number + 1 :]]
    assert [one["event"] for one in events] == [
        "step_started", "step_progress", "step_progress", "step_progress", "step_ended", "message",
    ]  # fmt: skip
    assert json.loads(lines[number])["reference"] == REFERENCE


def test_nothing_but_the_result_where_it_is_to_be_quiet() -> None:
    assert run("quiet", "") == [REFERENCE]


def test_the_live_view_comes_back_below_the_result() -> None:
    with pty() as terminal:
        subprocess.run(
            [sys.executable, "-c", SCRIPT, "tty", ""],
            env={"PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1", "TERM": "xterm"},
            stdout=terminal.stream, stderr=terminal.stream, timeout=60, check=True,
        )  # fmt: skip
        terminal.close()
        shown, text = terminal.screen.shown, terminal.text
    order = [place(shown, words) for words in ("compile m", REFERENCE, "Go cache to there", LAST)]
    assert order == sorted(order)
    # The export moved while it went on.
    assert text.index(REFERENCE) < text.rindex("━") < text.index(LAST)
    assert text.rindex(SHOW) > text.rindex(HIDE)


def test_the_result_is_told_at_the_end_where_nobody_says_that_it_is_delivered() -> None:
    lines = run("plain", "silent")
    assert place(lines, LAST) < place(lines, REFERENCE)


def test_a_result_is_told_though_what_follows_fails() -> None:
    lines = run("plain", "export", code=1)
    assert place(lines, REFERENCE) < place(lines, "error: the cache is full")


def test_errors_of_other_images_are_the_last_words() -> None:
    lines = run("plain", "failed", code=1)
    order = [place(lines, words) for words in (REFERENCE, LAST, "error: web does not compile")]
    assert order == sorted(order)


@pytest.fixture
def context(tmp_path: Path) -> str:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return str(tmp_path)


def test_a_kaniko_call_tells_its_result_before_the_cache_is_written(context: str) -> None:
    lines = run("kaniko", "", context)
    order = [place(lines, words) for words in (
        "compile m ... done", "m:latest  20 B", REFERENCE, "digest file: sha256:0000",
        "Go cache to there ... done", LAST,
    )]  # fmt: skip
    assert order == sorted(order)


def test_a_kaniko_call_that_fails_later_has_told_its_result_once(context: str) -> None:
    lines = run("kaniko", "export", context, code=1)
    assert place(lines, REFERENCE) < place(lines, "error: the cache is full")


def test_a_kaniko_call_whose_files_fail_tells_its_result(context: str) -> None:
    lines = run("kaniko", "files", context, code=1)
    assert place(lines, REFERENCE) < place(lines, "error: ")
    assert LAST not in lines


def test_a_kaniko_call_writes_the_cache_though_stdout_is_full(context: str) -> None:
    lines = run("kaniko", "full", context, code=1)
    assert place(lines, LAST) < place(lines, "error: [Errno 28]")


@pytest.mark.parametrize("mode", ["plain", "tty", "json", "quiet"])
def test_every_renderer_comes_back(mode: str) -> None:
    with pty() as terminal:
        with make_sink(mode, terminal.stream, {"TERM": "xterm"}) as sink:
            sink(Message(Level.INFO, "before"))
            sink.leave()
            terminal.stream.write("between\n")
            terminal.stream.flush()
            sink.come_back()
            sink(StepStarted("1", "after"))
            sink(StepProgress("1", 1, 2, "bytes"))
            sink(StepEnded("1", Outcome.DONE, 0.1))
        terminal.close()
        shown = terminal.screen.shown
    if mode == "quiet":
        assert shown == ["between"]
    else:
        order = [min(n for n, line in enumerate(shown) if word in line)
                 for word in ("before", "between", "after")]  # fmt: skip
        assert order == sorted(order)
