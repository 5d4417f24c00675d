"""The audio formats of the Realtime API, in both directions."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import soxr

from services.gateway.api.openai.errors import ApiError
from services.gateway.media import g711
from services.gateway.media.resampler import Resampler

PCM = {"type": "audio/pcm", "rate": 24_000}
PCM_RATE = 24_000  # Hz
DELTA_SECONDS = 0.2  # of audio in one event, at most: an interruption is exact to it


def rate_of(format: Mapping[str, Any]) -> int:
    """Hz."""
    return PCM_RATE if format["type"] == "audio/pcm" else g711.SAMPLE_RATE


def read_base64(text: str, param: str) -> bytes:
    """Raises `ApiError`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(f"Invalid value for '{param}': it is not valid base64.", "invalid_value", param) from None


class InputDecoder:
    """One client's microphone: bytes in chunks of any size → whole 16-bit samples."""

    def __init__(self) -> None:
        self._half = b""  # of a sample

    def decode(self, data: bytes, format: Mapping[str, Any]) -> bytes:
        if format["type"] != "audio/pcm":
            return g711.decode(data, _law(format))
        data = self._half + data
        whole = len(data) - len(data) % 2
        self._half = data[whole:]
        return data[:whole]


def to_rate(data: bytes, format: Mapping[str, Any], sample_rate: int) -> bytes:
    """A whole recording in a client's format → 16-bit samples at `sample_rate`, in Hz."""
    samples = np.frombuffer(InputDecoder().decode(data, format), "<i2")
    return soxr.resample(samples, rate_of(format), sample_rate).astype("<i2", copy=False).tobytes()


class OutputEncoder:
    """The audio of one answer: from the speech decoder's rate to the client's format."""

    def __init__(self, format: Mapping[str, Any], sample_rate: int):
        """`sample_rate`: Hz, of the audio to come."""
        self._format, rate = format, rate_of(format)
        self._resampler = None if sample_rate == rate else Resampler(sample_rate, rate)
        self._step = 2 * round(DELTA_SECONDS * rate)

    def feed(self, pcm: bytes) -> Iterator[bytes]:
        """→ pieces of `DELTA_SECONDS` or less."""
        return self._pieces(pcm if self._resampler is None else self._resampler.feed(pcm))

    def finish(self) -> Iterator[bytes]:
        """The last of it."""
        return self._pieces(b"" if self._resampler is None else self._resampler.flush())

    def _pieces(self, pcm: bytes) -> Iterator[bytes]:
        for start in range(0, len(pcm), self._step):
            piece = pcm[start : start + self._step]
            yield piece if self._format["type"] == "audio/pcm" else g711.encode(piece, _law(self._format))


def _law(format: Mapping[str, Any]) -> g711.Law:
    return "pcmu" if format["type"] == "audio/pcmu" else "pcma"
