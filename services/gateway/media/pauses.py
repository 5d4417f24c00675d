"""Where long recordings are cut: in the middle of pauses, so that no word is lost and each piece is short."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

FRAME_SECONDS = 0.02
PAUSE_SECONDS = 0.4  # that count as one
QUIET = 0.1  # of the loudness of speech, below which it is quiet
LOUD_QUANTILE = 0.95  # of the frames' loudness: what counts as that of speech


@dataclass(frozen=True)
class Span:
    """Samples from `start` up to `end`; the sound within begins and stops at `first` and `last`."""

    start: int
    end: int
    first: int
    last: int


def split(samples: np.ndarray, sample_rate: int, longest: float, shortest: float = 3.0) -> list[Span]:
    """int16 [samples] → spans that cover all of it, none longer than `longest` seconds.

    It is cut in pauses where the pieces are at least `shortest` seconds long, which is at most a third of `longest`;
    where there is none in time, at the quietest moment of the second half of what a piece may be.
    """
    frame = max(1, round(FRAME_SECONDS * sample_rate))
    loudness = _loudness(samples, frame)
    quiet = loudness < max(QUIET * np.quantile(loudness, LOUD_QUANTILE), 1.0)
    most, least = max(1, int(longest / FRAME_SECONDS)), max(1, int(shortest / FRAME_SECONDS))
    assert 3 * least <= most
    cuts, start = [], 0
    for cut in [*_middles(quiet), len(loudness)]:
        while cut - start > most:
            start = _quietest(loudness, start, min(start + most, cut - least))
            cuts.append(start)
        if cut - start >= least and len(loudness) - cut >= least:
            start = cut
            cuts.append(cut)
    edges = [0, *cuts, len(loudness)]
    return [_span(quiet, a, b, frame, len(samples)) for a, b in pairwise(edges)]


def _loudness(samples: np.ndarray, frame: int) -> np.ndarray:
    """Root mean square of each frame; the last is filled up with silence. float32 [frames]."""
    padded = np.pad(samples.astype(np.float32), (0, -len(samples) % frame))
    return np.sqrt((padded.reshape(-1, frame) ** 2).mean(axis=1))


def _middles(quiet: np.ndarray) -> list[int]:
    """The frames in the middle of the pauses."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    begins, ends = edges[::2], edges[1::2]
    long = ends - begins >= PAUSE_SECONDS / FRAME_SECONDS
    return [int(middle) for middle in (begins[long] + ends[long]) // 2]


def _quietest(loudness: np.ndarray, start: int, end: int) -> int:
    """The quietest frame in the second half of what a piece from `start` may be, up to `end`."""
    half = (start + end) // 2 + 1
    return half + int(np.argmin(loudness[half : end + 1]))


def _span(quiet: np.ndarray, begin: int, end: int, frame: int, length: int) -> Span:
    sounding = begin + np.flatnonzero(~quiet[begin:end])
    first, last = (int(sounding[0]), int(sounding[-1]) + 1) if len(sounding) else (begin, end)
    return Span(*(min(each * frame, length) for each in (begin, end, first, last)))
