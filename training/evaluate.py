"""The same measures for every checkpoint: what it can do on data that no stage ever saw.

Notable points:
- An answer counts as right only if it is word for word the expected one: every token of it must be the likeliest. That
  is exactly when greedy decoding writes it, at a fraction of the cost.
- Scenes, sentences, voices and speeds are held out by content (`training.data.world.splits`), under every seed.
- Beside each figure stand the count and what a guesser would get who sees the form of a question and nothing else.
- A row whose parts the checkpoint lacks is left out; nothing is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import soxr
import torch

from parley.checkpoint import MANIFEST, Manifest, read_manifest
from parley.config import STATES
from parley.model import Parley
from parley.speech import fbank
from training.data.records import Sample
from training.data.spoken import ManyVoices
from training.data.stage_data import answering_or_any, spoken
from training.data.transcribed import SpokenWorld
from training.data.world import World
from training.data.world.questions import PICTURE_KINDS, chance, words_of
from training.data.world.sentences import answer
from training.data.world.spoken import not_for_us
from training.data.world.voices import draw_voice
from training.objectives.next_token import NextTokenObjective
from training.recipe import Schedule, stage
from training.run import last_stage

DEFAULT_CHECKPOINT = Path("checkpoints/nano")
BEFORE_SPEECH = "picture_questions_after_1.3"  # in a manifest's metrics, where the stages themselves are not beside it
SEED = 7  # of the held-out data


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


def evaluate(checkpoint: Path, count: int = 100) -> list[dict]:
    """All rows that the checkpoint's parts allow, as `{"name", "value", "bar", "n", "ok", "chance"}`.

    Args:
        count: held-out samples of each kind of question; other measures scale with it.
    """
    torch.set_grad_enabled(False)
    manifest = read_manifest(checkpoint)
    model = Parley.load(checkpoint)
    world = World(SEED, "heldout")
    has = set(manifest.parts)
    rows: list[Row] = []
    if {"vision_encoder", "vision_adapter", "language"} <= has:
        rows += picture_rows(model, world, count)
    if {"speech_adapter", "vision_adapter", "state_head", "language"} <= has:
        rows += spoken_rows(model, world, count)
    if {"vision_adapter", "language"} <= has:
        rows.append(video_row(model, world, count))
    if "ctc_head" in has:
        rows += transcription_rows(model, count)
    if "state_head" in has:
        rows.append(state_row(model, world, count))
    if {"codec_encoder", "codec_decoder"} <= has:
        rows.append(codec_row(model, max(10, count * 6 // 10)))
    if {"speech_decoder", "codec_decoder"} <= has:
        rows.append(speaking_row(model, world, max(10, count * 6 // 10)))
    if "speech_adapter" in has and "vision_adapter" in has:
        before = score_before_speech(checkpoint, manifest, count)
        if before is not None:
            mean = next(row for row in rows if row.name.startswith("picture questions, text in: mean"))
            rows.append(Row("vision score lost from stage 1.3 to 2.2", before - mean.value, mean.n, 1.0, at_most=True))
    return [row.record() for row in rows]


def scorer(model: Parley) -> NextTokenObjective:
    """What tells right answers from wrong ones."""
    row = stage("2.2")
    return NextTokenObjective(row, model, _Scored(Schedule(lr=0.0, batch=1, row=1024), model.tokenizer), SEED)


@dataclass
class _Scored:
    schedule: Schedule
    tokenizer: object


def picture_questions(world: World, count: int) -> dict[str, list[Sample]]:
    return {kind: [world.question(i, kind) for i in range(count)] for kind in PICTURE_KINDS}


def right(model: Parley, samples: list[Sample]) -> float:
    """Percent of the samples whose every answer is right."""
    found = scorer(model).score(samples)
    return 100 * sum(ok for _, ok, _, _ in found) / len(found)


def picture_rows(model: Parley, world: World, count: int) -> list[Row]:
    asked = picture_questions(world, count)
    values = {kind: right(model, samples) for kind, samples in asked.items()}
    guesses = {kind: 100 * chance(kind) for kind in asked}
    worst = min(values, key=values.get)
    total = count * len(values)
    rows = [
        Row("picture questions, text in: mean over kinds", _mean(values), total, 95.0, chance=_mean(guesses)),
        Row(f"picture questions, text in: worst kind ({worst})", values[worst], count, 85.0, chance=guesses[worst]),
    ]
    return rows + [Row(f"· {kind}", value, count, chance=guesses[kind]) for kind, value in values.items()]


def spoken_rows(model: Parley, world: World, count: int) -> list[Row]:
    rows = []
    guess = _mean({kind: 100 * chance(kind) for kind in PICTURE_KINDS})
    for name, bar, unseen in (("seen", 90.0, False), ("unseen", 80.0, True)):
        values = {}
        for kind, samples in picture_questions(world, max(1, count // 2)).items():
            values[kind] = right(
                model, [spoken(world, i, s, share=1.0, unseen_voice=unseen) for i, s in enumerate(samples)]
            )
        total = len(values) * max(1, count // 2)
        rows.append(Row(f"picture questions, spoken: {name} voices", _mean(values), total, bar, chance=guess))
    talk = [spoken(world, i, world.small_talk(i), share=1.0) for i in range(2 * count)]
    rows.append(Row("small talk, spoken", right(model, talk), len(talk), 95.0, chance=0.0))
    return rows


def video_row(model: Parley, world: World, count: int) -> Row:
    samples = [world.video(i) for i in range(2 * count)]
    return Row("video: which way it moves", right(model, samples), len(samples), 90.0, chance=25.0)


def transcription_rows(model: Parley, count: int) -> list[Row]:
    """The CTC head's words, heard in the chunks that are served."""
    data, rows = SpokenWorld(SEED), []
    named = {"sentences": ("seen voices", 3.0), "voices": ("unseen voices", 8.0), "speeds": ("unseen speeds", 12.0)}
    for measure, (name, bar) in named.items():
        said, heard = [], []
        for i in range(2 * count):
            audio, text = data.held_out(measure, i)
            features = fbank(audio, model.config.speech)[None]
            frames, _ = model.speech_encoder(features, torch.tensor([features.shape[1]]))
            said.append(model.ctc_head.normalise(text))
            heard.append(model.ctc_head.decode(model.ctc_head(frames)[0]))
        rows.append(
            Row(
                f"transcription WER, unseen sentences: {name}",
                100 * jiwer.wer(said, heard),
                len(said),
                bar,
                at_most=True,
            )
        )
    return rows


def state_row(model: Parley, world: World, count: int) -> Row:
    """A third each of written questions, spoken questions, and what must not be answered."""
    samples = [world.question(i) if i % 2 else world.small_talk(i) for i in range(2 * count)]
    samples += [
        spoken(world, i, world.question(i) if i % 2 else world.small_talk(i), share=1.0) for i in range(2 * count)
    ]
    for i in range(2 * count):
        rng = world.rng("state", i)
        samples.append(Sample(not_for_us("heldout", draw_voice(rng), rng), "negative", "nothing"))
    found = scorer(model).score(samples)
    told = 100 * sum(asked == said for _, _, asked, said in found) / len(found)
    return Row("state: speech / text / nothing to answer", told, len(found), 98.0, chance=100 / len(STATES))


def codec_row(model: Parley, count: int) -> Row:
    """Held-out speech through codec tokens and back, in the voices the codec was trained on."""
    from parley.codec import encode

    rate = model.config.codec.sample_rate
    data = ManyVoices(SEED, rate, answering_or_any)
    ear, said, original, decoded = _ear(), [], [], []
    for i in range(count):
        waveform, text = data.held_out("heldout", i)
        codes, voice = encode(model.codec_encoder, model.codec_decoder, torch.from_numpy(waveform)[None])
        again = model.codec_decoder(codes, voice)[0].numpy()
        said.append(" ".join(words_of(text)))
        original.append(ear(waveform, rate))
        decoded.append(ear(again, rate))
    lost = 100 * (jiwer.wer(said, decoded) - jiwer.wer(said, original))
    return Row("codec: WER of decoded speech above the original's", lost, count, 3.0, at_most=True)


def speaking_row(model: Parley, world: World, count: int) -> Row:
    """Held-out answers spoken by the model, heard by the recogniser."""
    rate = model.config.codec.sample_rate
    ear, said, heard = _ear(), [], []
    for i in range(count):
        text = answer("heldout", world.rng("answer", i))
        audio = model.speak(model.writer.text(text))
        said.append(" ".join(words_of(text)))
        heard.append(ear(audio, rate))
    return Row("spoken answers: WER", 100 * jiwer.wer(said, heard), count, 6.0, at_most=True)


def score_before_speech(checkpoint: Path, manifest: Manifest, count: int) -> float | None:
    """The mean over kinds of picture questions after stage 1.3: measured if the stage is at hand, else as recorded."""
    before = checkpoint.resolve().parent / "1.3"
    return picture_score(before, count) if (before / MANIFEST).exists() else manifest.metrics.get(BEFORE_SPEECH)


def picture_score(checkpoint: Path, count: int) -> float:
    """The mean over kinds of picture questions, percent."""
    parts = ("vision_encoder", "vision_adapter", "language")
    return picture_rows(Parley.load(checkpoint, parts), World(SEED, "heldout"), count)[0].value


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


def _ear():
    """The independent recogniser, as a function of audio and its rate."""
    from training.data.world.recogniser import SAMPLE_RATE, Recogniser

    recogniser = Recogniser()
    return lambda audio, rate: recogniser.transcribe(soxr.resample(np.asarray(audio, np.float32), rate, SAMPLE_RATE))


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
