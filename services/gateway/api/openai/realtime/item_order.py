"""The order of a conversation's items as its client knows it: what a new item comes behind."""

from __future__ import annotations

MAX_ITEMS = 4096  # the oldest are forgotten; sessions keep fewer


class ItemOrder:
    def __init__(self, last: str = ""):
        """`last`: id of the last item that was there before; those before it are not known."""
        self._ids = [last] if last else []

    @property
    def last(self) -> str:
        """Empty: there is none."""
        return self._ids[-1] if self._ids else ""

    def add(self, item_id: str, previous: str) -> None:
        """`previous`: id of the item before it; empty: it is in front of all."""
        position = self._ids.index(previous) + 1 if previous in self._ids else 0
        self._ids.insert(position, item_id)
        del self._ids[:-MAX_ITEMS]

    def remove(self, item_id: str) -> None:
        if item_id in self._ids:
            self._ids.remove(item_id)
