"""Augmentation of log-mel features: other tempos, other speakers, masks.

Notable points:
- Models generalise worst to other speeds, so time is stretched widely. Interpolated mel frames change the tempo and not
  the pitch.
- Warping the mel axis moves the formants as another vocal tract would.
- Masks (SpecAugment) are small: words may be short, and a masked word cannot be guessed.
"""

from __future__ import annotations

import numpy as np

TEMPO = (0.75, 1.40)  # lengths relative to the original; below 1 is faster
WARP = (0.88, 1.12)  # of the mel axis
GAIN = 2.0  # natural log of power: ±8.7 dB
MASKED_BINS, MASKED_FRAMES = 10, 12  # at most, each of two masks


def stretch(features: np.ndarray, length: float) -> np.ndarray:
    """float32 [frames, mel] → about frames × `length` frames, interpolated."""
    frames = len(features)
    return interpolate(features, np.linspace(0, frames - 1, max(1, round(frames * length)), dtype=np.float32))


def warp(features: np.ndarray, factor: float) -> np.ndarray:
    """Moves what is in mel bin b × `factor` to bin b; the edge bins fill what comes from outside."""
    bins = features.shape[1]
    return interpolate(features.T, np.clip(np.arange(bins, dtype=np.float32) * factor, 0, bins - 1)).T


def interpolate(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Frames of [n, …] at fractional `places` in 0 … n - 1."""
    before = places.astype(np.int64)
    after = np.minimum(before + 1, len(frames) - 1)
    share = (places - before)[:, None]
    return frames[before] * (1 - share) + frames[after] * share


def mask(features: np.ndarray, fill: np.ndarray, rng: np.random.Generator) -> None:
    """Replaces two bands of bins and two spans of frames by `fill` [mel], the mean of the features."""
    frames, bins = features.shape
    for _ in range(2):
        width = int(rng.integers(0, MASKED_BINS + 1))
        start = int(rng.integers(0, bins - width + 1))
        features[:, start : start + width] = fill[start : start + width]
        width = min(int(rng.integers(0, MASKED_FRAMES + 1)), frames // 10)
        start = int(rng.integers(0, frames - width + 1))
        features[start : start + width] = fill


def augment(
    features: np.ndarray, fill: np.ndarray, rng: np.random.Generator, *, fewest: int = 1, strength: float = 1.0
) -> np.ndarray:
    """A changed copy of log-mel features [frames, mel], of at least `fewest` frames where the original has as many.

    `strength`: 0 changes nothing, 1 as much as the constants above say.
    """
    shortest = min(1.0, fewest / len(features))
    changed = stretch(features, max(shortest, np.exp(strength * rng.uniform(*np.log(TEMPO)))))
    changed = warp(changed, np.exp(strength * rng.uniform(*np.log(WARP))))
    changed = changed + np.float32(strength * rng.uniform(-GAIN, GAIN))
    if rng.random() < strength:
        mask(changed, fill, rng)
    return np.ascontiguousarray(changed, dtype=np.float32)
