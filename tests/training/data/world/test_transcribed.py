"""The world as transcribed speech."""

from __future__ import annotations

import numpy as np

from training.data.world.transcribed import AnswerClauses, CleanSentences, RecordedSentences
from training.data.world.voices import ANSWER


def test_clauses_are_those_that_the_service_cuts():
    data = AnswerClauses(0, 24_000, ANSWER)
    texts = [data.clause("train", i) for i in range(60)]
    assert texts == [data.clause("train", i) for i in range(60)]
    assert max(len(text.split()) for text in texts) <= 14
    assert any(text.startswith(" ") for text in texts) and any(len(text.split()) <= 4 for text in texts)
    waveform, text = data.utterance(0)
    assert waveform.dtype == np.float32 and text == texts[0] and len(waveform) > 2400
    assert data.utterance(0)[1] == text
    assert data.held_out("heldout", 0)[1] != texts[0]


def test_clean_sentences_are_at_the_rate_and_in_the_voice_that_is_asked_for():
    data = CleanSentences(0, 24_000, lambda rng: ANSWER)
    half = CleanSentences(0, 12_000, lambda rng: ANSWER)
    assert data.utterance(3)[1] == half.utterance(3)[1] != data.held_out("heldout", 3)[1]
    assert abs(len(data.utterance(3)[0]) / len(half.utterance(3)[0]) - 2) < 0.1


def test_estimated_lengths_sort_recorded_sentences():
    data = RecordedSentences(0, {"sentences": 50, "shuffled_words": 50})
    estimated = [data.seconds(i) for i in range(24)]
    true = [len(data.utterance(i)[0]) / data.sample_rate for i in range(24)]
    assert np.corrcoef(estimated, true)[0, 1] > 0.8
    texts = [data.utterance(i)[1] for i in range(24)]
    assert any(text.endswith("?") for text in texts) and any(text.endswith(".") for text in texts)
