"""The loop that answers: continuous batching over the turns of many sessions.

Notable points:
- The thread owns the model and the KV cache. Callers post to it and read events on their own loop; see `turns.py`.
- Each step is one forward pass: a token for every answering row, and as much of waiting prompts as the budget allows.
- Rows join and leave between steps, so a turn that is cancelled is gone within one.
- A prompt is computed as its pieces arrive, long before the question ends. The last piece and the end of the question
  come close together; that they make one step and not two, a piece waits for what follows for a moment.
- When a turn ends, its session's KV is kept; the next turn starts where its prompt first differs.
- A client that does not read pauses its own row and nobody else's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import grpc
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import Qwen2ForCausalLM

from parley.config import LanguageConfig
from services.engine.thread import EngineThread
from services.llm_core.batch import Chunk, build_batch
from services.llm_core.detokenizer import Detokenizer
from services.llm_core.kv_cache import ATTENTION, RowCache, bytes_per_token
from services.llm_core.prefix_cache import PrefixStore
from services.llm_core.prompts import Piece
from services.llm_core.requests import Done, Event, Token, Turn
from services.llm_core.sampler import Sampling, sample
from services.llm_core.scheduler import Scheduler
from services.llm_core.sequences import Row
from services.llm_core.settings import LlmCoreSettings
from services.llm_core.state import Decision, TokenWalk, decide
from services.rpc.errors import ServiceError
from services.telemetry import metrics

SERVICE = "llm_core"


class Engine(EngineThread):
    """`start`, then any number of `open`s from any event loop, then `stop`."""

    service = SERVICE
    settings: LlmCoreSettings

    def __init__(
        self,
        language: Qwen2ForCausalLM,
        state_head: nn.Module | None,
        config: LanguageConfig,
        tokenizer: Tokenizer,
        stop_ids: frozenset[int],
        state_ids: Sequence[Sequence[int]] | None,
        settings: LlmCoreSettings,
    ):
        """`state_head` or `state_ids`, whichever way the model tells the state; the model is changed to read rows.

        Raises `ValueError` where the limits do not fit the model or the memory.
        """
        super().__init__(settings)
        assert (state_head is None) != (state_ids is None)
        context = config.max_position_embeddings
        self.max_length = settings.max_length or context
        if self.max_length > context:
            raise ValueError(f"max_length is {self.max_length}, but the model's context is {context} tokens")
        self._language = language.eval()
        self._language.set_attn_implementation(ATTENTION)
        self._state_head = state_head
        self._state_ids = state_ids
        self._stop_ids = stop_ids
        self._tokenizer = tokenizer
        weights = language.get_input_embeddings().weight
        self._device, self._dtype = weights.device, weights.dtype
        self._groups = config.num_heads // config.num_kv_heads
        self._prefixes = PrefixStore(self._memory_for_idle(bytes_per_token(language.config, self._dtype)))
        self._cache = RowCache(language.config, settings.max_sessions, self.max_length, self._device, self._dtype)
        self._scheduler = Scheduler(settings.max_sessions, settings.prefill_tokens)

        # of the engine's thread
        self._rows: dict[Turn, Row] = {}
        self._waiting: deque[Row] = deque()  # for a slot
        self._due: float | None = None  # when a step must be that nothing else calls for
        self._turn_seconds = 1.0  # of a usual turn, for the hint when to try again

    # Called from event loops.

    def open(
        self,
        session_id: str,
        turn_id: str,
        prompt: list[Piece],
        sampling: Sampling,
        deadline: float | None = None,
    ) -> Turn:
        """A new turn, whose prompt begins with `prompt`. A turn of the same session that still runs is aborted.

        `deadline`: on the monotonic clock. Raises `ServiceError` RESOURCE_EXHAUSTED where no more turns may wait or
        the prompt is longer than the context.
        """
        turn = Turn(self, session_id, turn_id, deadline, sampling)
        turn.check(prompt)
        settings = self.settings
        wait = self._turn_seconds * (1 + settings.max_queued / settings.max_sessions)
        limit = settings.max_sessions + settings.max_queued
        old = self.admit(turn, limit, "turns", retry_after=round(min(max(wait, 0.1), 30.0), 2))
        if old is not None:
            old.post("abort", turn_id)
        turn.post("open", prompt)
        return turn

    def has_read(self, turn: Turn) -> None:
        """The caller of a turn took an event; its row may go on."""
        if turn.sent - turn.read == self.settings.max_unread // 2:
            self.wake()

    # Everything below runs in the engine's thread.

    def apply(self, kind: str, turn: Turn, content: object) -> None:
        if kind == "open":
            walk = TokenWalk(self._state_ids) if self._state_ids is not None else None
            row = self._rows[turn] = Row(turn, Detokenizer(self._tokenizer), walk)
            self._waiting.append(row)
            row.extend(content)
            return
        row = self._rows.get(turn)
        if row is None:  # it has ended; what was on its way is of no use
            return
        if kind == "append":
            row.extend(content)
        elif kind == "respond":
            row.respond(*content)
        else:
            message = f"turn {content!r} of the same session has begun"
            self._end(row, ServiceError(grpc.StatusCode.ABORTED, message))

    def free(self, turn: Turn) -> None:
        row = self._rows.get(turn)
        if row is not None:
            self._leave(row)

    def _expire(self) -> None:
        now = time.monotonic()
        for row in list(self._rows.values()):
            if row.turn.deadline is not None and row.turn.deadline <= now:
                self._end(row, ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, "the turn's deadline has passed"))
            elif row.paused and row.turn.sent - row.turn.read <= self.settings.max_unread // 2:
                row.paused = False

    def _place(self) -> None:
        """Gives free slots to waiting turns, with what their sessions kept."""
        while self._waiting and (slot := self._scheduler.free_slot()) is not None:
            row = self._waiting.popleft()
            self._scheduler.place(row, slot)
            kept = self._prefixes.take(row.turn.session_id)
            if kept is not None:
                keys, saved = kept
                self._cache.load(slot, saved)
                row.keep(keys)
        for row in self._scheduler.rows:
            row.reuse()
        metrics.QUEUE.labels(SERVICE).set(len(self._waiting))
        metrics.SESSIONS.labels(SERVICE).set(len(self._scheduler.rows))

    def step(self) -> bool:
        """One forward pass, after those whose time is up have left and others have taken their slots."""
        self._due = None
        self._expire()
        self._place()
        for a, b, length in self._scheduler.arrange():
            self._cache.swap(a, b, length)
        answering, prompts = self._scheduler.answering(), self._scheduler.chunks()
        if not answering and (not prompts or self._early(prompts)):
            return False
        started = time.perf_counter()
        hidden, rows = self._compute(answering, prompts)
        if rows:
            self._answer(rows, hidden)
        elapsed = time.perf_counter() - started
        for row in answering:
            row.decode_seconds += elapsed
        for row, _ in prompts:
            row.prefill_seconds += elapsed
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(answering) + len(prompts))
        metrics.STEP_SECONDS.labels(SERVICE).observe(elapsed)
        for row in rows:
            if row.turn in self._rows:
                self._report(row)
        return True

    def _early(self, prompts: list[tuple[Row, int]]) -> bool:
        """Only pieces of questions that go on are to be computed, and all of them have just come."""
        if any(row.responded for row, _ in prompts):
            return False
        due = min(row.pending_since for row, _ in prompts) + self.settings.prefill_wait_ms / 1000
        if due <= time.monotonic():
            return False
        self._due = due
        return True

    def _compute(self, answering: list[Row], prompts: list[tuple[Row, int]]) -> tuple[torch.Tensor, list[Row]]:
        """The forward pass. Returns (outputs [rows, width], the rows whose next token follows from them)."""
        chunks = [Chunk(row.slot, row.computed, count) for row, count in prompts]
        batch = build_batch([row.computed for row in answering], chunks, self._groups, self._device, self._dtype)
        work = [(row, 1) for row in answering] + prompts
        ids = [max(key, 0) for row, count in work for key in row.keys[row.computed : row.computed + count]]
        embedded = self._language.get_input_embeddings()(torch.tensor(ids, device=self._device))
        rows, ends, first = [], [], 0
        for row, count in work:
            row.fill(row.computed, row.computed + count, embedded[first : first + count])
            row.advance(count)
            first += count
            if row.responded and not row.pending:
                rows.append(row)
                ends.append(first - 1)
        self._cache.begin(batch)
        output = self._language.model(
            inputs_embeds=embedded[None],
            position_ids=batch.positions,
            attention_mask={"full_attention": None},  # each row's own mask is in the batch
            past_key_values=self._cache,
            use_cache=True,
            rows=self._cache,
        )
        return output.last_hidden_state[0, ends], rows

    def _answer(self, rows: list[Row], hidden: torch.Tensor) -> None:
        """hidden: [rows, width], the outputs that each row's next token follows from."""
        if not hidden.isfinite().all():
            sound = hidden.isfinite().all(-1).tolist()
            message = "the prompt's vectors drive the model out of its number format; they are not of this model"
            for row, fine in zip(rows, sound, strict=True):
                if not fine:
                    self._end(row, ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message))
            hidden = hidden[sound]
            rows = [row for row, fine in zip(rows, sound, strict=True) if fine]
            if not rows:
                return
        logits = self._language.lm_head(hidden)
        drawing = []
        for index, row in enumerate(rows):
            row.answering = True
            if row.decided or self._decide(row, hidden[index], logits[index]):
                drawing.append(index)
        if not drawing:
            return
        chosen = rows if len(drawing) == len(rows) else [rows[index] for index in drawing]
        scores = logits if len(drawing) == len(rows) else logits[drawing]
        for row, token in zip(chosen, sample(scores, [row.draw for row in chosen]), strict=True):
            self._token(row, token)

    def _decide(self, row: Row, hidden: torch.Tensor, logits: torch.Tensor) -> bool:
        """Reads the state. Returns whether the row's first token may be drawn from `logits` now."""
        if row.walk is None:
            decision: Decision | None = decide(self._state_head(hidden))
        else:
            token, decision = row.walk.step(logits)
            row.keys.append(token)
        if decision is not None:
            row.decided = True
            self._emit(row, decision)
            if decision.nothing:
                self._done(row, "nothing")
                return False
        if row.walk is not None and len(row.keys) >= self.max_length:
            self._done(row, "length")
        return row.walk is None

    def _token(self, row: Row, token: int) -> None:
        if not row.first_token_seconds:
            row.first_token_seconds = time.monotonic() - row.responded_at
            metrics.FIRST_TOKEN_SECONDS.labels(SERVICE).observe(row.first_token_seconds)
        if token in self._stop_ids:
            self._give(row, row.stop.flush())
            self._done(row, "stop")
            return
        row.keys.append(token)
        row.answer_tokens += 1
        tokens, stopped = row.stop.push(token, row.detokenizer.push(token))
        self._give(row, tokens)
        limit = min(row.turn.sampling.max_tokens or self.settings.max_tokens, self.settings.max_tokens)
        if stopped:
            self._done(row, "stop")
        elif row.answer_tokens >= limit or len(row.keys) >= self.max_length:
            self._give(row, row.stop.flush())
            self._done(row, "length")

    def _give(self, row: Row, tokens: list[tuple[int, str]]) -> None:
        for token, text in tokens:
            row.answer.append(text)
            self._emit(row, Token(token, text))

    def _report(self, row: Row) -> None:
        """A row whose client reads too slowly pauses."""
        row.paused = row.turn.sent - row.turn.read >= self.settings.max_unread

    def _done(self, row: Row, reason) -> None:
        for kind, count in (
            ("prompt", row.prompt_length),
            ("cached", row.cached),
            ("answer", row.answer_tokens),
        ):
            metrics.TOKENS.labels(SERVICE, kind).inc(count)
        self._turn_seconds += 0.1 * (time.monotonic() - row.arrived - self._turn_seconds)
        done = Done(
            reason=reason,
            text="".join(row.answer),
            prompt_tokens=row.prompt_length,
            cached_tokens=row.cached,
            answer_tokens=row.answer_tokens,
            prefill_seconds=row.prefill_seconds,
            decode_seconds=row.decode_seconds,
            first_token_seconds=row.first_token_seconds,
        )
        self._end(row, done)

    def _end(self, row: Row, event: Done | Exception) -> None:
        """The row leaves, its caller gets `event`."""
        self._leave(row)
        self.emit_last(row.turn, event)

    def _leave(self, row: Row, keep: bool = True) -> None:
        """Frees what the row holds; its session keeps its KV."""
        del self._rows[row.turn]
        if row.slot is None:
            self._waiting.remove(row)
            return
        slot, held = row.slot, row.held
        self._scheduler.remove(row)
        if not self._cache.store[:, :, slot, :, :held].isfinite().all():
            self._cache.clear(slot)  # it must not reach the row that comes after
        elif keep and held and row.turn.session_id:
            size = held * bytes_per_token(self._language.config, self._dtype)
            if self._prefixes.room_for(size):
                self._prefixes.put(row.turn.session_id, row.held_keys(), self._cache.save(slot, held))
        metrics.CACHE_BYTES.labels(SERVICE).set(self._cache.store.nbytes + self._prefixes.bytes)

    def _emit(self, row: Row, event: Event) -> None:
        row.turn.sent += 1
        self.emit(row.turn, event)

    def abandon_step(self) -> list[Turn]:
        """Those who wait for a slot and those to come go on."""
        rows = self._scheduler.rows
        for row in rows:
            self._leave(row, keep=False)
        self._cache.store.zero_()
        return [row.turn for row in rows]

    def next_deadline(self) -> float | None:
        """Seconds until the next deadline, or until a piece has waited long enough."""
        moments = [row.turn.deadline for row in self._rows.values() if row.turn.deadline is not None]
        if self._due is not None:
            moments.append(self._due)
        return max(min(moments) - time.monotonic(), 0.0) if moments else None

    def _memory_for_idle(self, token_bytes: int) -> int:
        limit = self.settings.kv_memory_mb << 20
        live = self.settings.max_sessions * self.max_length * token_bytes
        if live > limit:
            raise ValueError(
                f"{self.settings.max_sessions} rows of {self.max_length} tokens need {live >> 20} MiB of KV cache, the "
                f"limit is {self.settings.kv_memory_mb} MiB: raise kv_memory_mb or lower max_sessions or max_length"
            )
        return limit - live
