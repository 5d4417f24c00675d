"""The CTC objective: steps that depend on (seed, step) alone, honest counts and sums, and that it learns."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from parley.config import SpeechConfig
from parley.models.filter_bank import fbank
from parley.models.speech import CtcHead, SpeechEncoder, random_chunks, subsampled
from training.objectives import ctc
from training.objectives.ctc import CtcObjective, mel_frames_for

CONFIG = SpeechConfig(
    conv_channels=8, hidden_size=48, num_layers=2, num_heads=2, intermediate_size=96, position="rotary",
    conv_kernel=5, dropout=0.0, chunk_size=8, left_chunks=4, dynamic_chunks=True, ctc_alphabet=" abc",
)  # fmt: skip


class Tones:
    """A language of four tones: a letter is 0.2 s of its own pitch."""

    sample_rate = 16_000
    measures = ("tunes", "others")
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
        return self.utterance(1_000_000 * (1 + self.measures.index(measure)) + index)


class TooFast(Tones):
    letters = 0.015

    def text(self, index: int) -> str:
        return "abcabcabcabc"


@pytest.fixture
def build(monkeypatch):
    monkeypatch.setattr(ctc, "MEASURED", 8)
    monkeypatch.setattr(ctc, "VALIDATED", 8)

    def objective(data=None, seed=0, **kwargs) -> CtcObjective:
        torch.manual_seed(0)
        model = nn.Module()
        model.speech_encoder, model.ctc_head = SpeechEncoder(CONFIG), CtcHead(CONFIG)
        return CtcObjective(model, data or Tones(), seed, **({"batch_size": 8} | kwargs))

    return objective


def step_of(objective, step: int) -> list[ctc.CtcBatch]:
    return objective.passes(objective.numbers(step), step)


def same(a: list[ctc.CtcBatch], b: list[ctc.CtcBatch]) -> bool:
    pairs = zip(a, b, strict=True)
    return all(torch.equal(x.features, y.features) and torch.equal(x.targets, y.targets) for x, y in pairs)


def texts(batch: ctc.CtcBatch) -> list[str]:
    ids = batch.targets.split(batch.target_lengths.tolist())
    return ["".join(CONFIG.ctc_alphabet[i - 1] for i in each) for each in ids]


def test_a_step_depends_on_seed_and_number_alone(build):
    first, again, other = build(), build(), build(seed=1)
    for step in (5, 0, 17):
        assert same(step_of(first, step), step_of(again, step))
        assert not same(step_of(first, step), step_of(other, step))
    assert not same(step_of(first, 1), step_of(first, 2))


def test_every_utterance_of_a_group_comes_once_and_lengths_are_alike(build):
    objective, tones = build(batch_size=2), Tones()
    steps = [step_of(objective, step) for step in range(ctc.GROUP)]
    transcripts = [text for [batch] in steps for text in texts(batch)]
    assert sorted(transcripts) == sorted(tones.text(i) for i in range(2 * ctc.GROUP))
    assert all(int(b.target_lengths.max() - b.target_lengths.min()) <= 1 for [b] in steps)
    numbers = [number for step in range(ctc.GROUP, 2 * ctc.GROUP) for number in objective.numbers(step)]
    assert sorted(numbers) == list(range(2 * ctc.GROUP, 4 * ctc.GROUP))


def test_passes_are_no_longer_than_asked_for(build):
    """And have the same utterances as one pass."""
    [whole] = step_of(build(), 3)
    passes = step_of(build(frames=150), 3)
    assert len(passes) > 1
    assert all(batch.features.shape[0] * batch.features.shape[1] <= 150 for batch in passes)
    assert sorted(text for batch in passes for text in texts(batch)) == sorted(texts(whole))


def test_mean_and_variance_are_measured_once(build):
    objective = build()
    encoder = objective.encoder
    frames = torch.cat([fbank(Tones().utterance(i)[0], CONFIG) for i in range(8)])
    torch.testing.assert_close(encoder.mean, frames.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(encoder.istd, 1 / frames.std(0).clamp(min=1e-3), rtol=1e-4, atol=1e-4)
    measured = encoder.mean.clone()
    CtcObjective(objective.model, TooFast(), 7)
    assert torch.equal(encoder.mean, measured)


def test_the_sum_is_the_loss_of_each_utterance_over_its_letters(build):
    """However a step is split into passes. The chunks are those of the step."""
    objective = build()
    [whole] = step_of(objective, 3)
    chunks, expected = random_chunks(torch.Generator().manual_seed(hash((0, 3)))), 0.0
    ids = whole.targets.split(whole.target_lengths.tolist())
    for features, length, target in zip(whole.features, whole.lengths, ids, strict=True):
        frames, lengths = objective.encoder(features[None, :length], length[None], *chunks)
        loss = F.ctc_loss(objective.head(frames)[0], target, lengths[0], torch.tensor(len(target)), reduction="sum")
        expected += loss.item() / len(target)
    assert objective(whole, 3)["ctc"].item() == pytest.approx(expected, rel=1e-4)
    assert objective.counts(whole) == {"utterances": 8, "positions": int(whole.lengths.sum())}
    few = build(frames=150)
    passes = step_of(few, 3)
    assert len(passes) > 1
    assert sum(few(batch, 3)["ctc"].item() for batch in passes) == pytest.approx(expected, rel=1e-4)
    assert sum(few.counts(batch)["utterances"] for batch in passes) == 8


def test_utterances_too_short_for_their_text_are_counted(build):
    objective = build(TooFast())
    [batch] = step_of(objective, 0)
    assert not batch.fits.any()
    sums = objective(batch, 0)
    assert sums["ctc"] == 0 and sums["unfit"] == 8
    sums["ctc"].backward()
    assert all(weight.grad.isfinite().all() for weight in objective.parameters() if weight.grad is not None)


def test_a_blank_pass_counts_nothing_and_gives_every_part_a_gradient(build):
    """Its process shares the step with others: they wait for the same gradients."""
    objective = build()
    objective(step_of(objective, 0)[0], 0)["ctc"].backward()
    with_gradient = [name for name, weight in objective.named_parameters() if weight.grad is not None]
    objective.zero_grad(set_to_none=True)
    blank = objective.blank()
    assert objective.counts(blank) == {"utterances": 0, "positions": 0}
    sums = objective(blank, 0)
    assert sums["ctc"] == 0 and sums["unfit"] == 0
    sums["ctc"].backward()
    assert [name for name, weight in objective.named_parameters() if weight.grad is not None] == with_gradient
    assert not any(weight.grad.any() for weight in objective.parameters() if weight.grad is not None)


def test_frames_that_a_text_needs():
    assert subsampled(mel_frames_for([1, 2, 3])) == 3
    assert subsampled(mel_frames_for([1, 1, 3])) == 4


def test_another_rate_is_refused(build):
    class Slow(Tones):
        sample_rate = 8_000

    with pytest.raises(ValueError, match="16000 Hz, the data are of 8000 Hz"):
        build(Slow())


@torch.no_grad()
def validate(objective, world_size: int = 1) -> dict[str, float]:
    objective.eval()
    batches = [batch for rank in range(world_size) for batch in objective.probe(rank, world_size)]
    table = sum(objective(batch, 0)["words"] for batch in [*batches, objective.blank()])
    objective.train()
    return objective.summary({"words": table})


def test_it_learns_to_transcribe(build):
    objective = build(batch_size=6)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=6e-3, betas=(0.9, 0.98))
    for step in range(120):
        if step == 20:  # while a part of the words is wrong
            check_figures(objective)
        [batch] = step_of(objective, step)
        loss = objective(batch, step)["ctc"] / len(batch.features)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
    errors = validate(objective)["wer_tunes"]
    assert errors <= 25, f"{errors} % of the words are wrong"


def check_figures(objective) -> None:
    """Whole texts, one after the other, against those of batches in one process and in three."""
    figures = validate(objective)
    assert validate(objective, 3) == figures
    for name in Tones.measures:
        said = [Tones().held_out(name, number) for number in range(8)]
        written = [transcribed(objective, waveform) for waveform, _ in said]
        assert figures[f"wer_{name}"] == pytest.approx(100 * jiwer.wer([text for _, text in said], written))
    objective.train()


@torch.no_grad()
def transcribed(objective, waveform: np.ndarray) -> str:
    objective.eval()
    features = fbank(waveform, CONFIG)
    frames, _ = objective.encoder(features[None], torch.tensor([len(features)]))
    return objective.head.transcribe(frames[0])
