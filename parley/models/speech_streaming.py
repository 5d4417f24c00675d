"""Streaming speech encoder: many live utterances in one batch, embeddings out chunk by chunk.

Notable points:
- Each utterance has a slot. A step runs the next chunk of every utterance that has one; utterances begin and end
  between any two steps.
- The output is the same as of the whole utterance under the same chunk mask: both convolutions, the attention, the
  causal convolution and the adapter each keep exactly the past they can reach (as does `MelFrames`, which is before).
- The networks and what they keep of the past are the runner's (`speech_step`), which may be a server; here are the
  mel frames that are too few for a chunk, and the transcript.
- A model without chunks (chunk_size -1) encodes an utterance whole: mel frames are collected, up to `max_seconds`, and
  encoded in the step after `finish`.
- At a pause the speech may be over: a step gives the tail, which is what `finish` would give in its place, and the
  utterance goes on as if there had been none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from parley.config import SpeechConfig
from parley.models.speech import SUBSAMPLING, subsampled
from parley.models.speech_step import Chunk, StepRunner, reach
from parley.text.ctc import CtcVocabulary, single_spaced


class StreamOutput(NamedTuple):
    """What a step made for one utterance."""

    embeddings: Tensor  # [n, language], new ones only
    transcript: str  # of the utterance so far; "" without a CTC head
    done: bool  # the utterance was finished, and this is its last output
    tail: bool = False  # it answers `pause`: the next outputs go on as if this one had not been


@dataclass
class UtteranceState:
    """The small, ragged part of an utterance's state; the rest is the runner's."""

    features: Tensor  # [n, mel]: frames of which no encoder frame was made yet
    num_features: int = 0  # in all
    text: str = ""
    last_id: int = 0  # of the CTC head, for repeats across chunks
    pause: int | None = None  # of `features`, those before a pause whose tail is due
    finishing: bool = False
    ended: bool = False  # the last output was given
    last_step: int = 0  # that served it: the utterance that waited longest is served first

    @property
    def ending(self) -> bool:
        """Whether what is too little for a chunk is to be computed."""
        return self.finishing or self.pause is not None

    @property
    def available(self) -> int:
        """Encoder frames that can be made now: those up to a pause come before its tail, later ones after it."""
        return subsampled(len(self.features) if self.pause is None else self.pause)


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
        self.max_features = int(max_seconds * 1000 / config.frame_shift_ms)
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

    def feed(self, slot: int, features: Tensor) -> None:
        """Mel frames [n, mel] that follow those fed before. Raises `ValueError` beyond `max_seconds`."""
        state = self.states[slot]
        assert not state.finishing
        state.num_features += len(features)
        if state.num_features > self.max_features:
            seconds = self.max_features * self.config.frame_shift_ms / 1000
            raise ValueError(f"the utterance is longer than {seconds:g} s")
        state.features = torch.cat([state.features, features])

    def pause(self, slot: int) -> None:
        """The utterance may be over here: a step gives what `finish` would give now, behind the chunks before it.

        It takes the place of a pause whose tail is still due.
        """
        state = self.states[slot]
        assert not state.finishing
        state.pause = len(state.features)

    def finish(self, slot: int) -> None:
        """Ends the utterance: the next steps give the rest, the last of them with `done`. A pause is no longer due."""
        state = self.states[slot]
        state.finishing, state.pause = True, None

    def ready(self) -> list[int]:
        """Slots that a step would serve, those that waited longest first."""
        found = [slot for slot, s in self.states.items() if not s.ended and (s.ending or self._next(s))]
        return sorted(found, key=lambda slot: self.states[slot].last_step)

    def _next(self, state: UtteranceState) -> int:
        """Encoder frames that the next step makes of an utterance."""
        if self._has_chunk(state):
            return self.chunk_size
        return state.available if state.ending else 0

    def _has_chunk(self, state: UtteranceState) -> bool:
        return 0 < self.chunk_size <= state.available

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
            state.last_step, state.ended = self.steps, chunk.last and not chunk.tail
            text = state.text + self._letters(encoded.ids, state.last_id)
            if not chunk.tail:
                state.text, state.last_id = text, [state.last_id, *encoded.ids][-1]
            outputs[chunk.slot] = StreamOutput(encoded.embeddings, single_spaced(text), state.ended, chunk.tail)
        return outputs

    def _take_chunk(self, slot: int) -> Chunk:
        state = self.states[slot]
        count, tail = self._next(state), state.pause is not None and not self._has_chunk(state)
        features = state.features[: reach(count)]
        if tail:
            state.pause = None
            return Chunk(slot, features, count, last=True, tail=True)
        if state.pause is not None:
            state.pause -= count * SUBSAMPLING
        state.features = state.features[count * SUBSAMPLING :].clone()
        return Chunk(slot, features, count, last=state.finishing and not state.available)

    def _letters(self, ids: list[int], previous: int) -> str:
        """What the likeliest ids of new frames add to a transcript."""
        return self.vocabulary.collapse(ids, previous) if ids else ""
