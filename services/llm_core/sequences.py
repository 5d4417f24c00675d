"""One request in the engine's thread: what stands at each position, how far it is computed, the answer so far."""

from __future__ import annotations

import time

import torch

from services.llm_core.answer_text import AnswerText
from services.llm_core.pieces import Piece
from services.llm_core.requests import FinishReason, GenerationRequest
from services.llm_core.sampler import SamplerState
from services.llm_core.state import StateTokenDecoder


class Sequence:
    """Used by the engine's thread only. Positions [0, computed) are in the KV cache, the rest is still to compute."""

    def __init__(self, request: GenerationRequest, answer: AnswerText, state_tokens: StateTokenDecoder | None):
        """`state_tokens`: for a model that states its state with tokens."""
        self.request = request
        self.answer = answer
        self.sampler = SamplerState(request.sampling)
        self.forced = request.forced  # until they are in the answer
        self.sampler.skip(len(request.beginning))
        self.state_tokens = state_tokens
        self.decided = False  # the state
        self.only_state = False  # nothing is generated
        self.slot: int | None = None  # of the KV cache; None while the request waits for one, or has no work
        self.parked: torch.Tensor | None = None  # what its slot held, until it has one again
        self.arrived = self.queued_at = time.monotonic()
        self.pending_since = self.arrived  # the oldest piece that is not computed
        self.keys: list[int] = []
        self.computed = 0
        self.responded_at: float | None = None  # on the monotonic clock; None while the prompt is not complete
        self.decoding = False  # the prompt is computed: from here on one token a step
        self.prompt_length = 0
        self.cached = 0  # positions of the prompt that the session's KV cache held already
        self.finish_reason: FinishReason | None = None  # set by the step that ends the answer
        self.paused = False  # the client has left too much unread
        self.prefill_seconds = 0.0
        self.decode_seconds = 0.0
        self.first_token_seconds = 0.0
        self._embeddings: list[tuple[int, torch.Tensor]] = []  # (first position, [length, width])
        self._kept: list[int] = []  # keys whose KV the slot still holds, as long as the prompt begins the same

    @property
    def pending(self) -> int:
        return len(self.keys) - self.computed

    @property
    def has_work(self) -> bool:
        """A slot is of use to it. A question that is still asked has none while all that came of it is computed."""
        return not self.paused and (self.responded or self.pending > 0)

    @property
    def step(self) -> str:
        """What it computes next, as traces name it."""
        if self.decoding:
            return "decode"
        return "last_prefill" if self.responded else "prefill"

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
            if piece.embeddings is not None:
                self._embeddings.append((len(self.keys), piece.embeddings))
            self.keys.extend(piece.keys)

    def respond(self, pieces: list[Piece], at: float, only_state: bool = False) -> None:
        self.extend(pieces)
        self.responded_at, self.only_state = at, only_state
        self.prompt_length = len(self.keys)
        self.computed = min(self.computed, max(len(self.keys) - 1, 0))  # the last position's output is needed

    def keep(self, keys: list[int]) -> None:
        """The slot was filled with the KV of `keys`, of the session's last request."""
        self._kept = keys

    def reuse(self) -> None:
        """Skips what the slot already holds: the longest common beginning of this prompt and the last request."""
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
        if self.pending:  # what follows is written over the last request's
            self._kept = []

    def held_keys(self) -> list[int]:
        """The keys of the `held` positions."""
        return self._kept if len(self._kept) > self.computed else self.keys[: self.computed]

    def fill(self, start: int, end: int, embedded: torch.Tensor) -> None:
        """Writes this prompt's embeddings over embedded: [end - start, width], which holds embedded tokens."""
        for first, embeddings in self._embeddings:
            begin, stop = max(first, start), min(first + len(embeddings), end)
            if begin < stop:
                embedded[begin - start : stop - start] = embeddings[begin - first : stop - first].to(embedded.device)

    def advance(self, count: int) -> None:
        """`count` more positions are computed; their embeddings are no longer needed."""
        self.computed += count
        self._embeddings = [(first, e) for first, e in self._embeddings if first + len(e) > self.computed]
