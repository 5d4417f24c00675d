"""flite: voices from recordings of people, 61 times faster than real time. A program, of Debian's package `flite`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile

VOICES = ("slt", "rms", "awb", "kal16")


class Flite:
    """Each text is a process of its own."""

    sample_rate = 16_000

    @staticmethod
    def missing() -> str:
        return "" if shutil.which("flite") else "apt-get install flite"

    @cached_property
    def version(self) -> str:
        told = subprocess.run(["flite", "--version"], capture_output=True, text=True, check=False).stdout
        return told.partition("version: ")[2].partition("\n")[0].split(" ")[0]

    def speak(self, text: str, name: str, speed: float) -> np.ndarray:
        if name not in VOICES:  # the program takes an unknown voice for none
            raise ValueError(f"flite has no voice {name!r}; it has: {', '.join(VOICES)}")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "said.wav"
            stretch = ["--setf", f"duration_stretch={1 / speed:.4f}"]
            subprocess.run(["flite", "-voice", name, *stretch, "-t", text, "-o", str(file)], check=True)
            return soundfile.read(file, dtype="float32")[0]
