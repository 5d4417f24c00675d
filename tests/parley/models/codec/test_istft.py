"""The codec of `nano`: shapes, its reach, its mel filters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parley.config import IstftCodecConfig
from parley.models.codec import build_codec_decoder, build_codec_encoder, encode
from parley.models.codec.istft import mel_filters

SMALL = IstftCodecConfig(encoder_channels=32, decoder_channels=32, num_codes=32, speaker_codes=8)


@torch.inference_mode()
def test_istft_shapes_and_padding():
    config = SMALL
    encoder, decoder = build_codec_encoder(config).eval(), build_codec_decoder(config).eval()
    codes, speaker = encode(encoder, decoder, torch.randn(2, 600 * 12 - 100) * 0.1)
    assert codes.shape == (2, 12) and speaker.shape == (2, 4)
    wave = decoder(codes, speaker)
    assert wave.shape == (2, 7200) and wave.abs().max() <= 1
    latents, speaker = encoder(torch.zeros(1, 6000))
    torch.testing.assert_close(encoder.speaker(torch.zeros(1, 6000)), speaker)
    assert latents.shape == (1, 10, config.code_dim)


def test_reach_is_exact_enough_to_wait_for_and_no_more():
    """Changing a token changes samples only within its reach, and the reach is not padded by more than a token."""
    config = SMALL
    torch.manual_seed(0)
    decoder = build_codec_decoder(config).double().eval()
    left, right = decoder.reach
    codes = torch.randint(config.num_codes, (1, 41))
    speaker = torch.zeros(1, 4, dtype=torch.long)
    changed = codes.clone()
    changed[0, 20] = (changed[0, 20] + 1) % config.num_codes
    with torch.inference_mode():
        moved = (decoder(codes, speaker) - decoder(changed, speaker)).abs().view(41, -1).amax(1).nonzero().flatten()
    assert 20 - right <= moved.min() <= 21 - right
    assert 19 + left <= moved.max() <= 20 + left


@pytest.mark.parametrize(("n_fft", "bins"), [(1024, 80), (2048, 100), (512, 40)])
def test_mel_filters_are_triangles_on_the_mel_scale(n_fft, bins):
    top = 2595 * np.log10(1 + 12_000 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bins + 2) / 2595) - 1)
    expected = np.zeros((n_fft // 2 + 1, bins))
    for k in range(n_fft // 2 + 1):
        hertz = k * 24_000 / n_fft
        for i, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
            expected[k, i] = max(0.0, min((hertz - low) / (middle - low), (high - hertz) / (high - middle)))
    assert np.abs(mel_filters(n_fft, 24_000, bins).numpy() - expected).max() < 1e-6
