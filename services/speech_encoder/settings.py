"""Settings of the speech encoder, read from the environment: PARLEY_SPEECH_ENCODER_<NAME>."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.engine.backend_settings import BackendSettings
from services.engine.settings import AUTO, AutoInt


class SpeechEncoderSettings(BackendSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_SPEECH_ENCODER_", extra="ignore")
    DEVICE_DEFAULTS: ClassVar = {
        "cpu": {"max_utterances": 32, "max_batch": 16},
        "cuda": {"max_utterances": 64, "max_batch": 64},
    }

    max_utterances: AutoInt = Field(
        AUTO, description="Live utterances; more get RESOURCE_EXHAUSTED; auto: 32 on a CPU, 64 on a GPU"
    )
    max_batch: AutoInt = Field(AUTO, description="Utterances in one engine step; auto: 16 on a CPU, 64 on a GPU")
    max_seconds: float = Field(60.0, gt=0, description="Seconds of one utterance; more get RESOURCE_EXHAUSTED")
    max_message_bytes: int = Field(1 << 20, ge=2, description="Bytes of audio in one message")
    chunk_size: int = Field(0, description="Encoder frames (40 ms) encoded at a time; 0: as the model's config says")
    left_chunks: int = Field(-2, description="Earlier chunks that a chunk attends to; -2: as the model's config says")

    @property
    def chunks(self) -> dict[str, int | None]:
        """`chunk_size` and `left_chunks`; None: as the model's config says."""
        return {
            "chunk_size": self.chunk_size or None,
            "left_chunks": None if self.left_chunks == -2 else self.left_chunks,
        }
