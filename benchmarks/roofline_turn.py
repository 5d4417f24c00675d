"""A turn in one process, without services: the last of a question → first token → first audio."""

from __future__ import annotations

import asyncio
import time

import torch

from benchmarks.measuring import percentile
from benchmarks.roofline import Row, Setting
from benchmarks.roofline_media import CLAUSE_TOKENS, clause_of, speech_decoder
from benchmarks.roofline_models import PROMPT, random_model, torch_engine
from services.llm_core.pieces import Piece
from services.llm_core.position_keys import position_keys
from services.llm_core.requests import Token
from services.llm_core.sampler import Sampling

PIECE = 16  # embeddings of speech that come last
ROUNDS = 5


def measure(setting: Setting) -> list[Row]:
    """The question's beginning is computed before its last piece comes, as while somebody speaks."""
    llm = torch_engine(setting, random_model(setting, ["language", "state_head"]))
    decoder, speaker = speech_decoder(setting)
    width = setting.config.language.hidden_size
    llm.start()
    decoder.start()

    async def turn() -> tuple[float, float]:
        """Seconds to the first token and to the first audio."""
        spoken = torch.randn(PROMPT, width, dtype=setting.dtype)
        last, keys = spoken[-PIECE:], position_keys(spoken)
        request = llm.open("", "", [Piece(keys[:-PIECE], spoken[:-PIECE])], Sampling(max_tokens=2 * CLAUSE_TOKENS))
        while llm.num_busy():
            await asyncio.sleep(0.005)
        began, ids, first_token = time.perf_counter(), [], 0.0
        request.respond([Piece(keys[-PIECE:], last)])
        voice = decoder.open(speaker, seed=0)
        async for event in request.events():
            if isinstance(event, Token):
                first_token = first_token or time.perf_counter() - began
                ids.append(event.id)
            if len(ids) == CLAUSE_TOKENS:
                voice.add_clause(clause_of(ids))
                break
        await voice.next()
        first_audio = time.perf_counter() - began
        voice.close()
        request.close()
        return first_token, first_audio

    async def rounds(count: int) -> list[tuple[float, float]]:
        await asyncio.gather(*(turn() for _ in range(count)))  # warms up
        return [found for _ in range(ROUNDS) for found in await asyncio.gather(*(turn() for _ in range(count)))]

    rows = []
    try:
        for count in setting.rows:
            found = asyncio.run(rounds(count))
            for what, taken in zip(("to the first token", "to the first audio"), zip(*found, strict=True), strict=True):
                p50, p95 = (1000 * percentile(taken, share) for share in (0.5, 0.95))
                rows.append(Row("turn", what, count, count / percentile(taken, 0.5), "turns/s", p50, p95, len(taken)))
    finally:
        llm.stop()
        decoder.stop()
    return rows
