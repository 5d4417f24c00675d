"""Spoken questions: when an answer is right, and what cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parley.checkpoints import Checkpoint
from parley.media.audio import write_wav
from training.data.record_error import RecordError
from training.data.world.speech.espeak import speaker
from training.evaluation.suites.registry import SUITES
from training.evaluation.suites.spoken_questions import EQUAL, HOLDS, judge
from training.evaluation.suites.suite import SuiteRun

NANO = Path(__file__).parents[4] / "checkpoints/nano"


@pytest.mark.parametrize(
    ("reference", "written", "expected"),
    [
        ("Five.", "5", [EQUAL, HOLDS]),
        ("five", "It is five.", [HOLDS]),
        ("red", "It is coloured.", []),
        ("北京", "答案是北京。", [HOLDS]),
    ],
)
def test_answers_are_compared_without_their_spelling(reference: str, written: str, expected: list[str]):
    assert judge(reference, written) == expected


def test_a_reference_without_words_is_no_reference():
    with pytest.raises(RecordError, match="no reference"):
        judge("...", "five")


def test_the_shipped_model_answers_a_spoken_sum(tmp_path: Path):
    question = speaker().speak("what is two plus three?", "en-us", 150, sample_rate=16_000)
    write_wav(tmp_path / "q.wav", question, 16_000)
    records = [
        {"id": "sum", "audio": "q.wav", "conversations": turns("<audio>", "five")},
        {"id": "written", "conversations": turns("what is two plus three?", "five")},
        {"id": "lost", "audio": "none.wav", "conversations": turns("<audio>", "five")},
    ]
    (tmp_path / "questions.json").write_text(json.dumps(records))
    run = SuiteRun(Checkpoint.open(NANO), tmp_path / "questions.json")
    equal, holds = SUITES["spoken-questions"].measure(run)
    assert (equal.n, holds.n, equal.value, holds.value) == (1, 1, 0, 100)
    assert run.left_out.count == 2 and "the last question has no audio" in run.left_out.first[0]
    assert "none.wav" in run.left_out.first[1]


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
