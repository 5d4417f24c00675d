"""Which engine computes, from what is asked for, installed and there."""

import pytest

from services.llm_core import backends
from services.llm_core.backends import choose_backend
from services.llm_core.settings import LlmCoreSettings


@pytest.mark.parametrize(
    ("wanted", "device", "installed", "chosen"),
    [
        ("auto", "cpu", True, "torch"),
        ("auto", "cuda:0", True, "vllm"),
        ("auto", "cuda:0", False, "torch"),
        ("torch", "cuda:0", True, "torch"),
        ("vllm", "cpu", True, "vllm"),
    ],
)
def test_vllm_is_for_gpus_unless_something_else_is_asked_for(monkeypatch, wanted, device, installed, chosen):
    monkeypatch.setattr(backends, "find_spec", lambda name: object() if installed else None)
    assert choose_backend(LlmCoreSettings(backend=wanted, device=device)) == chosen


def test_vllm_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"vLLM is not installed \(docs/engines.md says how\)"):
        choose_backend(LlmCoreSettings(backend="vllm", device="cpu"))


def test_the_backend_of_the_encoders_is_not_that_of_the_llm_core(monkeypatch):
    monkeypatch.setenv("PARLEY_BACKEND", "triton")
    monkeypatch.setenv("PARLEY_DEVICE", "cpu")
    settings = LlmCoreSettings()
    assert (settings.backend, settings.device) == ("auto", "cpu")
    monkeypatch.setenv("PARLEY_LLM_CORE_BACKEND", "vllm")
    monkeypatch.setenv("PARLEY_LLM_CORE_VLLM_ARGUMENTS", '{"tensor_parallel_size": 2}')
    settings = LlmCoreSettings()
    assert (settings.backend, settings.vllm_arguments) == ("vllm", {"tensor_parallel_size": 2})
