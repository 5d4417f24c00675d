"""Sound files of clients: every kind that is read, and what is refused before and while it is decoded."""

from __future__ import annotations

import io
import struct
import tracemalloc

import grpc
import numpy as np
import pytest
import soundfile

from services.gateway.media import audio_files
from services.gateway.media.audio_files import read_audio
from services.rpc.errors import ServiceError

INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED


def file_of(seconds: float = 1.0, rate: int = 16_000, channels: int = 1, **kind) -> bytes:
    """A tone of 440 Hz."""
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    file = io.BytesIO()
    soundfile.write(file, np.tile(tone[:, None], channels), rate, **kind)
    return file.getvalue()


@pytest.mark.parametrize(
    "kind",
    [
        {"format": "WAV", "subtype": "PCM_16"},
        {"format": "WAV", "subtype": "FLOAT", "rate": 44_100, "channels": 2},
        {"format": "WAV", "subtype": "ULAW", "rate": 8000},
        {"format": "FLAC", "rate": 48_000, "channels": 2},
        {"format": "OGG", "subtype": "OPUS", "rate": 48_000},
        {"format": "OGG", "subtype": "VORBIS", "rate": 22_050},
        {"format": "MP3", "rate": 44_100},
    ],
)
def test_every_kind_is_read_at_the_models_rate(kind):
    samples = np.frombuffer(read_audio(file_of(**kind), 16_000, 5), "<i2")
    assert 15_900 <= len(samples) <= 18_000
    middle = samples[4000:12_000] / 32768
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 220 and 0.27 < np.abs(middle).max() < 0.33


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", INVALID, "cannot be read"),
        (b"RIFF....WAVE", INVALID, "cannot be read"),
        (bytes(1000), INVALID, "cannot be read"),
        (file_of(0.0, format="WAV"), INVALID, "no samples"),
        (file_of(6.0, format="FLAC"), EXHAUSTED, "limit of 5 s"),
        (file_of(0.1, channels=9, format="WAV"), EXHAUSTED, "9 channels"),
        (file_of(0.1, rate=384_000, format="WAV"), EXHAUSTED, "384000 Hz"),
    ],
)
def test_what_is_refused(data, code, message):
    with pytest.raises(ServiceError, match=message) as caught:
        read_audio(data, 16_000, 5)
    assert caught.value.code is code


def test_a_format_that_is_named_must_be_what_is_sent():
    assert read_audio(file_of(format="WAV"), 16_000, 5, "wav")
    with pytest.raises(ServiceError, match="named mp3, but it is WAV"):
        read_audio(file_of(format="WAV"), 16_000, 5, "mp3")


def test_a_header_that_promises_hours_is_refused_before_anything_is_decoded():
    flac = bytearray(file_of(2.0, format="FLAC"))
    (packed,) = struct.unpack_from(">Q", flac, 18)
    struct.pack_into(">Q", flac, 18, (packed & ~((1 << 36) - 1)) | 16_000 * 36_000)  # total samples: ten hours
    with pytest.raises(ServiceError, match="36000"):
        read_audio(bytes(flac), 16_000, 5)


def test_a_flac_that_was_streamed_is_refused_for_what_it_is():
    flac = bytearray(file_of(2.0, format="FLAC"))
    (packed,) = struct.unpack_from(">Q", flac, 18)
    struct.pack_into(">Q", flac, 18, packed & ~((1 << 36) - 1))  # total samples: unknown
    with pytest.raises(ServiceError, match="states no length"):
        read_audio(bytes(flac), 16_000, 5)


def test_silence_of_many_channels_takes_no_time(monkeypatch):
    monkeypatch.setattr(audio_files, "MAX_SAMPLES", 100_000)
    with pytest.raises(ServiceError, match="of 8 channels are above the limit of 100000"):
        read_audio(file_of(1.0, channels=8, format="FLAC"), 16_000, 5)


def test_silence_that_compresses_well_takes_no_memory():
    file = io.BytesIO()
    soundfile.write(file, np.zeros((60 * 96_000, 8), np.int16), 96_000, format="FLAC")
    data = file.getvalue()
    tracemalloc.start()
    read_audio(data, 16_000, 60)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20  # decoded at once as float32 it would be 176 MiB


def test_samples_that_are_no_numbers_become_silence():
    file = io.BytesIO()
    soundfile.write(file, np.full(16_000, np.nan), 16_000, format="WAV", subtype="FLOAT")
    assert not np.frombuffer(read_audio(file.getvalue(), 16_000, 5), "<i2").any()
