# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry traces: what is noted, what is sent to a collector, and what is left out."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from wherry.api.request import ImageFailure, ImagesFailed
from wherry.cli.progress import make_sink
from wherry.cli.progress.plain import PlainLines
from wherry.cli.tracing import Traced, TracedBuild, is_traced
from wherry.errors import BuildError, Interrupted
from wherry.events import LaneEnded, Outcome, StepEnded, StepOutput, StepStarted
from wherry.process.cancel import Cancelled

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1"}
HAS_SDK = importlib.util.find_spec("opentelemetry") is not None and (
    importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
)
needs_sdk = pytest.mark.skipif(not HAS_SDK, reason="no opentelemetry here: the extra otel")
SECRET = "hunter2"


class Sent:
    """Takes traces in place of the SDK; `problem` is what it complains of."""

    def __init__(self, problem: str = "") -> None:
        self.builds: list[TracedBuild] = []
        self.seconds = 0.0
        self.problem = problem

    def __call__(self, build: TracedBuild, _env: Mapping[str, str], seconds: float) -> str:
        self.builds.append(build)
        self.seconds = seconds
        return self.problem


def traced(sent: Sent) -> tuple[Traced, io.StringIO]:
    stream = io.StringIO()
    return Traced(PlainLines(stream), {}, "build", sent), stream


def test_a_trace_holds_the_steps_and_the_renderer_hears_all() -> None:
    sent = Sent()
    view, stream = traced(sent)
    with view as sink:
        sink(StepStarted("1", "fetch https://user:hunter2@example.com/x", "api"))
        sink(StepOutput("1", "a line with hunter2"))
        sink(StepEnded("1", Outcome.CACHED, 0.1, "8.1 MB"))
        sink(StepEnded("never began", Outcome.DONE, 0.1))
        sink(StepStarted("2", "compile\x1b[31m api"))
        sink(LaneEnded("api", Outcome.DONE, 1.0, 8_900_000))
    [build] = sent.builds
    assert (build.verb, build.outcome, build.exit_code) == ("build", Outcome.DONE, 0)
    first, second = build.steps
    assert (first.image, first.outcome, first.detail) == ("api", Outcome.CACHED, "8.1 MB")
    assert build.started <= first.started <= first.ended <= second.started <= build.ended
    assert second.name == "compile api"
    # What did not end was stopped with the build.
    assert (second.outcome, second.ended) == (Outcome.CANCELLED, build.ended)
    assert SECRET not in repr(build)
    assert "#1 | a line" in stream.getvalue()
    assert "traces" not in stream.getvalue()


@pytest.mark.parametrize(
    ("error", "outcome", "code", "failure"),
    [
        (BuildError("it does not compile", why=SECRET), Outcome.FAILED, 1, "it does not compile"),
        (Cancelled(), Outcome.CANCELLED, 130, "interrupted"),
        (KeyboardInterrupt(), Outcome.CANCELLED, 130, "interrupted"),
        (Interrupted(15), Outcome.CANCELLED, 143, "interrupted"),
        (
            ImagesFailed(
                (ImageFailure("api", BuildError("a")), ImageFailure("web", BuildError("b")))
            ),
            Outcome.FAILED,
            1,
            "2 images were not built",
        ),
        (ZeroDivisionError(SECRET), Outcome.FAILED, 5, "ZeroDivisionError"),
    ],
)
def test_a_trace_says_how_the_build_ended(
    error: BaseException, outcome: Outcome, code: int, failure: str
) -> None:
    sent = Sent()
    view, _ = traced(sent)
    with pytest.raises(type(error)), view:
        raise error
    [build] = sent.builds
    assert (build.outcome, build.exit_code, build.failure) == (outcome, code, failure)
    # Someone who pressed Ctrl-C does not wait for a collector.
    assert sent.seconds <= (1 if outcome is Outcome.CANCELLED else 3)


def test_a_collector_that_refuses_costs_one_line() -> None:
    view, stream = traced(Sent("the collector is gone"))
    with view:
        pass
    view.__exit__(None, None, None)
    assert stream.getvalue() == "warning: no traces were sent: the collector is gone\n"


@pytest.mark.parametrize(
    ("env", "asked"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:1"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_the_environment_says_whether_traces_are_wanted(env: dict[str, str], asked: bool) -> None:
    assert is_traced(env) == asked
    assert isinstance(make_sink("plain", io.StringIO(), env), Traced) == asked
    assert not isinstance(make_sink("plain", io.StringIO(), env, ""), Traced)


def test_a_protocol_that_is_not_spoken_is_named() -> None:
    stream = io.StringIO()
    env = {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with make_sink("plain", stream, env):
        pass
    assert stream.getvalue().count("\n") == 1
    assert "http/protobuf, not grpc" in stream.getvalue()


SCRIPT = """
import sys
from wherry.cli.progress import make_sink
from wherry.errors import BuildError
from wherry.events import *
import os
with make_sink("plain", sys.stderr, os.environ) as sink:
    sink(StepStarted("1", "base static"))
    sink(StepEnded("1", Outcome.CACHED, 0.0, "0.4 MB"))
    sink(StepStarted("2", "compile api", "api"))
    sink(StepOutput("2", "hunter2"))
    if "fail" in sys.argv:
        sink(StepEnded("2", Outcome.FAILED, 0.1))
        raise BuildError("the Go code does not compile", why="hunter2")
    sink(StepEnded("2", Outcome.DONE, 0.1))
"""


def run_script(*words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    source = Path(sys.modules["wherry"].__file__ or "").parent.parent
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        env={**os.environ, "PYTHONPATH": f"{source}:{os.environ.get('PYTHONPATH', '')}",
             "A_SECRET": SECRET, "no_proxy": "*", **env},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_without_the_extra_one_line_says_so() -> None:
    # A package of the SDK's name that is none: as if it were not installed.
    hidden = "import sys; sys.modules['opentelemetry'] = None\n"
    finished = subprocess.run(
        [sys.executable, "-c", hidden + SCRIPT],
        env={**os.environ, **ENDPOINT}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert finished.returncode == 0
    told = [line for line in finished.stderr.splitlines() if "traces" in line]
    assert told == [
        "warning: no traces were sent: opentelemetry is not installed: pip install 'wherry[otel]'"
    ]


def test_without_an_endpoint_nothing_of_it_is_loaded() -> None:
    script = SCRIPT + "print(sorted(m for m in sys.modules if 'opentelemetry' in m or 'trac' in m))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
    finished = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(finished.stdout.replace("'", '"')) == []


class Collector(HTTPServer):
    """Takes OTLP/HTTP requests and keeps their bodies; answers with `status`."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, Mapping[str, str], bytes]] = []

    @property
    def env(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server_port}"}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def spans_of(body: bytes):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
    )

    [resource] = ExportTraceServiceRequest.FromString(body).resource_spans
    [scope] = resource.scope_spans
    return {item.key: item.value for item in resource.resource.attributes}, scope.spans


def facts(span) -> dict[str, object]:
    kinds = ("string_value", "bool_value", "int_value")
    return {
        item.key: next(getattr(item.value, kind) for kind in kinds if item.value.HasField(kind))
        for item in span.attributes
    }


@needs_sdk
def test_a_collector_gets_a_span_for_the_build_and_each_step(collector: Collector) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20t0ken"}
    finished = run_script(env={**collector.env, **headers, "TRACEPARENT": parent})
    assert (finished.returncode, "warning" in finished.stderr) == (0, False), finished.stderr
    [(path, sent, body)] = collector.requests
    assert path == "/v1/traces"
    assert {name.lower(): value for name, value in sent.items()}["authorization"] == "Bearer t0ken"
    resource, (build, base, compiled) = spans_of(body)
    assert resource["service.name"].string_value == "wherry"
    assert build.name == "wherry build"
    assert build.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert build.parent_span_id.hex() == "b7ad6b7169203331"
    assert facts(build) == {
        "wherry.outcome": "done",
        "wherry.exit_code": 0,
        "wherry.steps": 2,
        "wherry.steps.cached": 1,
    }
    assert [base.name, compiled.name] == ["base static", "compile api"]
    assert {base.parent_span_id, compiled.parent_span_id} == {build.span_id}
    assert facts(base) == {
        "wherry.step.outcome": "cached",
        "wherry.step.cached": True,
        "wherry.step.detail": "0.4 MB",
    }
    assert facts(compiled) == {
        "wherry.step.outcome": "done",
        "wherry.step.cached": False,
        "wherry.image": "api",
    }
    assert build.start_time_unix_nano <= base.start_time_unix_nano <= base.end_time_unix_nano
    assert compiled.end_time_unix_nano <= build.end_time_unix_nano
    assert SECRET.encode() not in body
    assert b"t0ken" not in body


@needs_sdk
def test_a_failed_build_is_an_error_without_its_reason(collector: Collector) -> None:
    finished = run_script("fail", env={**collector.env, "OTEL_SERVICE_NAME": "shop"})
    assert "BuildError" in finished.stderr
    [(_, _, body)] = collector.requests
    resource, (build, base, compiled) = spans_of(body)
    assert resource["service.name"].string_value == "shop"
    assert [span.status.code for span in (build, base, compiled)] == [2, 0, 2]
    assert build.status.message == "the Go code does not compile"
    assert facts(build)["wherry.exit_code"] == 1
    assert SECRET.encode() not in body


@needs_sdk
@pytest.mark.parametrize("status", [400, 503, None])
def test_a_collector_that_does_not_take_them_costs_one_line(
    collector: Collector, status: int | None
) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:hunter2@127.0.0.1:1"}
    if status is not None:
        collector.status = status
        env = collector.env
    finished = run_script(env=env)
    assert finished.returncode == 0
    told = finished.stderr.splitlines()
    assert told[-1].startswith("warning: no traces were sent: the collector that ")
    assert [line for line in told[:-1] if not line.startswith("#")] == []
    assert SECRET not in told[-1]
