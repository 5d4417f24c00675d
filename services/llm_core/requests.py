"""One generation request as its caller sees it: pieces of the prompt in, events out, and a clear end.

Used on the caller's event loop. The engine's thread writes only what is marked so.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from services.engine.thread import Request
from services.llm_core.pieces import EmbeddingRef, Piece
from services.llm_core.sampler import Sampling
from services.llm_core.state import Decision
from services.llm_core.tools import CallRules
from services.rpc.limits import too_much

FinishReason = Literal["stop", "length", "nothing"]


@dataclass(frozen=True)
class Missing:
    """References whose embeddings the caller is to send."""

    refs: tuple[EmbeddingRef, ...]


@dataclass(frozen=True)
class Token:
    id: int
    text: str  # what it adds; "" while a character is incomplete, and of tags
    call: int = 0  # 0: of the answer's text; 1, 2, …: of this call
    call_done: bool = False  # the last of its call


@dataclass(frozen=True)
class Done:
    finish_reason: FinishReason
    text: str  # without the calls
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    prefill_seconds: float
    decode_seconds: float
    first_token_seconds: float


Event = Missing | Decision | Token | Done


class GenerationRequest(Request[Event]):
    """Made by `Engine.open`. `events` yields a `Decision`, then `Token`s, then `Done`; or raises what went wrong."""

    def __init__(
        self,
        engine,
        session_id: str,
        turn_id: str,
        deadline: float | None,
        sampling: Sampling,
        calls: CallRules | None = None,
        beginning: tuple[int, ...] = (),
    ):
        """`deadline`: on the monotonic clock. `calls`: None: the answer cannot call functions.

        `beginning`: ids of tokens that were sampled before, for an answer that goes on behind them.
        """
        super().__init__(engine)
        self.session_id = session_id
        self.turn_id = turn_id
        self.deadline = deadline
        self.sampling = sampling
        self.calls = calls
        self.beginning = beginning
        self.length = 0  # of the prompt so far
        self.sent = 0  # events of the engine: written by the engine's thread
        self.read = 0  # of these, taken by the caller: written on the loop
        self._responded = False

    @property
    def key(self) -> object:
        """A turn has one request at a time; another turn of its session may be prefilled while it is answered."""
        return (self.session_id, self.turn_id) if self.session_id else self

    @property
    def forced(self) -> tuple[int, ...]:
        """Ids that the answer begins with; they are not sampled."""
        return self.beginning or (self.calls.beginning if self.calls is not None else ())

    def append(self, pieces: list[Piece]) -> None:
        """More of the prompt. Raises RESOURCE_EXHAUSTED once it is longer than the context."""
        assert not self._responded
        self._count(pieces)
        if pieces:
            self.post("append", pieces)

    def respond(self, pieces: list[Piece], at: float | None = None, only_state: bool = False) -> None:
        """The last of the prompt; the answer begins. `at`: when it was asked for, on the monotonic clock.

        `only_state`: the `Decision` is all that is asked for; `Done` follows it.
        """
        assert not self._responded
        self._count(pieces)
        self._responded = True
        self.post("respond", (pieces, time.monotonic() if at is None else at, only_state))

    async def events(self, heartbeat: float | None = None) -> AsyncIterator[Event | None]:
        """`heartbeat`: seconds without an event after which None comes."""
        while True:
            event = await self.next_within(heartbeat)
            if event is None:
                yield None
                continue
            if not isinstance(event, Missing):  # which is not the engine's
                self.read += 1
                self._engine.has_read(self)
            yield event
            if isinstance(event, Done):
                return

    def check(self, more: int) -> None:
        """Raises RESOURCE_EXHAUSTED where the prompt with `more` positions is longer than the context."""
        length = self.length + more
        if length >= self._engine.max_length:
            raise too_much(
                self._engine.service,
                "max_length",
                f"the prompt is {length} tokens long and the context {self._engine.max_length}, "
                "of which an answer needs at least one; shorten the history or the question",
            )

    def _count(self, pieces: list[Piece]) -> None:
        self.length += sum(map(len, pieces))
        self.check(0)
