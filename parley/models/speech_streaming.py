"""Streaming speech encoder: many live utterances in one batch, embeddings out chunk by chunk.

Notable points:
- Each utterance has a slot. A step runs the next chunk of every utterance that has one; utterances begin and end
  between any two steps.
- The output is the same as of the whole utterance under the same chunk mask: the filter bank, both convolutions, the
  attention, the causal convolution and the adapter each keep exactly the past they can reach.
- The networks and what they keep of the past are the runner's (`speech_step`), which may be a server; here are the
  audio that is too little for a chunk, and the transcript.
- A model without chunks (chunk_size -1) encodes an utterance whole: mel frames are collected, up to `max_seconds`, and
  encoded in the step after `finish`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from parley.config import SpeechConfig
from parley.models.speech import SUBSAMPLING, fbank, subsampled
from parley.models.speech_step import Chunk, StepRunner, reach
from parley.text.ctc import CtcVocabulary, single_spaced


class StreamOutput(NamedTuple):
    """What a step made for one utterance."""

    embeddings: Tensor  # [n, language], new ones only
    transcript: str  # of the utterance so far; "" without a CTC head
    done: bool  # the utterance was finished, and this is its last output


@dataclass
class UtteranceState:
    """The small, ragged part of an utterance's state; the rest is the runner's."""

    features: Tensor  # [n, mel]: frames of which no encoder frame was made yet
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # too few for a next mel frame
    num_samples: int = 0  # in all
    text: str = ""
    last_id: int = 0  # of the CTC head, for repeats across chunks
    finishing: bool = False
    ended: bool = False  # the last output was given
    last_step: int = 0  # that served it: the utterance that waited longest is served first


class SpeechStream:
    """Up to `capacity` utterances, each in a slot.

    Args:
        runner: computes the steps; it must have `capacity` slots.
        config: of the model that it runs.
        max_seconds: of one utterance.
    """

    def __init__(self, runner: StepRunner, config: SpeechConfig, *, capacity: int = 8, max_seconds: float = 60.0):
        self.runner, self.config = runner, config
        self.chunk_size = runner.chunk_size
        self.vocabulary = CtcVocabulary(config.ctc_alphabet, config.ctc_words) if runner.transcribes else None
        self.max_samples = int(max_seconds * config.sample_rate)
        self.window = round(config.frame_length_ms * config.sample_rate / 1000)  # samples
        self.shift = round(config.frame_shift_ms * config.sample_rate / 1000)
        self.states: dict[int, UtteranceState] = {}  # by slot
        self.free_slots = list(range(capacity - 1, -1, -1))
        self.steps = 0

    @property
    def chunk_seconds(self) -> float:
        """Audio of a chunk; 0 for a model that encodes whole utterances."""
        return max(self.chunk_size, 0) * SUBSAMPLING * self.config.frame_shift_ms / 1000

    def open(self) -> int:
        """Begins an utterance in a free slot. Raises `ValueError` when there is none."""
        if not self.free_slots:
            raise ValueError(f"all {len(self.states)} slots are taken; close one first")
        slot = self.free_slots.pop()
        self.states[slot] = UtteranceState(torch.zeros(0, self.config.num_mel_bins), last_step=self.steps)
        self.runner.open(slot)
        return slot

    def close(self, slot: int) -> None:
        """Frees the slot, at the end of the utterance or before."""
        del self.states[slot]
        self.runner.close(slot)
        self.free_slots.append(slot)

    def feed(self, slot: int, samples: np.ndarray) -> None:
        """float32 [samples] in [-1, 1] that follow what was fed before. Raises `ValueError` beyond `max_seconds`."""
        state = self.states[slot]
        assert not state.finishing
        state.num_samples += len(samples)
        if state.num_samples > self.max_samples:
            seconds = self.max_samples / self.config.sample_rate
            raise ValueError(f"the utterance is longer than {seconds:g} s")
        joined = np.concatenate([state.samples, samples])
        count = max(0, (len(joined) - self.window) // self.shift + 1)
        if count:
            features = fbank(joined[: (count - 1) * self.shift + self.window], self.config)
            state.features = torch.cat([state.features, features])
        state.samples = joined[count * self.shift :]

    def finish(self, slot: int) -> None:
        """Ends the utterance: the next steps give the rest, the last of them with `done`."""
        self.states[slot].finishing = True

    def ready(self) -> list[int]:
        """Slots that a step would serve, those that waited longest first."""
        found = [slot for slot, s in self.states.items() if not s.ended and (s.finishing or self._next(s))]
        return sorted(found, key=lambda slot: self.states[slot].last_step)

    def _next(self, state: UtteranceState) -> int:
        """Encoder frames that the next step makes of an utterance."""
        available = subsampled(len(state.features))
        if self.chunk_size <= 0:
            return available if state.finishing else 0
        if available >= self.chunk_size:
            return self.chunk_size
        return available if state.finishing else 0

    @torch.inference_mode()
    def step(self, limit: int | None = None) -> dict[int, StreamOutput]:
        """Runs the next chunk of every ready slot, of at most `limit`. A slot stays taken until `close`."""
        slots = self.ready()[:limit]
        self.steps += 1
        if not slots:
            return {}
        chunks = [self._take_chunk(slot) for slot in slots]
        outputs = {}
        for chunk, encoded in zip(chunks, self.runner.run(chunks), strict=True):
            state = self.states[chunk.slot]
            state.last_step, state.ended = self.steps, chunk.last
            self._write(state, encoded.ids)
            outputs[chunk.slot] = StreamOutput(encoded.embeddings, single_spaced(state.text), chunk.last)
        return outputs

    def _take_chunk(self, slot: int) -> Chunk:
        state = self.states[slot]
        count = self._next(state)
        features = state.features[: reach(count)]
        state.features = state.features[count * SUBSAMPLING :].clone()
        last = state.finishing and subsampled(len(state.features)) == 0
        return Chunk(slot, features, count, last)

    def _write(self, state: UtteranceState, ids: list[int]) -> None:
        """Continues the transcript with the likeliest ids of new frames."""
        if ids:
            state.text += self.vocabulary.collapse(ids, state.last_id)
            state.last_id = ids[-1]
