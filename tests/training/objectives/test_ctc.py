"""The CTC objective: batches that depend on (seed, step) alone, honest counts, and that it learns."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from parley.config import SpeechConfig
from parley.models.speech import CtcHead, SpeechEncoder, subsampled
from training.objectives import ctc
from training.objectives.ctc import CtcObjective, mel_frames_for

CONFIG = SpeechConfig(
    conv_channels=8, hidden_size=48, num_layers=2, num_heads=2, intermediate_size=96, position="rotary",
    conv_kernel=5, dropout=0.0, chunk_size=8, left_chunks=4, dynamic_chunks=True, ctc_alphabet=" abc",
)  # fmt: skip


class Tones:
    """A language of four tones: a letter is 0.2 s of its own pitch."""

    sample_rate = 16_000
    measures = ("tunes",)
    letters = 0.2  # seconds of each

    def text(self, index: int) -> str:
        rng = np.random.default_rng(index)
        return "".join(rng.choice(list("abc"), size=rng.integers(2, 7)))

    def seconds(self, index: int) -> float:
        return self.letters * len(self.text(index))

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        time = np.arange(int(self.letters * self.sample_rate)) / self.sample_rate
        swell = np.sin(np.pi * time / self.letters)
        waves = [swell * np.sin(2 * np.pi * 400 * 2 ** "abc".index(letter) * time) for letter in self.text(index)]
        noise = np.random.default_rng(index).standard_normal(len(waves) * len(time))
        return (0.3 * np.concatenate(waves) + 0.003 * noise).astype(np.float32), self.text(index)

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        return self.utterance(1_000_000 + index)


@pytest.fixture
def build(monkeypatch):
    monkeypatch.setattr(ctc, "MEASURED", 8)
    monkeypatch.setattr(ctc, "VALIDATED", 8)

    def objective(data=None, seed=0, **kwargs) -> CtcObjective:
        torch.manual_seed(0)
        model = SimpleNamespace(speech_encoder=SpeechEncoder(CONFIG), ctc_head=CtcHead(CONFIG))
        return CtcObjective(None, model, data or Tones(), seed, **({"batch_size": 8} | kwargs))

    return objective


def same(a, b) -> bool:
    return torch.equal(a.features, b.features) and torch.equal(a.targets, b.targets)


def test_a_batch_depends_on_seed_and_step_alone(build):
    first, again, other = build(), build(), build(seed=1)
    for step in (5, 0, 17):
        assert same(first.batch(step), again.batch(step))
        assert not same(first.batch(step), other.batch(step))
    assert not same(first.batch(1), first.batch(2))


def test_every_utterance_of_a_group_comes_once_and_lengths_are_alike(build):
    objective = build(batch_size=2)
    tones = Tones()
    said = sorted(tones.text(i) for i in range(2 * ctc.GROUP))
    batches = [objective.batch(step) for step in range(ctc.GROUP)]
    transcripts = []
    for batch in batches:
        for ids in batch.targets.split(batch.target_lengths.tolist()):
            transcripts.append("".join(CONFIG.ctc_alphabet[i - 1] for i in ids))
    assert sorted(transcripts) == said
    assert all(int(b.target_lengths.max() - b.target_lengths.min()) <= 1 for b in batches)


def test_mean_and_variance_are_measured_once(build):
    objective = build()
    encoder = objective.encoder
    assert encoder.mean.abs().min() > 0 and (encoder.istd != 1).all()
    measured = encoder.mean.clone()
    CtcObjective(None, SimpleNamespace(speech_encoder=encoder, ctc_head=objective.head), Tones(), 7)
    assert torch.equal(encoder.mean, measured)


def test_utterances_too_short_for_their_text_are_counted(build):
    class TooFast(Tones):
        letters = 0.015

        def text(self, index: int) -> str:
            return "abcabcabcabc"

    batch = build(TooFast()).batch(0)
    assert batch.unfit == 8
    loss, metrics = build(TooFast()).loss(batch)
    assert loss == 0 and metrics["unfit"] == 8


def test_frames_that_a_text_needs():
    assert subsampled(mel_frames_for([1, 2, 3])) == 3
    assert subsampled(mel_frames_for([1, 1, 3])) == 4


def test_another_rate_is_refused(build):
    class Slow(Tones):
        sample_rate = 8_000

    with pytest.raises(ValueError, match="16000 Hz, the data are of 8000 Hz"):
        build(Slow())


def test_it_learns_to_transcribe(build):
    objective = build()
    parameters = [*objective.encoder.parameters(), *objective.head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=4e-3, betas=(0.9, 0.98))
    for step in range(300):
        loss, _ = objective.loss(objective.batch(step))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    objective.encoder.eval()
    with torch.no_grad():
        errors = objective.validate()["wer_tunes"]
    assert errors <= 25, f"{errors} % of the letters are wrong"
