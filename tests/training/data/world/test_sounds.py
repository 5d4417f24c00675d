"""Sounds that have no words: how long and how loud they are, what they consist of, what is held out."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.sample import SAMPLE_RATE
from training.data.world.music import add_note, music
from training.data.world.recording import lightly_recorded
from training.data.world.sounds import HELD_MOUTH, HUMS, MOUTH, SORTS, sound_clip
from training.data.world.vocal import NASAL, SOUNDS, VOWELS, filtered, mouth_sound, voiced

LENGTHS = {"laughter": (0.25, 3), "cough": (0.2, 3), "throat clearing": (0.2, 1.5), "breath": (0.3, 1.2)}  # seconds


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def strongest(audio: np.ndarray) -> float:
    """The frequency of the highest peak of the spectrum, Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(audio))) * SAMPLE_RATE / len(audio))


@pytest.mark.parametrize("sort", SOUNDS)
def test_sounds_of_a_mouth_are_drawn_anew_and_as_long_as_people_make_them(sort):
    made = [mouth_sound(sort, generator(seed)) for seed in (0, *range(30))]
    shortest, longest = LENGTHS.get(sort, (0.14, 1.0))
    assert (made[0] == made[1]).all() and len({audio.tobytes() for audio in made}) == 30
    for audio in made:
        assert audio.dtype == np.float32 and np.isfinite(audio).all()
        assert np.abs(audio).max() == pytest.approx(1)
        assert shortest < len(audio) / SAMPLE_RATE < longest


def test_a_voice_has_the_pitch_that_it_is_given():
    for pitch in (90, 150, 240):
        audio = voiced(0.5, (pitch, pitch), NASAL, 1.0, 0.0, generator(0))
        lags = np.correlate(audio, audio, "full")[len(audio) :]
        first = SAMPLE_RATE // 320  # the shortest period that is looked for
        period = first + np.argmax(lags[first : SAMPLE_RATE // 70]) + 1
        assert SAMPLE_RATE / period == pytest.approx(pitch, rel=0.04)


@pytest.mark.parametrize("vowel", VOWELS)
def test_breath_is_loudest_at_a_resonance_of_the_throat(vowel):
    breath = filtered(generator(1).standard_normal(4 * SAMPLE_RATE), VOWELS[vowel], 1.1)
    assert np.sqrt(np.mean(breath**2)) == pytest.approx(0.2)
    assert min(abs(strongest(breath) - 1.1 * formant) for formant in VOWELS[vowel]) < 60


def test_a_note_has_its_frequency_and_ends():
    audio = np.zeros(SAMPLE_RATE, np.float32)
    add_note(audio, 0.25, 0.5, 69, 1.0, ((1, 0.5), 0.01, 5.0))
    sounding = np.flatnonzero(audio)
    assert 0.25 <= sounding[0] / SAMPLE_RATE < 0.26 and 0.74 < sounding[-1] / SAMPLE_RATE < 0.751
    assert strongest(audio) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_music_is_tones_and_no_two_tunes_are_alike(split):
    tunes = [music(2 * SAMPLE_RATE, split, generator(seed)) for seed in range(20)]
    assert len({tune.tobytes() for tune in tunes}) == 20
    for tune in tunes:
        power = np.sort(np.abs(np.fft.rfft(tune)) ** 2)[::-1]
        assert np.abs(tune).max() == pytest.approx(1) and power[: len(power) // 20].sum() > 0.6 * power.sum()


@pytest.mark.parametrize("sort", SORTS)
def test_clips_are_a_function_of_their_seed(sort):
    for split in ("train", "heldout"):
        one, same, other = (sound_clip(sort, split, generator(seed), lightly_recorded) for seed in (1, 1, 2))
        assert (one == same).all() and not np.array_equal(one, other)
        assert one.dtype == np.float32 and 0.2 < len(one) / SAMPLE_RATE < 4.5 and 1e-4 < np.abs(one).max() <= 1


def test_some_sounds_are_held_out():
    assert set(MOUTH) < set(HELD_MOUTH) and set(HELD_MOUTH) | set(HUMS) == set(SOUNDS)
