"""The published codec reproduces foreign values; other sizes work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from parley.config import HifiganCodecConfig
from parley.models.codec import build_codec_decoder, build_codec_encoder, encode

FIXTURE = Path(__file__).parents[3] / "fixtures" / "vita15-tiny"


def published_codec():
    """The fixture's codec in our modules, its keys renamed by hand."""
    sizes = json.loads((FIXTURE / "vita_tts_ckpt/codec/model.json").read_text())
    config = HifiganCodecConfig(
        num_codes=sizes["n_codes"],
        resblock=sizes["resblock"],
        upsample_rates=sizes["upsample_rates"],
        upsample_kernel_sizes=sizes["upsample_kernel_sizes"],
        upsample_initial_channel=sizes["upsample_initial_channel"],
        resblock_kernel_sizes=sizes["resblock_kernel_sizes"],
        resblock_dilation_sizes=sizes["resblock_dilation_sizes"],
        num_speaker_tokens=sizes["global_code_num"],
        speaker_codes=sizes["n_codes"],
        global_feature_conv=sizes["global_feature_conv"],
        default_speaker=sizes["global_tokens"],
    )
    weights = torch.load(FIXTURE / "vita_tts_ckpt/codec/final.pt", weights_only=True)
    norm = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    encoder_names = {
        "GlobalTokenEncoder.conv.0": "voice_encoder.convs.0",
        "GlobalTokenEncoder.conv.2": "voice_encoder.convs.1",
        "GlobalTokenEncoder.conv.4": "voice_encoder.convs.2",
        "GlobalTokenEncoder.fn.0": "voice_encoder.project",
        "GlobalTokenEncoder.fn.2": "voice_encoder.norm",
        "normalize.": "norms.",
        "ups.": "downs.",
    }

    def rename(state, names):
        renamed = {}
        for key, value in state.items():
            for old, new in {**norm, **names}.items():
                key = key.replace(old, new)
            renamed[key] = value
        return renamed

    encoder = build_codec_encoder(config).eval()
    encoder.load_state_dict(
        rename({k: v for k, v in weights["encoder"].items() if not k.startswith("linear.")}, encoder_names)
    )
    decoder = build_codec_decoder(config).eval()
    decoder.generator.load_state_dict(rename(weights["generator"], {}))
    books = weights["quantizer"]
    decoder.quantizer.codebooks[0].weight.copy_(books["quantizer_modules.0.embedding.weight"])
    for i, book in enumerate(decoder.voice_quantizer.codebooks):
        book.weight.copy_(books[f"quantizer_modules_globaltokens.{i}.embedding.weight"])
    return config, encoder, decoder, load_file(FIXTURE / "expected.safetensors")


@torch.inference_mode()
def test_published_values():
    _, encoder, decoder, expected = published_codec()
    latents, speaker = encoder(expected["codec.waveform"].unsqueeze(0))
    torch.testing.assert_close(latents.transpose(1, 2), expected["codec.latents"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(speaker, expected["codec.global_features"], rtol=1e-4, atol=1e-4)
    codes, tokens = encode(encoder, decoder, expected["codec.waveform"].unsqueeze(0))
    assert torch.equal(codes.unsqueeze(-1), expected["codec.tokens"])
    assert torch.equal(tokens, expected["codec.global_tokens"])
    own = decoder(codes, tokens)
    torch.testing.assert_close(own.unsqueeze(1), expected["codec.decoded_own"], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_published_released_speaker():
    config, _, decoder, expected = published_codec()
    wave = decoder(expected["codec.decode_tokens"], torch.tensor([config.default_speaker]))
    torch.testing.assert_close(wave.unsqueeze(1), expected["codec.decoded_voice"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("resblock", ["1", "2"])
@torch.inference_mode()
def test_hifigan_other_sizes(resblock):
    config = HifiganCodecConfig(
        num_codes=16,
        resblock=resblock,
        upsample_rates=(5, 4, 3, 2),
        upsample_kernel_sizes=(11, 8, 7, 4),
        upsample_initial_channel=128,
        resblock_kernel_sizes=(3, 5),
        resblock_dilation_sizes=((1, 2), (2, 6)),
        num_code_groups=2,
        num_residual_layers=2,
        num_speaker_tokens=4,
        speaker_codes=8,
        global_feature_conv=(128, 16, 32, 3, 1),
    )
    encoder, decoder = build_codec_encoder(config).eval(), build_codec_decoder(config).eval()
    codes, speaker = encode(encoder, decoder, torch.randn(2, config.hop_length * 7 - 3))
    assert codes.shape == (2, 7, 4) and speaker.shape == (2, 4)
    assert decoder(codes, speaker).shape == (2, 7 * config.hop_length)


def test_hifigan_no_place_for_the_speaker():
    with pytest.raises(ValueError, match="read from 100 channels"):
        build_codec_encoder(HifiganCodecConfig(global_feature_conv=(100, 64, 128, 3, 1)))
