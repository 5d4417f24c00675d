"""The engine whose answers vLLM computes.

Notable points:
- vLLM's engine is a process of its own; `AsyncLLM` talks to it from an event loop in this engine's thread.
- While a question is asked, its prompt so far is computed as a request of one token: that fills vLLM's prefix cache, so
  that the end of the question costs its last piece alone. vLLM takes no embeddings on prompts that grow.
- The state is read from the logits of a request of one token, before the answer is sampled: `model_folder.py`.
- What is cancelled is gone after vLLM's current step. Its whole blocks stay in the prefix cache.
- A client that does not read stops nothing: what is generated for it is bounded by the answer's length.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn

os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would tell its makers of each start
os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")  # the other takes other logits processors
from vllm import AsyncEngineArgs, RequestOutput, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from parley.config import LanguageConfig
from services.engine.load import Load
from services.engine.settings import AUTO
from services.engine.thread import Request
from services.llm_core.answer_text import AnswerFormat, AnswerText
from services.llm_core.engine import SPOKEN_TOKENS, LanguageEngine, not_finite
from services.llm_core.limits import MIN_ENCODER_CACHE, Limits
from services.llm_core.pieces import Piece
from services.llm_core.requests import Event, FinishReason, GenerationRequest
from services.llm_core.settings import SERVICE, LlmCoreSettings
from services.llm_core.state import Decision, StateTokenDecoder, decide
from services.llm_core.vllm_backend.parameters import answering, engine_arguments, reading
from services.llm_core.vllm_backend.sequence import Sequence
from services.telemetry import metrics

ENCODER_CACHE_MB = 1024


class VllmEngine(LanguageEngine[Sequence]):
    """`llm`: vLLM's own engine."""

    max_temperature = 2.0

    def __init__(
        self,
        folder: Path,
        heads: list[nn.Linear],
        config: LanguageConfig,
        answer_format: AnswerFormat,
        state_ids: tuple[list[int], ...] | None,
        settings: LlmCoreSettings,
    ):
        """Starts vLLM, which takes a minute.

        Args:
            folder: what `model_folder` has written; needed for the start only.
            heads: the state head and the end-of-turn head, as far as the model has them; rows of the output head.
            state_ids: of a model that has no state head.

        Raises `ValueError` where the settings do not fit the model or the memory.
        """
        assert bool(heads) != (state_ids is not None)
        size = config.vocab_size
        self._biases = torch.cat([head.bias.detach().float().cpu() for head in heads]) if heads else None
        self._head_ids = list(range(size, size + len(self._biases))) if heads else []
        try:
            arguments = AsyncEngineArgs(**engine_arguments(folder, settings))
            with ThreadPoolExecutor(1) as thread:  # it would bind itself to an event loop that runs here
                self.llm = thread.submit(AsyncLLM.from_engine_args, arguments).result()
        except (RuntimeError, TypeError) as error:  # of its process; of arguments that it does not know
            raise ValueError(f"vLLM does not start: {error}") from None
        super().__init__(settings, self._limits(settings))
        self._format, self._state_ids = answer_format, state_ids
        self._block = self.llm.vllm_config.cache_config.block_size

        # of the engine's thread
        self.loop: asyncio.AbstractEventLoop | None = None
        self._awake = asyncio.Event()
        self._number = 0  # of vLLM's requests
        self._flushing = False  # soon
        self._death: EngineDeadError | None = None

    def _limits(self, settings: LlmCoreSettings) -> Limits:
        config = self.llm.vllm_config
        cache = ENCODER_CACHE_MB if settings.encoder_cache_mb == AUTO else settings.encoder_cache_mb
        return Limits(
            num_slots=config.scheduler_config.max_num_seqs,
            max_length=config.model_config.max_model_len,
            live_bytes=config.cache_config.kv_cache_memory_bytes or 0,
            idle_bytes=0,
            prefill_tokens=config.scheduler_config.max_num_batched_tokens,
            encoder_cache_bytes=max(cache << 20, MIN_ENCODER_CACHE),
        )

    # Called from event loops, or any thread.

    def current_load(self) -> Load:
        used = sum(sequence.has_work for sequence in list(self._sequences.values()))
        slots = self.limits.num_slots
        return Load(slots, min(used, slots), max(used - slots, 0), self.factors.p95())

    def reachable(self) -> bool:
        return not self.llm.errored

    def shut_down(self) -> None:
        self.llm.shutdown()

    def _notify(self) -> None:
        super()._notify()
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._awake.set)

    # Everything below runs in the engine's thread.

    def _serve(self) -> None:
        asyncio.run(self._apply_commands())

    async def _apply_commands(self) -> None:
        self.loop = asyncio.get_running_loop()
        try:
            while True:
                self._awake.clear()
                with self._lock:
                    if self._stopping:
                        return
                    count = len(self._commands)
                for _ in range(count):
                    self._handle(*self._commands.popleft())
                if self._outgoing:
                    self.flush()
                if self._death is not None:
                    raise self._death
                if not count:
                    await self._awake.wait()
                else:
                    await asyncio.sleep(0)
        finally:
            self.loop = None
            for sequence in self._sequences.values():
                sequence.cancel()

    def begin(self, request: GenerationRequest) -> None:
        state_tokens = None if self._state_ids is None else StateTokenDecoder(self._state_ids)
        answer = AnswerText(request, self._format, self.settings.max_tokens)
        self._sequences[request] = sequence = Sequence(request, answer, state_tokens)
        if request.deadline is not None:
            sequence.timer = self.loop.call_at(request.deadline, self.expire, sequence)

    def extend(self, sequence: Sequence, pieces: list[Piece]) -> None:
        sequence.extend(pieces)
        if not sequence.has_work and len(sequence.keys) - sequence.filled >= self._block:
            self._compute(sequence, self._fill)

    def respond(self, sequence: Sequence, pieces: list[Piece], at: float, only_state: bool) -> None:
        sequence.respond(pieces, at, only_state)
        if sequence.task is not None:
            sequence.task.cancel()
        sequence.request.steps.begin("last_prefill")
        self._compute(sequence, self._answer)

    def free(self, request: Request) -> None:
        if (sequence := self._sequences.pop(request, None)) is not None:
            request.steps.end()
            sequence.cancel()

    def _compute(self, sequence: Sequence, work: Callable[[Sequence], Awaitable[None]]) -> None:
        """Computes for a sequence; what goes wrong ends it."""

        async def running() -> None:
            try:
                await work(sequence)
            except EngineDeadError as error:
                self._death = error
                self._awake.set()
            except Exception as error:
                self.end(sequence, error)
            finally:
                if sequence.task is task:
                    sequence.task = None

        sequence.task = task = self.loop.create_task(running())

    async def _fill(self, sequence: Sequence) -> None:
        """Has the prompt so far computed into the prefix cache, as long as it grows by blocks."""
        while len(sequence.keys) - sequence.filled >= self._block:
            length = len(sequence.keys)
            async for _ in self._generate(sequence, reading([])):
                pass
            sequence.filled = length

    async def _answer(self, sequence: Sequence) -> None:
        decision = await self._decide(sequence)
        sequence.decided_at = time.monotonic()
        self._send(sequence, decision)
        if sequence.only_state or decision.nothing:
            return self._finish(sequence, "stop" if sequence.only_state else "nothing")
        sequence.request.steps.begin("decode")
        sequence.answer.limit = min(sequence.answer.limit, self.max_length - len(sequence.keys))
        if sequence.answer.limit <= 0:
            sequence.answer.finish_reason = "length"
        for token in sequence.request.forced:
            if sequence.answer.finish_reason is None:
                self._add(sequence, token)
        if sequence.answer.finish_reason is None:
            await self._sample(sequence)
        self._send(sequence, *sequence.answer.flush())
        return self._finish(sequence, sequence.answer.finish_reason or "stop")

    async def _decide(self, sequence: Sequence) -> Decision:
        """Reads the state."""
        if sequence.state_tokens is None:
            logits = await self._logits(sequence, self._head_ids) + self._biases
            return decide(logits[:3], logits[3:] if len(logits) > 3 else None)
        while True:
            ids = sequence.state_tokens.ids
            token, decision = sequence.state_tokens.step(await self._logits(sequence, ids, ids))
            sequence.keys.append(token)
            if decision is not None:
                return decision

    async def _logits(self, sequence: Sequence, ids: list[int], allowed: list[int] | None = None) -> torch.Tensor:
        """[ids], of the next token. Raises INVALID_ARGUMENT where they are not finite."""
        async for output in self._generate(sequence, reading(ids, allowed)):
            found = output.outputs[0].logprobs[0]
        logits = torch.tensor([found[number].logprob for number in ids])
        if not logits.isfinite().all():
            raise not_finite()
        return logits

    async def _sample(self, sequence: Sequence) -> None:
        answer, before = sequence.answer, time.monotonic()
        parameters = answering(
            sequence.request.sampling, first=not answer.tokens, given=answer.tokens,
            max_tokens=answer.limit - answer.tokens, stop_ids=self._format.stop_ids,
        )  # fmt: skip
        async with contextlib.aclosing(self._generate(sequence, parameters)) as outputs:
            async for output in outputs:
                tokens, now = output.outputs[0].token_ids, time.monotonic()
                for token in tokens:
                    self.factors.observe((now - before) / len(tokens) * SPOKEN_TOKENS)
                    if answer.finish_reason is None:
                        self._add(sequence, token)
                before = now
                if answer.finish_reason is not None:
                    return

    def _add(self, sequence: Sequence, token: int) -> None:
        """A token of the answer."""
        if not sequence.first_token_seconds:
            sequence.first_token_seconds = time.monotonic() - sequence.responded_at
            metrics.FIRST_TOKEN_SECONDS.labels(SERVICE).observe(sequence.first_token_seconds, sequence.request.exemplar)
        sequence.keys.append(token)
        self._send(sequence, *sequence.answer.add(token))

    async def _generate(self, sequence: Sequence, parameters: SamplingParams) -> AsyncIterator[RequestOutput]:
        """What vLLM generates behind the prompt so far. A caller that leaves early, or is cancelled, ends it there."""
        self._number += 1
        outputs = self.llm.generate(sequence.prompt(), parameters, str(self._number))
        async with contextlib.aclosing(outputs):
            async for output in outputs:
                if sequence.cached is None:
                    sequence.cached = output.num_cached_tokens or 0
                yield output
        if output.metrics is not None:
            self.took(sequence.request, max(output.metrics.scheduled_ts - output.metrics.queued_ts, 0.0))

    def _send(self, sequence: Sequence, *events: Event) -> None:
        for event in events:
            sequence.request.sent += 1
            self.emit(sequence.request, event)
        self._flush_soon()

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        seconds = time.monotonic() - sequence.arrived
        self.count(sequence.prompt_length, sequence.cached or 0, sequence.answer.tokens, seconds)
        self.end(sequence, sequence.done(reason))

    def end(self, sequence: Sequence, event: Event | Exception) -> None:
        if self._sequences.pop(sequence.request, None) is None:
            return
        sequence.request.steps.end()
        if sequence.task is not asyncio.current_task():
            sequence.cancel()
        elif sequence.timer is not None:
            sequence.timer.cancel()
        self.emit_last(sequence.request, event)
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Once for all that vLLM has told in this round of the loop."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self.flush()
