"""A list that grows while it is read, and can be read again from the start.

What a turn sends to a service is kept in such a log. When the service dies, the next attempt reads the log from its
start and catches up with what is still coming.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class InputLog(Generic[T]):
    def __init__(self) -> None:
        self.items: list[T] = []
        self.closed = False
        self._changed = asyncio.Event()

    def append(self, item: T) -> None:
        assert not self.closed, "appended to a closed log"
        self.items.append(item)
        self._wake()

    def close(self) -> None:
        """Nothing more will come: readers end after the last item."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Something beside the log has changed that `changed` waits for, too."""
        self._wake()

    async def changed(self) -> None:
        """Returns at the next item, the end, or `wake`."""
        await self._changed.wait()

    async def begun(self) -> bool:
        """Waits for the first item. Returns whether there is one."""
        while not self.items and not self.closed:
            await self._changed.wait()
        return bool(self.items)

    async def read(self) -> AsyncIterator[T]:
        """All items from the first, waiting for those still to come, until the log is closed."""
        position = 0
        while True:
            while position < len(self.items):
                yield self.items[position]
                position += 1
            if self.closed:
                return
            await self._changed.wait()
