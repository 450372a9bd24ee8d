# SPDX-License-Identifier: Apache-2.0
"""What a build of several images tells of each: lanes, ends, failures, sizes."""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from attacks import TerminalRun
from wherry.api.building import build_images
from wherry.api.request import BuildOutcome, BuildRequest
from wherry.errors import BuildError, NetworkError
from wherry.events import Event, LaneEnded, Outcome, StepEnded, StepStarted
from wherry.process.cancel import CancelToken
from wherry.process.clock import next_file_clock_ns
from wherry_fixtures import GO_MOD, Finished, Project

Make = Callable[..., Project]

SAYS = 'package main\n\nimport "example.com/m/lib"\n\nfunc main() { println(lib.Word, "NAME") }\n'
LIB = 'package lib\n\nconst Word = "says"\n'
BROKEN = "package main\n\nfunc main() { nothing() }\n"
NAMES = ("api", "mail", "web")
TOML = """
[build]
base = "static"
[image.api]
packages = ["./cmd/api"]
[image.mail]
packages = ["./cmd/mail"]
ldflags = ["-X main.version=1"]
[image.web]
packages = ["./cmd/web"]
files = [{ from = "www", to = "/www" }]
"""


def module(**others: str) -> dict[str, str]:
    programs = {f"cmd/{name}/main.go": SAYS.replace("NAME", name) for name in NAMES}
    return {"go.mod": GO_MOD, "lib/lib.go": LIB, "wherry.toml": TOML, "www/index.html": "hello\n",
            **programs, **others}  # fmt: skip


def build(project: Project, *sources: str) -> tuple[BuildOutcome, list[Event]]:
    source = sources[0] if sources else "."
    request = BuildRequest(
        source, str(project.root), dict(project.env), str(project.store), more_sources=sources[1:]
    )
    # What was written in the very tick of the start is built twice: other steps.
    next_file_clock_ns()
    events: list[Event] = []
    return build_images(request, events.append, CancelToken()), events


def test_steps_are_in_the_lane_of_the_one_image_that_needs_them(project: Make) -> None:
    made = project(module())
    outcome, events = build(made)
    started = [event for event in events if isinstance(event, StepStarted)]
    assert {(step.lane, step.name.partition(" for ")[0]) for step in started} == {
        ("", "base static"),
        ("", "build api, web"),
        ("mail", "build mail"),
        ("web", "files"),
    }
    assert len({step.id for step in started}) == len(started)
    ended = [event for event in events if isinstance(event, LaneEnded)]
    assert [(lane.lane, lane.outcome, lane.size, lane.digest) for lane in ended] == [
        (name, Outcome.DONE, image.unpacked, image.digest)
        for name, image in zip(NAMES, outcome.images, strict=True)
    ]
    # A lane ends after its last step.
    last = max(at for at, event in enumerate(events) if isinstance(event, StepEnded))
    assert all(events.index(lane) > last for lane in ended)
    # What did not run has no steps and no lanes.
    assert [type(event) for event in build(made)[1]] == []


def test_one_image_has_no_lane(project: Make) -> None:
    _, events = build(project(module()), "./cmd/web")
    assert {event.lane for event in events if isinstance(event, StepStarted)} == {""}
    assert not [event for event in events if isinstance(event, LaneEnded)]


def test_sizes_of_the_parts_make_up_the_image_s(project: Make) -> None:
    made = project(module())
    for _ in range(2):
        outcome, _ = build(made)
        for image in outcome.images:
            assert sum(part.size for part in image.parts) == image.unpacked
        *_, web = outcome.images
        assert [(part.name, part.kind) for part in web.parts] == [
            ("base static", "base"), ("files", "files"), ("web", "binary"),
        ]  # fmt: skip
        assert [part.size for part in web.parts][1:] == [6, web.binaries[0].size]
    assert all(image.reused for image in outcome.images)


def test_an_image_that_fails_ends_its_lane_with_the_reason(project: Make) -> None:
    outcome, events = build(project(module(**{"cmd/mail/main.go": BROKEN})))
    assert [failure.name for failure in outcome.failures] == ["mail"]
    ended = {event.lane: event for event in events if isinstance(event, LaneEnded)}
    assert {name: lane.outcome for name, lane in ended.items()} == {
        "api": Outcome.DONE, "web": Outcome.DONE, "mail": Outcome.FAILED,
    }  # fmt: skip
    assert ended["mail"].detail == "cmd/mail/main.go:3: the Go code does not compile"
    assert (ended["mail"].size, ended["mail"].digest) == (0, "")
    names = {event.id: event.name for event in events if isinstance(event, StepStarted)}
    failed = [names[event.id] for event in events
              if isinstance(event, StepEnded) and event.outcome is Outcome.FAILED]  # fmt: skip
    # Compiled once, and in vain.
    assert [name.partition(" for ")[0] for name in failed] == ["build mail"]


def test_where_all_fail_each_lane_ends(project: Make) -> None:
    made = project(module(**{"lib/lib.go": "package lib\n\nconst Word = nothing\n"}))
    request = BuildRequest(".", str(made.root), dict(made.env), str(made.store))
    events: list[Event] = []
    with pytest.raises(BuildError, match=r"lib\.go:3:14"):
        build_images(request, events.append, CancelToken())
    ended = [event for event in events if isinstance(event, LaneEnded)]
    assert sorted((lane.lane, lane.outcome) for lane in ended) == [
        (name, Outcome.FAILED) for name in NAMES
    ]


def test_a_module_that_one_image_cannot_get_stops_no_other(project: Make) -> None:
    needs = f"{GO_MOD}\nrequire example.com/private v1.0.0\n"
    sums = "".join(f"example.com/private v1.0.0{end} h1:{'A' * 43}=\n" for end in ("", "/go.mod"))
    main = 'package main\n\nimport _ "example.com/private"\n\nfunc main() {}\n'
    made = project(module(**{"go.mod": needs, "go.sum": sums, "cmd/mail/main.go": main}))
    made.env["GOPROXY"] = "off"
    made.write("wherry.toml", TOML.replace('ldflags = ["-X main.version=1"]', ""))
    outcome, events = build(made)
    assert [image.tags for image in outcome.images] == [("api:latest",), ("web:latest",)]
    (failure,) = outcome.failures
    assert (failure.name, type(failure.error)) == ("mail", NetworkError)
    ends = [event for event in events if isinstance(event, StepEnded)]
    (fell_short,) = [event for event in ends if event.outcome is Outcome.FAILED]
    assert fell_short.detail.startswith("2 of 3 built, ")


class Collector(BaseHTTPRequestHandler):
    """Takes traces."""

    bodies: list[bytes]

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    bodies: list[bytes] = []
    handler = type("Handler", (Collector,), {"bodies": bodies})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()


BOTH_BROKEN = {"cmd/mail/main.go": BROKEN, "cmd/web/main.go": BROKEN}


@pytest.mark.parametrize("mode", ["plain", "json", "quiet"])
def test_compile_errors_are_told_once_and_last(
    project: Make, wherry: Callable[..., Finished], mode: str
) -> None:
    made = project(module(**BOTH_BROKEN))
    words = ["-q"] if mode == "quiet" else ["--progress", mode]
    done = wherry("build", *words, ".", cwd=made.root)
    assert done.returncode == 1
    assert done.stdout.startswith("api:latest@sha256:")
    assert done.stdout.count("\n") == 1
    lines = done.stderr.splitlines()
    for name in ("mail", "web"):
        assert done.stderr.count(f"cmd/{name}/main.go:3:15: undefined: nothing") == 1
    if mode == "json":
        events = [json.loads(line) for line in lines]
        assert [event["images"] for event in events if event["event"] == "error"] == [
            ["mail", "web"]
        ]
        assert events[-1]["event"] == "error"
        assert events[-1]["code"] == 1
        return
    at = lines.index("mail, web: not built")
    assert lines[-1].startswith("hint: ")
    assert all("undefined" not in line for line in lines[:at])
    if mode == "quiet":
        assert at == 0
    else:
        assert re.fullmatch(r"1 of 3 images built in [0-9.]+s", lines[at - 1])


def test_a_terminal_tells_of_many_images_in_few_bytes_and_of_errors_once(
    project: Make, go_env: dict[str, str], store: Path
) -> None:
    made = project(module(**BOTH_BROKEN))
    env = {**go_env, **made.env, "WHERRY_STORE": str(store), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    env.pop("CI", None)
    began = time.monotonic()
    finished, screen = TerminalRun("build", cwd=made.root, env=env).finish()
    seconds = time.monotonic() - began
    assert finished.returncode == 1
    # A terminal that has not said its size is taken for one of 80 columns.
    assert len(screen) < 6000 + 6000 * seconds
    assert "\x1b[2J" not in screen
    assert screen.count("\x1b[?7l") == screen.count("\x1b[?7h")
    last = screen.rpartition("\x1b[?25h")[2].replace("\r", "")
    for name in ("mail", "web"):
        assert screen.count(f"cmd/{name}/main.go:3:15: undefined: nothing") == 1
        assert f"✗ {name}" in last
    summary, errors = last.split("mail, web: not built\n")
    assert "1 of 3 images built" in summary
    assert "░ base  ▒ files  █ programs" in summary
    assert errors.count("hint: ") == 1


def test_a_trace_of_a_build_of_which_an_image_failed_has_its_exit_code(
    project: Make,
    wherry: Callable[..., Finished],
    collector: tuple[str, list[bytes]],
) -> None:
    trace = pytest.importorskip(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs the extra otel"
    )
    endpoint, bodies = collector
    made = project(module(**BOTH_BROKEN))
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "no_proxy": "127.0.0.1"}
    done = wherry("build", "--progress", "plain", ".", cwd=made.root,
                  more={**os.environ, **made.env, **more})  # fmt: skip
    assert done.returncode == 1, done.stderr
    (body,) = bodies
    sent = trace.ExportTraceServiceRequest.FromString(body)
    spans = [span for item in sent.resource_spans for scope in item.scope_spans
             for span in scope.spans]  # fmt: skip
    root = next(span for span in spans if not span.parent_span_id)
    facts = {item.key: item.value for item in root.attributes}
    assert facts["wherry.exit_code"].int_value == 1
    assert facts["wherry.outcome"].string_value == "failed"
    assert root.status.message == "2 images were not built"
    images = {item.value.string_value for span in spans for item in span.attributes
              if item.key == "wherry.image"}  # fmt: skip
    assert images == {"mail", "web"}
