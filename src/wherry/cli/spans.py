# SPDX-License-Identifier: Apache-2.0
"""A build as OpenTelemetry spans, sent over OTLP/HTTP. Importing this module imports the SDK.

The SDK reads its own variables (endpoint, headers, certificates, resource attributes, sampler);
`TRACEPARENT` makes the build a part of the trace that the caller, a CI job say, has begun.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from wherry._version import __version__
from wherry.events import Outcome

if TYPE_CHECKING:
    from wherry.cli.tracing import TracedBuild, TracedStep

# A collector takes some thousand spans in one request.
_MOST_SPANS: Final = 2000


def send_spans(build: TracedBuild, env: Mapping[str, str], seconds: float) -> str:
    """Send the build's spans, waiting `seconds` at most; the reason where that failed."""
    spans = _spans(build, env)
    if not spans:
        return ""  # the sampler left this trace out
    with _silent():
        # A user who sets a timeout means it.
        own = "OTEL_EXPORTER_OTLP_TIMEOUT" in env or "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT" in env
        exporter: Any = OTLPSpanExporter() if own else OTLPSpanExporter(timeout=seconds)
        try:
            for start in range(0, len(spans), _MOST_SPANS):
                result = exporter.export(spans[start : start + _MOST_SPANS])
                if result is not SpanExportResult.SUCCESS:
                    return "the collector that OTEL_EXPORTER_OTLP_ENDPOINT names does not take them"
        except Exception as error:  # noqa: BLE001 - a border: a trace is no reason to fail a build
            return f"OpenTelemetry's exporter failed ({type(error).__name__})"
        finally:
            exporter.shutdown()
    return ""


def _spans(build: TracedBuild, env: Mapping[str, str]) -> list[Any]:
    service = {"service.version": __version__}
    if "OTEL_SERVICE_NAME" not in env:
        service["service.name"] = "wherry"
    provider = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False)
    tracer = provider.get_tracer("wherry", __version__)
    carrier = {name.lower(): env[name] for name in ("TRACEPARENT", "TRACESTATE") if name in env}
    cached = sum(step.outcome is Outcome.CACHED for step in build.steps)
    root = tracer.start_span(
        f"wherry {build.verb}",
        context=TraceContextTextMapPropagator().extract(carrier),
        start_time=build.started,
        attributes={
            "wherry.outcome": str(build.outcome),
            "wherry.exit_code": build.exit_code,
            "wherry.steps": len(build.steps),
            "wherry.steps.cached": cached,
        },
    )
    if not root.is_recording():
        return []
    inside = set_span_in_context(root)
    spans = [
        _ended(tracer.start_span(step.name, context=inside, start_time=step.started,
                                 attributes=_attributes(step)), step.ended,
               "failed" if step.outcome is Outcome.FAILED else "")
        for step in build.steps
    ]  # fmt: skip
    return [_ended(root, build.ended, build.failure), *spans]


def _attributes(step: TracedStep) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {
        "wherry.step.outcome": str(step.outcome),
        "wherry.step.cached": step.outcome is Outcome.CACHED,
    }
    if step.image:
        found["wherry.image"] = step.image
    if step.detail:
        found["wherry.step.detail"] = step.detail
    return found


def _ended(span: Any, at: int, failure: str) -> Any:  # noqa: ANN401 - the SDK may not be there
    if failure:
        span.set_status(Status(StatusCode.ERROR, failure))
    span.end(end_time=at)
    return span


@contextmanager
def _silent() -> Iterator[None]:
    """The SDK's own words about a collector that is not there would run into the view."""
    logger = logging.getLogger("opentelemetry")
    before, handler = logger.propagate, logging.NullHandler()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)
