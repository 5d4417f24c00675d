"""The dialogue objective reads what the served model reads, learns answers only, and knows which state is whose."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from parley.config import STATES
from parley.media.messages import read_media
from parley.models.parley import Parley
from training.data.packing import IGNORED
from training.data.world import World
from training.objectives import next_token
from training.objectives.next_token import NextTokenObjective, Speech
from training.recipe import Schedule, find_stage
from training.stages.world_data import WorldData, sources, spoken

TRAIN = World(0, "train")
MIXTURE = {"spoken_questions": 50, "negatives": 50}


@pytest.fixture(scope="module")
def objective(tiny_config, tiny_tokenizer):
    stage = find_stage("2.2")
    schedule = Schedule(lr=1e-3, steps=2, batch=4, sequence_length=2048, mixture=MIXTURE)
    torch.manual_seed(0)
    model = Parley(tiny_config, stage.loads).eval()
    model.tokenizer = tiny_tokenizer
    return NextTokenObjective(stage, model, WorldData(stage, schedule, 0, tiny_tokenizer), 0)


@pytest.fixture(scope="module")
def samples():
    """A written dialogue, spoken ones with and without a picture, a video, and turns that are not for us."""
    negatives = next(
        s for s in (sources(TRAIN)["negatives"](i) for i in range(20)) if any("state" in m for m in s.messages)
    )
    return [
        TRAIN.small_talk(1, turns=2),
        spoken(TRAIN, 2, TRAIN.dialog(2, turns=3), share=1.0),
        TRAIN.video(3),
        negatives,
        spoken(TRAIN, 4, TRAIN.small_talk(4), share=1.0),
    ]


def test_packed_samples_are_read_as_the_served_model_reads_each_alone(objective, samples, monkeypatch):
    monkeypatch.setitem(next_token.UTTERANCES_A_CALL, "cpu", 2)  # so that there are several groups of utterances
    monkeypatch.setattr("training.data.packing.FEWEST_TOKENS", 1)  # and several packs
    model = objective.model
    with torch.no_grad():
        packs, _ = objective.forward(objective.collate(samples))
        assert len(packs) > 1
        for number, sample in enumerate(samples):
            messages = read_media(sample.messages, model.config)
            alone = model.embed(messages, open_assistant=False)[None]
            expected = model.language.model(inputs_embeds=alone).last_hidden_state[0]
            found = torch.cat([hidden[pack.owner == number] for pack, hidden in packs])
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_only_answers_are_learned(objective, samples):
    batch = objective.collate(samples)
    packs, _ = objective.forward(batch)
    for number, sample in enumerate(samples):
        writer, expected = objective.collate.writer, []
        for message in sample.messages:
            if message["role"] == "assistant":
                expected += [*writer.text(message["content"]), *writer.stop_ids]
        labels = torch.cat([pack.labels[pack.owner == number] for pack, _ in packs])
        assert labels[labels != IGNORED].tolist() == expected


def test_states_stand_where_answers_open(objective, samples):
    batch = objective.collate(samples)
    packs, _ = objective.forward(batch)
    found: dict[int, list[str]] = {}
    for pack, _ in packs:
        at, states = objective._openings(batch, pack)
        for (sequence, column), state in zip(at.tolist(), states.tolist(), strict=True):
            assert pack.ids[sequence, column] == objective.collate.writer.tokenizer.token_to_id("<|assistant|>")
            found.setdefault(int(pack.owner[sequence, column]), []).append(STATES[state])
    assert found[0] == ["text", "text"]
    assert set(found[1]) == {"speech"}
    assert found[2] == ["text"]
    assert "nothing" in found[3]
    assert found[4] == ["speech"]


def test_the_loss_is_cross_entropy_over_answers(objective):
    sample = TRAIN.small_talk(1)
    batch = objective.collate([sample])
    with torch.no_grad():
        _, metrics = objective.loss(batch)
        ids = [i for segment in objective.collate.writer.render(sample.messages) for i in segment.ids]
        answers = [a for s in objective.collate.writer.render(sample.messages) for a in [s.answer] * len(s.ids)]
        logits = objective.model.language(input_ids=torch.tensor([ids])).logits[0]
        each = F.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
    assert metrics["next_token"] == pytest.approx(each[torch.tensor(answers[1:])].mean().item(), rel=1e-4)


def test_a_right_answer_is_what_greedy_decoding_writes(objective):
    """Teacher forcing and decoding must agree on what is right, before the answer is learned and after."""
    sample = TRAIN.small_talk(0)
    expected = sample.messages[1]["content"]
    model = copy.deepcopy(objective.model)
    alone = NextTokenObjective(objective.stage, model, objective.data, 0)

    def right() -> bool:
        [answer] = alone.score([sample])
        written = model.reply(sample.messages[:1], max_tokens=24, speak=False, always=True).text
        assert answer.right == (written == expected)
        return answer.right

    assert not right()
    optimizer = torch.optim.Adam(model.language.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        alone.loss(alone.collate([sample]))[0].backward()
        optimizer.step()
        if right():
            return
    raise AssertionError("one answer was not learned in a hundred steps")


def test_speech_too_short_for_its_text_is_counted(objective):
    frames = torch.zeros(2, 2, objective.config.speech.hidden_size)
    texts = ["a", "a sentence with more letters than four slots hold"]
    before = objective.unfit
    objective._ctc_loss(Speech(frames, torch.tensor([2, 2])), texts)
    assert objective.unfit == before + 1


def test_batches_are_a_function_of_seed_and_step(objective):
    one, same = objective.batch(3), objective.batch(3)
    assert [sample.segments for sample in one.samples] == [sample.segments for sample in same.samples]
    assert one.transcripts == same.transcripts
    # espeak-ng's own pitch flutter makes an utterance a few samples longer or shorter from one call to the next.
    assert torch.allclose(one.lengths.float(), same.lengths.float(), atol=3)
