"""Sounds of a mouth that are no words: a cough, laughter, a hum of agreement; synthesized, no recording is used.

Notable points:
- A source (a pulse train whose pitch moves, breath, or both) is filtered by the resonances of a throat (formants).
  Pitch, rhythm, formants, throat and breath are drawn anew each time. It is a rough picture of what people do: nobody
  would take it for a recording.
- Engines spell "mhm" and "hmm" or say something else, so these are hums of this kind and not spoken texts.
- The held-out split has two sorts more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from training.data.sample import SAMPLE_RATE

PULSE = 512  # samples in the table of one pulse
VOWELS = {"a": (730, 1150, 2500), "e": (520, 1750, 2450), "i": (300, 2200, 2950), "o": (480, 850, 2450),
          "u": (620, 1250, 2550)}  # Hz, of a man  # fmt: skip
NASAL = (270, 1050, 2250)  # Hz, of a closed mouth
WIDTHS = (70.0, 110.0, 170.0)  # Hz, of the resonances


def mouth_sound(sort: str, rng: np.random.Generator) -> np.ndarray:
    """A sound of this sort, float32 at 16 kHz, not louder than 1."""
    pitch = float(np.exp(rng.uniform(*np.log((85, 260)))))
    throat = float(np.clip(0.85 + 0.3 * np.log2(pitch / 85) + rng.uniform(-0.1, 0.1), 0.8, 1.4))
    sound = np.concatenate(SOUNDS[sort](pitch, throat, rng))
    return (sound / max(float(np.abs(sound).max()), 1e-6)).astype(np.float32)


def mhm(pitch: float, throat: float, rng: np.random.Generator) -> list[np.ndarray]:
    """A hum, a breath through the nose, a hum that is mostly higher."""
    higher, breath = pitch * rng.uniform(0.95, 1.35), rng.uniform(0.05, 0.12)
    first = voiced(rng.uniform(0.09, 0.25), (pitch, pitch * rng.uniform(0.9, 1.05)), NASAL, throat, 0.02, rng)
    then = voiced(rng.uniform(0.14, 0.4), (higher, higher * rng.uniform(0.85, 1.1)), NASAL, throat, 0.02, rng)
    return [first, 0.1 * breathed(breath, NASAL, throat, rng), then]


def uh_huh(pitch: float, throat: float, rng: np.random.Generator) -> list[np.ndarray]:
    """A short vowel, a breath, the vowel again, mostly higher."""
    vowel, higher = VOWELS[rng.choice(("u", "a", "e"))], pitch * rng.uniform(0.95, 1.35)
    first = voiced(rng.uniform(0.07, 0.18), (pitch, pitch), vowel, throat, 0.1, rng)
    then = voiced(rng.uniform(0.12, 0.35), (higher, higher * rng.uniform(0.8, 1.05)), vowel, throat, 0.1, rng)
    return [first, 0.25 * breathed(rng.uniform(0.05, 0.11), vowel, throat, rng), then]


def hmm(pitch: float, throat: float, rng: np.random.Generator) -> list[np.ndarray]:
    """One hum that falls, rises or stays."""
    bends = pitch * rng.uniform(0.75, 1.3, 3)
    return [voiced(rng.uniform(0.25, 0.9), bends, NASAL, throat, 0.03, rng)]


def exclamation(pitch: float, throat: float, rng: np.random.Generator) -> list[np.ndarray]:
    """One vowel: "ah", "oh". "eh" would be too near to "hey", a greeting that is answered."""
    bends = pitch * np.array((1, rng.uniform(1, 1.5), rng.uniform(0.7, 1)))
    return [voiced(rng.uniform(0.15, 0.6), bends, VOWELS[rng.choice(("a", "o", "u"))], throat, 0.1, rng)]


def laughter(pitch: float, throat: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Short vowels with a breath before each, four to seven a second, that fall in pitch and loudness."""
    vowel, rate = VOWELS[rng.choice(("a", "e", "u", "o", "i"))], rng.uniform(3.8, 6.8)
    count, start, breathy = int(rng.integers(2, 10)), pitch * rng.uniform(1.1, 2.2), rng.uniform(0.05, 0.4)
    parts: list[np.ndarray] = []
    for number in range(count):
        high, loud = start * rng.uniform(0.75, 0.97) ** number, rng.uniform(0.8, 0.97) ** number
        length = rng.uniform(0.85, 1.15) / rate
        parts.append(rng.uniform(0.05, 0.25) * loud * breathed(0.45 * length, vowel, throat, rng))
        parts.append(loud * voiced(0.55 * length, (high, 0.85 * high), vowel, throat, breathy, rng))
    return parts


def cough(pitch: float, throat: float, rng: np.random.Generator) -> list[np.ndarray]:
    """One to four times: a burst of breath, a longer softer one, sometimes a voiced end; a pause between two."""
    formants = tuple(np.array((550, 1350, 2700)) * rng.uniform(0.75, 1.3, 3))
    parts: list[np.ndarray] = []
    for _ in range(rng.integers(1, 5)):
        loud = rng.uniform(0.5, 1)
        parts.append(loud * burst(rng.uniform(0.04, 0.12), 4, formants, throat, rng))
        parts.append(rng.uniform(0.1, 0.5) * loud * burst(rng.uniform(0.1, 0.3), 3, formants, throat, rng))
        if rng.random() < 0.5:
            parts.append(0.4 * loud * voiced(rng.uniform(0.05, 0.15), (pitch, 0.8 * pitch), formants, throat, 0.6, rng))
        parts.append(np.zeros(int(rng.uniform(0.02, 0.35) * SAMPLE_RATE)))
    return parts


def throat_clearing(pitch: float, throat: float, rng: np.random.Generator) -> list[np.ndarray]:
    """A rough voice, once or twice: its loudness trembles 20–45 times a second."""
    parts: list[np.ndarray] = []
    for _ in range(rng.integers(1, 3)):
        sound = voiced(rng.uniform(0.2, 0.5), (0.8 * pitch, 0.7 * pitch), VOWELS["u"], throat, 0.8, rng)
        tremble = 1 + np.sin(2 * np.pi * rng.uniform(20, 45) * np.arange(len(sound)) / SAMPLE_RATE)
        parts += [sound * tremble, np.zeros(int(rng.uniform(0.02, 0.2) * SAMPLE_RATE))]
    return parts


def breath(pitch: float, throat: float, rng: np.random.Generator) -> list[np.ndarray]:
    """A sigh, or air drawn in."""
    return [breathed(rng.uniform(0.3, 1.1), VOWELS[rng.choice(("a", "u", "e"))], throat, rng)]


SOUNDS: dict[str, Callable[[float, float, np.random.Generator], list[np.ndarray]]] = {
    "mhm": mhm, "uh huh": uh_huh, "hmm": hmm, "exclamation": exclamation, "laughter": laughter, "cough": cough,
    "throat clearing": throat_clearing, "breath": breath,
}  # fmt: skip


def voiced(
    seconds: float, bends: Sequence[float], formants: Sequence[float], throat: float, breathy: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """A vowel or a hum whose pitch goes through `bends` (Hz), with some breath in it; it swells and falls."""
    count = int(seconds * SAMPLE_RATE)
    pitch = np.interp(np.linspace(0, len(bends) - 1, count), np.arange(len(bends)), bends)
    wobble = np.repeat(rng.normal(1, 0.015, count // 80 + 1), 80)[:count]  # of the pitch, every 5 ms
    place = np.cumsum(pitch * wobble) / SAMPLE_RATE
    source = _PULSE[(place % 1 * PULSE).astype(np.int32)] + breathy * rng.standard_normal(count, np.float32)
    return filtered(source, formants, throat) * swell(count, rng.uniform(0.05, 0.4))


def breathed(seconds: float, formants: Sequence[float], throat: float, rng: np.random.Generator) -> np.ndarray:
    """Breath through an open mouth or a nose; it swells and falls."""
    count = int(seconds * SAMPLE_RATE)
    return filtered(rng.standard_normal(count, np.float32), formants, throat) * swell(count, 0.5)


def burst(
    seconds: float, decay: float, formants: Sequence[float], throat: float, rng: np.random.Generator
) -> np.ndarray:
    """Breath that is loud at once and then falls by e^-decay."""
    count = int(seconds * SAMPLE_RATE)
    return filtered(rng.standard_normal(count, np.float32), formants, throat, 3) * np.exp(-np.linspace(0, decay, count))


def filtered(source: np.ndarray, formants: Sequence[float], throat: float, wide: float = 1.0) -> np.ndarray:
    """The source through three resonances, of root mean square 0.2; `throat`: times these frequencies."""
    frequency = np.fft.rfftfreq(len(source), 1 / SAMPLE_RATE)
    response = np.ones(len(frequency), np.complex64)
    for place, width in zip(throat * np.asarray(formants), WIDTHS, strict=True):
        response *= place**2 / (place**2 - frequency**2 + 1j * wide * width * frequency)
    sound = np.fft.irfft(np.fft.rfft(source) * response * (frequency > 60), len(source))
    return 0.2 * sound / max(float(np.sqrt(np.mean(sound**2))), 1e-6)


def swell(count: int, peak: float) -> np.ndarray:
    """Loudness from 0 to 1 and back to 0; `peak`: where it is 1, a share of the length."""
    places = np.linspace(0, 1, count)
    return np.sqrt(np.minimum(1, np.minimum(places / peak, (1 - places) / (1 - peak))))


def _pulse() -> np.ndarray:
    """The change of the flow through the glottis over one period: it closes faster than it opens (Rosenberg 1971)."""
    time = np.arange(PULSE) / PULSE
    opening, closing = time < 0.4, (time >= 0.4) & (time < 0.56)
    flow = np.where(opening, 0.5 * (1 - np.cos(np.pi * time / 0.4)), 0.0)
    flow = np.where(closing, np.cos(np.pi * (time - 0.4) / 0.32), flow)
    pulse = np.diff(flow, append=0.0)
    return (pulse / np.sqrt(np.mean(pulse**2))).astype(np.float32)


_PULSE = _pulse()
