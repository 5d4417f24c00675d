"""One trace a turn, through the gateway, the services and their engines, as a collector receives it."""

from __future__ import annotations

import asyncio
import json
import logging

import httpx
import numpy as np
import pytest
import structlog

from benchmarks.collector import CollectedSpan, Collector
from cli.client import Question
from protos.parley.v1 import conversation_pb2 as wire
from services.rpc.decorator import TOKEN_VARIABLE
from services.telemetry import logs, tracing
from services.telemetry.session_hash import session_hash

# Span → the span that it is part of.
SPOKEN_TURN = {
    "turn": "",
    "listen": "turn",
    "answer": "turn",
    "first_audio": "answer",
    "speech_encoder": "first_audio",
    "first_token": "first_audio",
    "first_clause": "first_audio",
    "speech_decoder": "first_audio",
    "deliver": "answer",
    "encode_picture": "turn",
    "vision_encoder.Encode": "encode_picture",
    "read_files": "vision_encoder.Encode",
    "encode_speech": "turn",
    "speech_encoder.Encode": "encode_speech",
    "encode_last": "speech_encoder.Encode",
    "generate": "turn",
    "llm_core.Generate": "generate",
    "prefill": "llm_core.Generate",
    "last_prefill": "llm_core.Generate",
    "synthesize": "turn",
    "speech_decoder.Synthesize": "synthesize",
}
LATENCY = ("first_audio", "speech_encoder", "first_token", "first_clause", "speech_decoder")
SECRET = "a-token-of-the-services"


@pytest.fixture
def collector(monkeypatch):
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv(TOKEN_VARIABLE, SECRET)
    tracing.configure("tests")
    yield collector
    tracing.shutdown()
    collector.close()


async def trace_of(collector: Collector, turn_id: str) -> list[CollectedSpan]:
    found = await asyncio.to_thread(collector.trace_of, turn_id)
    await asyncio.sleep(0.3)  # spans of the services may be recorded after the gateway's
    await asyncio.to_thread(tracing.flush)
    return [span for span in collector.spans if span.trace_id == found[0].trace_id]


def by_name(spans: list[CollectedSpan]) -> dict[str, CollectedSpan]:
    """The first of each name."""
    return {span.name: span for span in reversed(spans)}


def parents(spans: list[CollectedSpan]) -> set[tuple[str, str]]:
    names = {span.span_id: span.name for span in spans}
    return {(span.name, names.get(span.parent_id, "" if not span.parent_id else "?")) for span in spans}


def spoken(speech: np.ndarray, **fields) -> Question:
    return Question(audio=speech.tobytes(), sample_rate=16_000, **fields)


async def test_a_spoken_turn_is_one_trace(collector, make_gateway, connect, spoken_question, draw):
    client = await connect(await make_gateway())
    answer = await client.ask(spoken(spoken_question, images=[draw("#1f8a70")]))
    spans = await trace_of(collector, answer.turn_id)
    assert set(SPOKEN_TURN.items()) <= parents(spans)
    assert not [name for name, parent in parents(spans) if parent == "?"]
    found = by_name(spans)
    engine = {name for name, parent in parents(spans) if parent in ("vision_encoder.Encode", "llm_core.Generate")}
    assert {"queue", "encode", "decode"} <= engine
    decoder = {name for name, parent in parents(spans) if parent == "speech_decoder.Synthesize"}
    assert decoder == {"first_clause", "queue", "first_audio", "decode"}
    turn = found["turn"].attributes
    assert turn["parley.session"] == session_hash(client.session_id) and turn["parley.turn_id"] == answer.turn_id
    assert turn["parley.finish_reason"] == "length" and turn["parley.state"] == "speech"
    assert turn["parley.prompt_tokens"] == answer.usage.prompt_tokens > 0
    assert turn["parley.answer_tokens"] == answer.usage.answer_tokens == 12
    assert turn["parley.audio_input_seconds"] == pytest.approx(len(spoken_question) / 16_000)
    for call in ("vision_encoder.Encode", "speech_encoder.Encode", "llm_core.Generate", "speech_decoder.Synthesize"):
        attributes = found[call].attributes
        assert attributes["parley.session"] == session_hash(client.session_id)
        assert attributes["rpc.grpc.status_code"] in ("OK", "CANCELLED")  # the gateway leaves once it has all
        assert attributes["parley.weights"] == turn["parley.weights"]
    assert found["llm_core.Generate"].attributes["parley.prompt_tokens"] == answer.usage.prompt_tokens
    assert "state" in found["generate"].events
    assert not [span for span in spans if span.error]


async def test_the_latency_of_a_turn_is_that_of_its_spans(collector, make_gateway, connect, spoken_question, draw):
    client = await connect(await make_gateway())
    answer = await client.ask(spoken(spoken_question, images=[draw("navy")]))
    spans = await trace_of(collector, answer.turn_id)
    names = {span.span_id: span.name for span in spans}
    steps = {span.name: span for span in spans if names.get(span.parent_id) in ("turn", "answer", "first_audio")}
    for name in LATENCY:
        assert getattr(answer.latency, name) == pytest.approx(steps[name].seconds, abs=2e-6), name
    assert answer.latency.total == pytest.approx(steps["answer"].seconds, abs=2e-6)
    assert answer.latency.vision_encoder == pytest.approx(steps["encode_picture"].seconds, abs=2e-6)
    assert sum(steps[name].seconds for name in LATENCY[1:]) == pytest.approx(steps["first_audio"].seconds, abs=2e-6)


async def test_a_trace_holds_nothing_that_was_said_and_no_token(collector, make_gateway, connect):
    client = await connect(await make_gateway(), instructions="you are the secret gardener")
    answer = await client.ask(Question(text="where did I bury the treasure"))
    spans = await trace_of(collector, answer.turn_id)
    everything = json.dumps([[span.attributes, span.resource, span.events, span.error] for span in spans])
    for kept_out in ("treasure", "gardener", SECRET, *filter(None, [answer.text.strip()])):
        assert kept_out not in everything, kept_out


async def test_turns_of_a_connection_have_traces_of_their_own(collector, make_gateway, connect):
    client = await connect(await make_gateway(), text_only=True)
    first = await client.ask(Question(text="hello"))
    second = await client.ask(Question(text="hello again"))
    one, two = await trace_of(collector, first.turn_id), await trace_of(collector, second.turn_id)
    assert one[0].trace_id != two[0].trace_id
    assert "speech_decoder" not in by_name(one) and by_name(one)["first_token"].seconds > 0


async def test_a_failed_turn_says_so_and_why(collector, make_gateway, connect):
    client = await connect(await make_gateway())
    await client.send(audio=bytes(320))
    await client.send(end_of_audio=wire.EndOfAudio())
    done = await anext(event async for event in client.events() if event.HasField("done"))
    spans = await trace_of(collector, done.turn_id)
    turn = by_name(spans)["turn"]
    assert (turn.error, turn.attributes["error.type"]) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert turn.attributes["parley.finish_reason"] == "failed"


async def test_a_picture_that_is_taken_back_leaves_no_open_span(collector, make_gateway, connect, draw):
    client = await connect(await make_gateway())
    await client.send(image=draw("maroon"))
    await client.send(cancel=wire.CancelTurn())
    answer = await client.ask(Question(text="hello"))
    spans = await trace_of(collector, answer.turn_id)
    assert "encode_picture" not in by_name(spans)
    assert len([span for span in collector.spans if span.name == "turn"]) == 2


async def test_log_lines_and_exemplars_carry_the_trace(
    collector, make_gateway, connect, spoken_question, tmp_path, monkeypatch
):
    handlers = logging.getLogger().handlers
    monkeypatch.setenv(logs.LOG_DIR_VARIABLE, str(tmp_path))
    logs.configure("gateway")
    try:
        gateway = await make_gateway()
        client = await connect(gateway)
        answer = await client.ask(spoken(spoken_question))
        (turn, *_) = await trace_of(collector, answer.turn_id)
        lines = [json.loads(line) for line in (tmp_path / "gateway.jsonl").read_text().splitlines()]
        over = next(line for line in lines if line["event"] == "turn over" and line["turn_id"] == answer.turn_id)
        assert over["trace_id"] == turn.trace_id
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}", headers=accept) as http:
            page = (await http.get("/metrics")).text
        for name in ("first_audio_seconds", "request_seconds", "first_token_seconds", "queue_seconds"):
            lines = [line for line in page.splitlines() if line.startswith(f"parley_{name}_bucket")]
            assert any(f'# {{trace_id="{turn.trace_id}"}}' in line for line in lines), name
    finally:
        logging.getLogger().handlers = handlers
        structlog.reset_defaults()


async def test_a_collector_that_is_gone_stops_no_turn(collector, make_gateway, connect):
    collector.close()
    client = await connect(await make_gateway(), text_only=True)
    answer = await client.ask(Question(text="hello"))
    assert answer.finish_reason and answer.usage.answer_tokens == 12
