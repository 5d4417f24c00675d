"""Sound files and samples: reading, resampling, writing.

Notable points:
- Everywhere in Parley audio is float32, mono, in [-1, 1], a one-dimensional numpy array.
- The length is taken from a file's header, before a sample is decoded.
"""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr


def read_audio(data: bytes | str | PathLike, sample_rate: int, *, max_seconds: float | None = None) -> np.ndarray:
    """The sound in a file (WAV, FLAC, Ogg, MP3), as float32 [samples] at `sample_rate` Hz.

    Other rates are resampled and channels averaged. Raises `ValueError` for what is not there, is not sound, is empty,
    has samples that are no numbers, or is longer than `max_seconds`.
    """
    named = "the audio" if isinstance(data, bytes) else str(data)
    if not isinstance(data, bytes) and not Path(data).exists():
        raise ValueError(f"there is no file {data}")
    try:
        file = soundfile.SoundFile(io.BytesIO(data) if isinstance(data, bytes) else str(data))
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{named} is not a sound file that can be read (WAV, FLAC, Ogg or MP3): {error}") from None
    with file:
        seconds = file.frames / file.samplerate
        if file.frames == 0:
            raise ValueError(f"{named} is empty: it has no samples")
        if max_seconds is not None and seconds > max_seconds:
            raise ValueError(f"{named} lasts {seconds:.1f} s; at most {max_seconds:g} s are allowed")
        try:
            samples = file.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{named} is broken after its header: {error}") from None
        rate = file.samplerate
    if len(samples) == 0:
        raise ValueError(f"{named} is empty: its header promises sound, but none follows")
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise ValueError(f"{named} has samples that are no numbers (NaN or infinite)")
    return np.clip(resample(np.clip(mono, -1.0, 1.0), rate, sample_rate), -1.0, 1.0)


def resample(waveform: np.ndarray, from_rate: float, to_rate: float) -> np.ndarray:
    """float32 [samples] at `from_rate` → float32 [samples × to_rate / from_rate]."""
    if from_rate == to_rate:
        return np.ascontiguousarray(waveform, dtype=np.float32)
    return soxr.resample(np.ascontiguousarray(waveform, dtype=np.float32), from_rate, to_rate)


def write_wav(file: str | PathLike | BinaryIO, waveform: np.ndarray, sample_rate: int) -> None:
    """Writes float [samples] in [-1, 1] as a 16-bit mono WAV file."""
    soundfile.write(file, to_pcm16(waveform), sample_rate, format="WAV", subtype="PCM_16")


def to_pcm16(waveform: np.ndarray) -> np.ndarray:
    """float [samples] in [-1, 1] → int16 [samples]; what is louder is clipped."""
    return np.rint(np.clip(np.asarray(waveform, dtype=np.float32), -1.0, 1.0) * 32767).astype("<i2")


def from_pcm16(data: bytes) -> np.ndarray:
    """Little-endian 16-bit samples → float32 [samples]. Raises `ValueError` for half a sample."""
    if len(data) % 2:
        raise ValueError(f"16-bit audio comes in an even number of bytes, not {len(data)}")
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768
