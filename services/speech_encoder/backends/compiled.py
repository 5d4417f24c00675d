"""The step in this process, compiled; the state of each utterance is in a slot beside it, as the network takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from parley.config import ParleyConfig
from parley.export.signature import Signature
from parley.models.speech_step import Chunk, Encoded, StepOutput, padded, reach, unpacked

DTYPES = {"float32": torch.float32, "int64": torch.int64}  # of states


class CompiledBackend:
    """`network`: a compiled form of `SpeechNetwork`. `signature`: of its in- and outputs."""

    alive = True

    def __init__(self, network: Callable, signature: Signature, config: ParleyConfig, capacity: int):
        self._network = network
        self._states = [torch.zeros(capacity, *each.shape, dtype=DTYPES[each.dtype]) for each in signature.states]
        self.chunk_size, self.width = int(signature.choices["chunk_size"]), config.language.hidden_size
        self.transcribes = any(each.name == "ids" for each in signature.outputs)
        self.slot_bytes = signature.state_bytes

    def open(self, slot: int) -> None:
        for state in self._states:
            state[slot] = 0

    def close(self, slot: int) -> None:
        """Nothing to free: the slot's memory is used again."""

    @torch.inference_mode()
    def run(self, chunks: Sequence[Chunk]) -> list[Encoded]:
        features = torch.stack([padded(chunk.features, reach(self.chunk_size)) for chunk in chunks])
        slots = torch.tensor([chunk.slot for chunk in chunks])
        counts = torch.tensor([[chunk.count] for chunk in chunks])
        last = torch.tensor([[chunk.last] for chunk in chunks])
        embeddings, lengths, *rest = self._network(features, counts, last, *(state[slots] for state in self._states))
        ids: Tensor | None = rest.pop(0) if self.transcribes else None
        for state, new in zip(self._states, rest, strict=True):
            state[slots] = new  # where `last` is set it is the old one
        return unpacked(StepOutput(embeddings, lengths.squeeze(1), ids), [chunk.count for chunk in chunks])

    def shut_down(self) -> None:
        """Nothing outlives the engine."""
