"""Remembers what was read, for a moment: a request does not wait for Redis each time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

MAX_ENTRIES = 4096  # the least recently used go first


class Cache:
    def __init__(self, seconds: float):
        """`seconds`: for which what was read is taken to be still so."""
        self._seconds = seconds
        self._entries: OrderedDict[str, tuple[float, Any]] = OrderedDict()

    async def get(self, name: str, read: Callable[[], Awaitable[Any]]) -> Any:
        """What `read` gave for this name a moment ago, or gives now; `None` is kept too. Raises what `read` raises."""
        kept = self._entries.get(name)
        if kept is not None and time.monotonic() < kept[0]:
            self._entries.move_to_end(name)
            return kept[1]
        value = await read()
        self._entries[name] = (time.monotonic() + self._seconds, value)
        self._entries.move_to_end(name)
        if len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
        return value

    def __len__(self) -> int:
        return len(self._entries)
