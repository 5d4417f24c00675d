"""Makes one item: a dialogue with its questions spoken, and maybe one of them cut short; or a negative.

Items 0 … records - 1 are the records of the source, the next ones are negatives. An item is a function of the
settings, the source and its number, as far as the engine says the same words in the same way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from training.data.sample import SAMPLE_RATE, Sample
from training.data.source import Source
from training.data.speak.cuts import cut
from training.data.speak.draws import draws
from training.data.speak.engine import Engine
from training.data.speak.negatives import Negatives
from training.data.speak.output import OutputFolder
from training.data.speak.questions import Question, has_refusal, questions_of, refused, replaced
from training.data.speak.recording import Recording
from training.data.speak.retry import Retries
from training.data.speak.settings import SpeakSettings


@dataclass
class Made:
    """What became of an item: file of records ("records", "negatives", "cut") → its record there."""

    records: dict[str, dict] = field(default_factory=dict)
    seconds: float = 0.0  # of sound


@dataclass(frozen=True)
class Maker:
    """Makes items; safe to use from several threads."""

    source: Source[Sample]
    settings: SpeakSettings
    engine: Engine
    retries: Retries
    recording: Recording
    negatives: Negatives
    out: OutputFolder

    def __call__(self, item: int) -> Made:
        """Raises `LeftOutError`, `RecordError` or `SpeechError` where nothing was made."""
        return self.dialogue(item) if item < len(self.source) else self.negative(item)

    def dialogue(self, item: int) -> Made:
        sample = self.source[item]
        questions = questions_of(sample, self.settings.longest_text)
        name = str(sample.about.get("id") or item)
        voice = self.voice(name)
        rng = draws(self.settings.seed, "cut", name)
        chosen = int(rng.integers(len(questions))) if rng.random() < self.settings.cut else None
        if chosen is not None and has_refusal(sample.messages[: questions[chosen].message]):
            chosen = None  # a record marks one answer as refused
        made, spoken = Made(), {}
        for number, question in enumerate(questions):
            clean, about = self.speak(question.text, voice, name, number)
            key = (question.message, question.part)
            spoken[key] = self.saved(made, item, str(number), clean, about, name, question.text)
            if number == chosen and (short := cut(clean, rng)) is not None:
                audio, how = short
                part = self.saved(made, item, f"{number}-cut", audio, about, f"{name} cut", None)
                made.records["cut"] = self.cut_record(item, name, sample, question, spoken | {key: part}) | {
                    "cut": asdict(how) | {"text": question.text}
                }
        record = self.out.record(item, name, sample.task, replaced(sample.messages, spoken))
        made.records = {"records": record} | made.records
        return made

    def cut_record(self, item: int, name: str, sample: Sample, question: Question, spoken: dict) -> dict:
        """The dialogue up to the question that is cut short, which must not be answered yet."""
        *before, last = replaced(sample.messages, spoken)[: question.message + 1]
        messages = [*before, *refused(last["content"][: question.part + 1])]
        return self.out.record(item, f"{name}-cut", "cut_question", messages)

    def negative(self, item: int) -> Made:
        number = item - len(self.source)
        name = f"negative-{number}"
        rng = draws(self.settings.seed, name)
        kind, sentence = self.negatives.draw(rng)
        made = Made()
        if kind == "unaddressed":
            audio, about = self.speak(sentence, self.voice(name), name, 0)
            part = self.saved(made, item, kind, audio, about, name, sentence)
        else:
            audio, about = self.negatives.sound(kind, rng)
            part = self.kept(made, item, kind, audio, about, "")
        before = self.negatives.before(self.source, rng)
        made.records["negatives"] = self.out.record(item, name, kind, [*before, *refused([part])])
        return made

    def voice(self, name: str) -> str:
        """Of all questions of a record."""
        voices = self.settings.voices
        return voices[int(draws(self.settings.seed, "voice", name).integers(len(voices)))]

    def speak(self, text: str, voice: str, name: str, number: int) -> tuple[np.ndarray, dict]:
        """Clean speech, float32 at 16 kHz, and its voice and speed."""
        speed = round(float(draws(self.settings.seed, "speed", name, number).uniform(*self.settings.speeds)), 2)
        audio = self.retries(lambda: self.engine.speak(text, voice, speed))
        return audio, {"voice": voice, "speed": speed}

    def saved(
        self, made: Made, item: int, file: str, clean: np.ndarray, about: dict, name: str, transcript: str | None
    ) -> dict:
        """Speech as it is recorded, as a part of a message."""
        audio, done = self.recording.record(clean, draws(self.settings.seed, "recording", name, file))
        return self.kept(made, item, file, audio, about | done, transcript)

    def kept(self, made: Made, item: int, file: str, audio: np.ndarray, about: dict, transcript: str | None) -> dict:
        """Audio, written, as a part of a message."""
        seconds = len(audio) / SAMPLE_RATE
        made.seconds += seconds
        path = self.out.save_audio(item, file, audio)
        return {
            "type": "audio", "audio": path, "transcript": transcript,
            "recording": about | {"seconds": round(seconds, 3)},
        }  # fmt: skip
