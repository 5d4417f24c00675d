"""Measures of speech recognition: word error rates of the CTC head, with the chunks of the service."""

from __future__ import annotations

from collections.abc import Iterable

import jiwer
import numpy as np
import torch

from parley.models.filter_bank import fbank
from parley.models.parley import Parley


@torch.no_grad()
def transcript(model: Parley, audio: np.ndarray) -> str:
    """The words of float32 audio [samples] at the encoder's sample rate."""
    features = fbank(audio, model.config.speech)[None].to(model.device, model.dtype)
    frames, _ = model.speech_encoder(features, torch.tensor([features.shape[1]], device=model.device))
    return model.ctc_head.transcribe(frames[0])


def word_error_rate(model: Parley, utterances: Iterable[tuple[np.ndarray, str]]) -> float:
    """Percent of words that are wrong in the transcripts of (audio, text) pairs."""
    texts, transcripts = [], []
    for audio, text in utterances:
        texts.append(model.ctc_head.vocabulary.normalise(text))
        transcripts.append(transcript(model, audio))
    return 100 * jiwer.wer(texts, transcripts)
