"""Sound files: what is read, what is refused, and that nothing changes on the way."""

import io

import numpy as np
import pytest
import soundfile

from parley.media.audio import from_pcm16, read_audio, resample, to_pcm16, write_wav


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wav_bytes(samples: np.ndarray, rate: int, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def test_a_written_file_reads_back(tmp_path):
    samples = tone(0.5, 16_000)
    write_wav(tmp_path / "a.wav", samples, 16_000)
    back = read_audio(tmp_path / "a.wav", 16_000)
    assert back.dtype == np.float32
    assert np.abs(back - samples).max() < 1e-4


def test_stereo_of_another_rate_becomes_mono_of_ours():
    stereo = np.stack([tone(1, 44_100), tone(1, 44_100)], 1)
    back = read_audio(wav_bytes(stereo, 44_100), 16_000)
    assert back.shape == (16_000,)
    assert np.abs(back[2000:-2000] - tone(1, 16_000)[2000:-2000]).max() < 1e-2


def test_what_is_no_sound_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a sound file"):
        read_audio(b"\x89PNG no sound at all", 16_000)
    with pytest.raises(ValueError, match="empty"):
        read_audio(wav_bytes(np.zeros(0, np.float32), 16_000), 16_000)
    with pytest.raises(ValueError, match=r"lasts 3\.0 s; at most 2 s"):
        read_audio(wav_bytes(tone(3, 16_000), 16_000), 16_000, max_seconds=2)
    with pytest.raises(ValueError, match="there is no file"):
        read_audio(tmp_path / "none.wav", 16_000)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(broken):
    samples = tone(0.1, 16_000)
    samples[100] = broken
    with pytest.raises(ValueError, match="no numbers"):
        read_audio(wav_bytes(samples, 16_000, "FLOAT"), 24_000)


def test_samples_that_are_far_too_loud_are_clipped():
    samples = np.full(1600, 3e38, np.float32)
    assert read_audio(wav_bytes(samples, 16_000, "FLOAT"), 24_000)[100:-100] == pytest.approx(1.0, abs=1e-3)


def test_pcm_round_trip_and_half_a_sample():
    samples = tone(0.1, 16_000)
    assert np.abs(from_pcm16(to_pcm16(samples).tobytes()) - samples).max() < 1e-4
    assert to_pcm16(np.array([2.0, -2.0])).tolist() == [32767, -32767]
    with pytest.raises(ValueError, match="even number of bytes, not 3"):
        from_pcm16(b"abc")


def test_resampling_keeps_the_length_in_seconds():
    assert resample(tone(1, 24_000), 24_000, 16_000).shape == (16_000,)
    same = tone(1, 16_000)
    assert resample(same, 16_000, 16_000) is same
