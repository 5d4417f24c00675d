"""Streaming speech encoder: many live utterances in one batch, embeddings out chunk by chunk.

Notable points:
- Each utterance has a slot. A step runs the next chunk of every utterance that has one; utterances begin and end
  between any two steps.
- The output is the same as of the whole utterance under the same chunk mask: the filter bank, both convolutions, the
  attention, the causal convolution and the adapter each keep exactly the past they can reach.
- The state of an utterance has a fixed size: it depends on the chunk size and on how many past chunks are attended to,
  not on the length of the utterance.
- A model without chunks (chunk_size -1) encodes an utterance whole: mel frames are collected, up to `max_seconds`, and
  encoded in the step after `finish`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from parley.models.speech import (
    MIN_MEL_FRAMES,
    SUBSAMPLING,
    BlockPast,
    CtcHead,
    SpeechAdapter,
    SpeechEncoder,
    fbank,
    subsampled,
)
from parley.text.ctc import single_spaced


class StreamOutput(NamedTuple):
    """What a step made for one utterance."""

    embeddings: Tensor  # [n, language], new ones only
    transcript: str  # of the utterance so far; "" without a CTC head
    done: bool  # the utterance was finished, and this is its last output


@dataclass
class UtteranceState:
    """The small, ragged part of an utterance's state; keys, values and convolution inputs are in the batch's cache."""

    features: Tensor  # [n, mel]: frames from 4 × `frames` on
    pending: Tensor  # [n, d]: encoder frames that the adapter still needs
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # too few for a next mel frame
    num_samples: int = 0  # in all
    frames: int = 0  # encoder frames made
    text: str = ""
    last_id: int = 0  # of the CTC head, for repeats across chunks
    finishing: bool = False
    ended: bool = False  # the last output was given
    last_step: int = 0  # that served it: the utterance that waited longest is served first


class SpeechStream:
    """Up to `capacity` utterances, each in a slot.

    Args:
        encoder, adapter, head: in inference mode, on one device; `head` may be None.
        chunk_size, left_chunks: encoder frames and chunks; None means the config's.
        max_seconds: of one utterance.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        adapter: SpeechAdapter,
        head: CtcHead | None = None,
        *,
        capacity: int = 8,
        chunk_size: int | None = None,
        left_chunks: int | None = None,
        max_seconds: float = 60.0,
    ):
        assert not encoder.training and not adapter.training
        self.encoder, self.adapter, self.head = encoder, adapter, head
        config = self.config = encoder.config
        self.chunk_size = config.chunk_size if chunk_size is None else chunk_size
        left_chunks = config.left_chunks if left_chunks is None else left_chunks
        self.max_samples = int(max_seconds * config.sample_rate)
        self.window = round(config.frame_length_ms * config.sample_rate / 1000)  # samples
        self.shift = round(config.frame_shift_ms * config.sample_rate / 1000)
        if self.chunk_size <= 0:
            past = 0
        elif left_chunks < 0:  # all of the past: as much as an utterance can have
            most = subsampled(self.max_samples // self.shift)
            past = -(-most // self.chunk_size) * self.chunk_size
        else:
            past = left_chunks * self.chunk_size
        self.past = past  # frames of the past that are kept
        weight = encoder.embed.weight
        self.device, self.dtype = weight.device, weight.dtype
        layers, heads, size = config.num_layers, config.num_heads, config.hidden_size
        reach = max(config.conv_kernel - 1, 0)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(layers, capacity, *shape, device=self.device, dtype=self.dtype)

        self.cache = BlockPast(
            key=zeros(heads, past, size // heads),
            value=zeros(heads, past, size // heads),
            bias=zeros(heads, past),
            conv=zeros(reach, size),
        )
        self.states: dict[int, UtteranceState] = {}  # by slot
        self.free_slots = list(range(capacity - 1, -1, -1))
        self.steps = 0

    @property
    def chunk_seconds(self) -> float:
        """Audio of a chunk; 0 for a model that encodes whole utterances."""
        return max(self.chunk_size, 0) * SUBSAMPLING * self.config.frame_shift_ms / 1000

    @property
    def slot_bytes(self) -> int:
        """Memory of a slot in the cache."""
        return sum(tensor[:, 0].numel() * tensor.element_size() for tensor in self.cache)

    def open(self) -> int:
        """Begins an utterance in a free slot. Raises `ValueError` when there is none."""
        if not self.free_slots:
            raise ValueError(f"all {len(self.states)} slots are taken; close one first")
        slot = self.free_slots.pop()
        empty = torch.zeros(0, self.config.num_mel_bins)
        pending = torch.zeros(0, self.config.hidden_size, device=self.device, dtype=self.dtype)
        self.states[slot] = UtteranceState(empty, pending, last_step=self.steps)
        self.cache.conv[:, slot] = 0.0  # silence before the first frame; the rest is masked until it is filled
        return slot

    def close(self, slot: int) -> None:
        """Frees the slot, at the end of the utterance or before."""
        del self.states[slot]
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
        counts = [self._next(self.states[slot]) for slot in slots]
        self._encode([slot for slot, n in zip(slots, counts, strict=True) if n], [n for n in counts if n])
        for slot in slots:
            state = self.states[slot]
            state.last_step = self.steps
            state.ended = state.finishing and subsampled(len(state.features)) == 0
        return {slot: self._output(slot, embeddings) for slot, embeddings in self._adapt(slots).items()}

    def _output(self, slot: int, embeddings: Tensor) -> StreamOutput:
        state = self.states[slot]
        return StreamOutput(embeddings, single_spaced(state.text), state.ended)

    def _encode(self, slots: list[int], counts: list[int]) -> None:
        """Makes `counts[i]` new frames of `slots[i]` and appends them to the frames pending for the adapter."""
        if not slots:
            return
        states = [self.states[slot] for slot in slots]
        most = self.chunk_size if self.chunk_size > 0 else max(counts)
        reach = (most - 1) * SUBSAMPLING + MIN_MEL_FRAMES
        features = torch.stack([F.pad(s.features[:reach], (0, 0, 0, max(0, reach - len(s.features)))) for s in states])
        x = self.encoder.subsample(features.to(self.device, self.dtype))

        index = torch.tensor(slots, device=self.device)
        made = torch.tensor([s.frames for s in states], device=self.device)[:, None]
        new = torch.tensor(counts, device=self.device)[:, None]
        positions = made + torch.arange(most, device=self.device)
        # The cache is filled from its end: its last `made` positions are valid.
        valid = torch.arange(self.past, device=self.device) >= self.past - made
        visible = torch.cat([valid, torch.arange(most, device=self.device) < new], 1)[:, None, None]
        for i, block in enumerate(self.encoder.blocks):
            x, kept = block(x, positions, visible, BlockPast(*(tensor[i, index] for tensor in self.cache)))
            self.cache.key[i, index] = kept.key[:, :, kept.key.shape[2] - self.past :]
            self.cache.value[i, index] = kept.value[:, :, kept.value.shape[2] - self.past :]
            self.cache.bias[i, index] = kept.bias[:, :, kept.bias.shape[2] - self.past :]
            self.cache.conv[i, index] = kept.conv
        x = self.encoder.norm(x)
        best = None if self.head is None else self.head(x).argmax(-1).tolist()
        for i, (state, count) in enumerate(zip(states, counts, strict=True)):
            state.pending = torch.cat([state.pending, x[i, :count]])
            state.frames += count
            state.features = state.features[count * SUBSAMPLING :].clone()
            if best is not None:
                state.text += self.head.vocabulary.collapse(best[i][:count], state.last_id)
                state.last_id = best[i][count - 1]

    def _adapt(self, slots: list[int]) -> dict[int, Tensor]:
        """The embeddings that the pending frames of `slots` complete, at an end with the adapter's right padding."""
        width = self.adapter.project.out_features
        embeddings = {slot: torch.zeros(0, width, device=self.device, dtype=self.dtype) for slot in slots}
        counts = {slot: count for slot in slots if (count := self._complete(self.states[slot]))}
        if not counts:
            return embeddings
        pending = [self.states[slot].pending for slot in counts]
        lengths = torch.tensor([len(frames) for frames in pending], device=self.device)
        adapted, _ = self.adapter(pad_sequence(pending, batch_first=True), lengths)
        for i, (slot, count) in enumerate(counts.items()):
            embeddings[slot] = adapted[i, :count]
            self.states[slot].pending = pending[i][2 * count :].clone()
        return embeddings

    def _complete(self, state: UtteranceState) -> int:
        """How many embeddings the pending frames make."""
        pending, kernel = len(state.pending), self.adapter.conv.kernel_size[0]
        return (pending + 1) // 2 if state.ended else max(0, (pending - kernel) // 2 + 1)
