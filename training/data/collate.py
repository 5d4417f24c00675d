"""Samples → a batch of dialogues: token ids, pixels and mel frames, without the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from parley.config import STATES, ParleyConfig
from parley.media.image import frames_to_pixels, tile
from parley.models.speech import fbank
from parley.text.prompt import MediaSegment, PromptWriter
from training.data.packing import IGNORED
from training.data.sample import Sample, parts, turn_states


@dataclass
class Rendered:
    """A sample as segments of ids, each piece of media replaced by its number in the batch."""

    segments: list[list[int] | int]  # ids, or the number of a piece of media
    answers: list[bool]  # whether a segment is learned
    states: list[int]  # index into STATES, one an answer
    kinds: list[str]  # kind of question, one an answer


@dataclass
class DialogBatch:
    samples: list[Rendered]
    media: list[tuple[str, int]]  # of each piece of media: ("image" | "speech", its number among these)
    transcripts: list[str]  # of each utterance; "" where it has none
    pixels: Tensor | None  # [tiles, 3, side, side] of all pictures and frames
    tiles: list[int]  # of each picture
    features: Tensor | None  # [utterances, frames, mel]
    lengths: Tensor | None  # [utterances]


class DialogCollator:
    """Makes batches for a model of this config, with the prompts of this writer."""

    def __init__(self, config: ParleyConfig, writer: PromptWriter) -> None:
        self.config, self.writer = config, writer

    def __call__(self, samples: list[Sample]) -> DialogBatch:
        media = _Media(self.config)
        rendered = [self._render(sample, media) for sample in samples]
        speech = media.speech
        return DialogBatch(
            samples=rendered,
            media=media.pieces,
            transcripts=[text for sample in samples for text in transcripts_of(sample)],
            pixels=torch.cat(media.pictures) if media.pictures else None,
            tiles=[len(picture) for picture in media.pictures],
            features=pad_sequence(speech, batch_first=True) if speech else None,
            lengths=torch.tensor([len(features) for features in speech]) if speech else None,
        )

    def _render(self, sample: Sample, media: _Media) -> Rendered:
        segments, answers = [], []
        for segment in self.writer.render(sample.messages):
            is_media = isinstance(segment, MediaSegment)
            segments.append(media.add(segment) if is_media else segment.ids)
            answers.append(not is_media and segment.answer)
        states = [STATES.index(state) for state in turn_states(sample.messages)]
        return Rendered(segments, answers, states, [sample.about.get("kind", sample.task)] * len(states))


class _Media:
    """The media of a batch. A picture that several samples show is there once."""

    def __init__(self, config: ParleyConfig) -> None:
        self.config = config
        self.pieces: list[tuple[str, int]] = []
        self.pictures: list[Tensor] = []  # [tiles, 3, side, side] each
        self.speech: list[Tensor] = []  # [frames, mel] each
        self.number_of: dict[int, int] = {}

    def add(self, segment: MediaSegment) -> int:
        """The number of a piece of media in the batch."""
        if segment.kind == "speech":
            self.speech.append(fbank(segment.content, self.config.speech))
            self.pieces.append(("speech", len(self.speech) - 1))
        else:
            self.pieces.append(("image", self._picture(segment)))
        return len(self.pieces) - 1

    def _picture(self, segment: MediaSegment) -> int:
        number = self.number_of.setdefault(id(segment.content), len(self.pictures))
        if number == len(self.pictures):
            to_pixels = tile if segment.kind == "image" else frames_to_pixels
            self.pictures.append(torch.from_numpy(to_pixels(segment.content, self.config.vision)))
        return number


def transcripts_of(sample: Sample) -> list[str]:
    """The transcript of each utterance of a sample, "" where it has none."""
    content = [part for message in sample.messages for part in parts(message["content"])]
    return [part.get("transcript", "") for part in content if part["type"] == "audio"]


def with_labels(rendered: Rendered, media_lengths: list[int]) -> tuple[list[int], list[int]]:
    """The ids of a sample, -1 - n for each embedding of media n, and its labels: the ids of its answers."""
    ids: list[int] = []
    labels: list[int] = []
    for segment, answer in zip(rendered.segments, rendered.answers, strict=True):
        here = [-1 - segment] * media_lengths[segment] if isinstance(segment, int) else segment
        ids += here
        labels += here if answer else [IGNORED] * len(here)
    return ids, labels
