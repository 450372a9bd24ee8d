# SPDX-License-Identifier: Apache-2.0
"""Scenes of builds, played on stderr until someone stops them: `python screen_scenes.py NAME`.

What they show does not depend on time but for the seconds and the spinner.
"""

from __future__ import annotations

import os
import sys
import time

from wherry.cli.progress import Part, Summary, picture_width, render_summaries, render_summary
from wherry.cli.progress.select import make_sink
from wherry.cli.stopping import stopping
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

ONE: list[Event] = [
    Message(Level.INFO, "building the Go module"),
    StepStarted("b", "base static"),
    StepEnded("b", Outcome.CACHED, 0.0, "0.4 MB"),
    StepStarted("c", "compile movies"),
    StepProgress("c", 366, 1018, "packages", "net/http/httputil"),
    StepStarted("p", "pull debian:12-slim"),
    StepProgress("p", 12_300_000, 67_000_000, "bytes"),
    StepStarted("d", "list sources"),
    StepOutput("c", "go: downloading example.com/some/module v1.0.0"),
]
# Wide letters, a picture, a combining mark, an escape sequence and a mark that turns the reading.
NAMES = ("api", "工人 worker", "web-🚢", "cafe\u0301-\x1b[31m\u202ered\x1b]0;title\x07")
SEVERAL: list[Event] = [
    StepStarted("b", "base static"),
    StepEnded("b", Outcome.CACHED, 0.0),
    StepStarted("c", "build 4 programs for linux/amd64"),
    StepProgress("c", 366, 1018, "packages", "net/http/httputil"),
    StepStarted("0", "build api for linux/amd64", NAMES[0]),
    StepEnded("0", Outcome.FAILED, 3.2),
    LaneEnded(NAMES[0], Outcome.FAILED, 3.2, detail="api.go:3: the Go code does not compile"),
    StepStarted("1", "build worker for linux/amd64", NAMES[1]),
    StepProgress("1", 12, 199, "packages", "net"),
    StepStarted("2", "files", NAMES[2]),
    StepEnded("2", Outcome.DONE, 0.1, "62 files"),
    StepStarted("3", "files", NAMES[3]),
    StepProgress("3", 20, 40, "files", "映画/映画.html"),
]
CROWD: list[Event] = [
    event
    for number in range(30)
    for event in (
        StepStarted(str(number), "base static", f"image-{number}"),
        StepProgress(str(number), number, 30, "files"),
    )
]
PARTS = (Part("base static", 400_000, "base"), Part("files", 1_600_000, "files"),
         Part("api", 14_000_000), Part("工人", 4_000_000))  # fmt: skip
SUMMARY = Summary("api:latest", "sha256:" + "0" * 64, 20_000_000, "api", 14_000_000, 1.2, True,
                  parts=PARTS)  # fmt: skip


SCENES = {"one": ONE, "several": SEVERAL, "crowd": CROWD, "fault": ONE, "stubborn": ONE}


def play(scene: str) -> None:
    with stopping() as token, make_sink("auto", sys.stderr, os.environ) as sink:
        for event in SCENES[scene]:
            sink(event)
        if scene == "fault":
            time.sleep(0.5)
            raise ZeroDivisionError
        while scene == "stubborn" or not token.cancelled:
            time.sleep(0.05)
        token.check()


def main(scene: str) -> None:
    width = picture_width(sys.stderr, os.environ)
    if scene == "summary":
        sys.stderr.write(render_summary(SUMMARY, False, width) + "\n")
        small = SUMMARY._replace(name="工人:1.2", size=5_000_000,
                                 parts=(PARTS[0], Part("工人", 4_600_000)))  # fmt: skip
        sys.stderr.write(render_summaries([SUMMARY, small], ["web"], 12.0, False, width) + "\n")
        time.sleep(60)
    else:
        play(scene)


if __name__ == "__main__":
    main(sys.argv[1])
