"""What a recording adds to clean speech: a room, music and noise behind it, each with a chance.

Notable points:
- Levels are of speech against the sound behind it, in dB of mean power; of speech only what is voiced counts.
- A room is a synthetic impulse response: the direct sound, a few early reflections, and noise that decays by 60 dB in
  the reverberation time (Schroeder's definition; noise of exponential decay is Moorer's model of late reverberation,
  "About this reverberation business", 1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.sample import SAMPLE_RATE
from training.data.speak.sounds import SoundFolder, generated_noise

LEVELS = (5.0, 20.0)  # dB by which speech is louder than noise or music
REVERBERATION = (0.15, 0.7)  # seconds to decay by 60 dB
EARLY = (0.002, 0.03)  # seconds after the direct sound, of the early reflections
REFLECTIONS = 6
REVERBERANT = (0.1, 0.6)  # energy of the reflections relative to the direct sound
PEAK = 0.99  # of a recording that would be louder
QUIET = 0.05  # of the loudest window: what is below is no speech
WINDOW = SAMPLE_RATE // 100  # samples


@dataclass(frozen=True)
class Recording:
    """How questions are recorded: chances from 0 to 1, and what noise and music are made from."""

    noise_chance: float = 0.5
    music_chance: float = 0.2
    room_chance: float = 0.3
    noise: SoundFolder | None = None  # None: noise is generated
    music: SoundFolder | None = None  # None: no music

    def record(self, audio: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        """Clean speech (float32, 16 kHz) → the recording, same length, and what was done, for the record."""
        in_room, with_music, with_noise = rng.random(3) < (self.room_chance, self.music_chance, self.noise_chance)
        done, speech = {}, audio
        if in_room:
            seconds = float(rng.uniform(*REVERBERATION))
            audio = reverberate(audio, seconds, rng)
            done["room"] = round(seconds, 3)
        if with_music and self.music is not None:
            audio, done["music"] = add(audio, speech, *self.music.stretch(len(audio), rng), rng)
        if with_noise:
            audio, done["noise"] = add(audio, speech, *self.sound_of_noise(len(audio), rng), rng)
        return limited(audio), done

    def sound_of_noise(self, count: int, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        """Its name and `count` samples of noise."""
        return ("generated", generated_noise(count, rng)) if self.noise is None else self.noise.stretch(count, rng)


def add(
    audio: np.ndarray, speech: np.ndarray, name: str, sound: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, dict]:
    """The audio with a sound behind it, and its name and level in dB relative to the clean speech."""
    level = float(rng.uniform(*LEVELS))
    power = float(np.mean(np.square(sound, dtype=np.float64)))
    gain = 0.0 if power == 0 else np.sqrt(speech_power(speech) / power) * 10 ** (-level / 20)
    return audio + (sound * gain).astype(np.float32), {"file": name, "db": round(level, 1)}


def speech_power(audio: np.ndarray) -> float:
    """Mean power of the windows that hold speech."""
    power = window_power(audio)
    return float(power[power >= QUIET**2 * power.max()].mean())


def window_power(audio: np.ndarray) -> np.ndarray:
    """Mean power of each 10 ms, float64 [windows]; the last one is filled up with silence."""
    padded = np.pad(audio, (0, -len(audio) % WINDOW)).reshape(-1, WINDOW)
    return np.mean(np.square(padded, dtype=np.float64), axis=1)


def reverberate(audio: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The audio in a room with this reverberation time, same length and same power."""
    response = room_response(seconds, rng)
    size = 1 << (len(audio) + len(response) - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(response, size), size)[: len(audio)]
    return (wet * np.sqrt(np.sum(np.square(audio)) / max(np.sum(np.square(wet)), 1e-12))).astype(np.float32)


def room_response(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The impulse response of a room, float64 [seconds × 16 kHz]; its first sample is the direct sound, 1."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    decay = 10 ** (-3 * time / seconds)  # an amplitude of 10^-3 is -60 dB
    late = rng.standard_normal(len(time)) * decay * (time > EARLY[0])
    response = late / np.sqrt(np.sum(np.square(late)))
    places = (rng.uniform(*EARLY, REFLECTIONS) * SAMPLE_RATE).astype(int)
    response[places] += rng.choice((-1.0, 1.0), REFLECTIONS) * decay[places] / REFLECTIONS
    response *= np.sqrt(rng.uniform(*REVERBERANT) / np.sum(np.square(response)))
    response[0] = 1.0
    return response


def limited(audio: np.ndarray) -> np.ndarray:
    """The audio, quieter if it would be clipped."""
    peak = float(np.abs(audio).max(initial=0.0))
    return (audio * (PEAK / peak)).astype(np.float32) if peak > PEAK else audio.astype(np.float32)
