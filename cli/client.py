"""A client of `Conversation`, as `parley ask`, the benchmarks and the tests use it. See docs/conversation.md."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc

from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.conversation_pb2_grpc import ConversationStub
from protos.parley.v1.language_model_pb2 import State
from protos.parley.v1.usage_pb2 import FinishReason, Usage

MAX_MESSAGE_BYTES = 64 << 20
FULL = (grpc.StatusCode.RESOURCE_EXHAUSTED,)  # the place of the lost connection is not free yet
RESUME_SECONDS = 20.0  # of trying, after a lost connection
RESUME_PAUSE = 0.05  # seconds between two attempts
LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


@dataclass
class Question:
    """What one turn sends. `audio`: raw samples, 16-bit little-endian mono, at the configured rate."""

    text: str = ""
    audio: bytes = b""
    images: list[bytes] = field(default_factory=list)  # files
    videos: list[bytes] = field(default_factory=list)  # files
    sample_rate: int = 16_000
    chunk_seconds: float = 0.06
    paced: bool = True  # audio is sent as fast as it is spoken; otherwise at once


@dataclass
class Answer:
    """What came back. Times are seconds at this client, from the end of the question."""

    turn_id: str = ""
    transcript: str = ""
    state: str = ""  # speech, text, nothing
    probability: float = 0.0  # of the state
    text: str = ""
    kept: str = ""  # of the text, as the session's history has it
    audio: bytes = b""  # 16-bit little-endian mono
    sample_rate: int = 0
    finish_reason: str = ""  # stop, length, nothing, cancelled, failed
    usage: Usage = field(default_factory=Usage)
    calls: list[wire.FunctionCallDone] = field(default_factory=list)
    error: wire.ErrorEvent | None = None
    latency: wire.Latency = field(default_factory=wire.Latency)  # as the gateway measured it
    first_audio: float = 0.0
    total: float = 0.0

    @property
    def complete(self) -> bool:
        """It came to its end, or to its longest."""
        return self.finish_reason in ("stop", "length")

    @property
    def audio_seconds(self) -> float:
        return len(self.audio) / 2 / self.sample_rate if self.sample_rate else 0.0


def _channel(address: str, certificate: bytes | None) -> grpc.aio.Channel:
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.http2.bdp_probe", 0),  # else the window grows, and what is not read fills it: 64 KiB are 1.3 s of audio
    ]
    target = address.removeprefix("https://")
    if certificate is None and target == address:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(certificate), options=options)


class Client:
    """One conversation.

    async with Client("127.0.0.1:50051") as client:
        ready = await client.open(wire.SessionConfig(...))
        answer = await client.ask(Question(text="hello"))

    With `resumable=True` in `open`, `events` goes on by itself when the connection is lost, through the next address.
    """

    def __init__(self, *addresses: str, key: str | None = None, certificate: bytes | None = None):
        """Of one gateway or several, all of the same Redis.

        `key`: an API key; by default the one in PARLEY_API_KEY. `certificate`: in PEM, of the gateway or of who vouches
        for it: with it, and where an address begins with https://, connections have TLS.
        """
        self._addresses, self._certificate = itertools.cycle(addresses), certificate
        self._channel = _channel(next(self._addresses), certificate)
        key = os.environ.get("PARLEY_API_KEY", "") if key is None else key
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._call: grpc.aio.StreamStreamCall | None = None
        self.session_id = ""
        self.ready = wire.SessionReady()
        self.resumable = False
        self.last_sequence = 0  # of the last event that came

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()

    async def close(self) -> None:
        if self._call is not None:
            self._call.cancel()
        await self._channel.close()

    def start(self) -> None:
        """Opens the stream; the gateway waits for `open`."""
        self._call = ConversationStub(self._channel).Converse(metadata=self._metadata)

    async def open(
        self, config: wire.SessionConfig, session_id: str = "", resumable: bool = False, after: int | None = None
    ) -> wire.SessionReady:
        """`session_id`: of a session to go on with. Raises `grpc.RpcError` where the gateway refuses.

        `resumable`: goes on when the connection is lost. `after`: goes on with one that was lost before, behind its
        last event.
        """
        self.start()
        opening = wire.OpenSession(session_id=session_id, config=config, resumable=resumable, after_sequence=after)
        await self.send(open=opening)
        event = await anext(self.events(), None)
        if event is None or event.WhichOneof("event") != "session":
            raise ConnectionError("the gateway closed the stream before it opened the session")
        self.session_id, self.ready, self.resumable = event.session.session_id, event.session, resumable
        return event.session

    async def send(self, **event) -> None:
        """One event, as `send(text="hello", question_id="1")`. A stream that has ended is found by `events`."""
        with contextlib.suppress(asyncio.InvalidStateError, grpc.RpcError):
            await self._call.write(wire.ClientEvent(**event))

    async def events(self) -> AsyncIterator[wire.ServerEvent]:
        """What the gateway says. Raises `grpc.RpcError` for how the stream ended, unless well or resumed."""
        while (event := await self._next()) is not grpc.aio.EOF:
            self.last_sequence = event.sequence
            yield event

    async def _next(self) -> wire.ServerEvent:
        """Of a connection that is lost, the next is the `session` of the one that goes on."""
        until, pause = None, 0.0
        while True:
            try:
                return await self._call.read()
            except grpc.RpcError as error:
                again = error.code() in LOST or (until is not None and error.code() in FULL)
                until = until or time.monotonic() + RESUME_SECONDS
                if not self.resumable or not again or time.monotonic() > until:
                    raise
            await asyncio.sleep(pause)
            pause = RESUME_PAUSE
            await self._reconnect()

    async def _reconnect(self) -> None:
        """Asks the next gateway for all events after the last one that came."""
        await self._channel.close()
        self._channel = _channel(next(self._addresses), self._certificate)
        self.start()
        opening = wire.OpenSession(session_id=self.session_id, resumable=True, after_sequence=self.last_sequence)
        await self.send(open=opening)

    async def ask(
        self, question: Question, on_event: Callable[[wire.ServerEvent], None] = lambda event: None
    ) -> Answer:
        """Sends the question, waits for its answer, and says that all of it was played.

        What is still coming of earlier questions is passed over.
        """
        answer, question_id = Answer(), secrets.token_urlsafe(6)
        asked = asyncio.get_running_loop().create_future()
        enough = asyncio.Event()  # the gateway has refused the question, or ended its turn
        sending = asyncio.create_task(self._send(question, question_id, asked, enough))
        try:
            async for event in self.events():
                if event.question_id != question_id:
                    continue
                on_event(event)
                over = self.take(answer, event, asked.result() if asked.done() else time.monotonic())
                if over or event.HasField("error"):
                    enough.set()
                if over:
                    break
            else:
                raise ConnectionError("the gateway closed the conversation")
            if not sending.done():  # not cancelled: a write that is cut off would break the stream
                await sending
                await self.send(cancel=wire.CancelTurn())
        finally:
            sending.cancel()
        if answer.audio and answer.complete:
            await self.send(played=wire.Played(turn_id=answer.turn_id, samples=len(answer.audio) // 2))
        return answer

    async def _send(self, question: Question, question_id: str, asked: asyncio.Future, enough: asyncio.Event) -> None:
        """Ends the question early where that is enough."""
        parts = [{"image": image} for image in question.images] + [{"video": video} for video in question.videos]
        parts += [{"text": question.text}] if question.text else []
        for part in parts:
            if not enough.is_set():
                await self.send(question_id=question_id, **part)
        step = max(1, round(question.chunk_seconds * question.sample_rate)) * 2
        began = time.monotonic()
        for at in range(0, len(question.audio), step):
            chunk = question.audio[at : at + step]
            if question.paced:  # a chunk exists once its last sample has been spoken
                spoken = (at + len(chunk)) / 2 / question.sample_rate
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(enough.wait(), max(0.0, began + spoken - time.monotonic()))
            if enough.is_set():
                break
            await self.send(question_id=question_id, audio=chunk)
        asked.set_result(time.monotonic())
        end = {"end_of_audio": wire.EndOfAudio()} if question.audio else {"respond": wire.Respond()}
        await self.send(question_id=question_id, **end)

    @staticmethod
    def take(answer: Answer, event: wire.ServerEvent, asked: float) -> bool:
        """Adds an event to the answer. True where it is over."""
        answer.turn_id = event.turn_id or answer.turn_id
        match event.WhichOneof("event"):
            case "transcript":
                answer.transcript = event.transcript.text
            case "state":
                answer.state = State.Name(event.state.state).removeprefix("STATE_").lower()
                answer.probability = max(event.state.probabilities, default=0.0)
            case "text":
                answer.text += event.text.text
            case "function_call_done":
                answer.calls.append(event.function_call_done)
            case "audio":
                answer.first_audio = answer.first_audio or time.monotonic() - asked
                answer.audio += event.audio.audio
                answer.sample_rate = event.audio.sample_rate
            case "error":
                answer.error = answer.error or event.error  # the first is the cause; `done` follows
            case "done":
                reason = FinishReason.Name(event.done.finish_reason)
                answer.finish_reason = reason.removeprefix("FINISH_REASON_").lower()
                answer.usage = event.done.usage
                answer.kept = event.done.text
                answer.latency = event.done.latency
                answer.total = time.monotonic() - asked
                return True
        return False
