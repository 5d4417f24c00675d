"""What the LLM core can be told through the environment: PARLEY_LLM_CORE_<NAME>."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.engine.settings import ServiceSettings


class LlmCoreSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_LLM_CORE_", extra="ignore")

    idle_seconds: float = Field(
        200.0, gt=0, description="Silence after which a stream is ended: more than a turn, which a slow client may hold"
    )
    max_sessions: int = Field(16, ge=1, description="Turns that hold a row of the KV cache at once")
    max_queued: int = Field(32, ge=0, description="Turns that may wait for a row; more get RESOURCE_EXHAUSTED")
    max_length: int = Field(0, ge=0, description="Tokens of prompt and answer together; 0: the model's context")
    max_tokens: int = Field(256, ge=1, description="Tokens of an answer where the request says 0, and at most")
    prefill_tokens: int = Field(256, ge=1, description="Prompt tokens computed in one step, so that answers go on")
    prefill_wait_ms: float = Field(
        3.0, ge=0, description="How long a piece of a question that goes on waits for the next, to be computed with it"
    )
    kv_memory_mb: int = Field(512, ge=1, description="MiB for the KV cache: live rows and what idle sessions keep")
    max_unread: int = Field(64, ge=2, description="Answer messages a client may leave unread before its row pauses")
