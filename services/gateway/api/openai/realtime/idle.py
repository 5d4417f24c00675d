"""`idle_timeout_ms`: a user who says nothing for so long after an answer has been played is spoken to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from services.gateway import events

STARTS = (events.SpeechStarted, events.AnswerBegun, events.SessionUpdated)  # somebody does something


class IdleTimer:
    """Of one connection. It is told all that the client is told."""

    def __init__(self, on_idle: Callable[[], Awaitable[None]]):
        self._on_idle = on_idle
        self._waiting: asyncio.Task | None = None
        self._plays_until = 0.0  # `time.monotonic()`

    def note(self, body: events.Body, idle_seconds: float | None) -> None:
        """`idle_seconds`: None where the session does not want this."""
        if isinstance(body, events.TurnDone) and body.finish_reason == "cancelled":
            self._plays_until = 0.0  # clients drop the rest of it
        match body:
            case events.AudioDelta():
                self._plays_until = max(self._plays_until, time.monotonic()) + body.seconds
            case events.TurnDone(answers=True) if idle_seconds is not None:
                self._start(idle_seconds)
            case _ if isinstance(body, STARTS):
                self.stop()

    def stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _start(self, idle_seconds: float) -> None:
        self.stop()
        playing = max(0.0, self._plays_until - time.monotonic())
        self._waiting = asyncio.create_task(self._wait(playing + idle_seconds))

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._waiting = None  # what the answer to the silence says does not stop this task
        with contextlib.suppress(Exception):  # the client has done something in this moment, or is gone
            await self._on_idle()
