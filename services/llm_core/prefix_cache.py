"""KV cache of idle sessions, within a limit of memory: the oldest is dropped first.

Requests that are parked share the memory and come first: they have more to compute, and cannot be dropped.
"""

from __future__ import annotations

from collections import OrderedDict

import torch


class PrefixCache:
    """session id → (keys of its positions, their KV). Used by the engine's thread only."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.bytes = 0  # of idle sessions
        self.reserved = 0  # bytes of parked requests
        self._kept: OrderedDict[str, tuple[list[int], torch.Tensor]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def fits(self, size: int) -> bool:
        return size <= self.max_bytes - self.reserved

    def reserve(self, size: int) -> None:
        """Bytes of a request that is parked; the oldest sessions are dropped for it. `release` gives them back."""
        assert self.fits(size)
        self.reserved += size
        self._drop_oldest()

    def release(self, size: int) -> None:
        self.reserved -= size

    def put(self, session_id: str, keys: list[int], saved: torch.Tensor) -> None:
        """saved: the KV of `keys`, as `SlotCache.save` returns it. The oldest sessions are dropped for it."""
        assert self.fits(saved.nbytes)
        self.take(session_id)
        self._kept[session_id] = (keys, saved)
        self.bytes += saved.nbytes
        self._drop_oldest()

    def take(self, session_id: str) -> tuple[list[int], torch.Tensor] | None:
        """Removes what a session keeps and returns it."""
        kept = self._kept.pop(session_id, None)
        if kept is not None:
            self.bytes -= kept[1].nbytes
        return kept

    def _drop_oldest(self) -> None:
        while self.bytes > self.max_bytes - self.reserved:
            _, (_, dropped) = self._kept.popitem(last=False)
            self.bytes -= dropped.nbytes
