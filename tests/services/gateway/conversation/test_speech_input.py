"""Hands-free questions: when they end, by what was said in them, and how long one may be."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.client import Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.usage_pb2 import FinishReason
from services.gateway.settings import VadSettings

FRAME = 512  # samples of 32 ms
VAD = {"turn_detection": wire.TURN_DETECTION_SERVER_VAD}
COMPLETE, UNFINISHED = 9.0, -9.0  # log odds


def telling(path: Path, source: Path, log_odds: float | None) -> Path:
    """A copy of a checkpoint whose end-of-turn head says the same of every question; None: without the head."""
    from parley.checkpoints import load_model, save_stage

    model = load_model(source)
    with torch.no_grad():
        model.end_of_turn_head.weight.zero_()
        model.end_of_turn_head.bias.fill_(log_odds or 0.0)
    parts = {name: part.state_dict() for name, part in model.named_children()}
    if log_odds is None:
        del parts["end_of_turn_head"]
    save_stage(path, stage="random", config=model.config, parts=parts, tokenizer=model.tokenizer)
    return path


@pytest.fixture(scope="module")
def llm_cores(services, answering_checkpoint, tmp_path_factory) -> dict[str, str]:
    """Addresses of LLM cores that say one thing of all questions."""
    heads = {"complete": COMPLETE, "unfinished": UNFINISHED, "untold": None}
    for name, log_odds in heads.items():
        checkpoint = telling(tmp_path_factory.mktemp(name) / "tiny", answering_checkpoint, log_odds)
        services.start("llm_core", name, checkpoint=checkpoint)
    yield {name: f"127.0.0.1:{services.ports[name]}" for name in heads}
    for name in heads:
        services.kill(name)


async def speak(client, audio: np.ndarray, samples: int = FRAME, pace: float = 0.0) -> None:
    """`pace`: seconds between two chunks."""
    for at in range(0, len(audio), samples):
        await client.send(audio=audio[at : at + samples].tobytes())
        await asyncio.sleep(pace)


async def turns_of(client, count: int) -> list[wire.ServerEvent]:
    """The `done` of so many turns."""
    done = []
    async for event in client.events():
        if event.HasField("done"):
            done.append(event)
        if len(done) == count:
            return done
    raise AssertionError("the stream ended")


async def waited(gateway, connect, audio: np.ndarray, samples: int = FRAME, **config) -> float:
    """Seconds of silence after which the first question ended. The microphone stays open until its answer is over."""
    client = await connect(gateway, **VAD, **config)
    await speak(client, audio, samples)
    silence = asyncio.create_task(speak(client, np.zeros(16_000 * 4, "<i2"), samples, pace=0.033))
    try:
        (event,) = await turns_of(client, 1)
    finally:
        silence.cancel()
    assert event.done.finish_reason != FinishReason.FINISH_REASON_FAILED
    return event.done.latency.end_of_turn


@pytest.fixture(scope="module")
def phrase(spoken_question) -> np.ndarray:
    """Without a pause."""
    return spoken_question[2000:14_000]


@pytest.mark.parametrize(
    ("says", "least", "most"),
    [("complete", 0.15, 0.3), ("untold", 0.53, 0.58), ("unfinished", 1.38, 1.45)],
)
async def test_what_was_said_decides_how_long_it_waits(make_gateway, connect, llm_cores, phrase, says, least, most):
    gateway = await make_gateway(upstream__llm_core=llm_cores[says])
    assert least <= await waited(gateway, connect, phrase) <= most


async def test_a_wait_that_the_client_names_holds_whatever_was_said(make_gateway, connect, llm_cores, phrase):
    for says in ("complete", "unfinished"):
        gateway = await make_gateway(upstream__llm_core=llm_cores[says])
        assert await waited(gateway, connect, phrase, end_seconds=0.4) == pytest.approx(0.4, abs=0.02)


async def test_eagerness_moves_the_wait(make_gateway, connect, llm_cores, phrase):
    gateway = await make_gateway(upstream__llm_core=llm_cores["unfinished"])
    assert await waited(gateway, connect, phrase, eagerness=wire.EAGERNESS_HIGH) == pytest.approx(1.0, abs=0.05)


async def test_silence_counts_in_audio_whatever_the_clocks_say(make_gateway, connect, llm_cores, phrase, monkeypatch):
    """Large chunks that come late, and a wall clock that is set back by an hour meanwhile."""
    gateway = await make_gateway(upstream__llm_core=llm_cores["untold"])
    client = await connect(gateway, **VAD)
    await speak(client, np.concatenate([phrase, np.zeros(3200, "<i2")]), 15_200)
    await asyncio.sleep(1.0)  # more than the wait
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    await client.send(text="hello")  # belongs to the question, which goes on
    await speak(client, np.zeros(16_000, "<i2"), 16_000)
    (event,) = await turns_of(client, 1)
    assert event.done.latency.end_of_turn == pytest.approx(VadSettings().end_seconds, abs=0.03)
    assert 0 < event.done.latency.total < 30


async def test_what_the_model_says_counts_from_the_next_frame_on(make_gateway, connect, llm_cores, phrase):
    """It is known while the client sends nothing; the first frame then ends the question."""
    gateway = await make_gateway(upstream__llm_core=llm_cores["complete"])
    client = await connect(gateway, **VAD)
    await speak(client, np.concatenate([phrase, np.zeros(5 * FRAME, "<i2")]))
    await asyncio.sleep(0.3)
    await speak(client, np.zeros(FRAME, "<i2"))
    (event,) = await turns_of(client, 1)
    assert event.done.latency.end_of_turn < 0.25


async def test_a_question_that_reaches_its_longest_is_answered_and_the_rest_is_the_next(
    make_gateway, connect, llm_cores, phrase
):
    gateway = await make_gateway(media__max_audio_seconds=2.0, upstream__llm_core=llm_cores["untold"])
    client = await connect(gateway, **VAD)
    await speak(client, np.concatenate([np.tile(phrase, 6), np.zeros(16_000, "<i2")]), 1600)  # 4.5 s
    done = await turns_of(client, 3)
    assert [event.done.finish_reason for event in done] == [FinishReason.FINISH_REASON_LENGTH] * 3
    seconds = [event.done.usage.audio_input_seconds for event in done]
    assert seconds[:2] == [pytest.approx(2.0, abs=0.04)] * 2
    assert sum(seconds) == pytest.approx(4.5, abs=0.3), "nothing that was said is lost"


async def test_a_rest_that_is_too_short_to_be_a_question_is_given_up(make_gateway, connect, llm_cores, phrase):
    limits = {"media__max_audio_seconds": 2.0, "media__min_audio_seconds": 0.6}
    client = await connect(await make_gateway(**limits, upstream__llm_core=llm_cores["untold"]), **VAD)
    speech = np.tile(phrase, 3)[: round(2.2 * 16_000)]
    await speak(client, np.concatenate([speech, np.zeros(16_000, "<i2")]), 1600)
    ends = {event.done.finish_reason: event.done.usage.audio_input_seconds for event in await turns_of(client, 2)}
    assert ends[FinishReason.FINISH_REASON_LENGTH] == pytest.approx(2.0, abs=0.04)
    assert ends[FinishReason.FINISH_REASON_CANCELLED] < 0.6
    assert (await client.ask(Question(text="hello"))).complete


# Bad input.


async def test_a_microphone_that_hears_only_noise_may_do_so_for_long(make_gateway, connect):
    """Far more events than a turn may have; the conversation goes on."""
    gateway = await make_gateway(conversation__max_turn_events=50)
    client = await connect(gateway, **VAD)
    noise = np.random.default_rng(0).normal(0, 300, 16_000 * 8).astype("<i2")
    await speak(client, noise, 1600)
    await client.send(text="hello")
    await client.send(respond=wire.Respond())
    (event,) = await turns_of(client, 1)
    assert event.turn_id and event.done.finish_reason == FinishReason.FINISH_REASON_LENGTH


async def test_one_that_sends_a_sample_at_a_time_is_heard(make_gateway, connect, llm_cores, phrase):
    client = await connect(await make_gateway(upstream__llm_core=llm_cores["untold"]), **VAD)
    await speak(client, phrase[:1000], 1)
    await speak(client, np.concatenate([phrase[1000:], np.zeros(16_000, "<i2")]), 1600)
    (event,) = await turns_of(client, 1)
    assert event.done.usage.audio_input_seconds == pytest.approx(len(phrase) / 16_000, abs=0.2)


async def test_half_a_sample_is_refused_and_the_question_goes_on(make_gateway, connect, llm_cores, phrase):
    client = await connect(await make_gateway(upstream__llm_core=llm_cores["untold"]), **VAD)
    await speak(client, phrase[:6400], 1600)
    await client.send(audio=b"123")
    await speak(client, np.concatenate([phrase[6400:], np.zeros(16_000, "<i2")]), 1600)
    events = []
    async for event in client.events():
        events.append(event)
        if event.HasField("done"):
            break
    (error,) = [event.error for event in events if event.HasField("error")]
    assert error.code == "INVALID_ARGUMENT" and "ends in half a sample; send 16-bit samples" in error.message
    assert events[-1].done.finish_reason == FinishReason.FINISH_REASON_LENGTH
