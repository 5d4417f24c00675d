"""Which rows compute what in the next step.

Notable points:
- Every row that writes its answer gets its next token in every step; prompts share a budget of tokens beside them.
- Prompts whose question is complete come first, then those that are still being spoken.
- Within a class the budget is shared evenly, so a long prompt neither blocks short ones nor starves behind them.
- Answering rows must lie in slots 0, 1, 2 …: `arrange` says which slots to exchange for that, once a turn or so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.llm_core.sequences import Row


class Scheduler:
    def __init__(self, num_slots: int, prefill_tokens: int):
        self.slots: list[Row | None] = [None] * num_slots
        self.prefill_tokens = prefill_tokens

    @property
    def rows(self) -> list[Row]:
        return [row for row in self.slots if row is not None]

    def free_slot(self) -> int | None:
        """The last free one: answering rows gather at the front."""
        for slot in reversed(range(len(self.slots))):
            if self.slots[slot] is None:
                return slot
        return None

    def place(self, row: Row, slot: int) -> None:
        assert self.slots[slot] is None
        self.slots[slot] = row
        row.slot = slot

    def remove(self, row: Row) -> None:
        self.slots[row.slot] = None
        row.slot = None

    def arrange(self) -> Iterable[tuple[int, int, int]]:
        """Brings the rows that answer now to the front: yields (slot, slot, positions to exchange), as it does so."""
        front = 0
        for slot, row in enumerate(self.slots):
            if row is None or not row.answering or row.paused:
                continue
            if slot != front:
                other = self.slots[front]
                self.slots[front], self.slots[slot] = row, other
                row.slot = front
                if other is not None:
                    other.slot = slot
                yield front, slot, max(row.held, other.held if other is not None else 0)
            front += 1

    def answering(self) -> list[Row]:
        """The rows that get a token now, in the order of their slots. After `arrange` these are 0, 1, 2 …"""
        return [row for row in self.rows if row.answering and not row.paused]

    def chunks(self) -> list[tuple[Row, int]]:
        """(row, tokens of its prompt to compute now), within the budget."""
        waiting = [row for row in self.rows if not row.answering and row.pending]
        budget = self.prefill_tokens
        chosen = []
        for complete in (True, False):
            shares = share_evenly([row for row in waiting if row.responded is complete], budget)
            budget -= sum(count for _, count in shares)
            chosen += shares
        return chosen


def share_evenly(rows: Sequence[Row], budget: int) -> list[tuple[Row, int]]:
    """Tokens for each row: all it wants, or an equal share of what those leave who want less."""
    chosen = []
    modest_first = sorted(rows, key=lambda row: (row.pending, row.arrived))
    for left, row in zip(range(len(rows), 0, -1), modest_first, strict=True):
        # rounded up, so that a budget smaller than the number of rows still moves some of them
        count = min(row.pending, -(-budget // left), budget)
        if count:
            chosen.append((row, count))
        budget -= count
    return chosen
