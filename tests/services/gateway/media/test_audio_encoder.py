"""Every format, streamed and whole, is read back by libsndfile as the sound that went in."""

from __future__ import annotations

import io
import threading
import wave

import numpy as np
import pytest
import soundfile

from services.gateway.media.audio_encoder import OUTPUT_RATE, AudioEncoder, OutputResampler, encode_audio

TIME = np.arange(2 * OUTPUT_RATE) / OUTPUT_RATE
TONE = (0.3 * np.sin(2 * np.pi * 440 * TIME) * 32767).astype("<i2")


def stream(format: str, step: int = 2400) -> list[bytes]:
    encoder = AudioEncoder(format)
    pieces = [encoder.add(TONE[i : i + step].tobytes()) for i in range(0, len(TONE), step)]
    return [*pieces, encoder.finish()]


def read(data: bytes, format: str) -> np.ndarray:
    if format == "pcm":
        return np.frombuffer(data, "<i2") / 32768
    samples, rate = soundfile.read(io.BytesIO(data))
    assert rate == OUTPUT_RATE
    return samples


def check_is_the_tone(samples: np.ndarray) -> None:
    """The length up to the encoder's delay, the frequency, and the level."""
    assert 0 <= len(samples) - len(TONE) <= 2000
    middle = samples[OUTPUT_RATE // 2 : OUTPUT_RATE // 2 + OUTPUT_RATE]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440
    assert 0.25 < np.abs(middle).max() < 0.35


@pytest.mark.parametrize("format", ["mp3", "opus", "flac", "wav", "pcm"])
def test_a_format_is_read_back_as_what_went_in(format):
    check_is_the_tone(read(b"".join(stream(format)), format))
    check_is_the_tone(read(encode_audio(TONE.tobytes(), format), format))


@pytest.mark.parametrize(("format", "pieces"), [("pcm", 1), ("wav", 1), ("mp3", 2), ("opus", 11)])
def test_the_first_bytes_come_soon(format, pieces):
    assert any(stream(format)[:pieces])


@pytest.mark.parametrize("format", ["mp3", "opus", "flac", "wav", "pcm"])
async def test_a_stream_compresses_in_a_thread_and_gives_the_same_file(format, monkeypatch):
    threads, add = set(), AudioEncoder.add
    monkeypatch.setattr(AudioEncoder, "add", lambda *given: threads.add(threading.current_thread()) or add(*given))
    encoder, half = AudioEncoder(format), len(TONE) // 2
    data = await encoder.next(TONE[:half].tobytes()) + await encoder.next(TONE[half:].tobytes(), last=True)
    assert (threading.main_thread() in threads) is (format in ("wav", "pcm"))
    check_is_the_tone(read(data, format))


def test_an_empty_answer_is_a_file_too():
    for format in ("mp3", "opus", "flac", "wav"):
        assert len(read(encode_audio(b"", format), format)) < OUTPUT_RATE / 4


def test_a_whole_wav_states_its_length_and_a_stream_says_that_it_is_unknown():
    with wave.open(io.BytesIO(encode_audio(TONE.tobytes(), "wav"))) as file:
        assert file.getnframes() == len(TONE)
    header = stream("wav")[0][:44]
    assert header[4:8] == header[40:44] == b"\xff" * 4


def test_another_rate_is_resampled_without_gaps_and_the_same_rate_is_untouched():
    time = np.arange(32_000) / 16_000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time) * 32767).astype("<i2")
    resampler = OutputResampler()
    pieces = [resampler.feed(tone[i : i + 999].tobytes(), 16_000) for i in range(0, len(tone), 999)]
    check_is_the_tone(np.frombuffer(b"".join([*pieces, resampler.flush()]), "<i2") / 32768)
    same = OutputResampler()
    assert same.feed(b"ab", OUTPUT_RATE) == b"ab" and same.flush() == b""
