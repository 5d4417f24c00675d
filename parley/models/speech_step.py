"""One step of streamed speech: the next chunk of several utterances → embeddings and letters, and the new state.

Notable points:
- `SpeechStep` is a function of tensors alone. With a fixed chunk size every shape is fixed but for the batch, so it can
  be exported and run by another engine (`parley.export`).
- `SlotSteps` keeps the states of utterances in memory, each in a slot, and runs `SpeechStep` over some of them.
- The state of an utterance has a fixed size: the keys and values that a chunk may attend to, the inputs that the causal
  convolutions reach back to, and the frames that the adapter has not used up.
- The last chunk leaves the state as it was: what the end of an utterance would give can be asked for at any place, and
  the utterance goes on.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parley.config import SpeechConfig
from parley.models.speech import (
    ADAPTER_STRIDE,
    MIN_MEL_FRAMES,
    SUBSAMPLING,
    BlockPast,
    CtcHead,
    SpeechAdapter,
    SpeechEncoder,
    subsampled,
)


class Chunk(NamedTuple):
    """What one utterance gives to a step."""

    slot: int
    features: Tensor  # [n, mel] on the CPU; n = `reach(count)`, or 0 where `count` is 0
    count: int  # encoder frames to make: a whole chunk, or fewer at the end
    last: bool  # silence follows, as at the end of the utterance; the slot's state stays as it was before
    tail: bool = False  # and the utterance goes on after it, from that state


class Encoded(NamedTuple):
    """What a step made of a chunk."""

    embeddings: Tensor  # [n, language] that the chunk completes
    ids: list[int]  # the likeliest of the CTC head for each frame; empty without one


class StepRunner(Protocol):
    """Runs steps and keeps the states of utterances, here or in a server. Used by one thread."""

    chunk_size: int  # encoder frames; below 1: utterances are encoded whole
    width: int  # of an embedding
    transcribes: bool  # whether there is a CTC head
    slot_bytes: int  # memory of an utterance's state in this process

    def open(self, slot: int) -> None:
        """An utterance begins in the slot, with a state of silence."""

    def close(self, slot: int) -> None:
        """It has ended, or is given up."""

    def run(self, chunks: Sequence[Chunk]) -> list[Encoded]:
        """One step. Raises what the engine's step may raise; then the utterances of the chunks must be closed."""


def reach(count: int) -> int:
    """Mel frames that `count` encoder frames are made of."""
    return (count - 1) * SUBSAMPLING + MIN_MEL_FRAMES if count else 0


def past_frames(config: SpeechConfig, chunk_size: int, left_chunks: int, max_seconds: float) -> int:
    """Frames of the past that a chunk may attend to; all that an utterance can have if `left_chunks` is below 0."""
    if chunk_size <= 0:
        return 0
    if left_chunks >= 0:
        return left_chunks * chunk_size
    most = subsampled(int(max_seconds * 1000 / config.frame_shift_ms))
    return -(-most // chunk_size) * chunk_size


@dataclass
class StepState:
    """Of a batch of utterances. A step replaces its content."""

    blocks: MutableSequence[BlockPast]  # the past of each block, filled from its end
    pending: Tensor  # [b, adapter kernel - 1, d]: the newest encoder frames
    frames: Tensor  # int64 [b]: encoder frames made so far


class StepOutput(NamedTuple):
    embeddings: Tensor  # [b, n, language]: of each utterance the first `lengths` count
    lengths: Tensor  # int64 [b]
    ids: Tensor | None  # int64 [b, chunk]: the likeliest of the CTC head; None without one


class SpeechStep(nn.Module):
    """Encoder, adapter and CTC head (or None), in inference mode. `past`: frames that a chunk may attend to."""

    def __init__(self, encoder: SpeechEncoder, adapter: SpeechAdapter, head: CtcHead | None, past: int):
        super().__init__()
        assert not encoder.training and not adapter.training
        self.encoder, self.adapter, self.head = encoder, adapter, head
        self.past = past
        self.kernel = adapter.conv.kernel_size[0]

    def forward(self, features: Tensor, counts: Tensor, last: Tensor, state: StepState) -> StepOutput:
        """Runs one chunk.

        Args:
            features: [b, reach(chunk), mel], padded on the right; [b, 0, mel] where every count is 0.
            counts: int64 [b], frames of the chunk that are speech.
            last: bool [b], whether the utterance ends: the adapter then sees silence after it.
        """
        frames = self._encode(features, counts, state) if features.shape[1] else state.pending[:, :0]
        ids = None if self.head is None else self.head(frames).argmax(-1)
        embeddings, lengths = self._adapt(frames, counts, last, state)
        state.frames = state.frames + counts
        return StepOutput(embeddings, lengths, ids)

    def _encode(self, features: Tensor, counts: Tensor, state: StepState) -> Tensor:
        """The encoder frames [b, chunk, d]; those from a count on are of padding."""
        x = self.encoder.subsample(features)
        new = torch.arange(x.shape[1], device=x.device)
        positions = state.frames[:, None] + new
        valid = torch.arange(self.past, device=x.device) >= self.past - state.frames[:, None]
        visible = torch.cat([valid, new < counts[:, None]], 1)[:, None, None]
        for i, block in enumerate(self.encoder.blocks):
            x, kept = block(x, positions, visible, state.blocks[i])
            newest = (tensor[:, :, tensor.shape[2] - self.past :] for tensor in kept[:3])
            state.blocks[i] = BlockPast(*newest, kept.conv)
        return self.encoder.norm(x)

    def _adapt(self, frames: Tensor, counts: Tensor, last: Tensor, state: StepState) -> tuple[Tensor, Tensor]:
        """The embeddings [b, n, language] that the frames complete, and how many they are."""
        joined = torch.cat([state.pending, frames], 1)
        held = state.frames - ADAPTER_STRIDE * self._complete(state.frames)  # of `pending`, not used up
        start = self.kernel - 1 - held
        window = torch.arange(joined.shape[1], device=frames.device) + start[:, None]
        embeddings, whole = self.adapter(_rows(joined, window.clamp(max=joined.shape[1] - 1)), held + counts)
        kept = torch.arange(self.kernel - 1, device=frames.device) + counts[:, None]
        state.pending = _rows(joined, kept)
        return embeddings, torch.where(last, whole, self._complete(held + counts))

    def _complete(self, frames: Tensor) -> Tensor:
        """How many embeddings that many frames make before the utterance ends."""
        return (frames - self.kernel + ADAPTER_STRIDE).clamp(min=0) // ADAPTER_STRIDE


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """`x` [b, t, d] at `index` [b, n] → [b, n, d]"""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


class SlotBlocks:
    """The past of every block for some slots, read and written a block at a time: a copy of all would be large.

    `slots`, `kept`: int64 [b], where each is read and where it is written.
    """

    def __init__(self, cache: BlockPast, slots: Tensor, kept: Tensor):
        self._cache, self._slots, self._kept = cache, slots, kept

    def __getitem__(self, i: int) -> BlockPast:
        return BlockPast(*(tensor[i, self._slots] for tensor in self._cache))

    def __setitem__(self, i: int, past: BlockPast) -> None:
        for tensor, new in zip(self._cache, past, strict=True):
            tensor[i, self._kept] = new


class SlotSteps:
    """The runner in this process, on the device of its modules.

    Args:
        encoder, adapter, head: in inference mode, on one device; `head` may be None.
        capacity: slots.
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
        config = encoder.config
        self.chunk_size = config.chunk_size if chunk_size is None else chunk_size
        left_chunks = config.left_chunks if left_chunks is None else left_chunks
        past = past_frames(config, self.chunk_size, left_chunks, max_seconds)
        self.network = SpeechStep(encoder, adapter, head, past)
        self.width = adapter.project.out_features
        self.transcribes = head is not None
        weight = encoder.embed.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.unused = capacity  # a slot more, which takes the states that are not kept
        self.cache = empty_past(config, past, (config.num_layers, capacity + 1), weight)
        self.pending = weight.new_zeros(capacity + 1, self.network.kernel - 1, config.hidden_size)
        self.frames = torch.zeros(capacity + 1, dtype=torch.int64, device=self.device)

    @property
    def slot_bytes(self) -> int:
        cached = sum(tensor[:, 0].numel() * tensor.element_size() for tensor in self.cache)
        return cached + self.pending[0].numel() * self.pending.element_size()

    def open(self, slot: int) -> None:
        self.cache.conv[:, slot] = 0.0  # silence before the first frame; keys and values are masked until filled
        self.pending[slot] = 0.0
        self.frames[slot] = 0

    def close(self, slot: int) -> None:
        """Nothing to free: the slot's memory is used again."""

    @torch.inference_mode()
    def run(self, chunks: Sequence[Chunk]) -> list[Encoded]:
        most = max(chunk.count for chunk in chunks)
        if self.chunk_size > 0 and most:
            most = self.chunk_size
        features = torch.stack([padded(chunk.features, reach(most)) for chunk in chunks])
        slots = torch.tensor([chunk.slot for chunk in chunks], device=self.device)
        kept = torch.tensor([self.unused if chunk.last else chunk.slot for chunk in chunks], device=self.device)
        counts = torch.tensor([chunk.count for chunk in chunks], device=self.device)
        last = torch.tensor([chunk.last for chunk in chunks], device=self.device)
        state = StepState(SlotBlocks(self.cache, slots, kept), self.pending[slots], self.frames[slots])
        output = self.network(features.to(self.device, self.dtype), counts, last, state)
        self.pending[kept], self.frames[kept] = state.pending, state.frames
        return unpacked(output, [chunk.count for chunk in chunks])


def empty_past(config: SpeechConfig, past: int, leading: tuple[int, ...], like: Tensor) -> BlockPast:
    """Zeros, each tensor with the leading dimensions, of the dtype and device of `like`."""
    heads, size = config.num_heads, config.hidden_size
    return BlockPast(
        key=like.new_zeros(*leading, heads, past, size // heads),
        value=like.new_zeros(*leading, heads, past, size // heads),
        bias=like.new_zeros(*leading, heads, past),
        conv=like.new_zeros(*leading, max(config.conv_kernel - 1, 0), size),
    )


def padded(features: Tensor, length: int) -> Tensor:
    """[n, mel] → [length, mel], zeros at the end."""
    return F.pad(features, (0, 0, 0, length - len(features)))


def unpacked(output: StepOutput, counts: Sequence[int]) -> list[Encoded]:
    """A step's output by utterance."""
    lengths = output.lengths.tolist()
    ids = [[]] * len(lengths) if output.ids is None else output.ids.tolist()
    return [
        Encoded(embeddings[:length], letters[:count])
        for embeddings, length, letters, count in zip(output.embeddings, lengths, ids, counts, strict=True)
    ]
