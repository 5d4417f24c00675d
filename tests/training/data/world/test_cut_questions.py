"""Questions that are cut short and whole ones: what is left of them, where, and what is learned of it."""

import numpy as np
import pytest

from training.data.sample import SAMPLE_RATE, completeness, text_of, turn_states
from training.data.world import World, cut_questions, cut_speech
from training.data.world.cut_questions import cut_question
from training.data.world.sentences import question
from training.data.world.speech.espeak import speaker
from training.data.world.splits import generator
from training.data.world.voices import UNSEEN, draw_voice
from training.data.world.whole_questions import cut_places, is_whole

TEXT = "tell me, what colour is the big red circle?"


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_question_of_the_world_is_known_as_whole(split):
    asked = [question(split, generator("whole", split, i)) for i in range(1000)]
    assert [one.text for one in asked if one.kind != "unaddressed" and not is_whole(one.text)] == []


def test_a_question_is_not_cut_where_what_is_left_is_one():
    assert cut_places("what is written at the top left?") == [1, 2, 4, 5]  # not after "written" and "top"
    assert cut_places("is there a red star in the picture?") == [1, 2, 3, 4, 6, 7]
    assert cut_places("hello, parley.") == []
    assert cut_places("count to ten.") == [1, 2]


def test_espeak_tells_where_words_begin():
    """From where the last word begins, the sentence is as long as this word alone."""
    audio, starts = speaker().speak_words(TEXT, "en-us", 160)
    assert [TEXT[place:].split()[0] for place in starts] == TEXT.split()
    assert list(starts.values()) == sorted(starts.values()) and starts[0] < 0.1
    last = starts[TEXT.index("circle")]
    alone, _ = speaker().speak_words("circle?", "en-us", 160)
    assert len(audio) / SAMPLE_RATE - last == pytest.approx(len(alone) / SAMPLE_RATE, abs=0.15)
    again = speaker().speak_words(TEXT, "en-us", 160)[1]
    assert starts == pytest.approx(again, abs=0.02)  # the voice's flutter goes on


def test_what_is_left_is_a_beginning_with_little_silence_behind(monkeypatch):
    """Without a room and noise: silence is of zeros."""
    monkeypatch.setattr(cut_speech, "recorded", lambda audio, rng: audio)
    behind, texts = [], set()
    for index in range(60):
        rng = generator("cut", index)
        said = (cut_speech.cut_short, cut_speech.whole)[index % 2](TEXT, draw_voice(rng), rng)
        texts.add(said.text)
        silence = len(said.audio) - 1 - np.flatnonzero(np.abs(said.audio) > cut_speech.VOICED)[-1]
        if said.text:
            behind.append(silence / SAMPLE_RATE)
        else:
            assert 0.2 < len(said.audio) / SAMPLE_RATE < 0.35 + 0.5 + 0.15
    assert min(behind) > 0.05 and max(behind) < 0.75 and 0.2 < np.mean(np.array(behind) < 0.25) < 0.95
    assert TEXT in texts and "" in texts and len(texts) > 6
    assert all(TEXT.startswith(text) for text in texts)


def test_whole_questions_may_have_a_pause_inside_them(monkeypatch):
    monkeypatch.setattr(cut_speech, "recorded", lambda audio, rng: audio)
    monkeypatch.setattr(cut_speech, "WHOLES", {"paused": 1})
    for index in range(6):
        rng = generator("pause", index)
        loud = np.abs(cut_speech.whole(TEXT, draw_voice(rng), rng).audio) > cut_speech.VOICED
        assert 0.2 < np.diff(np.flatnonzero(loud)).max() / SAMPLE_RATE < 0.9


def test_only_whole_questions_are_answered():
    kinds = {"cut": 0, "whole": 0, "unaddressed": 0}
    for index in range(40):
        sample = cut_question(World(3), index)
        kinds[sample.about["kind"]] += 1
        asked, answer = sample.messages[-2:]
        expected = {"cut": ("speech", False), "whole": ("speech", True), "unaddressed": ("nothing", None)}
        found = turn_states(sample.messages)[-1], completeness(sample.messages)[-1]
        assert found == expected[sample.about["kind"]] and sample.state == found[0]
        assert bool(answer["content"]) == (sample.about["kind"] == "whole")
        assert asked["content"][-1]["audio"].dtype == np.float32
        assert set(completeness(sample.messages)[:-1]) <= {None}
    assert min(kinds.values()) > 0


def test_questions_are_a_function_of_their_number_and_voices_may_be_unseen():
    one, same = (cut_question(World(1, "heldout"), 5, "whole", unseen_voice=True) for _ in range(2))
    assert one.messages[-1] == same.messages[-1] and one.about == same.about
    assert one.about["voice"] in UNSEEN


def test_every_question_can_be_cut():
    """Also where a scene allows no question, and a dialogue about it is empty."""
    world = World(0)
    asked = [asked_last(world, index) for index in range(400)]
    assert all(cut_places(text) for text in asked)
    assert any(not world.dialog(index, turns=2, small_talk_share=0.1, captioned=0.0).messages for index in range(400))


def asked_last(world, index):
    return text_of(cut_questions.question(world, index, generator("asked", index)).messages[-2])
