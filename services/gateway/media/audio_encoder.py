"""Audio of answers as files, while it comes: the first bytes are there soon after the first samples."""

from __future__ import annotations

import asyncio
import io
import struct
from typing import Literal

import numpy as np
import soundfile

from services.gateway.media.resampler import Resampler

OUTPUT_RATE = 24_000  # Hz, of what clients of the OpenAI API are sent

Format = Literal["mp3", "opus", "flac", "wav", "pcm"]
MEDIA_TYPES: dict[Format, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}

_LIBSNDFILE = {
    # A constant rate, so that players know the length without the header that a stream cannot have; about 80 kbit/s.
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": 0.5},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "wav": {"format": "WAV", "subtype": "PCM_16"},
}
_UNKNOWN = 0xFFFFFFFF  # in place of a length in a WAV header
_MP3_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # of MPEG-2, layer III


class OutputResampler:
    """16-bit mono at the speech decoder's rate → at `OUTPUT_RATE`."""

    def __init__(self) -> None:
        self._rate = 0
        self._stream: Resampler | None = None

    def feed(self, audio: bytes, sample_rate: int, last: bool = False) -> bytes:
        """`last`: with what it still holds back."""
        if sample_rate == OUTPUT_RATE:
            return audio
        if self._stream is None or sample_rate != self._rate:
            self._rate = sample_rate
            self._stream = Resampler(sample_rate, OUTPUT_RATE)
        return self._stream.feed(audio) + (self._stream.flush() if last else b"")

    def flush(self) -> bytes:
        return b"" if self._stream is None else self._stream.flush()


class AudioEncoder:
    """16-bit mono samples at `OUTPUT_RATE` → the bytes of one file, in order.

    FLAC comes as a whole at the end: its header states the length. The header of a WAV says that it is unknown.
    """

    def __init__(self, format: Format):
        self._format = format
        self._sink = _Sink()
        self._skipped = format != "mp3"
        self._begun, self._empty = False, True
        self._file = None
        if format in ("mp3", "opus", "flac"):
            self._file = soundfile.SoundFile(self._sink, "w", OUTPUT_RATE, 1, **_LIBSNDFILE[format])

    async def next(self, audio: bytes, last: bool = False) -> bytes:
        """What `add`, and with `last` also `finish`, give. Not on the event loop where it takes long: 0.2 s of Opus
        take 3 ms (`benchmarks/media.py`)."""
        if self._file is None:
            return self._next(audio, last)
        return await asyncio.to_thread(self._next, audio, last)

    def _next(self, audio: bytes, last: bool) -> bytes:
        return self.add(audio) + (self.finish() if last else b"")

    def add(self, audio: bytes) -> bytes:
        """What can be sent by now; may be empty."""
        self._empty = self._empty and not audio
        if self._file is not None:
            self._file.write(np.frombuffer(audio, "<i2"))
            return b"" if self._format == "flac" else self._take()
        header = b"" if self._begun or self._format == "pcm" else wav_header()
        self._begun = True
        return header + audio

    def finish(self) -> bytes:
        """The rest."""
        if self._file is None:
            return self.add(b"")
        if self._empty:  # a file without samples cannot be read
            self._file.write(np.zeros(OUTPUT_RATE // 10, np.int16))
        self._file.close()
        return self._take()

    def _take(self) -> bytes:
        """New bytes. The first frame of an MP3 is left out: it would hold the length, and is empty until the end."""
        if not self._skipped and len(self._sink.data) > 4:
            self._sink.taken = _mp3_frame_bytes(self._sink.data)
            self._skipped = True
        return self._sink.take()


def encode_audio(audio: bytes, format: Format) -> bytes:
    """16-bit mono samples at `OUTPUT_RATE` → a whole file, which states its length. Not for an event loop."""
    if format == "wav":
        file = io.BytesIO()
        soundfile.write(file, np.frombuffer(audio, "<i2"), OUTPUT_RATE, **_LIBSNDFILE["wav"])
        return file.getvalue()
    encoder = AudioEncoder(format)
    return encoder.add(audio) + encoder.finish()


def wav_header() -> bytes:
    """Of a stream whose length is not known yet."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", _UNKNOWN, b"WAVE", b"fmt ", 16, 1, 1, OUTPUT_RATE, 2 * OUTPUT_RATE, 2, 16, b"data", _UNKNOWN),
    )


def _mp3_frame_bytes(data: bytes | bytearray) -> int:
    """Length of the frame at the beginning, at `OUTPUT_RATE`."""
    kbits, padded = _MP3_KBITS[data[2] >> 4], data[2] >> 1 & 1
    return 72_000 * kbits // OUTPUT_RATE + padded


class _Sink(io.RawIOBase):
    """A file in memory that tells what was added to it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.taken = 0
        self._position = 0

    def take(self) -> bytes:
        new = bytes(self.data[self.taken :])
        self.taken = max(self.taken, len(self.data))
        return new

    def write(self, data) -> int:
        piece = bytes(data)
        self.data[self._position : self._position + len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self.data)}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = len(self.data) if size < 0 else self._position + size
        piece = bytes(self.data[self._position : end])
        self._position += len(piece)
        return piece
