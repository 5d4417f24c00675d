"""Sounds behind speech: stretches of the files of a folder, and generated noise.

Notable points:
- Of a file only the stretch that is needed is read, so an hour of music costs no more than a second.
- Generated noise has a spectrum between white and brown noise, and swells.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np
import soundfile

from parley.media.audio import resample
from training.data.sample import SAMPLE_RATE

ENDINGS = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
SWELL_SECONDS = 0.4  # between two points of a swell


class SoundFolder:
    """The sound files under a folder, in the order of their names.

    Raises `ValueError` if there are none, or naming one that cannot be read.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        self.folder = folder
        self.files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)
        if not self.files:
            raise ValueError(f"{folder} holds no sound files ({', '.join(sorted(ENDINGS))})")
        for file in self.files:
            check_sound(file)

    @property
    def fingerprint(self) -> str:
        """Of names and sizes."""
        listed = "\n".join(f"{file.relative_to(self.folder)} {file.stat().st_size}" for file in self.files)
        return blake2b(listed.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def stretch(self, count: int, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        """A file's name and `count` samples of it at 16 kHz, float32; a file that is too short is repeated.

        Raises `ValueError` naming a file that is broken after its header.
        """
        file = self.files[int(rng.integers(len(self.files)))]
        try:
            audio = read_stretch(file, count, rng)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{file} is broken after its header: {error}") from None
        return str(file.relative_to(self.folder)), np.resize(audio, count)


def check_sound(file: Path) -> None:
    """Raises `ValueError` if the header of a file is not that of sound."""
    try:
        frames = soundfile.info(file).frames
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{file} is not a sound file that can be read: {error}") from None
    if frames == 0:
        raise ValueError(f"{file} is empty: it has no samples")


def read_stretch(file: Path, count: int, rng: np.random.Generator) -> np.ndarray:
    """About `count` samples at 16 kHz from a random place of a file, float32 mono; all of it if it is shorter."""
    with soundfile.SoundFile(file) as sound:
        wanted = -(-count * sound.samplerate // SAMPLE_RATE) + 1
        sound.seek(int(rng.integers(max(1, sound.frames - wanted + 1))))
        samples = sound.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
        return resample(samples, sound.samplerate, SAMPLE_RATE)


def generated_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` samples of noise, float32: power falls with frequency^p for a p of 0 (white) to 2 (brown)."""
    size = 1 << max(1, (count - 1).bit_length())
    spectrum = np.fft.rfft(rng.standard_normal(size, np.float32))
    frequency = np.maximum(np.arange(len(spectrum)), 1)
    noise = np.fft.irfft(spectrum * frequency ** (-rng.uniform(0, 2) / 2), size)[:count]
    points = rng.uniform(0.3, 1, 2 + int(count / SAMPLE_RATE / SWELL_SECONDS))
    swell = np.interp(np.linspace(0, len(points) - 1, count), np.arange(len(points)), points)
    return (noise * swell).astype(np.float32)
