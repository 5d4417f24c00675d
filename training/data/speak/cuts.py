"""Where to cut a question short: at a pause, or inside a clause between two sounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.sample import SAMPLE_RATE
from training.data.speak.recording import QUIET, WINDOW, window_power

SHORTEST_PAUSE = 8  # windows of 10 ms
SHORTEST_PIECE = 30  # windows of speech before and behind a cut
NEAR = 8  # windows around a cut inside a clause, among which the quietest is taken
SILENCE = (0.1, 0.5)  # seconds behind the cut: the speaker pauses
FADE = WINDOW  # samples


@dataclass(frozen=True)
class Cut:
    """A question that was cut short."""

    at: str  # "pause" or "clause"
    seconds: float  # of what is left of the question, without the silence behind it
    whole: float  # seconds of the whole question


def cut(audio: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Cut] | None:
    """Clean speech (float32, 16 kHz) cut short, with silence behind it; None if it is too short to be cut.

    Half of those that have a pause are cut there.
    """
    loud = window_power(audio) >= QUIET**2 * window_power(audio).max()
    first, last = int(np.argmax(loud)) + SHORTEST_PIECE, len(loud) - int(np.argmax(loud[::-1])) - SHORTEST_PIECE
    if first >= last:
        return None
    found = [start for start, end in pauses(loud) if first <= start and end <= last]
    at_pause = bool(found) and rng.random() < 0.5
    place = found[int(rng.integers(len(found)))] if at_pause else between_sounds(audio, first, last, rng)
    samples = min(place * WINDOW, len(audio))
    silence = np.zeros(int(rng.uniform(*SILENCE) * SAMPLE_RATE), np.float32)
    seconds, whole = samples / SAMPLE_RATE, len(audio) / SAMPLE_RATE
    return np.concatenate([faded(audio[:samples]), silence]), Cut(
        "pause" if at_pause else "clause", round(seconds, 3), round(whole, 3)
    )


def pauses(loud: np.ndarray) -> list[tuple[int, int]]:
    """(first, end) windows of each silence inside speech that is long enough; `loud`: bool [windows]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], loud, [True]]).astype(np.int8)))
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(start, end) for start, end in runs if end - start >= SHORTEST_PAUSE and start > 0 and end < len(loud)]


def between_sounds(audio: np.ndarray, first: int, last: int, rng: np.random.Generator) -> int:
    """The quietest window near a random one of those from `first` to `last`."""
    drawn = int(rng.integers(first, last))
    low, high = max(first, drawn - NEAR), min(last, drawn + NEAR)
    return low + int(np.argmin(window_power(audio)[low : high + 1]))


def faded(audio: np.ndarray) -> np.ndarray:
    """The audio with its last samples faded out, so that the cut makes no click."""
    envelope = np.ones(len(audio), np.float32)
    envelope[-FADE:] = np.linspace(1, 0, FADE, dtype=np.float32)
    return audio * envelope
