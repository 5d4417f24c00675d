"""Which sequences compute what in the next step.

Notable points:
- Every sequence that is decoding gets its next token in every step; prompts share a budget of tokens beside them.
- Prompts that are complete come first, then those that still arrive.
- Within a class the budget is shared evenly, so a long prompt neither delays short ones nor waits for them.
- Decoding sequences must be in slots 0, 1, 2 …: `arrange` says which slots to exchange for that, about once a request.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.llm_core.sequences import Sequence


class Scheduler:
    def __init__(self, num_slots: int, prefill_tokens: int):
        self.slots: list[Sequence | None] = [None] * num_slots
        self.prefill_tokens = prefill_tokens

    @property
    def sequences(self) -> list[Sequence]:
        return [sequence for sequence in self.slots if sequence is not None]

    def free_slot(self) -> int | None:
        """The last free one, since decoding sequences are at the front."""
        for slot in reversed(range(len(self.slots))):
            if self.slots[slot] is None:
                return slot
        return None

    def idle(self) -> list[Sequence]:
        """Those that have nothing to compute now, the one for which that is longest so first."""
        return sorted((each for each in self.sequences if not each.has_work), key=lambda each: each.pending_since)

    def place(self, sequence: Sequence, slot: int) -> None:
        assert self.slots[slot] is None
        self.slots[slot] = sequence
        sequence.slot = slot

    def remove(self, sequence: Sequence) -> None:
        self.slots[sequence.slot] = None
        sequence.slot = None

    def arrange(self) -> Iterable[tuple[int, int, int]]:
        """Moves the decoding sequences to the front: yields (slot, slot, positions to exchange), as it does so."""
        front = 0
        for slot, sequence in enumerate(self.slots):
            if sequence is None or not sequence.decoding or sequence.paused:
                continue
            if slot != front:
                other = self.slots[front]
                self.slots[front], self.slots[slot] = sequence, other
                sequence.slot = front
                if other is not None:
                    other.slot = slot
                yield front, slot, max(sequence.held, other.held if other is not None else 0)
            front += 1

    def decoding(self) -> list[Sequence]:
        """The sequences that get a token now, in the order of their slots. After `arrange` these are 0, 1, 2 …"""
        return [sequence for sequence in self.sequences if sequence.decoding and not sequence.paused]

    def prefill(self) -> list[tuple[Sequence, int]]:
        """(sequence, tokens of its prompt to compute now), within the budget."""
        waiting = [sequence for sequence in self.sequences if not sequence.decoding and sequence.pending]
        budget = self.prefill_tokens
        chosen = []
        for complete in (True, False):
            shares = share_evenly([sequence for sequence in waiting if sequence.responded is complete], budget)
            budget -= sum(count for _, count in shares)
            chosen += shares
        return chosen


def share_evenly(sequences: list[Sequence], budget: int) -> list[tuple[Sequence, int]]:
    """Tokens for each sequence: all that are pending, or an equal share of what is left by those with fewer."""
    chosen = []
    shortest_first = sorted(sequences, key=lambda sequence: (sequence.pending, sequence.arrived))
    for left, sequence in zip(range(len(sequences), 0, -1), shortest_first, strict=True):
        # rounded up, so that a budget smaller than the number of sequences still advances some of them
        count = min(sequence.pending, -(-budget // left), budget)
        if count:
            chosen.append((sequence, count))
        budget -= count
    return chosen
