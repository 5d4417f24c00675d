"""The step in a Triton server, which also keeps the state of each utterance, by sequence id.

An utterance is a sequence of calls, one a chunk. Its id is random, so that replicas of the service may share a server.
The model keeps the state where a call has `last` (`parley.export`), so a tail is a call that does not end the sequence.
The utterances of a step are sent at once; the server puts them into one batch.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from parley.config import ParleyConfig, SpeechConfig
from parley.export.signature import SpeechChunks
from parley.models.speech_step import Chunk, Encoded, padded, reach
from services.engine.triton import Call, TritonModel
from services.speech_encoder.settings import SpeechEncoderSettings


@dataclass
class Utterance:
    """One in the server."""

    sequence: int = field(default_factory=lambda: secrets.randbits(63) or 1)  # 0 means no sequence
    begun: bool = False  # the server has, or had, a state of it
    ended: bool = False  # and has dropped it


def choices(config: SpeechConfig, settings: SpeechEncoderSettings) -> dict[str, str]:
    """How the model must cut utterances. Raises `ValueError` for a service that encodes them whole."""
    return SpeechChunks.chosen(config, **settings.chunks, max_seconds=settings.max_seconds).choices(config)


class TritonBackend:
    slot_bytes = 0  # of this process

    def __init__(self, model: TritonModel, config: ParleyConfig, transcribes: bool):
        self._model = model
        self.chunk_size, self.width = int(model.parameters["chunk_size"]), config.language.hidden_size
        self.transcribes = transcribes
        self._none = torch.zeros(0, config.speech.num_mel_bins)
        self._utterances: dict[int, Utterance] = {}  # by slot

    @property
    def alive(self) -> bool:
        return self._model.alive

    def open(self, slot: int) -> None:
        self._utterances[slot] = Utterance()

    def close(self, slot: int) -> None:
        """Lets the server drop the state of an utterance that is given up."""
        utterance = self._utterances.pop(slot)
        if utterance.begun and not utterance.ended:
            self._model.post(self._call(utterance, Chunk(slot, self._none, count=0, last=True)))

    def run(self, chunks: Sequence[Chunk]) -> list[Encoded]:
        outputs = self._model.infer([self._call(self._utterances[chunk.slot], chunk) for chunk in chunks])
        return [_encoded(output, chunk.count) for output, chunk in zip(outputs, chunks, strict=True)]

    def _call(self, utterance: Utterance, chunk: Chunk) -> Call:
        inputs = {
            "features": padded(chunk.features, reach(self.chunk_size))[None].numpy(),
            "counts": np.array([[chunk.count]], np.int64),
            "last": np.array([[chunk.last]], np.bool_),
        }
        end = chunk.last and not chunk.tail
        call = Call(inputs, utterance.sequence, start=not utterance.begun, end=end)
        utterance.begun, utterance.ended = True, end
        return call

    def shut_down(self) -> None:
        self._model.close()


def _encoded(output: Mapping[str, np.ndarray], count: int) -> Encoded:
    length = int(output["lengths"].item())
    ids = output["ids"][0, :count].tolist() if "ids" in output else []
    return Encoded(torch.from_numpy(output["embeddings"][0, :length].copy()), ids)
