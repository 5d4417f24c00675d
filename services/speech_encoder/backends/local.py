"""The step in this process, on one device; the state of each utterance is in a slot beside it."""

from __future__ import annotations

from parley.models.parley import Parley
from parley.models.speech_step import SlotSteps
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
