"""How a turn takes its session over from the turn before it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from protos.parley.v1.language_model_pb2 import Sampling
from services.gateway.conversation.interruption import PendingBargeIn
from services.gateway.conversation.record import EmbeddingResolver, TurnRecord
from services.gateway.events import StateDecided
from services.gateway.turn.generate import Prompt

if TYPE_CHECKING:
    from services.gateway.conversation.turn import Turn


class Handover:
    """A session has one lease: the turn before has it until it is over.

    While it is not known whether a turn interrupts the one before, that one goes on and keeps the lease; what it has
    answered so far is read as history all the same.
    """

    def __init__(
        self, previous: Turn | None, barge_in: PendingBargeIn | None, record: TurnRecord, resolver: EmbeddingResolver
    ):
        self.previous = previous  # as long as it has the lease
        self._barge_in, self._record, self._resolver = barge_in, record, resolver

    async def read_prompt(self, sampling: Sampling) -> Prompt:
        """The history as it was played, once it is known how far that is."""
        if not self._record.request.kept:
            return await self._record.prompt(sampling, [])
        if self._barge_in is None:
            await self._take_lease()
            return await self._record.prompt(sampling, [])
        await self.previous.playback_report()
        self._resolver.include(self.previous.question)
        return await self._record.prompt(sampling, self.previous.items())

    @property
    def undecided(self) -> bool:
        """It is not known yet whether the turn interrupts the one before."""
        return self._barge_in is not None and self._barge_in.interrupts is None

    @property
    def unmeant(self) -> bool:
        """What was said while the turn before answered was not meant for us."""
        return self._barge_in is not None and self._barge_in.interrupts is False

    async def finish(self, state_known: asyncio.Event) -> None:
        """Takes the lease of an answer that this turn has turned out to interrupt."""
        if self._barge_in is not None:
            await state_known.wait()
            if self._barge_in.interrupts:
                await self._take_lease()

    def consider(self, read: StateDecided, final: bool) -> None:
        """As `PendingBargeIn.consider`."""
        if self._barge_in is not None:
            self._barge_in.consider(read, final)

    def decide(self, interrupts: bool) -> None:
        """Whether the turn interrupts the one before; the first call counts."""
        if self._barge_in is not None:
            self._barge_in.decide(interrupts)

    def cancel(self) -> None:
        """Ends the turn before, also where it has just been let go on."""
        self.decide(True)
        if self.previous is not None:
            self.previous.cancel()

    def forget_previous(self) -> None:
        """The turn is over. A turn before it that is over too is not needed any more."""
        if self.previous is not None and self.previous.task.done():
            self.previous = None

    async def _take_lease(self) -> None:
        if self.previous is not None:
            await asyncio.wait({self.previous.task})
            await self.previous.playback_report()
            self.previous = None
        await self._record.take_lease()
