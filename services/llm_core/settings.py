"""Settings of the LLM core, read from the environment: PARLEY_LLM_CORE_<NAME>. `auto`: see `limits.py`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.engine.settings import AUTO, AutoInt, ServiceSettings

SERVICE = "llm_core"


class LlmCoreSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_LLM_CORE_", extra="ignore")

    backend: Literal["auto", "torch", "vllm"] = Field(
        AUTO, description="What computes the answers; auto: vLLM where it is installed and the device is a GPU"
    )
    vllm_arguments: dict[str, Any] = Field(
        {}, description="Arguments of vLLM's engine as a JSON object, as tensor_parallel_size or quantization"
    )
    idle_seconds: float = Field(
        200.0, gt=0, description="Silence after which a stream is ended: more than a turn, which a slow client may hold"
    )
    num_slots: AutoInt = Field(AUTO, description="Slots of the KV cache: requests that compute at once")
    max_queued: int = Field(32, ge=0, description="Requests that may wait for a slot; more get RESOURCE_EXHAUSTED")
    max_length: AutoInt = Field(AUTO, description="Tokens of a prompt and its answer, at most the model's context")
    max_tokens: int = Field(256, ge=1, description="Most tokens of an answer; also used where the request gives 0")
    prefill_tokens: AutoInt = Field(AUTO, description="Prompt tokens computed in one step beside running answers")
    prefill_wait_ms: float = Field(
        3.0, ge=0, description="How long a part of a message that goes on waits for the next, to be computed with it"
    )
    kv_memory_mb: AutoInt = Field(AUTO, description="MiB of KV cache: the slots, and what idle sessions keep")
    encoder_cache_mb: AutoInt = Field(AUTO, description="MiB of host memory for embeddings of earlier messages")
    max_unread: int = Field(64, ge=2, description="Events a client may leave unread before its sequence pauses")

    @classmethod
    def settings_customise_sources(cls, *sources: Any, **named: Any) -> tuple:
        """PARLEY_BACKEND is that of the encoders, which the LLM core does not share."""
        initial, own, shared = super().settings_customise_sources(*sources, **named)
        return initial, own, lambda: {name: value for name, value in shared().items() if name != "backend"}
