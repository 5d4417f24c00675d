"""Which sequences compute what in the next step."""

from __future__ import annotations

from types import SimpleNamespace

from services.llm_core.requests import GenerationRequest
from services.llm_core.sampler import Sampling
from services.llm_core.scheduler import Scheduler, share_evenly
from services.llm_core.sequences import Sequence


def make_sequence(pending: int, decoding: bool = False, responded: bool = False) -> Sequence:
    request = GenerationRequest(SimpleNamespace(), "s", "t", None, Sampling())
    sequence = Sequence(request, None, None)
    sequence.keys = [1] * pending
    sequence.decoding = decoding
    sequence.responded_at = 0.0 if responded else None
    return sequence


async def test_the_budget_is_shared_evenly_and_used_up():
    def counts(pending, budget):
        sequences = [make_sequence(count) for count in pending]
        shares = {id(sequence): count for sequence, count in share_evenly(sequences, budget)}
        return [shares.get(id(sequence), 0) for sequence in sequences]

    assert counts([100, 4, 50], 60) == [28, 4, 28]
    assert counts([100, 4, 50], 1000) == [100, 4, 50]
    assert sum(counts([9, 9, 9, 9], 2)) == 2
    assert counts([5], 0) == [0]


async def test_complete_prompts_come_before_those_that_still_arrive():
    scheduler = Scheduler(4, prefill_tokens=10)
    arriving, complete, decoding = (
        make_sequence(30),
        make_sequence(8, responded=True),
        make_sequence(1, decoding=True, responded=True),
    )
    for slot, sequence in enumerate((arriving, complete, decoding)):
        scheduler.place(sequence, slot)
    assert scheduler.prefill() == [(complete, 8), (arriving, 2)]
    assert scheduler.decoding() == [decoding]


async def test_decoding_sequences_move_to_the_front():
    scheduler = Scheduler(4, prefill_tokens=10)
    sequences = [make_sequence(1, decoding=decodes) for decodes in (False, True, False, True)]
    for slot, sequence in enumerate(sequences):
        sequence.computed = 10 * slot
        scheduler.place(sequence, slot)
    sequences[3].paused = True
    assert list(scheduler.arrange()) == [(0, 1, 10)]
    sequences[3].paused = False
    assert list(scheduler.arrange()) == [(1, 3, 30)]
    assert [sequence.slot for sequence in sequences] == [3, 0, 2, 1]
    assert scheduler.slots[0] is sequences[1] and scheduler.slots[1] is sequences[3]
    assert scheduler.free_slot() is None
    scheduler.remove(sequences[2])
    assert scheduler.free_slot() == 2
