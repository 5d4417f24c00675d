"""The codec: the published one reproduces foreign values; chunks make the same sound as the whole."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from parley.config import HifiganCodecConfig, IstftCodecConfig
from parley.models.codec import build_codec_decoder, build_codec_encoder, decode_chunk, encode, overlap
from parley.models.codec.base import Quantizer
from parley.models.codec.istft import mel_filters

FIXTURE = Path(__file__).parents[2] / "fixtures" / "vita15-tiny"


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


def test_quantizer_residual_rounds_come_closer():
    quantizer = Quantizer(32, 8, groups=2, layers=3)
    x = torch.randn(50, 8)
    codes = quantizer.assign(x)
    assert codes.shape == (50, 6)
    one_round = Quantizer(32, 8, groups=2)
    one_round.load_state_dict({k: v for k, v in quantizer.state_dict().items() if int(k.split(".")[1]) < 2})
    assert (quantizer(codes) - x).norm() < (one_round(one_round.assign(x)) - x).norm() * 1.2
    with pytest.raises(ValueError, match="does not split into 3 groups"):
        Quantizer(4, 8, groups=3)


def small_istft():
    return IstftCodecConfig(encoder_channels=32, decoder_channels=32, num_codes=32, speaker_codes=8)


@torch.inference_mode()
def test_istft_shapes_and_padding():
    config = small_istft()
    encoder, decoder = build_codec_encoder(config).eval(), build_codec_decoder(config).eval()
    codes, speaker = encode(encoder, decoder, torch.randn(2, 600 * 12 - 100) * 0.1)
    assert codes.shape == (2, 12) and speaker.shape == (2, 4)
    wave = decoder(codes, speaker)
    assert wave.shape == (2, 7200) and wave.abs().max() <= 1
    latents, speaker = encoder(torch.zeros(1, 6000))
    torch.testing.assert_close(encoder.speaker(torch.zeros(1, 6000)), speaker)
    assert latents.shape == (1, 10, config.code_dim)


@pytest.mark.parametrize(
    "config",
    [
        small_istft(),
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


def test_reach_is_exact_enough_to_wait_for_and_no_more():
    """Changing a token changes samples only within its reach, and the reach is not padded by more than a token."""
    config = small_istft()
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
