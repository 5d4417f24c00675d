"""Pools of clips in natural voices."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

import pytest

from training.data.world import pools
from training.data.world.pools import DROPPED, GROUP, SENTENCES, SHARES, SORTS, TIMES, Pools
from training.data.world.splits import belongs
from training.data.world.vocabulary import one_spelling
from training.data.world.voices import NATURAL_SEEN, natural_engines


def test_a_clip_is_the_same_twice_and_belongs_to_training():
    found, again = Pools(3, tuple(SHARES)), Pools(3, tuple(SHARES))
    for name in SORTS:
        for engine in SHARES:
            clip = found[name].clip(engine, 5)
            assert clip == again[name].clip(engine, 5) != found[name].clip(engine, 6)
            assert set(clip.voice.name.split("+")) <= set(NATURAL_SEEN[engine]) and clip.voice.engine == engine
    assert not any("color" in found["picture_questions"].clip("flite", number).text for number in range(100))
    texts = [found["video_questions"].clip("hibari", number).text for number in range(50)]
    assert all(belongs(text, "train") for text in texts)


def test_words_are_left_out_of_the_text_of_a_question_and_not_of_what_is_asked():
    clips = [Pools(0, ())[DROPPED].clip("hibari", number) for number in range(60)]
    dropped = [clip for clip in clips if clip.text != one_spelling(clip.question.text)]
    assert len(dropped) > 40 and all(len(clip.text) < len(clip.question.text) for clip in dropped)


def test_what_is_drawn_together_is_in_one_voice():
    pool, rng = Pools(0, tuple(SHARES))["picture_questions"], Random(1)
    drawn = [list(pool.draw(rng)) for _ in range(300)]
    assert all(len(clips) == GROUP and len({clip.voice for clip in clips}) == 1 for clips in drawn)
    engines = Counter(clips[0].voice.engine for clips in drawn)
    assert all(abs(engines[name] / 3 - share) < 9 for name, share in SHARES.items())
    assert len({clips[0].voice.pitch for clips in drawn}) > 30


def test_only_engines_that_are_installed_speak(monkeypatch):
    assert {clip.voice.engine for clip in islice(Pools(0, ("flite",))["answers"].draw(Random(0)), 3)} == {"flite"}
    monkeypatch.setattr(pools, "natural_engines", lambda: ())
    assert not list(pools.utterances(0))
    assert not any(pools.pools(0).natural(Random(seed)) for seed in range(20))


def test_all_clips_of_a_training_are_listed():
    found = Pools(0, ("kokoro",))
    listed = [(clip.text, clip.voice) for name in SORTS for clip in found[name]]
    assert len(listed) == sum(count for _, count in SORTS.values()) == 1016
    assert {clip.text for clip in found["small_talk"].draw(Random(2))} <= {text for text, _ in listed}
    assert set(SENTENCES) <= set(SORTS) and set(TIMES) == set(SHARES)


@pytest.mark.skipif("flite" not in natural_engines(), reason="flite is not installed")
def test_clips_in_a_group_are_pieces_of_the_size(tmp_path, monkeypatch):
    from training.data.world.speech import speak

    monkeypatch.setenv("PARLEY_SPEECH_CACHE", str(tmp_path))
    clips = list(islice(Pools(0, ("flite",))["shuffled_words"].draw(Random(3)), 2))
    assert all(len(speak(clip.text, clip.voice)) > 4000 for clip in clips)
    assert len(list(tmp_path.rglob("*.flac"))) == 2
