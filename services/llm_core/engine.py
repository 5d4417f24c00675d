"""What an engine of the LLM core is to its service: requests are opened here, whatever computes their answers.

Two engines derive from it: `torch_engine` computes in this process, `vllm_engine` has vLLM compute.
"""

from __future__ import annotations

import math

from services.engine.thread import EngineThread
from services.llm_core.limits import Limits
from services.llm_core.pieces import Piece
from services.llm_core.requests import GenerationRequest
from services.llm_core.sampler import Sampling
from services.llm_core.settings import SERVICE, LlmCoreSettings
from services.llm_core.tools import CallRules
from services.telemetry import metrics

SPOKEN_TOKENS = 4.0  # a second: what a token may take for speech not to wait for text


class LanguageEngine(EngineThread):
    """`start`, then any number of `open`s from any event loop, then `stop`.

    `max_temperature`: the highest that it samples at.
    """

    service = SERVICE
    max_temperature = math.inf
    settings: LlmCoreSettings

    def __init__(self, settings: LlmCoreSettings, limits: Limits):
        super().__init__(settings)
        self.limits = limits
        self.request_seconds = 1.0  # of a usual request, for the hint when to try again
        metrics.SLOTS.labels(SERVICE).set(limits.num_slots)

    # Implemented by an engine, beside what `EngineThread` asks for.

    def is_busy(self, request: GenerationRequest) -> bool:
        """Called from event loops: whether a live request has something to compute."""
        raise NotImplementedError

    def has_read(self, request: GenerationRequest) -> None:
        """Called on the caller's loop, which took an event."""

    # Called from event loops.

    @property
    def max_length(self) -> int:
        """Tokens of a prompt and its answer."""
        return self.limits.max_length

    def open(
        self,
        session_id: str,
        turn_id: str,
        prompt: list[Piece],
        sampling: Sampling,
        deadline: float | None = None,
        calls: CallRules | None = None,
        beginning: tuple[int, ...] = (),
    ) -> GenerationRequest:
        """A new request, whose prompt begins with `prompt`. A running request of the same turn is aborted.

        `deadline`: on the monotonic clock. `calls`: None: the answer cannot call functions. `beginning`: ids of tokens
        of an answer that goes on behind them.

        Raises `ServiceError` RESOURCE_EXHAUSTED where no more requests may wait or the prompt is longer than the
        context, and `ValueError` for a temperature that the engine does not take.
        """
        if sampling.temperature > self.max_temperature:
            raise ValueError(f"temperature is {sampling.temperature:g}; it may be {self.max_temperature:g} at most")
        request = GenerationRequest(self, session_id, turn_id, deadline, sampling, calls, beginning)
        request.check(sum(map(len, prompt)))
        slots, queued = self.limits.num_slots, self.settings.max_queued
        wait = self.request_seconds * (1 + queued / slots)
        old = self.admit(request, slots + queued, "requests", retry_after=round(min(max(wait, 0.1), 30.0), 2))
        if old is not None:
            old.post("abort")
        request.post("open")
        request.append(prompt)
        return request

    def num_busy(self) -> int:
        """Requests that have something to compute; the others need no slot."""
        return sum(map(self.is_busy, self.live.values()))

    def count_tokens(self, prompt: int, cached: int, answer: int) -> None:
        """Of a request that has its answer."""
        for kind, count in (("prompt", prompt), ("cached", cached), ("answer", answer)):
            metrics.TOKENS.labels(SERVICE, kind).inc(count)
