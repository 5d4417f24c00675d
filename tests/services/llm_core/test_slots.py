"""Who has which slot: whoever has something to compute. What a slot held of the others is kept."""

from __future__ import annotations

import asyncio

import pytest
import torch

from services.llm_core.pieces import Piece
from services.llm_core.position_keys import position_keys
from services.llm_core.sampler import Sampling
from services.rpc.errors import ServiceError
from tests.services.llm_core.asking import answer, ask, random_prompt, reference, settled


async def asked_slowly(engine, count: int) -> list:
    """(prompt, its request) of questions of which all that has come is computed."""
    slow = []
    for number in range(count):
        prompt = random_prompt(number, 12)
        request = engine.open(f"s{number}", "t", prompt[:2], Sampling())
        await settled(lambda asked=request: asked in engine._sequences and engine._sequences[asked].computed == 11)
        slow.append((prompt, request))
    return slow


async def test_questions_that_are_still_asked_hold_no_slot_that_others_need(make_engine, plain, monkeypatch):
    engine, computed = make_engine(num_slots=2, max_queued=0, max_tokens=6), []
    forward = engine._forward
    monkeypatch.setattr(engine, "_forward", lambda *work: computed.append(work[1]) or forward(*work))
    slow = await asked_slowly(engine, 7)  # more than may wait
    prompt = random_prompt(20, 15)
    assert (await asyncio.wait_for(ask(engine, prompt, max_tokens=6), 10))[0] == reference(plain, prompt, 6)
    for prompt, request in slow:
        request.append(prompt[2:])
        request.respond([Piece([7])])
        ids, done = await answer(request)
        assert ids == reference(plain, [*prompt, Piece([7])], 6) and done.cached_tokens == 0
    assert sum(count for step in computed for _, count in step) == 7 * 18 + 20  # nothing twice
    await settled(lambda: not engine._sequences and not engine._prefixes.reserved)


async def test_without_memory_for_what_they_hold_they_keep_their_slots(make_engine, plain):
    engine = make_engine(num_slots=2, max_queued=1)
    slow = await asked_slowly(engine, 2)
    engine._prefixes.max_bytes = 0
    prompt = random_prompt(20, 15)
    waiting = asyncio.create_task(ask(engine, prompt, max_tokens=6))
    await settled(lambda: engine.current_load().queued == 1)
    slow[0][1].close()
    assert (await waiting)[0] == reference(plain, prompt, 6)


async def test_answers_that_nobody_reads_hold_no_slot_that_others_need(make_engine, plain):
    engine = make_engine(num_slots=2, max_queued=0, max_unread=4)
    prompts = [random_prompt(seed, 10) for seed in range(3)]
    slow = [engine.open(f"s{n}", "t", prompts[n], Sampling(max_tokens=40)) for n in range(2)]
    for request in slow:
        request.respond([Piece([7])])
    await settled(lambda: all(r in engine._sequences and engine._sequences[r].paused for r in slow))
    assert (await asyncio.wait_for(ask(engine, prompts[2], max_tokens=6), 10))[0] == reference(plain, prompts[2], 6)
    for prompt, (ids, _) in zip(prompts[:2], await asyncio.gather(*map(answer, slow)), strict=True):
        assert ids == reference(plain, [*prompt, Piece([7])], 40)


async def test_a_parked_question_that_is_given_up_leaves_its_session_what_was_computed(make_engine):
    engine = make_engine(num_slots=1, max_queued=0)
    slow = await asked_slowly(engine, 3)
    assert engine._prefixes.reserved == 2 * 11 * engine._token_bytes
    for _, request in slow:
        request.close()
    await settled(lambda: not engine._sequences)
    assert engine._prefixes.reserved == 0 and len(engine._prefixes) == 3
    for number, (prompt, _) in enumerate(slow):
        assert (await ask(engine, prompt, f"s{number}"))[1].cached_tokens == 11


async def test_what_is_parked_and_not_finite_ends_its_request(make_engine, plain):
    engine = make_engine(num_slots=1, max_queued=0)
    wild = torch.full((4, 48), float("nan"))
    bad = engine.open("bad", "t", [Piece([5, 6]), Piece(position_keys(wild), wild)], Sampling())
    await settled(lambda: bad in engine._sequences and engine._sequences[bad].computed == 6)
    prompt = random_prompt(3, 12)
    assert (await ask(engine, prompt, "good"))[0] == reference(plain, prompt, 8)
    with pytest.raises(ServiceError, match="made by another model"):
        await answer(bad)
