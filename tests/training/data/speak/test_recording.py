"""What a recording adds: levels as they are written down, and rooms that decay as they should."""

import numpy as np
import pytest

from parley.media.audio import write_wav
from training.data.sample import SAMPLE_RATE
from training.data.speak.draws import draws
from training.data.speak.recording import Recording, reverberate, room_response
from training.data.speak.sounds import SoundFolder, generated_noise


@pytest.fixture
def speech():
    """Half a second of sound between two halves of silence."""
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE)
    return np.pad(tone, SAMPLE_RATE // 2).astype(np.float32)


@pytest.fixture
def music(tmp_path):
    """Two files of other rates, one in stereo and shorter than a question."""
    for name, rate, seconds in (("a/long", 44_100, 9), ("short", 8_000, 0.2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(rate * seconds)) / rate)
        write_wav(tmp_path / f"{name}.wav", np.stack([wave, wave], 1) if name == "short" else wave, rate)
    return SoundFolder(tmp_path)


def test_levels_are_those_that_are_written_down(speech, music):
    always = Recording(noise_chance=1, music_chance=0, room_chance=0)
    for number in range(8):
        audio, done = always.record(speech, draws(number))
        noise = audio[: SAMPLE_RATE // 2]  # where there was silence
        behind = audio - speech
        assert 5 <= done["noise"]["db"] <= 20 and done["noise"]["file"] == "generated"
        ratio = 10 * np.log10(np.mean(speech[speech != 0] ** 2) / np.mean(behind**2))
        assert ratio == pytest.approx(done["noise"]["db"], abs=0.3)
        assert np.abs(noise).max() > 0 and len(audio) == len(speech)
    _, done = Recording(0, 1, 0, music=music).record(speech, draws("music"))
    assert done["music"]["file"] in ("a/long.wav", "short.wav") and 5 <= done["music"]["db"] <= 20


def test_chances_and_the_same_draw_again(speech, music):
    recording = Recording(0.5, 0.2, 0.3, music=music)
    found = [recording.record(speech, draws("many", number))[1] for number in range(400)]
    for name, chance in (("noise", 0.5), ("music", 0.2), ("room", 0.3)):
        share = sum(name in done for done in found) / len(found)
        assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / len(found))
    first, second = (recording.record(speech, draws("same"))[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert Recording(0, 1, 0).record(speech, draws(0))[1] == {}  # no folder of music


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_a_room_decays_by_60_db_in_its_time(seconds):
    """Schroeder's backward integration of the squared response, fitted from -5 to -25 dB (ISO 3382's T20)."""
    energy = room_response(seconds, draws("room"))[1:] ** 2
    decay = 10 * np.log10(np.cumsum(energy[::-1])[::-1] / energy.sum())
    inside = np.flatnonzero((decay < -5) & (decay > -25))
    slope, _ = np.polyfit(inside / SAMPLE_RATE, decay[inside], 1)
    assert -60 / slope == pytest.approx(seconds, rel=0.15)


def test_reverberation_is_convolution_at_the_same_level(speech):
    wet = reverberate(speech, 0.3, draws("a"))
    expected = np.convolve(speech, room_response(0.3, draws("a")))[: len(speech)]
    expected *= np.sqrt(np.sum(speech**2) / np.sum(expected**2))
    assert np.abs(wet - expected).max() < 1e-5


def test_loud_recordings_are_not_clipped(speech):
    audio, _ = Recording(1, 0, 0).record(speech / 0.4, draws("loud"))
    assert np.abs(audio).max() <= 0.991


def test_generated_noise_is_of_several_colours():
    slopes = []
    for number in range(30):
        power = np.abs(np.fft.rfft(generated_noise(16_000, draws(number)))) ** 2
        slopes.append(10 * np.log10(power[2000:4000].mean() / power[100:200].mean()))
    assert min(slopes) < -15 and max(slopes) > -6  # brown falls by 26 dB there, white by none


def test_folders_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        SoundFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no sound files"):
        SoundFolder(tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"broken\.wav is not a sound file"):
        SoundFolder(tmp_path)
