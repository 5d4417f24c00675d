"""The rules of a stream, without a network."""

from __future__ import annotations

import asyncio
import threading

import grpc
import pytest

from protos.parley.v1 import language_model_pb2 as pb
from services.rpc import streams
from services.rpc.errors import ServiceError

OPEN = {"open": pb.GenerateOpen(session_id="s", turn_id="t")}
PART = {"part": pb.Part(text="hello")}
RESPOND = {"respond": pb.GenerateRespond()}
EMBEDDINGS = {"embeddings": pb.GenerateRequest().embeddings}


async def sent(*messages: dict):
    for sequence, message in enumerate(messages):
        yield pb.GenerateRequest(sequence=sequence, **message)


async def kinds(requests, **options) -> list[str]:
    return [kind async for kind, _ in streams.read(requests, last="respond", **options)]


async def test_a_stream_ends_with_its_last_message():
    assert await kinds(sent(OPEN, PART, RESPOND, EMBEDDINGS)) == ["open", "part", "respond"]


async def test_a_caller_may_read_on_after_the_last_message():
    found = []
    with pytest.raises(ServiceError, match="closed without messages that it was asked for") as caught:
        async for kind, _ in streams.read(sent(OPEN, RESPOND, EMBEDDINGS), last="respond", stop_at_last=False):
            found.append(kind)
    assert found == ["open", "respond", "embeddings"] and caught.value.code is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([PART], "message 0 is `part`; a stream begins with one `open`"),
        ([OPEN, OPEN], "message 1 is `open`"),
        ([OPEN, {}], "message 1 is empty"),
    ],
)
async def test_messages_out_of_order_are_refused(messages, says):
    with pytest.raises(ValueError, match=says):
        await kinds(sent(*messages))


async def test_only_so_many_streams_are_drained_at_once():
    taken = []

    async def endless():
        while True:
            taken.append(None)
            yield None
            await asyncio.sleep(1)

    busy = [asyncio.create_task(streams.drain(endless(), 0.2)) for _ in range(8)]
    await asyncio.sleep(0)
    await streams.drain(endless())
    assert len(taken) == 8
    await asyncio.gather(*busy)
    await streams.drain(endless(), 0.01)
    assert len(taken) == 9


@pytest.mark.parametrize("deadline_ms", [1 << 62, (1 << 63) - 1])
async def test_a_deadline_that_is_too_far_away_is_one_that_can_be_waited_for(deadline_ms):
    left = streams.seconds_left(deadline_ms)
    assert 0 < left < threading.TIMEOUT_MAX
    async with streams.within(deadline_ms):
        await asyncio.sleep(0)


@pytest.mark.parametrize("deadline_ms", [1, -1, -(1 << 63)])
async def test_a_deadline_that_has_passed_is_named(deadline_ms):
    with pytest.raises(ServiceError, match="the deadline passed") as caught:
        streams.seconds_left(deadline_ms)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_gap_in_the_sequence_is_refused():
    async def requests():
        yield pb.GenerateRequest(sequence=0, **OPEN)
        yield pb.GenerateRequest(sequence=2, **PART)

    with pytest.raises(ValueError, match="message 2 came where 1 was due"):
        await kinds(requests())


async def test_a_stream_that_closes_early_is_cancelled():
    with pytest.raises(ServiceError, match="closed without `respond`") as caught:
        await kinds(sent(OPEN, PART))
    assert caught.value.code is grpc.StatusCode.CANCELLED
