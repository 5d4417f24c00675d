"""The codec stage: codebooks start and live, the discriminator joins, everything is resumed, and it learns."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from parley.config import HifiganCodecConfig, IstftCodecConfig
from parley.models.codec import build_codec_decoder, build_codec_encoder
from training.objectives import codec as objective_module
from training.objectives.codec import CodecObjective, cut

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

    def objective(config=ISTFT, **kwargs) -> CodecObjective:
        torch.manual_seed(0)
        model = SimpleNamespace(codec_encoder=build_codec_encoder(config), codec_decoder=build_codec_decoder(config))
        return CodecObjective(None, model, Hum(), 0, **({"batch_size": 4} | kwargs))

    return objective


def train(objective, steps, begin=0, lr=2e-3):
    parameters = [*objective.encoder.parameters(), *objective.decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr)
    discriminator_optimizer = torch.optim.AdamW(objective.adversary.parameters(), lr=lr)
    history = []
    for step in range(begin, begin + steps):
        batch = objective.batch(step)
        adversary_loss = objective.adversary_loss(batch)
        if adversary_loss is not None:
            discriminator_optimizer.zero_grad()
            adversary_loss.backward()
            discriminator_optimizer.step()
        loss, metrics = objective.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(metrics)
    return history


def test_batches_depend_on_seed_and_step_alone(build):
    one, two = build(), build()
    one.batch(0)
    a, b = one.batch(5), two.batch(5)
    assert torch.equal(a.segment, b.segment) and torch.equal(a.reference, b.reference)
    assert a.segment.shape == (4, 16 * 600)
    assert not torch.equal(a.segment, one.batch(6).segment)


def test_it_learns_starts_its_codebooks_and_adds_the_discriminator(build):
    objective = build(adversary_after=30)
    before = [book.weight.clone() for book in objective.decoder.quantizer.codebooks]
    assert objective.validate() == {}
    history = train(objective, 40)
    assert objective.adversary.codes.ready and objective.adversary.speakers.ready
    assert not torch.equal(before[0], objective.decoder.quantizer.codebooks[0].weight)
    assert np.mean([m["mel"] for m in history[-5:]]) < 0.8 * history[0]["mel"]
    assert "adversarial" not in history[29] and "adversarial" in history[30]
    measured = objective.validate()
    assert measured["perplexity"] >= 1 and np.isfinite(measured["mel"])


def test_hifigan_trains_too(build):
    objective = build(HIFIGAN, adversary_after=2, batch_size=2)
    history = train(objective, 3, lr=1e-3)
    assert all(np.isfinite(list(metrics.values())).all() for metrics in history)
    assert history[2]["adversarial"] > 0


def test_adversary_state_is_resumed(build):
    """What must survive a kill is in the adversary's state; codebook weights are the checkpoint's."""
    objective = build(adversary_after=100)
    train(objective, 8)
    state = objective.adversary.state_dict()
    assert not any("codebook" in name for name in state)
    other = build(adversary_after=100)
    other.adversary.load_state_dict(state)
    other.encoder.load_state_dict(objective.encoder.state_dict())
    other.decoder.load_state_dict(objective.decoder.state_dict())
    a, b = train(objective, 3, begin=8), train(other, 3, begin=8)
    assert a == b


def test_cut_pads_what_is_short():
    assert cut(np.ones(3, np.float32), 5, np.random.default_rng(0)).tolist() == [1, 1, 1, 0, 0]
    assert len(cut(np.ones(9, np.float32), 5, np.random.default_rng(0))) == 5
