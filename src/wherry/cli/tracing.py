# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry traces: a span for the build, one for each step, sent where the environment says.

Events are kept as they pass by on their way to the renderer; spans are made of them and sent once
the build is over, so that a build never waits for a collector while it works. The SDK is the
optional extra `wherry[otel]`, imported at that moment only. What a span says is what the terminal
shows: names, outcomes, sizes; neither output of steps nor the environment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from wherry.cli.progress.output import printable
from wherry.errors import Interrupted, code_of
from wherry.events import Event, Level, Message, Outcome, StepEnded, StepStarted
from wherry.golang.credentials import mask_credentials
from wherry.process.cancel import Cancelled

if TYPE_CHECKING:
    from wherry.cli.progress.select import Renderer

# What a collector that does not answer may cost at the end of a build, in seconds.
_SECONDS: Final = 3.0
_SECONDS_INTERRUPTED: Final = 1.0
_PROTOCOLS: Final = ("", "http/protobuf")


@dataclass(slots=True)
class TracedStep:
    """A step as its span shows it; times are nanoseconds since 1970, `ended` 0 while it runs."""

    name: str
    image: str
    started: int
    ended: int = 0
    outcome: Outcome = Outcome.CANCELLED
    detail: str = ""


@dataclass(slots=True)
class TracedBuild:
    """A whole build; `failure` is what failed, in one line, empty where nothing did."""

    verb: str
    started: int
    ended: int
    steps: list[TracedStep]
    outcome: Outcome
    exit_code: int
    failure: str


Send = Callable[[TracedBuild, Mapping[str, str], float], str]


class Traced:
    """A renderer that passes everything on to another one and sends a trace at the end."""

    def __init__(
        self, inner: Renderer, env: Mapping[str, str], verb: str, send: Send | None = None
    ) -> None:
        self._inner = inner
        self._env = env
        self._verb = verb
        self._send = send or _send
        self._lock = threading.Lock()
        self._started = time.time_ns()
        self._steps: list[TracedStep] = []
        self._running: dict[str, TracedStep] = {}
        self._sent = False

    def __call__(self, event: Event) -> None:
        """Note what a span needs, and pass the event on."""
        with self._lock:
            if isinstance(event, StepStarted):
                step = TracedStep(_clean(event.name), _clean(event.lane), time.time_ns())
                self._steps.append(step)
                self._running[event.id] = step
            elif isinstance(event, StepEnded) and event.id in self._running:
                step = self._running.pop(event.id)
                step.ended, step.outcome = time.time_ns(), event.outcome
                step.detail = _clean(event.detail)
        self._inner(event)

    def __enter__(self) -> Self:
        """Begin."""
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send the trace, say in one line where that failed, and end the renderer."""
        try:
            if not self._sent:
                self._sent = True
                interrupted = isinstance(error, Cancelled | Interrupted | KeyboardInterrupt)
                seconds = _SECONDS_INTERRUPTED if interrupted else _SECONDS
                problem = self._send(self._build(error), self._env, seconds)
                if problem:
                    self._inner(Message(Level.WARNING, f"no traces were sent: {problem}"))
        finally:
            self._inner.__exit__(kind, error, trace)

    def leave(self) -> None:
        """Leave the terminal to another program; the build goes on."""
        self._inner.leave()

    def come_back(self) -> None:
        """Take the terminal again."""
        self._inner.come_back()

    def _build(self, error: BaseException | None) -> TracedBuild:
        now = time.time_ns()
        with self._lock:
            for step in self._steps:
                step.ended = step.ended or now
        outcome, code, failure = Outcome.DONE, 0, ""
        if isinstance(error, Cancelled | Interrupted | KeyboardInterrupt):
            code = error.code if isinstance(error, Interrupted) else 130
            outcome, failure = Outcome.CANCELLED, "interrupted"
        elif error is not None:
            outcome, code = Outcome.FAILED, code_of(error)
            failure = _clean(getattr(error, "what", type(error).__name__))
        return TracedBuild(self._verb, self._started, now, self._steps, outcome, code, failure)


def is_traced(env: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces, by OpenTelemetry's own variables."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if env.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    return bool(
        env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    )


def _clean(text: str) -> str:
    return mask_credentials(printable(text))


def _send(build: TracedBuild, env: Mapping[str, str], seconds: float) -> str:
    """Send a trace; what went wrong, in one line without the endpoint, which may hold a secret."""
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", ""
    )
    if protocol not in _PROTOCOLS:
        return f"wherry speaks http/protobuf, not {protocol} (OTEL_EXPORTER_OTLP_PROTOCOL)"
    try:
        from wherry.cli.spans import send_spans  # noqa: PLC0415 - imports the optional SDK
    except ImportError:
        return "opentelemetry is not installed: pip install 'wherry[otel]'"
    return send_spans(build, env, seconds)
