"""The codec: waveform ↔ codec tokens and speaker tokens."""

from parley.models.codec.codec import build_codec_decoder, build_codec_encoder, decode_chunk, encode, overlap

__all__ = ["build_codec_decoder", "build_codec_encoder", "decode_chunk", "encode", "overlap"]
