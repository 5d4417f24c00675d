"""The same measures for every checkpoint: what it can do on data that no stage ever saw.

Notable points:
- An answer counts as right only if it is word for word the expected one: every token of it must be the likeliest. That
  is exactly when greedy decoding writes it, at a fraction of the cost.
- The held-out sets are `training.data.world.heldout`'s: the same for every checkpoint.
- Beside each figure stand the count and what a guesser would get who sees the form of a question and nothing else.
- A row whose parts the checkpoint lacks is left out; nothing is estimated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jiwer
import numpy as np
import soxr
import torch

from parley.checkpoints import Checkpoint, load_model
from parley.checkpoints.manifest import MANIFEST, Manifest
from parley.config import STATES
from parley.models.parley import Parley
from parley.models.speech import fbank
from training.data.records import Sample
from training.data.world import heldout
from training.data.world.questions import PICTURE_KINDS, chance, words_of
from training.data.world.speech import speaker
from training.data.world.voices import ANSWER
from training.launch.local import last_stage
from training.objectives.next_token import NextTokenObjective
from training.recipe import Schedule, stage

DEFAULT_CHECKPOINT = Path("checkpoints/nano")
BEFORE_SPEECH = "picture_questions_after_1.3"  # in a manifest's metrics, where the stages themselves are not beside it


@dataclass
class Row:
    """One measure."""

    name: str
    value: float  # percent
    n: int
    bar: float | None = None
    at_most: bool = False  # the bar is an upper one
    chance: float | None = None

    @property
    def ok(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def record(self) -> dict:
        rounded = {"value": round(self.value, 2), "bar": self.bar, "n": self.n, "ok": self.ok, "chance": self.chance}
        return {"name": self.name, **rounded}


def find_checkpoint(run: Path | None) -> Path:
    """A checkpoint's folder from what was named: a checkpoint, a run (its last stage), nothing (the shipped one).

    Raises `ValueError` if there is none.
    """
    path = DEFAULT_CHECKPOINT if run is None else run
    if (path / MANIFEST).exists():
        return path
    if run is None:
        raise ValueError(f"no checkpoint is shipped in {path}; name a checkpoint or a run")
    return last_stage(path)


@torch.no_grad()
def evaluate(checkpoint: Path, count: int = 100) -> list[dict]:
    """All rows that the checkpoint's parts allow, as `{"name", "value", "bar", "n", "ok", "chance"}`.

    Args:
        count: held-out samples of each kind of question; other measures scale with it.
    """
    opened = Checkpoint.open(checkpoint)
    model = load_model(opened)
    has = set(opened.parts)
    rows: list[Row] = []
    if {"vision_encoder", "vision_adapter", "language"} <= has:
        rows += picture_rows(model, count)
    if {"speech_adapter", "vision_adapter", "state_head", "language"} <= has:
        rows += spoken_rows(model, count)
    if {"vision_adapter", "language"} <= has:
        rows.append(video_row(model, count))
    if "ctc_head" in has:
        rows += transcription_rows(model, count)
    if "state_head" in has:
        rows.append(state_row(model, count))
    if {"codec_encoder", "codec_decoder"} <= has:
        rows.append(codec_row(model, count))
    if {"speech_decoder", "codec_decoder"} <= has:
        rows.append(speaking_row(model, count))
    if "speech_adapter" in has and "vision_adapter" in has:
        before = score_before_speech(checkpoint, opened.manifest, count)
        if before is not None:
            mean = next(row for row in rows if row.name.startswith("picture questions, text in: mean"))
            rows.append(Row("vision score lost from stage 1.3 to 2.2", before - mean.value, mean.n, 1.0, at_most=True))
    return [row.record() for row in rows]


def scorer(model: Parley) -> NextTokenObjective:
    """What tells right answers from wrong ones."""
    row = stage("2.2")
    return NextTokenObjective(row, model, _Scored(Schedule(lr=0.0, batch=1, row=1024), model.tokenizer), 0)


@dataclass
class _Scored:
    schedule: Schedule
    tokenizer: object


def right(model: Parley, samples: list[Sample]) -> list[bool]:
    """Of each sample, which has one question, whether the answer is right."""
    found = [ok for _, ok, _, _ in scorer(model).score(samples)]
    assert len(found) == len(samples)
    return found


def percent(found: list[bool]) -> float:
    return 100 * sum(found) / len(found)


def grouped(samples: list[Sample], found: list[bool], name: str) -> dict[str, list[bool]]:
    """What was found of the samples, by what they are `about`: their "kind", their "form"."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for sample, ok in zip(samples, found, strict=True):
        groups[sample.about[name]].append(ok)
    return groups


def by_kind(model: Parley, samples: Iterable[Sample]) -> dict[str, float]:
    """Percent right of each kind."""
    samples = list(samples)
    return {kind: percent(found) for kind, found in grouped(samples, right(model, samples), "kind").items()}


def picture_rows(model: Parley, count: int) -> list[Row]:
    """The mean over kinds, the worst of them, each, and below a kind its forms if it has several: the mean of a kind
    that is asked in an easy way and a hard one tells of neither."""
    samples = list(heldout.questions(count=count))
    found = right(model, samples)
    values = {kind: percent(some) for kind, some in grouped(samples, found, "kind").items()}
    forms = grouped(samples, found, "form")
    guesses = {kind: 100 * chance(kind) for kind in values}
    worst = min(values, key=values.get)
    total = count * len(values)
    rows = [
        Row("picture questions, text in: mean over kinds", mean(values), total, 95.0, chance=mean(guesses)),
        Row(f"picture questions, text in: worst kind ({worst})", values[worst], count, 85.0, chance=guesses[worst]),
    ]
    for kind, value in values.items():
        rows.append(Row(f"· {kind}", value, count, chance=guesses[kind]))
        named = dict.fromkeys(sample.about["form"] for sample in samples if sample.about["kind"] == kind)
        rows += [Row(f"·· {form}", percent(forms[form]), len(forms[form])) for form in named if len(named) > 1]
    return rows


def spoken_rows(model: Parley, count: int) -> list[Row]:
    rows, guess = [], mean({kind: 100 * chance(kind) for kind in PICTURE_KINDS})
    for name, bar, unseen in (("seen", 90.0, False), ("unseen", 80.0, True)):
        values = by_kind(model, heldout.questions(spoken=True, unseen_voice=unseen, count=count))
        total = count * len(values)
        rows.append(Row(f"picture questions, spoken: {name} voices", mean(values), total, bar, chance=guess))
    each = max(1, count * 4 // 10)
    values = by_kind(model, heldout.small_talk(spoken=True, count=each))
    return [*rows, Row("small talk, spoken", mean(values), each * len(values), 95.0, chance=0.0)]


def video_row(model: Parley, count: int) -> Row:
    samples = list(heldout.videos(count=3 * count))
    return Row("video: which way it moves", percent(right(model, samples)), len(samples), 90.0, chance=25.0)


def transcription_rows(model: Parley, count: int) -> list[Row]:
    """The CTC head's words, heard in the chunks that are served."""
    rows = []
    for name, bar, how in (
        ("seen voices", 3.0, {}),
        ("unseen voices", 8.0, {"unseen_voice": True}),
        ("unseen speeds", 12.0, {"unseen_speed": True}),
    ):
        said, heard = [], []
        for utterance in heldout.transcription(**how, count=3 * count):
            features = fbank(utterance.audio, model.config.speech)[None]
            frames, _ = model.speech_encoder(features, torch.tensor([features.shape[1]]))
            said.append(model.ctc_head.vocabulary.normalise(utterance.text))
            heard.append(model.ctc_head.transcribe(frames[0]))
        wrong = 100 * jiwer.wer(said, heard)
        rows.append(Row(f"transcription WER, unseen sentences: {name}", wrong, len(said), bar, at_most=True))
    return rows


def state_row(model: Parley, count: int) -> Row:
    """The state of the last turn: a third each of written questions, spoken ones, and what must not be answered."""
    wrong, samples = 0, list(heldout.states(count=count))
    for sample in samples:
        *_, (_, _, asked, told) = scorer(model).score([sample])
        wrong += asked != told
    told_right = 100 * (1 - wrong / len(samples))
    return Row("state: speech / text / nothing to answer", told_right, len(samples), 98.0, chance=100 / len(STATES))


def codec_row(model: Parley, count: int) -> Row:
    """Held-out answers in the voice the model answers with, through codec tokens and back."""
    from parley.models.codec import encode

    rate, ear = model.config.codec.sample_rate, recogniser()
    said, original, decoded = [], [], []
    for text in heldout.answers(count):
        waveform = speaker().speak(text, ANSWER.name, ANSWER.wpm, ANSWER.pitch, rate)
        codes, voice = encode(model.codec_encoder, model.codec_decoder, torch.from_numpy(waveform)[None])
        said.append(" ".join(words_of(text)))
        original.append(ear(waveform, rate))
        decoded.append(ear(model.codec_decoder(codes, voice)[0].numpy(), rate))
    lost = 100 * (jiwer.wer(said, decoded) - jiwer.wer(said, original))
    return Row("codec: WER of decoded speech above the original's", lost, count, 3.0, at_most=True)


def speaking_row(model: Parley, count: int) -> Row:
    """Held-out answers spoken by the model, heard by the recogniser."""
    rate, ear = model.config.codec.sample_rate, recogniser()
    said, heard = [], []
    for text in heldout.answers(count):
        said.append(" ".join(words_of(text)))
        heard.append(ear(model.speak(model.writer.text(text)), rate))
    return Row("spoken answers: WER", 100 * jiwer.wer(said, heard), count, 6.0, at_most=True)


def score_before_speech(checkpoint: Path, manifest: Manifest, count: int) -> float | None:
    """The mean over kinds of picture questions after stage 1.3: measured if the stage is at hand, else as recorded."""
    before = checkpoint.resolve().parent / "1.3"
    return picture_score(before, count) if (before / MANIFEST).exists() else manifest.metrics.get(BEFORE_SPEECH)


def picture_score(checkpoint: Path, count: int) -> float:
    """The mean over kinds of picture questions, percent."""
    parts = ("vision_encoder", "vision_adapter", "language")
    return picture_rows(load_model(checkpoint, parts), count)[0].value


def table(rows: list[dict]) -> str:
    """The rows for a terminal."""
    width = max(len(row["name"]) for row in rows) if rows else 0
    lines = [f"{'':{width}}   value     bar  chance      n"]
    for row in rows:
        bar = "" if row["bar"] is None else f"{row['bar']:g}"
        guess = "" if row["chance"] is None else f"{row['chance']:.0f}"
        met = {None: "", True: "met", False: "missed"}[row["ok"]]
        lines.append(f"{row['name']:{width}}  {row['value']:6.1f}  {bar:>6}  {guess:>6}  {row['n']:5}  {met}")
    return "\n".join(lines)


@cache
def recogniser():
    """The independent recogniser, as a function of audio and its rate."""
    from training.data.world.recogniser import SAMPLE_RATE, Recogniser

    judge = Recogniser()
    return lambda audio, rate: judge.transcribe(soxr.resample(np.asarray(audio, np.float32), rate, SAMPLE_RATE))


def mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
