"""Speech synthesis with espeak-ng in this process, some hundred times faster than real time.

Notable points:
- The C library keeps one global state, so there is one `Speaker` a process (`speaker()`), and one utterance at a time.
- A voice is an accent and a variant ("en-us+anika"); speed is in words a minute, pitch 0..100.
- The flutter of a voice (its slight tremor) continues from utterance to utterance inside the library and cannot be
  reset: the same arguments give the same samples only after the same earlier utterances.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from functools import cache
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

AUDIO_OUTPUT_SYNCHRONOUS = 2
CHARS_UTF8 = 1
WORD = 1  # espeak_EVENT_TYPE
POSITION_CHARACTER = 1
RATE, PITCH = 1, 3  # espeak_PARAMETER
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Event(ctypes.Structure):
    """espeak_EVENT."""

    _fields_ = (
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", ctypes.c_char * 8),
    )  # fmt: skip


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
        self.words: list[tuple[int, int]] = []  # (place in the text, milliseconds) where each begins
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
        events = ctypes.cast(events, ctypes.POINTER(Event))
        for event in itertools.takewhile(lambda event: event.type, (events[i] for i in itertools.count())):
            if event.type == WORD:
                self.words.append((event.text_position - 1, event.audio_position))
        return 0

    def say(self, text: str, voice: str, wpm: int = 160, pitch: int = 50) -> np.ndarray:
        """Speech, int16 at `sample_rate`. Raises `ValueError` for a voice it does not have."""
        return self.say_words(text, voice, wpm, pitch)[0]

    def say_words(self, text: str, voice: str, wpm: int, pitch: int) -> tuple[np.ndarray, dict[int, float]]:
        """As `say`, and where each word begins: its place in the text → seconds. Words that are said as one ("of the")
        have one entry."""
        with self.lock:
            variant = voice.partition("+")[2]
            # The library takes an unknown variant for none.
            known = not variant or variant in self.variants
            if not known or self.library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {voice!r}")
            self.library.espeak_SetParameter(RATE, wpm, 0)
            self.library.espeak_SetParameter(PITCH, pitch, 0)
            self.chunks.clear()
            self.words.clear()
            data = text.encode()
            self.library.espeak_Synth(data, len(data) + 1, 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None)
            audio = np.concatenate(self.chunks) if self.chunks else np.zeros(0, np.int16)
            return audio, {place: milliseconds / 1000 for place, milliseconds in self.words}

    def speak(self, text: str, voice: str, wpm: int = 160, pitch: int = 50, sample_rate: int = 16_000) -> np.ndarray:
        """Speech, float32 in [-1, 1] at `sample_rate`."""
        return self.speak_words(text, voice, wpm, pitch, sample_rate)[0]

    def speak_words(
        self, text: str, voice: str, wpm: int = 160, pitch: int = 50, sample_rate: int = 16_000
    ) -> tuple[np.ndarray, dict[int, float]]:
        """As `speak`, and where each word begins, as `say_words`."""
        said, words = self.say_words(text, voice, wpm, pitch)
        samples = said.astype(np.float32) / 32768
        return soxr.resample(samples, self.sample_rate, sample_rate, "MQ"), words


@cache
def speaker() -> Speaker:
    """This process's speaker."""
    return Speaker()
