"""The speech decoder stage: batches, durations, the default speaker, and that it learns."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from parley.models.parley import Parley
from training.objectives import speech_decoder as objective_module
from training.objectives.speech_decoder import Clause, SpeechDecoderObjective, fit_durations, trim

PITCHES = {"a": 200, "b": 400, "c": 800}
LENGTHS = {"a": 0.1, "b": 0.2, "c": 0.3}  # seconds


class Tunes:
    """Each letter is a tone of its own pitch and length."""

    sample_rate = 24_000
    measures = ("tunes",)

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        letters = np.random.default_rng(index).choice(list("abc"), size=1 + index % 4)
        tones = [0.3 * np.sin(2 * np.pi * PITCHES[x] * np.arange(int(LENGTHS[x] * 24_000)) / 24_000) for x in letters]
        return np.concatenate(tones).astype(np.float32), " ".join(letters)

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        return self.utterance(100_000 + index)


@pytest.fixture
def build(tiny_config, monkeypatch):
    monkeypatch.setattr(objective_module, "VALIDATED", 4)
    tokenizer = Tokenizer(models.WordLevel({"a": 5, "b": 6, "c": 7}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()

    def objective(**kwargs) -> SpeechDecoderObjective:
        torch.manual_seed(0)
        model = Parley(tiny_config, ("language", "speech_decoder", "codec_encoder", "codec_decoder"))
        torch.nn.init.normal_(model.language.get_input_embeddings().weight, std=0.3)
        return SpeechDecoderObjective(
            None, model, Tunes(), 0, tokenizer=tokenizer, **({"batch_size": 4, "pool": 24} | kwargs)
        )

    return objective


def test_batches_depend_on_seed_and_step_alone(build):
    one, two = build(), build()
    one.batch(0)
    a, b = one.batch(13), two.batch(13)
    assert torch.equal(a.codes, b.codes) and torch.equal(a.targets, b.targets) and torch.equal(a.text.ids, b.text.ids)


def test_targets_are_the_true_codes_then_the_end(build):
    objective = build()
    batch = objective.batch(2)
    eos = objective.config.eos
    for codes, targets in zip(batch.codes, batch.targets, strict=True):
        end = int((targets == eos).nonzero())
        assert (targets[end + 1 :] == objective_module.IGNORED).all()
        same = (codes[:end] == targets[:end]).float().mean()
        assert same > 0.5
    pairs = [(batch.codes, batch.targets[:, :-1]) for batch in map(objective.batch, range(16))]
    wrong = torch.cat([(codes != targets)[targets < eos] & (targets >= 0)[targets < eos] for codes, targets in pairs])
    assert 0.02 < wrong.float().mean() < 0.15


def test_durations_and_default_speaker(build):
    objective = build()
    frames = objective.decoder.token_frames
    assert frames[5] < frames[6] < frames[7]
    speaker = objective.model.config.codec.default_speaker
    each = np.stack([objective.clause(i).speaker for i in range(24)])
    assert speaker == tuple(int(np.bincount(column).argmax()) for column in each.T)


def test_learns(build):
    objective = build()
    optimizer = torch.optim.AdamW(objective.decoder.parameters(), lr=5e-3)
    losses = []
    for step in range(40):
        loss, _ = objective.loss(objective.batch(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    with torch.no_grad():
        measured = objective.validate()
    assert measured["loss"] < losses[0] and measured["length"] > 0


def test_rates_must_agree(build, tiny_config):
    data = Tunes()
    data.sample_rate = 16_000
    model = Parley(tiny_config, ("language", "speech_decoder", "codec_encoder", "codec_decoder"))
    with pytest.raises(ValueError, match="24000 Hz, the data are of 16000"):
        SpeechDecoderObjective(None, model, data, 0, tokenizer=None)


def test_fit_durations():
    rng = np.random.default_rng(0)
    true = np.array([3.0, 8.0, 12.0, 20.0])
    clauses = []
    for _ in range(200):
        ids = rng.integers(4, size=rng.integers(1, 8)).tolist()
        clauses.append(Clause(ids, np.zeros(round(true[ids].sum()), np.int16), np.zeros(1, np.int16)))
    fitted = fit_durations(clauses, 6)
    np.testing.assert_allclose(fitted[:4], true, atol=0.5)
    assert np.isfinite(fitted).all() and fitted[5] > 5


def test_trim():
    speech = np.concatenate([np.zeros(4800), 0.5 * np.ones(2400), np.zeros(9600)]).astype(np.float32)
    trimmed = trim(speech, 24_000)
    assert 2400 < len(trimmed) <= 2400 + 0.1 * 24_000
    assert len(trim(np.zeros(100, np.float32), 24_000)) == 100
