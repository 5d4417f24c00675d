"""One request of the vLLM engine: what stands at each position of its prompt, and the answer so far."""

from __future__ import annotations

import asyncio
import time

import torch
from vllm.inputs import EmbedsPrompt, TokensPrompt

from services.llm_core.answer_text import AnswerText
from services.llm_core.pieces import Piece
from services.llm_core.requests import Done, FinishReason, GenerationRequest
from services.llm_core.state import StateTokenDecoder


class Sequence:
    """Used by the engine's thread only."""

    def __init__(self, request: GenerationRequest, answer: AnswerText, state_tokens: StateTokenDecoder | None):
        """`state_tokens`: for a model that states its state with tokens."""
        self.request, self.answer, self.state_tokens = request, answer, state_tokens
        self.keys: list[int] = []  # of the prompt, then of what was generated
        self.filled = 0  # positions that the prefix cache was given
        self.task: asyncio.Task | None = None  # that computes for it
        self.timer: asyncio.TimerHandle | None = None  # of its deadline
        self.arrived = time.monotonic()
        self.responded_at: float | None = None  # on the monotonic clock; None while the prompt is not complete
        self.only_state = False  # nothing is generated
        self.prompt_length = 0
        self.cached: int | None = None  # positions that vLLM's prefix cache held when it first computed
        self.decided_at = 0.0
        self.first_token_seconds = 0.0
        self._embeddings: list[tuple[int, torch.Tensor]] = []  # (first position, [length, width])

    @property
    def has_work(self) -> bool:
        return self.task is not None

    def extend(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if piece.embeddings is not None:
                self._embeddings.append((len(self.keys), piece.embeddings))
            self.keys.extend(piece.keys)

    def respond(self, pieces: list[Piece], at: float, only_state: bool) -> None:
        self.extend(pieces)
        self.responded_at, self.only_state = at, only_state
        self.prompt_length = len(self.keys)

    def prompt(self) -> TokensPrompt | EmbedsPrompt:
        """All positions so far. Embeddings stand where `prompt_is_token_ids` is False."""
        ids = [max(key, 0) for key in self.keys]
        if not self._embeddings:
            return TokensPrompt(prompt_token_ids=ids)
        first = self._embeddings[0][1]
        embedded = first.new_zeros(len(ids), first.shape[1])
        for start, embeddings in self._embeddings:
            embedded[start : start + len(embeddings)] = embeddings
        is_token = [key >= 0 for key in self.keys]
        return EmbedsPrompt(prompt_embeds=embedded, prompt_token_ids=ids, prompt_is_token_ids=is_token)

    def done(self, reason: FinishReason) -> Done:
        """What its caller is told last."""
        now = time.monotonic()
        return Done(
            finish_reason=reason,
            text=self.answer.sent,
            prompt_tokens=self.prompt_length,
            cached_tokens=self.cached or 0,
            answer_tokens=self.answer.tokens,
            prefill_seconds=self.decided_at - self.responded_at,
            decode_seconds=now - self.decided_at if self.answer.tokens else 0.0,
            first_token_seconds=self.first_token_seconds,
        )

    def cancel(self) -> None:
        """Nothing more is computed for it."""
        for pending in (self.task, self.timer):
            if pending is not None:
                pending.cancel()
