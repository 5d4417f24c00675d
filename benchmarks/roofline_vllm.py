"""vLLM on a model of the same sizes: behind the interface of the LLM core, and alone."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import torch
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from benchmarks.roofline import Row, Setting
from benchmarks.roofline_llm import decode, decoded, prompts
from benchmarks.roofline_models import ANSWER, llm_settings, no_text, random_model
from services.llm_core.vllm_backend.engine import VllmEngine
from services.llm_core.vllm_backend.model_folder import write_config


def measure_vllm(setting: Setting) -> list[Row]:
    """vLLM behind our interface, then alone: the same process, the same weights."""
    head = random_model(setting, ["state_head"]).state_head
    head.bias.data.copy_(torch.tensor([1e3, 0.0, 0.0]))  # every question is answered
    arguments = {"load_format": "dummy", "gpu_memory_utilization": 0.8}
    if setting.device.type == "cpu":
        arguments = {"load_format": "dummy", "enforce_eager": True, "kv_cache_memory_bytes": 1 << 28}
    with tempfile.TemporaryDirectory() as folder:
        config = setting.config.language
        write_config(config, len(head.weight), Path(folder))
        settings = llm_settings(setting, vllm_arguments=arguments)
        engine = VllmEngine(Path(folder), [head], config, no_text(), None, settings)
    engine.start()
    try:
        ours = [asyncio.run(decode(setting, engine, "vllm backend", count)) for count in setting.rows]
        alone = [asyncio.run_coroutine_threadsafe(decode_alone(setting, engine, count), engine.loop).result()
                 for count in setting.rows]  # fmt: skip
    finally:
        engine.stop()
    return ours + alone


async def decode_alone(setting: Setting, engine, count: int) -> Row:
    """On the event loop that vLLM runs on."""
    parameters = SamplingParams(
        temperature=0, max_tokens=ANSWER, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.DELTA
    )

    async def ask(number: int, ids: list[int]) -> list[float]:
        outputs = engine.llm.generate({"prompt_token_ids": ids}, parameters, f"alone {count} {number}")
        return [time.perf_counter() async for output in outputs for _ in output.outputs[0].token_ids]

    # Other prompts than before: none may be found in the prefix cache.
    own = [ids[::-1] for ids in prompts(setting, count)]
    times = await asyncio.gather(*(ask(number, ids) for number, ids in enumerate(own)))
    return decoded(setting, "vLLM alone", count, times)
