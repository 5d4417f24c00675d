"""Sources of records that are made when they are asked for, so that there can be a million of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from parley.media.audio import write_wav
from training.data.mix import SPEECH, Mix, MixSource
from training.data.record_error import RecordError
from training.data.sample import Sample
from training.data.source import Utterance
from training.data.world.speech.folder import VARIABLE
from training.data.world.voices import ENGINES

# Tests keep natural speech in a folder of their own. Kokoro's style files are not in it, so none waits for its two
# seconds a clip. Set before test files ask what is installed.
CACHE = TemporaryDirectory(prefix="parley-speech-")
os.environ[VARIABLE] = CACHE.name
# Where they may speak in tests: stages are trained on espeak-ng alone, which takes a tenth of the time.
NATURAL = ("data/world", "evaluation")


@pytest.fixture(scope="module", autouse=True)
def engines(request):
    """Which natural engines may speak in the tests of a file."""
    with pytest.MonkeyPatch.context() as patch:
        if not any(folder in request.path.as_posix() for folder in NATURAL):
            patch.setenv(ENGINES, "")
        yield


@dataclass
class MadeSource:
    """`records` written dialogues, or utterances of the file `audio`; those in `bad` raise."""

    name: str
    records: int
    group_of: Callable[[int], str]
    bad: Collection[int] = ()
    audio: str = ""

    @property
    def fingerprint(self) -> str:
        return f"{self.name}{self.records}"

    def __len__(self) -> int:
        return self.records

    def __getitem__(self, index: int) -> Sample | Utterance:
        if index in self.bad:
            raise RecordError("empty answer", f"turn 1 of {index} is empty")
        if self.audio:
            return Utterance(self.audio, f"text {index}", self.group(index), id=str(index))
        asked = [{"type": "text", "text": f"question {index}"}]
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": f"answer {index}"}]
        return Sample(turns, "made", about={"id": f"{self.name}-{index}"})

    def where(self, index: int) -> str:
        return f"{self.name}.json:{index + 1}"

    def group(self, index: int) -> str:
        return self.group_of(index)


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., MixSource]:
    """made(kind, records, name=, bad=, group=, weight=): a source of a mix; two records share a picture or speaker."""

    def make(kind: str, records: int, *, name: str = "", bad=(), group=lambda i: f"{i // 2}.png", weight: float = 1.0):
        audio = tmp_path / "speech.wav"
        if kind in SPEECH and not audio.exists():
            write_wav(audio, 0.1 * np.sin(np.arange(16_000) / 5), 16_000)
        source = MadeSource(name or kind, records, group, bad, str(audio) if kind in SPEECH else "")
        return MixSource(name or kind, kind, source, weight)

    return make


@pytest.fixture
def mix_of(tmp_path: Path) -> Callable[..., Mix]:
    """The mix of these sources."""
    return lambda *sources: Mix(tmp_path / "mix.yaml", sources)
