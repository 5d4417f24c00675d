"""The step in this process, on one device; the state of each utterance is in a slot beside it."""

from __future__ import annotations

from parley.export.graph import speech_step_graph
from parley.export.signature import SpeechChunks, speech_signature
from parley.models.parley import Parley
from parley.models.speech_step import SlotSteps
from services.engine.compiled import compiled
from services.speech_encoder.backends import Backend
from services.speech_encoder.backends.compiled import CompiledBackend
from services.speech_encoder.settings import SpeechEncoderSettings


class LocalBackend(SlotSteps):
    alive = True

    def __init__(self, model: Parley, settings: SpeechEncoderSettings):
        """`model`: its speech parts, in inference mode."""
        super().__init__(
            model.speech_encoder,
            model.speech_adapter,
            model.ctc_head,
            capacity=settings.max_utterances,
            **settings.chunks,
            max_seconds=settings.max_seconds,
        )

    def shut_down(self) -> None:
        """Nothing outlives the engine."""


def local_backend(model: Parley, settings: SpeechEncoderSettings) -> Backend:
    """In torch, or compiled where the settings want it. Raises `ValueError` where it must be compiled and cannot be.

    `model`: its speech parts, in inference mode.
    """
    in_torch = LocalBackend(model, settings)
    if in_torch.chunk_size <= 0 and settings.runtime != "onnxruntime":
        return in_torch
    chunks = SpeechChunks.chosen(model.config.speech, **settings.chunks, max_seconds=settings.max_seconds)
    network = compiled(speech_step_graph(model, chunks), settings)
    if network is None:
        return in_torch
    signature = speech_signature(model.config, "", chunks, transcribes=in_torch.transcribes)
    return CompiledBackend(network, signature, model.config, settings.max_utterances)
