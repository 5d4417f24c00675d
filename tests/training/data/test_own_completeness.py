"""Which of a user's questions are complete, and how much silence is behind them."""

import numpy as np
import pytest

from training.data.own_completeness import less_silence, with_completeness
from training.data.record_error import RecordError
from training.data.sample import SAMPLE_RATE, Sample, completeness, turn_states

# 0.5 s of a tone and 1 s of silence.
SOUND = np.concatenate([np.sin(np.arange(8000) / 5), np.zeros(16_000)]).astype(np.float32)


def turn(answer: str, aloud: bool = True, **marks) -> list[dict]:
    asked = {"type": "audio", "audio": SOUND} if aloud else {"type": "text", "text": "what?"}
    return [{"role": "user", "content": [asked]}, {"role": "assistant", "content": answer} | marks]


def test_answers_to_speech_say_that_it_was_complete():
    sample = Sample([*turn("one", aloud=False), *turn("two"), *turn("", state="nothing")], "mine")
    known = with_completeness(sample, "spoken_questions", 0)
    assert completeness(known.messages) == [None, True, None]
    assert turn_states(known.messages) == ["text", "speech", "nothing"] and known.state == "nothing"
    assert [m["content"] for m in known.messages if m["role"] == "assistant"] == ["one", "two", ""]


def test_a_refusal_of_a_cut_question_becomes_one_that_is_not_complete():
    known = with_completeness(Sample([*turn("one"), *turn("", state="nothing")], "cut_question"), "cut_questions", 0)
    assert completeness(known.messages) == [None, False] and known.state == "speech"
    assert known.messages[-1]["content"] == ""


@pytest.mark.parametrize("messages", [turn("an answer"), turn("", aloud=False, state="nothing")])
def test_other_records_are_no_cut_questions(messages):
    with pytest.raises(RecordError, match="does not end with a spoken question and inserted_id"):
        with_completeness(Sample(messages, "mine"), "cut_questions", 0)


def test_half_of_the_utterances_are_shortened_the_same_ones_each_time():
    def lengths(seed: int) -> list[int]:
        samples = [with_completeness(Sample(turn("x"), "mine"), "spoken_questions", seed, i) for i in range(60)]
        return [len(sample.messages[0]["content"][0]["audio"]) for sample in samples]

    found = lengths(0)
    assert found == lengths(0) != lengths(1)
    short = [length for length in found if length < len(SOUND)]
    assert 15 < len(short) < 45
    assert min(short) / SAMPLE_RATE > 0.55 and max(short) / SAMPLE_RATE < 0.72


def test_silence_is_what_is_behind_the_last_sound():
    assert len(less_silence(SOUND, 0.1)) == pytest.approx(0.6 * SAMPLE_RATE, abs=160)
    assert len(less_silence(SOUND[:9000], 0.1)) == 9000  # it has no more
    assert len(less_silence(np.zeros(4000, np.float32), 0.1)) == 4000
