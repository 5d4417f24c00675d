"""The world as transcribed speech."""

from __future__ import annotations

from random import Random

import numpy as np

from training.data.world import heldout, transcribed
from training.data.world.outside import CANNOT, UNKNOWN
from training.data.world.pools import SHARES, Pools
from training.data.world.questions import words_of
from training.data.world.sentences import answer, held_out_answer
from training.data.world.transcribed import AnswerClauses, CleanSentences, RecordedSentences
from training.data.world.voices import ANSWER, Voice


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


def test_no_clause_is_a_held_out_answer():
    data = AnswerClauses(0, 24_000, ANSWER)
    clauses = {" ".join(words_of(data.clause("train", i))) for i in range(3000)}
    answers = {" ".join(words_of(text)) for text in heldout.answers(2026, 100)}
    assert len(answers) == 100 and not answers & clauses
    assert not any(map(held_out_answer, clauses))
    assert all(map(held_out_answer, answers))


def test_an_answer_that_is_always_the_same_is_trained():
    fixed = {answer("train", Random(i)) for i in range(2000)}
    assert {UNKNOWN, CANNOT, "no, there is not.", "there are two.", "my name is parley.", "it moves up."} <= fixed


def test_clean_sentences_are_half_in_the_voice_of_the_answers_and_else_in_many(monkeypatch):
    said = []
    monkeypatch.setattr(transcribed, "speak", lambda text, voice, rate: said.append((text, voice)))
    monkeypatch.setattr(transcribed, "natural_engines", lambda unseen=False: tuple(SHARES))
    data = CleanSentences(0, 24_000, ANSWER)
    texts = [data.utterance(index)[1] for index in range(300)]
    assert [text.strip() for text in texts] == [text for text, _ in said]
    voices = [voice for _, voice in said if voice != ANSWER]
    assert 100 < len(voices) < 200 and {voice.engine for voice in voices} == {"espeak", "kokoro", "hibari"}
    assert data.held_out("heldout", 3)[1] not in texts


def test_clean_sentences_are_at_the_rate_that_is_asked_for():
    data, half = (CleanSentences(0, rate, Voice("en-us", 160)) for rate in (24_000, 12_000))
    index = next(index for index in range(50) if said_by_espeak(data, index))
    assert data.utterance(index)[1] == half.utterance(index)[1]
    assert abs(len(data.utterance(index)[0]) / len(half.utterance(index)[0]) - 2) < 0.1


def said_by_espeak(data: CleanSentences, index: int) -> bool:
    """Whether an utterance is one of the answers' clauses, here of espeak-ng."""
    return data.utterance(index)[1] == AnswerClauses(0, data.sample_rate, data.voice).clause("train", index)


def test_estimated_lengths_sort_recorded_sentences():
    data = espeak_alone(RecordedSentences(0, {"sentences": 50, "shuffled_words": 50}))
    estimated = [data.seconds(i) for i in range(24)]
    true = [len(data.utterance(i)[0]) / data.sample_rate for i in range(24)]
    assert np.corrcoef(estimated, true)[0, 1] > 0.8
    texts = [data.utterance(i)[1] for i in range(24)]
    assert any(text.endswith("?") for text in texts) and any(text.endswith(".") for text in texts)


def test_two_thirds_of_recorded_sentences_are_said_by_natural_voices(monkeypatch):
    monkeypatch.setattr(transcribed, "pools", lambda seed: Pools(seed, tuple(SHARES)))
    data = RecordedSentences(0, {"sentences": 50, "shuffled_words": 50})
    said = [data._said(transcribed.EASY + index)[1] for index in range(400)]
    assert all(data._said(index)[1][0][1].engine == "espeak" for index in range(40))
    natural = [texts for texts in said if texts[0][1].engine != "espeak"]
    assert abs(len(natural) / 400 - 2 / 3) < 0.08
    assert abs(sum(len(texts) == 2 for texts in natural) / len(natural) - transcribed.TWO) < 0.08
    assert data._said(7)[1] == data._said(7)[1]


def test_texts_are_said_one_after_the_other(monkeypatch):
    texts = iter([[("one.", ANSWER)], [("one.", ANSWER), ("two three.", ANSWER)]])
    data = RecordedSentences(0, {"sentences": 100})
    monkeypatch.setattr(RecordedSentences, "_said", lambda self, index: (Random(index), next(texts)))
    (one, said), (both, all_said) = data.utterance(0), data.utterance(0)
    assert (said, all_said) == ("one.", "one. two three.") and len(both) > len(one) + 4000


def espeak_alone(data: RecordedSentences) -> RecordedSentences:
    data.__dict__["_pools"] = Pools(0, ())
    return data
