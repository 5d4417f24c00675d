import asyncio
import time

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.telemetry import logs, tracing


@pytest.fixture
def spans():
    """Traces into memory; gives a function that returns the spans by name."""
    exporter = InMemorySpanExporter()
    tracing.use("tests", SimpleSpanProcessor(exporter))
    yield lambda: {span.name: span for span in exporter.get_finished_spans()}
    tracing.shutdown()


def test_off_nothing_is_recorded_or_sent(monkeypatch):
    for name in tracing.ENDPOINT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    tracing.configure("tests")
    with tracing.step("work") as step:
        assert not tracing.current().is_recording() and tracing.metadata(tracing.current()) == []
        assert tracing.exemplar() is None and tracing.trace_id() == ""
    assert step.seconds >= 0
    assert not tracing.start_trace("turn").is_recording()
    assert not tracing.continued("call", [("traceparent", f"00-{'1' * 32}-{'2' * 16}-01")]).is_recording()


def test_the_sdk_can_be_disabled(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing.configure("tests")
    assert not tracing.start_trace("turn").is_recording()


async def test_a_step_is_a_span_with_the_same_times(spans):
    turn = tracing.start_trace("turn")

    async def work() -> tracing.Step:
        tracing.attach(turn)
        with tracing.step("outer"), tracing.step("inner") as inner:
            tracing.annotate(tokens=3, empty="")
            await asyncio.sleep(0.01)
        return inner

    inner = await asyncio.create_task(work())
    assert tracing.trace_id() == ""  # it was current in that task only
    found = spans()
    assert found["inner"].parent.span_id == found["outer"].context.span_id
    assert found["outer"].parent.span_id == turn.get_span_context().span_id
    assert found["inner"].end_time - found["inner"].start_time == pytest.approx(inner.seconds * 1e9, abs=300)
    assert dict(found["inner"].attributes) == {"parley.tokens": 3}
    assert abs(found["inner"].end_time - time.time_ns()) < 60e9


def test_an_error_is_named_by_its_type_only(spans):
    with pytest.raises(ValueError), tracing.step("work"):
        raise ValueError("what the user said")
    span = spans()["work"]
    assert span.status.description == "ValueError" and not span.events
    assert "said" not in span.to_json()


async def test_a_call_goes_on_with_its_callers_trace(spans):
    turn = tracing.start_trace("turn")
    metadata = [("application", "llm_core"), *tracing.metadata(turn)]
    assert [key for key, _ in metadata] == ["application", "traceparent"]

    async def serve() -> None:
        served = tracing.continued("llm_core.Generate", metadata)
        assert tracing.current() is served and tracing.is_traced(served)
        assert logs.ids()["trace_id"] == tracing.trace_id(turn) == tracing.exemplar()["trace_id"]
        served.end()

    await asyncio.create_task(serve())
    found = spans()["llm_core.Generate"]
    assert found.parent.span_id == turn.get_span_context().span_id
    assert found.context.trace_id == turn.get_span_context().trace_id


@pytest.mark.parametrize("metadata", [None, [], [("traceparent", "nonsense")], [("traceparent", "00-0-0-00")]])
async def test_a_call_without_a_trace_is_not_traced(spans, metadata):
    async def serve() -> None:
        tracing.continued("call", metadata).end()

    await asyncio.create_task(serve())
    assert not spans()


def test_a_process_that_ends_waits_for_a_dead_collector_a_bounded_time(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    tracing.configure("tests")
    tracing.start_trace("turn").end()
    tracing.shutdown(0.2)
    assert not tracing.start_trace("turn").is_recording()


def test_spans_that_nobody_takes_are_dropped_and_nobody_waits(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    tracing.configure("tests")
    (processor,) = tracing._provider._active_span_processor._span_processors
    for _ in range(500):
        tracing.start_trace("turn").end()
    assert len(processor._batch_processor._queue) <= 16
    tracing.shutdown(0.2)
