"""Which engine computes the answers of an LLM core."""

from __future__ import annotations

from importlib.util import find_spec

from services.engine.device import device_kind
from services.engine.settings import AUTO
from services.llm_core.settings import LlmCoreSettings


def choose_backend(settings: LlmCoreSettings) -> str:
    """`torch` or `vllm`. Raises `ValueError` where vLLM is asked for and not installed."""
    installed = find_spec("vllm") is not None
    if settings.backend == "vllm" and not installed:
        raise ValueError("vLLM is not installed (docs/engines.md says how); or set backend=torch")
    if settings.backend == AUTO:
        return "vllm" if installed and device_kind(settings.device) == "cuda" else "torch"
    return settings.backend
