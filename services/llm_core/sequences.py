"""One turn as the engine sees it: what stands at each position, how far it is computed, and the answer so far."""

from __future__ import annotations

import time

import torch

from services.llm_core.detokenizer import Detokenizer, StopWatch
from services.llm_core.prompts import Piece
from services.llm_core.requests import Turn
from services.llm_core.sampler import Draw
from services.llm_core.state import TokenWalk


class Row:
    """Used by the engine's thread only. Positions [0, computed) are in the KV cache, the rest is still to compute."""

    def __init__(self, turn: Turn, detokenizer: Detokenizer, walk: TokenWalk | None):
        """`walk`: for a model that says its state with tokens."""
        self.turn = turn
        self.draw = Draw(turn.sampling)
        self.detokenizer = detokenizer
        self.stop = StopWatch(turn.sampling.stop)
        self.walk = walk
        self.decided = False  # the state
        self.answer: list[str] = []  # texts of the tokens given out
        self.answer_tokens = 0
        self.slot: int | None = None  # of the KV cache; None while the turn waits for one
        self.arrived = time.monotonic()
        self.pending_since = self.arrived  # the oldest piece that is not computed
        self.keys: list[int] = []
        self.computed = 0
        self.responded_at: float | None = None  # the prompt is complete; on the monotonic clock
        self.answering = False  # the prompt is computed: from here on one token a step
        self.prompt_length = 0
        self.cached = 0  # positions of the prompt that the session's KV held already
        self.paused = False  # the client has left too much unread
        self.prefill_seconds = 0.0
        self.decode_seconds = 0.0
        self.first_token_seconds = 0.0
        self._vectors: list[tuple[int, torch.Tensor]] = []  # (first position, [length, width])
        self._kept: list[int] = []  # keys whose KV the slot still holds, as long as the prompt begins the same

    @property
    def pending(self) -> int:
        return len(self.keys) - self.computed

    @property
    def held(self) -> int:
        """Positions of the slot that hold KV of this session."""
        return max(self.computed, len(self._kept))

    @property
    def responded(self) -> bool:
        return self.responded_at is not None

    def extend(self, pieces: list[Piece]) -> None:
        if not self.pending:
            self.pending_since = time.monotonic()
        for piece in pieces:
            if piece.vectors is not None:
                self._vectors.append((len(self.keys), piece.vectors))
            self.keys.extend(piece.keys)

    def respond(self, pieces: list[Piece], at: float) -> None:
        self.extend(pieces)
        self.responded_at = at
        self.prompt_length = len(self.keys)

    def keep(self, keys: list[int]) -> None:
        """The slot was filled with the KV of `keys`, of the session's last turn."""
        self._kept = keys

    def reuse(self) -> None:
        """Skips what the slot already holds: the longest common beginning of the prompt and the last turn."""
        if not self._kept:
            return
        limit = min(len(self.keys), len(self._kept))
        start = self.computed
        while self.computed < limit and self.keys[self.computed] == self._kept[self.computed]:
            self.computed += 1
        self.cached += self.computed - start
        if self.responded and self.computed == len(self.keys):  # the last position's output is needed
            self.computed -= 1
            self.cached -= 1
        if self.pending:  # what follows is written over the last turn's
            self._kept = []

    def held_keys(self) -> list[int]:
        """The keys of the `held` positions."""
        return self._kept if len(self._kept) > self.computed else self.keys[: self.computed]

    def fill(self, start: int, end: int, embedded: torch.Tensor) -> None:
        """Puts this row's vectors over embedded: [end - start, width], whose other positions are embedded tokens."""
        for first, vectors in self._vectors:
            begin, stop = max(first, start), min(first + len(vectors), end)
            if begin < stop:
                embedded[begin - start : stop - start] = vectors[begin - first : stop - first].to(embedded.device)

    def advance(self, count: int) -> None:
        """`count` more positions are computed; their vectors are no longer needed."""
        self.computed += count
        self._vectors = [(first, v) for first, v in self._vectors if first + len(v) > self.computed]
