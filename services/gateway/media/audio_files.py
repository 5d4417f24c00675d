"""Sound files that a client sends → 16-bit mono samples at the speech encoder's rate.

Notable points:
- What the header says is checked before a sample is decoded, and no more is decoded than the limit.
- Files are decoded block by block, so that many channels or a high rate take no memory.
"""

from __future__ import annotations

import io

import grpc
import numpy as np
import soundfile
import soxr

from services.rpc.errors import ServiceError
from services.rpc.limits import too_much

MAX_CHANNELS = 8
MAX_RATE = 192_000  # Hz
MAX_SAMPLES = 240_000_000  # of all channels, which take 3 s to decode; half an hour of stereo at 48 kHz has 173 million
UNKNOWN_FRAMES = (1 << 63) - 1  # of a FLAC that was streamed; libsndfile cannot read on in it
BLOCK_SECONDS = 1.0
KINDS = "WAV, FLAC, Ogg (Opus or Vorbis) or MP3"
FORMATS = {"wav": ("WAV", "WAVEX", "RF64"), "mp3": ("MP3",)}  # a client's name of a format → libsndfile's


def read_audio(data: bytes, sample_rate: int, max_seconds: float, format: str = "") -> bytes:
    """→ samples at `sample_rate` Hz. `format`: a name of `FORMATS` that the file must have; empty: any.

    Raises `ServiceError`: INVALID_ARGUMENT for what is no sound or is empty, RESOURCE_EXHAUSTED above a limit. Takes
    time: not for an event loop.
    """
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError:
        raise _refuse(f"the audio cannot be read; send a file of one of these kinds: {KINDS}") from None
    with file:
        if format and file.format not in FORMATS[format]:
            raise _refuse(f"the audio is named {format}, but it is {file.format}")
        _check(file, max_seconds)
        try:
            return _decode(file, sample_rate, max_seconds)
        except soundfile.LibsndfileError:
            raise _refuse("the audio is broken after its header") from None


def _check(file: soundfile.SoundFile, max_seconds: float) -> None:
    if file.frames == 0:
        raise _refuse("the audio is empty: it has no samples")
    if file.frames == UNKNOWN_FRAMES:
        raise _refuse("the header of the audio states no length; let the encoder write to a file, not to a pipe")
    _check_length(file, file.frames, max_seconds)
    if file.channels > MAX_CHANNELS or file.samplerate > MAX_RATE:
        message = f"{file.channels} channels at {file.samplerate} Hz; at most {MAX_CHANNELS} at {MAX_RATE} Hz are read"
        raise too_much("gateway", "max_channels", message)


def _check_length(file: soundfile.SoundFile, frames: int, max_seconds: float) -> None:
    if frames > max_seconds * file.samplerate:
        message = f"audio of {frames / file.samplerate:.1f} s is above the limit of {max_seconds:g} s; send less"
        raise too_much("gateway", "max_audio_seconds", message)
    if frames * file.channels > MAX_SAMPLES:
        message = f"{frames} samples of {file.channels} channels are above the limit of {MAX_SAMPLES} in all; send less"
        raise too_much("gateway", "max_samples", message)


def _decode(file: soundfile.SoundFile, sample_rate: int, max_seconds: float) -> bytes:
    resampler = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32", quality="HQ")
    pieces, frames, block = [], 0, max(1, int(BLOCK_SECONDS * file.samplerate))
    while len(samples := file.read(block, dtype="float32", always_2d=True)):
        frames += len(samples)
        _check_length(file, frames, max_seconds)  # the header may have said less
        mono = np.nan_to_num(samples.mean(axis=1))  # a file of floating-point samples may hold anything
        pieces.append(_to_pcm(resampler.resample_chunk(mono)))
    pieces.append(_to_pcm(resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    if not any(pieces):
        raise _refuse("the audio is empty: its header promises sound, but none follows")
    return b"".join(pieces)


def _to_pcm(samples: np.ndarray) -> bytes:
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def _refuse(message: str) -> ServiceError:
    return ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
