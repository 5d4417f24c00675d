"""Audio at one rate → at another, piece by piece, held back for hardly a millisecond or two.

`soxr` computes streams in blocks: of 24 kHz it holds back 7 to 36 ms (22 on average), of 8 kHz 12 to 115 ms, for which
a client would wait at each turn. Whole recordings are for `soxr`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil, gcd

import numpy as np

STOPBAND_DB = 70.0  # by which what the new rate cannot carry is quieter
TRANSITION = 0.25  # of half the lower rate, around it: from what passes to what does not
SILENCE = bytes(96_000)  # a second at 48 kHz, the most that comes at once
ROW = 32  # samples or more that one row of the product gives


@dataclass(frozen=True)
class _Filter:
    """A windowed sinc (Kaiser) between two rates, as a matrix: a row of input → a row of output."""

    step_in: int  # samples after which input and output are in phase again
    step_out: int
    steps: int  # in a row
    half: int  # input samples on either side that a sample of the output depends on
    weights: np.ndarray  # float32 [input, output]


@cache
def _filter(source: int, target: int) -> _Filter:
    common = gcd(source, target)
    step_in, step_out = source // common, target // common
    dense = source * step_out  # Hz, of the grid that both are on
    cutoff = min(source, target) / 2
    width = TRANSITION * cutoff / dense  # cycles per sample of the grid
    taps = ceil((STOPBAND_DB - 7.95) / (2.285 * 2 * np.pi * width)) | 1  # Kaiser's formula
    beta = 0.1102 * (STOPBAND_DB - 8.7)
    reach = taps // 2
    offsets = np.arange(-reach, reach + 1)
    kernel = np.sinc(2 * cutoff / dense * offsets) * np.kaiser(taps, beta) * 2 * cutoff / source
    half, steps = ceil(reach / step_out), ceil(ROW / step_out)
    inputs = np.arange(-half, steps * step_in + half)[:, None] * step_out
    outputs = np.arange(steps * step_out) * step_in
    at = outputs - inputs
    weights = np.where(np.abs(at) <= reach, kernel[np.clip(at + reach, 0, taps - 1)], 0.0)
    return _Filter(step_in, step_out, steps, half, np.ascontiguousarray(weights, np.float32))


class Resampler:
    """One stream. 16-bit little-endian samples in and out."""

    def __init__(self, source: int, target: int):
        """Rates in Hz."""
        self._filter = _filter(source, target)
        self._reset()

    def _reset(self) -> None:
        self._held = np.zeros(self._filter.half, np.float32)  # the first sample has silence before it
        self._held_is_silent = True
        self._samples_in = self._samples_out = 0

    def feed(self, audio: bytes) -> bytes:
        samples, silent = np.frombuffer(audio, "<i2"), SILENCE.startswith(audio)
        found = self._skip(len(samples)) if silent and self._held_is_silent else self._run(samples).tobytes()
        self._held_is_silent = silent and (self._held_is_silent or len(samples) >= len(self._held))
        self._samples_in += len(samples)
        self._samples_out += len(found) // 2
        return found

    def flush(self) -> bytes:
        """The rest. What comes next is another stream."""
        per = self._filter
        wanted = ceil(self._samples_in * per.step_out / per.step_in) - self._samples_out
        found = self._run(np.zeros(per.half + per.step_in, "<i2"))[:wanted]
        self._reset()
        return found.tobytes()

    def _ready(self, samples: int) -> int:
        """Steps that can be computed with so many samples more."""
        return max(0, (len(self._held) + samples - 2 * self._filter.half) // self._filter.step_in)

    def _skip(self, samples: int) -> bytes:
        """As `_run`, of silence after silence: of a muted microphone, say."""
        ready = self._ready(samples)
        self._held = np.zeros(len(self._held) + samples - ready * self._filter.step_in, np.float32)
        return bytes(2 * ready * self._filter.step_out)

    def _run(self, samples: np.ndarray) -> np.ndarray:
        """int16: what can be computed; what it depends on that comes later is waited for."""
        per, ready = self._filter, self._ready(len(samples))
        rows = -(-ready // per.steps)
        size = rows * per.steps * per.step_in + 2 * per.half
        known = np.zeros(max(size, len(self._held) + len(samples)), np.float32)
        known[: len(self._held)] = self._held
        known[len(self._held) : len(self._held) + len(samples)] = samples
        windows = np.ndarray((rows, len(per.weights)), np.float32, known, 0, (4 * per.steps * per.step_in, 4))
        found = (windows @ per.weights).reshape(-1)[: ready * per.step_out]
        self._held = known[ready * per.step_in : len(self._held) + len(samples)].copy()
        np.rint(found, out=found)
        np.minimum(found, 32767, out=found)
        np.maximum(found, -32768, out=found)
        return found.astype("<i2")
