"""What every service around an engine does the same: it starts, stops, and says whether it can still answer."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from parley.checkpoints import Checkpoint
from services.engine.settings import ServiceSettings
from services.engine.thread import EngineThread

E = TypeVar("E", bound=EngineThread)


class EngineService(Generic[E]):
    """A servicer's base. `service`: its name in metrics and logs."""

    service: str

    def __init__(self, settings: ServiceSettings):
        self.settings = settings
        self.engine: E | None = None  # once started
        self.checkpoint: Checkpoint | None = None  # once started: everything is loaded from this one reading
        self.weights = ""  # their name, once started

    def load(self) -> E:
        """The engine over its parts of `self.checkpoint`, warmed up as far as it can be before its thread runs.

        Runs in a thread of its own. Raises `ValueError` where the checkpoint or the settings do not fit.
        """
        raise NotImplementedError

    async def warm_up(self) -> None:
        """Has the running engine answer once, where `load` did not."""

    async def start(self) -> None:
        self.checkpoint = await asyncio.to_thread(Checkpoint.open, self.settings.checkpoint)
        self.weights = self.checkpoint.fingerprint
        self.engine = await asyncio.to_thread(self.load)
        self.engine.start()
        await self.warm_up()

    async def stop(self) -> None:
        """Lets running work end, then stops the engine."""
        if self.engine is not None:
            await asyncio.to_thread(self.engine.stop)

    @property
    def alive(self) -> bool:
        return self.engine is not None and self.engine.alive
