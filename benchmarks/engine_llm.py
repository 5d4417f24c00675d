"""The LLM core's engine beside `transformers` on the same weights: static `generate` and its continuous batching.

Each of `batch` requests has a prompt of 64 ids and an answer of exactly 64 tokens, greedy; all begin at once. The rate
counts answer tokens over the whole time, prompts included. Every one of them must give the same tokens.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from pathlib import Path

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from benchmarks.engines import Result
from benchmarks.measuring import percentile
from parley.checkpoints import load_model
from parley.models.language import StateHead
from parley.models.parley import Parley
from services.llm_core.answer_text import AnswerFormat
from services.llm_core.pieces import Piece
from services.llm_core.requests import Token
from services.llm_core.sampler import Sampling
from services.llm_core.settings import LlmCoreSettings
from services.llm_core.torch_engine import TorchEngine

PROMPT, ANSWER = 64, 64  # tokens
ROUNDS = 3  # timed; the median counts


def measure(checkpoint: Path, sizes: list[int]) -> list[Result]:
    torch.set_num_threads(1)
    model = load_model(checkpoint, ["language"])
    vocabulary = model.config.language.vocab_size
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(1, vocabulary, (max(sizes), PROMPT), generator=generator).tolist()
    ours, answers = asyncio.run(_ours(model, prompts, sizes))
    results = []
    for size in sizes:
        results.append(ours[size])
        results += _peers(model.language, prompts[:size], answers[:size])
    return results


def always_speech(width: int) -> StateHead:
    """A state head that always chooses `speech`, so that every request gets an answer."""
    head = StateHead(width)
    torch.nn.init.zeros_(head.weight)
    head.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0]))
    return head


async def _ours(model: Parley, prompts: list[list[int]], sizes: list[int]):
    """({batch: result}, the answers' ids)"""
    config = model.config.language
    settings = LlmCoreSettings(
        num_slots=max(sizes), max_queued=0, max_tokens=ANSWER, max_unread=2 * ANSWER, device="cpu", threads=1
    )
    head = always_speech(config.hidden_size)
    engine = TorchEngine(
        copy.deepcopy(model.language), head, config, AnswerFormat(model.tokenizer, frozenset()), None, settings
    )
    engine.start()

    async def ask(ids: list[int]) -> tuple[list[int], list[float]]:
        request = engine.open("", "", [Piece(ids)], Sampling(max_tokens=ANSWER))
        request.respond([])
        tokens, gaps, last = [], [], time.perf_counter()
        async for event in request.events():
            if isinstance(event, Token):
                now = time.perf_counter()
                gaps.append(now - last)
                tokens.append(event.id)
                last = now
        return tokens, gaps[1:]  # the first waits for the prompt

    results, answers = {}, []
    for size in sizes:
        await asyncio.gather(*(ask(ids) for ids in prompts[:size]))
        times, gaps = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            served = await asyncio.gather(*(ask(ids) for ids in prompts[:size]))
            times.append(time.perf_counter() - started)
            gaps += [gap * 1000 for _, own in served for gap in own]
        answers = max(answers, [tokens for tokens, _ in served], key=len)
        rate = size * ANSWER / percentile(times, 0.5)
        results[size] = Result(
            "llm core",
            size,
            rate,
            "tokens/s",
            percentile(gaps, 0.5),
            percentile(gaps, 0.95),
            "token to token",
            len(gaps),
        )
    engine.stop()
    return results, answers


def _peers(language, prompts: list[list[int]], answers: list[list[int]]) -> list[Result]:
    config = GenerationConfig(max_new_tokens=ANSWER, min_new_tokens=ANSWER, do_sample=False, pad_token_id=0)
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    continuous = ContinuousBatchingConfig(num_blocks=4 * len(prompts), max_batch_tokens=256)

    def static() -> list[list[int]]:
        return language.generate(torch.tensor(prompts), generation_config=config)[:, PROMPT:].tolist()

    def batched() -> list[list[int]]:
        made = language.generate_batch(
            prompts, generation_config=GenerationConfig(max_new_tokens=ANSWER, do_sample=False, pad_token_id=0),
            continuous_batching_config=continuous, warmup=False,
        )  # fmt: skip
        return [output.generated_tokens for output in made.values()]

    results = []
    for name, run, attention in (
        ("transformers generate", static, "sdpa"),
        ("transformers continuous", batched, "sdpa"),
        ("transformers continuous", batched, "eager"),
    ):
        language.set_attn_implementation(attention)
        run()
        times = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            made = run()
            times.append(time.perf_counter() - started)
        same = sum(one == other for one, other in zip(made, answers, strict=True))
        milliseconds = [1000 * seconds for seconds in times]
        results.append(
            Result(
                name, len(prompts), len(prompts) * ANSWER / percentile(times, 0.5), "tokens/s",
                percentile(milliseconds, 0.5), percentile(milliseconds, 0.95), "whole batch", ROUNDS,
                f"{attention}; {same} of {len(prompts)} answers as ours",
            )
        )  # fmt: skip
    return results
