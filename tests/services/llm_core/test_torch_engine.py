"""The engine's answers equal those of the plain model, one request at a time, whatever else runs beside them."""

from __future__ import annotations

import asyncio
import copy
import random
from dataclasses import asdict

import grpc
import pytest
import torch

from parley.text.prompt import PromptWriter
from services.engine.load import Load
from services.llm_core.limits import kv_bytes_per_token
from services.llm_core.pieces import Piece
from services.llm_core.position_keys import position_keys
from services.llm_core.requests import Token
from services.llm_core.sampler import Sampling
from services.llm_core.tools import CallRules
from services.rpc.errors import ServiceError
from tests.services.llm_core.asking import SPEAKING, answer, ask, embed, random_prompt, reference, settled


@pytest.mark.parametrize("prefill_tokens", [1, 3, 16, 500])
async def test_requests_that_join_and_leave_get_the_answers_of_the_plain_model(make_engine, plain, prefill_tokens):
    engine = make_engine(num_slots=3, max_queued=20, prefill_tokens=prefill_tokens)
    prompts = [random_prompt(seed, 6 + 7 * seed) for seed in range(7)]
    counts = [9, 3, 14, 1, 6, 11, 5]

    async def one(index: int):
        await asyncio.sleep(0.01 * (index % 4))
        return await ask(engine, prompts[index], max_tokens=counts[index])

    answers = await asyncio.gather(*(one(index) for index in range(len(prompts))))
    for prompt, count, (ids, done) in zip(prompts, counts, answers, strict=True):
        assert ids == reference(plain, prompt, count)
        assert done.finish_reason == "length"
        assert done.prompt_tokens == sum(len(piece.keys) for piece in prompt)
        assert done.answer_tokens == count
    assert len({tuple(ids[:3]) for ids, _ in answers}) > 3, "answers that do not vary prove nothing"


@pytest.mark.parametrize("seed", range(3))
async def test_many_sessions_with_cancelled_requests_get_the_answers_of_the_plain_model(make_engine, plain, seed):
    """Sessions of several requests: pieces at random times, some cancelled at any point, some replaced; few slots."""
    choose = random.Random(seed)
    engine = make_engine(num_slots=3, max_queued=20, prefill_tokens=choose.choice([2, 7, 40]), max_unread=4)
    engine._prefixes.max_bytes = 150 * engine._token_bytes  # some sessions are dropped
    finished = []

    async def session(name: str) -> None:
        history: list[Piece] = []
        turn = 0
        for _ in range(3):
            question = random_prompt(choose.randrange(1000), choose.randrange(4, 30))
            count = choose.randrange(1, 12)
            request = engine.open(name, str(turn), history, Sampling(max_tokens=count))
            for piece in question:
                await asyncio.sleep(choose.random() * 0.01)
                request.append([piece])
            if choose.random() < 0.2:
                if choose.random() < 0.5:
                    request.close()  # else the turn's next request replaces it
                    turn += 1
                continue
            turn += 1
            request.respond([Piece([3])])
            asked = [*history, *question, Piece([3])]
            if choose.random() < 0.25:
                stream = request.events()
                for _ in range(choose.randrange(3)):
                    await anext(stream, None)
                request.close()
                continue
            ids, done = await answer(request)
            assert done.cached_tokens < done.prompt_tokens
            finished.append((asked, ids))
            history = [*asked, Piece(ids), Piece([4])]
        request.close()

    await asyncio.gather(*(session(f"s{number}") for number in range(6)))
    assert len(finished) >= 6
    for asked, ids in finished:
        assert ids == reference(plain, asked, len(ids))
    await settled(lambda: not engine.live and not engine._sequences and not engine._scheduler.sequences)
    assert engine.alive and engine._failures == 0


async def test_the_prompt_is_computed_while_it_arrives(make_engine, plain):
    engine = make_engine()
    prompt = random_prompt(5, 40)
    request = engine.open("s", "t", prompt[:1], Sampling(max_tokens=5))
    sequence = None

    def computed():
        nonlocal sequence
        sequence = engine._sequences.get(request)
        return sequence is not None and sequence.computed == len(prompt[0].keys)

    await settled(computed)
    request.append(prompt[1:])
    await settled(lambda: sequence.pending == 0)
    assert not sequence.decoding
    request.respond([Piece([7])])
    ids, done = await answer(request)
    assert ids == reference(plain, [*prompt, Piece([7])], 5)
    assert 0 < done.first_token_seconds < 5
    assert done.prefill_seconds > 0 and done.decode_seconds > 0


async def test_the_last_piece_and_the_end_of_the_question_are_one_step(make_engine, plain, monkeypatch):
    engine = make_engine(prefill_wait_ms=60_000)
    steps = []
    forward = engine._forward
    monkeypatch.setattr(
        engine, "_forward", lambda decoding, prompts: steps.append(prompts) or forward(decoding, prompts)
    )
    prompt = random_prompt(5, 40)
    request = engine.open("s", "t", prompt[:1], Sampling(max_tokens=5))
    await settled(lambda: request in engine._sequences)
    request.append(prompt[1:])
    await settled(lambda: request.applied == request.posted)
    assert not steps
    request.respond([Piece([7])])
    assert (await answer(request))[0] == reference(plain, [*prompt, Piece([7])], 5)
    assert sum(bool(prompts) for prompts in steps) == 1


async def test_a_session_computes_only_what_its_prompt_adds(make_engine, plain):
    engine = make_engine()
    prompt = random_prompt(8, 30)
    first, _ = await ask(engine, prompt, "anna", max_tokens=6)
    longer = [*prompt, Piece(first), Piece([9, 10, 11])]
    second, done = await ask(engine, longer, "anna", max_tokens=6)
    assert done.cached_tokens == 35 + 5  # the last token of the first answer was never fed back
    assert second == reference(plain, longer, 6)

    changed = [prompt[0], Piece(position_keys(prompt[1].embeddings + 0.1), prompt[1].embeddings + 0.1), *longer[2:]]
    third, done = await ask(engine, changed, "anna", max_tokens=6)
    assert done.cached_tokens == len(prompt[0].keys)
    assert third == reference(plain, changed, 6)

    again, done = await ask(engine, changed, "anna", max_tokens=6)
    assert again == third
    assert done.cached_tokens == done.prompt_tokens - 1  # the last position's output is needed
    _, done = await ask(engine, changed, "bert", max_tokens=6)
    assert done.cached_tokens == 0


async def test_a_request_that_is_repeated_finds_what_was_computed_of_its_prompt(make_engine, plain):
    engine = make_engine()
    prompt = random_prompt(12, 24)
    request = engine.open("s", "one", prompt, Sampling(max_tokens=4))
    await settled(lambda: engine._sequences and next(iter(engine._sequences.values())).computed == 29)
    request.close()
    await settled(lambda: not engine._sequences)
    request = engine.open("s", "two", prompt[:1], Sampling(max_tokens=4))
    request.append(prompt[1:])
    request.respond([Piece([5])])
    ids, done = await answer(request)
    assert done.cached_tokens == 29
    assert ids == reference(plain, [*prompt, Piece([5])], 4)


async def test_idle_sessions_are_dropped_oldest_first(make_engine, plain, tiny_config):
    token = kv_bytes_per_token(tiny_config.language, 4)
    live = 2 * 64 * token
    engine = make_engine(num_slots=2, max_length=64, kv_memory_mb=1)
    engine._prefixes.max_bytes = 70 * token
    assert live < 1 << 20
    prompt = random_prompt(4, 30, embeddings=False)
    for session in ("a", "b", "c"):
        await ask(engine, prompt, session, max_tokens=2)
    await settled(lambda: not engine._sequences)
    assert len(engine._prefixes) == 2 and engine._prefixes.bytes <= 70 * token
    assert (await ask(engine, prompt, "c", max_tokens=2))[1].cached_tokens == 29
    assert (await ask(engine, prompt, "a", max_tokens=2))[1].cached_tokens == 0


async def test_cancelling_frees_the_slot_and_leaves_others_alone(make_engine, plain):
    engine = make_engine(num_slots=2)
    prompts = [random_prompt(seed, 10) for seed in range(3)]
    keeps = asyncio.create_task(ask(engine, prompts[0], max_tokens=60))
    cancelled = engine.open("gone", "t", prompts[1], Sampling(max_tokens=200))
    cancelled.respond([])
    waiting = asyncio.create_task(ask(engine, prompts[2], max_tokens=5))
    stream = cancelled.events()
    for _ in range(4):
        await anext(stream)
    cancelled.close()
    with pytest.raises(ServiceError) as caught:
        async for _ in stream:
            pass
    assert caught.value.code is grpc.StatusCode.CANCELLED
    assert (await waiting)[0] == reference(plain, prompts[2], 5)
    assert (await keeps)[0] == reference(plain, prompts[0], 60)
    await settled(lambda: not engine._sequences and not engine.live and not engine._scheduler.sequences)


async def test_a_turn_goes_on_while_another_of_its_session_is_prefilled(make_engine, plain):
    engine = make_engine(num_slots=2, max_queued=0)
    prompt = random_prompt(1, 10)
    answered = engine.open("s", "one", prompt, Sampling(max_tokens=30))
    answered.respond([Piece([3])])
    spoken = engine.open("s", "two", random_prompt(2, 12), Sampling(max_tokens=5))  # its question goes on
    tokens = [event.id async for event in answered.events() if isinstance(event, Token)]
    assert tokens == reference(plain, [*prompt, Piece([3])], 30)
    spoken.respond([Piece([3])])
    assert [event.id async for event in spoken.events() if isinstance(event, Token)]


async def test_a_new_request_of_a_turn_ends_the_one_before_it(make_engine, plain):
    engine = make_engine(num_slots=1, max_queued=0)
    prompt = random_prompt(1, 10)
    old = engine.open("s", "turn", prompt, Sampling(max_tokens=200))
    old.respond([])
    stream = old.events()
    await anext(stream)
    ids, done = await ask(engine, prompt, "s", max_tokens=5)
    assert ids == reference(plain, prompt, 5)
    assert done.cached_tokens == 14
    with pytest.raises(ServiceError, match="another request of turn 'turn' has begun") as caught:
        async for _ in stream:
            pass
    assert caught.value.code is grpc.StatusCode.ABORTED


@pytest.mark.parametrize("computed", [0, 3, 20])
async def test_an_answer_that_was_begun_too_early_leaves_the_question_to_the_next(make_engine, plain, computed):
    """The next request opens while the one before it decodes: it finds all that both prompts begin with."""
    engine = make_engine(num_slots=1, max_queued=0)
    said, *rest = random_prompt(3, 30)
    tail, going_on = (torch.randn(length, 48, generator=torch.Generator().manual_seed(length)) for length in (2, 6))
    early = engine.open("s", "turn", [said, *rest], Sampling(max_tokens=200))
    early.respond([Piece(position_keys(tail), tail), Piece([3])])
    stream = early.events()
    for _ in range(computed):
        await anext(stream)
    question = [said, *rest, Piece(position_keys(going_on), going_on), Piece([3])]
    ids, done = await ask(engine, question, "s", max_tokens=5)  # it opens at once: the other is aborted by it
    assert ids == reference(plain, question, 5)
    # Without an event read, the early request may have been anywhere, in the queue too.
    assert done.cached_tokens == 35 or not computed
    with pytest.raises(ServiceError, match="another request of turn 'turn' has begun"):
        async for _ in stream:
            pass


async def test_only_the_state_is_told_where_no_more_is_asked_for(make_engine, plain, head):
    engine = make_engine()
    prompt = random_prompt(2, 20)
    for bias, nothing in ((SPEAKING, False), (SPEAKING.flip(0), True)):
        engine.answers.state_head = copy.deepcopy(head)
        engine.answers.state_head.bias.data.copy_(bias)
        request = engine.open("s", "check", prompt, Sampling(max_tokens=200))
        request.respond([Piece([3])], only_state=True)
        decision, done = [event async for event in request.events()]
        assert decision.nothing is nothing and decision.complete is None
        assert (done.finish_reason, done.text, done.answer_tokens, done.decode_seconds) == ("stop", "", 0, 0)
    longer = [*prompt, Piece([8, 9, 3])]
    engine.answers.state_head = head
    ids, done = await ask(engine, longer, "s", max_tokens=5)
    assert ids == reference(plain, longer, 5) and done.cached_tokens == 25


async def test_only_the_state_of_a_model_that_states_it_with_a_token(make_engine, tiny_config):
    engine = make_engine(tiny_config.language.model_copy(update={"state": "tokens"}))
    request = engine.open("s", "check", random_prompt(2, 20), Sampling(max_tokens=200), calls=CallRules((20, 21)))
    request.respond([Piece([3])], only_state=True)
    decision, done = [event async for event in request.events()]
    assert decision.complete is None
    assert (done.finish_reason, done.text, done.answer_tokens) == ("stop", "", 0)


async def test_a_turn_finds_the_history_while_the_answer_before_it_goes_on(make_engine, plain):
    engine = make_engine(num_slots=2, max_queued=0)
    prompt = random_prompt(1, 40)
    answered = engine.open("s", "one", prompt, Sampling(max_tokens=200))
    answered.respond([Piece([3])])
    stream = answered.events()
    tokens = [event.id for event in [await anext(stream) for _ in range(6)] if isinstance(event, Token)]
    question = [*prompt, Piece([3]), Piece(tokens[:3]), *random_prompt(2, 12)]
    check = engine.open("s", "two", question, Sampling())
    check.respond([Piece([3])], only_state=True)
    _, done = [event async for event in check.events()]
    assert done.cached_tokens == 46 + 3
    ids, done = await ask(engine, question, "s", max_tokens=5)  # `turn`, a third one
    assert ids == reference(plain, question, 5) and done.cached_tokens == done.prompt_tokens - 1
    tokens += [event.id async for event in stream if isinstance(event, Token)]
    assert tokens == reference(plain, [*prompt, Piece([3])], 200)


async def test_a_slow_reader_pauses_only_its_own_sequence(make_engine, plain):
    engine = make_engine(max_unread=8)
    prompts = [random_prompt(seed, 10) for seed in range(2)]
    slow = engine.open("slow", "t", prompts[0], Sampling(max_tokens=50))
    slow.respond([])
    fast, _ = await ask(engine, prompts[1], max_tokens=60)
    assert fast == reference(plain, prompts[1], 60)
    assert slow.sent <= 9
    ids, _ = await answer(slow)
    assert ids == reference(plain, prompts[0], 50)


async def test_an_answer_that_was_cut_off_goes_on_as_it_would_have(make_engine, monkeypatch):
    engine, steps = make_engine(num_slots=2), []
    forward = engine._forward
    monkeypatch.setattr(engine, "_forward", lambda *work: steps.append(work) or forward(*work))
    prompt = random_prompt(6, 12)
    drawn = Sampling(temperature=1.3, top_k=40, top_p=0.95, max_tokens=20, seed=11)
    whole, whole_done = await ask(engine, prompt, **asdict(drawn))
    for count in (0, 1, 13, 19, 20):
        request, before = engine.open("s", "t", prompt, drawn, beginning=tuple(whole[:count])), len(steps)
        request.respond([])
        _, *tokens, done = [event async for event in request.events()]
        assert [token.id for token in tokens] == whole and done.text == whole_done.text
        assert (done.answer_tokens, done.finish_reason) == (20, "length")
        sampled = sum(bool(decoding) for decoding, _ in steps[before:])
        assert sampled == max(0, 19 - count)  # what was given takes one step


async def test_no_answer_is_empty(make_engine, plain):
    prompt = random_prompt(9, 12)
    with torch.inference_mode():
        likely = plain(inputs_embeds=embed(plain, prompt)[None], use_cache=False).logits[0, -1].topk(3).indices.tolist()
    engine = make_engine(stop_ids=frozenset(likely[:2]))
    ids, _ = await ask(engine, prompt, max_tokens=3)
    assert ids[0] == likely[2]
    for seed in range(5):
        ids, _ = await ask(engine, prompt, max_tokens=3, temperature=0.01, seed=seed)
        assert ids and not {*ids} & {*likely[:2]}


async def test_nothing_to_answer_ends_the_request(make_engine, plain, head):
    engine = make_engine()
    silent = copy.deepcopy(head)
    silent.bias.data.copy_(SPEAKING.flip(0))
    engine.answers.state_head = silent
    request = engine.open("s", "t", random_prompt(1, 10), Sampling())
    request.respond([])
    decision, done = [event async for event in request.events()]
    assert decision.nothing and decision.probabilities == pytest.approx(SPEAKING.flip(0).softmax(0).tolist())
    assert done.finish_reason == "nothing" and done.text == "" and done.answer_tokens == 0
    assert done.prefill_seconds > 0 and done.decode_seconds == 0


async def test_the_step_that_ends_an_answer_counts(make_engine):
    engine = make_engine()
    _, one = await ask(engine, random_prompt(1, 10), max_tokens=1)
    assert one.prefill_seconds > 0 and one.decode_seconds == 0
    _, two = await ask(engine, random_prompt(1, 10), max_tokens=2)
    assert two.prefill_seconds > 0 and two.decode_seconds > 0


async def test_a_model_may_state_its_state_with_its_first_token(make_engine, plain, tiny_config, tiny_tokenizer):
    config = tiny_config.language.model_copy(update={"state": "tokens"})
    engine = make_engine(config)
    ids_of_state = PromptWriter.of(config, tiny_tokenizer).state_ids
    for seed in range(6):
        prompt = random_prompt(seed, 10)
        request = engine.open("", "t", prompt, Sampling(max_tokens=4))
        request.respond([])
        events = [event async for event in request.events()]
        decision = events[0]
        assert sum(decision.probabilities) == pytest.approx(1)
        if decision.nothing:
            assert len(events) == 2
            continue
        with_state = [*prompt, Piece(list(ids_of_state[decision.state]))]
        assert [event.id for event in events[1:-1]] == reference(plain, with_state, 4)


@pytest.mark.parametrize("state", ["head", "tokens"])
async def test_an_answer_goes_on_after_the_beginning_that_it_must_have(
    make_engine, plain, tiny_config, tiny_tokenizer, state
):
    config = tiny_config.language.model_copy(update={"state": state})
    engine = make_engine(config, num_slots=2, prefill_tokens=5)  # fewer than the beginning has
    state_ids = PromptWriter.of(config, tiny_tokenizer).state_ids
    beginning = list(range(20, 33))

    async def one(seed: int) -> None:
        prompt = random_prompt(seed, 10)
        request = engine.open(f"s{seed}", "t", prompt, Sampling(max_tokens=17), calls=CallRules(tuple(beginning)))
        request.respond([])
        decision, *tokens, done = [event async for event in request.events()]
        if not decision.nothing:
            before = [*prompt, Piece([*(state_ids[decision.state] if state_ids else ()), *beginning])]
            assert [token.id for token in tokens] == [*beginning, *reference(plain, before, 4)]
            assert done.answer_tokens == 17 and done.finish_reason == "length"

    others = [ask(engine, random_prompt(20 + seed, 10), max_tokens=20) for seed in range(3)]
    await asyncio.gather(*(one(seed) for seed in range(6)), *others)


async def test_embeddings_that_are_not_finite_affect_no_other_request(make_engine, plain):
    engine = make_engine(num_slots=2)
    wild = torch.full((4, 48), float("nan"))  # as an overflow inside the model would leave it
    prompt = random_prompt(3, 12)
    for _ in range(3):  # in every slot
        bad = asyncio.create_task(ask(engine, [Piece([5, 6]), Piece(position_keys(wild), wild), Piece([7])], "bad"))
        good, _ = await ask(engine, prompt, "good", max_tokens=12)
        assert good == reference(plain, prompt, 12)
        with pytest.raises(ServiceError, match="made by another model") as caught:
            await bad
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert engine._cache.store.isfinite().all()


async def test_a_step_that_fails_fails_its_requests_and_the_engine_goes_on(make_engine, plain, monkeypatch):
    engine = make_engine()
    monkeypatch.setattr(engine._cache, "begin", lambda batch: 1 / 0)
    with pytest.raises(RuntimeError, match="step failed"):
        await ask(engine, random_prompt(1, 10))
    monkeypatch.undo()
    assert (await ask(engine, random_prompt(1, 10)))[0] == reference(plain, random_prompt(1, 10), 8)
    assert engine.alive


@pytest.mark.parametrize("broken", ["_end_expired", "_assign_slots"])
async def test_an_engine_that_fails_outside_a_step_ends_all_requests(make_engine, monkeypatch, broken):
    engine = make_engine()
    request = engine.open("s", "t", random_prompt(1, 10), Sampling())
    await settled(lambda: request in engine._sequences)
    monkeypatch.setattr(engine, broken, lambda: 1 / 0)
    # Whoever asks is told, also who comes when it has died already.
    with pytest.raises((RuntimeError, ServiceError), match=r"the engine died|step failed|has failed"):
        await ask(engine, random_prompt(2, 10))
    with pytest.raises(RuntimeError, match=r"the engine died|step failed"):
        await answer(request)
    await settled(lambda: not engine.alive)


async def test_stopping_lets_running_requests_end(make_engine, plain):
    engine = make_engine()
    prompt = random_prompt(1, 10)
    running = asyncio.create_task(ask(engine, prompt, max_tokens=30))
    await settled(lambda: engine._sequences)
    await asyncio.to_thread(engine.stop)
    assert (await running)[0] == reference(plain, prompt, 30)
    with pytest.raises(ServiceError, match="stopping"):
        engine.open("s", "t", prompt, Sampling())
    assert not engine.alive


async def test_the_load_counts_slots_and_those_who_wait(make_engine):
    engine = make_engine(num_slots=2, max_queued=5, max_unread=400)
    assert engine.current_load() == Load(2, 0, 0, None)
    requests = [engine.open(f"s{i}", "turn", random_prompt(i, 8), Sampling(max_tokens=200)) for i in range(5)]
    await settled(lambda: engine.current_load() == Load(2, 2, 0, None))  # prompts alone are no speech
    for request in requests:
        request.respond([Piece([7])])
    await settled(lambda: engine.current_load().used == 2 and engine.current_load().queued == 3)
    await asyncio.gather(*(answer(request) for request in requests))
    await settled(lambda: engine.current_load().used == 0)
    assert engine.current_load().real_time_factor > 0
