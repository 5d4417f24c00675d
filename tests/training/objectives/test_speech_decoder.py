"""The speech decoder stage: steps, sums, durations, the default speaker, and that it learns."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers

from parley.models.parley import Parley
from parley.models.speech_decoder import Text
from training.objectives import speech_decoder as objective_module
from training.objectives.speech_decoder import GROUP, Clause, SpeechDecoderObjective, fit_durations, trim

PITCHES = {"a": 200, "b": 400, "c": 800}
LENGTHS = {"a": 0.1, "b": 0.2, "c": 0.3}  # seconds
PARTS = ("language", "speech_decoder", "codec_encoder", "codec_decoder")


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
    monkeypatch.setattr(objective_module, "VALIDATED", 6)
    monkeypatch.setattr(objective_module, "GENERATED", 2)
    tokenizer = Tokenizer(models.WordLevel({"a": 5, "b": 6, "c": 7}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()

    def objective(data=None, **kwargs) -> SpeechDecoderObjective:
        torch.manual_seed(0)
        model = Parley(tiny_config, PARTS)
        torch.nn.init.normal_(model.language.get_input_embeddings().weight, std=0.3)
        settings = {"batch_size": 4, "pool": 24} | kwargs
        return SpeechDecoderObjective(model, data or Tunes(), 0, tokenizer=tokenizer, **settings)

    return objective


def step_of(objective, step: int):
    return objective.passes(objective.numbers(step), step)


def test_a_step_depends_on_seed_and_step_alone(build):
    one, two = build(), build()
    step_of(one, 0)
    [a], [b] = step_of(one, 13), step_of(two, 13)
    assert torch.equal(a.codes, b.codes) and torch.equal(a.targets, b.targets) and a.ids == b.ids


def test_what_is_replaced_does_not_depend_on_who_else_is_in_the_pass(build):
    objective = build()
    [together] = objective.passes([3, 7, 11], 5)
    longest_first = sorted([3, 7, 11], key=lambda number: -len(objective.clause(number).codes))
    for place, number in enumerate(longest_first):
        [alone] = objective.passes([number], 5)
        assert torch.equal(together.codes[place, : alone.codes.shape[1]], alone.codes[0])
        assert together.ids[place] == alone.ids[0]


def test_the_steps_of_a_group_have_clauses_of_like_length(build):
    objective = build()
    lengths = [[len(objective.clause(n).codes) for n in objective.numbers(step)] for step in range(GROUP)]
    by_length = sorted(lengths)
    assert all(before[-1] <= after[0] for before, after in pairwise(by_length))
    assert lengths != by_length  # the steps come in any order


def test_targets_are_the_true_codes_then_the_end(build):
    objective = build()
    [batch] = step_of(objective, 2)
    eos = objective.config.eos
    for codes, targets in zip(batch.codes, batch.targets, strict=True):
        end = int((targets == eos).nonzero())
        assert (targets[end + 1 :] == objective_module.IGNORED).all()
        same = (codes[:end] == targets[:end]).float().mean()
        assert same > 0.5
    pairs = [(batch.codes, batch.targets[:, :-1]) for step in range(16) for batch in step_of(objective, step)]
    wrong = torch.cat([(codes != targets)[targets < eos] & (targets >= 0)[targets < eos] for codes, targets in pairs])
    assert 0.02 < wrong.float().mean() < 0.15


def test_held_out_clauses_are_read_as_they_are(build):
    objective = build()
    for batch in objective.probe(0, 1)[1:]:
        real = batch.targets[:, :-1] != objective_module.IGNORED
        real &= batch.targets[:, :-1] != objective.config.eos
        assert torch.equal(batch.codes[real], batch.targets[:, :-1][real])


def test_the_sums_are_those_of_each_clause(build):
    """Clause after clause, without padding; and however the step is split into passes."""
    objective = build(batch_size=6)
    [batch] = step_of(objective, 1)
    decoder, loss, right, count = objective.model.speech_decoder, 0.0, 0, 0
    with torch.no_grad():
        found = objective(batch, 1)
        for ids, codes, targets in zip(batch.ids, batch.codes, batch.targets, strict=True):
            real = targets[targets != objective_module.IGNORED]
            logits = decoder(Text.of([ids], objective.table), codes[None, : len(real) - 1])[0]
            loss += F.cross_entropy(logits, real, reduction="sum")
            right += int((logits.argmax(-1) == real).sum())
            count += len(real)
        torch.testing.assert_close(found["next_code"], loss, rtol=1e-4, atol=1e-3)
        assert int(found["accuracy"]) == right
        assert objective.counts(batch) == {"codes": count, "positions": count}

        objective.tokens = 2 * batch.targets.shape[1]
        passes = step_of(objective, 1)
        assert len(passes) > 1 and all(one.targets.numel() <= objective.tokens for one in passes)
        parts = sum(objective(one, 1)["next_code"] for one in passes)
        torch.testing.assert_close(parts, loss, rtol=1e-4, atol=1e-3)


def test_a_blank_pass_counts_nothing_and_gives_every_part_a_gradient(build):
    """Its process shares the step with others: they wait for the same gradients."""
    objective = build()
    decoder = objective.model.speech_decoder
    objective(step_of(objective, 0)[0], 0)["next_code"].backward()
    with_gradient = [name for name, weight in decoder.named_parameters() if weight.grad is not None]
    decoder.zero_grad(set_to_none=True)
    blank = objective.blank()
    assert not any(objective.counts(blank).values())
    sums = objective(blank, 0)
    assert sums["next_code"] == 0 and sums["accuracy"] == 0
    sums["next_code"].backward()
    assert [name for name, weight in decoder.named_parameters() if weight.grad is not None] == with_gradient
    assert not any(weight.grad.any() for weight in decoder.parameters() if weight.grad is not None)


def test_durations_and_default_speaker(build):
    objective = build()
    frames = objective.model.speech_decoder.token_frames
    assert frames[5] < frames[6] < frames[7]
    speaker = objective.model.config.codec.default_speaker
    each = np.stack([objective.clause(i).speaker for i in range(24)])
    assert speaker == tuple(int(np.bincount(column).argmax()) for column in each.T)


@torch.no_grad()
def validate(objective, world_size: int = 1) -> dict[str, float]:
    objective.eval()
    totals: dict[str, torch.Tensor] = {}
    for rank in range(world_size):
        for batch in [*objective.probe(rank, world_size), objective.blank()]:
            totals = {name: totals.get(name, 0) + value for name, value in objective(batch, 0).items()}
    objective.train()
    return objective.summary(totals)


def test_learns(build):
    objective = build()
    optimizer = torch.optim.AdamW(objective.model.speech_decoder.parameters(), lr=5e-3)
    losses = []
    for step in range(40):
        [batch] = step_of(objective, step)
        loss = objective(batch, step)["next_code"] / objective.counts(batch)["codes"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    measured = validate(objective)
    assert measured["loss"] < losses[0] and measured["length"] > 0
    check_figures(objective, measured)


@torch.no_grad()
def check_figures(objective, figures: dict[str, float]) -> None:
    """Held-out clauses one after the other, against those of batches in one process and in two."""
    assert validate(objective, 2) == pytest.approx(figures)
    objective.eval()
    decoder, losses, rights, lengths = objective.model.speech_decoder, [], [], []
    for number in range(6):
        clause = objective._encode(*objective.data.held_out("tunes", number))
        codes = torch.from_numpy(clause.codes.astype(np.int64))
        targets = torch.cat([codes, torch.tensor([objective.config.eos])])
        logits = decoder(Text.of([clause.ids], objective.table), codes[None])[0]
        losses.append(F.cross_entropy(logits, targets, reduction="none"))
        rights.append(logits.argmax(-1) == targets)
        if number < objective_module.GENERATED:
            lengths.append((len(decoder.generate(clause.ids, objective.table)), len(codes)))
    assert figures["loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-4)
    assert figures["accuracy"] == pytest.approx(torch.cat(rights).float().mean().item())
    generated, true = (sum(column) for column in zip(*lengths, strict=True))
    assert figures["length"] == pytest.approx(generated / true)


def test_rates_must_agree(build):
    data = Tunes()
    data.sample_rate = 16_000
    with pytest.raises(ValueError, match="24000 Hz, the data are of 16000"):
        build(data)


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
