"""What is said or heard while an answer plays: questions, backchannels, coughs, music, speech to a third person.

Words are held out of training and said by voices that are too; coughs and music are synthesised. The same seed gives
the same clips.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.clip import Clip
from benchmarks.manners import voiced
from benchmarks.workload import ROOM_NOISE_DB
from training.data.sample import SAMPLE_RATE
from training.data.world.smalltalk import small_talk
from training.data.world.speech import speak
from training.data.world.splits import generator
from training.data.world.unaddressed import unaddressed
from training.data.world.voices import draw_voice

BACKCHANNELS = ("mm hmm.", "okay.", "right.", "yeah.", "uh huh.", "i see.", "hmm.", "sure.")
PEAKS = (0.2, 0.9)  # of full scale
COUGH_BANDS = ((600, 300), (1600, 500), (3800, 1200))  # Hz, middle and width: resonances of an open throat and mouth
SCALE = (0, 2, 4, 5, 7, 9, 11)  # semitones of a major scale
TRIAD = (0, 4, 7)  # semitones of a major chord


def question(rng: random.Random) -> tuple[str, np.ndarray]:
    text = small_talk("heldout", rng).text
    return text, _said(text, rng)


def backchannel(rng: random.Random) -> tuple[str, np.ndarray]:
    """That somebody listens."""
    text = rng.choice(BACKCHANNELS)
    return text, _said(text, rng)


def third_person(rng: random.Random) -> tuple[str, np.ndarray]:
    """Speech to somebody else in the room."""
    text = unaddressed("heldout", rng)
    return text, _said(text, rng)


def cough(rng: random.Random) -> tuple[str, np.ndarray]:
    """One to three coughs: each a burst of noise that begins at once and decays, and a softer, voiceless rest."""
    noise = np.random.default_rng(rng.getrandbits(64))
    bursts = [_cough(rng, noise) for _ in range(rng.randint(1, 3))]
    return f"{len(bursts)} coughs", np.concatenate(bursts)


def _cough(rng: random.Random, noise: np.random.Generator) -> np.ndarray:
    count = round(rng.uniform(0.2, 0.4) * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    bands = sum(rng.uniform(0.3, 1) * np.exp(-(((frequency - mid) / width) ** 2)) for mid, width in COUGH_BANDS)
    burst = np.fft.irfft(np.fft.rfft(noise.standard_normal(count)) * bands, count)
    burst /= np.abs(burst).max()
    envelope = np.minimum(1, time / 0.008) * (np.exp(-time / rng.uniform(0.03, 0.07)) + 0.15 * (time < 0.8 * time[-1]))
    return np.concatenate([burst * envelope, np.zeros(round(rng.uniform(0.05, 0.2) * SAMPLE_RATE))])


def music(rng: random.Random) -> tuple[str, np.ndarray]:
    """Two to three seconds of a melody over chords, of plucked or of held tones with overtones."""
    base, beat, decay = rng.uniform(110, 220), rng.uniform(0.2, 0.45), rng.choice((0.15, 0.4, 5.0))
    audio = np.zeros(round(rng.uniform(2, 3) * SAMPLE_RATE))
    for index in range(int(len(audio) / SAMPLE_RATE / beat)):
        at, notes = round(index * beat * SAMPLE_RATE), [12 + rng.choice(SCALE)]
        if index % 4 == 0:
            root = rng.choice((0, 5, 7))
            notes += [root + step for step in TRIAD]
        for note in notes:
            tone = _tone(base * 2 ** (note / 12), 4 * beat if note < 12 else beat, decay, rng)
            audio[at : at + len(tone)] += tone[: len(audio) - at]
    return "music", audio


def _tone(frequency: float, seconds: float, decay: float, rng: random.Random) -> np.ndarray:
    """float64 [samples] at 16 kHz, of Hz, faded at both ends."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    overtones = sum(np.sin(2 * np.pi * n * frequency * time) / n ** rng.uniform(1, 2) for n in range(1, 7))
    return overtones * np.exp(-time / decay) * np.minimum(1, np.minimum(time, seconds - time) / 0.01)


KINDS: dict[str, Callable[[random.Random], tuple[str, np.ndarray]]] = {
    "question": question, "backchannel": backchannel, "cough": cough, "music": music, "third person": third_person,
}  # fmt: skip


def clips(kind: str, seed: int) -> Iterator[Clip]:
    """Clips of a kind without end, at 16 kHz, over a faint noise."""
    index = 0
    while True:
        rng = generator(seed, "interruption", kind, index)
        text, clean = KINDS[kind](rng)
        clean = clean * (rng.uniform(*PEAKS) / np.abs(clean).max())
        level = 10 ** (rng.uniform(*ROOM_NOISE_DB) / 20)
        noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(len(clean)) * level
        audio = (np.clip(clean + noise, -1, 1) * 32767).astype("<i2")
        yield Clip(text, audio, SAMPLE_RATE, voiced(clean), kind)
        index += 1


def _said(text: str, rng: random.Random) -> np.ndarray:
    return speak(text, draw_voice(rng, unseen_voice=True))
