"""Noises, and clips of noise alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from training.data.sample import SAMPLE_RATE


def white(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(count, np.float32)


@lru_cache
def falling(size: int, power: float) -> np.ndarray:
    """The amplitude of each of `size` frequencies, float32."""
    frequency = np.maximum(np.arange(size, dtype=np.float32), 1)
    return frequency ** np.float32(-power / 2)


def coloured(count: int, rng: np.random.Generator, power: float) -> np.ndarray:
    """Noise whose power falls with frequency^power: 1 is pink, 2 is brown."""
    size = 1 << (count - 1).bit_length()
    spectrum = np.fft.rfft(white(size, rng))
    return np.fft.irfft(spectrum * falling(len(spectrum), power), size)[:count].astype(np.float32)


def pink(count: int, rng: np.random.Generator) -> np.ndarray:
    return coloured(count, rng, 1)


def brown(count: int, rng: np.random.Generator) -> np.ndarray:
    return coloured(count, rng, 2)


def hum(count: int, rng: np.random.Generator) -> np.ndarray:
    """A mains hum or a motor: a low tone and its overtones, over a little noise."""
    time = np.arange(count) / SAMPLE_RATE
    base = rng.uniform(45, 130)
    tones = sum(rng.uniform(0, 1) / n * np.sin(2 * np.pi * (n * base * time + rng.uniform())) for n in range(1, 9))
    return (tones + 0.05 * white(count, rng)).astype(np.float32)


def clicks(count: int, rng: np.random.Generator) -> np.ndarray:
    """Typing, knocking: short decaying bursts over a little noise."""
    audio = 0.01 * white(count, rng)
    for _ in range(rng.integers(1, 2 + count // 3000)):
        length = int(rng.integers(80, 1200))
        start = int(rng.integers(0, max(1, count - length)))
        burst = white(length, rng) * np.exp(-np.linspace(0, 6, length, dtype=np.float32))
        audio[start : start + length] += rng.uniform(0.2, 1) * burst[: count - start]
    return audio


def beeps(count: int, rng: np.random.Generator) -> np.ndarray:
    """A machine that beeps."""
    time = np.arange(count) / SAMPLE_RATE
    gate = (time * rng.uniform(1, 4) + rng.uniform()) % 1 < rng.uniform(0.2, 0.7)
    return (gate * np.sin(2 * np.pi * rng.uniform(300, 2500) * time) + 0.01 * white(count, rng)).astype(np.float32)


def wind(count: int, rng: np.random.Generator) -> np.ndarray:
    """Brown noise that swells and falls."""
    points = rng.uniform(0.1, 1, 2 + count // 6000)
    return brown(count, rng) * np.interp(np.linspace(0, len(points) - 1, count), np.arange(len(points)), points)


CLIPS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "white": white, "pink": pink, "hum": hum, "clicks": clicks, "wind": wind,
}  # fmt: skip
HELD_CLIPS = CLIPS | {"brown": brown, "beeps": beeps}  # the held-out split has two more


def noise_clip(split: str, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """Its name, and 0.6–3 s of noise alone, float32 at 16 kHz."""
    clips = CLIPS if split == "train" else HELD_CLIPS
    name = str(rng.choice(sorted(clips)))
    audio = clips[name](int(rng.uniform(0.6, 3) * SAMPLE_RATE), rng)
    level = 10 ** rng.uniform(-3, -0.3)
    return name, (audio * (level / max(float(np.abs(audio).max()), 1e-6))).astype(np.float32)
