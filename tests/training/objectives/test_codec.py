"""The codec stage: codebooks start and live, the discriminator joins, each learns from its own loss, all is resumed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from parley.config import HifiganCodecConfig, IstftCodecConfig
from parley.models.codec import build_codec_decoder, build_codec_encoder
from training.objectives import codec as objective_module
from training.objectives.codec import CodecBatch, CodecObjective, cut, discriminated
from training.objectives.discriminator import discriminator_loss, generator_loss

ISTFT = IstftCodecConfig(
    num_codes=32, code_dim=8, encoder_channels=32, encoder_layers=2, decoder_channels=32, decoder_layers=2,
    num_speaker_tokens=2, speaker_codes=4,
)  # fmt: skip
HIFIGAN = HifiganCodecConfig(
    num_codes=32, upsample_rates=(8, 5, 5, 3), upsample_initial_channel=32, resblock="2", resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1,),), num_speaker_tokens=2, speaker_codes=4, global_feature_conv=(128, 16, 16, 3, 1),
)  # fmt: skip


class Hum:
    """Notes of a few pitches in two voices (with and without overtones)."""

    sample_rate = 24_000
    measures = ("notes",)

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        rng = np.random.default_rng(index)
        time = np.arange(6000) / self.sample_rate
        tones = [sum(np.sin(2 * np.pi * f * h * time) / h for h in (1, 2, 3)[: 1 + 2 * (index % 2)])
                 for f in rng.choice([200, 300, 450], 8)]  # fmt: skip
        return (0.1 * np.concatenate(tones)).astype(np.float32), ""

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        return self.utterance(100_000 + index)


@pytest.fixture
def build(monkeypatch):
    monkeypatch.setattr(objective_module, "START_AFTER", 100)
    monkeypatch.setattr(objective_module, "SPEAKER_START_AFTER", 8)
    monkeypatch.setattr(objective_module, "SEGMENT_TOKENS", 16)
    monkeypatch.setattr(objective_module, "REFERENCE_TOKENS", 16)
    monkeypatch.setattr(objective_module, "VALIDATED", 4)

    def objective(config=ISTFT, **kwargs) -> CodecObjective:
        torch.manual_seed(0)
        model = nn.Module()
        model.codec_encoder, model.codec_decoder = build_codec_encoder(config), build_codec_decoder(config)
        return CodecObjective(model, Hum(), 0, **({"batch_size": 4} | kwargs))

    return objective


def passes_of(objective, step: int) -> list[CodecBatch]:
    return objective.passes(objective.numbers(step), step)


def mean_terms(objective, batches: list[CodecBatch], step: int) -> dict[str, torch.Tensor]:
    """As the trainer divides them."""
    totals = [objective.counts(batch) for batch in batches]
    sums = [objective(batch, step) for batch in batches]
    return {
        name: sum(each[name] for each in sums) / max(1, sum(each[objective.terms[name].per] for each in totals))
        for name in sums[0]
    }


def train(objective, steps, begin=0, lr=2e-3) -> list[dict[str, float]]:
    optimizer = torch.optim.AdamW(objective.model.parameters(), lr=lr)
    adversary_optimizer = torch.optim.AdamW(objective.adversary.parameters(), lr=lr)
    history = []
    for step in range(begin, begin + steps):
        terms = mean_terms(objective, passes_of(objective, step), step)
        optimizer.zero_grad()
        adversary_optimizer.zero_grad()
        sum(objective.terms[name].weight * value for name, value in terms.items()).backward()
        optimizer.step()
        adversary_optimizer.step()
        objective.finish_step()
        history.append({name: value.item() for name, value in terms.items()})
    return history


@torch.no_grad()
def validate(objective) -> dict[str, float]:
    objective.eval()
    totals: dict[str, torch.Tensor] = {}
    for rank in range(2):
        for batch in objective.probe(rank, 2):
            for name, value in objective(batch, 0).items():
                totals[name] = totals.get(name, 0) + value
    objective.train()
    return objective.summary(totals)


def test_batches_depend_on_seed_and_number_alone(build):
    one, two = build(), build()
    passes_of(one, 0)
    [a], [b] = passes_of(one, 5), passes_of(two, 5)
    assert torch.equal(a.segment, b.segment) and torch.equal(a.reference, b.reference)
    assert a.segment.shape == (4, 16 * 600) and a.numbers.tolist() == [20, 21, 22, 23]
    assert not torch.equal(a.segment, passes_of(one, 6)[0].segment)
    [alone] = one.passes([22], 9)
    assert torch.equal(alone.segment[0], a.segment[2]) and torch.equal(alone.reference[0], a.reference[2])


def test_it_learns_starts_its_codebooks_and_adds_the_discriminator(build):
    objective = build(adversary_after=24)
    before = [book.weight.clone() for book in objective.model.codec_decoder.quantizer.codebooks]
    assert validate(objective) == {}
    history = train(objective, 28)
    assert objective.adversary.codes.ready and objective.adversary.speakers.ready
    assert not torch.equal(before[0], objective.model.codec_decoder.quantizer.codebooks[0].weight)
    assert np.mean([m["mel"] for m in history[-5:]]) < 0.8 * history[0]["mel"]
    assert "adversarial" not in history[23] and "adversarial" in history[24]
    measured = validate(objective)
    assert measured["perplexity"] >= 1 and np.isfinite(measured["mel"])


def test_hifigan_trains_too(build):
    objective = build(HIFIGAN, adversary_after=2, batch_size=3)
    history = train(objective, 3, lr=1e-3)
    assert all(np.isfinite(list(metrics.values())).all() for metrics in history)
    assert history[2]["adversarial"] > 0


@pytest.fixture
def adversarial(build):
    """An objective whose codebooks are ready and whose discriminator reads, and a batch of it."""
    objective = build(adversary_after=8)
    train(objective, 8)
    [batch] = passes_of(objective, 9)
    assert objective.adversary.codes.ready and 0 < discriminated(batch.numbers).sum() < len(batch.numbers)
    return objective, batch


def test_the_terms_are_the_losses_of_each_utterance(adversarial):
    """Utterance after utterance, and the discriminator on what the codec made, as they are written in the papers."""
    objective, batch = adversarial
    encoder, decoder = objective.model.codec_encoder, objective.model.codec_decoder
    with torch.no_grad():
        found = objective(batch, 9)
        expected = dict.fromkeys(objective.terms, 0.0)
        for i, number in enumerate(batch.numbers.tolist()):
            segment, reference = batch.segment[i : i + 1], batch.reference[i : i + 1]
            latents, voice = encoder(segment)[0], encoder.speaker(reference)
            codes, speaker = decoder.quantizer.assign(latents), decoder.voice_quantizer.assign(voice)
            made = decoder.generator(decoder.quantizer(codes), decoder.voice_quantizer(speaker))
            expected["mel"] += objective.distance(made, segment)[0]
            expected["commitment"] += (latents - decoder.quantizer(codes)).square().mean()
            expected["commitment"] += (voice - decoder.voice_quantizer(speaker)).square().mean()
            if number % objective_module.DISCRIMINATED:
                continue
            discriminator = objective.adversary.discriminator
            real, generated = discriminator(segment), discriminator(made)
            against, matching = generator_loss(real, generated)
            expected["adversarial"] += against[0]
            expected["matching"] += matching[0]
            expected["discriminator"] += discriminator_loss(real, generated)[0]
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_discriminator_and_codec_learn_each_from_its_own_loss(adversarial):
    """Both in one backward pass, against the two computed apart."""
    objective, batch = adversarial
    discriminator, model = objective.adversary.discriminator, objective.model
    chosen = discriminated(batch.numbers)
    objective.zero_grad(set_to_none=True)
    sums = objective(batch, 9)
    sum(objective.terms[name].weight * value for name, value in sums.items()).backward()
    together = {
        owner: [None if p.grad is None else p.grad.clone() for p in owner.parameters()]
        for owner in (discriminator, model)
    }

    discriminator.zero_grad()
    with torch.no_grad():
        made, _ = objective._decode(batch, chosen)
    loss = discriminator_loss(discriminator(batch.segment[chosen]), discriminator(made[chosen])).sum()
    own = torch.autograd.grad(loss, list(discriminator.parameters()))
    for found, expected in zip(together[discriminator], own, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)

    made, commitment = objective._decode(batch, chosen)
    frozen = [weight.requires_grad_(False) for weight in discriminator.parameters()]
    real, generated = discriminator(batch.segment[chosen]), discriminator(made[chosen])
    against, matching = generator_loss(real, generated)
    distance = objective.distance(made, batch.segment)
    loss = distance.sum() + 0.25 * commitment.sum() + 0.05 * against.sum() + 0.1 * matching.sum()
    own = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    for weight in frozen:
        weight.requires_grad_(True)
    assert any(gradient is not None and gradient.any() for gradient in own)
    for found, expected in zip(together[model], own, strict=True):
        if expected is None:
            assert found is None or not found.any()
        else:
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-6)


def test_a_step_of_several_passes_is_the_same_step(build):
    """Same losses, same gradients, same codebooks afterwards; no codebook changes before the end of the step."""
    found = []
    for tokens in (4 * 32, 32):
        objective = build(adversary_after=6, tokens=tokens)
        train(objective, 8)
        batches = passes_of(objective, 8)
        book = objective.model.codec_decoder.quantizer.codebooks[0].weight
        before = book.clone()
        terms = mean_terms(objective, batches, 8)
        assert torch.equal(book, before)
        objective.finish_step()
        assert not torch.equal(book, before)
        found.append((len(batches), {name: value.item() for name, value in terms.items()}, book.clone()))
    (one, terms, book), (several, other_terms, other_book) = found
    assert (one, several) == (1, 4)
    assert terms == pytest.approx(other_terms, rel=1e-2, abs=1e-3)
    torch.testing.assert_close(book, other_book, rtol=1e-2, atol=1e-2)


def test_a_blank_pass_counts_nothing_and_gives_every_part_a_gradient(adversarial):
    """Its process shares the step with others: they wait for the same gradients."""
    objective, batch = adversarial
    objective.zero_grad(set_to_none=True)
    sum(objective(batch, 9).values()).backward()
    with_gradient = [name for name, weight in objective.named_parameters() if weight.grad is not None]
    objective.zero_grad(set_to_none=True)
    objective.finish_step()

    blank = objective.blank()
    assert not any(objective.counts(blank).values())
    sums = objective(blank, 9)
    assert not any(value.item() for value in sums.values())
    sum(sums.values()).backward()
    assert [name for name, weight in objective.named_parameters() if weight.grad is not None] == with_gradient
    assert not any(weight.grad.any() for weight in objective.parameters() if weight.grad is not None)
    assert not any(len(part) for book in objective.adversary.codes.books for part in book._collected)


def test_a_blank_pass_changes_no_figure(adversarial):
    objective, _ = adversarial
    objective.eval()
    with torch.no_grad():
        held_out, blank = objective(objective.probe(0, 1)[0], 0), objective(objective.blank(), 0)
    assert {name: value.shape for name, value in held_out.items()} == {name: v.shape for name, v in blank.items()}
    assert not any(value.any() for value in blank.values())


def test_adversary_state_is_resumed(build):
    """What must survive a kill is in the adversary's state; codebook weights are the checkpoint's."""
    objective = build(adversary_after=100)
    train(objective, 8)
    state = objective.adversary.state_dict()
    assert not any("codebook" in name for name in state)
    other = build(adversary_after=100)
    other.adversary.load_state_dict(state)
    other.model.load_state_dict(objective.model.state_dict())
    a, b = train(objective, 3, begin=8), train(other, 3, begin=8)
    assert a == b


def test_cut_pads_what_is_short():
    assert cut(np.ones(3, np.float32), 5, np.random.default_rng(0)).tolist() == [1, 1, 1, 0, 0]
    assert len(cut(np.ones(9, np.float32), 5, np.random.default_rng(0))) == 5
