"""Questions that are cut short and whole ones: what is left of them, where, and what is learned of it."""

import numpy as np
import pytest

from training.data.sample import SAMPLE_RATE, completeness, text_of, turn_states
from training.data.world import World, cut_questions, cut_speech
from training.data.world.between_words import softest, word_start
from training.data.world.cut_questions import NEGATIVES, cut_question, negative
from training.data.world.edges import VOICED, trimmed
from training.data.world.sentences import question
from training.data.world.speech import speak
from training.data.world.speech.espeak import speaker
from training.data.world.splits import generator
from training.data.world.voices import UNSEEN, Voice, draw_voice, natural_engines
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
    assert cut_places("okay, thank you.") == [2]  # "okay" alone only says that somebody listens


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


def as_it_is(audio, rng):
    return audio


def test_what_is_left_is_a_beginning_with_little_silence_behind():
    """Without a room and noise: silence is of zeros."""
    behind, texts = [], set()
    for index in range(60):
        rng = generator("cut", index)
        said = (cut_speech.cut_short, cut_speech.whole)[index % 2](TEXT, draw_voice(rng), rng, as_it_is)
        texts.add(said.text)
        silence = len(said.audio) - 1 - np.flatnonzero(np.abs(said.audio) > VOICED)[-1]
        if said.text:
            behind.append(silence / SAMPLE_RATE)
        else:
            assert 0.2 < len(said.audio) / SAMPLE_RATE < 0.35 + 0.5 + 0.15
    assert min(behind) > 0.05 and max(behind) < 0.75 and 0.2 < np.mean(np.array(behind) < 0.25) < 0.95
    assert TEXT in texts and "" in texts and len(texts) > 6
    assert all(TEXT.startswith(text) for text in texts)


def test_whole_questions_may_have_a_pause_inside_them(monkeypatch):
    monkeypatch.setattr(cut_speech, "WHOLES", {"paused": 1})
    for index in range(6):
        rng = generator("pause", index)
        loud = np.abs(cut_speech.whole(TEXT, draw_voice(rng), rng, as_it_is).audio) > VOICED
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


@pytest.mark.parametrize("sort", NEGATIVES)
def test_what_is_not_for_the_model_is_not_answered_however_short(sort):
    for index in range(8):
        sample = negative("train", Voice("en-us", 160), generator("negative", index), as_it_is, sort)
        asked, answer = sample.messages
        assert turn_states(sample.messages) == ["nothing"] and answer["content"] == ""
        assert completeness(sample.messages) == [None]
        assert 0.2 < len(asked["content"][0]["audio"]) / SAMPLE_RATE < 5
        assert sort in ("backchannel", "unaddressed") or asked["content"][0]["transcript"] == ""


def test_the_softest_place_is_looked_for_nearby():
    audio = np.ones(8000, np.float32)
    audio[4300:4700] = 0
    assert softest(audio, 4200) == pytest.approx(4500, abs=160)
    assert abs(softest(audio, 7000) - 7000) <= 0.08 * SAMPLE_RATE + 160  # too far away
    assert 0 <= softest(audio, 0) < 1600


def test_words_are_found_in_another_voice_by_proportion():
    """The other voice is one of espeak-ng's, which tells where it begins each word."""
    audio, starts = speaker().speak_words(TEXT, "en-us+f2", 130)
    said, front = trimmed(audio), np.flatnonzero(np.abs(audio) > VOICED)[0] / SAMPLE_RATE
    found = {place: word_start(TEXT, place, said) for place in starts if place}
    assert word_start(TEXT, 1, said) is None  # no word begins there
    errors = [abs(found[place] / SAMPLE_RATE + front - starts[place]) for place in found]
    assert len(errors) > 5 and np.median(errors) < 0.06 and max(errors) < 0.15


@pytest.mark.skipif("flite" not in natural_engines(), reason="flite is not installed")
def test_natural_voices_are_cut_and_paused_and_trail_off(tmp_path, monkeypatch):
    monkeypatch.setenv("PARLEY_SPEECH_CACHE", str(tmp_path))
    voice = Voice("slt", 160, engine="flite")
    alone = len(trimmed(speak(TEXT, voice))) / SAMPLE_RATE
    lengths = {}
    for name, say in (("cut", cut_speech.cut_short), ("whole", cut_speech.whole)):
        said = [say(TEXT, voice, generator(name, index), as_it_is) for index in range(40)]
        lengths[name] = [len(trimmed(one.audio)) / SAMPLE_RATE for one in said]
        texts = {one.text for one in said}
        assert texts == {TEXT} if name == "whole" else "" in texts and all(TEXT.startswith(text) for text in texts)
    assert max(lengths["cut"]) < alone and min(lengths["cut"]) > 0.15
    assert min(lengths["whole"]) > alone - 0.1 and max(lengths["whole"]) > alone + 0.2
    assert len(list(tmp_path.rglob("*.flac"))) == 2  # the whole one, and one beginning
