"""Speech synthesis with espeak-ng in this process, some hundred times faster than real time.

Notable points:
- The C library keeps one global state, so there is one `Speaker` a process (`speaker()`), and one utterance at a time.
- A voice is an accent and a variant ("en-us+anika"); speed is in words a minute, pitch 0..100.
- The flutter of a voice (its slight tremor) continues from utterance to utterance inside the library and cannot be
  reset: the same arguments give the same samples only after the same earlier utterances.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

AUDIO_OUTPUT_SYNCHRONOUS = 2
CHARS_UTF8 = 1
POSITION_CHARACTER = 1
RATE, PITCH = 1, 3  # espeak_PARAMETER
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """espeak-ng's C library. `sample_rate` is its own, 22.05 kHz."""

    def __init__(self):
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        path = str(espeakng_loader.get_data_path()).encode()
        self.sample_rate = self.library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, path, 0)
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng found no voices in {path.decode()}")
        self.variants = {file.name for file in (Path(path.decode()) / "voices" / "!v").iterdir()}
        self.chunks: list[np.ndarray] = []
        self.callback = CALLBACK(self.collect)  # kept: the library holds only its address
        self.library.espeak_SetSynthCallback(self.callback)
        self.library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self.lock = threading.Lock()

    def collect(self, samples: int | None, count: int, events) -> int:
        if samples and count > 0:
            self.chunks.append(np.frombuffer(ctypes.string_at(samples, 2 * count), np.int16))
        return 0

    def say(self, text: str, voice: str, wpm: int = 160, pitch: int = 50) -> np.ndarray:
        """Speech, int16 at `sample_rate`. Raises `ValueError` for a voice it does not have."""
        with self.lock:
            variant = voice.partition("+")[2]
            # The library takes an unknown variant for none.
            known = not variant or variant in self.variants
            if not known or self.library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {voice!r}")
            self.library.espeak_SetParameter(RATE, wpm, 0)
            self.library.espeak_SetParameter(PITCH, pitch, 0)
            self.chunks.clear()
            data = text.encode()
            self.library.espeak_Synth(data, len(data) + 1, 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None)
            return np.concatenate(self.chunks) if self.chunks else np.zeros(0, np.int16)

    def speak(self, text: str, voice: str, wpm: int = 160, pitch: int = 50, sample_rate: int = 16_000) -> np.ndarray:
        """Speech, float32 in [-1, 1] at `sample_rate`."""
        samples = self.say(text, voice, wpm, pitch).astype(np.float32) / 32768
        return soxr.resample(samples, self.sample_rate, sample_rate, "MQ")


@cache
def speaker() -> Speaker:
    """This process's speaker."""
    return Speaker()
