"""One question of a client: sent as it is spoken, and sent again where a lost connection took it with it.

After a lost connection the gateway says which turn goes on. Where none does, what it has kept of the question comes
next, and then the answer to `update`, which changes nothing: a question without an end by then never arrived whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING

from cli.answer import Answer, Question
from protos.parley.v1 import conversation_pb2 as wire

if TYPE_CHECKING:
    from cli.client import Client


class Asking:
    """From its first event to its last, within the context."""

    def __init__(self, client: Client, question: Question):
        self._client, self._question = client, question
        self._began = time.monotonic()  # the user speaks on while there is no connection
        self._asked: float | None = None  # when the question ended
        self._in_doubt = False  # a connection was lost, and it is not known yet whether the question was

    async def __aenter__(self) -> Asking:
        self._start()
        return self

    async def __aexit__(self, *_) -> None:
        self._sending.cancel()

    def _start(self) -> None:
        self.answer, self._id = Answer(), secrets.token_urlsafe(6)
        self._enough = asyncio.Event()  # the gateway has refused the question, or ended its turn
        self._sending = asyncio.create_task(self._send(self._client.connections))

    def is_ours(self, event: wire.ServerEvent) -> bool:
        return event.question_id == self._id

    async def take(self, event: wire.ServerEvent) -> bool:
        """The next event of the conversation. True where the answer is over."""
        if event.HasField("session"):
            await self._resumed(event.session)
        elif event.HasField("session_updated") and self._in_doubt:
            self._in_doubt = False
            self._start()
        elif self.is_ours(event):
            return self._take(event)
        return False

    def _take(self, event: wire.ServerEvent) -> bool:
        over = self.answer.take(event, self._asked or time.monotonic())
        if over and self._in_doubt and self._was_lost():
            return False
        if over or event.HasField("error"):
            self._enough.set()
        return over

    def _was_lost(self) -> bool:
        """It ended with the connection: it was not complete, or what is kept of it is not enough for an answer."""
        answer = self.answer
        aborted = answer.error is not None and answer.error.code == "ABORTED"
        return answer.finish_reason == "cancelled" or (aborted and not answer.text and not answer.audio)

    async def _resumed(self, session: wire.SessionReady) -> None:
        self._in_doubt = not session.running_turn_id
        if self._in_doubt:
            await self._client.send(update=wire.SessionConfig())

    async def finish_sending(self) -> None:
        """Of a question whose turn has ended. Not cancelled: a write that is cut off would break the stream."""
        if not self._sending.done():
            await self._sending
            await self._client.send(cancel=wire.CancelTurn())

    async def _send(self, connection: int) -> None:
        """The question, on this connection alone; it ends early where that is enough."""

        async def send(**event) -> None:
            if self._client.connections == connection:
                await self._client.send(question_id=self._id, **event)

        question = self._question
        parts = [{"image": image} for image in question.images] + [{"video": video} for video in question.videos]
        for part in parts + ([{"text": question.text}] if question.text else []):
            if not self._enough.is_set():
                await send(**part)
        await self._speak(send)
        self._asked = self._asked or time.monotonic()
        await send(**({"end_of_audio": wire.EndOfAudio()} if question.audio else {"respond": wire.Respond()}))

    async def _speak(self, send) -> None:
        question = self._question
        step = max(1, round(question.chunk_seconds * question.sample_rate)) * 2
        for at in range(0, len(question.audio), step):
            chunk = question.audio[at : at + step]
            if question.paced:  # a chunk exists once its last sample has been spoken
                spoken = self._began + (at + len(chunk)) / 2 / question.sample_rate
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), max(0.0, spoken - time.monotonic()))
            if self._enough.is_set():
                return
            await send(audio=chunk)
