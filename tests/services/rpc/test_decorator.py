"""What a caller sees, the same under `grpc.aio` and under Ray Serve in HAProxy mode."""

import asyncio
import os
import signal
from pathlib import Path

import echo
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.parley.v1 import speech_encoder_pb2, vision_encoder_pb2
from protos.parley.v1.speech_encoder_pb2_grpc import SpeechEncoderStub
from protos.parley.v1.vision_encoder_pb2_grpc import VisionEncoderStub
from services.local import processes
from services.rpc.errors import retry_after
from services.rpc.sizes import MAX_MESSAGE_BYTES
from services.rpc.streams import deadline_in

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time

TOKEN = ("authorization", f"Bearer {echo.TOKEN}")
TO_VISION = (("application", "vision_encoder"), TOKEN)
TO_SPEECH = (("application", "speech_encoder"), TOKEN)


async def encode(channel, image: bytes, **fields):
    return await VisionEncoderStub(channel).Encode(
        vision_encoder_pb2.EncodeVisionRequest(image=image, **fields), metadata=TO_VISION, timeout=20
    )


async def refused(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def converse(channel, *messages, close: bool = True) -> list:
    call = SpeechEncoderStub(channel).Encode(metadata=TO_SPEECH, timeout=20)
    for message in messages:
        await call.write(message)
    if close:
        await call.done_writing()
    return [answer async for answer in call]


def message(sequence: int, **field):
    return speech_encoder_pb2.EncodeSpeechRequest(sequence=sequence, **field)


async def test_a_call_is_answered(channel):
    assert (await encode(channel, b"12345")).pictures == 5


@pytest.mark.parametrize("given", [(), (("authorization", "Bearer wrong"),)], ids=["none", "wrong"])
async def test_without_the_token_no_message_is_read(channel, given):
    encode = channel.unary_unary("/parley.v1.VisionEncoder/Encode")
    error = await refused(encode(b"no protobuf", metadata=(*TO_VISION[:1], *given), timeout=20))
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_message_that_is_too_large_is_refused(channel):
    error = await refused(encode(channel, bytes(MAX_MESSAGE_BYTES)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_megabyte_is_answered(channel):
    assert (await encode(channel, bytes(3_000_000))).pictures == 3_000_000


@pytest.mark.parametrize(
    ("image", "code", "says"),
    [
        (b"value", grpc.StatusCode.INVALID_ARGUMENT, "this is not a picture"),
        (b"full", grpc.StatusCode.RESOURCE_EXHAUSTED, "at capacity: 3 streams"),
        (b"bug", grpc.StatusCode.INTERNAL, "internal error, incident"),
    ],
)
async def test_failures_have_a_code_and_a_clear_message(channel, image, code, says):
    error = await refused(encode(channel, image))
    assert error.code() == code and says in error.details()
    assert "secret" not in error.details() and "Traceback" not in error.details()


async def test_a_full_service_says_when_to_try_again(channel):
    assert retry_after(await refused(encode(channel, b"full"))) == 0.5
    error = await refused(converse(channel, message(0, open={}), message(1, audio=b"full")))
    assert (error.code(), retry_after(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 2.0)


@pytest.mark.parametrize("way", [0, 1], ids=["HAProxy", "Serve's own proxy"])
async def test_a_failing_stream_has_its_status_behind_every_proxy(ray_serve, way):
    async with grpc.aio.insecure_channel(ray_serve[way]) as channel:
        for messages in (
            [message(0, open={}), message(1, audio=b"full")],
            [message(0, open={}), message(1, audio=b"1"), message(2, audio=b"full")],
        ):
            error = await refused(converse(channel, *messages))
            assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")
            assert retry_after(error) == 2.0


async def test_the_deadline_in_a_message_is_kept(channel):
    assert (await refused(encode(channel, b"x", deadline_ms=deadline_in(-1)))).code() == (
        grpc.StatusCode.DEADLINE_EXCEEDED
    )
    assert (await refused(encode(channel, b"slow", deadline_ms=deadline_in(0.3)))).code() == (
        grpc.StatusCode.DEADLINE_EXCEEDED
    )


async def test_a_stream_is_answered_message_by_message(channel):
    call = SpeechEncoderStub(channel).Encode(metadata=TO_SPEECH, timeout=20)
    await call.write(message(0, open=speech_encoder_pb2.EncodeSpeechOpen(session_id="s", turn_id="t")))
    for size in range(1, 20):
        await call.write(message(size, audio=bytes(size)))
        assert (await call.read()).chunk.transcript == str(size)
    await call.write(message(20, end={}))
    assert (await call.read()).done.length == 19
    assert await call.code() == grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("messages", "code", "says"),
    [
        ([message(0, audio=b"1")], grpc.StatusCode.INVALID_ARGUMENT, "begins with one `open`"),
        ([message(0, open={}), message(1, open={})], grpc.StatusCode.INVALID_ARGUMENT, "has no second"),
        ([message(0, open={}), message(2, audio=b"1")], grpc.StatusCode.INVALID_ARGUMENT, "2 came where 1 was due"),
        ([message(0, open={}), message(1)], grpc.StatusCode.INVALID_ARGUMENT, "message 1 is empty"),
        ([message(0, open={}), message(1, audio=b"1")], grpc.StatusCode.CANCELLED, "closed without `end`"),
        ([], grpc.StatusCode.CANCELLED, "closed without `end`"),
    ],
)
async def test_broken_rules_of_a_stream_are_named(channel, messages, code, says):
    error = await refused(converse(channel, *messages))
    assert error.code() == code and says in error.details()


GARBAGE = b"\xff\xff\xff no message at all"
UNDECODABLE = f"a message of {len(GARBAGE)} bytes cannot be decoded"


def raw(channel, kind: str, contract: str, method: str = "Encode"):
    """A call that sends bytes as they are."""
    return getattr(channel, kind)(f"/{contract}/{method}", request_serializer=None, response_deserializer=None)


async def test_a_message_that_cannot_be_decoded_is_refused_in_words(channel):
    call = raw(channel, "unary_unary", "parley.v1.VisionEncoder")
    error = await refused(call(GARBAGE, metadata=TO_VISION, timeout=20))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and error.details().startswith(UNDECODABLE)
    assert (await encode(channel, b"12345")).pictures == 5


@pytest.mark.parametrize("before", [[], [message(0, open={})]], ids=["the first", "a later one"])
async def test_a_message_of_a_stream_that_cannot_be_decoded_is_refused_in_words(channel, before):
    call = raw(channel, "stream_stream", "parley.v1.SpeechEncoder")(metadata=TO_SPEECH, timeout=20)
    for data in (*(each.SerializeToString() for each in before), GARBAGE):
        await call.write(data)
    error = await refused(anext(each async for each in call if each))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and error.details().startswith(UNDECODABLE)
    assert (await converse(channel, message(0, open={}), message(1, end={})))[-1].done.length == 0


@pytest.mark.parametrize(("kind", "method"), [("unary_unary", "Check"), ("unary_stream", "Watch")])
async def test_a_health_check_that_cannot_be_decoded_is_refused_in_words(channel, kind, method):
    call = raw(channel, kind, "grpc.health.v1.Health", method)(GARBAGE, metadata=TO_VISION, timeout=20)
    error = await refused(call if method == "Check" else call.read())
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and error.details().startswith(UNDECODABLE)


async def test_a_silent_stream_is_ended(channel):
    error = await refused(converse(channel, message(0, open={}), close=False))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and "nothing arrived for 1 s" in error.details()


async def test_cancelling_reaches_the_handler(channel):
    before = (await encode(channel, b"count")).pictures
    for seconds in (0.3, 1, 3, 10):  # a call that is cancelled before it arrives has no handler
        call = VisionEncoderStub(channel).Encode(
            vision_encoder_pb2.EncodeVisionRequest(image=b"slow"), metadata=TO_VISION
        )
        await asyncio.sleep(seconds)
        call.cancel()
        for _ in range(50):
            if (await encode(channel, b"count")).pictures > before:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("the handler was never cancelled")


async def test_health_has_the_standard_service(channel):
    for metadata in (TO_VISION, TO_SPEECH):
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), metadata=metadata, timeout=20
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_no_process_of_ray_blocks_sigterm(ray_serve):
    blocked = {}
    for pid in processes.descendants(os.getpid()):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        blocked[f"{pid} {status['Name'].strip()}"] = int(status["SigBlk"], 16) >> (signal.SIGTERM - 1) & 1
    assert len(blocked) > 5 and any("ray::" in name for name in blocked), blocked
    assert not any(blocked.values()), blocked


async def test_a_dead_replica_is_replaced(ray_serve):
    async with grpc.aio.insecure_channel(ray_serve[0]) as channel:
        error = await refused(encode(channel, b"exit"))
        assert error.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.UNKNOWN,
        )
        assert (await converse(channel, message(0, open={}), message(1, end={})))[-1].done.length == 0  # others go on
        for _ in range(300):
            try:
                assert (await encode(channel, b"123")).pictures == 3
                return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)
        raise AssertionError("no replica came back")
