"""The engine's pieces, one by one: sampling, text from tokens, the state, what idle sessions keep, the schedule."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from protos.parley.v1 import language_model_pb2 as pb
from services.llm_core.detokenizer import Detokenizer, StopWatch
from services.llm_core.prefix_cache import PrefixStore
from services.llm_core.prompts import Piece, PromptReader, keys_of
from services.llm_core.requests import Turn
from services.llm_core.sampler import Draw, Sampling, sample
from services.llm_core.scheduler import Scheduler, share_evenly
from services.llm_core.sequences import Row
from services.llm_core.state import Decision, TokenWalk, decide
from services.rpc import tensors


def test_greedy_takes_the_likeliest_and_mixes_with_drawn_rows():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    draws = [Draw(Sampling()), Draw(Sampling(temperature=0.01)), Draw(Sampling())]
    assert sample(logits, draws) == [1, 0, 2]


def test_drawn_tokens_have_the_distribution_that_was_asked_for():
    logits = torch.tensor([2.0, 1.5, 1.0, 0.0, -1.0])
    count = 5_000

    def shares(**sampling) -> list[float]:
        draws = [Draw(Sampling(temperature=0.7, seed=seed, **sampling)) for seed in range(count)]
        seen = Counter(sample(logits.expand(count, -1), draws))
        return [seen[token] / count for token in range(5)]

    want = (logits / 0.7).softmax(0)
    assert shares() == pytest.approx(want.tolist(), abs=0.03)
    two = (want * torch.tensor([1, 1, 0, 0, 0])) / want[:2].sum()
    assert shares(top_k=2) == pytest.approx(two.tolist(), abs=0.03)
    # 0.57 is under the line and 0.84 over it: the second token crosses and stays
    assert shares(top_p=0.7) == pytest.approx(two.tolist(), abs=0.03)
    assert shares(top_p=1e-6) == [1, 0, 0, 0, 0]


def test_a_seed_is_a_stream_of_numbers_of_its_own():
    logits = torch.zeros(1, 50)
    one, same, other = (Draw(Sampling(temperature=1.0, seed=seed)) for seed in (4, 4, 5))
    drawn = [[sample(logits, [draw])[0] for _ in range(20)] for draw in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) > 5


def test_text_comes_in_whole_characters(tiny_tokenizer):
    for text in ("hello, how are you?", "naïve façade 日本語 🙂🙃 é", "  two  spaces ", "☞☜"):
        ids = tiny_tokenizer.encode(text).ids
        detokenizer = Detokenizer(tiny_tokenizer)
        pieces = [detokenizer.push(token) for token in ids]
        assert "".join(pieces) == text
        assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_are_no_text_do_not_hold_the_answer_up(tiny_tokenizer):
    detokenizer = Detokenizer(tiny_tokenizer)
    broken = tiny_tokenizer.encode("日").ids[:2]
    pieces = [detokenizer.push(token) for token in [*broken, *broken, *tiny_tokenizer.encode(" hello").ids]]
    assert "".join(pieces).endswith(" hello")


def feed(stops, texts):
    """(texts given out by each push, texts given out in all, whether it stopped)"""
    watch, steps = StopWatch(stops), []
    for token, text in enumerate(texts):
        out, stopped = watch.push(token, text)
        steps.append("|".join(piece for _, piece in out))
        if stopped:
            return steps, True
    steps.append("|".join(piece for _, piece in watch.flush()))
    return steps, False


def test_a_stop_string_never_goes_out_not_even_in_part():
    assert feed((), ["a", "b"]) == (["a", "b", ""], False)
    assert feed(("END",), ["one ", "E", "N", "D", "x"]) == (["one ", "", "", ""], True)
    assert feed(("END",), ["one E", "N", "O"]) == (["", "", "one E|N|O", ""], False)
    assert feed(("END",), ["oneEND and more"]) == (["one"], True)
    assert feed(("END",), ["one EN"]) == (["", "one EN"], False)
    assert feed(("b", "abc"), ["xa", "bc"]) == (["", "x"], True)
    assert feed(("\n",), ["", "é", "", "\n"]) == (["", "|é", "", ""], True)


def test_the_head_decides_by_the_largest():
    decision = decide(torch.tensor([0.0, 1.0, 3.0]))
    assert decision.nothing and sum(decision.probabilities) == pytest.approx(1)
    assert not decide(torch.tensor([1.0, 0.0, 0.0])).nothing


def test_state_tokens_of_several_ids_are_walked_to_their_end():
    walk = TokenWalk([(5, 7), (5, 8), (6,)])
    logits = torch.zeros(10)
    logits[5], logits[9] = 1.0, 50.0  # 9 begins no state: it is not considered
    token, decision = walk.step(logits)
    assert token == 5 and decision is None
    logits[8] = 2.0
    token, decision = walk.step(logits)
    assert token == 8 and decision.state == 1
    first, second = torch.tensor([1.0, 0.0]).softmax(0), torch.tensor([0.0, 2.0]).softmax(0)
    assert decision.probabilities == pytest.approx([float(first[0] * share) for share in second] + [float(first[1])])


def test_the_store_keeps_the_newest_within_its_memory():
    store = PrefixStore(max_bytes=100)
    for number in range(4):
        store.put(f"s{number}", [number], torch.zeros(40, dtype=torch.uint8))
    assert (len(store), store.bytes) == (2, 80)
    assert store.take("s1") is None
    keys, saved = store.take("s2")
    assert keys == [2] and len(saved) == 40 and store.bytes == 40
    store.put("s3", [9], torch.zeros(100, dtype=torch.uint8))
    assert (len(store), store.bytes) == (1, 100)
    assert not store.room_for(101)


def make_row(pending: int, answering: bool = False, responded: bool = False) -> Row:
    turn = Turn(SimpleNamespace(), "s", "t", None, Sampling())
    row = Row(turn, None, None)
    row.keys = [1] * pending
    row.answering = answering
    row.responded_at = 0.0 if responded else None
    return row


async def test_the_budget_is_shared_evenly_and_used_up():
    def counts(pending, budget):
        rows = [make_row(count) for count in pending]
        shares = {id(row): count for row, count in share_evenly(rows, budget)}
        return [shares.get(id(row), 0) for row in rows]

    assert counts([100, 4, 50], 60) == [28, 4, 28]
    assert counts([100, 4, 50], 1000) == [100, 4, 50]
    assert sum(counts([9, 9, 9, 9], 2)) == 2
    assert counts([5], 0) == [0]


async def test_complete_questions_come_before_those_still_spoken():
    scheduler = Scheduler(4, prefill_tokens=10)
    spoken, complete, writing = make_row(30), make_row(8, responded=True), make_row(1, answering=True, responded=True)
    for slot, row in enumerate((spoken, complete, writing)):
        scheduler.place(row, slot)
    assert scheduler.chunks() == [(complete, 8), (spoken, 2)]
    assert scheduler.answering() == [writing]


async def test_answering_rows_gather_at_the_front():
    scheduler = Scheduler(4, prefill_tokens=10)
    rows = [make_row(1, answering=answers) for answers in (False, True, False, True)]
    for slot, row in enumerate(rows):
        row.computed = 10 * slot
        scheduler.place(row, slot)
    rows[3].paused = True
    assert list(scheduler.arrange()) == [(0, 1, 10)]
    rows[3].paused = False
    assert list(scheduler.arrange()) == [(1, 3, 30)]
    assert [row.slot for row in rows] == [3, 0, 2, 1]
    assert scheduler.slots[0] is rows[1] and scheduler.slots[1] is rows[3]
    assert scheduler.free_slot() is None
    scheduler.remove(rows[2])
    assert scheduler.free_slot() == 2


async def test_a_row_reuses_as_far_as_its_prompt_is_the_same():
    row = make_row(0)
    row.keep([1, 2, 3, 4, 5])
    row.extend([Piece([1, 2])])
    row.reuse()
    assert (row.computed, row.pending, row.held) == (2, 0, 5)
    assert row.held_keys() == [1, 2, 3, 4, 5]
    row.extend([Piece([3, 9, 5])])
    row.reuse()
    assert (row.computed, row.pending, row.held, row.cached) == (3, 2, 3, 3)
    row.advance(2)
    row.reuse()
    assert row.held_keys() == [1, 2, 3, 9, 5]


async def test_vectors_fill_their_own_positions_in_any_chunk():
    row = make_row(0)
    seen = torch.arange(6.0).view(3, 2)
    row.extend([Piece([4, 5]), Piece(keys_of(seen), seen), Piece([6])])
    for cut in range(7):
        left, right = torch.full((cut, 2), -1.0), torch.full((6 - cut, 2), -1.0)
        row.fill(0, cut, left)
        row.fill(cut, 6, right)
        assert torch.cat([left, right])[:, 0].tolist() == [-1, -1, 0, 2, 4, -1]


def test_keys_tell_vectors_apart_and_are_no_token_ids():
    vectors = torch.randn(4, 8)
    vectors[3] = vectors[0]
    keys = keys_of(vectors)
    assert keys[0] == keys[3] and len(set(keys)) == 3 and max(keys) < 0
    assert keys_of(vectors.bfloat16()) != keys


def test_speech_in_a_row_is_one_utterance(tiny_config, tiny_tokenizer):
    prompt = torch.full((2, 48), 0.5)
    reader = PromptReader(tiny_config.language, tiny_tokenizer, prompt, torch.float32)
    speech = tensors.from_torch(torch.randn(3, 48))
    spoken, written = pb.Part(speech=speech), pb.Part(text="hi")
    pieces = reader.history([pb.Message(role="ROLE_USER", parts=[spoken, spoken, written, spoken])])
    kinds = [len(piece.keys) if piece.vectors is not None else "text" for piece in pieces]
    assert kinds == ["text", 2, 3, 3, "text", 2, 3, "text"]
    live = reader.part(spoken, after_speech=False) + reader.part(spoken, after_speech=True)
    assert [len(piece.keys) for piece in live] == [2, 3, 3]


async def test_events_are_counted_as_they_are_read():
    heard = []
    turn = Turn(SimpleNamespace(has_read=heard.append), "", "t", None, Sampling())
    first = Decision(0, (1.0, 0.0, 0.0))
    turn.deliver(first)
    turn.deliver(ValueError("no"))
    found = []
    with pytest.raises(ValueError, match="no"):
        async for event in turn.events():
            found.append(event)
    assert found == [first] and heard == [turn] and turn.read == 1 and turn.key is turn
