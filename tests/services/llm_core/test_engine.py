"""Both engines answer alike: as the plain model, token for token, whatever else they compute.

vLLM is tried where it is installed: `make vllm-test`.
"""

from __future__ import annotations

import asyncio
import copy
import random
import time

import grpc
import pytest
import torch

from parley.checkpoints import Checkpoint, save_stage
from parley.models.language import EndOfTurnHead, StateHead
from parley.text.prompt import PromptWriter
from services.llm_core.answer_text import AnswerFormat
from services.llm_core.pieces import Piece
from services.llm_core.sampler import Sampling
from services.llm_core.settings import LlmCoreSettings
from services.llm_core.tools import CallRules
from services.llm_core.torch_engine import TorchEngine
from services.rpc.errors import ServiceError
from tests.services.llm_core.asking import answer, ask, embed, plain_language, reference, settled
from tests.services.llm_core.asking import random_prompt as random_prompt_of

WIDTH, MAX_LENGTH = 64, 256
SPEECH, NOTHING = [5.0, 0.0, 0.0], [0.0, 0.0, 5.0]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("llm_engines")]


def random_prompt(seed: int, length: int) -> list[Piece]:
    return random_prompt_of(seed, length, WIDTH)


@pytest.fixture(scope="module")
def language_config(tiny_config):
    """Heads of a size that vLLM has kernels for."""
    return tiny_config.language.model_copy(update={"hidden_size": WIDTH, "num_heads": 2, "num_kv_heads": 1})


@pytest.fixture(scope="module")
def plain(language_config):
    return plain_language(language_config)


@pytest.fixture(scope="module")
def heads():
    torch.manual_seed(4)
    state, end_of_turn = StateHead(WIDTH), EndOfTurnHead(WIDTH)
    for head in (state, end_of_turn):
        torch.nn.init.normal_(head.weight, std=0.1)
    state.bias.data.copy_(torch.tensor(SPEECH))
    end_of_turn.bias.data.fill_(0.5)
    return state, end_of_turn


@pytest.fixture(scope="module")
def stop_id(plain):
    """A token that ends the answer to prompt 9."""
    want = reference(plain, random_prompt(9, 12), 30)
    return next(want[index] for index in range(3, 30) if want[index] not in want[:index])


def make_engine(backend, state, language_config, tiny_config, plain, heads, stop_id, tokenizer, folder):
    language_config = language_config.model_copy(update={"state": state})
    config = tiny_config.model_copy(update={"language": language_config})
    writer = PromptWriter.of(language_config, tokenizer)
    answers = AnswerFormat(tokenizer, frozenset({stop_id}))
    state_head, end_of_turn_head = heads if state == "head" else (None, None)
    settings = LlmCoreSettings(
        device="cpu", dtype="float32", threads=1, num_slots=4, max_queued=20, max_length=MAX_LENGTH, prefill_tokens=64,
        kv_memory_mb=32, stop_seconds=0, vllm_arguments={"enforce_eager": True, "block_size": 32},
    )  # fmt: skip
    if backend == "torch":
        return TorchEngine(
            copy.deepcopy(plain), state_head, language_config, answers, writer.state_ids, settings, end_of_turn_head
        )
    from services.llm_core.vllm_backend.engine import VllmEngine
    from services.llm_core.vllm_backend.model_folder import write_config, write_weights

    save_stage(folder / "tiny", stage="random", config=config, parts={"language": plain.state_dict()})
    own = [head for head in (state_head, end_of_turn_head) if head is not None]
    rows = torch.cat([head.weight.detach() for head in own]) if own else None
    (folder / "vllm").mkdir()
    write_config(language_config, 0 if rows is None else len(rows), folder / "vllm")
    write_weights(Checkpoint.open(folder / "tiny"), rows, folder / "vllm")
    return VllmEngine(folder / "vllm", own, language_config, answers, writer.state_ids, settings)


@pytest.fixture(scope="module", params=["torch", "vllm"])
def backend(request) -> str:
    if request.param == "vllm":
        pytest.importorskip("vllm")
    return request.param


@pytest.fixture(scope="module")
def make(backend, language_config, tiny_config, plain, heads, stop_id, tiny_tokenizer, tmp_path_factory):
    """A function: a running engine of a model that states its state by a head or by tokens."""
    engines = []

    def make(state: str):
        folder = tmp_path_factory.mktemp(state)
        engine = make_engine(
            backend, state, language_config, tiny_config, plain, heads, stop_id, tiny_tokenizer, folder
        )
        engine.start()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.stop()


@pytest.fixture(scope="module")
def engine(make):
    return make("head")


@pytest.fixture
def expected(plain, stop_id):
    """A function: the greedy answer, which is not empty and ends before the stop token."""

    def answer_to(prompt: list[Piece], count: int, given: tuple[int, ...] = ()) -> list[int]:
        ids = reference(plain, [*prompt, Piece(list(given))] if given else prompt, count)
        return ids[: ids.index(stop_id)] if stop_id in ids else ids

    return answer_to


async def test_requests_that_join_and_leave_get_the_answers_of_the_plain_model(engine, expected):
    prompts = [random_prompt(seed, 6 + 17 * seed) for seed in range(9)]
    counts = [9, 3, 14, 1, 6, 11, 5, 20, 2]

    async def one(index: int):
        await asyncio.sleep(0.01 * (index % 4))
        return await ask(engine, prompts[index], max_tokens=counts[index])

    answers = await asyncio.gather(*(one(index) for index in range(len(prompts))))
    for prompt, count, (ids, done) in zip(prompts, counts, answers, strict=True):
        assert ids == expected(prompt, count)
        assert done.finish_reason == ("length" if len(ids) == count else "stop")
        assert (done.prompt_tokens, done.answer_tokens) == (sum(map(len, prompt)), len(ids))
    assert len({tuple(ids[:3]) for ids, _ in answers}) > 3, "answers that do not vary prove nothing"


async def test_a_prompt_that_comes_in_pieces_is_computed_as_it_comes(engine, expected):
    pieces = random_prompt(21, 60) + random_prompt(22, 40) + random_prompt(23, 30)
    request = engine.open("pieces", "t", [], Sampling(max_tokens=10))
    for piece in pieces:
        request.append([piece])
        await asyncio.sleep(0.03)
    request.respond([])
    ids, done = await answer(request)
    assert ids == expected(pieces, 10) and done.prompt_tokens == sum(map(len, pieces))


async def test_the_state_is_that_of_the_heads(engine, plain, heads):
    for seed in range(4):
        prompt = random_prompt(seed, 20)
        with torch.inference_mode():
            hidden = plain.model(inputs_embeds=embed(plain, prompt)[None], use_cache=False).last_hidden_state[0, -1]
            state, complete = heads[0](hidden).softmax(0), heads[1](hidden).sigmoid()
        request = engine.open("s", "state", prompt, Sampling())
        request.respond([], only_state=True)
        decision, done = [event async for event in request.events()]
        assert decision.probabilities == pytest.approx(state.tolist(), abs=1e-4)
        assert decision.complete == pytest.approx(float(complete), abs=1e-4)
        assert (done.finish_reason, done.text, done.answer_tokens) == ("stop", "", 0)


async def test_the_next_turn_of_a_session_finds_what_was_computed(engine, expected):
    prompt = random_prompt(31, 80)
    first, _ = await ask(engine, prompt, "again", max_tokens=6)
    longer = [*prompt, Piece(first), *random_prompt(32, 20)]
    ids, done = await ask(engine, longer, "again", max_tokens=6)
    assert ids == expected(longer, 6)
    assert 64 <= done.cached_tokens < done.prompt_tokens


async def test_cancelled_requests_leave_nothing_behind(engine, expected):
    choose = random.Random(0)

    async def cancelled(number: int) -> None:
        request = engine.open(f"cancelled {number}", "t", random_prompt(number, 40), Sampling(max_tokens=100))
        await asyncio.sleep(choose.random() * 0.1)
        request.respond([])
        await asyncio.sleep(choose.random() * 0.3)
        request.close()

    async def answered(number: int) -> None:
        prompt = random_prompt(100 + number, 30)
        assert (await ask(engine, prompt, max_tokens=15))[0] == expected(prompt, 15)

    await asyncio.gather(*map(cancelled, range(8)), *map(answered, range(5)))
    await settled(lambda: not engine.live and engine.num_busy() == 0 and engine.current_load().used == 0)


async def test_another_request_of_a_turn_ends_the_one_before(engine, expected):
    old = engine.open("s", "same", random_prompt(1, 20), Sampling(max_tokens=100))
    old.respond([])
    prompt = random_prompt(2, 20)
    new = engine.open("s", "same", prompt, Sampling(max_tokens=5))
    new.respond([])
    with pytest.raises(ServiceError, match="another request of turn 'same' has begun"):
        await answer(old)
    assert (await answer(new))[0] == expected(prompt, 5)


async def test_a_request_ends_at_its_deadline(engine):
    request = engine.open("s", "late", random_prompt(1, 10), Sampling(), time.monotonic() + 0.05)
    with pytest.raises(ServiceError) as caught:
        await answer(request)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await settled(lambda: not engine.live)


async def test_a_full_engine_says_when_to_try_again(engine):
    requests = [engine.open(f"full {number}", "t", [Piece([5])], Sampling(max_tokens=200)) for number in range(24)]
    for request in requests:
        request.respond([Piece([3])])
    with pytest.raises(ServiceError, match="24 requests in use") as caught:
        engine.open("more", "t", [Piece([5])], Sampling())
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED and caught.value.retry_after > 0
    for request in requests:
        request.close()
    await settled(lambda: not engine.live)


async def test_a_prompt_and_its_answer_fill_the_context_and_no_more(engine, expected):
    too_long = f"{MAX_LENGTH} tokens long and the context {MAX_LENGTH}"
    with pytest.raises(ServiceError, match=too_long) as caught:
        engine.open("s", "t", [Piece([5] * MAX_LENGTH)], Sampling())
    assert (caught.value.code, caught.value.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0)
    request = engine.open("s", "t", [Piece([5] * (MAX_LENGTH - 9))], Sampling())
    with pytest.raises(ServiceError, match=too_long):
        request.append([Piece([5] * 9)])
    request.close()
    prompt = random_prompt(2, MAX_LENGTH - 9)  # and five embeddings
    ids, done = await ask(engine, prompt, max_tokens=100)
    assert ids == expected(prompt, 4) and done.finish_reason == "length"


async def test_stop_tokens_and_stop_strings_end_the_answer(engine, expected):
    prompt = random_prompt(9, 12)
    ids, done = await ask(engine, prompt, max_tokens=30)
    assert 0 < len(ids) < 30 and ids == expected(prompt, 30) and done.finish_reason == "stop"
    prompt = random_prompt(10, 12)
    _, whole = await ask(engine, prompt, max_tokens=30)
    stop = whole.text[4:7]
    _, done = await ask(engine, prompt, max_tokens=30, stop=(stop,))
    assert done.finish_reason == "stop" and done.text == whole.text[: whole.text.index(stop)]


async def test_the_same_seed_gives_the_same_answer_in_any_batch(engine):
    prompt = random_prompt(6, 12)
    drawn = {"temperature": 1.3, "top_k": 40, "top_p": 0.95, "max_tokens": 20}
    alone, _ = await ask(engine, prompt, seed=11, **drawn)
    others = [ask(engine, random_prompt(seed, 15), seed=seed, **drawn) for seed in range(5)]
    (batched, _), *_ = await asyncio.gather(ask(engine, prompt, seed=11, **drawn), *others)
    assert batched == alone
    assert (await ask(engine, prompt, seed=12, **drawn))[0] != alone


async def test_only_tokens_of_the_vocabulary_are_drawn(engine, language_config):
    """The heads are rows of vLLM's output head."""
    answers = [await ask(engine, random_prompt(1, 9), seed=seed, temperature=2, max_tokens=40) for seed in range(4)]
    assert max(max(ids) for ids, _ in answers) < language_config.vocab_size


async def test_an_answer_that_was_cut_off_goes_on_as_it_would_have(engine, expected):
    prompt = random_prompt(10, 12)
    whole = expected(prompt, 15)
    for count in (1, 7, len(whole)):
        request = engine.open("s", "t", prompt, Sampling(max_tokens=15), beginning=tuple(whole[:count]))
        request.respond([])
        ids, done = await answer(request)
        assert ids == whole and done.answer_tokens == len(whole)


async def test_an_answer_begins_with_the_call_that_it_must_make(engine, expected):
    prompt = random_prompt(11, 14)
    request = engine.open("s", "call", prompt, Sampling(max_tokens=6), calls=CallRules((20, 21)))
    request.respond([])
    ids, _ = await answer(request)
    assert ids == [20, 21, *expected(prompt, 4, given=(20, 21))]


async def test_nothing_to_answer_ends_the_request(engine, heads):
    bias = engine.answers.state_head.bias.data if isinstance(engine, TorchEngine) else engine._biases[:3]
    bias.copy_(torch.tensor(NOTHING))
    try:
        request = engine.open("s", "noise", random_prompt(1, 10), Sampling())
        request.respond([])
        decision, done = [event async for event in request.events()]
    finally:
        bias.copy_(torch.tensor(SPEECH))
    assert decision.nothing and (done.finish_reason, done.text, done.answer_tokens) == ("nothing", "", 0)


async def test_embeddings_that_overflow_are_the_caller_s_mistake(engine, expected):
    request = engine.open("s", "huge", [Piece([-1], torch.full((1, WIDTH), float("inf")))], Sampling())
    request.respond([Piece([3])])
    with pytest.raises(ServiceError, match="exceed the model's number format") as caught:
        await answer(request)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    prompt = random_prompt(2, 20)
    assert (await ask(engine, prompt, max_tokens=5))[0] == expected(prompt, 5)


async def test_a_model_that_states_its_state_with_tokens(make, expected, plain):
    engine = make("tokens")
    tokens = engine._state_ids
    prompt = random_prompt(12, 25)
    with torch.inference_mode():
        logits = plain(inputs_embeds=embed(plain, prompt)[None], use_cache=False).logits[0, -1]
    request = engine.open("s", "t", prompt, Sampling(max_tokens=5))
    request.respond([])
    decision, *_ = events = [event async for event in request.events()]
    first = {ids[0] for ids in tokens}
    assert tokens[decision.state][0] == max(first, key=lambda number: logits[number])
    assert sum(decision.probabilities) == pytest.approx(1, abs=1e-4)
    ids = [event.id for event in events[1:-1]]
    assert ids == ([] if decision.nothing else expected(prompt, 5, given=tuple(tokens[decision.state])))
