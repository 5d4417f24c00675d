"""Music: chords, a melody and a drum, in a few timbres; synthesized, so it is far simpler than music that people play.

Notable points:
- A note is read from a table of one period of its timbre, which is faster than adding partials up.
- A tune is a function of the random generator. The held-out split has two more timbres and another row of chords.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from training.data.sample import SAMPLE_RATE

PERIOD = 2048  # samples in a table
# Timbre → amplitudes of its partials, seconds until it is loud, seconds until it has fallen to a third.
TIMBRES = {
    "organ": ((1, 0.8, 0.1, 0.6, 0.05, 0.2, 0, 0.3), 0.02, 9.0),
    "piano": ((1, 0.6, 0.35, 0.25, 0.15, 0.1, 0.06), 0.004, 0.5),
    "flute": ((1, 0.25, 0.08, 0.02), 0.06, 4.0),
    "strings": (tuple(1 / n for n in range(1, 14)), 0.12, 6.0),
    "guitar": ((1, 0.7, 0.5, 0.3, 0.3, 0.15, 0.1, 0.08), 0.002, 0.35),
}
HELD_TIMBRES = TIMBRES | {
    "clarinet": ((1, 0, 0.7, 0, 0.4, 0, 0.25, 0, 0.1), 0.05, 5.0),
    "bell": ((0.3, 1, 0.1, 0.6, 0, 0.4, 0, 0, 0.3), 0.001, 0.7),
}
CHORDS = ((0, 5, 7, 0), (0, 9, 5, 7), (9, 5, 0, 7), (0, 2, 7, 0))  # roots in semitones, one a bar
HELD_CHORDS = (*CHORDS, (0, 7, 10, 5))
MINOR = (2, 4, 9, 11)  # roots above which a chord is minor
SCALE = (0, 2, 4, 7, 9, 12, 14, 16)  # of the melody, semitones
LENGTHS = (0.25, 0.5, 0.5, 1.0, 1.0, 2.0)  # of the notes of a melody, beats
TEMPO = (65, 165)  # beats a minute


def music(count: int, split: str, rng: np.random.Generator) -> np.ndarray:
    """`count` samples of a tune at 16 kHz, float32, not louder than 1."""
    timbres, rows = (TIMBRES, CHORDS) if split == "train" else (HELD_TIMBRES, HELD_CHORDS)
    beat, key = 60 / rng.uniform(*TEMPO), rng.uniform(43, 58)
    row = rows[rng.integers(len(rows))]
    low, high = rng.choice(sorted(timbres), 2)
    audio = np.zeros(count, np.float32)
    if (sort := rng.random()) < 0.85:
        chords(audio, row, key, beat, timbres[low], rng)
    if sort > 0.25:
        melody(audio, key + 12, beat, timbres[high], rng)
    if rng.random() < 0.4:
        drum(audio, beat, rng)
    return audio / max(float(np.abs(audio).max()), 1e-6)


def chords(audio: np.ndarray, row: tuple, key: float, beat: float, timbre: tuple, rng: np.random.Generator) -> None:
    """Adds a chord a bar of four beats, struck once, twice or four times."""
    strokes = int(rng.choice((1, 2, 4)))
    length = 4 * beat / strokes
    for stroke in range(1 + int(len(audio) / SAMPLE_RATE / length)):
        root = row[stroke // strokes % len(row)]
        for step in (0, 3 if root in MINOR else 4, 7):
            add_note(audio, stroke * length, length, key + root + step, 0.3, timbre)


def melody(audio: np.ndarray, key: float, beat: float, timbre: tuple, rng: np.random.Generator) -> None:
    """Adds notes that go up and down the scale, with rests."""
    time, place = 0.0, int(rng.integers(len(SCALE)))
    while time < len(audio) / SAMPLE_RATE:
        length = beat * float(rng.choice(LENGTHS))
        place = int(np.clip(place + rng.integers(-2, 3), 0, len(SCALE) - 1))
        if rng.random() < 0.85:
            add_note(audio, time, length, key + SCALE[place], rng.uniform(0.4, 0.8), timbre)
        time += length


def drum(audio: np.ndarray, beat: float, rng: np.random.Generator) -> None:
    """Adds a burst of noise on every beat, or on every half."""
    step = int(SAMPLE_RATE * beat * rng.choice((0.5, 1.0)))
    burst = rng.standard_normal(1200, np.float32) * np.exp(-np.linspace(0, 7, 1200, dtype=np.float32))
    for start in range(0, len(audio), step):
        audio[start : start + 1200] += rng.uniform(0.1, 0.4) * burst[: len(audio) - start]


def add_note(audio: np.ndarray, start: float, length: float, key: float, loud: float, timbre: tuple) -> None:
    """Adds a note: from `start`, `length` seconds long, `key` as in MIDI (69 is 440 Hz)."""
    partials, attack, decay = timbre
    first = int(start * SAMPLE_RATE)
    time = np.arange(min(int(length * SAMPLE_RATE), len(audio) - first), dtype=np.float32) / SAMPLE_RATE
    if not len(time):
        return
    frequency = 440 * 2 ** ((key - 69) / 12)
    places = (frequency * PERIOD * time).astype(np.int32) % PERIOD
    envelope = np.minimum(time / attack, 1) * np.exp(-time / decay) * np.minimum((length - time) / 0.02, 1)
    audio[first : first + len(time)] += loud * envelope * period_of(partials)[places]


@cache
def period_of(partials: tuple[float, ...]) -> np.ndarray:
    """One period with these partials, float32, of root mean square 0.3."""
    phase = 2 * np.pi * np.arange(PERIOD) / PERIOD
    wave = sum(amplitude * np.sin((n + 1) * phase + n) for n, amplitude in enumerate(partials))
    return (0.3 * wave / np.sqrt(np.mean(wave**2))).astype(np.float32)
