"""Audio from clients: checked, and resampled to the model's rate without seams."""

from __future__ import annotations

import io

import grpc
import numpy as np
import pytest
import soundfile
import soxr

from services.gateway.media.audio import InputAudio
from services.rpc.errors import ServiceError


def chunks(data: bytes, size: int):
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_chunks_resample_as_the_whole_does(rate):
    time = np.arange(rate) / rate
    tone = (8000 * np.sin(2 * np.pi * 440 * time)).astype("<i2")
    audio = InputAudio(rate, 16_000, max_chunk_seconds=1)
    got = b"".join(audio.feed(chunk) for chunk in chunks(tone.tobytes(), rate // 25 * 2)) + audio.flush()
    got = np.frombuffer(got, "<i2").astype(int)
    whole = soxr.resample(tone, rate, 16_000).astype(int)
    assert len(got) == len(whole) == 16_000
    assert np.abs(got - whole)[200:-200].max() <= 3  # at the edges filters ring, each in its way


def test_after_a_question_the_resampler_begins_anew():
    audio = InputAudio(48_000, 16_000, max_chunk_seconds=1)
    loud = np.full(4800, 20_000, "<i2").tobytes()
    audio.feed(loud)
    audio.flush()
    fresh = InputAudio(48_000, 16_000, max_chunk_seconds=1)
    assert audio.feed(loud) + audio.flush() == fresh.feed(loud) + fresh.flush()


@pytest.mark.parametrize(
    ("chunk", "complaint"),
    [
        (b"", "empty"),
        (b"abc", "half a sample"),
        (b"RIFF\x24\x00\x00\x00WAVE", "WAV file"),
        (b"fLaC\x00\x00\x00\x22", "FLAC file"),
    ],
)
def test_what_is_no_audio_is_refused_in_words(chunk, complaint):
    with pytest.raises(ValueError, match=complaint):
        InputAudio(16_000, 16_000, max_chunk_seconds=1).feed(chunk)


def test_a_chunk_that_is_too_long_is_refused_as_too_much():
    with pytest.raises(ServiceError, match="above the limit") as refused:
        InputAudio(16_000, 16_000, max_chunk_seconds=1).feed(bytes(2 * 16_001))
    assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_wav_file_is_told_what_it_is():
    file = io.BytesIO()
    soundfile.write(file, np.zeros((100, 2)), 44_100, format="WAV", subtype="PCM_U8")
    with pytest.raises(ValueError, match=r"WAV \(2 channels, 44100 Hz, 8-bit\).*16-bit little-endian, mono, 24000 Hz"):
        InputAudio(24_000, 16_000, max_chunk_seconds=1).feed(file.getvalue())


def test_a_rate_that_is_not_served_names_those_that_are():
    with pytest.raises(ValueError, match="16000, 24000, 48000"):
        InputAudio(44_100, 16_000, max_chunk_seconds=1)
