"""What is being asked: speech, text or nothing. Read at the position that opens the answer, before any token.

A model states it with a classifier on its hidden state, or with the first token of its answer. A state token may be
several ids long: the decoder below chooses among the ids that some state has at this position. Beside a classifier a
model may have one more, which tells from the same hidden state whether a spoken question is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from parley.config import STATES

NOTHING = STATES.index("nothing")


@dataclass(frozen=True)
class Decision:
    """A state as its place in `STATES`, and the probability of each."""

    state: int
    probabilities: tuple[float, ...]
    complete: float | None = None  # probability that a spoken question is complete; None: the model cannot tell

    @property
    def nothing(self) -> bool:
        return self.state == NOTHING


def decide(logits: torch.Tensor, complete: torch.Tensor | None = None) -> Decision:
    """From the state head's logits [3] and the end-of-turn head's logit [1]; None: the model has no such head."""
    probabilities = tuple(logits.float().softmax(0).tolist())
    state = max(range(len(STATES)), key=probabilities.__getitem__)
    return Decision(state, probabilities, None if complete is None else float(complete.float().sigmoid()))


class StateTokenDecoder:
    """Decodes a state token, for a model that states its state with one. Only state tokens are considered."""

    def __init__(self, tokens: Sequence[Sequence[int]]):
        """`tokens`: the ids of each state's token, in the order of `STATES`."""
        self._tokens = tokens
        self._possible = list(range(len(tokens)))  # states that begin with the ids chosen so far
        self._position = 0
        self.probabilities = [1.0] * len(tokens)

    @property
    def ids(self) -> list[int]:
        """The ids that may come next."""
        return list(self._by_id())

    def step(self, logits: torch.Tensor) -> tuple[int, Decision | None]:
        """logits: [ids], of `ids`. Returns (the next id, the decision once a state token is complete)."""
        by_id = self._by_id()
        shares = logits.float().softmax(0).tolist()
        for states, share in zip(by_id.values(), shares, strict=True):
            for state in states:
                self.probabilities[state] *= share
        chosen, self._possible = max(by_id.items(), key=lambda choice: self.probabilities[choice[1][0]])
        self._position += 1
        for state in self._possible:
            if len(self._tokens[state]) == self._position:
                return chosen, Decision(state, tuple(self.probabilities))
        return chosen, None

    def _by_id(self) -> dict[int, list[int]]:
        """The states that are possible with each id that may come next."""
        by_id: dict[int, list[int]] = {}
        for state in self._possible:
            by_id.setdefault(self._tokens[state][self._position], []).append(state)
        return by_id
