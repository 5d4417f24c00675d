"""What a recording adds to clean speech: silence around it, a room, noise, a telephone line, loudness, clipping.

Notable points:
- `recorded` is what training learns from, `lightly_recorded` what is measured where a measure names no condition.
- `telephone` and `noisy` are conditions of the evaluation: each adds one thing, always.
- Audio is float32 at 16 kHz. Only `padded` and `pad` change its length.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import soxr

from training.data.sample import SAMPLE_RATE
from training.data.world.background import background, steady

Recording = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # what is heard of clean speech, of one length

LIGHT_NOISE = (10.0, 30.0)  # dB between speech and noise
NOISE = (5.0, 20.0)  # dB
PEAKS = (0.05, 0.9)  # of full scale
LOUDNESS = (0.05, 3.0)  # times speech whose peak is half of full scale; what is beyond full scale is clipped
BAND = (300.0, 3400.0)  # Hz, of a telephone line
EDGE = 60.0  # Hz over which the band ends
MU = 255.0  # of µ-law (ITU-T G.711)


def padded(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The audio with a little silence around it."""
    return pad(audio, rng.uniform(0.05, 0.35), rng.uniform(0.1, 0.4))


def pad(audio: np.ndarray, before: float, after: float, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Silence in front and behind, seconds."""
    return np.pad(audio, (int(before * sample_rate), int(after * sample_rate)))


def recorded(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clean speech as a microphone may have it: half of the time as `lightly_recorded` says; else often with any
    background at 5–20 dB, through a telephone line, too soft, or so loud that it is clipped."""
    if rng.random() < 0.5:
        return lightly_recorded(audio, rng)
    speech = audio
    if rng.random() < 0.35:
        audio = reverberate(audio, rng)
    if rng.random() < 0.8:
        audio = with_noise(audio, background(len(audio), "train", rng), rng.uniform(*NOISE), speech)
    if rng.random() < 0.4:
        audio = on_a_line(audio, rng)
    return np.clip(scaled(audio, 0.5 * log_uniform(LOUDNESS, rng)), -1, 1)


def lightly_recorded(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clean speech in a quiet place: often steady noise at 10–30 dB, sometimes a room; a peak of 0.05–0.9."""
    speech = audio
    if rng.random() < 0.35:
        audio = reverberate(audio, rng)
    if rng.random() < 0.7:
        sound = steady(("white", "pink", "hum")[rng.integers(3)], len(audio), rng)
        audio = with_noise(audio, sound, rng.uniform(*LIGHT_NOISE), speech)
    return scaled(audio, log_uniform(PEAKS, rng))


def telephone(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clean speech from a telephone: lightly recorded, then a band of 300–3,400 Hz, 8 kHz, µ-law."""
    return on_a_line(lightly_recorded(audio, rng), rng)


def noisy(audio: np.ndarray, decibels: float, rng: np.random.Generator) -> np.ndarray:
    """Clean speech that is so much louder than what sounds behind it (`background`, of the held-out split)."""
    loud = with_noise(audio, background(len(audio), "heldout", rng), decibels, audio)
    return scaled(loud, log_uniform(PEAKS, rng))


def with_noise(audio: np.ndarray, sound: np.ndarray, decibels: float, speech: np.ndarray) -> np.ndarray:
    """The audio with a sound behind it, softer than the clean speech by so many decibels, where that is voiced."""
    wanted = level(speech) * 10 ** (-decibels / 20)
    return audio + np.float32(wanted / max(float(np.sqrt(np.mean(sound**2))), 1e-6)) * sound


def level(speech: np.ndarray) -> float:
    """Root mean square of clean speech, without its pauses."""
    voiced = speech[np.abs(speech) > 0.01]
    return float(np.sqrt(np.mean(voiced**2))) if len(voiced) else 0.05


def scaled(audio: np.ndarray, peak: float) -> np.ndarray:
    return (audio * (peak / max(float(np.abs(audio).max()), 1e-6))).astype(np.float32)


def log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def reverberate(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The audio in a small room: a tail of decaying noise behind every sound, same length."""
    length = int(rng.uniform(0.08, 0.3) * SAMPLE_RATE)
    room = rng.standard_normal(length, np.float32) * np.exp(-6.9 * np.arange(length, dtype=np.float32) / length)
    room *= rng.uniform(0.1, 0.5) / np.sqrt(np.sum(room**2))
    room[0] += 1
    size = fast_size(len(audio) + length)
    wet = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(room, size), size)
    return wet[: len(audio)].astype(np.float32)


def on_a_line(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The audio as it comes out of a telephone: a band of 300–3,400 Hz, 8 kHz, µ-law (ITU-T G.711)."""
    size = fast_size(len(audio))
    spectrum = np.fft.rfft(audio, size)[: size // 4 + 1] * line(size)
    narrow = scaled(np.fft.irfft(spectrum, size // 2), log_uniform((0.1, 0.9), rng))
    coded = np.round(127 * np.sign(narrow) * np.log1p(MU * np.abs(narrow)) / np.log1p(MU)) / 127
    decoded = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(MU)) / MU
    return soxr.resample(decoded.astype(np.float32), SAMPLE_RATE // 2, SAMPLE_RATE, "MQ")[: len(audio)]


@cache
def line(size: int) -> np.ndarray:
    """What a telephone line lets through of each frequency of a transform of `size` samples, up to 4 kHz."""
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)[: size // 4 + 1]
    rise, fall = (frequency - BAND[0]) / EDGE, (BAND[1] - frequency) / EDGE
    return (np.clip(rise + 0.5, 0, 1) * np.clip(fall + 0.5, 0, 1)).astype(np.float32)


@cache
def _sizes() -> tuple[int, ...]:
    """Multiples of four with small factors only."""
    return tuple(sorted(2**a * 3**b * 5**c for a in range(2, 20) for b in range(4) for c in range(4)))


def fast_size(count: int) -> int:
    """The shortest length of a fast Fourier transform for at least `count` samples."""
    return next(size for size in _sizes() if size >= count)
