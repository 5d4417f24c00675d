"""What is being asked: speech, text or nothing. Read at the position that opens the answer, before any token.

A model says it with a classifier on its hidden state, or with the first token of its answer. A state token may be
several ids long: the walk below follows the ids that some state has at this place, and takes the likeliest branch.
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

    @property
    def nothing(self) -> bool:
        return self.state == NOTHING


def decide(logits: torch.Tensor) -> Decision:
    """From the state head's logits [3]."""
    probabilities = tuple(logits.float().softmax(0).tolist())
    return Decision(max(range(len(STATES)), key=probabilities.__getitem__), probabilities)


class TokenWalk:
    """The state tokens that can still come, for a model that says its state with them."""

    def __init__(self, sequences: Sequence[Sequence[int]]):
        """`sequences`: the ids of each state's token, in the order of `STATES`."""
        self._sequences = sequences
        self._open = list(range(len(sequences)))
        self._depth = 0
        self.probabilities = [1.0] * len(sequences)

    def step(self, logits: torch.Tensor) -> tuple[int, Decision | None]:
        """logits: [vocabulary]. Returns (the id that comes now, the decision once a state token is complete)."""
        branches: dict[int, list[int]] = {}
        for state in self._open:
            branches.setdefault(self._sequences[state][self._depth], []).append(state)
        shares = logits[list(branches)].float().softmax(0).tolist()
        for states, share in zip(branches.values(), shares, strict=True):
            for state in states:
                self.probabilities[state] *= share
        token, self._open = max(branches.items(), key=lambda branch: self.probabilities[branch[1][0]])
        self._depth += 1
        for state in self._open:
            if len(self._sequences[state]) == self._depth:
                return token, Decision(state, tuple(self.probabilities))
        return token, None
