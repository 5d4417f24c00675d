"""A client of `Conversation`, as `parley ask`, the benchmarks and the tests use it. See docs/conversation.md."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable

import grpc

from cli.answer import Answer, Question
from cli.asking import Asking
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.conversation_pb2_grpc import ConversationStub

MAX_MESSAGE_BYTES = 64 << 20
FULL = (grpc.StatusCode.RESOURCE_EXHAUSTED,)  # the place of the lost connection is not free yet
RESUME_SECONDS = 30.0  # of trying, after a lost connection
RESUME_PAUSE = 0.05  # seconds between two attempts
# Milliseconds of silence before a ping, and that its answer may take.
RESUMABLE_PINGS = (1000, 1500)  # too early costs a resumed connection
OTHER_PINGS = (20_000, 10_000)  # too early costs the conversation
CONNECT_MS = 3000  # milliseconds that a connection may take; then the next address is tried
LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


def _channel(address: str, certificate: bytes | None, resumable: bool) -> grpc.aio.Channel:
    ping, pong = RESUMABLE_PINGS if resumable else OTHER_PINGS
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.http2.bdp_probe", 0),  # else the window grows, and what is not read fills it: 64 KiB are 1.3 s of audio
        ("grpc.keepalive_time_ms", ping),  # a gateway that hangs, or whose link is cut, is noticed
        ("grpc.keepalive_timeout_ms", pong),
        ("grpc.http2.ping_timeout_ms", pong),  # a minute by default, and nothing shorter has an effect
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
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
        self._channel: grpc.aio.Channel | None = None
        key = os.environ.get("PARLEY_API_KEY", "") if key is None else key
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._call: grpc.aio.StreamStreamCall | None = None
        self.session_id = ""
        self.ready = wire.SessionReady()
        self.resumable = False
        self.last_sequence = 0  # of the last event that came
        self.connections = 0  # that were opened

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()

    async def close(self) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._channel is not None:
            await self._channel.close()

    def start(self, wait: bool = False) -> None:
        """Opens the stream; the gateway waits for `open`. `wait`: also for a gateway that is not there yet."""
        self._channel = _channel(next(self._addresses), self._certificate, self.resumable)
        self._call = ConversationStub(self._channel).Converse(metadata=self._metadata, wait_for_ready=wait)
        self.connections += 1

    async def open(
        self, config: wire.SessionConfig, session_id: str = "", resumable: bool = False, after: int | None = None,
        wait: bool = False,
    ) -> wire.SessionReady:  # fmt: skip
        """`session_id`: of a session to go on with. `wait`: for a gateway that is not there yet. Raises `grpc.RpcError`
        where the gateway refuses.

        `resumable`: goes on when the connection is lost. `after`: goes on with one that was lost before, behind its
        last event.
        """
        self.resumable = resumable
        self.start(wait)
        opening = wire.OpenSession(session_id=session_id, config=config, resumable=resumable, after_sequence=after)
        await self.send(open=opening)
        event = await anext(self.events(), None)
        if event is None or event.WhichOneof("event") != "session":
            raise ConnectionError("the gateway closed the stream before it opened the session")
        self.session_id, self.ready = event.session.session_id, event.session
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
        self.start()
        opening = wire.OpenSession(session_id=self.session_id, resumable=True, after_sequence=self.last_sequence)
        await self.send(open=opening)

    async def ask(
        self, question: Question, on_event: Callable[[wire.ServerEvent], None] = lambda event: None
    ) -> Answer:
        """Sends the question, waits for its answer, and says that all of it was played.

        What is still coming of earlier questions is passed over. Of a resumable conversation a question that a lost
        connection took with it is sent again.
        """
        async with Asking(self, question) as asking:
            async for event in self.events():
                if asking.is_ours(event):
                    on_event(event)
                if await asking.take(event):
                    break
            else:
                raise ConnectionError("the gateway closed the conversation")
            await asking.finish_sending()
        answer = asking.answer
        if answer.audio and answer.complete:
            await self.send(played=wire.Played(turn_id=answer.turn_id, samples=len(answer.audio) // 2))
        return answer
