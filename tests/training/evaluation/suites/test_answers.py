"""Many questions in one pass are judged as each is answered alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from parley.checkpoints import load_model
from parley.media.messages import read_media
from training.data.sample import Sample
from training.data.world import heldout
from training.evaluation.suites.answers import Asked, is_empty, percent

NANO = Path(__file__).parents[4] / "checkpoints/nano"


@pytest.fixture(scope="module")
def model():
    return load_model(NANO)


@torch.no_grad()
def test_what_is_found_in_one_pass_is_what_is_answered_one_by_one(model):
    seed = heldout.SEEDS[0]
    samples = [*heldout.questions(seed, 1), *heldout.questions(seed, 1, spoken=True), *heldout.states(seed, 1)]
    samples += [sample for _, sample in zip(range(4), heldout.absent(seed, 4), strict=True)]  # some answers are wrong
    asked = Asked.of(model, samples)
    replies = [model.reply(read_media(one.messages[:-1], model.config), speak=False, always=True) for one in samples]
    assert [answer.predicted_state for answer in asked.answers] == [reply.state for reply in replies]
    written = [reply.text == sample.messages[-1]["content"] for reply, sample in zip(replies, samples, strict=True)]
    answered = [bool(sample.messages[-1]["content"]) for sample in samples]
    assert [right for right, there in zip(asked.right, answered, strict=True) if there] == [
        same for same, there in zip(written, answered, strict=True) if there
    ]
    given = [same and reply.state != "nothing" for same, reply in zip(written, replies, strict=True)]
    assert [one for one, there in zip(asked.served, answered, strict=True) if there] == [
        one for one, there in zip(given, answered, strict=True) if there
    ]
    assert 50 < percent(asked.right) < 100
    assert asked.empty == sum(reply.state != "nothing" and not reply.text.strip() for reply in replies)


def test_an_answer_without_a_word_is_found(model, monkeypatch):
    sample = Sample(
        [{"role": "user", "content": "hello."}, {"role": "assistant", "content": "hello, nice to meet you."}], "talk"
    )
    assert not is_empty(model, sample)
    reply = model.reply(sample.messages[:1], speak=False)

    def silent(messages, **options):
        assert [message["role"] for message in messages] == ["user"]
        return type(reply)(reply.state, reply.probabilities, " ", [], np.zeros(0, np.float32))

    monkeypatch.setattr(model, "reply", silent)
    assert is_empty(model, sample)
