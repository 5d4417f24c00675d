"""Continues answers by what a step has computed: the state, then token after token, up to the end of the answer."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from services.llm_core.answer_text import AnswerFormat, AnswerText
from services.llm_core.requests import Event, GenerationRequest
from services.llm_core.sampler import sample
from services.llm_core.sequences import Sequence
from services.llm_core.settings import SERVICE
from services.llm_core.state import decide
from services.telemetry import metrics


class Answers:
    """Used by the engine's thread only.

    Args:
        lm_head: hidden states [n, width] → logits [n, vocabulary].
        state_head: None for a model that states its state with tokens.
        end_of_turn_head: None where the model has none.
        emit: sends a request an event.
        max_tokens, max_length: of an answer; of a prompt and its answer.
    """

    def __init__(
        self,
        lm_head: nn.Module,
        state_head: nn.Module | None,
        end_of_turn_head: nn.Module | None,
        answer_format: AnswerFormat,
        emit: Callable[[GenerationRequest, Event], None],
        *,
        max_tokens: int,
        max_length: int,
    ):
        self._lm_head = lm_head
        self.state_head, self._end_of_turn_head = state_head, end_of_turn_head
        self._format, self._emit = answer_format, emit
        self._max_tokens, self._max_length = max_tokens, max_length

    def begin(self, request: GenerationRequest) -> AnswerText:
        """Of a new request."""
        return AnswerText(request, self._format, self._max_tokens)

    def go_on(self, sequences: list[Sequence], hidden: torch.Tensor) -> None:
        """hidden: [sequences, width], the outputs that each sequence's next token follows from."""
        logits = self._lm_head(hidden)
        sampled = []
        for index, sequence in enumerate(sequences):
            if not sequence.decoding:
                sequence.decoding = True
                sequence.request.steps.begin("decode")
            if sequence.decided or self._decide(sequence, hidden[index], logits[index]):
                if sequence.forced:
                    self._force(sequence)
                else:
                    sampled.append(index)
        if not sampled:
            return
        if len(sampled) < len(sequences):
            sequences, logits = [sequences[index] for index in sampled], logits[sampled]
        self._forbid_empty(sequences, logits)
        tokens = sample(logits, [sequence.sampler for sequence in sequences])
        for sequence, token in zip(sequences, tokens, strict=True):
            self._add_token(sequence, token)

    def _forbid_empty(self, sequences: list[Sequence], logits: torch.Tensor) -> None:
        """An answer that has no token yet cannot end: whoever is answered is told something."""
        first = [index for index, sequence in enumerate(sequences) if not sequence.answer.tokens]
        for stop in self._format.stop_ids:
            logits[first, stop] = -torch.inf

    def flush(self, sequence: Sequence) -> None:
        """Sends the tokens of a complete answer that were withheld as a possible tag or stop string."""
        self._send(sequence, *sequence.answer.flush())

    def _decide(self, sequence: Sequence, hidden: torch.Tensor, logits: torch.Tensor) -> bool:
        """Reads the state. Returns whether the sequence's first token may be sampled from `logits` now."""
        with_tokens = sequence.state_tokens is not None
        if with_tokens:
            token, decision = sequence.state_tokens.step(logits[sequence.state_tokens.ids])
            sequence.keys.append(token)
        else:
            head = self._end_of_turn_head
            decision = decide(self.state_head(hidden), None if head is None else head(hidden))
        if decision is not None:
            sequence.decided = True
            self._send(sequence, decision)
            if sequence.only_state:
                sequence.finish_reason = "stop"
                return False
            if decision.nothing:
                sequence.finish_reason = "nothing"
                return False
        if with_tokens and len(sequence.keys) >= self._max_length:
            sequence.finish_reason = "length"
        return not with_tokens

    def _force(self, sequence: Sequence) -> None:
        """The beginning that its answer must have: computed with the next prompts, in one step."""
        for token in sequence.forced:
            if not sequence.finish_reason:
                self._add_token(sequence, token)
        sequence.forced, sequence.decoding = (), False
        sequence.pending_since = time.monotonic()
        sequence.request.steps.begin("forced_prefill")

    def _add_token(self, sequence: Sequence, token: int) -> None:
        if not sequence.first_token_seconds:
            sequence.first_token_seconds = time.monotonic() - sequence.responded_at
            metrics.FIRST_TOKEN_SECONDS.labels(SERVICE).observe(sequence.first_token_seconds, sequence.request.exemplar)
        if token not in self._format.stop_ids:
            sequence.keys.append(token)
        self._send(sequence, *sequence.answer.add(token))
        sequence.finish_reason = sequence.answer.finish_reason
        if sequence.finish_reason is None and len(sequence.keys) >= self._max_length:
            sequence.finish_reason = "length"

    def _send(self, sequence: Sequence, *events: Event) -> None:
        for event in events:
            sequence.request.sent += 1
            self._emit(sequence.request, event)
