"""The published order of work, with the same weights: one thing after another, one request at a time.

Nothing happens while the user speaks. Then the picture and the whole question are encoded, the whole answer is written,
and the whole answer is spoken.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from parley.checkpoints import load_model
from parley.media.messages import read_media
from parley.text.clauses import split


@dataclass(frozen=True)
class PublishedTurn:
    """Seconds from the end of the question."""

    text: float  # the whole answer is written
    first_clause: float  # its first clause is spoken: as early as this order allows
    whole: float  # all of it is spoken: what is sent at once


class PublishedOrder:
    def __init__(self, checkpoint: Path, max_tokens: int):
        self._model = load_model(checkpoint)
        self._max_tokens = max_tokens
        self._worker = ThreadPoolExecutor(1)  # one request at a time, as the published server

    async def ask(self, audio: bytes, picture: bytes) -> PublishedTurn:
        """`audio`: 16 kHz, 16-bit; the question is over now. The time in the queue counts."""
        return await asyncio.get_running_loop().run_in_executor(
            self._worker, self._ask, audio, picture, time.monotonic()
        )

    @torch.inference_mode()
    def _ask(self, audio: bytes, picture: bytes, asked: float) -> PublishedTurn:
        model = self._model
        waveform = np.frombuffer(audio, "<i2").astype(np.float32) / 32768
        content = [{"type": "image", "image": picture}, {"type": "audio", "audio": waveform}]
        messages = read_media([{"role": "user", "content": content}], model.config)
        reply = model.reply(messages, max_tokens=self._max_tokens, speak=False, always=True)
        text = time.monotonic() - asked
        pieces = [model.tokenizer.decode([token]) for token in reply.token_ids]
        clauses = split(reply.token_ids, pieces)
        model.speak(clauses[0].ids if clauses else [])
        first_clause = time.monotonic() - asked
        for clause in clauses[1:]:
            model.speak(clause.ids)
        return PublishedTurn(text, first_clause, time.monotonic() - asked)

    def close(self) -> None:
        self._worker.shutdown()
