"""The LLM core's engines, and peers on models of the same sizes: tokens a second of requests that decode together."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import time
from importlib.util import find_spec

import torch

from benchmarks.measuring import percentile
from benchmarks.roofline import Row, Setting
from benchmarks.roofline_models import ANSWER, PROMPT, num_parameters, random_model, torch_engine
from parley.models.language import build_language
from services.llm_core.engine import LanguageEngine
from services.llm_core.pieces import Piece
from services.llm_core.requests import Token
from services.llm_core.sampler import Sampling

PART = "llm"


def measure(setting: Setting) -> list[Row]:
    model = random_model(setting, ["language", "state_head"])
    engine = torch_engine(setting, model)
    rows = measure_engine(setting, engine, "torch backend")
    rows += [measure_continuous(setting, model.language, count) for count in setting.rows]
    del engine, model
    gc.collect()
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    if find_spec("vllm") is None:
        return rows
    from benchmarks.roofline_vllm import measure_vllm

    return rows + measure_vllm(setting)


def decode_limit(setting: Setting, rows: int) -> float:
    """Tokens a second: a step reads all weights but the table of input embeddings, of which it reads `rows` rows."""
    with torch.device("meta"):
        language = build_language(setting.config.language)
    count = num_parameters(language)
    if not setting.config.language.tie_word_embeddings:
        count -= language.get_input_embeddings().weight.numel()
    return rows * setting.limits.steps_per_second(count * setting.dtype.itemsize, count, rows)


def prompts(setting: Setting, count: int) -> list[list[int]]:
    """Different ones: none finds another's prefix."""
    size = setting.config.language.vocab_size
    return torch.randint(1, size, (count, PROMPT), generator=torch.Generator().manual_seed(count)).tolist()


def measure_engine(setting: Setting, engine: LanguageEngine, what: str) -> list[Row]:
    """Starts the engine, and stops it."""
    engine.start()
    try:
        return [asyncio.run(decode(setting, engine, what, count)) for count in setting.rows]
    finally:
        engine.stop()


async def decode(setting: Setting, engine: LanguageEngine, what: str, count: int) -> Row:
    """`count` requests at once. What is timed is from token to token, once all of them decode."""

    async def ask(ids: list[int]) -> list[float]:
        request = engine.open("", "", [Piece(ids[:-1])], Sampling(max_tokens=ANSWER))
        request.respond([Piece(ids[-1:])])
        return [time.perf_counter() async for event in request.events() if isinstance(event, Token)]

    await asyncio.gather(*map(ask, prompts(setting, count)))  # warms up
    times = await asyncio.gather(*map(ask, prompts(setting, count)))
    return decoded(setting, what, count, times)


def decoded(setting: Setting, what: str, count: int, times: list[list[float]]) -> Row:
    """`times`: of each request, when its tokens came."""
    began, ended = max(own[0] for own in times), min(own[-1] for own in times)
    together = [[at for at in own if began <= at <= ended] for own in times]
    gaps = [1000 * (after - before) for own in together for before, after in itertools.pairwise(own)]
    rate = sum(len(own) - 1 for own in together if own) / (ended - began) if ended > began else float("nan")
    p50, p95 = (percentile(gaps, share) for share in (0.5, 0.95))
    return Row(PART, what, count, rate, "tokens/s", p50, p95, len(gaps), decode_limit(setting, count))


def measure_continuous(setting: Setting, language, count: int) -> Row:
    """`transformers`' continuous batching. The whole time counts, prompts included: it tells no times of tokens."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    language.set_attn_implementation("sdpa")
    batching = ContinuousBatchingConfig(num_blocks=8 * count + 32, max_batch_tokens=2048)
    generation = GenerationConfig(max_new_tokens=ANSWER, do_sample=False, pad_token_id=0)
    began = time.perf_counter()
    language.generate_batch(
        prompts(setting, count), generation_config=generation, continuous_batching_config=batching, warmup=False
    )
    seconds = time.perf_counter() - began
    return Row(
        PART, "transformers, continuous", count, count * ANSWER / seconds, "tokens/s", 1000 * seconds, 1000 * seconds,
        1, decode_limit(setting, count), "prompts included",
    )  # fmt: skip
