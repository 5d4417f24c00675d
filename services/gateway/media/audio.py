"""What a client sends as audio, checked and resampled to the rate that the speech encoder takes."""

from __future__ import annotations

import struct

from services.gateway.media.resampler import Resampler
from services.rpc.limits import too_much

INPUT_RATES = (8_000, 16_000, 24_000, 48_000)  # Hz, that clients may send

_CONTAINERS = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3\x03": "MP3", b"ID3\x04": "MP3"}


def check_rate(sample_rate: int) -> None:
    """Raises `ValueError` for a rate, in Hz, that clients cannot send."""
    if sample_rate not in INPUT_RATES:
        rates = ", ".join(map(str, INPUT_RATES))
        raise ValueError(f"input_sample_rate {sample_rate} Hz is not served; send one of {rates}")


class InputAudio:
    """One client's audio: checked, and resampled with a state that continues from chunk to chunk."""

    def __init__(self, sample_rate: int, model_rate: int, max_chunk_seconds: float):
        """Rates in Hz. Raises `ValueError` for a `sample_rate` that is not among `INPUT_RATES`."""
        check_rate(sample_rate)
        self.sample_rate = sample_rate
        self.max_chunk_seconds = max_chunk_seconds
        self._first = True
        self._resampler = None if sample_rate == model_rate else Resampler(sample_rate, model_rate)

    def feed(self, chunk: bytes) -> bytes:
        """Raw samples at the client's rate → at the model's rate; a millisecond or two stay inside until `flush`.

        Raises `ValueError` for an empty chunk, half a sample, or a file where samples belong, and `ServiceError` for a
        chunk above the limit.
        """
        if not chunk:
            raise ValueError("audio chunk is empty")
        if len(chunk) % 2:
            raise ValueError(f"audio chunk of {len(chunk)} bytes ends in half a sample; send 16-bit samples")
        seconds = len(chunk) / 2 / self.sample_rate
        if seconds > self.max_chunk_seconds:
            message = f"audio chunk of {seconds:.1f} s is above the limit of {self.max_chunk_seconds:g} s; send less"
            raise too_much("gateway", "max_chunk_seconds", message)
        if self._first and chunk[:4] in _CONTAINERS:
            raise ValueError(
                f"audio begins as a {_describe(chunk)} file does; send its samples: raw, 16-bit little-endian, mono, "
                f"{self.sample_rate} Hz"
            )
        self._first = False
        return chunk if self._resampler is None else self._resampler.feed(chunk)

    def flush(self) -> bytes:
        """The rest, at the end of a question. The next chunk starts a new one."""
        self._first = True
        return b"" if self._resampler is None else self._resampler.flush()


def _describe(head: bytes) -> str:
    """What kind of file begins so; of a plain WAV also what is in it."""
    kind = _CONTAINERS[head[:4]]
    if kind == "WAV" and len(head) >= 36 and head[12:16] == b"fmt ":
        channels, rate = struct.unpack_from("<HI", head, 22)
        (bits,) = struct.unpack_from("<H", head, 34)
        return f"WAV ({channels} channels, {rate} Hz, {bits}-bit)"
    return kind
