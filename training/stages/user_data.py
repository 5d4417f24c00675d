"""What a stage learns from if its data are the user's own: `mix.yaml`, or a file of records.

Notable points:
- The stage decides which kinds it learns from and in which shares (`Schedule.shares`, `as_many`), the mix how often.
- Interchangeable with `WorldData`: schedule, mixture, probe, tokenizer, speech, counts.
- Records stay on the disk. A process holds their numbers; media are decoded when a step needs them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from parley.config import ParleyConfig
from parley.models.parley import Parley
from parley.text.ctc import CtcVocabulary
from training.data.ctc_vocabulary import CtcPieces, pieces_once
from training.data.epochs import Epochs, Taken
from training.data.heldout import Split, split
from training.data.media import open_sample, read_utterance
from training.data.mix import RECORDS, SPEECH, Mix, MixSource
from training.data.own_completeness import with_completeness
from training.data.own_samples import HeldOutSamples, OwnSamples, Records
from training.data.own_speech import OwnSpeech, transcripts
from training.data.record_error import RecordError
from training.data.sample import SAMPLE_RATE, Sample, parts
from training.data.sample_length import SampleLength
from training.data.shares import Available, learned_kinds, samples_taken
from training.data.skipped import FILE, Skipped
from training.data.source import Utterance
from training.data.transcripts import with_writable_transcripts
from training.recipe import Schedule, Stage

END_OF_TURN = "end_of_turn_head"
PROBE_SIZE = 32  # held-out samples of each kind in a validation; a picture of 13 tiles is 31 MB of pixels
ENCODER_OF = {"image": "vision_encoder", "video": "vision_encoder", "audio": "speech_encoder"}
NEEDS = {  # kind → the encoder without which nothing of it can be learned
    "captions": "vision_encoder",
    "spoken_questions": "speech_encoder",
    "negatives": "speech_encoder",
    "cut_questions": "speech_encoder",
    "transcriptions": "speech_encoder",
}
ASKED_ALOUD = ("spoken_questions", "cut_questions")  # kinds that say which questions are complete


@dataclass(frozen=True)
class Learned:
    """A source that the stage learns from."""

    mixed: MixSource
    split: Split
    samples: int  # of an epoch


class UserData:
    """The user's data for one stage under one seed.

    Args:
        schedule: its epochs say how much is learned from, or its steps, if it has any. `schedule` of this object has
            the steps, and batches that are no larger than an epoch.
        folder: work folder of the stage, RUN/work/STAGE: skipped records are named there.
        skip_bad: whether bad records are left out; else the first one raises `ValueError`.

    Raises `ValueError` if the stage cannot learn from this mix.
    """

    def __init__(
        self, stage: Stage, schedule: Schedule, mix: Mix, config: ParleyConfig, tokenizer: Tokenizer | None, seed: int,
        folder: Path, *, skip_bad: bool = False,
    ) -> None:  # fmt: skip
        self.stage, self.mix, self.config, self.tokenizer, self.seed = stage, mix, config, tokenizer, seed
        # How much is learned from is the full column's also where learning rates are nano's.
        schedule = replace(schedule, shares=stage.full.shares, as_many=stage.full.as_many) if stage.full else schedule
        check_kinds(stage, schedule, mix)
        self.skipped = Skipped(folder / FILE, skip_bad)
        self.learned = self._learned(schedule, folder.parent / "groups")
        self._name_bad()
        taken = [Taken(one.mixed.name, len(one.split.learned), one.samples) for one in self.learned]
        self.epochs = Epochs(taken, seed)
        batch = min(schedule.batch, len(self.epochs))
        self.steps_asked = schedule.steps > 0
        steps = schedule.steps or -(-schedule.epochs * len(self.epochs) // batch)
        shares = {one.name: round(100 * one.samples / len(self.epochs), 3) for one in taken}
        self.schedule = replace(schedule, batch=batch, steps=steps, mixture=shares)

    @property
    def fingerprint(self) -> str:
        """Of the mix, and of how many of its records are learned from: a bad one that is mended changes the order."""
        return f"{self.mix.fingerprint}/{sum(len(one.split.learned) for one in self.learned)}"

    @cached_property
    def mixture(self) -> OwnSamples:
        """What next-token stages learn from."""
        records = [Records(one.mixed, one.split.learned, self.read) for one in self.learned]
        return OwnSamples(records, self.epochs, self.skipped)

    @cached_property
    def probe(self) -> HeldOutSamples:
        """Held-out samples of every kind; a short trial has few."""
        records = [Records(one.mixed, one.split.held_out, self.read) for one in self.learned]
        return HeldOutSamples(records, min(PROBE_SIZE, self.schedule.steps), self.skipped)

    def ctc_pieces(self) -> CtcPieces:
        """What the CTC head writes (2.1a): made from the transcripts, once a run."""
        learned = [(one.mixed, one.split.learned) for one in self.learned]
        file = self.skipped.file.with_name(f"ctc-{self.mix.fingerprint}.json")
        return pieces_once(file, lambda: transcripts(learned))

    def speech(self, model: Parley) -> OwnSpeech:
        """What the stages of speech alone learn from (2.1a, 3.1, 3.2)."""
        learned = [(one.mixed, one.split.learned) for one in self.learned]
        held_out = [(one.mixed, one.split.held_out) for one in self.learned]
        parts = (learned, held_out, self.epochs, self.skipped)
        if self.stage.objective == "ctc":
            return OwnSpeech(*parts, self.config.speech.sample_rate, check=model.ctc_head.vocabulary.encode)
        return OwnSpeech(*parts, self.config.codec.sample_rate, full_band=True)

    def counts(self, samples: int) -> dict[str, int]:
        """How many of the first `samples` come from each source."""
        return self.epochs.counts(samples)

    def read(self, mixed: MixSource, index: int) -> Sample:
        """Record `index` of a source as a sample, decoded. Raises `ValueError` if it cannot be learned from."""
        record = mixed.source[index]
        if mixed.kind in SPEECH:
            sample = transcription(record)
        else:
            check_media(record, self.stage)
            sample = with_writable_transcripts(open_sample(record, self.config), self._ctc_vocabulary)
            if mixed.kind in ASKED_ALOUD:
                sample = with_completeness(sample, mixed.kind, self.seed, mixed.name, index)
        length, longest = self._length(sample), self.schedule.sequence_length
        if length > longest:
            raise RecordError("too long", f"{length:,} tokens; the stage reads up to {longest:,} (--sequence-length)")
        return replace(sample, about=sample.about | {"kind": mixed.kind})

    @cached_property
    def _ctc_vocabulary(self) -> CtcVocabulary | None:
        speech = self.config.speech
        return CtcVocabulary(speech.ctc_alphabet, speech.ctc_words) if speech.ctc_alphabet else None

    @cached_property
    def _length(self) -> SampleLength:
        return SampleLength(self.config, self.tokenizer)

    def _learned(self, schedule: Schedule, folder: Path) -> list[Learned]:
        """The sources of the kinds that the stage learns from, split together with all others of the mix."""
        kinds = (*learned_kinds(schedule), RECORDS)
        splits = split(self.mix.sources, folder)
        used = [(mixed, part) for mixed, part in zip(self.mix.sources, splits, strict=True) if mixed.kind in kinds]
        available = [Available(mixed.kind, mixed.weight, len(part.learned)) for mixed, part in used]
        samples = samples_taken(schedule, available)
        return [Learned(mixed, part, count) for (mixed, part), count in zip(used, samples, strict=True)]

    def _name_bad(self) -> None:
        """Raises `ValueError` for the first bad record that was found, unless they may be skipped, and if all are."""
        for one in self.learned:
            for bad in one.split.bad:
                self.skipped.add(one.mixed.name, one.mixed.source.where(bad.index), bad.error)
        if not any(one.samples for one in self.learned):
            names = ", ".join(one.mixed.name for one in self.learned)
            raise ValueError(f"{self.mix.path}: all records of {names} are bad or held out; nothing is left to learn")


def transcription(utterance: Utterance) -> Sample:
    """Speech that is answered by its transcript (2.1b)."""
    audio = read_utterance(utterance, SAMPLE_RATE)
    spoken = {"type": "audio", "audio": audio, "transcript": utterance.text}
    messages = [{"role": "user", "content": [spoken]}, {"role": "assistant", "content": utterance.text}]
    return Sample(messages, "transcription", "speech", {"id": utterance.id} if utterance.id else {})


def teachable(stage: Stage, mix: Mix) -> Stage:
    """The stage without the end-of-turn head, if the mix has no questions that are cut short: it would learn that every
    question is complete. Raises `ValueError` if nothing is left to train."""
    if "cut_questions" in mix.kinds or END_OF_TURN not in stage.trains:
        return stage
    if stage.trains == (END_OF_TURN,):
        raise ValueError(f"the end-of-turn head learns from cut_questions, and {mix.path} has none")
    return replace(stage, trains=tuple(part for part in stage.trains if part != END_OF_TURN))


def check_media(sample: Sample, stage: Stage) -> None:
    """Raises `RecordError` for media whose encoder the stage does not have."""
    there = {part["type"] for message in sample.messages for part in parts(message["content"])}
    if unread := sorted(kind for kind in there & ENCODER_OF.keys() if ENCODER_OF[kind] not in stage.loads):
        detail = f"a record with {', '.join(unread)}, which stage {stage.name} does not take in"
        raise RecordError("media not taken in", detail)


def check_kinds(stage: Stage, schedule: Schedule, mix: Mix) -> None:
    """Raises `ValueError` if the stage learns from no kind of the mix, or from one whose encoder it does not have."""
    kinds = learned_kinds(schedule)
    if not kinds:
        raise ValueError(f"stage {stage.name} ({stage.title}) learns from nano's world alone; leave --data out")
    used = [kind for kind in mix.kinds if kind in (*kinds, RECORDS)]
    if not used:
        raise ValueError(
            f"stage {stage.name} learns from {', '.join(kinds)}; {mix.path} has only {', '.join(mix.kinds)}"
        )
    for kind in used:
        if stage.objective == "next_token" and NEEDS.get(kind, stage.loads[0]) not in stage.loads:
            raise ValueError(f"{kind} in {mix.path} need the {NEEDS[kind]}; stage {stage.name} of this model has none")
