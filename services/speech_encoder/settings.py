"""What the speech encoder can be told through the environment: PARLEY_SPEECH_ENCODER_<NAME>."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.engine.settings import ServiceSettings


class SpeechEncoderSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_SPEECH_ENCODER_", extra="ignore")

    max_sessions: int = Field(32, ge=1, description="Utterances heard at once; more get RESOURCE_EXHAUSTED")
    max_batch: int = Field(16, ge=1, description="Utterances in one engine step")
    max_seconds: float = Field(60.0, gt=0, description="Seconds of one utterance; more get RESOURCE_EXHAUSTED")
    max_message_bytes: int = Field(1 << 20, ge=2, description="Bytes of audio in one message")
    chunk_size: int = Field(0, description="Encoder frames (40 ms) encoded at a time; 0: as the model's config says")
    left_chunks: int = Field(-2, description="Chunks of the past that a chunk sees; -2: as the model's config says")
