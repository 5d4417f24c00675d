"""Codec: waveform ↔ one token every 25 ms, plus a few tokens an utterance that carry the speaker (paper 2.1).

Notable points:
- Two kinds behind one interface: `istft`, fast on a CPU, and `hifigan`, the published one.
- Encoding needs both parts, `codec_encoder` for latents and `codec_decoder` for the codebooks; decoding only that.
- Decoding in chunks: each chunk is decoded with some tokens around it, whose samples are discarded. With the
  generator's whole `reach` around it, its samples are those of decoding everything at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from parley.config import CodecConfig
from parley.models.codec.base import CodecDecoder, CodecFrames
from parley.models.codec.hifigan import HifiganEncoder, build_hifigan_decoder
from parley.models.codec.istft import IstftEncoder, build_istft_decoder


def build_codec_encoder(config: CodecConfig) -> nn.Module:
    """A module: waveform [b, samples] → (latents [b, t, dim], speaker [b, speaker_dim]).

    Its method `speaker` returns only the latter.
    """
    return IstftEncoder(config) if config.kind == "istft" else HifiganEncoder(config)


def build_codec_decoder(config: CodecConfig) -> CodecDecoder:
    """A module: (codes [b, t], speaker [b, num_speaker_tokens]) → waveform [b, t × hop_length]."""
    return build_istft_decoder(config) if config.kind == "istft" else build_hifigan_decoder(config)


@torch.inference_mode()
def encode(encoder: nn.Module, decoder: CodecDecoder, waveform: Tensor) -> tuple[Tensor, Tensor]:
    """Waveform [b, samples] → (codes [b, t], speaker tokens [b, num_speaker_tokens])."""
    return decoder.assign(*encoder(waveform))


def overlap(decoder: CodecDecoder, limit: int) -> tuple[int, int]:
    """Tokens to decode on the left and right of a chunk: the generator's reach, at most `limit` on a side."""
    left, right = decoder.reach
    return min(left, limit), min(right, limit)


@torch.inference_mode()
def decode_chunk(
    decoder: CodecDecoder, codes: Tensor, speaker: Tensor, left: int, right: int, frames: Callable | None = None
) -> Tensor:
    """Codes [b, left + n + right] → the waveform [b, n × hop_length] of the n in the middle.

    `frames`: a compiled form of the decoder's `CodecFrames`.
    """
    waveform = decoder.generator.waveform((frames or CodecFrames(decoder))(codes, speaker))
    return waveform[:, left * decoder.hop_length : (codes.shape[1] - right) * decoder.hop_length]
