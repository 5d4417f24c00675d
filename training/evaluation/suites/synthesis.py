"""Measures of synthesized speech: word error rates of an independent recogniser that listens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
import torch

from parley.models.codec import encode
from parley.models.parley import Parley

Spoken = tuple[str, np.ndarray]  # a text, and float32 audio [samples] in which it is spoken


@dataclass(frozen=True)
class Judge:
    """A recogniser, and how texts are written before its transcripts are compared with them."""

    recognise: Callable[[np.ndarray, int], str]  # float32 audio [samples] and its sample rate → its transcript
    words: Callable[[str], str]  # a text or a transcript → its words, with spaces between them

    def error_rate(self, spoken: Iterable[Spoken], rate: int) -> float:
        """Percent of words that are wrong in the transcripts of speech at `rate` Hz."""
        texts, transcripts = zip(*((text, self.recognise(audio, rate)) for text, audio in spoken), strict=True)
        return 100 * jiwer.wer([*map(self.words, texts)], [*map(self.words, transcripts)])


def codec_error_rate(model: Parley, originals: Sequence[Spoken], judge: Judge) -> float:
    """Percent of words that are wrong in speech that the codec encoded and decoded, less those that are wrong in the
    original, at the codec's rate."""
    rate = model.config.codec.sample_rate
    decoded = [(text, through_codec(model, audio)) for text, audio in originals]
    return judge.error_rate(decoded, rate) - judge.error_rate(originals, rate)


def through_codec(model: Parley, audio: np.ndarray) -> np.ndarray:
    """float32 [samples] at the codec's rate → the same, encoded and decoded."""
    codes, speaker = encode(model.codec_encoder, model.codec_decoder, torch.from_numpy(audio)[None])
    return model.codec_decoder(codes, speaker)[0].numpy()
