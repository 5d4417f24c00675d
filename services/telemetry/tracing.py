"""Traces: one a turn, across the gateway and the services, sent to an OpenTelemetry collector over gRPC (OTLP).

Off unless OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; OpenTelemetry's other variables
hold too. Spans wait in a bounded queue for a thread that sends them; when it is full they are dropped, and no turn
waits. Attributes never hold what a user said, wrote or showed, nor a token.

Times of a span are given on the monotonic clock, in seconds, as everything else measures them.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PREFIX = "parley."  # of our attributes
SHUTDOWN_SECONDS = 2.0  # that a process which ends waits for its last spans to be sent
NOTHING = trace.INVALID_SPAN  # records nothing


def _epoch() -> int:
    """Unix time in nanoseconds when the monotonic clock was 0, by the reading that was interrupted the least."""
    readings = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(20)]
    before, now, after = min(readings, key=lambda reading: reading[2] - reading[0])
    return now - (before + after) // 2


_EPOCH_NS = _epoch()  # fixed: a clock that is set moves no span against another one of its process
_PROPAGATOR = TraceContextTextMapPropagator()

_provider = None  # opentelemetry.sdk.trace.TracerProvider; None: off
_tracer: trace.Tracer = trace.NoOpTracer()


def configure(service: str) -> None:
    """Starts to send the spans of this process, which is `service`, where the environment names a collector."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    if any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # 0.2 s, only where needed
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        use(service, BatchSpanProcessor(OTLPSpanExporter()))


def use(service: str, processor) -> None:
    """Gives the spans of this process to an OpenTelemetry span processor."""
    global _provider, _tracer
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create({"service.namespace": "parley", "service.name": service})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # which could take 30 s
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("parley")


def shutdown(seconds: float = SHUTDOWN_SECONDS) -> None:
    """Sends what waits, for at most `seconds`. Blocks. Nothing is recorded afterwards."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, trace.NoOpTracer()
    if provider is not None:
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(seconds)


def flush() -> None:
    """Sends what waits now. Blocks."""
    if _provider is not None:
        _provider.force_flush()


# Spans.


def start(name: str, at: float) -> Span:
    """A span under the current one. The caller ends it."""
    return _tracer.start_span(name, start_time=_ns(at))


def start_trace(name: str) -> Span:
    """The first span of a new trace. The caller ends it."""
    return _tracer.start_span(name, context=otel_context.Context(), start_time=_ns(time.monotonic()))


def end(open_span: Span) -> None:
    open_span.end(_ns(time.monotonic()))


def record(name: str, began: float, ended: float, parent: Span) -> Span:
    """A span of something that is over."""
    span = _tracer.start_span(name, context=trace.set_span_in_context(parent), start_time=_ns(began))
    span.end(_ns(ended))
    return span


@dataclass
class Step:
    """Its times are those of its span."""

    span: Span
    began: float
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@contextlib.contextmanager
def step(name: str) -> Iterator[Step]:
    """Around a part of the work: a span under the current one, current inside. Not for use in generators.

    What is raised inside becomes the span's status, by its type: messages may quote a user.
    """
    running = Step(NOTHING, time.monotonic())
    running.span = start(name, at=running.began)
    token = otel_context.attach(trace.set_span_in_context(running.span)) if _provider is not None else None
    try:
        yield running
    except Exception as error:
        fail(running.span, type(error).__name__)
        raise
    finally:
        running.ended = time.monotonic()
        if token is not None:
            otel_context.detach(token)
        running.span.end(_ns(running.ended))


def fail(failed: Span, code: str) -> None:
    """`code`: a gRPC status, or the type of an error."""
    failed.set_status(Status(StatusCode.ERROR, code))
    failed.set_attribute("error.type", code)


def annotate(target: Span | None = None, **attributes: str | int | float | bool) -> None:
    """Sets attributes of a span, by default the current one; empty values are left out."""
    if _provider is None:
        return
    target = trace.get_current_span() if target is None else target
    for name, value in attributes.items():
        if value != "":
            target.set_attribute(PREFIX + name, value)


def event(name: str, target: Span | None = None, **attributes: str | int | float) -> None:
    """Something that happened within a span, by default the current one."""
    if _provider is not None:
        named = {PREFIX + key: value for key, value in attributes.items()}
        (trace.get_current_span() if target is None else target).add_event(name, named, _ns(time.monotonic()))


# Where a span is current, and how it reaches another process.


def current() -> Span:
    return trace.get_current_span()


def attach(current: Span) -> None:
    """Makes a span the current one for the rest of this task."""
    if _provider is not None:
        otel_context.attach(trace.set_span_in_context(current))


def within(current: Span) -> contextvars.Context:
    """A context in which a span is current, for a task that is started in it."""
    context = contextvars.copy_context()
    context.run(attach, current)
    return context


def metadata(of: Span) -> list[tuple[str, str]]:
    """The metadata of a call that is made within a span."""
    if not of.get_span_context().is_valid:
        return []
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(of))
    return list(carrier.items())


def continued(name: str, call_metadata: Iterable[tuple[str, str]] | None) -> Span:
    """A span for a call of this process, made current. It records nothing where the caller sent no trace."""
    served = NOTHING
    if _provider is not None:
        carrier = {key: value for key, value in call_metadata or () if key in _PROPAGATOR.fields}
        caller = _PROPAGATOR.extract(carrier, otel_context.Context())
        if trace.get_current_span(caller).get_span_context().is_valid:
            now = _ns(time.monotonic())
            served = _tracer.start_span(name, context=caller, kind=SpanKind.SERVER, start_time=now)
    attach(served)
    return served


def trace_id(of: Span | None = None) -> str:
    """Of a span, by default the current one; empty where there is none."""
    context = (trace.get_current_span() if of is None else of).get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def is_traced(span: Span) -> bool:
    """Its trace is kept."""
    return _provider is not None and span.get_span_context().trace_flags.sampled


def exemplar(of: Span | None = None) -> dict[str, str] | None:
    """Of an observation in a histogram: the trace it belongs to, by default the current one, where that is kept."""
    span = trace.get_current_span() if of is None else of
    return {"trace_id": trace_id(span)} if is_traced(span) else None


def _ns(moment: float) -> int:
    """Unix time in nanoseconds of a moment on the monotonic clock."""
    return _EPOCH_NS + round(moment * 1e9)
