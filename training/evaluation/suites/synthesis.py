"""Measures of synthesized speech: word error rates of an independent recogniser that listens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jiwer
import numpy as np
import torch

from parley.models.codec import encode
from parley.models.parley import Parley

Recognise = Callable[[np.ndarray, int], str]  # float32 audio [samples] and its sample rate → its words


def codec_error_rate(model: Parley, spoken: Iterable[tuple[str, np.ndarray]], recognise: Recognise) -> float:
    """Percent of words that are wrong in speech that the codec encoded and decoded, less those that are wrong in the
    original. `spoken`: (words, float32 audio [samples] at the codec's rate) pairs."""
    rate = model.config.codec.sample_rate
    texts, originals, decoded = [], [], []
    for words, waveform in spoken:
        codes, speaker = encode(model.codec_encoder, model.codec_decoder, torch.from_numpy(waveform)[None])
        texts.append(words)
        originals.append(recognise(waveform, rate))
        decoded.append(recognise(model.codec_decoder(codes, speaker)[0].numpy(), rate))
    return 100 * (jiwer.wer(texts, decoded) - jiwer.wer(texts, originals))


def speech_error_rate(
    model: Parley, texts: Iterable[str], words_of: Callable[[str], list[str]], recognise: Recognise
) -> float:
    """Percent of words that are wrong when the model speaks these texts."""
    said, recognised = [], []
    for text in texts:
        said.append(" ".join(words_of(text)))
        recognised.append(recognise(model.speak(model.writer.text(text)), model.config.codec.sample_rate))
    return 100 * jiwer.wer(said, recognised)
