"""How many embeddings of the language model a sample is, from the sizes of its media, before anything is encoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from parley.config import ParleyConfig, SpeechConfig
from parley.media.image import tile_grid
from parley.models.speech import ADAPTER_STRIDE, MIN_MEL_FRAMES, subsampled
from parley.text.prompt import MediaSegment, PromptWriter
from training.data.record_error import RecordError
from training.data.sample import Sample


@dataclass(frozen=True)
class SampleLength:
    """Lengths for a model of this config."""

    config: ParleyConfig
    tokenizer: Tokenizer

    def __call__(self, sample: Sample) -> int:
        """Tokens and embeddings of a sample whose media are decoded.

        Raises `ValueError` for messages that cannot be rendered, and for speech too short to encode.
        """
        segments = self._writer.render(sample.messages)
        return sum(self._medium(one) if isinstance(one, MediaSegment) else len(one.ids) for one in segments)

    def _medium(self, segment: MediaSegment) -> int:
        if segment.kind == "speech":
            return self._speech(segment.content)
        tiles = self._tiles(segment.content) if segment.kind == "image" else len(segment.content)
        vision = self.config.vision
        side = vision.image_size // vision.patch_size // vision.downsample
        return tiles * side * side

    def _tiles(self, image: Image.Image) -> int:
        """Of a picture, with the thumbnail."""
        columns, rows = tile_grid(image.width, image.height, self.config.vision)
        return columns * rows + (columns * rows > 1)

    def _speech(self, waveform: np.ndarray) -> int:
        """Of float32 [samples], with the speech prompt."""
        frames = mel_frames(len(waveform), self.config.speech)
        if frames < MIN_MEL_FRAMES:
            seconds = len(waveform) / self.config.speech.sample_rate
            raise RecordError("too short", f"speech of {seconds:.3f} s is too short to be encoded")
        return self.config.speech.num_prompt_embeddings - (-subsampled(frames) // ADAPTER_STRIDE)

    @cached_property
    def _writer(self) -> PromptWriter:
        return PromptWriter.of(self.config.language, self.tokenizer)


def mel_frames(samples: int, config: SpeechConfig) -> int:
    """Frames of the filter bank of so many samples; a remainder shorter than a frame is left out."""
    window, shift = (round(ms * config.sample_rate / 1000) for ms in (config.frame_length_ms, config.frame_shift_ms))
    return 0 if samples < window else 1 + (samples - window) // shift
