"""Sound that is not meant for the model: noise or music alone, and speech to somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.record_error import RecordError
from training.data.sample import SAMPLE_RATE, Sample
from training.data.source import Source
from training.data.speak.questions import has_refusal
from training.data.speak.recording import Recording

SECONDS = (0.6, 4.0)  # of noise or music alone
PEAKS = (0.01, 0.6)  # of noise or music alone
ALONE = 0.5  # share of the negatives that begin a conversation; the others follow the turns of a record


@dataclass(frozen=True)
class Negatives:
    """Draws negatives; each kind that there is has the same share."""

    recording: Recording
    sentences: tuple[str, ...] = ()  # that are not addressed to the model

    @property
    def kinds(self) -> tuple[str, ...]:
        music = ("music",) if self.recording.music is not None else ()
        return ("noise", *music, *(("unaddressed",) if self.sentences else ()))

    def draw(self, rng: np.random.Generator) -> tuple[str, str]:
        """A kind, and of `unaddressed` the sentence."""
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        return kind, self.sentences[int(rng.integers(len(self.sentences)))] if kind == "unaddressed" else ""

    def sound(self, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        """Noise or music alone, float32 at 16 kHz, and what it is."""
        count = int(rng.uniform(*SECONDS) * SAMPLE_RATE)
        music = self.recording.music
        name, audio = music.stretch(count, rng) if kind == "music" else self.recording.sound_of_noise(count, rng)
        peak = np.exp(rng.uniform(*np.log(PEAKS)))
        audio = audio * (peak / max(float(np.abs(audio).max()), 1e-6))
        return audio.astype(np.float32), {kind: {"file": name}}

    def before(self, source: Source[Sample], rng: np.random.Generator) -> list[dict]:
        """The turns that a negative follows: none, or the first ones of a record without refusals."""
        if rng.random() < ALONE:
            return []
        try:
            messages = source[int(rng.integers(len(source)))].messages
        except RecordError:
            return []
        if has_refusal(messages):
            return []
        ends = [number + 1 for number, message in enumerate(messages) if message["role"] == "assistant"]
        return messages[: ends[int(rng.integers(len(ends)))]]


def read_sentences(file: Path) -> tuple[str, ...]:
    """One a line. Raises `ValueError` if there is no such file, it is not text, or has no line."""
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    sentences = tuple(line.strip() for line in lines if any(character.isalnum() for character in line))
    if not sentences:
        raise ValueError(f"{file} has no sentences; write one a line")
    return sentences
