"""An OpenTelemetry collector that keeps the spans it is sent, for benchmarks and tests: OTLP over gRPC."""

from __future__ import annotations

import time
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class CollectedSpan:
    name: str
    service: str  # that sent it
    trace_id: str  # hexadecimal, like the next two
    span_id: str
    parent_id: str  # empty: the first of its trace
    began: float  # Unix time, seconds
    ended: float
    attributes: dict[str, object]
    events: list[str]  # their names
    error: str = ""  # empty: none
    resource: dict[str, object] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens at `address`, host:port, from its construction until `close`."""

    def __init__(self) -> None:
        self.spans: list[CollectedSpan] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT must be."""
        return f"http://{self.address}"

    def Export(self, request, context):
        for group in request.resource_spans:
            resource = {pair.key: _value(pair.value) for pair in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += [_read(span, resource) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace_of(self, turn_id: str, seconds: float = 30.0) -> list[CollectedSpan]:
        """All spans of a turn's trace, once its first span, which ends last, has come; waits for it."""
        deadline = time.monotonic() + seconds
        while True:
            turns = [s for s in self.spans if s.name == "turn" and s.attributes.get("parley.turn_id") == turn_id]
            if turns:
                return [span for span in self.spans if span.trace_id == turns[0].trace_id]
            if time.monotonic() > deadline:
                raise TimeoutError(f"no trace of turn {turn_id} came within {seconds:g} s")
            time.sleep(0.02)

    def close(self) -> None:
        self._server.stop(0).wait()


def _read(span, resource: dict[str, object]) -> CollectedSpan:
    return CollectedSpan(
        name=span.name,
        service=str(resource["service.name"]),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        began=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        attributes={pair.key: _value(pair.value) for pair in span.attributes},
        events=[event.name for event in span.events],
        error=span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else "",
        resource=resource,
    )


def _value(value):
    return getattr(value, value.WhichOneof("value"))
