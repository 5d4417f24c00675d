"""Natural speech on disk, so that it is made once: FLAC files, found by a hash of what is said and how.

Notable points:
- The hash is of engine, its version, voice, speed and text. Speech is kept at the engine's own rate.
- Files are written under another name and then renamed, so that several processes may use one folder.
"""

from __future__ import annotations

import os
import threading
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from training.data.world.speech.engines import Engine, engine
from training.data.world.speech.folder import folder

if TYPE_CHECKING:
    from training.data.world.voices import Voice

FORMAT = 1  # of what `cleaned` does: another one makes all speech anew
WPM = 160  # words a minute, of a natural voice at speed 1
LOUDNESS = 0.1  # root of the mean square of speech, of full scale: about that of espeak-ng
PEAK = 0.95  # of full scale, at most
SILENT = 0.01  # of the highest peak: samples below it, in front and behind, are silence
EDGE = 0.03  # seconds beside louder samples that are kept: soft sounds
MAKING = threading.Lock()  # of this process: engines say one text at a time


def spoken(text: str, voice: Voice) -> tuple[np.ndarray, int]:
    """Speech of a natural engine, float32 [samples] and its rate in Hz: from the cache, or made and kept there."""
    path = file(text, voice)
    try:
        return soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError:  # it is not there, or was not written whole
        make(text, voice, path)
        return soundfile.read(path, dtype="float32")


def file(text: str, voice: Voice) -> Path:
    """Where this speech is kept, made or not. Raises `ValueError` for an engine that is not installed."""
    names = (FORMAT, engine(voice.engine).version, voice.name, voice.wpm, text)
    key = blake2b("\x1f".join(map(str, names)).encode(), digest_size=16).hexdigest()
    return folder() / voice.engine / key[:2] / f"{key}.flac"


def make(text: str, voice: Voice, path: Path) -> None:
    """Says the text and keeps it at `path`."""
    says = engine(voice.engine)
    with MAKING:
        audio = cleaned(says.speak(text, voice.name, voice.wpm / WPM), says)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    soundfile.write(new, audio, says.sample_rate, "PCM_16", format="FLAC")
    new.replace(path)


def cleaned(audio: np.ndarray, says: Engine) -> np.ndarray:
    """Speech without the silence around it, as loud as all other."""
    loud = np.flatnonzero(np.abs(audio) > SILENT * np.abs(audio).max(initial=0))
    if not len(loud):
        return audio
    edge = round(EDGE * says.sample_rate)
    audio = audio[max(0, loud[0] - edge) : loud[-1] + 1 + edge]
    return audio * min(LOUDNESS / np.sqrt(np.mean(audio**2)), PEAK / np.abs(audio).max())
