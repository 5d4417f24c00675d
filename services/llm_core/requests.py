"""One turn as its caller sees it: pieces of the prompt in, events out, and a clear end.

Lives on the caller's event loop. The engine's thread touches only what is marked so.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from services.engine.thread import Request
from services.llm_core.prompts import Piece
from services.llm_core.sampler import Sampling
from services.llm_core.state import Decision
from services.rpc.limits import too_much


@dataclass(frozen=True)
class Token:
    id: int
    text: str  # what it adds; "" while a character is incomplete


@dataclass(frozen=True)
class Done:
    reason: Literal["stop", "length", "nothing"]
    text: str
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    prefill_seconds: float
    decode_seconds: float
    first_token_seconds: float


Event = Decision | Token | Done


class Turn(Request[Event]):
    """Made by `Engine.open`. `events` gives a `Decision`, then `Token`s, then `Done`; or raises what went wrong."""

    def __init__(self, engine, session_id: str, turn_id: str, deadline: float | None, sampling: Sampling):
        """`deadline`: on the monotonic clock."""
        super().__init__(engine)
        self.session_id = session_id
        self.turn_id = turn_id
        self.deadline = deadline
        self.sampling = sampling
        self.length = 0  # of the prompt so far
        self.sent = 0  # events the engine has given out: written by the engine's thread
        self.read = 0  # events the caller has taken: written on the loop
        self._responded = False

    @property
    def key(self) -> object:
        """A session has one turn at a time; a turn of no session is alone."""
        return self.session_id or self

    def append(self, pieces: list[Piece]) -> None:
        """More of the prompt. Raises RESOURCE_EXHAUSTED once it is longer than the context."""
        assert not self._responded
        self.check(pieces)
        if pieces:
            self.post("append", pieces)

    def respond(self, pieces: list[Piece]) -> None:
        """The last of the prompt; the answer begins."""
        assert not self._responded
        self.check(pieces)
        self._responded = True
        self.post("respond", (pieces, time.monotonic()))

    async def events(self) -> AsyncIterator[Decision | Token | Done]:
        while True:
            event = await self.next()
            self.read += 1
            self._engine.has_read(self)
            yield event
            if isinstance(event, Done):
                return

    def check(self, pieces: list[Piece]) -> None:
        """Counts what is to be appended. Raises RESOURCE_EXHAUSTED where that is longer than the context."""
        self.length += sum(len(piece.keys) for piece in pieces)
        if self.length >= self._engine.max_length:
            raise too_much(
                self._engine.service,
                "max_length",
                f"the prompt is {self.length} tokens long and the context {self._engine.max_length}, "
                "of which an answer needs at least one; shorten the history or the question",
            )
