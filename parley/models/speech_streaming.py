"""Many live utterances in one batch: speech goes in as it is spoken, finished vectors come out chunk by chunk.

Notable points:
- One row a session. Rows are at different places in their utterances; a step runs the next chunk of every row that
  has one, and rows come, go and start anew on their own.
- Same output as the whole utterance under the same chunk mask: the filter bank, both convolutions, the attention, the
  causal convolution and the adapter each keep exactly the past they can reach.
- The state of a row has a fixed size, set by the chunk and how many of the past it sees; never by how long one speaks.
- A model without chunks (chunk_size -1) hears its utterance whole: rows collect mel frames, up to `max_seconds`, and
  all happens in the step after `finish`.
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
    """What a step finished of one row."""

    vectors: Tensor  # [n, language], new ones only
    transcript: str  # all that was heard so far; "" without a CTC head
    done: bool  # the row was finished, and this is its last output


@dataclass
class Row:
    """The small, ragged part of a row's state; keys, values and convolution inputs lie in the batch's own tensors."""

    features: Tensor  # [n, mel]: frames from 4 × `frames` on
    waiting: Tensor  # [n, d]: encoder frames that the adapter still needs
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # too few for a next mel frame
    heard: int = 0  # samples in all
    frames: int = 0  # encoder frames made
    text: str = ""
    last_id: int = 0  # of the CTC head, for repeats across chunks
    finishing: bool = False
    ended: bool = False  # the last output was given
    turn: int = 0  # of the step that served it last: who waited longest goes first


class SpeechStream:
    """Up to `capacity` rows.

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
        self.past = past  # frames that a row remembers
        weight = encoder.embed.weight
        self.device, self.dtype = weight.device, weight.dtype
        layers, heads, size = config.num_layers, config.num_heads, config.hidden_size
        reach = max(config.conv_kernel - 1, 0)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(layers, capacity, *shape, device=self.device, dtype=self.dtype)

        self.memory = BlockPast(
            key=zeros(heads, past, size // heads),
            value=zeros(heads, past, size // heads),
            bias=zeros(heads, past),
            conv=zeros(reach, size),
        )
        self.rows: dict[int, Row] = {}
        self.free = list(range(capacity - 1, -1, -1))
        self.steps = 0

    @property
    def row_bytes(self) -> int:
        """Memory that a row holds in the batch's tensors."""
        return sum(tensor[:, 0].numel() * tensor.element_size() for tensor in self.memory)

    def open(self) -> int:
        """Takes a free row. Raises `ValueError` when there is none."""
        if not self.free:
            raise ValueError(f"all {len(self.rows)} rows are taken; close one first")
        row = self.free.pop()
        self.reset(row)
        return row

    def reset(self, row: int) -> None:
        """Forgets what the row heard; it stays taken."""
        empty = torch.zeros(0, self.config.num_mel_bins)
        waiting = torch.zeros(0, self.config.hidden_size, device=self.device, dtype=self.dtype)
        self.rows[row] = Row(empty, waiting, turn=self.steps)
        self.memory.conv[:, row] = 0.0  # silence before the first frame; the rest is masked until it is filled

    def close(self, row: int) -> None:
        """Gives the row back."""
        del self.rows[row]
        self.free.append(row)

    def feed(self, row: int, samples: np.ndarray) -> None:
        """float32 [samples] in [-1, 1] that follow what was fed before. Raises `ValueError` beyond `max_seconds`."""
        state = self.rows[row]
        assert not state.finishing
        state.heard += len(samples)
        if state.heard > self.max_samples:
            seconds = self.max_samples / self.config.sample_rate
            raise ValueError(f"the utterance is longer than {seconds:g} s")
        joined = np.concatenate([state.samples, samples])
        count = max(0, (len(joined) - self.window) // self.shift + 1)
        if count:
            features = fbank(joined[: (count - 1) * self.shift + self.window], self.config)
            state.features = torch.cat([state.features, features])
        state.samples = joined[count * self.shift :]

    def finish(self, row: int) -> None:
        """The utterance is over: the next steps give the rest, the last of them with `done`."""
        self.rows[row].finishing = True

    def ready(self) -> list[int]:
        """Rows that a step would serve, those that waited longest first."""
        found = [row for row, state in self.rows.items() if not state.ended and (state.finishing or self._next(state))]
        return sorted(found, key=lambda row: self.rows[row].turn)

    def _next(self, state: Row) -> int:
        """Encoder frames that the row's next step makes."""
        available = subsampled(len(state.features))
        if self.chunk_size <= 0:
            return available if state.finishing else 0
        if available >= self.chunk_size:
            return self.chunk_size
        return available if state.finishing else 0

    @torch.inference_mode()
    def step(self, limit: int | None = None) -> dict[int, StreamOutput]:
        """Runs the next chunk of every ready row, of at most `limit`. Rows that are done stay taken until `close`."""
        rows = self.ready()[:limit]
        self.steps += 1
        counts = [self._next(self.rows[row]) for row in rows]
        self._encode([row for row, n in zip(rows, counts, strict=True) if n], [n for n in counts if n])
        for row in rows:
            state = self.rows[row]
            state.turn = self.steps
            state.ended = state.finishing and subsampled(len(state.features)) == 0
        vectors = self._adapt(rows)
        return {
            row: StreamOutput(vectors[row], single_spaced(self.rows[row].text), self.rows[row].ended) for row in rows
        }

    def _encode(self, rows: list[int], counts: list[int]) -> None:
        """Makes `counts[i]` new frames of `rows[i]` and appends them to what waits for the adapter."""
        if not rows:
            return
        states = [self.rows[row] for row in rows]
        most = self.chunk_size if self.chunk_size > 0 else max(counts)
        reach = (most - 1) * SUBSAMPLING + MIN_MEL_FRAMES
        features = torch.stack([F.pad(s.features[:reach], (0, 0, 0, max(0, reach - len(s.features)))) for s in states])
        x = self.encoder.subsample(features.to(self.device, self.dtype))

        index = torch.tensor(rows, device=self.device)
        made = torch.tensor([s.frames for s in states], device=self.device)[:, None]
        new = torch.tensor(counts, device=self.device)[:, None]
        positions = made + torch.arange(most, device=self.device)
        # The memory is filled from its end: its last `made` places are real.
        remembered = torch.arange(self.past, device=self.device) >= self.past - made
        visible = torch.cat([remembered, torch.arange(most, device=self.device) < new], 1)[:, None, None]
        for i, block in enumerate(self.encoder.blocks):
            x, kept = block(x, positions, visible, BlockPast(*(tensor[i, index] for tensor in self.memory)))
            self.memory.key[i, index] = kept.key[:, :, kept.key.shape[2] - self.past :]
            self.memory.value[i, index] = kept.value[:, :, kept.value.shape[2] - self.past :]
            self.memory.bias[i, index] = kept.bias[:, :, kept.bias.shape[2] - self.past :]
            self.memory.conv[i, index] = kept.conv
        x = self.encoder.norm(x)
        best = None if self.head is None else self.head(x).argmax(-1).tolist()
        for i, (state, count) in enumerate(zip(states, counts, strict=True)):
            state.waiting = torch.cat([state.waiting, x[i, :count]])
            state.frames += count
            state.features = state.features[count * SUBSAMPLING :].clone()
            if best is not None:
                state.text += self.head.vocabulary.collapse(best[i][:count], state.last_id)
                state.last_id = best[i][count - 1]

    def _adapt(self, rows: list[int]) -> dict[int, Tensor]:
        """The vectors that the waiting frames of `rows` complete; at an end the adapter's right padding does."""
        kernel = self.adapter.conv.kernel_size[0]
        counts = {}
        for row in rows:
            waiting, ended = len(self.rows[row].waiting), self.rows[row].ended
            counts[row] = (waiting + 1) // 2 if ended else max(0, (waiting - kernel) // 2 + 1)
        width = self.adapter.project.out_features
        vectors = {row: torch.zeros(0, width, device=self.device, dtype=self.dtype) for row in rows}
        some = [row for row in rows if counts[row]]
        if not some:
            return vectors
        frames = pad_sequence([self.rows[row].waiting for row in some], batch_first=True)
        lengths = torch.tensor([len(self.rows[row].waiting) for row in some], device=self.device)
        made, _ = self.adapter(frames, lengths)
        for i, row in enumerate(some):
            vectors[row] = made[i, : counts[row]]
            self.rows[row].waiting = self.rows[row].waiting[2 * counts[row] :].clone()
        return vectors
