"""Who has which slot of the KV cache: whoever has something to compute, in the order in which they came.

Notable points:
- A question that is still asked, and an answer that nobody reads, keep their slots while no other request waits for
  one. Then they are parked: what the slot holds is saved, and loaded into a slot once there is more to compute.
- What a session's last request held is kept, so that its next one starts where its prompt first differs. One that comes
  while the session is still answered starts with a copy.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import torch

from services.llm_core.kv_cache import SlotCache
from services.llm_core.prefix_cache import PrefixCache
from services.llm_core.requests import GenerationRequest
from services.llm_core.scheduler import Scheduler
from services.llm_core.sequences import Sequence
from services.llm_core.settings import SERVICE
from services.telemetry import metrics


class Slots:
    """Used by the engine's thread only."""

    def __init__(
        self,
        cache: SlotCache,
        scheduler: Scheduler,
        prefixes: PrefixCache,
        token_bytes: int,
        took: Callable[[GenerationRequest, float], None],
        end_not_finite: Callable[[Sequence], None],
    ):
        """`token_bytes`: of one position. `took`: called with a request that gets a slot, and how long it waited (s).

        `end_not_finite`: called with a sequence whose slot holds what is not.
        """
        self._cache, self._scheduler, self._prefixes = cache, scheduler, prefixes
        self._token_bytes, self._took, self._end_not_finite = token_bytes, took, end_not_finite
        self.waiting: deque[Sequence] = deque()  # for a slot, with something to compute

    def queue(self, sequence: Sequence) -> None:
        """Where it has no slot and something to compute, it waits for one."""
        if sequence.slot is None and sequence.has_work and sequence not in self.waiting:
            sequence.queued_at = time.monotonic()
            if sequence.responded:
                sequence.request.steps.begin("queue")
            self.waiting.append(sequence)

    def assign(self) -> None:
        """Gives slots to waiting sequences, with what was computed of them or their sessions."""
        while self.waiting and (slot := self._free()) is not None:
            sequence = self.waiting.popleft()
            self._scheduler.place(sequence, slot)
            sequence.request.steps.begin(sequence.step)
            self._took(sequence.request, time.monotonic() - sequence.queued_at)
            self._fill(sequence)
        for sequence in self._scheduler.sequences:
            sequence.reuse()
        metrics.QUEUE.labels(SERVICE).set(len(self.waiting))
        metrics.SLOTS_USED.labels(SERVICE).set(len(self._scheduler.sequences))

    def arrange(self) -> None:
        """Moves the decoding sequences to the first slots."""
        for a, b, length in self._scheduler.arrange():
            self._cache.swap(a, b, length)

    def remove(self, sequence: Sequence, keep: bool = True) -> None:
        """Frees what a sequence holds; with `keep` its session keeps its KV."""
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        session, size = sequence.request.session_id, sequence.held * self._token_bytes
        parked, keep = self._unpark(sequence), keep and bool(session) and self._prefixes.fits(size)
        saved = parked if sequence.slot is None else self._vacate(sequence, keep)
        if keep and saved is not None:
            self._prefixes.put(session, sequence.held_keys(), saved)
        kept = self._prefixes.bytes + self._prefixes.reserved
        metrics.CACHE_BYTES.labels(SERVICE).set(self._cache.store.nbytes + kept)

    def _free(self) -> int | None:
        """Where no slot is free, that of a sequence which has nothing to compute is made so."""
        slot = self._scheduler.free_slot()
        if slot is None and any(map(self._park, self._scheduler.idle())):
            slot = self._scheduler.free_slot()
        return slot

    def _park(self, sequence: Sequence) -> bool:
        """Takes its slot from a sequence. False where there is no memory for what the slot holds."""
        held = sequence.held
        if not self._prefixes.fits(held * self._token_bytes):
            return False
        sequence.parked = self._vacate(sequence)
        if sequence.parked is not None:
            self._prefixes.reserve(sequence.parked.nbytes)
        elif held:
            self._end_not_finite(sequence)
        return True

    def _unpark(self, sequence: Sequence) -> torch.Tensor | None:
        """What its slot held. None: it was not parked."""
        parked, sequence.parked = sequence.parked, None
        if parked is not None:
            self._prefixes.release(parked.nbytes)
        return parked

    def _vacate(self, sequence: Sequence, keep: bool = True) -> torch.Tensor | None:
        """Frees its slot. → what that held; None where it held nothing, or what is not finite, or without `keep`."""
        slot, held = sequence.slot, sequence.held
        self._scheduler.remove(sequence)
        if not self._cache.finite(slot, held):
            self._cache.clear(slot)  # the next sequence must not multiply by it
            return None
        return self._cache.save(slot, held) if keep and held else None

    def _fill(self, sequence: Sequence) -> None:
        """Its slot holds what it held before, what its session kept, or what a request of its session has that runs."""
        if (parked := self._unpark(sequence)) is not None:
            self._cache.load(sequence.slot, parked)
        elif (kept := self._prefixes.take(sequence.request.session_id)) is not None:
            keys, saved = kept
            self._cache.load(sequence.slot, saved)
            sequence.keep(keys)
        elif (other := self._longest_of_session(sequence)) and self._cache.finite(other.slot, other.held):
            self._cache.copy(other.slot, sequence.slot, other.held)
            sequence.keep(list(other.held_keys()))

    def _longest_of_session(self, sequence: Sequence) -> Sequence | None:
        """Of the session's other sequences, the one that holds most: while it is answered, the next turn begins."""
        session = sequence.request.session_id
        others = (s for s in self._scheduler.sequences if s is not sequence and s.request.session_id == session)
        return max(others, key=lambda other: other.held, default=None) if session else None
