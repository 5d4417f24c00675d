"""The engine that computes answers in this process: continuous batching over the requests of many sessions.

Notable points:
- The thread owns the model and the KV cache. Callers post to it and read events on their own loop, see `requests.py`.
- Each step is one forward pass: a token for every decoding sequence, and as much of prompts as the budget allows.
- Sequences join and leave between steps, so a request that is cancelled is gone within one.
- A slot of the KV cache belongs to whoever has something to compute, see `slots.py`.
- A prompt is computed as its pieces arrive, long before the question ends. The last piece and the end of the question
  come close together; that they make one step and not two, a piece waits for what follows for a moment.
- An answer that must begin with a function call is given its beginning as if it were more of the prompt.
- A client that does not read pauses its own sequence and no other.
"""

from __future__ import annotations

import time

import torch
from torch import nn
from transformers import Qwen2ForCausalLM

from parley.config import LanguageConfig
from services.engine.load import Load
from services.llm_core.answer_text import AnswerFormat
from services.llm_core.answers import Answers
from services.llm_core.batch import Chunk, build_batch
from services.llm_core.engine import SPOKEN_TOKENS, LanguageEngine, not_finite
from services.llm_core.kv_cache import ATTENTION, SlotCache
from services.llm_core.limits import choose_limits, kv_bytes_per_token, measure
from services.llm_core.pieces import Piece
from services.llm_core.prefix_cache import PrefixCache
from services.llm_core.requests import Done, GenerationRequest
from services.llm_core.scheduler import Scheduler
from services.llm_core.sequences import Sequence
from services.llm_core.settings import SERVICE, LlmCoreSettings
from services.llm_core.slots import Slots
from services.llm_core.state import StateTokenDecoder
from services.telemetry import metrics


class TorchEngine(LanguageEngine[Sequence]):
    def __init__(
        self,
        language: Qwen2ForCausalLM,
        state_head: nn.Module | None,
        config: LanguageConfig,
        answer_format: AnswerFormat,
        state_ids: tuple[list[int], ...] | None,
        settings: LlmCoreSettings,
        end_of_turn_head: nn.Module | None = None,
    ):
        """`state_head` or `state_ids`, whichever way the model states the state; the model's attention is replaced.

        `end_of_turn_head`: read beside the state head, where the model has one.

        Raises `ValueError` where the limits do not fit the model or the memory.
        """
        weights = language.get_input_embeddings().weight
        self._device, self._dtype = weights.device, weights.dtype
        super().__init__(settings, choose_limits(config, self._dtype.itemsize, measure(self._device), settings))
        assert (state_head is None) != (state_ids is None)
        self._language = language.eval()
        self._language.set_attn_implementation(ATTENTION)
        self._state_ids = state_ids
        self.answers = Answers(
            language.lm_head, state_head, end_of_turn_head, answer_format, self.emit,
            max_tokens=settings.max_tokens, max_length=self.limits.max_length,
        )  # fmt: skip
        self._token_bytes = kv_bytes_per_token(config, self._dtype.itemsize)
        self._prefixes = PrefixCache(self.limits.idle_bytes)
        self._cache = SlotCache(
            language.config, self.limits.num_slots, self.limits.max_length, self._device, self._dtype
        )
        self._scheduler = Scheduler(self.limits.num_slots, self.limits.prefill_tokens)
        self._slots = Slots(
            self._cache, self._scheduler, self._prefixes, self._token_bytes, self.took, self._fail_not_finite
        )

        # of the engine's thread
        self._due: float | None = None  # when a step must be that nothing else calls for

    # Called from event loops.

    def has_read(self, request: GenerationRequest) -> None:
        """The request's sequence may go on."""
        if request.sent - request.read == self.settings.max_unread // 2:
            self.wake()

    def current_load(self) -> Load:
        return Load(self.limits.num_slots, len(self._scheduler.sequences), len(self._slots.waiting), self.factors.p95())

    # Everything below runs in the engine's thread.

    def begin(self, request: GenerationRequest) -> None:
        state_tokens = StateTokenDecoder(self._state_ids) if self._state_ids is not None else None
        self._sequences[request] = Sequence(request, self.answers.begin(request), state_tokens)
        request.steps.begin("queue")

    def extend(self, sequence: Sequence, pieces: list[Piece]) -> None:
        sequence.extend(pieces)
        self._slots.queue(sequence)

    def respond(self, sequence: Sequence, pieces: list[Piece], at: float, only_state: bool) -> None:
        sequence.respond(pieces, at, only_state)
        if sequence.slot is not None:
            sequence.request.steps.begin("last_prefill")
        self._slots.queue(sequence)

    def free(self, request: GenerationRequest) -> None:
        sequence = self._sequences.get(request)
        if sequence is not None:
            self._remove(sequence)

    def step(self) -> bool:
        """One forward pass, after expired requests have left and waiting ones have taken their slots."""
        self._due = None
        self._end_expired()
        self._assign_slots()
        decoding, prompts = self._scheduler.decoding(), self._scheduler.prefill()
        if not decoding and (not prompts or self._wait_for_more(prompts)):
            return False
        started = time.perf_counter()
        hidden, complete = self._forward(decoding, prompts)
        if complete:
            self._continue(complete, hidden)
        elapsed = time.perf_counter() - started
        for sequence in decoding:
            sequence.decode_seconds += elapsed
        for sequence, _ in prompts:
            sequence.prefill_seconds += elapsed
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(decoding) + len(prompts))
        metrics.STEP_SECONDS.labels(SERVICE).observe(elapsed)
        if decoding:
            self.factors.observe(elapsed * SPOKEN_TOKENS)
        for sequence in complete:
            if sequence.finish_reason:
                self._finish(sequence)
            else:
                self._pause_if_unread(sequence)
        return True

    def _end_expired(self) -> None:
        now = time.monotonic()
        for request, sequence in list(self._sequences.items()):
            if request.deadline is not None and request.deadline <= now:
                self.expire(sequence)
            elif sequence.paused and request.sent - request.read <= self.settings.max_unread // 2:
                sequence.paused = False
                self._slots.queue(sequence)

    def _assign_slots(self) -> None:
        self._slots.assign()
        self._slots.arrange()

    def _wait_for_more(self, prompts: list[tuple[Sequence, int]]) -> bool:
        """Whether all there is to compute are pieces of unfinished prompts that have just come."""
        if any(sequence.responded for sequence, _ in prompts):
            return False
        due = min(sequence.pending_since for sequence, _ in prompts) + self.settings.prefill_wait_ms / 1000
        if due <= time.monotonic():
            return False
        self._due = due
        return True

    def _forward(
        self, decoding: list[Sequence], prompts: list[tuple[Sequence, int]]
    ) -> tuple[torch.Tensor, list[Sequence]]:
        """Returns (outputs [sequences, width], the sequences whose next token follows from them)."""
        chunks = [Chunk(sequence.slot, sequence.computed, count) for sequence, count in prompts]
        batch = build_batch([s.computed for s in decoding], chunks, self._device, self._dtype)
        work = [(sequence, 1) for sequence in decoding] + prompts
        ids = [max(key, 0) for s, count in work for key in s.keys[s.computed : s.computed + count]]
        embedded = self._language.get_input_embeddings()(torch.tensor(ids, device=self._device))
        complete, ends, first = [], [], 0
        for sequence, count in work:
            sequence.fill(sequence.computed, sequence.computed + count, embedded[first : first + count])
            sequence.advance(count)
            first += count
            if sequence.responded and not sequence.pending:
                complete.append(sequence)
                ends.append(first - 1)
        self._cache.begin(batch)
        output = self._language.model(
            inputs_embeds=embedded[None],
            position_ids=batch.positions,
            attention_mask={"full_attention": None},  # each sequence's own mask is in the batch
            past_key_values=self._cache,
            use_cache=True,
            slots=self._cache,
        )
        return output.last_hidden_state[0, ends], complete

    def _continue(self, sequences: list[Sequence], hidden: torch.Tensor) -> None:
        """hidden: [sequences, width], the outputs that each sequence's next token follows from."""
        sequences, hidden = self._end_not_finite(sequences, hidden)
        if sequences:
            self.answers.go_on(sequences, hidden)

    def _end_not_finite(self, sequences: list[Sequence], hidden: torch.Tensor) -> tuple[list[Sequence], torch.Tensor]:
        """Ends the sequences whose outputs are not finite. Returns the others."""
        if hidden.isfinite().all():
            return sequences, hidden
        finite = hidden.isfinite().all(-1).tolist()
        for sequence, fine in zip(sequences, finite, strict=True):
            if not fine:
                self._fail_not_finite(sequence)
        return [sequence for sequence, fine in zip(sequences, finite, strict=True) if fine], hidden[finite]

    def _fail_not_finite(self, sequence: Sequence) -> None:
        self.end(sequence, not_finite())

    def _pause_if_unread(self, sequence: Sequence) -> None:
        """A sequence whose client reads too slowly pauses."""
        request = sequence.request
        sequence.paused = request in self._sequences and request.sent - request.read >= self.settings.max_unread

    def _finish(self, sequence: Sequence) -> None:
        """The answer is complete."""
        self.answers.flush(sequence)
        seconds = time.monotonic() - sequence.arrived
        self.count(sequence.prompt_length, sequence.cached, sequence.answer.tokens, seconds)
        done = Done(
            finish_reason=sequence.finish_reason,
            text=sequence.answer.sent,
            prompt_tokens=sequence.prompt_length,
            cached_tokens=sequence.cached,
            answer_tokens=sequence.answer.tokens,
            prefill_seconds=sequence.prefill_seconds,
            decode_seconds=sequence.decode_seconds,
            first_token_seconds=sequence.first_token_seconds,
        )
        self.end(sequence, done)

    def end(self, sequence: Sequence, event: Done | Exception) -> None:
        self._remove(sequence)
        self.emit_last(sequence.request, event)

    def _remove(self, sequence: Sequence, keep: bool = True) -> None:
        """Frees what the sequence holds; its session keeps its KV."""
        del self._sequences[sequence.request]
        sequence.request.steps.end()
        self._slots.remove(sequence, keep)

    def abandon_step(self) -> list[GenerationRequest]:
        """Requests that wait for a slot are not affected."""
        sequences = self._scheduler.sequences
        for sequence in sequences:
            self._remove(sequence, keep=False)
        self._cache.store.zero_()
        return [sequence.request for sequence in sequences]

    def next_deadline(self) -> float | None:
        """Seconds until the next request's deadline, or until a piece has waited long enough."""
        moments = [request.deadline for request in self._sequences if request.deadline is not None]
        if self._due is not None:
            moments.append(self._due)
        return max(min(moments) - time.monotonic(), 0.0) if moments else None
