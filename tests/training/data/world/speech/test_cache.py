"""Speech on disk: made once, found again, without silence and equally loud. The engine here says tones."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from training.data.world.speech import cache, speak, throat
from training.data.world.speech.making import make_all, not_made
from training.data.world.voices import Voice

VOICE = Voice("high", 160, engine="tones")


class Tones:
    """Half a second of silence, a tone as long as the text, half a second of silence."""

    sample_rate, version = 8_000, "1"

    def __init__(self):
        self.said = []

    def speak(self, text: str, name: str, speed: float) -> np.ndarray:
        self.said.append((text, name, speed))
        tone = np.sin(np.arange(round(800 * len(text) / speed), dtype=np.float32))
        return np.concatenate([np.zeros(4_000, np.float32), 0.01 * tone, np.zeros(4_000, np.float32)])


@pytest.fixture
def tones(monkeypatch, tmp_path) -> Tones:
    tones = Tones()
    monkeypatch.setattr(cache, "engine", lambda name: tones)
    monkeypatch.setenv("PARLEY_SPEECH_CACHE", str(tmp_path))
    return tones


def test_it_is_made_once_and_found_again(tones):
    made, found = speak("hello", VOICE), speak("hello", VOICE)
    assert (made == found).all() and tones.said == [("hello", "high", 1.0)]
    for other in (replace(VOICE, name="low"), replace(VOICE, wpm=192)):
        speak("hello", other)
    speak("hallo", VOICE)
    assert [said[1:] for said in tones.said[1:]] == [("low", 1.0), ("high", 1.2), ("high", 1.0)]
    tones.version = "2"
    speak("hello", VOICE)
    assert len(tones.said) == 5


def test_it_has_no_silence_and_one_loudness_at_any_rate(tones):
    for rate in (16_000, 24_000):
        audio = speak("hello", VOICE, rate)
        assert audio.dtype == np.float32 and abs(len(audio) / rate - 0.5 - 2 * cache.EDGE) < 0.01
    inside = audio[3_000:-3_000]
    assert abs(np.sqrt(np.mean(inside**2)) - cache.LOUDNESS) < 0.01
    assert np.abs(cache.cleaned(np.eye(1, 9_000, dtype=np.float32)[0], tones)).max() <= cache.PEAK
    assert not cache.cleaned(np.zeros(80, np.float32), tones).any()


def test_another_throat_is_the_same_speech_resampled(tones):
    plain, high = speak("hello", VOICE), speak("hello", replace(VOICE, pitch=100))
    assert len(tones.said) == 1 and abs(len(plain) / len(high) - throat(100)) < 0.01


def test_a_damaged_file_is_made_again(tones):
    made = speak("hello", VOICE)
    cache.file("hello", VOICE).write_bytes(b"")
    assert (speak("hello", VOICE) == made).all() and len(tones.said) == 2


def test_threads_and_processes_share_it(tones, tmp_path):
    said = [(f"text {number}", VOICE) for number in range(9)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: speak(*each), said[:3] * 4))
    lacking = not_made(said * 2)
    assert lacking == said[3:]
    assert len(list(make_all(lacking, jobs=2))) == 6 and not_made(said) == []
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {".flac"}
