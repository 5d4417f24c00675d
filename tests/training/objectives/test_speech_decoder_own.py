"""The speech decoder's objective over a user's data: many speakers, a large vocabulary."""

from __future__ import annotations

import tracemalloc

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from parley.models.parley import Parley
from training.objectives import speech_decoder
from training.objectives.speech_decoder import Clause, SpeechDecoderObjective, fit_durations


class Crowd:
    """Every other utterance is of one speaker, all others of a speaker each."""

    sample_rate, measures = 24_000, ("crowd",)

    def speaker(self, index: int) -> str:
        return "main" if index % 2 else f"other {index}"

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        noise = np.random.default_rng(index).standard_normal(4_800)
        return (0.1 * noise).astype(np.float32), "a b"

    def seconds(self, index: int) -> float:
        return 0.2

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        return self.utterance(index)


def test_the_default_speaker_is_the_most_frequent_one(tiny_config, monkeypatch):
    calls = iter(range(9))

    def encoded(objective, waveform, text) -> Clause:
        """Each other speaker has token 1 three times: over all clauses it is the most frequent one."""
        tokens = [3, 3, 3, 3] if (index := next(calls)) % 2 else np.roll([1, 1, 1, 2], index // 2).tolist()
        return Clause([5, 6], np.zeros(8, np.int16), np.array(tokens, np.int16))

    monkeypatch.setattr(SpeechDecoderObjective, "_encode", encoded)
    monkeypatch.setattr(speech_decoder, "FITTED", 9)
    tokenizer = Tokenizer(models.WordLevel({"a": 5, "b": 6}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model = Parley(tiny_config, ("speech_decoder", "codec_encoder", "codec_decoder"))
    SpeechDecoderObjective(model, Crowd(), 0, tokenizer=tokenizer, batch_size=2, pool=9, drawn=False)
    assert model.config.codec.default_speaker == (3, 3, 3, 3)


def test_durations_of_a_large_vocabulary_take_little_memory():
    random = np.random.default_rng(0)
    true = random.uniform(2, 10, 400)
    clauses = []
    for _ in range(512):
        ids = random.integers(400, size=20)
        clauses.append(Clause((ids * 300).tolist(), np.zeros(round(true[ids].sum()), np.int16), np.zeros(1, np.int16)))
    tracemalloc.start()
    fitted = fit_durations(clauses, 152_064)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6, f"{peak / 1e6:.0f} MB"
    assert np.corrcoef(fitted[np.arange(400) * 300], true)[0, 1] > 0.9
    assert fitted.shape == (152_064,) and np.ptp(fitted[1::300]) == 0  # unseen tokens have the mean
