"""What an engine of the LLM core is to its service: requests are opened here, whatever computes their answers.

Two engines derive from it: `torch_engine` computes in this process, `vllm_backend` has vLLM compute. Each has a
sequence for every request, of a class of its own with `has_work`: whether there is something to compute.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

import grpc

from services.engine.thread import EngineThread
from services.llm_core.limits import Limits
from services.llm_core.pieces import Piece
from services.llm_core.requests import Done, GenerationRequest
from services.llm_core.sampler import Sampling
from services.llm_core.settings import SERVICE, LlmCoreSettings
from services.llm_core.tools import CallRules
from services.rpc.errors import ServiceError
from services.telemetry import metrics

S = TypeVar("S")

SPOKEN_TOKENS = 4.0  # a second: what a token may take for speech not to wait for text


class LanguageEngine(EngineThread, Generic[S]):
    """`start`, then any number of `open`s from any event loop, then `stop`.

    `max_temperature`: the highest that it samples at.
    """

    service = SERVICE
    max_temperature = math.inf
    settings: LlmCoreSettings

    def __init__(self, settings: LlmCoreSettings, limits: Limits):
        super().__init__(settings)
        self.limits = limits
        self._sequences: dict[GenerationRequest, S] = {}  # of the engine's thread
        self._request_seconds = 1.0  # of a usual request, for the hint when to try again
        metrics.SLOTS.labels(SERVICE).set(limits.num_slots)

    # Implemented by an engine, beside `free`, `current_load` and what computes. In its thread, but for `has_read`.

    def begin(self, request: GenerationRequest) -> None:
        """A new request: puts its sequence into `self._sequences`."""
        raise NotImplementedError

    def extend(self, sequence: S, pieces: list[Piece]) -> None:
        """More of a prompt has come."""
        raise NotImplementedError

    def respond(self, sequence: S, pieces: list[Piece], at: float, only_state: bool) -> None:
        """The last of a prompt has come; see `GenerationRequest.respond`."""
        raise NotImplementedError

    def end(self, sequence: S, event: Done | Exception) -> None:
        """Removes a sequence; its caller gets `event`."""
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
        wait = self._request_seconds * (1 + queued / slots)
        old = self.admit(request, slots + queued, "requests", retry_after=round(min(max(wait, 0.1), 30.0), 2))
        if old is not None:
            old.post("abort")
        request.post("open")
        request.append(prompt)
        return request

    def num_busy(self) -> int:
        """Requests that have something to compute; the others need no slot."""
        return sum(map(self._is_busy, self.live.values()))

    def _is_busy(self, request: GenerationRequest) -> bool:
        sequence = self._sequences.get(request)
        return sequence is None or sequence.has_work or request.posted != request.applied

    # Everything below runs in the engine's thread.

    def apply(self, kind: str, request: GenerationRequest, content: object) -> None:
        if kind == "open":
            return self.begin(request)
        sequence = self._sequences.get(request)
        if sequence is None:  # it has ended; later commands have no effect
            return
        if kind == "append":
            self.extend(sequence, content)
        elif kind == "respond":
            self.respond(sequence, *content)
        else:
            message = f"another request of turn {request.turn_id!r} has begun"
            self.end(sequence, ServiceError(grpc.StatusCode.ABORTED, message))

    def expire(self, sequence: S) -> None:
        """Its deadline has passed."""
        self.end(sequence, ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, "the request's deadline has passed"))

    def count(self, prompt: int, cached: int, answer: int, seconds: float) -> None:
        """The tokens of a request that has its answer, and how long it took."""
        self._request_seconds += 0.1 * (seconds - self._request_seconds)
        for kind, count in (("prompt", prompt), ("cached", cached), ("answer", answer)):
            metrics.TOKENS.labels(SERVICE, kind).inc(count)


def not_finite() -> ServiceError:
    """For a request of which something that was computed is not finite."""
    message = "the prompt's embeddings exceed the model's number format; they were made by another model"
    return ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
