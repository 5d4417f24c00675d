"""The speech encoder against values that other code computed, and against its own promises."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from parley.config import SpeechConfig, preset
from parley.models.speech import CtcHead, SpeechAdapter, SpeechEncoder, SpeechPrompt, chunk_mask, subsampled

FIXTURE = Path(__file__).parents[2] / "fixtures" / "vita15-tiny"
PUBLISHED = SpeechConfig(conv_channels=64, hidden_size=64, num_layers=2, num_heads=4, intermediate_size=128)
NAMES = {
    "global_cmvn.": "",
    "enc.0.core.conv.0": "conv1",
    "enc.0.core.conv.2": "conv2",
    "enc.0.core.out.0": "project",
    "enc.1.embed.0": "embed",
    "enc.1.embed.1": "embed_norm",
    "enc.1.after_norm": "norm",
    "enc.1.encoders.": "blocks.",
    "self_attn.linear_pos": "attention.position",
    "self_attn.linear_out": "attention.out",
    "self_attn.linear_q": "attention.query",
    "self_attn.linear_k": "attention.key",
    "self_attn.linear_v": "attention.value",
    "self_attn.pos_bias_u": "attention.content_bias",
    "self_attn.pos_bias_v": "attention.position_bias",
    "feed_forward.w_1": "up",
    "feed_forward.w_2": "down",
    "norm1": "attention_norm",
    "norm2": "feed_forward_norm",
}


@pytest.fixture(scope="module")
def expected():
    return load_file(FIXTURE / "expected.safetensors")


def published_weights(part: str) -> dict[str, torch.Tensor]:
    prefix = f"model.audio_encoder.{part}."
    found = {}
    for shard in sorted(FIXTURE.glob("model-*.safetensors")):
        for key, value in load_file(shard).items():
            if key.startswith(prefix):
                found[key.removeprefix(prefix)] = value.float() if value.is_floating_point() else value
    return found


def published_encoder() -> SpeechEncoder:
    weights = {}
    for key, value in published_weights("encoder").items():
        for theirs, ours in NAMES.items():
            key = key.replace(theirs, ours)
        weights[key] = value
    encoder = SpeechEncoder(PUBLISHED)
    encoder.load_state_dict(weights)
    return encoder.eval()


def nano() -> SpeechEncoder:
    torch.manual_seed(0)
    return SpeechEncoder(preset("nano").speech).eval()


@torch.no_grad()
def test_published_encoder_and_adapter(expected):
    frames, lengths = published_encoder()(expected["speech.batch"], expected["speech.lengths"])
    assert lengths.tolist() == expected["speech.encoder_mask"].sum(-1).flatten().tolist()
    torch.testing.assert_close(frames, expected["speech.encoder_out"], rtol=1e-4, atol=1e-4)
    weights = {k.replace("conv1d2", "conv").replace("bn2", "norm"): v for k, v in published_weights("adpter").items()}
    adapter = SpeechAdapter(PUBLISHED, 128).eval()
    adapter.load_state_dict(weights)
    vectors, lengths = adapter(frames, lengths)
    assert lengths.tolist() == expected["speech.adapter_mask"].sum(-1).flatten().tolist()
    torch.testing.assert_close(vectors, expected["speech.adapter_out"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", [nano, published_encoder])
@torch.no_grad()
def test_padding_changes_nothing(build):
    encoder = build()
    features = torch.randn(2, 150, 80)
    lengths = torch.tensor([150, 83])
    together, counted = encoder(features, lengths, chunk_size=6, left_chunks=2)
    alone, _ = encoder(features[1:, :83], lengths[1:], chunk_size=6, left_chunks=2)
    assert counted.tolist() == [subsampled(150), subsampled(83)]
    torch.testing.assert_close(together[1:, : counted[1]], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", [nano, published_encoder])
@torch.no_grad()
def test_a_frame_depends_on_its_chunk_and_the_past_only(build):
    encoder = build()
    features = torch.randn(1, 4 * 24 + 3, 80)
    changed = features.clone()
    changed[:, 4 * 16 + 3 :] += 1.0  # from frame 16 on: chunk 2 of 8 frames
    lengths = torch.tensor([features.shape[1]])
    before, _ = encoder(features, lengths, chunk_size=8, left_chunks=1)
    after, _ = encoder(changed, lengths, chunk_size=8, left_chunks=1)
    assert torch.equal(before[:, :16], after[:, :16])
    assert (before[:, 16:] - after[:, 16:]).abs().max() > 1e-3


def test_chunk_mask_shape():
    mask = chunk_mask(6, 2, 1).int().tolist()
    assert mask == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
    ]
    assert chunk_mask(4, -1, -1).all()
    assert torch.equal(chunk_mask(6, 2, -1), torch.ones(6, 6).tril().bool() | (chunk_mask(6, 2, 0)))


def test_training_draws_a_chunk_and_evaluation_does_not():
    encoder = nano()
    encoder.requires_grad_(False)
    features, lengths = torch.randn(1, 203, 80), torch.tensor([203])
    assert torch.equal(encoder(features, lengths)[0], encoder(features, lengths)[0])
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for block in encoder.blocks:
        block.attention.dropout = 0.0
    encoder.train()
    torch.manual_seed(0)
    outputs = [encoder(features, lengths)[0] for _ in range(6)]
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:])


def test_a_training_step_reaches_every_weight():
    config = preset("nano").speech
    encoder, head = SpeechEncoder(config).train(), CtcHead(config)
    adapter = SpeechAdapter(config, 32)
    frames, lengths = encoder(torch.randn(2, 120, 80), torch.tensor([120, 90]))
    (head(frames).square().mean() + adapter(frames, lengths)[0].square().mean()).backward()
    missing = [n for m in (encoder, head, adapter) for n, p in m.named_parameters() if p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("kernel", [3, 5])
@torch.no_grad()
def test_adapter_counts_and_pads_on_the_right(norm, kernel):
    config = preset("nano").speech.model_copy(update={"adapter_norm": norm, "adapter_kernel": kernel})
    adapter = SpeechAdapter(config, 32).eval()
    frames = torch.randn(2, 13, config.hidden_size)
    vectors, lengths = adapter(frames, torch.tensor([13, 8]))
    assert vectors.shape == (2, 7, 32)
    assert lengths.tolist() == [7, 4]
    alone, _ = adapter(frames[1:, :8], torch.tensor([8]))
    torch.testing.assert_close(vectors[1:, :4], alone)


def test_a_ctc_head_transcribes_greedily():
    head = CtcHead(preset("nano").speech.model_copy(update={"ctc_words": ("red", "bee")}))
    assert head.project.out_features == 29 + 2
    with torch.no_grad():
        head.project.weight.zero_()
        head.project.bias.zero_()
        head.project.weight[[30, 0, 29], [0, 1, 2]] = 10.0
    frames = torch.eye(head.project.in_features)[[2, 0, 0, 1, 0]]
    assert head.transcribe(frames) == "red bee bee"
    assert head(frames).exp().sum(-1).tolist() == pytest.approx([1.0] * 5)
    with pytest.raises(ValueError, match="ctc_alphabet"):
        CtcHead(PUBLISHED)


def test_too_short_and_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="6 mel frames"):
        nano()(torch.zeros(1, 6, 80), torch.tensor([6]))
    with pytest.raises(ValueError, match="multiple of num_heads"):
        SpeechEncoder(PUBLISHED.model_copy(update={"num_heads": 5}))


def test_full_size_counts_its_parameters():
    config = preset("vita-7b").speech
    with torch.device("meta"):
        parts = [SpeechEncoder(config), SpeechAdapter(config, 3584), SpeechPrompt(config, 3584)]
    encoder = sum(p.numel() for p in parts[0].parameters())
    assert math.isclose(encoder, 341 * 2**20, rel_tol=0.01)  # the published "M" is 2²⁰
    assert parts[2].vectors.shape == (5, 3584)
