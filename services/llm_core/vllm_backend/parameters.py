"""What vLLM is told: the arguments of its engine, and how each request is sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from services.engine.settings import AUTO
from services.llm_core.sampler import Sampling
from services.llm_core.settings import LlmCoreSettings
from services.llm_core.vllm_backend.vocabulary import VocabularyOnly

SEEDS = 1 << 63


def engine_arguments(folder: Path, settings: LlmCoreSettings) -> dict[str, Any]:
    """Of `AsyncEngineArgs`; what the settings leave open vLLM chooses. `settings.vllm_arguments` come last."""
    memory = settings.kv_memory_mb
    chosen = {
        "max_model_len": settings.max_length,
        "max_num_seqs": settings.num_slots,
        "max_num_batched_tokens": settings.prefill_tokens,
        "kv_cache_memory_bytes": memory if memory == AUTO else memory << 20,
    }
    return {
        "model": str(folder),
        "dtype": settings.dtype,
        "skip_tokenizer_init": True,
        "enable_prompt_embeds": True,
        "enable_prefix_caching": True,
        "logprobs_mode": "raw_logits",
        "generation_config": "vllm",
        "logits_processors": [f"{VocabularyOnly.__module__}:{VocabularyOnly.__name__}"],
        **{name: value for name, value in chosen.items() if value != AUTO},
        **settings.vllm_arguments,
    }


def reading(ids: list[int], allowed: list[int] | None = None) -> SamplingParams:
    """One token, of which only the logits of `ids` are of interest."""
    return SamplingParams(
        temperature=0.0, max_tokens=1, detokenize=False, logprob_token_ids=ids or None, allowed_token_ids=allowed
    )


def answering(
    sampling: Sampling, *, first: bool, given: int, max_tokens: int, stop_ids: frozenset[int]
) -> SamplingParams:
    """Of an answer.

    Args:
        first: whether it has no token yet. Then it cannot end: whoever is answered is told something.
        given: tokens that were sampled before, for an answer that goes on.
    """
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p or 1.0,
        top_k=sampling.top_k,
        seed=(sampling.seed + given) % SEEDS if sampling.temperature else None,
        max_tokens=max_tokens,
        min_tokens=1 if first else 0,
        stop_token_ids=sorted(stop_ids),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
