"""Chunks of both codecs have the samples of decoding everything at once."""

from __future__ import annotations

import pytest
import torch

from parley.config import HifiganCodecConfig, IstftCodecConfig
from parley.models.codec import build_codec_decoder, decode_chunk, overlap


@pytest.mark.parametrize(
    "config",
    [
        IstftCodecConfig(encoder_channels=32, decoder_channels=32, num_codes=32, speaker_codes=8),
        HifiganCodecConfig(num_codes=32, upsample_initial_channel=64, global_feature_conv=(128, 16, 32, 3, 1),
                           resblock_kernel_sizes=(3, 7), resblock_dilation_sizes=((1, 3), (1, 3))),
    ],
    ids=["istft", "hifigan"],
)  # fmt: skip
@pytest.mark.parametrize("chunk", [1, 7, 16])
@torch.inference_mode()
def test_chunks_sound_like_the_whole(config, chunk):
    torch.manual_seed(0)
    decoder = build_codec_decoder(config).eval()
    codes = torch.randint(config.num_codes, (2, 45))
    speaker = torch.randint(config.speaker_codes, (2, config.num_speaker_tokens))
    whole = decoder(codes, speaker)
    assert whole.std() > 1e-4
    behind, ahead = overlap(decoder, limit=100)
    pieces = []
    for start in range(0, 45, chunk):
        left = min(behind, start)
        window = codes[:, start - left : start + chunk + ahead]
        pieces.append(decode_chunk(decoder, window, speaker, left, right=max(window.shape[1] - left - chunk, 0)))
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-4, atol=1e-5)
