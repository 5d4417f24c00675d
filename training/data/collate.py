"""Samples → a pass of dialogues: token ids, labels, pixels and mel frames, without the model.

The lengths of media in embeddings are known from their sizes, so samples are packed before anything is encoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from parley.config import STATES, ParleyConfig
from parley.media.image import frames_to_pixels, tile
from parley.models.filter_bank import fbank
from parley.models.speech import ADAPTER_STRIDE, MIN_MEL_FRAMES, subsampled
from parley.text.prompt import MediaSegment, PromptWriter
from training.data.packing import IGNORED, Segments, shifted
from training.data.sample import Sample, completeness, parts, turn_states

# Pictures and videos by identity, with their pixels: [tiles, 3, side, side]. Each is kept, or another one could get its
# identity.
Pictures = dict[int, tuple[Any, Tensor]]


@dataclass
class Medium:
    """A picture, a video or an utterance of a sample."""

    speech: bool
    content: Tensor  # pixels [tiles, 3, side, side] or mel frames [frames, mel]
    start: int  # of its embeddings in the sample
    length: int  # embeddings


@dataclass(frozen=True)
class Answer:
    """An answer in a sequence: the positions that predict its ids, and what is known of its question."""

    kind: str  # of question
    start: int
    end: int  # where nothing of it is learned, `start`
    state: int  # index into STATES
    complete: int = IGNORED  # 1: the question is complete, 0: it was cut short, IGNORED: nothing is learned of that


@dataclass
class Rendered:
    """A sample as ids, 0 where an embedding of a medium stands."""

    ids: list[int]
    labels: list[int]  # what each position should predict; `IGNORED` where nothing is learned
    media: list[Medium]
    transcripts: list[str]  # of each utterance; "" where it has none
    answers: list[Answer]


@dataclass
class DialogBatch:
    """A packed sequence of several samples, and its media."""

    ids: Tensor  # int64 [tokens]
    labels: Tensor  # int64 [tokens]
    positions: Tensor  # int64 [tokens], from 0 in each sample
    segments: Segments
    places: Tensor  # int64 [embeddings]: where the embeddings of all media stand, one medium after the other
    media: list[tuple[bool, int]]  # of each medium: whether it is speech, its number among these
    pixels: Tensor | None  # [tiles, 3, side, side]
    tiles: list[int]  # of each picture
    features: Tensor | None  # [utterances, frames, mel]
    lengths: Tensor | None  # [utterances]
    transcripts: list[str]
    answers: list[Answer]
    states: Tensor  # int64 [answers]
    complete: Tensor  # int64 [answers], as in `Answer`


class DialogCollator:
    """Makes passes for a model of this config.

    Args:
        writer: of the model's prompts.
        always: kinds of media that every pass has, "image" or "speech": a blank one where its samples have none, which
            no token sees. Parts that are sharded over processes must run in each of them.
    """

    def __init__(self, config: ParleyConfig, writer: PromptWriter, always: Sequence[str] = ()) -> None:
        self.config, self.writer, self.always = config, writer, always
        side = config.vision.image_size // config.vision.patch_size // config.vision.downsample
        self._tile_embeddings = side * side

    def render(self, sample: Sample, pictures: Pictures) -> Rendered:
        """The ids, labels and media of a sample. `pictures` has those seen before."""
        ids, labels, media, answers = [], [], [], []
        asked = self._asked(sample)
        for segment in self.writer.render(sample.messages):
            if isinstance(segment, MediaSegment):
                medium = self._medium(segment, len(ids), pictures)
                media.append(medium)
                ids += [0] * medium.length
                labels += [IGNORED] * medium.length
                continue
            learned = 0
            if segment.answer:
                answer = next(asked)
                learned = len(segment.ids) if answer.complete else self._state_ids(answer.state)
                answers.append(replace(answer, start=len(ids) - 1, end=len(ids) - 1 + learned))
            ids += segment.ids
            labels += segment.ids[:learned] + [IGNORED] * (len(segment.ids) - learned)
        return Rendered(ids, shifted(labels), media, transcripts_of(sample), answers)

    def _asked(self, sample: Sample) -> Iterator[Answer]:
        """The answers of a sample, in order, without their places."""
        kind = sample.about.get("kind", sample.task)
        for state, complete in zip(turn_states(sample.messages), completeness(sample.messages), strict=True):
            yield Answer(kind, 0, 0, STATES.index(state), IGNORED if complete is None else int(complete))

    def _state_ids(self, state: int) -> int:
        """With how many ids an answer says its state: what is learned of one to a question that was cut short."""
        return len(self.writer.state_ids[state]) if self.writer.state_ids else 0

    def _medium(self, segment: MediaSegment, start: int, pictures: Pictures) -> Medium:
        if segment.kind == "speech":
            features = fbank(segment.content, self.config.speech)
            return Medium(True, features, start, self.speech_length(len(features)))
        key = id(segment.content)
        if key not in pictures:
            to_pixels = tile if segment.kind == "image" else frames_to_pixels
            pictures[key] = segment.content, torch.from_numpy(to_pixels(segment.content, self.config.vision))
        pixels = pictures[key][1]
        return Medium(False, pixels, start, len(pixels) * self._tile_embeddings)

    def speech_length(self, mel_frames: int) -> int:
        """Embeddings of an utterance, the prompt in front included."""
        embeddings = -(-subsampled(mel_frames) // ADAPTER_STRIDE)
        return self.config.speech.num_prompt_embeddings + embeddings

    def batch(self, samples: Sequence[Rendered]) -> DialogBatch:
        """One packed sequence of these samples, in order."""
        media, answers, start = _Media(), [], 0
        for sample in samples:
            media.add(sample, start)
            answers += [replace(one, start=start + one.start, end=start + one.end) for one in sample.answers]
            start += len(sample.ids)
        media.add_blanks(self.always, self.config)
        segments = Segments.of([len(sample.ids) for sample in samples])
        return DialogBatch(
            ids=torch.tensor([id_ for sample in samples for id_ in sample.ids]),
            labels=torch.tensor([label for sample in samples for label in sample.labels]),
            positions=torch.cat([torch.arange(length) for length in segments.lengths]),
            segments=segments,
            places=torch.tensor(media.places, dtype=torch.long),
            media=media.pieces,
            pixels=torch.cat(media.pictures) if media.pictures else None,
            tiles=[len(picture) for picture in media.pictures],
            features=pad_sequence(media.speech, batch_first=True) if media.speech else None,
            lengths=torch.tensor([len(features) for features in media.speech]) if media.speech else None,
            transcripts=[text for sample in samples for text in sample.transcripts],
            answers=answers,
            states=torch.tensor([answer.state for answer in answers], dtype=torch.long),
            complete=torch.tensor([answer.complete for answer in answers], dtype=torch.long),
        )

    def blank(self) -> DialogBatch:
        """A pass in which nothing is learned."""
        return self.batch([Rendered([0], [IGNORED], [], [], [])])


class _Media:
    """The media of a pass. A picture that several samples show is there once."""

    def __init__(self) -> None:
        self.pieces: list[tuple[bool, int]] = []
        self.places: list[int] = []
        self.pictures: list[Tensor] = []
        self.speech: list[Tensor] = []
        self._number_of: dict[int, int] = {}

    def add(self, sample: Rendered, start: int) -> None:
        for medium in sample.media:
            self.pieces.append((medium.speech, self._number(medium)))
            first = start + medium.start
            self.places += range(first, first + medium.length)

    def _number(self, medium: Medium) -> int:
        if medium.speech:
            self.speech.append(medium.content)
            return len(self.speech) - 1
        number = self._number_of.setdefault(id(medium.content), len(self.pictures))
        if number == len(self.pictures):
            self.pictures.append(medium.content)
        return number

    def add_blanks(self, kinds: Sequence[str], config: ParleyConfig) -> None:
        """Media that stand nowhere, of these kinds if there are none."""
        if "image" in kinds and not self.pictures:
            side = config.vision.image_size
            self.pictures.append(torch.zeros(1, 3, side, side))
        if "speech" in kinds and not self.speech:
            self.speech.append(torch.zeros(MIN_MEL_FRAMES, config.speech.num_mel_bins))


def transcripts_of(sample: Sample) -> list[str]:
    """The transcript of each utterance of a sample, "" where it has none."""
    content = [part for message in sample.messages for part in parts(message["content"])]
    return [part.get("transcript", "") for part in content if part["type"] == "audio"]
