"""Prompts for an engine of the LLM core, and what the plain model answers to them."""

from __future__ import annotations

import asyncio

import torch
from transformers import Qwen2ForCausalLM

from parley.config import LanguageConfig
from parley.models.language import build_language
from services.llm_core.pieces import Piece
from services.llm_core.position_keys import position_keys
from services.llm_core.requests import Done, Token
from services.llm_core.sampler import Sampling
from services.llm_core.state import Decision

SPEAKING = torch.tensor([4.0, 0.0, 0.0])  # logits of a state head that always says "speech"


def plain_language(config: LanguageConfig) -> Qwen2ForCausalLM:
    """A model as transformers runs it. Weights large enough that greedy answers vary with the prompt."""
    torch.manual_seed(3)
    language = build_language(config).eval()
    for weights in language.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.15)
    language.set_attn_implementation("eager")
    return language


def random_prompt(seed: int, length: int, width: int = 48, embeddings: bool = True) -> list[Piece]:
    """Tokens, a few embeddings, tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 300, (length,), generator=generator).tolist()
    if not embeddings:
        return [Piece(ids)]
    seen = torch.randn(5, width, generator=generator) * 0.3
    return [Piece(ids[: length // 2]), Piece(position_keys(seen), seen), Piece(ids[length // 2 :])]


def embed(language, prompt: list[Piece]) -> torch.Tensor:
    """[length, width]"""
    table = language.get_input_embeddings().weight
    return torch.cat([table[piece.keys] if piece.embeddings is None else piece.embeddings for piece in prompt])


@torch.inference_mode()
def reference(language, prompt: list[Piece], count: int) -> list[int]:
    """The greedy answer, the whole sequence computed anew for every token."""
    sequence, answer = embed(language, prompt), []
    for _ in range(count):
        logits = language(inputs_embeds=sequence[None], use_cache=False).logits[0, -1]
        answer.append(int(logits.argmax()))
        sequence = torch.cat([sequence, language.get_input_embeddings().weight[answer[-1:]]])
    return answer


async def answer(request) -> tuple[list[int], Done]:
    """Token ids and the last event. Checks that the state came first."""
    events = [event async for event in request.events()]
    assert isinstance(events[0], Decision)
    assert all(isinstance(event, Token) for event in events[1:-1])
    assert events[-1].text == "".join(event.text for event in events[1:-1])
    return [event.id for event in events[1:-1]], events[-1]


async def ask(engine, prompt, session="", **sampling) -> tuple[list[int], Done]:
    sampling.setdefault("max_tokens", 8)
    request = engine.open(session, "turn", prompt[:1], Sampling(**sampling))
    request.append(prompt[1:])
    request.respond([])
    return await answer(request)


async def settled(condition) -> None:
    """Waits until a condition of the engine's thread holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
