"""What a recording adds to speech: how much noise, which frequencies, how loud."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.sample import SAMPLE_RATE
from training.data.world import recording
from training.data.world.background import HELD_SORTS, SORTS, background
from training.data.world.speech.espeak import speaker

RECORDINGS = {
    "recorded": recording.recorded,
    "lightly recorded": recording.lightly_recorded,
    "telephone": recording.telephone,
    "noisy": lambda audio, rng: recording.noisy(audio, 10, rng),
}


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return speaker().speak("what colour is the big red circle?", "en-us")


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_a_function_of_its_seed_and_as_long_as_the_speech(name, clean):
    heard = [RECORDINGS[name](clean, np.random.default_rng(seed)) for seed in (1, 1, *range(2, 40))]
    assert (heard[0] == heard[1]).all() and (heard[0] != heard[2]).any()
    for audio in heard:
        assert audio.dtype == np.float32 and len(audio) == len(clean) and np.isfinite(audio).all()
        assert 0.01 < np.abs(audio).max() <= 1


def test_some_of_what_is_learned_from_is_clipped_and_some_is_soft(clean):
    heard = [recording.recorded(clean, np.random.default_rng(seed)) for seed in range(300)]
    clipped = np.mean([np.mean(np.abs(audio) == 1) > 0.0005 for audio in heard])
    assert 0.01 < clipped < 0.15
    assert np.mean([np.abs(audio).max() < 0.1 for audio in heard]) > 0.1


@pytest.mark.parametrize("decibels", [5, 10, 20])
def test_noise_is_as_loud_as_it_says(decibels, clean):
    """The noise is what is left when as much of the speech as fits is taken out."""
    found = []
    for seed in range(20):
        heard = recording.noisy(clean, decibels, np.random.default_rng(seed))
        scale = heard @ clean / (clean @ clean)
        noise = heard - scale * clean
        found.append(20 * np.log10(scale * recording.level(clean) / np.sqrt(np.mean(noise**2))))
    assert np.mean(found) == pytest.approx(decibels, abs=0.5) and np.std(found) < 1


def test_a_telephone_line_lets_its_band_through():
    white = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    heard = recording.on_a_line(white, np.random.default_rng(1))
    frequency = np.fft.rfftfreq(len(heard), 1 / SAMPLE_RATE)
    power = np.abs(np.fft.rfft(heard)) ** 2

    def mean_power(low: float, high: float) -> float:
        return float(np.mean(power[(frequency > low) & (frequency < high)]))

    inside = mean_power(400, 3300)
    for low, high in ((0, 240), (3500, 4000), (4200, 8000)):
        assert mean_power(low, high) < 0.01 * inside, (low, high)


@pytest.mark.parametrize(("split", "sorts"), [("train", SORTS), ("heldout", HELD_SORTS)])
def test_backgrounds_are_of_one_loudness_and_of_every_sort(split, sorts):
    made = [background(8000, split, np.random.default_rng(seed)) for seed in range(30)]
    assert all(np.sqrt(np.mean(sound**2)) == pytest.approx(1, abs=0.01) for sound in made)
    flat = [np.exp(np.mean(np.log(power))) / np.mean(power) for power in (np.abs(np.fft.rfft(s)) ** 2 for s in made)]
    assert min(flat) < 0.01 and max(flat) > (0.4 if "white" in sorts else 0.01)
