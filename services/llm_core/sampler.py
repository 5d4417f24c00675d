"""From logits to the next token: greedy, or temperature, top-k and top-p with a seed of its own.

Each request has its own random generator and takes one number a token, so its answer does not depend on the batch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

MAX_STOPS = 8
MAX_STOP_LENGTH = 64  # characters


@dataclass(frozen=True)
class Sampling:
    """How one answer is drawn. `temperature` 0: greedy; `top_p` and `top_k` 0: off; `max_tokens` 0: service's limit."""

    temperature: float = 0.0
    top_p: float = 0.0
    top_k: int = 0
    seed: int = 0
    max_tokens: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self):
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 100):
            raise ValueError(f"temperature is {self.temperature:g}; it must lie between 0 and 100")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p:g}; it must lie between 0 (off) and 1")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; it must be 0 (off) or more")
        if self.max_tokens < 0:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be 0 (the service's limit) or more")
        if len(self.stop) > MAX_STOPS:
            raise ValueError(f"{len(self.stop)} stop strings; at most {MAX_STOPS} are possible")
        for stop in self.stop:
            if not 0 < len(stop) <= MAX_STOP_LENGTH:
                raise ValueError(f"a stop string has {len(stop)} characters; it must have 1 to {MAX_STOP_LENGTH}")


class SamplerState:
    """One request's sampling and its stream of random numbers."""

    def __init__(self, sampling: Sampling):
        self.sampling = sampling
        self._random = random.Random(sampling.seed)

    @property
    def greedy(self) -> bool:
        return self.sampling.temperature == 0

    def uniform(self) -> float:
        return self._random.random()

    def skip(self, count: int) -> None:
        """So many tokens were sampled before."""
        for _ in range(count):
            self.uniform()


def sample(logits: torch.Tensor, states: Sequence[SamplerState]) -> list[int]:
    """The next token of each sequence. logits: [sequences, vocabulary]; one random number each that is not greedy."""
    tokens = logits.argmax(-1)
    drawn = [index for index, state in enumerate(states) if not state.greedy]
    if drawn:
        tokens[drawn] = _draw(logits[drawn].float(), [states[index] for index in drawn])
    return tokens.tolist()


def _draw(logits: torch.Tensor, states: Sequence[SamplerState]) -> torch.Tensor:
    """Inverse of the cumulative distribution over tokens from likely to unlikely. Returns [sequences]."""
    size = logits.shape[-1]

    def column(values):
        return torch.tensor(values, device=logits.device, dtype=torch.float64)[:, None]

    temperature = column([state.sampling.temperature for state in states])
    top_k = column([state.sampling.top_k or size for state in states])
    top_p = column([state.sampling.top_p or 1.0 for state in states])
    uniform = column([state.uniform() for state in states])
    # float64, so that a low temperature or a long tail loses nothing
    ordered, order = (logits.double() / temperature).sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(-1) * (torch.arange(size, device=logits.device) < top_k)
    probabilities /= probabilities.sum(-1, keepdim=True)
    before = probabilities.cumsum(-1) - probabilities
    probabilities *= before < top_p  # the token that exceeds top_p is kept
    cumulative = probabilities.cumsum(-1)
    index = (cumulative <= uniform * cumulative[:, -1:]).sum(-1, keepdim=True).clamp_(max=size - 1)
    return order.gather(-1, index)[:, 0]
